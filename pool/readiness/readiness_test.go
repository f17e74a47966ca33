package readiness

import (
	"encoding/json"
	"testing"
)

func TestAndTakesTheWorse(t *testing.T) {
	ok, slow := OK(), OK().Lower(Degraded, "over_capacity", "full")
	gone := OK().Lower(NotReady, "shutting_down", "ends")
	for _, tc := range []struct {
		name    string
		got     Status
		want    State
		reasons int
	}{
		{"nothing wrong", ok.And(OK()), Ready, 0}, {"one degraded", ok.And(slow), Degraded, 1}, {"the other way round", slow.And(ok), Degraded, 1},
		{"both", slow.And(gone), NotReady, 2}, {"lower never raises", gone.Lower(Degraded, "tls", "old"), NotReady, 2},
	} {
		if tc.got.State != tc.want || len(tc.got.Reasons) != tc.reasons {
			t.Errorf("%s: %v with %d reasons, want %v with %d", tc.name, tc.got.State, len(tc.got.Reasons), tc.want, tc.reasons)
		}
	}
	if len(slow.Reasons) != 1 || len(ok.Reasons) != 0 {
		t.Error("And or Lower has changed what it was called on")
	}
}

// TestJSON: the words are what probes and dashboards see.
func TestJSON(t *testing.T) {
	b, err := json.Marshal(OK().Lower(Degraded, "tls", "soon"))
	if want := `{"state":"degraded","reasons":[{"reason":"tls","detail":"soon"}]}`; err != nil || string(b) != want {
		t.Errorf("%s, %v, want %s", b, err, want)
	}
	for s, want := range map[State]string{NotReady: "not_ready", Ready: "ready", State(9): "state(9)"} {
		if s.String() != want {
			t.Errorf("%q, want %q", s.String(), want)
		}
	}
}
