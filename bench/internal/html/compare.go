package html

import (
	"fmt"
	"strings"

	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// bar is one bar of a group. All lengths are per cent of the track.
type bar struct {
	Name, Value string
	Len         float64
	Low, High   float64 // the whisker; none where both are 0
	Ours        bool
}

// bars are bars of one figure, on one scale.
type bars struct {
	Title, Words string
	Rows         []bar
}

// dot is one ratio with its spread, on a track that all ratios share. All places are per cent of the track.
type dot struct {
	Name, Value, Limit string
	At, Low, High      float64
	LimitAt            float64 // 0: it has none
	Bad                bool
}

// ratios are ratios around 1.
type ratios struct {
	Title, Words string
	One          float64 // where 1 is
	Rows         []dot
}

// workload is one workload of a comparison with all its peers.
type workload struct {
	Name string
	Bars []bars
}

// comparison is the part of a report about peers.
type comparison struct {
	Workloads []workload
	Ratios    []ratios
	Table     *grid
	LeftOut   *grid
}

func (b *builder) comparison(r *report.Report) *comparison {
	if len(r.Compare)+len(r.LeftOut) == 0 {
		return nil
	}
	out := &comparison{Table: compareGrid(r.Compare)}
	if len(r.LeftOut) > 0 {
		out.LeftOut = gridOf("left out", r.LeftOut)
	}
	groups := make(map[string][]*report.Pairing)
	var order []string
	for i := range r.Compare {
		p := &r.Compare[i]
		k := named(p)
		if groups[k] == nil {
			order = append(order, k)
		}
		groups[k] = append(groups[k], p)
	}
	for _, k := range order {
		out.Workloads = append(out.Workloads, workloadBars(k, groups[k]))
	}
	cpu := func(p *report.Pairing) (float64, float64, float64, float64) {
		return p.Ratio, p.RatioMin, p.RatioMax, p.Target
	}
	fps := func(p *report.Pairing) (float64, float64, float64, float64) {
		if p.Rate == nil {
			return 0, 0, 0, 0
		}
		return p.Rate.Ratio, p.Rate.RatioMin, p.Rate.RatioMax, p.Rate.RatioTarget
	}
	out.Ratios = keepRatios(
		ratioDots("Server CPU per frame, ours / peer: left of 1 is better", r.Compare, cpu, func(v, limit float64) bool { return v > limit }),
		ratioDots("Frames per second, ours / peer: right of 1 is better", r.Compare, fps, func(v, limit float64) bool { return v < limit }))
	return out
}

// named is the workload's name with its transport.
func named(p *report.Pairing) string { return strings.TrimSpace(p.Transport + " " + p.Workload) }

// workloadBars has ours first; it is the same in all pairings of a workload of one run.
func workloadBars(name string, ps []*report.Pairing) workload {
	us := func(v float64) string { return report.Num(v) + " µs" }
	ms := func(v float64) string { return report.Num(v) + " ms" }
	w := workload{Name: name}
	add := func(title string, show func(float64) string, of func(s *report.Side) (v, low, high float64)) {
		g := bars{Title: title}
		top := 0.0
		side := func(who string, s *report.Side, ours bool) {
			v, low, high := of(s)
			if v > 0 {
				g.Rows = append(g.Rows, bar{Name: who, Value: show(v), Len: v, Low: low, High: high, Ours: ours})
				top = max(top, v, high)
			}
		}
		side("ron-transport", &ps[0].Ours, true)
		for _, p := range ps {
			side(p.PeerName, &p.Peer, false)
		}
		if len(g.Rows) == 0 {
			return
		}
		g.Words = name + ", " + title + ":"
		for i := range g.Rows {
			r := &g.Rows[i]
			spread := ""
			if r.High > 0 {
				spread = fmt.Sprintf(" (%s to %s)", show(r.Low), show(r.High))
			}
			g.Words += fmt.Sprintf(" %s %s%s,", r.Name, r.Value, spread)
			r.Len, r.Low, r.High = 100*r.Len/top, 100*r.Low/top, 100*r.High/top
		}
		g.Words = strings.TrimSuffix(g.Words, ",") + "."
		w.Bars = append(w.Bars, g)
	}
	add("server CPU per frame, less is better", us, func(s *report.Side) (float64, float64, float64) { return s.CPUPerFrameUS, s.CPUMin, s.CPUMax })
	add("frames per second, more is better", report.Num, func(s *report.Side) (float64, float64, float64) { return s.FPS, 0, 0 })
	if !ps[0].OneWay {
		add("p99 latency, less is better", ms, func(s *report.Side) (float64, float64, float64) { return s.P99, 0, 0 })
	}
	return w
}

// ratioDots puts the ratios of all pairings on one scale that begins at 0.
func ratioDots(title string, ps []report.Pairing, of func(*report.Pairing) (v, low, high, limit float64), bad func(v, limit float64) bool) ratios {
	out := ratios{Title: title, Words: title + "."}
	top := 1.25
	for i := range ps {
		if v, _, high, limit := of(&ps[i]); v > 0 {
			top = max(top, v*1.05, high*1.05, limit*1.05)
		}
	}
	for i := range ps {
		v, low, high, limit := of(&ps[i])
		if v <= 0 {
			continue
		}
		d := dot{
			Name: named(&ps[i]) + ", " + ps[i].PeerName, Value: fmt.Sprintf("%s (%s–%s)", report.Num(v), report.Num(low), report.Num(high)),
			At: 100 * v / top, Low: 100 * low / top, High: 100 * high / top, LimitAt: 100 * limit / top,
		}
		if limit > 0 {
			d.Limit, d.Bad = report.Num(limit), bad(v, limit)
		}
		out.Words += fmt.Sprintf(" %s: %s.", d.Name, d.Value)
		out.Rows = append(out.Rows, d)
	}
	out.One = 100 / top
	return out
}

func keepRatios(all ...ratios) []ratios {
	var out []ratios
	for _, r := range all {
		if len(r.Rows) > 0 {
			out = append(out, r)
		}
	}
	return out
}

func compareGrid(ps []report.Pairing) *grid {
	if len(ps) == 0 {
		return nil
	}
	g := &grid{Title: "figures", Head: []string{"workload", "peer", "CPU/frame ours", "peer", "ratio", "spread", "limit",
		"frames/s ours", "peer", "p99 ours", "peer", "errors ours", "peer"}}
	dash := func(v float64, unit string) string {
		if v == 0 {
			return "–"
		}
		return report.Num(v) + unit
	}
	for i := range ps {
		p := &ps[i]
		g.Rows = append(g.Rows, []string{named(p), p.PeerName, dash(p.Ours.CPUPerFrameUS, " µs"), dash(p.Peer.CPUPerFrameUS, " µs"), dash(p.Ratio, ""),
			report.Num(p.RatioMin) + "–" + report.Num(p.RatioMax), dash(p.Target, ""), dash(p.Ours.FPS, ""), dash(p.Peer.FPS, ""),
			dash(p.Ours.P99, " ms"), dash(p.Peer.P99, " ms"), report.Num(float64(p.Ours.Errors)), report.Num(float64(p.Peer.Errors))})
	}
	return g
}
