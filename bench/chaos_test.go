package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/chaos"
	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/hostile"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/scripts/netem/impair"
)

// chaosRefusals are those of ronbench chaos and its client.
func chaosRefusals() []refusal {
	return []refusal{
		{"chaos --rows weather", []string{"--rows", "weather", "matrix"}},
		{"chaos --rows mtu,mtu", []string{"--rows", "mtu,mtu", "each once"}},
		{"chaos --rows ", []string{"--rows"}},
		{"chaos --transports tor", []string{"--transports", "tor", "quic-many"}},
		{"chaos --loss 100", []string{"--loss", "100", "less than 100"}},
		{"chaos --loss -1", []string{"--loss", "-1"}},
		{"chaos --loss NaN", []string{"--loss", "NaN"}},
		{"chaos --loss few", []string{"loss", "few"}},
		{"chaos --rtt 3s", []string{"--rtt", "3s", "2s"}},
		{"chaos --duration 1ms", []string{"--duration", "1ms", "500ms"}},
		{"chaos --duration 1h", []string{"--duration", "1h", "1m0s"}},
		{"chaos --conns 0", []string{"--conns", "0", "1 to"}},
		{"chaos --rps 0", []string{"--rps", "0", "1 to"}},
		{"chaos --payload 19", []string{"--payload", "19", "20 to"}},
		{"chaos --seed -1", []string{"seed", "-1"}},
		{"chaos argument", []string{"argument"}},
		{"chaos_client --ca /nowhere", []string{"--ca", "/nowhere"}},
		{"hostile_crowd --kinds nice", []string{"--kinds", "nice", "body_drip"}},
	}
}

// --short has other defaults, and what a flag says stays.
func TestChaosShort(t *testing.T) {
	o := &chaosOptions{rows: chaosRows(), loss: []float64{5}, duration: time.Minute}
	o.shorten(func(flag string) bool { return flag == "loss" })
	if !slices.Equal(o.rows, shortRows()) || !slices.Equal(o.loss, []float64{5}) || o.duration != time.Second || len(o.rtt) != 1 || len(o.transports) != 3 {
		t.Errorf("%+v", o)
	}
	for _, row := range shortRows() {
		if !slices.Contains(chaosRows(), row) {
			t.Errorf("%s is no row", row)
		}
	}
}

func TestFaultTransports(t *testing.T) {
	for _, tc := range []struct{ have, want []string }{
		{chaosTransports(), []string{report.ChaosTLS, report.ChaosQUIC}},
		{[]string{report.ChaosQUICMany}, []string{report.ChaosQUICMany}},
		{[]string{report.ChaosTLS}, []string{report.ChaosTLS}},
		{[]string{report.ChaosTLSTuned}, []string{report.ChaosTLSTuned}},
	} {
		o := chaosOptions{transports: tc.have}
		if got := o.faultTransports(); !slices.Equal(got, tc.want) {
			t.Errorf("%v: %v, want %v", tc.have, got, tc.want)
		}
	}
}

// Connections may end as a fault has them end, and in no other way; and what has ended is opened again.
func TestUnexpectedEnds(t *testing.T) {
	for _, tc := range []struct {
		name    string
		allowed []string
		ends    map[string]uint64
		dialled uint64
		want    string
	}{
		{"none, as it should be", nil, nil, 4, ""},
		{"one that was to live on", nil, map[string]uint64{"io": 1}, 5, "1 io"},
		{"all, for the right reason", []string{"idle_timeout"}, map[string]uint64{"idle_timeout": 4}, 8, ""},
		{"all, for one of two reasons", []string{"idle_timeout", "io"}, map[string]uint64{"idle_timeout": 3, "io": 1}, 8, ""},
		{"all, one for another reason", []string{"idle_timeout"}, map[string]uint64{"idle_timeout": 3, "tls": 1}, 8, "1 tls"},
		{"not all", []string{"idle_timeout"}, map[string]uint64{"idle_timeout": 3}, 7, "4 connections were to end"},
		{"not opened again", []string{"idle_timeout"}, map[string]uint64{"idle_timeout": 4}, 7, "3 were opened again"},
	} {
		f := &fault{ends: tc.allowed}
		got := strings.Join(f.unexpected(&report.ChaosFault{Books: report.ChaosBooks{Ends: tc.ends, Dialled: tc.dialled}}, 4, "first"), "; ")
		if (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
}

// ranChaos runs ronbench chaos and reads its report.
func ranChaos(t *testing.T, noPath error, args ...string) (r *report.Report, status int, stdout string) {
	t.Helper()
	t.Setenv(asMain, "1")
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	out := filepath.Join(t.TempDir(), "chaos.json")
	var said strings.Builder
	a := &app{stdout: &said, stderr: os.Stderr, judge: easy()}
	if noPath != nil {
		a.probeWAN = func() error { return noPath }
	}
	status = a.main(append([]string{"chaos", "--json", out}, args...))
	r, err := report.Read(out)
	if err != nil {
		t.Fatalf("exit status %d, %v\n%s", status, err, &said)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	return r, status, said.String()
}

// Without a path the rows that need one are left out, with the reason, and the others run: a peer that is killed, a server that is stopped for longer
// than its deadlines, bombs, and every kind of slow-loris.
func TestChaosWithoutPath(t *testing.T) {
	r, status, stdout := ranChaos(t, errors.New("no network namespaces"), "--short", "--transports", "tls", "--duration", "500ms", "--conns", "4", "--rows", "matrix,streams,peer-killed,clock,bombs,loris")
	if status != exitOK || !r.Pass {
		t.Errorf("exit status %d\n%s", status, stdout)
	}
	if c := r.Chaos; len(c.LeftOut) != 2 || c.LeftOut[0].Row != rowMatrix || c.LeftOut[1].Row != rowStreams || c.LeftOut[0].Why != "no network namespaces" || len(c.Cells) != 0 {
		t.Errorf("%+v", c)
	}
	if len(r.Chaos.Faults) != 7 {
		t.Fatalf("%d rows", len(r.Chaos.Faults))
	}
	for i := range r.Chaos.Faults {
		f := &r.Chaos.Faults[i]
		if f.Fault() != "" || f.Books.Counts.Answered != f.Books.Counts.Sent || f.Recovery == nil || f.Before.Count == 0 || f.After.Count == 0 {
			t.Errorf("%s: %s, %+v", f.Name(), f.Fault(), f)
		}
		if killed := f.Row == rowKilled; killed != (f.Books.Ended() > 0) || killed != (f.Books.Dialled > 4) {
			t.Errorf("%s: %+v", f.Name(), f.Books)
		}
	}
}

// One tiny cell of the matrix, a partition, and one round trip of the ablation's kind, over a path.
func TestChaosCell(t *testing.T) {
	needWAN(t)
	r, status, stdout := ranChaos(t, nil, "--rows", "matrix,partition-kill", "--transports", "tls,quic-many", "--loss", "2", "--rtt", "20ms", "--duration", "500ms", "--conns", "2", "--rps", "20", "--payload", "2000")
	if status != exitOK || len(r.Chaos.Cells) != 2 || len(r.Chaos.Faults) != 2 || len(r.Chaos.LeftOut) != 0 {
		t.Fatalf("exit status %d, %+v\n%s", status, r.Chaos, stdout)
	}
	for i := range r.Chaos.Cells {
		c := &r.Chaos.Cells[i]
		if n := c.Books.Counts; n.Answered != n.Sent || n.Answered == 0 || c.Open.P50 < 20 || c.FPS == 0 || c.PathLost == 0 || c.Books.Ended() != 0 {
			t.Errorf("%+v", c)
		}
	}
	for i := range r.Chaos.Faults {
		if f := &r.Chaos.Faults[i]; f.Books.Ended() != 2 || f.Books.Dialled != 4 || f.Recovery.CaughtUpS < 0 || f.During.MaxMS < 1000 {
			t.Errorf("%+v", f)
		}
	}
}

// A cell between tuned hosts runs between such, and what needs no path, on this machine, is not said to.
func TestChaosTunedHosts(t *testing.T) {
	needWAN(t)
	r, status, stdout := ranChaos(t, nil, "--rows", "matrix,peer-killed", "--transports", "tls-tuned", "--loss", "0", "--rtt", "20ms", "--duration", "500ms", "--conns", "2", "--rps", "20", "--payload", "2000")
	if status != exitOK || len(r.Chaos.Cells) != 1 || len(r.Chaos.Faults) != 1 {
		t.Fatalf("exit status %d, %+v\n%s", status, r.Chaos, stdout)
	}
	if c := r.Chaos; c.Cells[0].Transport != report.ChaosTLSTuned || c.Faults[0].Transport != report.ChaosTLS || !slices.Equal(c.Tuning, hostTuning()) || !strings.Contains(stdout, hostTuning()[0]) {
		t.Errorf("%+v\n%s", c, stdout)
	}
	files, err := cert.Make(impair.DefaultB.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = files.Remove() }()
	c := &chaosRun{a: &app{stdout: new(strings.Builder), stderr: os.Stderr}, o: &chaosOptions{conns: 2}, into: new(report.Chaos), files: files, progress: report.NewProgress(os.Stderr)}
	for _, transport := range []string{report.ChaosTLS, report.ChaosTLSTuned} {
		s, err := c.build(t.Context(), c.onPath(transport))
		if err != nil {
			t.Fatal(err)
		}
		var got string
		if err := s.path.client.Inside(func() error { got = settingsNow(hostTuning()); return nil }); err != nil || (got == strings.Join(hostTuning(), " ")) != (transport == report.ChaosTLSTuned) {
			t.Errorf("%s: %v, %q", transport, err, got)
		}
		if err := s.abandon(); err != nil {
			t.Error(err)
		}
	}
}

// A row whose load was not served as before when its time was over fails, also when all is answered once the load has ended.
func TestChaosRowNotServed(t *testing.T) {
	t.Setenv(asMain, "1")
	a := &app{stdout: new(strings.Builder), stderr: os.Stderr, judge: easy()}
	o := &chaosOptions{duration: 5 * chaos.Bin, conns: 2, payload: 100, rps: 10, transports: []string{report.ChaosTLS}}
	c := &chaosRun{a: a, o: o, into: new(report.Chaos), files: makeCert(t), progress: report.NewProgress(os.Stderr)}
	f := fault{row: rowClock, spec: c.onLoopback(report.ChaosTLS), lasts: chaos.Bin, limit: chaos.Bin, bite: func(*report.ChaosFault, *report.WANCounters) bool { return true }}
	f.harm = func(_ context.Context, s *stand) error {
		s.spec.client.Conns++ // one that never comes
		return nil
	}
	f.heal = func(*stand) error { return nil }
	if err := c.fault(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	got := &c.into.Faults[0]
	if n := got.Books.Counts; !strings.Contains(got.Fault(), "not served as before") || n.Answered != n.Sent || n.Answered == 0 || got.Recovery == nil {
		t.Errorf("%s: %+v", got.Fault(), got)
	}
}

// A crowd ends with the row that could not go on, and not with the whole run.
func TestChaosCrowdEnds(t *testing.T) {
	t.Setenv(asMain, "1")
	a := &app{stdout: new(strings.Builder), stderr: os.Stderr, judge: easy()}
	o := &chaosOptions{duration: 5 * chaos.Bin, conns: 2, payload: 100, rps: 10, transports: []string{report.ChaosTLS}}
	c := &chaosRun{a: a, o: o, into: new(report.Chaos), files: makeCert(t), progress: report.NewProgress(os.Stderr)}
	s, err := c.build(t.Context(), c.onLoopback(report.ChaosTLS))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.abandon(); err != nil {
			t.Error(err)
		}
	}()
	over, cancel := context.WithCancel(t.Context())
	cancel()
	x := &crowdRun{kind: hostile.Silent, conns: 2, deadline: time.Minute}
	if err := x.form(over, s); !errors.Is(err, context.Canceled) || x.crowd == nil {
		t.Fatalf("%v", err)
	}
	select {
	case <-x.crowd.Exited():
	default:
		t.Error("the crowd is still there")
		_ = x.crowd.Stop(stopWait)
	}
}

// Every row knows by what its fault shows, and fails when it has not taken place.
func TestChaosFaultsBite(t *testing.T) {
	c := &chaosRun{o: &chaosOptions{duration: 5 * chaos.Bin, conns: 2}}
	long := func(d time.Duration) hist.Latency {
		return hist.Latency{P50: stepRTT.Seconds() * 1e3, MaxMS: d.Seconds() * 1e3}
	}
	var dropped report.WANCounters
	dropped.ToServer.TooBig = 1
	for _, kind := range []func(string) fault{c.partition, c.cut, c.killed, c.rttStep, c.collapse, c.blackHole, c.clock} {
		f := kind(report.ChaosTLS)
		if f.bite == nil {
			t.Errorf("%s: nothing shows its fault", f.row)
			continue
		}
		usual := &report.ChaosFault{During: hist.Latency{P50: 20, MaxMS: 40}, FaultS: f.lasts.Seconds(), Served: uint64(f.lasts.Seconds() * faultRPS)}
		if f.bite(usual, new(report.WANCounters)) {
			t.Errorf("%s: a load that was served as always passes for one under a fault", f.row)
		}
		harmed := &report.ChaosFault{During: long(f.lasts), FaultS: f.lasts.Seconds(), Served: 10}
		if !f.bite(harmed, &dropped) {
			t.Errorf("%s: a load under its fault does not", f.row)
		}
	}
}

// A row whose fault did not take place fails.
func TestChaosFaultMissing(t *testing.T) {
	t.Setenv(asMain, "1")
	a := &app{stdout: new(strings.Builder), stderr: os.Stderr, judge: easy()}
	o := &chaosOptions{duration: 5 * chaos.Bin, conns: 2, payload: 100, rps: 10, transports: []string{report.ChaosTLS}}
	c := &chaosRun{a: a, o: o, into: new(report.Chaos), files: makeCert(t), progress: report.NewProgress(os.Stderr)}
	f := c.clock(report.ChaosTLS)
	f.lasts, f.harm = chaos.Bin, func(context.Context, *stand) error { return nil }
	f.bite = func(*report.ChaosFault, *report.WANCounters) bool { return false }
	if err := c.fault(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	if got := c.into.Faults[0].Fault(); !strings.Contains(got, "the fault has not shown") {
		t.Errorf("%q", got)
	}
}

// The row of a killed server allows only the ends that its death brings about: a connection that ends for a frame that is not one does not pass.
func TestKilledEnds(t *testing.T) {
	c := &chaosRun{o: &chaosOptions{duration: 5 * chaos.Bin, conns: 2}}
	for _, transport := range chaosTransports() {
		f := c.killed(transport)
		for _, why := range []string{reactor.ReasonBadFrame, "bad_version", "frame_too_large", "decompress_overflow"} {
			if slices.Contains(f.ends, why) {
				t.Errorf("%s: %s is allowed", transport, why)
			}
		}
	}
}

// A row whose server is gone for good fails, and says so; the run goes on.
func TestChaosRowFails(t *testing.T) {
	t.Setenv(asMain, "1")
	a := &app{stdout: new(strings.Builder), stderr: os.Stderr, judge: easy()}
	o := &chaosOptions{duration: 5 * chaos.Bin, conns: 2, payload: 100, rps: 10, transports: []string{report.ChaosTLS}}
	c := &chaosRun{a: a, o: o, into: new(report.Chaos), files: makeCert(t), progress: report.NewProgress(os.Stderr)}
	f := c.killed(report.ChaosTLS)
	f.heal = func(*stand) error { return errors.New("it cannot be started again") }
	if err := c.fault(t.Context(), &f); err != nil {
		t.Fatal(err)
	}
	if len(c.into.Faults) != 1 || !strings.Contains(c.into.Faults[0].Fault(), "it cannot be started again") {
		t.Errorf("%+v", c.into.Faults)
	}
	if rows := report.JudgeChaos(c.into, easy()); report.AllPass(rows) {
		t.Errorf("%+v", rows)
	}
}
