package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/hostile"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/sched"
)

// A hostile crowd of all kinds is held while no deadline ends it, the healthy load loses no request, and every descriptor
// comes back.
func TestLoris(t *testing.T) {
	out := filepath.Join(t.TempDir(), "r.json")
	args := "loris --rounds 1 --cycles 2 --duration 300ms --warmup 100ms --rps 200 --load-conns 4 --conns 30 --sources 3 --nice 1 --drip 50ms --again 100ms " +
		"--settle 0s --calm 0s --patience 5m --server min-rate=-1 --json " + out
	for _, d := range []string{"handshake", "frame", "write", "idle"} { // all that could end a hostile connection, or on a slow machine a healthy one
		args += " --server " + d + "-timeout=20m"
	}
	status, stdout, stderr := run(t, easy(), strings.Fields(args)...)
	if status != exitOK {
		t.Fatalf("exit status %d\n%s%s", status, stdout, stderr)
	}
	r, err := report.Read(out)
	if err != nil {
		t.Fatal(err)
	}
	if r.Kind != report.KindLoris || r.Loris == nil || len(r.Loris.Rounds) != 1 || r.Loris.Load.Errors.Total() != 0 {
		t.Fatalf("%+v\n%s", r.Loris, stderr)
	}
	y := r.Loris.Control
	if y == nil || len(y.Cycles) != 2 || y.P99 <= 0 || y.P99Min > y.P99 || y.P99Max < y.P99 || y.Load.Errors.Total() != 0 {
		t.Fatalf("%+v", y)
	}
	for _, c := range y.Cycles {
		for _, w := range append(c.Crowded[:], c.Free[:]...) {
			if w.Latency.Count == 0 || len(w.CPU) != 4 { // two servers, the load, the crowd
				t.Errorf("%+v", w)
			}
		}
	}
	c := r.Loris.Rounds[0].Crowd
	if c.Live+int64(c.Failed) < 30 {
		t.Errorf("%d of 30 hostile connections are held, %d could not be opened", c.Live, c.Failed)
	}
	for _, k := range hostile.Kinds() {
		if n := c.Ended[k.String()]; n != 0 {
			t.Errorf("%s: the server ended %d", k, n)
		}
	}
	if len(r.Loris.Memory) < 3 || r.Server.Reactor.Conns != 0 || r.Server.Reactor.PoolOutstanding != 0 {
		t.Errorf("%+v, %+v", r.Loris.Memory, r.Server.Reactor)
	}
	for _, want := range []string{"p99 hostile / quiet", "p99 crowded / free", "free server", "server RSS", "too few to judge"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the table lacks %q:\n%s", want, stdout)
		}
	}
}

// Every kind of hostile connection is ended by the deadline that is there for it; the healthy load beside them is not. The
// deadlines are those that a healthy connection on a slow machine keeps, and the crowd gets the time it takes.
func TestLorisIsEndedByDeadlines(t *testing.T) {
	t.Setenv(asMain, "1")
	a := &app{stdout: os.Stdout, stderr: os.Stderr, argv: []string{"ronbench"}}
	o := &lorisOptions{hostile: 18, sources: 3, atOnce: 4, drip: 50 * time.Millisecond, again: 100 * time.Millisecond, patience: 2 * patience}
	o.conns, o.rps, o.payload, o.rounds, o.duration = 4, 100, 1024, 1, time.Second
	o.server = []string{"sndbuf=" + strconv.Itoa(lorisSndBuf), "min-rate=-1"}
	for _, d := range []string{"handshake", "frame", "write"} {
		o.server = append(o.server, d+"-timeout=4s")
	}
	s, err := a.startSteady(t.Context(), &o.contrastOptions, makeCert(t))
	if err != nil {
		t.Fatal(err)
	}
	r := &report.Report{Loris: &report.Loris{Hostile: o.hostile}}
	l := &lorisRun{a: a, o: o, s: s, into: r.Loris, began: time.Now()}
	defer func() {
		for _, p := range l.crowds {
			if err := p.Stop(stopWait); err != nil {
				t.Error(err)
			}
		}
	}()
	if err := l.start(); err != nil {
		t.Fatal(err)
	}
	if err := l.read("start", true); err != nil {
		t.Fatal(err)
	}
	if err := l.form(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitEnds(t, l)
	if err := l.disperse(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.conclude(t.Context(), r, &r.Loris.Contrast, nil); err != nil {
		t.Fatal(err)
	}
	for _, why := range []string{"handshake_timeout", "read_timeout", "write_timeout"} {
		if r.Server.Reactor.ClosedBy[why] == 0 {
			t.Errorf("the server ended no connection with %s: %v", why, r.Server.Reactor.ClosedBy)
		}
	}
	if e := &r.Loris.Load.Errors; e.Total() != 0 || r.Loris.Load.Frames == 0 {
		t.Errorf("the load: %s, %s", e, e.FirstError)
	}
}

// awaitEnds waits until the server has ended a connection of every kind.
func awaitEnds(t *testing.T, l *lorisRun) {
	t.Helper()
	for limit := time.Now().Add(4 * patience); ; {
		c, err := l.counts(orderCount)
		if err != nil {
			t.Fatal(err)
		}
		missing := 0
		for _, k := range hostile.Kinds() {
			if c.Ended[k.String()] == 0 {
				missing++
			}
		}
		if missing == 0 {
			return
		}
		if time.Now().After(limit) {
			t.Errorf("%d kinds were not ended: %s", missing, &c)
			return
		}
		if err := sched.Sleep(t.Context(), 200*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}
