package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/gate"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// TestCheck: a baseline is recorded, a report that equals it passes, and each way in which one cannot pass is an exit status of 1 that says why.
func TestCheck(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	schema := []string{"--schema", "../testing/performance/baselines/perf-baseline.schema.json"}
	check := func(args ...string) (int, string, string) {
		t.Helper()
		return run(t, easy(), append(append([]string{"check"}, schema...), args...)...)
	}
	quick := []string{"--duration", "200ms", "--warmup", "50ms", "--conns", "4", "--rps", "300"}
	status, stdout, stderr := check(append(quick, "--record", "--runs", "1", "--baselines", in("base.json"), "--report", in("measured.json"))...)
	if status != exitOK || !strings.Contains(stdout, "tls_small_p95_ms") || !strings.Contains(stderr, "run 1 of 1") {
		t.Fatalf("status %d\n%s\n%s", status, stdout, stderr)
	}
	base, err := gate.ReadBaseline(in("base.json"), schema[1])
	if err != nil || len(base.Values) != len(gate.Metrics()) {
		t.Fatal(base, err)
	}
	withoutSeries(t, in("measured.json"))
	r, err := report.Read(in("measured.json"))
	if err != nil || len(r.Check.Runs) != 1 || r.Check.Machine != base.Ref {
		t.Fatalf("%+v, %v", r, err)
	}
	judgeReports(t, check, in, base, r)
	if err := os.WriteFile(in("bad.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, stderr := check("--baselines", in("bad.json")); status != exitFailed || !strings.Contains(stderr, "tls_small_p95_ms") {
		t.Errorf("a baseline without figures: status %d\n%s", status, stderr)
	}
}

// judgeReports has reports judged that equal a baseline, or differ in one thing. r is one that was measured.
func judgeReports(t *testing.T, check func(args ...string) (int, string, string), in func(string) string, base *gate.Baseline, r *report.Report) {
	t.Helper()
	// with writes a report of three runs that equal the baseline, changed by a function.
	with := func(name string, change func(r *report.Report)) string {
		t.Helper()
		c := *r
		c.Check = &report.Check{Crate: crate, Machine: base.Ref, Stat: "median"}
		for range 3 {
			v := gate.Values{}
			for k, x := range base.Values {
				v[k] = x
			}
			c.Check.Runs = append(c.Check.Runs, v)
		}
		change(&c)
		if err := c.WriteFile(in(name)); err != nil {
			t.Fatal(err)
		}
		return in(name)
	}
	all := func(key string, factor float64) func(*report.Report) {
		return func(r *report.Report) {
			for _, v := range r.Check.Runs {
				v[key] *= factor
			}
		}
	}
	waiver := in("waiver.json")
	b, err := json.Marshal(gate.Waiver{Reason: "the test's own reason is long enough", Until: time.Now().UTC().Add(48 * time.Hour).Format(time.DateOnly)})
	if err != nil || os.WriteFile(waiver, b, 0o600) != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name, report string
		more         []string
		status       int
		want         string
	}{
		{"equal", with("equal", func(*report.Report) {}), nil, exitOK, "+0.0 %"},
		{"slower by 12 %", with("slow", all("tls_small_p95_ms", 1.12)), nil, exitFailed, "+12.0 %  FAIL"},
		{"slower by 12 %, waived", with("waived", all("tls_small_p95_ms", 1.12)), []string{"--waiver", waiver}, exitOK, "waiver until"},
		{"fewer frames", with("fewer", all("tls_small_fps", 0.88)), nil, exitFailed, "-12.0 %  FAIL"},
		{"better", with("better", all("cpu_pct_at_target", 0.5)), nil, exitOK, "-50.0 %  pass"},
		{"a narrower gate", with("narrow", all("mem_gib", 1.02)), []string{"--gate", "+10p95,+10p99,-10throughput,+15cpu,+1mem"}, exitFailed, "+2.0 %  FAIL"},
		{"too few runs", with("few", func(r *report.Report) { r.Check.Runs = r.Check.Runs[:2] }), nil, exitFailed, "2 runs, 3 are required"},
		{"a figure is missing", with("missing", func(r *report.Report) { delete(r.Check.Runs[0], "mem_gib") }), nil, exitFailed, "run 1 has no number mem_gib"},
		{"another machine", with("machine", func(r *report.Report) { r.Check.Machine = "Ref-B" }), nil, exitFailed, "different machines"},
		{"another kind of report", with("kind", func(r *report.Report) { r.Kind = report.KindRun }), nil, exitFailed, "no report of a check"},
	} {
		status, stdout, stderr := check(append([]string{"--baselines", in("base.json"), "--report", v.report}, v.more...)...)
		if status != v.status || !strings.Contains(stdout+stderr, v.want) {
			t.Errorf("%s: status %d\n%s\n%s", v.name, status, stdout, stderr)
		}
	}
}

// checkRefusals are command lines of check that must be refused.
func checkRefusals() []refusal {
	return []refusal{
		{"check --crate other", []string{"--crate", "ron-transport"}},
		{"check --stat mean", []string{"--stat", "median"}},
		{"check --gate +10p95", []string{"--gate", "no gate for"}},
		{"check --gate 10", []string{"--gate", "+10p95"}},
		{"check --runs 0", []string{"--runs", "1 to"}},
		{"check --rps 0", []string{"--rps", "1 to"}},
		{"check --conns 0", []string{"--conns"}},
		{"check --duration 1ms", []string{"--duration"}},
		{"check --record --waiver x", []string{"--waiver", "--record"}},
	}
}
