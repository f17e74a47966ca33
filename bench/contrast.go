package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/child"
	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// contrastOptions are the flags that all measurements of a disturbance share.
type contrastOptions struct {
	conns, rps, payload int
	rounds              int
	duration, warmup    time.Duration
	server              []string // knobs of the server, name=value
	gate                bool
	json                string
}

// register declares the flags.
func (o *contrastOptions) register(f *pflag.FlagSet) {
	f.IntVar(&o.conns, "load-conns", defaultConns, "connections of the steady load")
	f.IntVar(&o.rps, "rps", 1500, "requests of the steady load due per second (open loop)")
	f.IntVar(&o.payload, "payload", defaultPayload, "payload of each request, bytes")
	f.IntVar(&o.rounds, "rounds", 3, "pairs of windows")
	f.DurationVar(&o.duration, "duration", 3*time.Second, "length of a window")
	f.DurationVar(&o.warmup, "warmup", defaultWarmup, "load before the first window")
	f.StringArrayVar(&o.server, "server", nil, "a flag of tls_echo_server as name=value; may be given more than once")
	f.BoolVar(&o.gate, "gate", false, "exit with status 1 when a target is missed")
	f.StringVar(&o.json, "json", "", "write the report to this file")
}

func (o *contrastOptions) load() load.Config {
	return load.Config{Conns: o.conns, Payload: o.payload, RPS: o.rps, Warmup: o.warmup, Window: load.MaxWindow}
}

func (o *contrastOptions) validate() error {
	errs := []error{
		load.CheckRange("load-conns", o.conns, 1, load.MaxConns), load.CheckRange("rps", o.rps, 1, maxRate),
		load.CheckRange("payload", o.payload, 0, load.MaxPayload), load.CheckRange("rounds", o.rounds, 1, maxRounds),
		load.CheckDuration("duration", o.duration, load.MinWindow, time.Hour), load.CheckDuration("warmup", o.warmup, 0, load.MaxWarmup),
	}
	_, err := serverArgs(o.server)
	return errors.Join(append(errs, err)...)
}

// serverArgs turns name=value into flags of the server.
func serverArgs(pairs []string) ([]string, error) {
	var out []string
	for _, p := range pairs {
		if name, _, ok := strings.Cut(p, "="); !ok || name == "" || strings.HasPrefix(name, "-") {
			return nil, &load.FlagError{Flag: "server", Value: fmt.Sprintf("%q", p), Allowed: "name=value, a flag of tls_echo_server without its dashes"}
		}
		out = append(out, "--"+p)
	}
	return out, nil
}

// steady is a server with a steady load on it, under way.
type steady struct {
	srv   *serverProcess
	fleet *load.Fleet
	files *cert.Files
	procs []namedProcess

	stop  context.CancelFunc
	ended chan struct{}
	phase *report.Phase
	err   error
}

// namedProcess is measured in every window.
type namedProcess struct {
	name string
	pid  int
}

// startSteady starts a server and the load on it; the load runs in this process.
func (a *app) startSteady(ctx context.Context, o *contrastOptions, files *cert.Files) (*steady, error) {
	args, err := serverArgs(o.server)
	if err != nil {
		return nil, err
	}
	srv, err := a.startServer("tls_echo_server", files, args...)
	if err != nil {
		return nil, err
	}
	s := &steady{srv: srv, files: files, ended: make(chan struct{})}
	s.procs = []namedProcess{{"server", srv.PID()}, {"load", os.Getpid()}}
	if err := s.connect(ctx, o); err != nil {
		return nil, errors.Join(err, srv.stop(nil))
	}
	lctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	s.stop = stop
	begun := make(chan struct{})
	go func() {
		defer close(s.ended)
		s.phase, s.err = s.fleet.Measure(lctx, load.Hooks{Begin: func() { close(begun) }, End: func() {}})
	}()
	select {
	case <-begun:
		return s, nil
	case <-s.ended:
		return nil, errors.Join(s.err, srv.stop(nil))
	case <-ctx.Done():
		_, err := s.finish(nil)
		return nil, errors.Join(ctx.Err(), err)
	}
}

func (s *steady) connect(ctx context.Context, o *contrastOptions) error {
	nc, err := s.srv.netConfig(s.files, true, load.Config{})
	if err == nil {
		s.fleet, err = openFleet(ctx, nc, o.load())
	}
	return err
}

// window measures the load for d.
func (s *steady) window(ctx context.Context, d time.Duration) (hist.Latency, []report.CPUShare, error) {
	return window(ctx, s.fleet, s.procs, d)
}

// window measures a load, and what processes use meanwhile, for d.
func window(ctx context.Context, fleet *load.Fleet, procs []namedProcess, d time.Duration) (hist.Latency, []report.CPUShare, error) {
	from, err := cpuTimes(procs)
	if err != nil {
		return hist.Latency{}, nil, err
	}
	began := time.Now()
	l, err := fleet.Slice(ctx, d)
	if err != nil {
		return l, nil, err
	}
	to, err := cpuTimes(procs)
	took := time.Since(began)
	var shares []report.CPUShare
	for i := range to {
		shares = append(shares, report.CPUShare{Process: procs[i].name, Pct: 100 * float64(to[i]-from[i]) / float64(took)})
	}
	return l, shares, err
}

func cpuTimes(procs []namedProcess) ([]time.Duration, error) {
	var out []time.Duration
	for _, p := range procs {
		t, err := proc.CPUTime(p.pid)
		if err != nil {
			return nil, err
		}
		out = append(out, t)
	}
	return out, nil
}

// finish ends the load and the server and returns the load's figures; the server's go into r.
func (s *steady) finish(r *report.Server) (*report.Phase, error) {
	s.stop()
	<-s.ended
	return s.phase, errors.Join(s.err, s.srv.stop(r))
}

// orderWait is how long a hostile process may take to answer an order: it waits for its connections, each of which has its
// own patience.
const orderWait = 60 * time.Second

// startHostile starts a process that takes orders.
func (a *app) startHostile(args ...string) (*child.Process, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return child.Start(nil, exe, args...)
}

// ask gives an order that is answered with counts, and reads them into v.
func ask(p *child.Process, order string, v any) error {
	return askFor(p, order, lineCounts, orderWait, v)
}

// askFor gives an order that is answered with a line that begins with prefix, within wait, and reads what follows there, JSON, into v.
func askFor(p *child.Process, order, prefix string, wait time.Duration, v any) error {
	if err := p.Tell(order); err != nil {
		return err
	}
	line, err := p.WaitLine(prefix, wait)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(strings.TrimPrefix(line, prefix)), v)
}

// say shows a line of progress.
func say(w io.Writer, began time.Time, format string, args ...any) {
	fmt.Fprintf(w, "%6.1f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}

// conclude ends the load and its server and notes in r what they report; rerr is how the rounds ended. An interrupted
// measurement keeps what it has.
func (s *steady) conclude(ctx context.Context, r *report.Report, into *report.Contrast, rerr error) error {
	r.Server = new(report.Server)
	p, err := s.finish(r.Server)
	if err = errors.Join(rerr, err); err != nil && ctx.Err() == nil {
		return err
	}
	r.Interrupted = ctx.Err() != nil
	if p != nil {
		p.Name, into.Load = "steady load", *p
	}
	return nil
}
