package html

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ron-transport/ron-transport/bench/internal/drift"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// soak is a long run: what it did, its series over time, and their verdicts.
type soak struct {
	ID, Load string
	Tiles    []tile
	Charts   []*chart
	Table    *grid // of the verdicts
	Loads    *grid
	Chaos    *grid
}

// soakTitles are the charts, in their order, by the last words of the series' names.
func soakTitles() []struct{ last, title, unit string } {
	return []struct{ last, title, unit string }{
		{report.SoakRate, "Requests due per second", unitCount},
		{report.SoakCPU, "CPU, per cent of all cores; the band is marked", unitCount},
		{"rss", "Memory, resident", unitBytes},
		{"heap", "Live heap", unitBytes},
		{"buffers", "Buffers handed out by the pools", unitBytes},
		{"fds", "File descriptors", unitCount},
		{"goroutines", "Goroutines", unitCount},
		{"p99", "p99 of each life of a group of connections, ms", unitMS},
	}
}

// soakColors are those of the processes, the same in every chart.
func soakColors() map[string]int { return map[string]int{"tls": 0, "quic": 1, "tor": 2, "load": 3} }

func (b *builder) soak(r *report.Report) *soak {
	s := r.Soak
	if s == nil {
		return nil
	}
	out := &soak{ID: b.id("soak"), Tiles: soakTiles(s), Table: soakGrid(s), Loads: gridOf("load", s.Loads), Load: s.Told()}
	if grids := gridsOf("", s.Chaos); len(grids) > 0 {
		out.Chaos = grids[0]
		out.Chaos.Title = "beside the load"
	}
	marks := soakMarks(s)
	all := append(slices.Clone(s.Shown), s.Judge...)
	for _, t := range soakTitles() {
		for _, c := range soakCharts(all, t.last) {
			c.Title, c.Unit, c.XKind, c.Sync, c.Marks = t.title+c.Title, t.unit, xTime, out.ID, marks
			if t.last == report.SoakCPU {
				c.Band = []float64{s.CPULow, s.CPUHigh}
			}
			if c.keep() {
				c.say()
				out.Charts = append(out.Charts, b.chart(c))
			}
		}
	}
	return out
}

// soakCharts put series of the same figure into one drawing where they were sampled together, else into one each: groups of connections end
// when they do. The titles are what is to be added.
func soakCharts(all []report.SoakSeries, last string) []*chart {
	var out []*chart
	for i := range all {
		o := &all[i]
		name, ok := soakLine(o.Name, last)
		if !ok || len(o.T) == 0 {
			continue
		}
		l := line{Name: name, Color: len(out), Style: solid, Y: o.V}
		who, _, _ := strings.Cut(name, " ")
		if c, known := soakColors()[who]; known {
			l.Color = c
		}
		at := slices.IndexFunc(out, func(c *chart) bool { return slices.Equal(c.X, o.T) })
		if at < 0 {
			out = append(out, &chart{X: o.T})
			at = len(out) - 1
		}
		l.Style = []string{solid, dashed, dotted}[len(out[at].Lines)%3]
		out[at].Lines = append(out[at].Lines, l)
	}
	if len(out) > 1 {
		for _, c := range out {
			c.Title = ": " + c.Lines[0].Name
		}
	}
	return out
}

// soakLine is the name of a series' line in the chart of last; ok is false when it belongs to another.
func soakLine(name, last string) (line string, ok bool) {
	switch {
	case name == last:
		return "all", true
	case last == report.SoakCPU && name == report.SoakOthers:
		return "other programs", true
	}
	line, ok = strings.CutSuffix(name, " "+last)
	return line, ok
}

// soakMarks are where judging begins, and where the run was resumed.
func soakMarks(s *report.Soak) []mark {
	var out []mark
	for i, at := range s.Segments {
		if i > 0 {
			out = append(out, mark{At: at, Name: "resumed"})
		}
		end := s.ElapsedS
		if i+1 < len(s.Segments) {
			end = s.Segments[i+1]
		}
		if judged := at + min(s.WarmupS, (end-at)/2); judged > at {
			out = append(out, mark{At: judged, Name: "judged from here"})
		}
	}
	return out
}

func soakTiles(s *report.Soak) []tile {
	var frames, errors uint64
	var conns, resumed int
	var first string
	for i := range s.Loads {
		l := &s.Loads[i]
		frames, errors, conns, resumed = frames+l.Frames, errors+l.Errors.Total(), conns+l.Conns, resumed+l.Resumed
		if first == "" {
			first = l.Failed
		}
	}
	verdicts := make(map[drift.Verdict]int)
	for i := range s.Judge {
		verdicts[s.Judge[i].Result.Verdict]++
	}
	n := func(v int) string { return report.Num(float64(v)) }
	return []tile{
		{Name: "frames", Value: report.Num(float64(frames)), Note: report.Num(float64(frames)/max(s.ElapsedS, 1)) + " per second"},
		{Name: "connections", Value: n(conns), Note: n(resumed) + " resumed a session"},
		{Name: "CPU, mean", Value: report.Num(s.CPUMean) + " %", Note: report.Num(s.InBand) + " % of the time in the band"},
		{Name: "leaks and drifts", Value: n(verdicts[drift.Growing]), Note: n(verdicts[drift.Steady]) + " steady, " + n(verdicts[drift.Unclear]) + " cannot tell", Bad: verdicts[drift.Growing] > 0},
		{Name: "errors", Value: report.Num(float64(errors)), Note: first, Bad: errors > 0},
	}
}

// soakGrid has the verdicts.
func soakGrid(s *report.Soak) *grid {
	g := &grid{Title: "verdicts", Head: []string{"series", "verdict", "median", "growth per hour", "lowest", "highest", "from first to last quarter", "allowed over the run", "detectable per hour"},
		Note: "Lowest and highest are bounds of 95 %; detectable is the slowest steady growth that would have been shown."}
	for i := range s.Judge {
		j := &s.Judge[i]
		r := &j.Result
		word := map[drift.Verdict]string{drift.Steady: "✓ ", drift.Growing: "✗ ", drift.Unclear: "– "}[r.Verdict] + j.Verdict()
		if r.Why != "" {
			word += ": " + r.Why
		}
		row := []string{j.Name, word, j.Amount(r.Level)}
		if !r.Estimated() {
			g.Rows = append(g.Rows, append(row, "–", "–", "–", "–", "–", "–"))
			continue
		}
		for _, v := range []float64{r.SlopeHour, r.LowHour, r.HighHour, r.Rise, r.Allowed, r.DetectableHour()} {
			row = append(row, j.Amount(v))
		}
		g.Rows = append(g.Rows, row)
	}
	if n := len(s.Segments) - 1; n > 0 {
		g.Note += fmt.Sprintf(" Interruptions: %d; slopes are taken between them.", n)
	}
	return g
}
