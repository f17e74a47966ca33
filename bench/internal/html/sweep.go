package html

import (
	"fmt"
	"math"

	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// sweep is what one knob does.
type sweep struct {
	ID, Knob, Load string
	Charts         []*chart
	Table          *grid
}

// sweep draws the medians of each figure over the knob's values, with the spread of the rounds.
func (b *builder) sweep(s *report.Sweep) sweep {
	out := sweep{ID: b.id("knob"), Knob: s.Knob, Load: s.Load, Table: sweepGrid(s)}
	var names []string
	var x []float64
	for i := range s.Values {
		name := s.Values[i].Name
		if name == s.Reference {
			name += " *"
		}
		names, x = append(names, name), append(x, float64(i))
	}
	for _, f := range []struct {
		title, unit string
		of          func(*report.SweepPoint) float64
	}{
		{s.Unit + "s per second", unitCount, func(p *report.SweepPoint) float64 { return p.Rate }},
		{"server CPU per " + s.Unit + ", µs", unitUS, func(p *report.SweepPoint) float64 { return p.CPU }},
		{"p99, ms", unitMS, func(p *report.SweepPoint) float64 { return p.P99 }},
	} {
		c := &chart{Title: f.title, XKind: xNames, X: x, XNames: names, Unit: f.unit}
		l := line{Name: "median", Color: 0, Style: solid}
		for i := range s.Values {
			v := &s.Values[i]
			low, high := math.NaN(), math.NaN()
			for j := range v.Rounds {
				if y := f.of(&v.Rounds[j]); y > 0 {
					low, high = least(low, y), -least(-high, -y)
				}
			}
			l.Y, l.Low, l.High = append(l.Y, gap(f.of(&v.Median))), append(l.Low, low), append(l.High, high)
		}
		c.Lines = []line{l}
		if c.keep() {
			c.sayPoints(names)
			c.Words = s.Knob + ", " + c.Words
			out.Charts = append(out.Charts, b.chart(c))
		}
	}
	return out
}

// least is the smaller of two figures, of which a may be none yet.
func least(a, b float64) float64 {
	if math.IsNaN(a) {
		return b
	}
	return min(a, b)
}

// gap is no number for a figure that was not measured.
func gap(v float64) float64 {
	if v == 0 {
		return math.NaN()
	}
	return v
}

func sweepGrid(s *report.Sweep) *grid {
	g := &grid{Title: "figures", Head: []string{"value", s.Unit + "s/s", "server CPU/" + s.Unit, "p50", "p99", "memory, peak", s.Figure + " / *", "spread", "effect", "errors", "what the processes report"}}
	for i := range s.Values {
		v := &s.Values[i]
		name := v.Name
		if name == s.Reference {
			name += " *"
		}
		m := &v.Median
		g.Rows = append(g.Rows, []string{name, report.Num(m.Rate), report.Num(m.CPU) + " µs", report.Num(m.P50) + " ms", report.Num(m.P99) + " ms",
			report.Size(int(m.Memory)), report.Num(v.Ratio), fmt.Sprintf("%s–%s", report.Num(v.RatioMin), report.Num(v.RatioMax)), string(v.Effect),
			report.Num(float64(m.Errors)), v.Proof})
	}
	g.Note = "* " + s.Why
	return g
}
