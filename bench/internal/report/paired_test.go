package report

import (
	"bytes"
	"math"
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/gate"
)

func text(r *Report) string {
	var b bytes.Buffer
	r.Text(&b)
	return b.String()
}

// TestPairedText: each figure is there with its verdict; a change that was not judged has not passed.
func TestPairedText(t *testing.T) {
	p := &Paired{Base: "abc", Change: "the working tree", Looks: 2, TookS: 40, Waiver: &gate.Waiver{Reason: "moved soon", Until: "2030-01-31"}, Rows: []gate.PairedRow{
		{Key: "tls_small_cpu_us", Unit: "µs", Pairs: 12, Base: 5, Change: 5.6, Worse: 12, Low: 8, High: 14, Limit: 6},
		{Key: "tls_small_p99_ms", Unit: "ms", Pairs: 24, Base: 1, Change: 1.3, Worse: 30, Low: -40, High: 90, Limit: 10, OK: true, Settled: true},
		{Key: "mem_gib", Unit: "GiB", Pairs: 12, Base: 1, Change: 1, Limit: 15, OK: true, Settled: true},
	}}
	r := &Report{Paired: p}
	got := text(r)
	for _, want := range []string{"base abc, change the working tree", "waiver until 2030-01-31", "+12.0 %", "+8.0 to +14.0 %", "+6.0 %  FAIL", "it may be chance", "mem_gib"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if r.Passed() {
		t.Error("a breach has passed")
	}
	if p.Rows = p.Rows[1:]; !r.Passed() {
		t.Error("without the breach it has not passed")
	}
	p.Rows, p.Loads = nil, []PairedLoad{{Name: "TLS", Pairs: make([]gate.Pair, 3)}}
	if got := text(r); r.Passed() || !strings.Contains(got, "TLS: 3 pairs") || len(p.Pairs()) != 3 {
		t.Errorf("nothing was judged:\n%s", got)
	}
}

// power makes a study with so many failed runs of each kind.
func power(runs, null, slow int) *Power {
	p := &Power{Wanted: 20, Gates: gate.Gates{"cpu": 6}, Asked: 12, Injected: 11.8}
	for i := range runs {
		row := func(worse float64, failed bool) []gate.PairedRow {
			return []gate.PairedRow{{Key: "tls_small_cpu_us", Worse: worse, OK: !failed}}
		}
		p.Null.Runs = append(p.Null.Runs, PowerRun{Failed: i < null, TookS: 30, Rows: row(1, i < null)})
		p.Slow.Runs = append(p.Slow.Runs, PowerRun{Failed: i < slow, TookS: 50, Rows: row(12.5, i < slow)})
	}
	p.Summarise()
	return p
}

// TestPower: nineteen of twenty, and one of twenty, are just enough, and all runs must be there.
func TestPower(t *testing.T) {
	for _, v := range []struct {
		runs, null, slow int
		ok               bool
	}{{20, 0, 20, true}, {20, 1, 19, true}, {20, 2, 20, false}, {20, 0, 18, false}, {19, 0, 19, false}, {0, 0, 0, false}} {
		r := &Report{Power: power(v.runs, v.null, v.slow)}
		if r.Passed() != v.ok || r.Power.Null.Failed != v.null || r.Power.Slow.Failed != v.slow {
			t.Errorf("%+v: %v", v, r.Passed())
		}
		got := text(r)
		for verdict, want := range map[string]bool{"FAIL": v.runs == 20 && !v.ok, "interrupted": v.runs < 20, "pass": v.runs == 20 && (v.null < 2 || v.slow > 18)} {
			if strings.Contains(got, verdict) != want {
				t.Errorf("%+v: %q in\n%s", v, verdict, got)
			}
		}
	}
	for name, spoil := range map[string]func(p *Power){
		"a larger slowdown than asked for": func(p *Power) { p.Injected = 14 },
		"no slowdown":                      func(p *Power) { p.Injected = 0 },
		"one run":                          func(p *Power) { p.Wanted, p.Null.Runs, p.Slow.Runs = 1, p.Null.Runs[:1], p.Slow.Runs[:1] },
	} {
		p := power(20, 0, 20)
		if spoil(p); p.OK() || !strings.Contains(text(&Report{Power: p}), "no verdict") {
			t.Errorf("%s proves something", name)
		}
	}
	p := power(20, 1, 19)
	p.Null.Runs[3].Why = "no reply"
	for _, want := range []string{"measured 11.8 %", "0.1 to 24.9 %", "75.1 to 99.9 %", "at least 19 in 20", "+12.5 to +12.5 %", "unchanged, run 4: no reply", "a run took 40 s"} {
		if got := text(&Report{Power: p}); !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}

// What one round costs is what all measurements say together: measurements that are each wrong by a half, to both sides, do not lead away from it.
func TestPowerFit(t *testing.T) {
	const truth = 0.08 // per cent a round
	p := &Power{Asked: 12, Rounds: 100}
	for i := range 8 {
		off := 1.5
		if i%2 == 1 {
			off = 0.5
		}
		rounds := p.Rounds
		each := p.Fit(&gate.PairedRow{Worse: truth * off * float64(rounds), Low: 1, High: 2}, 0.001)
		if got := each * float64(rounds); math.Abs(got-p.Injected) > 1e-9 || len(p.Fits) != i+1 || p.Fits[i].Rounds != rounds {
			t.Fatalf("%+v", p)
		}
		p.Rounds = int(p.Asked / each)
	}
	if in := p.Injected; in < 10.5 || in > 13.5 {
		t.Errorf("%.2f %%, after %+v", in, p.Fits)
	}
	if each := p.Fit(&gate.PairedRow{Worse: -1000}, 0.25); each != 0.25 {
		t.Errorf("%v per round, where the least was asked for", each)
	}
}
