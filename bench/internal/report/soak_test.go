package report

import (
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/drift"
)

func soakOf(verdicts ...drift.Verdict) *Soak {
	s := &Soak{DurationS: 100, ElapsedS: 100, Segments: []float64{0, 40}, Loads: []SoakLoad{{Transport: "tls", Frames: 12345, Conns: 10, Resumed: 5}}}
	for _, v := range verdicts {
		r := drift.Result{Verdict: v, Blocks: 10, SpanS: 60, Level: 64 << 20, SlopeHour: 60 << 20, LowHour: 30 << 20, LowGrowth: 1 << 19, Allowed: 16 << 20, Detectable: 20 << 20}
		if v == drift.Growing {
			r.LowGrowth = 32 << 20
		}
		if v == drift.Unclear {
			r.Why = "too noisy"
		}
		s.Judge = append(s.Judge, SoakSeries{Name: "tls server rss", Unit: "B", Kind: Leak, Result: r})
	}
	return s
}

// Growth and errors fail a soak, what cannot be told is shown and does neither.
func TestJudgeSoak(t *testing.T) {
	rows := JudgeSoak(soakOf(drift.Steady, drift.Unclear))
	if !AllPass(rows) || rows[2].Verdict != Passed || rows[3].Verdict != Info || rows[3].Why != "cannot tell: too noisy" {
		t.Errorf("%+v", rows)
	}
	rows = JudgeSoak(soakOf(drift.Growing))
	if AllPass(rows) || rows[2].Verdict != Failed || rows[2].Target != 16 || rows[2].Measured != 32 || rows[2].Unit != "MiB" {
		t.Errorf("%+v", rows)
	}
	s := soakOf(drift.Steady)
	s.Loads[0].Errors.WrongPayload = 1
	if AllPass(JudgeSoak(s)) {
		t.Error("an error passes")
	}
	s = soakOf(drift.Steady)
	s.Loads[0].ServerFailed, s.Loads[0].Harmed = 7, 5
	if rows := JudgeSoak(s); !AllPass(rows) || rows[1].Measured != 2 || rows[1].Verdict != Info {
		t.Errorf("%+v", rows)
	}
	s.Broken = "a server died"
	if rows := JudgeSoak(s); AllPass(rows) || rows[0].Why != s.Broken {
		t.Errorf("%+v", rows)
	}
}

func TestSoakText(t *testing.T) {
	s := soakOf(drift.Steady, drift.Unclear, drift.Growing)
	s.Loads[0].Note("")
	s.Loads[0].Note("first")
	s.Loads[0].Note("second")
	var b strings.Builder
	(&Report{Soak: s}).Text(&b)
	for _, want := range []string{"resumed after 40s", "12,345", "first error over tls: first", "64 MiB           60 MiB", "1.17 GiB", "steady", "cannot tell: too noisy", "leak"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
