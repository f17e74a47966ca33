package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// Sweep is a series of measurements with one knob at several values, in turn.
type Sweep struct {
	Knob      string       `json:"knob"`
	Load      string       `json:"load"`      // what is measured, and why the knob shows in it
	Unit      string       `json:"unit"`      // what is counted: frame or handshake
	Figure    string       `json:"figure"`    // the one that the knob is for, of Figures
	Reference string       `json:"reference"` // the value that the others are compared with
	Why       string       `json:"reference_is"`
	Values    []SweepValue `json:"values"`
}

// SweepValue is one value of a knob and what it came to.
type SweepValue struct {
	Name   string       `json:"value"`
	Flags  []string     `json:"flags,omitempty"` // of the server, besides those of its address
	Rounds []SweepPoint `json:"rounds"`
	Median SweepPoint   `json:"median"` // of each figure by itself
	Proof  string       `json:"proof"`  // what the processes report that shows that the knob was in force

	Ratio    float64 `json:"ratio"`     // of the medians of the figure, this value / the reference
	RatioMin float64 `json:"ratio_min"` // of the rounds' own ratios
	RatioMax float64 `json:"ratio_max"`
	Effect   Effect  `json:"effect"`
}

// SweepPoint is one measurement. A figure that it does not have is 0.
type SweepPoint struct {
	Rate   float64 `json:"per_s"`
	CPU    float64 `json:"server_cpu_us_each"`
	Writes float64 `json:"write_calls_each"` // of the server: system calls on its sockets
	Reads  float64 `json:"read_calls_each"`
	P50    float64 `json:"p50_ms"`
	P99    float64 `json:"p99_ms"`
	Memory float64 `json:"server_rss_peak_bytes"`
	Errors uint64  `json:"errors"`
}

// Effect says what a value does to its knob's figure.
type Effect string

const (
	Reference Effect = "reference"
	Larger    Effect = "larger"
	Smaller   Effect = "smaller"
	NoEffect  Effect = "none"      // no difference beyond the noise
	TooFew    Effect = "too few"   // rounds, to tell one from the other
	NotHad    Effect = "not there" // the figure was not measured
)

// What it takes to call a difference one.
const (
	// sweepRounds is how many rounds it takes: with three on each side one order in ten, and with five one in 126, has all of
	// one side above the other by chance alone.
	sweepRounds = 3
	// sweepLeast is the least difference that is told, as a share: what is smaller decides nothing.
	sweepLeast = 0.02
)

// figure is a column of a sweep.
type figure struct {
	id, name string // name: with %s for the unit
	of       func(p *SweepPoint) float64
	show     func(v float64) string
}

func figures() []figure {
	ms := func(v float64) string { return num(v) + " ms" }
	return []figure{
		{"rate", "%ss/s", func(p *SweepPoint) float64 { return p.Rate }, num},
		{"cpu", "server CPU/%s", func(p *SweepPoint) float64 { return p.CPU }, func(v float64) string { return num(v) + " µs" }},
		{"writes", "write calls/%s", func(p *SweepPoint) float64 { return p.Writes }, num},
		{"reads", "read calls/%s", func(p *SweepPoint) float64 { return p.Reads }, num},
		{"p50", "p50", func(p *SweepPoint) float64 { return p.P50 }, ms},
		{"p99", "p99", func(p *SweepPoint) float64 { return p.P99 }, ms},
		{"memory", "memory, peak", func(p *SweepPoint) float64 { return p.Memory }, func(v float64) string { return Size(int(v)) }},
	}
}

// FigureNames are the figures that a knob can be for.
func FigureNames() []string {
	var out []string
	for _, f := range figures() {
		out = append(out, f.id)
	}
	return out
}

func (s *Sweep) figure() figure {
	all := figures()
	return all[slices.IndexFunc(all, func(f figure) bool { return f.id == s.Figure })]
}

// title is the figure's name with the unit.
func (f *figure) title(unit string) string {
	if strings.Contains(f.name, "%s") {
		return fmt.Sprintf(f.name, unit)
	}
	return f.name
}

// Complete says whether there is a round in which every value was measured.
func (s *Sweep) Complete() bool { return s.rounds() > 0 }

// Summarise computes the medians, and compares each value's figure with the reference's.
func (s *Sweep) Summarise() {
	for i := range s.Values {
		s.Values[i].Median = medianPoint(s.Values[i].Rounds)
	}
	i := slices.IndexFunc(s.Values, func(v SweepValue) bool { return v.Name == s.Reference })
	if i < 0 {
		return
	}
	ref, of := &s.Values[i], s.figure().of
	for j := range s.Values {
		if j != i {
			s.Values[j].compare(ref, of)
		}
	}
	ref.Effect, ref.Ratio, ref.RatioMin, ref.RatioMax = Reference, 1, 1, 1
}

func medianPoint(ps []SweepPoint) SweepPoint {
	of := func(pick func(p *SweepPoint) float64) float64 {
		var v []float64
		for i := range ps {
			v = append(v, pick(&ps[i]))
		}
		return Median(v)
	}
	m := SweepPoint{
		Rate: of(func(p *SweepPoint) float64 { return p.Rate }), CPU: of(func(p *SweepPoint) float64 { return p.CPU }),
		Writes: of(func(p *SweepPoint) float64 { return p.Writes }), Reads: of(func(p *SweepPoint) float64 { return p.Reads }),
		P50: of(func(p *SweepPoint) float64 { return p.P50 }), P99: of(func(p *SweepPoint) float64 { return p.P99 }),
		Memory: of(func(p *SweepPoint) float64 { return p.Memory }),
	}
	for i := range ps {
		m.Errors += ps[i].Errors // of these the sum: one is one too many
	}
	return m
}

// compare fills in the ratio, its spread, and whether it is more than noise: when every round of the one is beyond every
// round of the other.
func (v *SweepValue) compare(ref *SweepValue, of func(p *SweepPoint) float64) {
	var a, b, ratios []float64
	for i := range min(len(v.Rounds), len(ref.Rounds)) {
		x, y := of(&v.Rounds[i]), of(&ref.Rounds[i])
		a, b, ratios = append(a, x), append(b, y), append(ratios, ratio(x, y))
	}
	v.Ratio = ratio(of(&v.Median), of(&ref.Median))
	v.Effect = NotHad
	if v.Ratio == 0 {
		return
	}
	v.RatioMin, v.RatioMax = slices.Min(ratios), slices.Max(ratios)
	switch {
	case len(ratios) < sweepRounds:
		v.Effect = TooFew
	case slices.Min(a) > slices.Max(b) && v.Ratio >= 1+sweepLeast:
		v.Effect = Larger
	case slices.Max(a) < slices.Min(b) && v.Ratio <= 1-sweepLeast:
		v.Effect = Smaller
	default:
		v.Effect = NoEffect
	}
}

// says is the comparison in words.
func (v *SweepValue) says() string {
	ratio := fmt.Sprintf("%s × (%s–%s)", num(v.Ratio), num(v.RatioMin), num(v.RatioMax))
	switch v.Effect {
	case Reference, NotHad:
		return "-"
	case NoEffect:
		return ratio + ", no difference beyond the noise"
	case TooFew:
		return ratio + ", too few rounds to tell"
	}
	return ratio
}

// sweepText writes a table for each knob, and at last what each has done.
func sweepText(w io.Writer, all []Sweep) {
	for i := range all {
		fmt.Fprintln(w)
		all[i].text(w)
	}
	if len(all) < 2 {
		return
	}
	fmt.Fprintf(w, "\n  what each knob does to the figure it is for: the largest difference, from * to the value named\n")
	t := &table{left: map[int]bool{0: true, 1: true, 2: true, 3: true}}
	for i := range all {
		s := &all[i]
		f := s.figure()
		t.add(s.Knob, f.title(s.Unit), s.Reference+" *", s.largest(f))
	}
	t.write(w)
}

func (s *Sweep) text(w io.Writer) {
	f := s.figure()
	fmt.Fprintf(w, "  %s: %s\n", s.Knob, s.Load)
	t := &table{left: map[int]bool{0: true, 8: true, 9: true}}
	head := []string{s.Knob}
	for _, c := range figures() {
		head = append(head, c.title(s.Unit))
	}
	t.add(append(head, f.title(s.Unit)+" / *", "what the processes report")...)
	for i := range s.Values {
		v := &s.Values[i]
		cells := []string{v.Name}
		if v.Name == s.Reference {
			cells[0] += " *"
		}
		for _, c := range figures() {
			cell := "-"
			if x := c.of(&v.Median); x > 0 {
				cell = c.show(x)
			}
			cells = append(cells, cell)
		}
		proof := v.Proof
		if n := v.Median.Errors; n > 0 {
			proof += fmt.Sprintf("; %s errors", num(float64(n)))
		}
		t.add(append(cells, v.says(), proof)...)
	}
	t.write(w)
	fmt.Fprintf(w, "  * %s; rounds: %d, medians, the spread of the rounds' own ratios in brackets\n", s.Why, s.rounds())
}

func (s *Sweep) rounds() int {
	if len(s.Values) == 0 {
		return 0
	}
	return len(s.Values[0].Rounds)
}

// largest names the value that moves the figure most.
func (s *Sweep) largest(f figure) string {
	var best *SweepValue
	far := func(v *SweepValue) float64 { return max(v.Ratio, 1/v.Ratio) }
	for i := range s.Values {
		v := &s.Values[i]
		if (v.Effect == Larger || v.Effect == Smaller) && (best == nil || far(v) > far(best)) {
			best = v
		}
	}
	switch {
	case best != nil:
		return fmt.Sprintf("%s at %s", best.says(), best.Name)
	case s.rounds() < sweepRounds:
		return "too few rounds to tell"
	}
	return "no difference beyond the noise"
}

// JudgeSweep makes the one row of a sweep: speed is not judged, lost requests are.
func JudgeSweep(all []Sweep) []SLORow {
	var errs uint64
	for i := range all {
		for j := range all[i].Values {
			errs += all[i].Values[j].Median.Errors
		}
	}
	return []SLORow{row("errors", "sweep", "requests without a right echo, all values of all knobs", "<=", 0, float64(errs), "count")}
}
