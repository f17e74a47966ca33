package main

import (
	"context"
	"errors"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/scripts/netem/impair"
)

// wanRefusals are those of ronbench wan and its process.
func wanRefusals() []refusal {
	return []refusal{
		{"wan --rtt 30s", []string{"--rtt", "30s", "20s"}},
		{"wan --rtt -1ms", []string{"--rtt", "-1ms"}},
		{"wan --rtt 40ms --jitter 21ms", []string{"--jitter", "21ms", "20ms"}},
		{"wan --loss 101", []string{"--loss", "101", "0 to"}},
		{"wan --loss 100", []string{"--loss", "100", "less than 100"}},
		{"wan --loss few", []string{"--loss", "few"}},
		{"wan --rate 20", []string{"--rate", "20", "mbit"}},
		{"wan --rps 0", []string{"--rps", "0"}},
		{"wan --conns 0", []string{"--conns", "0", "1 to"}},
		{"wan --payload -1", []string{"--payload", "-1"}},
		{"wan --duration 1ms", []string{"--duration", "1ms", "100ms"}},
		{"wan --warmup -1s", []string{"--warmup", "-1s"}},
		{"wan --seed -1", []string{"seed", "-1"}},
		{"wan argument", []string{"argument"}},
		{"wan_path --rtt 30s", []string{"--rtt", "30s"}},
	}
}

// Where there can be no path, the command says why, and starts nothing.
func TestWANWithoutPrivileges(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	stderr, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	a := &app{stdout: stderr, stderr: stderr, judge: easy(), probeWAN: func() error { return errors.New("no network namespaces: not permitted") }}
	status := a.main([]string{"wan", "--json", filepath.Join(tmp, "wan.json")})
	said, err := os.ReadFile(stderr.Name())
	if err != nil || status != exitFailed || string(said) != "ronbench: no network namespaces: not permitted\n" {
		t.Errorf("exit status %d, %v: %q", status, err, said)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if os.Geteuid() == 0 {
		return
	}
	if err := (&app{}).canWAN(); !errors.Is(err, impair.ErrUnable) || !strings.Contains(err.Error(), "root") {
		t.Errorf("without privileges: %v", err)
	}
}

// needWAN skips a test that needs a path.
func needWAN(t *testing.T) {
	t.Helper()
	if err := (&app{}).canWAN(); err != nil {
		t.Skip(err)
	}
}

// noPathLeft checks that the process of the path has ended, and with it everything that it had.
func noPathLeft(t *testing.T, r *report.Report) {
	t.Helper()
	for i := range r.Phases {
		for _, u := range r.Phases[i].Others {
			if err := syscall.Kill(u.PID, 0); u.Name != "path" || !errors.Is(err, syscall.ESRCH) {
				t.Errorf("%s, process %d, is still there: %v", u.Name, u.PID, err)
			}
		}
	}
	if _, err := net.InterfaceByName(impair.Device); err == nil {
		t.Errorf("a device %s outside of the namespaces", impair.Device)
	}
}

// The loads run over the path that was asked for: the round trip, the loss and the rows.
func TestWAN(t *testing.T) {
	needWAN(t)
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	out := filepath.Join(t.TempDir(), "wan.json")
	asked := 60.0
	var r *report.Report
	for range 3 { // attempts at the round trip: the machine may be busy
		status, stdout, stderr := run(t, easy(), strings.Fields("wan --rtt 60ms --loss 1 --conns 4 --rps 40 --payload 4000 --warmup 500ms --duration 1s --json "+out)...)
		var err error
		if r, err = report.Read(out); err != nil {
			t.Fatalf("exit status %d, %v\n%s%s", status, err, stdout, stderr)
		}
		if (status == exitOK) != r.Pass { // whether the rate was kept under whatever else runs here is not asked
			t.Errorf("exit status %d, %+v", status, r)
		}
		for _, want := range []string{"path: emulated", "asked", "round trip 60 ms", "loss 1 % each way", "to the server", "inter-region", "path CPU/frame"} {
			if !strings.Contains(stdout, want) {
				t.Errorf("the table lacks %q:\n%s", want, stdout)
			}
		}
		noPathLeft(t, r)
		if w := r.WAN; w != nil && math.Abs(w.MedianMS-asked) <= max(2, 0.05*asked) {
			break
		}
	}
	if w := r.WAN; w == nil || math.Abs(w.MedianMS-asked) > max(2, 0.05*asked) || w.Answered < 80 || w.MinMS < asked || w.Means != report.WANByTUN {
		t.Fatalf("%+v", w)
	}
	if r.Kind != report.KindWAN || len(r.Phases) != 2 || r.Server == nil || r.QUICServer == nil || r.SLOTargets == "" {
		t.Errorf("%+v", r)
	}
	for _, c := range []impair.Counters{r.WAN.Counters.ToServer, r.WAN.Counters.ToClient} {
		if c.Lost == 0 || c.Out == 0 || c.In != c.Out+c.Lost+c.Overflow+c.Unsent+c.Held {
			t.Errorf("%+v", c)
		}
	}
	rows := rowsOf(r)
	for _, id := range []string{"open loop/interregion_p95", "open loop/interregion_p99", "open loop/rate_kept", "QUIC open loop/interregion_p95"} {
		if row := rows[id]; row == nil || row.Measured < 0.99*asked || row.Measured == 0 {
			t.Errorf("%s: %+v", id, row)
		}
	}
	for i := range r.Phases {
		if p := &r.Phases[i]; p.RTTms != r.WAN.MedianMS || p.Latency.P50 < asked || !strings.Contains(p.Target, impair.DefaultB.Addr().String()) || p.Errors.WrongPayload != 0 {
			t.Errorf("%+v", p)
		}
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// settingsNow are settings of sysctl(8) as this thread's namespace has them.
func settingsNow(settings []string) string {
	var out []string
	for _, s := range settings {
		name, _, _ := strings.Cut(s, "=")
		b, err := os.ReadFile(sysctl(name))
		if err != nil {
			b = []byte(err.Error())
		}
		out = append(out, name+"="+strings.TrimSpace(string(b)))
	}
	return strings.Join(out, " ")
}

// The hosts of a path are set, both, and this one is not.
func TestWANTuning(t *testing.T) {
	needWAN(t)
	t.Setenv(asMain, "1")
	const name = "net.ipv4.tcp_slow_start_after_idle="
	want := name + "0"
	before := settingsNow([]string{want})
	if before == want {
		want = name + "1"
	}
	a := &app{stdout: new(strings.Builder), stderr: os.Stderr}
	p, err := a.startWANPath(&wanPathOptions{loss: "0", rate: "0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(p.tune(hostTuning()), p.tune([]string{want})); err != nil {
		t.Error(err)
	}
	if err := p.tune([]string{"net.ipv4.tcp_congestion_control=no_such"}); err == nil || !strings.Contains(err.Error(), "no_such") || !strings.Contains(err.Error(), "server's end") {
		t.Errorf("a setting that the kernel refuses: %v", err)
	}
	for _, n := range []*impair.Namespace{p.client, p.server} {
		var got string
		if err := n.Inside(func() error { got = settingsNow([]string{hostTuning()[0], want}); return nil }); err != nil || got != hostTuning()[0]+" "+want {
			t.Errorf("%v, %q", err, got)
		}
	}
	if err := p.stop(nil); err != nil {
		t.Error(err)
	}
	if now := settingsNow([]string{want}); now != before {
		t.Errorf("the machine itself: %q, before %q", now, before)
	}
}

// A run that is interrupted in its load ends with the results so far, and nothing of the path is left.
func TestWANInterrupted(t *testing.T) {
	needWAN(t)
	t.Setenv(asMain, "1")
	out := filepath.Join(t.TempDir(), "wan.json")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := &app{stdout: new(strings.Builder), stderr: os.Stderr, judge: easy()}
	o := &wanOptions{path: wanPathOptions{rtt: 10 * time.Millisecond, loss: "0", rate: "0"}, conns: 2, rps: 20, payload: 100, duration: time.Hour, quic: true, json: out}
	if err := o.validate(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- a.wan(ctx, o) }()
	time.Sleep(4 * time.Second) // in the load, on most machines; before it on slow ones, which is the other case
	cancel()
	err := <-ended
	if errors.Is(err, context.Canceled) {
		return // no results yet, and so it says
	}
	r, rerr := report.Read(out)
	if rerr != nil || !r.Interrupted || len(r.Phases) != 1 {
		t.Fatalf("%v, %v, %+v", err, rerr, r)
	}
	noPathLeft(t, r)
}
