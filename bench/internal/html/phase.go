package html

import (
	"fmt"
	"math"
	"slices"

	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// tile is one figure, large.
type tile struct {
	Name, Value, Note string
	Bad               bool
}

// phase is one measuring window.
type phase struct {
	ID, Name, Load, Limit string
	Tiles                 []tile
	Charts                []*chart
	Sizes                 *grid // of a mixed load
	Bare                  bool  // the report has neither series nor curve of it
}

func (b *builder) phase(p *report.Phase) phase {
	out := phase{ID: b.id("phase"), Name: p.Name, Load: p.Load(), Tiles: tiles(p)}
	if out.Name == "" {
		out.Name = "load"
	}
	if p.Limit != nil {
		out.Limit = p.Limit.String()
	}
	if p.Series != nil && len(p.Series.Points) > 0 {
		out.Charts = b.overTime(p, out.ID)
	}
	if c := b.curve(p); c != nil { // beside the latency over time
		out.Charts = slices.Insert(out.Charts, min(2, len(out.Charts)), c)
	}
	if len(p.BySize) > 0 {
		out.Sizes = gridOf("by size", p.BySize)
	}
	out.Bare = len(out.Charts) == 0
	return out
}

// tiles are the figures that sum a phase up.
func tiles(p *report.Phase) []tile {
	ms := func(v float64) string { return report.Num(v) + " ms" }
	out := []tile{{Name: "frames/s", Value: report.Num(p.FPS), Note: report.Num(p.FPSPerCore) + " per core"}}
	if p.GbpsEachWay > 0 {
		way := "each way"
		if p.Mode == report.OneWay {
			way = "one way"
		}
		out = append(out, tile{Name: "payload", Value: report.Num(p.GbpsEachWay) + " Gb/s", Note: way})
	}
	if l := &p.Latency; p.Mode != report.OneWay {
		out = append(out,
			tile{Name: "p50", Value: ms(l.P50), Note: "mean " + ms(l.AvgMS)},
			tile{Name: "p99", Value: ms(l.P99), Note: "p95 " + ms(l.P95)},
			tile{Name: "p99.9", Value: ms(l.P999), Note: "largest " + ms(l.MaxMS)})
	}
	if c := p.Cold; c != nil {
		out = append(out, tile{Name: "handshake p50", Value: ms(c.Handshake.P50), Note: "p99 " + ms(c.Handshake.P99)})
	}
	cpu := func(name string, u *report.ProcUse) tile {
		return tile{Name: name + " CPU/frame", Value: report.Num(u.CPUPerFrameUS) + " µs", Note: report.Num(u.CPUPct) + " % per core"}
	}
	if u := p.ServerUse; u != nil {
		fds := fmt.Sprintf("%d descriptors", u.FDs)
		if u.FDLimit > 0 {
			fds += fmt.Sprintf(" of %d", u.FDLimit)
		}
		out = append(out, cpu("server", u), tile{Name: "server memory", Value: report.Size(int(u.RSSEnd)), Note: fds})
	}
	out = append(out, cpu("client", &p.Client))
	for i := range p.Others {
		out = append(out, cpu(p.Others[i].Name, &p.Others[i]))
	}
	errors := tile{Name: "errors", Value: report.Num(float64(p.Errors.Total())), Note: p.Errors.FirstError, Bad: p.Errors.Total() > 0}
	return append(out, errors)
}

// overTime are the charts of a series. Those of one phase share the moment under the pointer.
func (b *builder) overTime(p *report.Phase, sync string) []*chart {
	points := p.Series.Points
	of := func(pick func(*report.Point) float64) values {
		out := make(values, len(points))
		for i := range points {
			out[i] = pick(&points[i])
		}
		return out
	}
	ms := func(pick func(*report.Point) float64) values { // without replies there is no latency
		return of(func(q *report.Point) float64 {
			if q.Replies == 0 {
				return math.NaN()
			}
			return pick(q)
		})
	}
	x := of(func(q *report.Point) float64 { return q.AtS })
	all := []*chart{
		{Title: "Throughput, frames per second", Lines: []line{{"frames/s", 0, solid, of(func(q *report.Point) float64 { return q.FPS }), nil, nil}}},
		{Title: "Latency, ms", Unit: unitMS, Log: true, Lines: []line{
			{"p50", 0, solid, ms(func(q *report.Point) float64 { return q.P50 }), nil, nil},
			{"p99", 1, dashed, ms(func(q *report.Point) float64 { return q.P99 }), nil, nil},
			{"largest", 2, dotted, ms(func(q *report.Point) float64 { return q.MaxMS }), nil, nil},
		}},
		{Title: "CPU, cores busy", Unit: unitCores, Lines: []line{
			{"server", 0, solid, of(func(q *report.Point) float64 { return q.ServerCPU }), nil, nil},
			{"client", 1, dashed, of(func(q *report.Point) float64 { return q.ClientCPU }), nil, nil},
		}},
		{Title: "Memory, resident", Unit: unitBytes, Lines: []line{
			{"server", 0, solid, of(func(q *report.Point) float64 { return float64(q.ServerRSS) }), nil, nil},
			{"client", 1, dashed, of(func(q *report.Point) float64 { return float64(q.ClientRSS) }), nil, nil},
		}},
		{Title: "File descriptors of the server", Lines: []line{{"descriptors", 0, solid, of(func(q *report.Point) float64 { return float64(q.ServerFDs) }), nil, nil}}},
	}
	var out []*chart
	for _, c := range all {
		c.XKind, c.X, c.Sync = xTime, x, sync
		if c.keep() {
			c.say()
			out = append(out, b.chart(c))
		}
	}
	return out
}

// curve is the percentile curve: how long one reply in so many takes at least.
func (b *builder) curve(p *report.Phase) *chart {
	c := &chart{Title: "Latency by percentile, ms", XKind: xRarity, Unit: unitMS, Log: true}
	var y values
	var names []string
	last := 0.0
	for _, q := range p.Curve {
		x := float64(p.Latency.Count) // the largest of all is one in that many
		if q.Percentile < 100 {
			x = 100 / (100 - q.Percentile)
		}
		if x <= last || math.IsNaN(x) {
			continue
		}
		last = x
		c.X, y, names = append(c.X, x), append(y, q.MS), append(names, fmt.Sprintf("%.6g %%", q.Percentile))
	}
	c.Lines = []line{{"latency", 0, solid, y, nil, nil}}
	if !c.keep() {
		return nil
	}
	c.sayPoints(names)
	return b.chart(c)
}
