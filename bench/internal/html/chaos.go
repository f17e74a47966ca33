package html

import (
	"fmt"
	"math"
	"strings"

	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// heatCell is one cell of a heat map. Shade is how much of the colour it has, per cent.
type heatCell struct {
	Value string
	Shade float64
	Bad   bool
}

type heatRow struct {
	Name  string
	Cells []heatCell
}

// heatMap is one figure of one transport over loss and round trip.
type heatMap struct {
	Title, Words string
	Worse        bool // more is worse: another colour
	Head         []string
	Rows         []heatRow
}

// chaosPart is what a chaos run has shown.
type chaosPart struct {
	Note     string
	Maps     []heatMap
	Recovery *bars
	Charts   []*chart
	Grids    []*grid
}

// chaos draws the matrix as heat maps, the recoveries as bars and the ablation as charts.
func (b *builder) chaos(c *report.Chaos) *chaosPart {
	if c == nil {
		return nil
	}
	p := &chaosPart{Note: c.TuningWords(), Maps: heatMaps(c), Recovery: recoveries(c), Charts: b.streamCharts(c)}
	if g := faultGrid(c); len(g.Rows) > 0 {
		p.Grids = append(p.Grids, g)
	}
	if len(c.LeftOut) > 0 {
		p.Grids = append(p.Grids, gridOf("rows that were left out", c.LeftOut))
	}
	return p
}

// heatMaps are two for each transport. All maps of a figure share one scale, a logarithmic one.
func heatMaps(c *report.Chaos) []heatMap {
	var out []heatMap
	for _, f := range []struct {
		title string
		worse bool
		of    func(*report.ChaosCell) float64
	}{
		{"p99 of an open loop, ms", true, func(e *report.ChaosCell) float64 { return e.Open.P99 }},
		{"goodput of a closed loop, Mb/s", false, func(e *report.ChaosCell) float64 { return e.Gbps * 1000 }},
	} {
		low, high := math.Inf(1), math.Inf(-1)
		for i := range c.Cells {
			if v := f.of(&c.Cells[i]); v > 0 {
				low, high = min(low, v), max(high, v)
			}
		}
		for _, transport := range distinct(c.Cells, func(e *report.ChaosCell) string { return e.Transport }) {
			m := heatMap{Title: transport + ": " + f.title, Worse: f.worse}
			m.fill(c.Cells, transport, func(e *report.ChaosCell) heatCell {
				v := f.of(e)
				cell := heatCell{Value: report.Num(v), Bad: e.Fault() != ""}
				if v > 0 && high > low {
					cell.Shade = 10 + 70*math.Log(v/low)/math.Log(high/low)
				}
				return cell
			})
			out = append(out, m)
		}
	}
	return out
}

// fill makes the rows, one for each round trip, with a cell for each loss.
func (m *heatMap) fill(cells []report.ChaosCell, transport string, of func(*report.ChaosCell) heatCell) {
	var words strings.Builder
	losses := distinct(cells, func(e *report.ChaosCell) float64 { return e.LossPct })
	for _, l := range losses {
		m.Head = append(m.Head, "loss "+report.Num(l)+" %")
	}
	for _, rtt := range distinct(cells, func(e *report.ChaosCell) float64 { return e.RTTms }) {
		r := heatRow{Name: "RTT " + report.Num(rtt) + " ms", Cells: make([]heatCell, len(losses))}
		for i := range cells {
			for j, l := range losses {
				if e := &cells[i]; e.Transport == transport && e.RTTms == rtt && e.LossPct == l {
					r.Cells[j] = of(e)
					fmt.Fprintf(&words, " %s at %s and %s;", r.Cells[j].Value, r.Name, m.Head[j])
				}
			}
		}
		m.Rows = append(m.Rows, r)
	}
	m.Words = m.Title + ":" + strings.TrimSuffix(words.String(), ";") + "."
}

// distinct are the values of a figure, in the order in which they first come.
func distinct[T comparable](cells []report.ChaosCell, of func(*report.ChaosCell) T) []T {
	var out []T
	seen := map[T]bool{}
	for i := range cells {
		if v := of(&cells[i]); !seen[v] {
			seen[v] = true
			out = append(out, v)
		}
	}
	return out
}

// recoveries are bars of how long it took until nothing was held up any more.
func recoveries(c *report.Chaos) *bars {
	out := &bars{Title: "from the heal until nothing is held up any more"}
	most := 0.0
	for i := range c.Faults {
		if r := c.Faults[i].Recovery; r != nil {
			most = max(most, r.CaughtUpS)
		}
	}
	var words []string
	for i := range c.Faults {
		f := &c.Faults[i]
		if f.Recovery == nil {
			continue
		}
		v := f.Recovery.CaughtUpS
		row := bar{Name: f.Name(), Value: seconds(v), Ours: f.Fault() == ""}
		if v >= 0 && most > 0 {
			row.Len = 100 * v / most
		}
		words = append(words, row.Name+" "+row.Value)
		out.Rows = append(out.Rows, row)
	}
	if len(out.Rows) == 0 {
		return nil
	}
	out.Words = out.Title + ": " + strings.Join(words, "; ") + "."
	return out
}

// seconds writes a time of a recovery.
func seconds(v float64) string {
	if v < 0 {
		return "never"
	}
	return fmt.Sprintf("%.2f s", v)
}

// faultGrid is the table of the rows about faults.
func faultGrid(c *report.Chaos) *grid {
	g := &grid{Title: "faults", Head: []string{"row", "what was done", "p99 before", "during", "after", "served during", "first reply", "caught up", "frames", "asked again", "connections ended", "more", "wrong"}}
	ms := func(v float64) string { return report.Num(v) + " ms" }
	for i := range c.Faults {
		f := &c.Faults[i]
		var facts []string
		for _, x := range f.Facts {
			facts = append(facts, strings.TrimSpace(x.Name+" "+report.Num(x.Value)+" "+x.Unit))
		}
		first, caught := "", ""
		if r := f.Recovery; r != nil {
			first, caught = seconds(r.FirstReplyS), seconds(r.CaughtUpS)
		}
		g.Rows = append(g.Rows, []string{f.Name(), f.What, ms(f.Before.P99), ms(f.During.P99), ms(f.After.P99), report.Num(float64(f.Served)), first, caught, report.Num(float64(f.Books.Counts.Answered)),
			report.Num(float64(f.Books.Counts.Retried)), f.Books.EndWords(), strings.Join(facts, "; "), f.Fault()})
	}
	return g
}

// streamCharts are those of the ablation: goodput and latency over the number of streams, with the spread of the rounds.
func (b *builder) streamCharts(c *report.Chaos) []*chart {
	if len(c.Streams) == 0 {
		return nil
	}
	var names []string
	var x []float64
	for i := range c.Streams {
		names, x = append(names, fmt.Sprint(c.Streams[i].Streams)), append(x, float64(i))
	}
	s := &c.Streams[0]
	load := fmt.Sprintf(" over QUIC streams, loss %s %%, RTT %s ms, %d in flight", report.Num(s.LossPct), report.Num(s.RTTms), s.Flight)
	draw := func(name string, color int, style string, of func(*report.ChaosStreamsRound) float64) line {
		l := line{Name: name, Color: color, Style: style}
		for i := range c.Streams {
			low, high := math.NaN(), math.NaN()
			for j := range c.Streams[i].Rounds {
				y := of(&c.Streams[i].Rounds[j])
				low, high = least(low, y), -least(-high, -y)
			}
			l.Y, l.Low, l.High = append(l.Y, gap(of(&c.Streams[i].Median))), append(l.Low, low), append(l.High, high)
		}
		return l
	}
	var out []*chart
	for _, ch := range []*chart{
		{Title: "goodput, Mb/s," + load, Unit: unitCount, Lines: []line{draw("median", 0, solid, func(r *report.ChaosStreamsRound) float64 { return 1000 * r.Gbps })}},
		{Title: "latency," + load, Unit: unitMS, Lines: []line{
			draw("p50", 0, solid, func(r *report.ChaosStreamsRound) float64 { return r.P50 }),
			draw("p95", 1, dashed, func(r *report.ChaosStreamsRound) float64 { return r.P95 }),
			draw("p99", 2, dotted, func(r *report.ChaosStreamsRound) float64 { return r.P99 }),
		}},
	} {
		ch.XKind, ch.X, ch.XNames = xNames, x, names
		if ch.keep() {
			ch.sayPoints(names)
			out = append(out, b.chart(ch))
		}
	}
	return out
}
