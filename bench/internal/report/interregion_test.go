package report

import (
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/proc"
)

// The inter-region rows take the place of the resumed ones where a phase has a round trip, and name it.
func TestInterRegionRows(t *testing.T) {
	for _, c := range []struct {
		ref, transport string
		rtt, p95, p99  float64
		want95, want99 Verdict
	}{
		{"", "tls", 80, 120, 200, Passed, Passed},
		{"", "tls", 80, 120.1, 200, Failed, Passed},
		{"Ref-B", "tls", 80, 90.1, 200, Failed, Passed},
		{"Ref-B", "tls", 80, 90, 200.1, Passed, Failed},
		{"", "quic", 80, 500, 500, Info, Info}, // the seed has none
	} {
		p := phases()[0]
		p.Transport, p.RTTms, p.Payload, p.Latency.P95, p.Latency.P99 = c.transport, c.rtt, 16<<10, c.p95, c.p99
		got := map[string]SLORow{}
		for _, r := range Judge([]Phase{p}, TargetsFor(proc.Machine{Cores: 16, Ref: c.ref})) {
			got[r.ID] = r
		}
		if got["interregion_p95"].Verdict != c.want95 || got["interregion_p99"].Verdict != c.want99 {
			t.Errorf("%+v: %+v", c, got)
		}
		if what := got["interregion_p95"].What; !strings.Contains(what, "round trip 80 ms") || !strings.Contains(what, "16 KiB") {
			t.Errorf("the row does not say where it holds: %q", what)
		}
		for id := range got {
			if strings.HasPrefix(id, "tls_resumed") || strings.HasPrefix(id, "quic_1rtt") {
				t.Errorf("%+v: also judged by %s", c, id)
			}
		}
	}
	if s := loadOf(&Phase{Payload: 16 << 10, Conns: 3, Mode: Open, RPS: 9, RTTms: 80}); s != "16 KiB × 3 conns, round trip 80 ms, 9 rps" {
		t.Errorf("the load is described as %q", s)
	}
}
