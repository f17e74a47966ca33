package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// runClient is the whole life of a load client.
func (a *app) runClient(ctx context.Context, o *clientOptions) error {
	if o.parent {
		var cancel context.CancelFunc
		ctx, cancel = untilEOF(ctx, os.Stdin)
		defer cancel()
	}
	r, err := report.New(report.KindClient, a.argv)
	if err != nil {
		return err
	}
	rec, err := o.profiles.start(a)
	if err != nil {
		return err
	}
	p, err := a.measure(ctx, o)
	if err = errors.Join(err, rec.stop()); err != nil {
		return err
	}
	r.Phases = []report.Phase{*p}
	r.Interrupted = ctx.Err() != nil
	if err := a.finish(r, o.json); err != nil {
		return err
	}
	if n := p.Errors.Total(); n > 0 {
		return fmt.Errorf("%d errors", n)
	}
	return nil
}

// measure connects, runs the load and fills in what the processes used.
func (a *app) measure(ctx context.Context, o *clientOptions) (*report.Phase, error) {
	if _, err := proc.RaiseFDLimit(o.load.Conns + spareFDs); err != nil {
		return nil, usage(fmt.Errorf("--conns: %w", err))
	}
	nc, err := o.netConfig()
	if err != nil {
		return nil, usage(err)
	}
	if clientKindOf(o.transport).tor {
		if nc.Tor, err = o.tor.open(ctx, a.stderr); err != nil {
			return nil, err
		}
		defer func() { _ = nc.Tor.Close() }() // the figures are there
		if o.tor.hello > 0 {
			return a.measureHellos(ctx, o, nc)
		}
		if nc.Circuits = o.tor.circuits; nc.Circuits == 0 {
			nc.Circuits = min(o.load.Conns, load.MaxCircuits)
		}
	}
	if nc.TLS != nil && nc.TLS.InsecureSkipVerify {
		fmt.Fprintf(a.stderr, "the server's certificate is %s\n", nc.Verified)
	}
	n, err := load.NewNet(nc)
	if err != nil {
		return nil, o.quic.explain(err)
	}
	fleet, err := load.NewFleet(o.load, n)
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	if err := fleet.Open(ctx, o.resume, nil); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	meter, err := o.newMeter()
	if err != nil {
		return nil, err
	}
	progress := report.NewProgress(a.stderr)
	name := phaseName(&o.load)
	p, err := fleet.Measure(ctx, load.Hooks{Begin: meter.begin, End: meter.end, Sample: meter.sample, Progress: func(l load.Live) {
		progress.Line(time.Now(), liveLine(name, l))
	}})
	progress.Done()
	if err != nil {
		return nil, err
	}
	p.Name = name
	if err := meter.fill(p); err != nil && p.Errors.FirstError == "" {
		p.Errors.FirstError = err.Error() // a server that died in the window: the rest of the figures still stand
	}
	return p, nil
}

// measureHellos says HELLO on fresh connections.
func (a *app) measureHellos(ctx context.Context, o *clientOptions, nc load.NetConfig) (*report.Phase, error) {
	meter, err := o.newMeter()
	if err != nil {
		return nil, err
	}
	circuits := o.tor.hello
	if o.tor.circuits > 0 {
		circuits = min(o.tor.circuits, o.tor.hello)
	}
	progress := report.NewProgress(a.stderr)
	p, err := load.Hellos(ctx, load.HelloConfig{Tor: nc.Tor, Addr: nc.Addr, Count: o.tor.hello, Circuits: circuits, Pause: o.tor.pause, Loops: o.loops,
		Begin: meter.begin, End: meter.end, Progress: func(done int) {
			progress.Line(time.Now(), fmt.Sprintf("HELLO: %d of %d connections", done, o.tor.hello))
		}})
	progress.Done()
	if err != nil {
		return nil, err
	}
	p.Name = "HELLO"
	return p, meter.fill(p)
}

func phaseName(c *load.Config) string {
	if c.Cold {
		return "cold"
	}
	if len(c.Mix) > 0 {
		return "mixed"
	}
	if c.OneWay {
		return "one way"
	}
	if c.RPS > 0 {
		return "open loop"
	}
	return "closed loop"
}

func liveLine(name string, l load.Live) string {
	what := "measuring"
	if l.Warmup {
		what = "warming up"
	}
	return fmt.Sprintf("%s: %4.1f of %.1f s, %s, %d connections, %.0f frames/s",
		name, max(l.Elapsed.Seconds(), 0), l.Total.Seconds(), what, l.Conns, l.FPS)
}
