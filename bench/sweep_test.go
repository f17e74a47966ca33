package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// sweepRefusals are those of ronbench sweep, and of the server's knobs that came with it.
func sweepRefusals() []refusal {
	return []refusal{
		{"sweep --knob nonsense", []string{"--knob", "nonsense", "coalesce", "ablation"}},
		{"sweep --knob=", []string{"--knob", "none"}},
		{"sweep --rounds 0", []string{"--rounds", "0", "1 to 100"}},
		{"sweep --duration 1ms", []string{"--duration", "1ms", "100ms"}},
		{"tls_echo_server --reply-delay 2s", []string{"--reply-delay", "2s", "0s to 1s"}},
		{"tls_echo_server --listen 127.0.0.1:0 --congestion fast", []string{"ronbench: --congestion: reactor: ", "fast", "reno"}},
		{"quic_echo_server --congestion reno", []string{"congestion"}},
	}
}

// Every knob has one reference, a figure that there is, values with names of their own, and flags that its server takes.
func TestSweepKnobsAreSound(t *testing.T) {
	names := map[string]bool{sweepAll: true, ablation: true}
	for _, k := range sweepKnobs() {
		if names[k.name] {
			t.Errorf("%s: two of that name", k.name)
		}
		names[k.name] = true
		if !slices.Contains(report.FigureNames(), k.figure) || k.unit == "" || k.what == "" || k.refIs == "" || k.measure == nil {
			t.Errorf("%s: incomplete: %+v", k.name, k)
		}
		refs, values := 0, map[string]bool{}
		for _, v := range k.values {
			if v.ref {
				refs++
			}
			if values[v.name] {
				t.Errorf("%s: two values named %s", k.name, v.name)
			}
			values[v.name] = true
			checkServerFlags(t, &k, &v)
			c := (&sweepJob{knob: &k, value: &v, duration: time.Second}).config()
			c.Conns = max(c.Conns, 1) // of handshakes, as many as the duration says
			if err := c.Validate(); err != nil {
				t.Errorf("%s %s: %v", k.name, v.name, err)
			}
		}
		if refs != 1 {
			t.Errorf("%s: %d references", k.name, refs)
		}
		if len(values) < 2 && k.name != "congestion" { // a kernel may have but one
			t.Errorf("%s: values %v", k.name, k.values)
		}
	}
}

// checkServerFlags has the server's command parse and check the flags of a value.
func checkServerFlags(t *testing.T, k *sweepKnob, v *sweepValue) {
	t.Helper()
	i := slices.IndexFunc(serverKinds(), func(s serverKind) bool { return s.command == k.command })
	if i < 0 {
		t.Errorf("%s: no server %s", k.name, k.command)
		return
	}
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	m := &sweepJob{knob: k, value: v}
	if err := a.serverCommand(serverKinds()[i]).ParseFlags(m.flags()); err != nil {
		t.Errorf("%s %s: %v", k.name, v.name, err)
	}
}

// The values that the seed asks for are swept, with the defaults among them.
func TestSweepHasTheSeedsValues(t *testing.T) {
	want := map[string]string{
		"coalesce": "1 KiB, 8 KiB, 64 KiB *, 128 KiB", "resumption": "on *, off", "inflight": "1, 8, 64 *", "read-buffer": "16 KiB, 64 KiB, 128 KiB *, 256 KiB",
		"nodelay": "on *, off", "socket-buffers": "16 KiB, 512 KiB *, 4 MiB, autotuned", "quic-streams": "1 *, 8, 64",
	}
	for _, k := range sweepKnobs() {
		var got []string
		for _, v := range k.values {
			name := v.name
			if v.ref {
				name += " *"
			}
			got = append(got, name)
		}
		if w := want[k.name]; w != "" && w != strings.Join(got, ", ") {
			t.Errorf("%s: %s, want %s", k.name, strings.Join(got, ", "), w)
		}
		delete(want, k.name)
	}
	if len(want) > 0 {
		t.Errorf("not swept: %v", want)
	}
}

// swept runs a short sweep and returns its report by knob and value.
func swept(t *testing.T, knobs string) (map[string]map[string]report.SweepValue, string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "r.json")
	status, stdout, stderr := run(t, easy(), "sweep", "--knob", knobs, "--rounds", "1", "--duration", "150ms", "--json", out)
	if status != exitOK {
		t.Fatalf("exit status %d\n%s%s", status, stdout, stderr)
	}
	r, err := report.Read(out)
	if err != nil {
		t.Fatal(err)
	}
	withoutSeries(t, out)
	if r.Kind != report.KindSweep || !r.Pass || len(r.Sweep) != len(strings.Split(knobs, ",")) || !strings.Contains(stderr, "sweep: ") {
		t.Fatalf("%+v\n%s", r, stderr)
	}
	got := map[string]map[string]report.SweepValue{}
	for _, s := range r.Sweep {
		got[s.Knob] = map[string]report.SweepValue{}
		for _, v := range s.Values {
			got[s.Knob][v.Name] = v
			if len(v.Rounds) != 1 || v.Median.Memory <= 0 || v.Proof == "" {
				t.Errorf("%s %s: %+v", s.Knob, v.Name, v)
			}
		}
		if !strings.Contains(stdout, "\n  "+s.Knob+": "+s.Load) {
			t.Errorf("no table of %s:\n%s", s.Knob, stdout)
		}
	}
	return got, stdout
}

// granted is what the kernel makes of a socket buffer of n bytes: twice that, within what the machine allows.
func granted(t *testing.T, n int, most string) int {
	t.Helper()
	w := words("/proc/sys/net/core/" + most)
	if len(w) != 1 {
		t.Skipf("net.core.%s cannot be read: what the kernel grants is not known", most)
	}
	limit, err := strconv.Atoi(w[0])
	if err != nil {
		t.Fatal(err)
	}
	return 2 * min(n, limit)
}

// What a knob does without fail is in the report of a sweep, whatever the machine's speed.
func TestSweepProvesTheKnobs(t *testing.T) {
	got, stdout := swept(t, "coalesce,resumption,inflight,loops,congestion,socket-buffers,quic-streams,quic-offload")
	is := func(knob, value, want string) {
		t.Helper()
		if p := got[knob][value].Proof; p != want {
			t.Errorf("%s %s: %q, want %q", knob, value, p, want)
		}
	}
	// Each write of 1 KiB carries about one frame, whatever waits.
	if one, usual := got["coalesce"]["1 KiB"].Median.Writes, got["coalesce"]["64 KiB"].Median.Writes; one < 0.9 || usual >= one {
		t.Errorf("write calls per frame: %v with 1 KiB, %v with 64 KiB", one, usual)
	}
	is("resumption", "on", "150 of 150 resumed")
	is("resumption", "off", "0 of 150 resumed")
	for permits, v := range map[int]report.SweepValue{1: got["inflight"]["1"], 8: got["inflight"]["8"], 64: got["inflight"]["64"]} {
		var held, conns int
		if _, err := fmt.Sscanf(v.Proof, "at most %d frames in flight at once on %d connections", &held, &conns); err != nil || held < 1 || held > conns*permits {
			t.Errorf("%d permits: %q, %v", permits, v.Proof, err)
		}
	}
	for _, n := range []string{"1", "2", "4"} {
		is("loops", n, "loops: "+n)
	}
	for name, v := range got["congestion"] {
		if v.Flags != nil && v.Proof != name+" on the socket" || !strings.HasPrefix(name, strings.Fields(v.Proof)[0]) {
			t.Errorf("congestion %s: %q", name, v.Proof)
		}
	}
	for _, n := range []int{16 << 10, 512 << 10} {
		is("socket-buffers", report.Size(n), fmt.Sprintf("granted: send %s, receive %s", report.Size(granted(t, n, "wmem_max")), report.Size(granted(t, n, "rmem_max"))))
	}
	is("quic-streams", "64", "257 streams on 5 connections") // one more of each: the client's first connection
	is("quic-offload", "neither", "GRO off, GSO off")
	if !strings.Contains(stdout, "what each knob does to the figure it is for") {
		t.Errorf("no summary:\n%s", stdout)
	}
}

// The measurement beside a storm has figures of both. Of the knob's own storm a race-enabled server would not see the end.
func TestSweepStorm(t *testing.T) {
	t.Setenv(asMain, "1")
	k := acceptKnob()
	k.storm, k.load.RPS, k.load.Conns = 50, 100, 4
	m := &sweepJob{a: &app{stdout: os.Stdout, stderr: os.Stderr}, files: makeCert(t), knob: &k, value: &k.values[0], duration: 400 * time.Millisecond}
	p, proof, err := k.measure(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	var permits, most int
	if _, err := fmt.Sscanf(proof, "%d permits in force, at most %d steps at once;", &permits, &most); err != nil || fmt.Sprint(permits) != k.values[0].name || most < 1 || most > permits {
		t.Errorf("%q, %v, want %s permits", proof, err, k.values[0].name)
	}
	if p.P99 <= 0 || p.CPU <= 0 || p.Rate <= 0 || p.Memory <= 0 || p.Errors != 0 || !strings.Contains(proof, "handshakes complete") {
		t.Errorf("%+v, %q", p, proof)
	}
}

// Permits bound what a handler holds that answers late: the server answers all the same, in order, and no earlier than it
// is told to.
func TestReplyDelay(t *testing.T) {
	t.Setenv(asMain, "1")
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	files := makeCert(t)
	for _, command := range []string{"tls_echo_server", "quic_echo_server"} {
		srv, err := a.startServer(command, files, "--reply-delay", "30ms", "--inflight", "2")
		if err != nil {
			t.Fatal(err)
		}
		p, err := a.phase(t, srv, files, load.Config{Conns: 3, Payload: 20 << 10, Depth: 8, Window: 500 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		var s report.Server
		if err := srv.stop(&s); err != nil {
			t.Fatal(err)
		}
		if p.Frames == 0 || p.Errors.Total() != 0 || p.Latency.MinMS < 30 {
			t.Errorf("%s: %+v", command, p)
		}
		if s.HeldPeak < 1 || s.HeldPeak > 3*2 {
			t.Errorf("%s: %d frames in flight at once, on 3 connections with 2 permits each", command, s.HeldPeak)
		}
	}
}

// An unknown number of cores is no reason to lack the default.
func TestCountsHaveTheReference(t *testing.T) {
	for _, ref := range []int{1, 3, 4, 2 * runtime.GOMAXPROCS(0)} {
		v := counts(ref, "loops", 1, 2, 4)
		i := slices.IndexFunc(v, func(v sweepValue) bool { return v.ref })
		if i < 0 || v[i].name != fmt.Sprint(ref) || !slices.IsSortedFunc(v, func(a, b sweepValue) int { return len(a.name) - len(b.name) }) {
			t.Errorf("%d: %+v", ref, v)
		}
	}
}

// A knob that breaks down costs neither those before it nor those after it, nor its own complete rounds; the sweep fails, and says why.
func TestSweepKeepsWhatItHas(t *testing.T) {
	measured := 0
	knob := func(name string, breaks int) sweepKnob {
		n := 0
		return sweepKnob{name: name, figure: "rate", unit: perFrame, refIs: theDefault, values: []sweepValue{{name: "on", ref: true}, {name: "off"}},
			measure: func(context.Context, *sweepJob) (report.SweepPoint, string, error) {
				if n++; n == breaks {
					return report.SweepPoint{}, "", errors.New("it broke down")
				}
				measured++
				return report.SweepPoint{Rate: float64(n), CPU: 1, P50: 1, P99: 1, Memory: 1}, "proof", nil
			}}
	}
	o := &sweepOptions{rounds: 2, duration: time.Second, json: filepath.Join(t.TempDir(), "r.json"), chosen: []sweepKnob{knob("one", 0), knob("two", 4), knob("three", 1), knob("four", 0)}}
	var out strings.Builder
	a := &app{stdout: &out, stderr: os.Stderr, judge: easy()}
	if err := a.sweep(t.Context(), o); !errors.Is(err, errMissed) {
		t.Errorf("%v", err)
	}
	r, err := report.Read(o.json)
	if err != nil {
		t.Fatal(err)
	}
	var rounds []string
	for _, s := range r.Sweep {
		rounds = append(rounds, fmt.Sprint(s.Knob, " ", len(s.Values[0].Rounds)))
	}
	if got := strings.Join(rounds, ", "); got != "one 2, two 1, four 2" || measured != 4+3+4 {
		t.Errorf("%s, %d measurements", got, measured)
	}
	last := r.SLO[len(r.SLO)-1]
	if r.Pass || last.Verdict != report.Failed || !strings.Contains(last.Why, "two off, round 2: it broke down") && !strings.Contains(last.Why, "two on, round 2: it broke down") || !strings.Contains(last.Why, "three on, round 1") {
		t.Errorf("%+v", r.SLO)
	}
	o.chosen = []sweepKnob{knob("alone", 1)}
	if err := a.sweep(t.Context(), o); err == nil || errors.Is(err, errMissed) || !strings.Contains(err.Error(), "it broke down") {
		t.Errorf("nothing was measured: %v", err)
	}
}
