package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
)

// Cold is what a load with a fresh connection for each request has besides.
type Cold struct {
	Waited    uint64       `json:"waited"`    // open loop: requests due in the window when all connections were under way
	Handshake hist.Latency `json:"handshake"` // until the connection was ready, from the same moment as the latency
}

// SizeUse is what one size of a mixed load has carried.
type SizeUse struct {
	Payload int          `json:"payload_bytes"`
	Weight  int          `json:"weight"` // requests of this size among the sum of all weights
	Frames  uint64       `json:"frames"`
	FPS     float64      `json:"fps"`
	Latency hist.Latency `json:"latency"`
}

// workloadLines are what only some phases have: the handshakes of a cold load, and the sizes of a mixed one.
func workloadLines(line func(string, func(*Phase) string), ps []Phase) {
	if slices.ContainsFunc(ps, func(p Phase) bool { return p.Cold != nil }) {
		line("handshake p50 / p95 / p99", func(p *Phase) string {
			if p.Cold == nil {
				return "-"
			}
			l := &p.Cold.Handshake
			return num(l.P50) + " / " + num(l.P95) + " / " + num(l.P99) + " ms"
		})
	}
	var sizes []int
	for i := range ps {
		for _, s := range ps[i].BySize {
			if !slices.Contains(sizes, s.Payload) {
				sizes = append(sizes, s.Payload)
			}
		}
	}
	slices.Sort(sizes)
	for _, size := range sizes {
		line(Size(size)+" frames/s, p50 / p95 / p99", func(p *Phase) string {
			i := slices.IndexFunc(p.BySize, func(s SizeUse) bool { return s.Payload == size })
			if i < 0 {
				return "-"
			}
			s := &p.BySize[i]
			if p.Mode == OneWay {
				return num(s.FPS)
			}
			return fmt.Sprintf("%s, %s / %s / %s ms", num(s.FPS), num(s.Latency.P50), num(s.Latency.P95), num(s.Latency.P99))
		})
	}
}

// sizes are the payloads of a phase, with their weights where they differ.
func (p *Phase) sizes() string {
	if len(p.BySize) == 0 {
		return Size(p.Payload)
	}
	var out []string
	for _, s := range p.BySize {
		out = append(out, fmt.Sprintf("%d of %s", s.Weight, Size(s.Payload)))
	}
	return strings.Join(out, " + ")
}
