package report

import (
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/scripts/netem/impair"
)

// The path is told with what was asked, what was measured, and what became of the packets.
func TestWANText(t *testing.T) {
	w := &WAN{Means: WANByTUN, AskedMS: 40, JitterMS: 2, LossPct: 1.5, Gbps: 0.02, Seed: 7}
	w.Measure(impair.RTT{Sent: 100, Answered: 97, Min: 40100 * time.Microsecond, Median: 40204 * time.Microsecond, P95: 41 * time.Millisecond, Max: 43 * time.Millisecond})
	w.Counters.ToServer = impair.Counters{In: 1234, Out: 1200, Lost: 20, Overflow: 10, Held: 4, DeviceDropped: 5, Unsent: 1, Late: 3, LateMax: 2500 * time.Microsecond}
	if w.MedianMS != 40.2 || w.Answered != 97 {
		t.Errorf("%+v", w)
	}
	var b strings.Builder
	(&Report{WAN: w}).Text(&b)
	for _, want := range []string{
		"path: emulated in user space between two TUN devices, seed 7", "round trip 40 ms, jitter ± 2 ms each way, loss 1.50 % each way, 0.0200 Gb/s each way",
		"round trip 40.2 ms (median; 40.1 to 43 ms), 97 of 100 probes answered",
		"to the server", "1,234 packets in, 1,200 out, 20 lost, 10 dropped at the full queue, 4 under way at the end; the emulation missed 6, and was late with 3 (over 1 ms; at most 2.50 ms)",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the text lacks %q:\n%s", want, b.String())
		}
	}
}
