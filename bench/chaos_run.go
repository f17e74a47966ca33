package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/chaos"
	"github.com/ron-transport/ron-transport/bench/internal/child"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/sched"
	"github.com/ron-transport/ron-transport/scripts/netem/impair"
)

// Patience of a chaos run.
const (
	// chaosPoll is the pause between two looks at the client, which the live line shows.
	chaosPoll = 100 * time.Millisecond
	// chaosOpenWait is how long connections may take to be there: handshakes over the worst cell, on a busy machine.
	chaosOpenWait = 60 * time.Second
	// chaosDrain is how long the last answers may take: retransmissions back off for seconds on a path that loses.
	chaosDrain = 60 * time.Second
)

// chaosRun is the run under way.
type chaosRun struct {
	a        *app
	o        *chaosOptions
	into     *report.Chaos
	files    *cert.Files
	progress *report.Progress
	noPath   error // why there can be no path
	row      string
	done, of int // rows
}

// step is one row.
type step struct {
	name, label string
	path        bool // it needs one
	do          func(ctx context.Context) error
}

// run is all rows, one after the other.
func (c *chaosRun) run(ctx context.Context) (err error) {
	if c.files, err = cert.Make(impair.DefaultB.Addr().String()); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.files.Remove()) }()
	steps := slices.Concat(c.cells(), c.faults(), c.hostile(), c.ablation())
	c.of = len(steps)
	for i, s := range steps {
		c.done, c.row = i+1, s.label
		if s.path && c.noPath != nil {
			if l := c.into.LeftOut; len(l) == 0 || l[len(l)-1].Row != s.name { // once for each kind
				c.into.LeftOut = append(c.into.LeftOut, report.ChaosLeftOut{Row: s.name, Why: c.noPath.Error()})
			}
			continue
		}
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.label, err)
		}
	}
	return nil
}

// say shows the live line.
func (c *chaosRun) say(what string) {
	c.progress.Line(time.Now(), fmt.Sprintf("%d of %d: %s: %s", c.done, c.of, c.row, what))
}

// standSpec says what a row runs on.
type standSpec struct {
	transport  string         // of the report's
	path       *impair.Params // of both directions; nil: loopback
	seed       uint64         // of the path
	client     chaos.Config   // conns, streams, depth, rate, payload, deadlines
	serverArgs []string
	env        []string // of the server, beside this process' own
}

// stand is what a row runs on: a path, a server and its load, each a process.
type stand struct {
	c    *chaosRun
	spec standSpec
	path *wanPath // nil on loopback
	srv  *serverProcess
	load chaosLoad
	// recovered says that the load was served as before the fault when it was last looked at.
	recovered bool
}

// build starts all processes, and returns when every connection is open.
func (c *chaosRun) build(ctx context.Context, spec standSpec) (s *stand, err error) {
	s = &stand{c: c, spec: spec}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.abandon())
		}
	}()
	if spec.path != nil {
		o := &wanPathOptions{loss: "0", rate: "0", seed: spec.seed}
		if s.path, err = c.a.startWANPath(o); err != nil {
			return s, err
		}
		if spec.transport == report.ChaosTLSTuned {
			if err := s.path.tune(hostTuning()); err != nil {
				return s, err
			}
			c.into.Tuning = hostTuning()
		}
		if err := s.path.set(*spec.path); err != nil {
			return s, err
		}
	}
	if err := s.startServer(""); err != nil {
		return s, err
	}
	if err := s.startLoad(); err != nil {
		return s, err
	}
	return s, s.settle(ctx)
}

// inServer and inClient run f where the two ends are.
func (s *stand) inServer(f func() error) error {
	if s.path == nil {
		return f()
	}
	return s.path.server.Inside(f)
}

func (s *stand) inClient(f func() error) error {
	if s.path == nil {
		return f()
	}
	return s.path.client.Inside(f)
}

// isQUIC says whether a transport of the report's is QUIC.
func isQUIC(transport string) bool {
	return transport == report.ChaosQUIC || transport == report.ChaosQUICMany
}

// startServer starts the server; with an address, there.
func (s *stand) startServer(addr string) error {
	transport := load.TLS
	if isQUIC(s.spec.transport) {
		transport = load.QUIC
	}
	if addr == "" && s.path != nil {
		addr = netip.AddrPortFrom(impair.DefaultB.Addr(), 0).String()
	}
	args := slices.Clone(s.spec.serverArgs)
	if addr != "" {
		args = append(args, "--listen", addr)
	}
	return s.inServer(func() (err error) {
		s.srv, err = s.c.a.startServerWith(s.spec.env, ourCommand(transport), s.c.files, args...)
		return err
	})
}

// startLoad starts the client.
func (s *stand) startLoad() error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	o := chaosClientOptions{transport: s.srv.transport, ca: s.c.files.Cert, Config: s.spec.client}
	o.Addr = s.srv.addr
	return s.inClient(func() (err error) {
		s.load.Process, err = child.Start(nil, exe, o.args()...)
		return err
	})
}

// settle waits until every connection is open.
func (s *stand) settle(ctx context.Context) error {
	for limit := time.Now().Add(chaosOpenWait); ; {
		st, err := s.load.status()
		if err != nil {
			return err
		}
		if st.Live == s.spec.client.Conns {
			return nil
		}
		if time.Now().After(limit) {
			return fmt.Errorf("%d of %d connections are open after %s", st.Live, s.spec.client.Conns, chaosOpenWait)
		}
		s.c.say(fmt.Sprintf("connecting, %d of %d", st.Live, s.spec.client.Conns))
		if err := sched.Sleep(ctx, chaosPoll); err != nil {
			return err
		}
	}
}

// watch shows the load for d, and after that until enough is content; limit bounds it all. most is how many requests were awaited at most.
func (s *stand) watch(ctx context.Context, what string, d, limit time.Duration, enough func(chaos.Status) bool) (most int, err error) {
	began := time.Now()
	last, lastAt := chaos.Status{}, began
	for {
		st, err := s.load.status()
		if err != nil {
			return most, err
		}
		now := time.Now()
		rate := float64(st.Good-last.Good) / max(now.Sub(lastAt).Seconds(), 1e-3)
		if last.Good == 0 {
			rate = 0
		}
		last, lastAt, most = st, now, max(most, st.Awaited)
		s.c.say(fmt.Sprintf("%s, %4.1f s, %.0f replies/s, %d awaited, %d of %d connections, %d wrong",
			what, now.Sub(began).Seconds(), rate, st.Awaited, st.Live, s.spec.client.Conns, st.Wrong))
		past := now.Sub(began)
		if past >= d && (enough == nil || enough(st) || past >= limit) {
			return most, nil
		}
		if err := sched.Sleep(ctx, min(chaosPoll, max(d-past, chaosPoll/10))); err != nil {
			return most, err
		}
	}
}

// end finishes the load, ends all processes in good order, and returns what the client, the server and the path have counted.
func (s *stand) end() (r *chaos.Result, srv report.Server, path report.WANCounters, err error) {
	r, err = s.load.finish(chaosDrain)
	err = errors.Join(err, s.load.Stop(stopWait))
	if err != nil {
		return r, srv, path, errors.Join(err, s.abandonRest())
	}
	err = s.srv.stop(&srv)
	if s.path != nil {
		var perr error
		path, perr = s.path.end()
		err = errors.Join(err, perr)
	}
	return r, srv, path, err
}

// abandon ends what there is of a stand, without figures.
func (s *stand) abandon() error {
	var err error
	if s.load.Process != nil {
		err = s.load.Stop(stopWait)
	}
	return errors.Join(err, s.abandonRest())
}

func (s *stand) abandonRest() error {
	var errs []error
	if s.srv != nil && s.srv.Process != nil {
		errs = append(errs, s.srv.stop(nil))
	}
	if s.path != nil {
		errs = append(errs, s.path.stop(nil))
	}
	return errors.Join(errs...)
}

// books takes over what the client's ledger says.
func books(r *chaos.Result) report.ChaosBooks {
	return report.ChaosBooks{Counts: r.Counts, Ends: r.Ends, Dialled: r.Dialled, DialFailed: r.DialFailed}
}

// stageOf is the stage of a name.
func stageOf(r *chaos.Result, name string) chaos.Stage {
	for _, s := range r.Stages {
		if s.Name == name {
			return s
		}
	}
	return chaos.Stage{}
}
