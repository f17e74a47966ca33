package report

import (
	"fmt"
	"io"
	"slices"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
)

// Control compares the server that has the crowd with one of ours that has none, on the same machine at the same time: what
// the crowd's own processes and the kernel cost the machine is in both. The load goes to each in turn, as crowded, free,
// free, crowded; that is a cycle.
type Control struct {
	Cycles  []ControlCycle `json:"cycles"`
	Crowded Latencies      `json:"crowded"` // medians over all windows
	Free    Latencies      `json:"free"`
	// P99 is the median of the cycles' own ratios of the 99th percentile, crowded / free, P99Min and P99Max their spread.
	P99    float64 `json:"p99_ratio"`
	P99Min float64 `json:"p99_ratio_min"`
	P99Max float64 `json:"p99_ratio_max"`
	Load   Phase   `json:"load"` // the load on the server without a crowd, all windows
}

// ControlCycle is one cycle of a round.
type ControlCycle struct {
	Round   int              `json:"round"` // from 1 on
	Crowded [2]ControlWindow `json:"crowded"`
	Free    [2]ControlWindow `json:"free"`
	Crowd   int              `json:"crowd"` // hostile connections that were open at its begin or its end, the smaller number
}

// ControlWindow is one window.
type ControlWindow struct {
	Latency hist.Latency `json:"latency"`
	CPU     []CPUShare   `json:"cpu"`
}

// Ratio is the mean of the 99th percentiles of the crowded windows, of that of the free ones.
func (c *ControlCycle) Ratio() float64 {
	return ratio(c.Crowded[0].Latency.P99+c.Crowded[1].Latency.P99, c.Free[0].Latency.P99+c.Free[1].Latency.P99)
}

// Summarise computes the medians and the spread.
func (c *Control) Summarise() {
	var ratios []float64
	side := func(pick func(*ControlCycle) *[2]ControlWindow) Latencies {
		var p50, p99, p999 []float64
		for i := range c.Cycles {
			for _, w := range pick(&c.Cycles[i]) {
				p50, p99, p999 = append(p50, w.Latency.P50), append(p99, w.Latency.P99), append(p999, w.Latency.P999)
			}
		}
		return Latencies{Median(p50), Median(p99), Median(p999)}
	}
	c.Crowded = side(func(y *ControlCycle) *[2]ControlWindow { return &y.Crowded })
	c.Free = side(func(y *ControlCycle) *[2]ControlWindow { return &y.Free })
	for i := range c.Cycles {
		ratios = append(ratios, c.Cycles[i].Ratio())
	}
	if len(ratios) > 0 {
		c.P99, c.P99Min, c.P99Max = Median(ratios), slices.Min(ratios), slices.Max(ratios)
	}
}

func (c *Control) text(w io.Writer) {
	t := &table{left: map[int]bool{0: true, 1: true}}
	t.add("cycle", "server", "p50", "p99", "p99.9", "largest", "requests", "CPU of one core")
	line := func(cycle, name string, v *ControlWindow) {
		l := &v.Latency
		t.add(cycle, name, num(l.P50)+" ms", num(l.P99)+" ms", num(l.P999)+" ms", num(l.MaxMS)+" ms", num(float64(l.Count)), shares(v.CPU))
	}
	for i := range c.Cycles {
		y := &c.Cycles[i]
		cycle := fmt.Sprintf("%d.%d", y.Round, i+1)
		line(cycle, "crowded", &y.Crowded[0])
		line(cycle, "free", &y.Free[0])
		line(cycle, "free", &y.Free[1])
		line(cycle, "crowded", &y.Crowded[1])
	}
	for _, s := range []struct {
		name string
		l    *Latencies
	}{{"crowded", &c.Crowded}, {"free", &c.Free}} {
		t.add("median", s.name, num(s.l.P50)+" ms", num(s.l.P99)+" ms", num(s.l.P999)+" ms")
	}
	t.write(w)
	fmt.Fprintf(w, "  p99 crowded / free: %s (median of the cycles' ratios, %s to %s); the load on the free server: errors: %s\n",
		num(c.P99), num(c.P99Min), num(c.P99Max), &c.Load.Errors)
	if e := c.Load.Errors.FirstError; e != "" {
		fmt.Fprintf(w, "  first error: %s\n", e)
	}
}

// shares writes what each process used.
func shares(cpu []CPUShare) (s string) {
	for _, u := range cpu {
		s += fmt.Sprintf("  %s %.0f %%", u.Process, u.Pct)
	}
	return s
}
