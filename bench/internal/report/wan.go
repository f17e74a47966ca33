package report

import (
	"fmt"
	"io"
	"time"

	"github.com/ron-transport/ron-transport/scripts/netem/impair"
)

// WANByTUN says that the path is emulated by a process between two TUN devices.
const WANByTUN = "tun"

// WAN is the emulated path that the phases ran over.
type WAN struct {
	Means    string  `json:"means"` // tun: a process between two TUN devices
	AskedMS  float64 `json:"asked_rtt_ms"`
	JitterMS float64 `json:"jitter_ms"` // of each direction, to both sides
	LossPct  float64 `json:"loss_pct"`  // of the packets of each direction
	Gbps     float64 `json:"rate_gbps"` // of each direction; 0: no limit
	Seed     uint64  `json:"seed"`

	Probes   int     `json:"probes"` // sent over the idle path, before the load
	Answered int     `json:"answered"`
	MinMS    float64 `json:"min_rtt_ms"`
	MedianMS float64 `json:"median_rtt_ms"` // also the round trip of the phases
	P95MS    float64 `json:"p95_rtt_ms"`
	MaxMS    float64 `json:"max_rtt_ms"`

	Counters WANCounters `json:"counters"` // of the whole run, probes and warm-up included
}

// WANCounters are what happened to the packets of the two directions.
type WANCounters struct {
	ToServer impair.Counters `json:"to_server"`
	ToClient impair.Counters `json:"to_client"`
}

// Measure takes over what was measured on the idle path, to a hundredth of a millisecond.
func (w *WAN) Measure(r impair.RTT) {
	ms := func(d time.Duration) float64 { return d.Round(10*time.Microsecond).Seconds() * 1e3 }
	w.Probes, w.Answered = r.Sent, r.Answered
	w.MinMS, w.MedianMS, w.P95MS, w.MaxMS = ms(r.Min), ms(r.Median), ms(r.P95), ms(r.Max)
}

// text writes the path.
func (w *WAN) text(out io.Writer) {
	asked := fmt.Sprintf("round trip %s ms", num(w.AskedMS))
	if w.JitterMS > 0 {
		asked += fmt.Sprintf(", jitter ± %s ms each way", num(w.JitterMS))
	}
	asked += fmt.Sprintf(", loss %s %% each way", num(w.LossPct))
	if w.Gbps > 0 {
		asked += fmt.Sprintf(", %s Gb/s each way", num(w.Gbps))
	}
	fmt.Fprintf(out, "path: emulated in user space between two TUN devices, seed %d\n", w.Seed)
	t := &table{left: map[int]bool{0: true, 1: true}}
	t.add("asked", asked)
	t.add("measured on the idle path", fmt.Sprintf("round trip %s ms (median; %s to %s ms), %d of %d probes answered",
		num(w.MedianMS), num(w.MinMS), num(w.MaxMS), w.Answered, w.Probes))
	for _, d := range []struct {
		name string
		c    *impair.Counters
	}{{"to the server", &w.Counters.ToServer}, {"to the client", &w.Counters.ToClient}} {
		n := func(v uint64) string { return num(float64(v)) }
		t.add(d.name, fmt.Sprintf("%s packets in, %s out, %s lost, %s dropped at the full queue, %s under way at the end; the emulation missed %s, and was late with %s (over 1 ms; at most %s ms)",
			n(d.c.In), n(d.c.Out), n(d.c.Lost), n(d.c.Overflow), n(d.c.Held), n(d.c.DeviceDropped+d.c.Unsent), n(d.c.Late), num(d.c.LateMax.Round(10*time.Microsecond).Seconds()*1e3)))
	}
	t.write(out)
}
