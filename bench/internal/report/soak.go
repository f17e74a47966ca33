package report

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/drift"
)

// Soak is a long run under a load that keeps the machine's processors in a band.
type Soak struct {
	DurationS float64   `json:"duration_s"` // what it was to be
	ElapsedS  float64   `json:"elapsed_s"`  // what it was, pauses left out
	WarmupS   float64   `json:"warmup_s"`   // of each segment: in no verdict
	Segments  []float64 `json:"segments_s"` // where they begin; more than one: it was interrupted and resumed
	Seed      uint64    `json:"seed"`
	Mix       string    `json:"mix"`

	CPULow  float64 `json:"cpu_low_pct"` // the band of all cores' time
	CPUHigh float64 `json:"cpu_high_pct"`
	CPUMean float64 `json:"cpu_mean_pct"`    // after the warm-up
	InBand  float64 `json:"cpu_in_band_pct"` // of the governor's periods after the warm-up
	Others  float64 `json:"cpu_others_pct"`  // after the warm-up: the mean of SoakOthers
	Rate    float64 `json:"rate"`            // requests due per second in the end

	Loads []SoakLoad   `json:"loads"`
	Chaos SoakChaos    `json:"chaos"`
	Judge []SoakSeries `json:"series"`
	Shown []SoakSeries `json:"shown"`            // series without a verdict: SoakCPU, SoakOthers, SoakRate
	NoTor string       `json:"no_tor,omitempty"` // why Tor was left out

	Broken string `json:"broken,omitempty"` // why the run ended early, if not by a signal: what it has shown until then is not enough
}

// SoakLoad is what one transport has carried.
type SoakLoad struct {
	Transport string `json:"transport"`
	Fleets    int    `json:"fleets"`          // groups of connections that were made, used and closed
	Conns     int    `json:"conns"`           // connections
	Asked     int    `json:"asked"`           // of them: were to resume a session
	Resumed   int    `json:"resumed"`         // and have
	Frames    uint64 `json:"frames"`          // good replies
	Failed    string `json:"first,omitempty"` // the first error
	// ServerFailed are connections that the server saw fail, those of the chaos included.
	ServerFailed  uint64            `json:"server_failed_conns"`
	ServerReasons map[string]uint64 `json:"server_reasons,omitempty"` // why, by reason of the canon
	Harmed        uint64            `json:"harmed_conns"`             // those of the chaos, with those that never came to be
	// RestConns and RestBuffers are what the server still had when all connections had ended: connections, and bytes of its pools.
	RestConns   int64  `json:"rest_conns"`
	RestBuffers int64  `json:"rest_buffer_bytes"`
	Errors      Errors `json:"errors"`
}

// SoakChaos is what was done besides the load. None of it touches the load's own connections, so their errors are all faults.
type SoakChaos struct {
	Certificates int    `json:"certificates_rotated"`
	Reloads      uint64 `json:"certificates_taken"`  // by the servers
	TicketKeys   uint64 `json:"ticket_keys_changed"` // by the servers
	Resets       uint64 `json:"resets"`              // connections reset in the midst of a frame
	Crowd        uint64 `json:"crowd_opened"`        // silent, stalled, dripping and never reading connections
	CrowdEnded   uint64 `json:"crowd_ended"`         // of them, by the server
}

// SoakSeries is a series and its verdict.
type SoakSeries struct {
	Name      string          `json:"name"`
	Unit      string          `json:"unit"`
	Kind      string          `json:"kind"` // leak or drift: what growth would be
	Allowance drift.Allowance `json:"allowance"`
	Result    drift.Result    `json:"result"`
	T         []float64       `json:"t_s"` // at most a few hundred points
	V         []float64       `json:"v"`
}

// Names of series that have no verdict: how busy all cores were, by how much of that with other programs than the run's servers and
// load (a private Tor network counts as one), and how many requests per second were due.
const (
	SoakCPU    = "cpu"
	SoakOthers = "cpu of others"
	SoakRate   = "rate"
)

// Machine says what a soak's machine did besides: a latency depends on it.
type Machine struct {
	InBand float64 // of the time, per cent
	Others float64 // of all cores, per cent: as SoakOthers
}

// What a machine must have done for a drift of a latency to be the library's.
const (
	bandAtLeast  = 50 // per cent of the time: else the governor had no hold of it
	othersAtMost = 25 // per cent of all cores: a private Tor network takes less beside the little that is sent over it
)

// Excuse makes a growth that the machine may be the cause of one that cannot be told. Only latencies depend on the machine.
func (s *SoakSeries) Excuse(m Machine) {
	switch r := &s.Result; {
	case s.Kind != Drift || r.Verdict != drift.Growing:
	case m.InBand < bandAtLeast:
		r.Verdict, r.Why = drift.Unclear, fmt.Sprintf("it grew, but all cores were in the band %.0f %% of the time only", m.InBand)
	case m.Others > othersAtMost:
		r.Verdict, r.Why = drift.Unclear, fmt.Sprintf("it grew, but other programs had %.0f %% of all cores", m.Others)
	}
}

// Kinds of growth.
const (
	Leak  = "leak"
	Drift = "drift"
)

// Verdict is the word for the result.
func (s *SoakSeries) Verdict() string {
	if s.Result.Verdict == drift.Growing {
		return s.Kind
	}
	return string(s.Result.Verdict)
}

// JudgeSoak makes the rows. Rows that cannot tell are shown, and neither pass nor fail. Any goroutine.
func JudgeSoak(s *Soak, t Targets) []SLORow {
	var rows []SLORow
	if s.Broken != "" {
		rows = append(rows, SLORow{ID: "soak_broken", Phase: "all", What: "the run came to its end", Verdict: Failed, Why: s.Broken})
	}
	for _, l := range s.Loads {
		rows = append(rows, row("soak_errors", l.Transport, "requests without a right echo, connections that failed", "<=", 0, float64(l.Errors.Total()), "count"))
	}
	rows = append(rows, s.atRest()...)
	rows = append(rows, s.exercised()...)
	rows = append(rows, s.unexplained()...)
	for i := range s.Judge {
		j := &s.Judge[i]
		r := &j.Result
		what := fmt.Sprintf("%s in %s", j.Kind, spell(r.SpanS))
		unit, by := scale(j.Unit, max(r.Allowed, r.LowGrowth, -r.LowGrowth))
		v := row("soak_"+j.Kind, j.Name, what, "<=", r.Allowed/by, r.LowGrowth/by, unit)
		switch r.Verdict {
		case drift.Growing:
			v.Verdict = Failed
		case drift.Steady:
			v.Verdict = Passed
		case drift.Unclear:
			v.Verdict, v.Why, v.Op, v.Target = Info, "cannot tell: "+r.Why, "", 0
		}
		rows = append(rows, v)
	}
	return append(rows, s.gold(t)...)
}

// atRest rows are exact where slopes are not: when nothing is connected, nothing may be out.
func (s *Soak) atRest() []SLORow {
	var rows []SLORow
	for _, l := range s.Loads {
		rows = append(rows,
			row("soak_rest_conns", l.Transport, "connections that the server has when all have ended", "<=", 0, float64(l.RestConns), "count"),
			row("soak_rest_buffers", l.Transport, "buffers not given back then", "<=", 0, float64(l.RestBuffers), "bytes"))
	}
	return rows
}

// exercised rows say that what was to be soaked was at work: a soak without frames, sessions or new certificates has shown nothing. One
// that was interrupted is not held to that.
func (s *Soak) exercised() []SLORow {
	var rows []SLORow
	for _, l := range s.Loads {
		rows = append(rows, row("soak_frames", l.Transport, "frames carried", ">=", 1, float64(l.Frames), "count"))
		if l.Asked > 0 {
			rows = append(rows, row("soak_resumed", l.Transport, fmt.Sprintf("sessions resumed, of %s asked for", num(float64(l.Asked))), ">=", 1, float64(l.Resumed), "count"))
		}
	}
	if c := &s.Chaos; c.Certificates > 1 { // the servers may not have seen the last
		rows = append(rows, row("soak_certificates", "all", fmt.Sprintf("new certificates that servers took, of %d", c.Certificates), ">=", 1, float64(c.Reloads), "count"))
	}
	if s.ElapsedS < s.DurationS {
		unjudged(rows)
	}
	return rows
}

// unexplained rows show the connections that servers saw fail beyond those that were made to. They have no verdict: a client that
// gives up its goodbye on a busy machine is one, and has every answer all the same.
func (s *Soak) unexplained() []SLORow {
	var rows []SLORow
	for _, l := range s.Loads {
		n := l.ServerFailed - min(l.ServerFailed, l.Harmed)
		r := row("soak_server_failed", l.Transport, "connections that the server saw fail, the chaos left out", "", 0, float64(n), "count")
		if n > 0 {
			r.Why = "all it saw: " + reasons(l.ServerReasons)
		}
		rows = append(rows, r)
	}
	unjudged(rows)
	return rows
}

// reasons are the counts by reason, the most frequent first.
func reasons(by map[string]uint64) string {
	names := slices.SortedFunc(maps.Keys(by), func(a, b string) int {
		return cmp.Or(cmp.Compare(by[b], by[a]), strings.Compare(a, b))
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%s %d", name, by[name])
	}
	if len(names) == 0 {
		return "without a reason of the canon"
	}
	return strings.Join(names, ", ")
}

// scale is the unit in which a figure is shown, and what it has to be divided by.
func scale(unit string, v float64) (shown string, by float64) {
	if unit != "B" {
		return unit, 1
	}
	for _, u := range []struct {
		name string
		by   float64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if v >= u.by {
			return u.name, u.by
		}
	}
	return unit, 1
}

// spell writes a number of seconds.
func spell(s float64) string {
	d := time.Duration(s * float64(time.Second))
	if d >= time.Minute {
		return d.Round(time.Second).String()
	}
	return d.Round(100 * time.Millisecond).String()
}

// Amount writes a figure of the series with its unit.
func (j *SoakSeries) Amount(v float64) string {
	unit, by := scale(j.Unit, max(v, -v))
	if unit == "count" {
		return num(v)
	}
	return num(v/by) + " " + unit
}

// Told is the run in one line.
func (s *Soak) Told() string {
	return fmt.Sprintf("soaked %s of %s; mix %s; seed %d", spell(s.ElapsedS), spell(s.DurationS), s.Mix, s.Seed)
}

// sound says why the document cannot be shown.
func (s *Soak) sound() error {
	for _, all := range [][]SoakSeries{s.Judge, s.Shown} {
		for i := range all {
			if j := &all[i]; len(j.T) != len(j.V) {
				return fmt.Errorf("the series %q has %d moments and %d figures", j.Name, len(j.T), len(j.V))
			}
		}
	}
	return nil
}

func (s *Soak) text(w io.Writer) {
	fmt.Fprintf(w, "  %s\n", s.Told())
	if len(s.Segments) > 1 {
		var at []string
		for _, t := range s.Segments[1:] {
			at = append(at, spell(t))
		}
		fmt.Fprintf(w, "  resumed after %s: processes began anew there\n", strings.Join(at, ", "))
	}
	fmt.Fprintf(w, "  processors: %.1f %% busy on the average, %.1f %% with other programs; %.0f %% of the time within %s to %s %%; %s requests/s in the end\n",
		s.CPUMean, s.Others, s.InBand, num(s.CPULow), num(s.CPUHigh), num(s.Rate))
	t := &table{left: map[int]bool{0: true}}
	t.add("transport", "frames", "connections", "resumed", "errors")
	for i := range s.Loads {
		l := &s.Loads[i]
		t.add(l.Transport, num(float64(l.Frames)), num(float64(l.Conns)), num(float64(l.Resumed)), l.Errors.String())
	}
	t.write(w)
	for i := range s.Loads {
		if l := &s.Loads[i]; l.Failed != "" {
			fmt.Fprintf(w, "  first error over %s: %s\n", l.Transport, l.Failed)
		}
	}
	if s.NoTor != "" {
		fmt.Fprintf(w, "  Tor was left out: %s\n", s.NoTor)
	}
	c := &s.Chaos
	fmt.Fprintf(w, "  certificates %d times new, taken %d times by servers; ticket keys changed %d times; %d connections reset; %d hostile ones, %d of them ended by the server\n",
		c.Certificates, c.Reloads, c.TicketKeys, c.Resets, c.Crowd, c.CrowdEnded)
	fmt.Fprintf(w, "\n  growth after a warm-up of %s, bounds of 95 %%; detectable: the slowest steady growth that would have been shown\n", spell(s.WarmupS))
	t = &table{left: map[int]bool{0: true, 6: true}}
	t.add("series", "median", "growth per hour", "lowest", "highest", "detectable", "verdict")
	for i := range s.Judge {
		j := &s.Judge[i]
		r := &j.Result
		if !r.Estimated() {
			t.add(j.Name, j.Amount(r.Level), "-", "-", "-", "-", j.Verdict()+": "+r.Why)
			continue
		}
		verdict := j.Verdict()
		if r.Why != "" {
			verdict += ": " + r.Why
		}
		t.add(j.Name, j.Amount(r.Level), j.Amount(r.SlopeHour), j.Amount(r.LowHour), j.Amount(r.HighHour), j.Amount(r.DetectableHour()), verdict)
	}
	t.write(w)
}

// Note keeps the first error; "" is none.
func (l *SoakLoad) Note(err string) {
	if l.Failed == "" {
		l.Failed = err
	}
}
