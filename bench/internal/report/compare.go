package report

import (
	"math"
	"slices"
)

// Summarise computes the medians, the ratio and its spread from the rounds, and judges the ratio by limit.
func (p *Pairing) Summarise(limit float64) {
	p.Target = limit
	var ratios []float64
	ours, peer := make([]Phase, 0, len(p.Rounds)), make([]Phase, 0, len(p.Rounds))
	for i := range p.Rounds {
		r := &p.Rounds[i]
		ours, peer = append(ours, r.Ours), append(peer, r.Peer)
		if r.Ours.ServerUse != nil && r.Peer.ServerUse != nil {
			ratios = append(ratios, ratio(r.Ours.ServerUse.CPUPerFrameUS, r.Peer.ServerUse.CPUPerFrameUS))
		}
	}
	p.Ours, p.Peer = sideOf(ours), sideOf(peer)
	p.Ratio = ratio(p.Ours.CPUPerFrameUS, p.Peer.CPUPerFrameUS)
	if len(ratios) > 0 {
		p.RatioMin, p.RatioMax = slices.Min(ratios), slices.Max(ratios)
	}
	p.Pass = p.Ratio > 0 && p.Ratio <= limit && p.Ours.Errors == 0 && p.Peer.Errors == 0
}

// ratio is 0, which no measurement gives, when there is nothing to compare with.
func ratio(a, b float64) float64 {
	if b <= 0 || a <= 0 {
		return 0
	}
	return a / b
}

func sideOf(ps []Phase) Side {
	var cpu, fps, p50, p99 []float64
	var s Side
	for i := range ps {
		p := &ps[i]
		if p.ServerUse != nil && p.Frames > 0 {
			cpu = append(cpu, p.ServerUse.CPUPerFrameUS)
		}
		fps, p50, p99 = append(fps, p.FPS), append(p50, p.Latency.P50), append(p99, p.Latency.P99)
		s.Errors += p.Errors.Total()
	}
	s.CPUPerFrameUS, s.FPS, s.P50, s.P99 = Median(cpu), Median(fps), Median(p50), Median(p99)
	return s
}

// Median of v; 0 when v is empty. v is left as it was.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	m := len(s) / 2
	if len(s)%2 == 1 {
		return s[m]
	}
	return (s[m-1] + s[m]) / 2
}

// JudgeRatios makes one row per workload.
func JudgeRatios(ps []Pairing) []SLORow {
	var rows []SLORow
	for i := range ps {
		p := &ps[i]
		r := row("cpu_ratio", p.Workload, "server CPU per frame, ours / "+p.PeerName, "<=", p.Target, p.Ratio, "")
		if !p.Pass {
			r.Verdict = Failed
		}
		r.Measured = math.Round(p.Ratio*1000) / 1000
		rows = append(rows, r)
	}
	return rows
}
