package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/ron-transport/ron-transport/bench/internal/hostile"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
)

// The processes that do harm take orders, one a line, on standard input, and answer each with one line of JSON.
const (
	orderOn    = "on"    // begin
	orderOff   = "off"   // end, and close everything
	orderCount = "count" // report what was done so far

	lineCounts = "counts "
)

// hostileOptions are the flags of both kinds of process.
type hostileOptions struct {
	target  string
	rate    int
	conns   int
	first   int
	sources int
	atOnce  int
	nice    int
	x25519  bool
	again   time.Duration
	drip    time.Duration
	kinds   []string
	only    []hostile.Kind // by validate
}

// Limits of the hostile processes.
const (
	maxRate    = 100_000
	maxSources = 10_000
	maxAtOnce  = 100_000
	maxNice    = 19
	// stormTimeout is the patience of one connection of a storm: a server that needs longer is overrun, and the storm says so.
	stormTimeout = 10 * time.Second
)

func (a *app) hostileCommands() []*cobra.Command {
	storm, crowd := &hostileOptions{}, &hostileOptions{}
	sc := &cobra.Command{
		Use: "hostile_storm", Short: "the process of ronbench storm that offers handshakes", Hidden: true, Args: noArgs,
		Long: "Offer full TLS handshakes at a fixed rate, between the orders \"on\" and \"off\" on standard input.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(storm.validate()); err != nil {
				return err
			}
			return a.obey(cmd.Context(), os.Stdin, storm, &stormProcess{o: storm})
		},
	}
	cc := &cobra.Command{
		Use: "hostile_crowd", Short: "a process of ronbench loris that keeps hostile connections", Hidden: true, Args: noArgs,
		Long: "Keep hostile connections of all kinds, between the orders \"on\" and \"off\" on standard input.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(crowd.validate()); err != nil {
				return err
			}
			return a.obey(cmd.Context(), os.Stdin, crowd, &crowdProcess{o: crowd})
		},
	}
	for cmd, o := range map[*cobra.Command]*hostileOptions{sc: storm, cc: crowd} {
		f := cmd.Flags()
		f.StringVar(&o.target, "target", "127.0.0.1:8443", "server, host:port")
		f.IntVar(&o.sources, "sources", 0, "source addresses, 127.1.0.1 and on; 0: the kernel's choice")
		f.IntVar(&o.atOnce, "at-once", 64, "connections under way at most")
		f.IntVar(&o.nice, "nice", 0, "scheduling priority of the process, 0 to 19: more gives way to the others")
		f.BoolVar(&o.x25519, "x25519", false, "X25519 alone for the key exchange, without ML-KEM")
	}
	sc.Flags().IntVar(&storm.rate, "rate", 2000, "handshakes due per second")
	cc.Flags().IntVar(&crowd.conns, "conns", 1000, "connections to keep")
	cc.Flags().IntVar(&crowd.first, "first", 0, "number of the first connection")
	cc.Flags().DurationVar(&crowd.again, "again", 2*time.Second, "pause before a connection that has ended is opened again")
	cc.Flags().DurationVar(&crowd.drip, "drip", time.Second, "time between two bytes")
	cc.Flags().StringSliceVar(&crowd.kinds, "kinds", nil, "kinds of connections, in turn; none: all")
	storm.conns, crowd.rate, storm.again, storm.drip = 1, 1, time.Second, time.Second
	return []*cobra.Command{sc, cc}
}

func (o *hostileOptions) validate() error {
	o.only = nil
	var unknown error
	for _, name := range o.kinds {
		k, ok := hostile.KindOf(name)
		if !ok {
			unknown = &load.FlagError{Flag: "kinds", Value: fmt.Sprintf("%q", name), Allowed: fmt.Sprint(hostile.Kinds())}
		}
		o.only = append(o.only, k)
	}
	return errors.Join(unknown,
		load.CheckRange("rate", o.rate, 1, maxRate), load.CheckRange("conns", o.conns, 1, load.MaxConns),
		load.CheckRange("first", o.first, 0, load.MaxConns), load.CheckRange("sources", o.sources, 0, maxSources),
		load.CheckRange("at-once", o.atOnce, 1, maxAtOnce), load.CheckRange("nice", o.nice, 0, maxNice),
		load.CheckDuration("again", o.again, time.Millisecond, time.Hour), load.CheckDuration("drip", o.drip, time.Millisecond, time.Hour))
}

// tls is what a hostile peer's handshake looks like. It checks nothing: it wants the server's work, not its identity.
func (o *hostileOptions) tls() *tls.Config {
	c := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{"oap/1"}}
	if o.x25519 {
		c.CurvePreferences = []tls.CurveID{tls.X25519}
	}
	return c
}

// hostileProcess is what takes orders.
type hostileProcess interface {
	run(ctx context.Context) // until ctx ends
	counts() any             // any goroutine; after run has returned, final
}

type stormProcess struct {
	o    *hostileOptions
	last hostile.StormCounts
}

func (p *stormProcess) run(ctx context.Context) {
	s := &hostile.Storm{Addr: p.o.target, Rate: p.o.rate, AtOnce: p.o.atOnce, Sources: p.o.sources, Timeout: stormTimeout, TLS: p.o.tls()}
	p.last = s.Run(ctx)
}

func (p *stormProcess) counts() any { return p.last }

type crowdProcess struct {
	o     *hostileOptions
	crowd *hostile.Crowd
}

func (p *crowdProcess) run(ctx context.Context) { p.crowd.Run(ctx) }
func (p *crowdProcess) counts() any {
	if p.crowd == nil {
		return hostile.CrowdCounts{}
	}
	return p.crowd.Counts()
}

// prepare makes the crowd of the next run.
func (p *crowdProcess) prepare() {
	p.crowd = &hostile.Crowd{
		Addr: p.o.target, Conns: p.o.conns, Sources: p.o.sources, First: p.o.first, AtOnce: p.o.atOnce, Again: p.o.again, Drip: p.o.drip, TLS: p.o.tls(), Only: p.o.only,
	}
}

// work is a hostile process at it, or not.
type work struct {
	p    hostileProcess
	stop context.CancelFunc // nil: it rests
	done chan struct{}
}

func (w *work) on(ctx context.Context) {
	w.off()
	if c, ok := w.p.(*crowdProcess); ok {
		c.prepare()
	}
	ctx, w.stop = context.WithCancel(ctx)
	w.done = make(chan struct{})
	go func() { // off waits for it
		w.p.run(ctx)
		close(w.done)
	}()
}

func (w *work) off() {
	if w.stop != nil {
		w.stop()
		<-w.done
		w.stop = nil
	}
}

// obey follows orders until standard input closes or ctx ends.
func (a *app) obey(ctx context.Context, in io.Reader, o *hostileOptions, p hostileProcess) error {
	if _, err := proc.RaiseFDLimit(o.conns + spareFDs); err != nil {
		return usage(fmt.Errorf("--conns: %w", err))
	}
	if err := proc.Nice(o.nice); err != nil {
		return err
	}
	orders := make(chan string)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() { // ends with the process at the latest: a read of standard input cannot be interrupted
		sc := bufio.NewScanner(in)
		for sc.Scan() {
			orders <- sc.Text()
		}
		cancel()
	}()
	w := &work{p: p}
	defer w.off()
	for {
		select {
		case <-ctx.Done():
			return nil
		case order := <-orders:
			switch order {
			case orderOn:
				w.on(ctx)
				continue
			case orderOff:
				w.off()
			case orderCount:
			default:
				return usage(fmt.Errorf("standard input: %q is no order; allowed: %s, %s, %s", order, orderOn, orderOff, orderCount))
			}
			b, err := json.Marshal(p.counts())
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stdout, "%s%s\n", lineCounts, b)
		}
	}
}
