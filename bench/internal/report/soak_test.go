package report

import (
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/drift"
)

func soakOf(verdicts ...drift.Verdict) *Soak {
	s := &Soak{DurationS: 100, ElapsedS: 100, Segments: []float64{0, 40}, Loads: []SoakLoad{{Transport: "tls", Frames: 12345, Conns: 10, Asked: 5, Resumed: 5}}}
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

// find is the first row of that name.
func find(rows []SLORow, id string) *SLORow {
	for i := range rows {
		if rows[i].ID == id {
			return &rows[i]
		}
	}
	return nil
}

// Growth and errors fail a soak, what cannot be told is shown and does neither.
func TestJudgeSoak(t *testing.T) {
	rows := JudgeSoak(soakOf(drift.Steady), refA())
	if r := find(rows, "soak_leak"); !AllPass(rows) || r == nil || r.Verdict != Passed {
		t.Errorf("%+v", rows)
	}
	rows = JudgeSoak(soakOf(drift.Unclear), refA())
	if r := find(rows, "soak_leak"); !AllPass(rows) || r == nil || r.Verdict != Info || r.Why != "cannot tell: too noisy" {
		t.Errorf("%+v", rows)
	}
	rows = JudgeSoak(soakOf(drift.Growing), refA())
	if r := find(rows, "soak_leak"); AllPass(rows) || r == nil || r.Verdict != Failed || r.Target != 16 || r.Measured != 32 || r.Unit != "MiB" {
		t.Errorf("%+v", rows)
	}
	s := soakOf(drift.Steady)
	s.Loads[0].Errors.WrongPayload = 1
	if AllPass(JudgeSoak(s, refA())) {
		t.Error("an error passes")
	}
	s = soakOf(drift.Steady)
	s.Loads[0].ServerFailed, s.Loads[0].Harmed, s.Loads[0].ServerReasons = 7, 5, map[string]uint64{"read_timeout": 2, "io": 5}
	seen := find(JudgeSoak(s, refA()), "soak_server_failed")
	if !AllPass(JudgeSoak(s, refA())) || seen == nil || seen.Measured != 2 || seen.Verdict != Info || seen.Why != "all it saw: io 5, read_timeout 2" {
		t.Errorf("%+v", seen)
	}
	s.Broken = "a server died"
	if rows := JudgeSoak(s, refA()); AllPass(rows) || rows[0].Why != s.Broken {
		t.Errorf("%+v", rows)
	}
}

// What a soak did not do it cannot have shown: one that is complete has carried frames, resumed sessions and changed certificates. One
// that was interrupted may have done less.
func TestSoakMustHaveDoneItsWork(t *testing.T) {
	for name, idle := range map[string]func(*Soak){
		"no frames":            func(s *Soak) { s.Loads[0].Frames = 0 },
		"no sessions":          func(s *Soak) { s.Loads[0].Resumed = 0 },
		"no certificate taken": func(s *Soak) { s.Chaos.Certificates, s.Chaos.Reloads = 3, 0 },
	} {
		s := soakOf(drift.Steady)
		if s.Chaos.Reloads = 6; !AllPass(JudgeSoak(s, refA())) {
			t.Fatalf("%+v", JudgeSoak(s, refA()))
		}
		idle(s)
		if AllPass(JudgeSoak(s, refA())) {
			t.Errorf("%s: passes", name)
		}
		if s.ElapsedS = s.DurationS / 2; !AllPass(JudgeSoak(s, refA())) {
			t.Errorf("%s, interrupted: fails", name)
		}
	}
	s := soakOf(drift.Steady)
	s.Loads[0].Asked, s.Loads[0].Resumed = 0, 0
	if !AllPass(JudgeSoak(s, refA())) {
		t.Error("where no session was to be resumed, as over Tor, it fails")
	}
}

// Buffers that are out when no connection is left are lost, however few.
func TestSoakAtRest(t *testing.T) {
	s := soakOf(drift.Steady)
	if s.Loads[0].RestBuffers = 4096; AllPass(JudgeSoak(s, refA())) {
		t.Error("a lost buffer passes")
	}
	s.Loads[0].RestBuffers, s.Loads[0].RestConns = 0, 1
	if AllPass(JudgeSoak(s, refA())) {
		t.Error("a connection that does not end passes")
	}
}

// A latency that grows on a machine that does other things is no proof; memory that grows is, whatever the machine does.
func TestSoakExcuse(t *testing.T) {
	for _, c := range []struct {
		kind string
		m    Machine
		want drift.Verdict
	}{
		{Drift, Machine{InBand: 90, Others: 5}, drift.Growing},
		{Drift, Machine{InBand: 10, Others: 5}, drift.Unclear},
		{Drift, Machine{InBand: 90, Others: 60}, drift.Unclear},
		{Leak, Machine{InBand: 10, Others: 60}, drift.Growing},
	} {
		s := SoakSeries{Kind: c.kind, Result: drift.Result{Verdict: drift.Growing}}
		s.Excuse(c.m)
		if s.Result.Verdict != c.want || (s.Result.Why == "") != (c.want == drift.Growing) {
			t.Errorf("%s, %+v: %+v", c.kind, c.m, s.Result)
		}
		s.Result = drift.Result{Verdict: drift.Steady}
		if s.Excuse(c.m); s.Result.Verdict != drift.Steady {
			t.Errorf("%s, %+v: a steady one becomes %+v", c.kind, c.m, s.Result)
		}
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

// A soak that is long enough is held to the seed's p99 and to its own band of processor time, each way; a short one shows both. Memory is judged in all.
func TestSoakGold(t *testing.T) {
	long := func() *Soak {
		s := soakOf(drift.Steady)
		s.DurationS, s.ElapsedS, s.CPULow, s.CPUHigh, s.CPUMean, s.InBand = goldS, goldS, 60, 70, 64, 90
		for name, ms := range map[string]float64{"tls p99": 25, "quic p99": 20, "tor p99": 2000} {
			s.Judge = append(s.Judge, SoakSeries{Name: name, Unit: "ms", Kind: Drift, Result: drift.Result{Verdict: drift.Steady, Samples: 100, Level: ms}})
		}
		s.Judge[0].Result.Samples = 100
		return s
	}
	if rows := JudgeSoak(long(), refA()); !AllPass(rows) || find(rows, "soak_p99").Verdict != Passed || find(rows, "soak_cpu").Verdict != Passed {
		t.Errorf("%+v", rows)
	}
	set := func(name string, v float64) func(*Soak) {
		return func(s *Soak) {
			for i := range s.Judge {
				if s.Judge[i].Name == name {
					s.Judge[i].Result.Level = v
				}
			}
		}
	}
	for _, tc := range []struct {
		name, row string
		harm      func(*Soak)
		always    bool
	}{
		{"slow over TLS", "soak_p99", set("tls p99", 26), false}, {"slow over QUIC", "soak_p99", set("quic p99", 21), false},
		{"idle", "soak_cpu", func(s *Soak) { s.CPUMean = 59 }, false}, {"too busy", "soak_cpu", func(s *Soak) { s.CPUMean = 71 }, false},
		{"large", "soak_memory", set("tls server rss", 2<<30), true},
	} {
		s := long()
		tc.harm(s)
		rows := JudgeSoak(s, refA())
		failed := false
		for _, r := range rows {
			failed = failed || r.ID == tc.row && r.Verdict == Failed
		}
		if !failed || AllPass(rows) {
			t.Errorf("%s: passes", tc.name)
		}
		if s.ElapsedS = goldS - 1; AllPass(JudgeSoak(s, refA())) == tc.always {
			t.Errorf("%s, in a short soak: judged %t", tc.name, !tc.always)
		}
	}
}
