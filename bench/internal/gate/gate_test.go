package gate

import (
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const (
	schemaPath = "../../../testing/performance/baselines/perf-baseline.schema.json"
	seedGates  = "+10p95,+10p99,-10throughput,+15cpu,+15mem"
)

// seedBaseline is the example of the seed, §5.
const seedBaseline = `{"ref": "Ref-A", "tls_small_p95_ms": 12.0, "tls_small_p99_ms": 25.0, "tls_stream_64k_gbps": 2.0, "quic_stream_64k_gbps": 2.2,
  "cpu_pct_at_target": 70.0, "mem_gib": 1.2}`

func write(t *testing.T, text string) string {
	t.Helper()
	p := filepath.Join(t.TempDir(), "f.json")
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestReadBaseline: the seed's example fits the schema, also with keys that are no figures; what lacks a figure, or has one that is no number, does not.
func TestReadBaseline(t *testing.T) {
	b, err := ReadBaseline(write(t, seedBaseline), schemaPath)
	if err != nil || b.Ref != "Ref-A" || b.Values["tls_small_p95_ms"] != 12 || len(b.Values) != 6 {
		t.Fatal(b, err)
	}
	if _, err := ReadBaseline(write(t, strings.Replace(seedBaseline, `{"ref"`, `{"note": "x", "ref"`, 1)), schemaPath); err != nil {
		t.Error(err)
	}
	for name, text := range map[string]string{
		"more than all of a processor":   strings.Replace(seedBaseline, "70.0", "101", 1),
		"an optional figure is a string": strings.Replace(seedBaseline, `{"ref"`, `{"tls_small_fps": "7", "ref"`, 1),
		"a figure is negative":           strings.Replace(seedBaseline, "12.0", "-1", 1),
		"a figure is missing":            strings.Replace(seedBaseline, `"mem_gib": 1.2`, `"tls_small_fps": 3`, 1),
		"a figure is a string":           strings.Replace(seedBaseline, "1.2", `"1.2"`, 1),
		"a figure is null":               strings.Replace(seedBaseline, "1.2", "null", 1),
		"a figure is 0":                  strings.Replace(seedBaseline, "1.2", "0", 1),
		"no ref":                         strings.Replace(seedBaseline, `"Ref-A"`, `""`, 1),
		"no JSON":                        strings.Replace(seedBaseline, "12.0", "NaN", 1),
		"something else":                 "[]",
		"something behind it":            seedBaseline + "x",
		"a figure of 400 digits":         strings.Replace(seedBaseline, "1.2", "1e400", 1),
	} {
		if b, err := ReadBaseline(write(t, text), schemaPath); err == nil {
			t.Errorf("%s: %+v", name, b)
		}
	}
	ok := write(t, seedBaseline)
	for name, schema := range map[string]string{
		"none": ok + ".none", "no schema": write(t, `{"type": 7}`), "no JSON": write(t, "{"), "one that refers to others": write(t, `{"$ref": "https://example.invalid/x.json"}`),
	} {
		if _, err := ReadBaseline(ok, schema); err == nil {
			t.Errorf("schema: %s is taken", name)
		}
	}
	if _, err := ReadBaseline(ok, write(t, `{}`)); err != nil {
		t.Errorf("a schema that takes all: %v", err)
	}
	if _, err := ReadBaseline(write(t, `{"ref": "x"}`), write(t, `{}`)); err == nil {
		t.Error("a schema that takes all lets a baseline without figures pass")
	}
	if _, err := ReadBaseline(ok+".none", schemaPath); err == nil {
		t.Error("no file")
	}
}

// TestWrite: what is written reads back.
func TestWrite(t *testing.T) {
	p := filepath.Join(t.TempDir(), "b.json")
	want := &Baseline{Ref: "x", Values: Values{}}
	for i, m := range Metrics() {
		want.Values[m.Key] = float64(i) + 0.5
	}
	if err := want.Write(p); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadBaseline(p, schemaPath); err != nil || !reflect.DeepEqual(got, want) {
		t.Error(got, err)
	}
}

// TestParse: the seed's gates, and what are none.
func TestParse(t *testing.T) {
	g, err := Parse(seedGates)
	if want := (Gates{"p95": 10, "p99": 10, "throughput": 10, "cpu": 15, "mem": 15}); err != nil || !reflect.DeepEqual(g, want) {
		t.Error(g, err)
	}
	if g, err := Parse("+0p95,+2.5p99,-100throughput,+15cpu,+15mem"); err != nil || g["p99"] != 2.5 {
		t.Error(g, err)
	}
	for _, s := range []string{"", "+10p95", seedGates + ",", seedGates + ",+1p95", strings.Replace(seedGates, "-10", "+10", 1), strings.Replace(seedGates, "+15cpu", "-15cpu", 1),
		strings.Replace(seedGates, "cpu", "gpu", 1), strings.Replace(seedGates, "15cpu", "xcpu", 1), strings.Replace(seedGates, "15cpu", "101cpu", 1),
		strings.Replace(seedGates, "15cpu", "-5cpu", 1), strings.Replace(seedGates, "15cpu", "NaNcpu", 1), strings.Replace(seedGates, "+15cpu", "15cpu", 1)} {
		if g, err := Parse(s); err == nil {
			t.Errorf("%q: %v", s, g)
		}
	}
}

// runs are three runs whose median of every figure is the baseline's times factor, with one that is far off.
func runs(base *Baseline, factor map[string]float64) []Values {
	all := []Values{{}, {}, {}}
	for k, v := range base.Values {
		f := factor[k]
		if f == 0 {
			f = 1
		}
		all[0][k], all[1][k], all[2][k] = v*f, v*f*50, v*f/50
	}
	return all
}

// TestJudge: each figure at its limit and just beyond it, with and without a waiver; the median is what counts.
func TestJudge(t *testing.T) {
	base := &Baseline{Ref: "x", Values: Values{}}
	for _, m := range Metrics() {
		base.Values[m.Key] = 8
	}
	g, err := Parse(seedGates)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range Metrics() {
		for _, v := range []struct {
			worse, extra float64 // per cent
			ok           bool
		}{{-50, 0, true}, {0, 0, true}, {g[m.Gate] - 0.1, 0, true}, {g[m.Gate] + 0.1, 0, false}, {g[m.Gate] + 4.9, WaiverPct, true}, {g[m.Gate] + 5.1, WaiverPct, false}, {60, 0, false}} {
			f := 1 + v.worse/100
			if m.More {
				f = 1 - v.worse/100
			}
			rows, err := Judge(runs(base, map[string]float64{m.Key: f}), 3, base, g, v.extra)
			if err != nil || len(rows) != len(Metrics()) {
				t.Fatal(rows, err)
			}
			for _, r := range rows {
				if want := r.Key != m.Key || v.ok; r.OK != want {
					t.Errorf("%s worse by %v %%, waiver %v: %+v", m.Key, v.worse, v.extra, r)
				}
			}
		}
	}
}

// TestJudgeRefuses: what cannot be judged is an error, and no verdict.
func TestJudgeRefuses(t *testing.T) {
	base, err := ReadBaseline(write(t, seedBaseline), schemaPath)
	if err != nil {
		t.Fatal(err)
	}
	g, _ := Parse(seedGates)
	good := runs(base, nil)
	if _, err := Judge(good, 4, base, g, 0); err == nil || !strings.Contains(err.Error(), "3 runs, 4") {
		t.Error(err)
	}
	for name, bad := range map[string]func(){
		"NaN":      func() { good[1]["mem_gib"] = math.NaN() },
		"infinite": func() { good[1]["mem_gib"] = math.Inf(1) },
		"missing":  func() { delete(good[1], "mem_gib") },
	} {
		good = runs(base, nil)
		if bad(); true {
			if _, err := Judge(good, 3, base, g, 0); err == nil || !strings.Contains(err.Error(), "run 2 has no number mem_gib") {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	base.Values["mem_gib"] = math.NaN()
	if _, err := Judge(runs(base, nil), 3, base, g, 0); err == nil {
		t.Error("a baseline that is no number")
	}
	if m := Medians([]Values{{"mem_gib": 1}, {"mem_gib": 4}}); m["mem_gib"] != 2.5 || len(m) != 1 {
		t.Error(m)
	}
	if m := Medians(nil); len(m) != 0 {
		t.Error(m)
	}
}

// TestWaiver: it needs a reason and an end, and holds until its last day.
func TestWaiver(t *testing.T) {
	day := func(s string) time.Time {
		d, err := time.Parse(time.DateTime, s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	const good = `{"reason": "the runner shares its cores until it is moved", "until": "2030-01-31"}`
	for _, v := range []struct {
		name, text, now string
		ok              bool
	}{
		{"good", good, "2030-01-15 12:00:00", true},
		{"the last day", good, "2030-01-31 23:59:59", true},
		{"over", good, "2030-02-01 00:00:00", false},
		{"too long", good, "2029-12-01 00:00:00", false},
		{"no reason", `{"reason": "noise", "until": "2030-01-31"}`, "2030-01-15 12:00:00", false},
		{"blanks for a reason", `{"reason": "                                 ", "until": "2030-01-31"}`, "2030-01-15 12:00:00", false},
		{"no end", `{"reason": "the runner shares its cores until it is moved"}`, "2030-01-15 12:00:00", false},
		{"no day", strings.Replace(good, "2030-01-31", "soon", 1), "2030-01-15 12:00:00", false},
		{"more than there is", strings.Replace(good, "{", `{"pct": 50, `, 1), "2030-01-15 12:00:00", false},
		{"no JSON", "x", "2030-01-15 12:00:00", false},
	} {
		if w, err := ReadWaiver(write(t, v.text), day(v.now)); (err == nil) != v.ok {
			t.Errorf("%s: %+v, %v", v.name, w, err)
		}
	}
	if _, err := ReadWaiver("none", time.Now()); err == nil {
		t.Error("no file")
	}
}
