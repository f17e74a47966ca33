package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/scripts/netem/impair"
)

// Defaults of the path between regions. At this rate each connection has a request every tenth of a second, which keeps TCP's window open as
// that of a busy gateway is; 64 Mbit/s each way are no work for the path.
const (
	wanRTT   = 40 * time.Millisecond
	wanRPS   = 500
	wanLoss  = "0"
	wanRate  = "0"
	wanSeed  = 1
	wanConns = defaultConns
)

// wanPathOptions are the flags of the path, which the process that makes it has as well.
type wanPathOptions struct {
	rtt, jitter time.Duration
	loss, rate  string
	seed        uint64

	params impair.Params // of each direction, by validate
}

func (o *wanPathOptions) register(f *pflag.FlagSet) {
	f.DurationVar(&o.rtt, "rtt", wanRTT, "round trip of the path; half of it is added in each direction")
	f.DurationVar(&o.jitter, "jitter", 0, "spread of the delay of each direction, evenly to both sides; packets overtake each other then")
	f.StringVar(&o.loss, "loss", wanLoss, "packets lost in each direction, percent")
	f.StringVar(&o.rate, "rate", wanRate, "rate of each direction, such as 20mbit; 0: no limit")
	f.Uint64Var(&o.seed, "seed", wanSeed, "of what is left to chance")
}

// validate checks the flags.
func (o *wanPathOptions) validate() error {
	errs := []error{load.CheckDuration("rtt", o.rtt, 0, 2*impair.MaxDelay), load.CheckDuration("jitter", o.jitter, 0, max(0, o.rtt/2))}
	o.params = impair.Params{Delay: o.rtt / 2, Jitter: o.jitter}
	var err error
	if o.params.Loss, err = impair.ParsePercent(o.loss); err != nil || o.params.Loss == 1 {
		errs = append(errs, &load.FlagError{Flag: "loss", Value: fmt.Sprintf("%q", o.loss), Allowed: "0 to less than 100, such as 2.5"})
	}
	if o.params.Rate, err = impair.ParseRate(o.rate); err != nil {
		errs = append(errs, &load.FlagError{Flag: "rate", Value: fmt.Sprintf("%q", o.rate), Allowed: "0, or a number of bit, kbit, mbit or gbit, such as 20mbit"})
	}
	return errors.Join(errs...)
}

// wanOptions are the flags of ronbench wan.
type wanOptions struct {
	path                wanPathOptions
	conns, rps, payload int
	duration, warmup    time.Duration
	quic                bool
	json                string
}

func (a *app) wanCommand() *cobra.Command {
	o := &wanOptions{}
	cmd := &cobra.Command{
		Use:   "wan",
		Short: "measure echo between regions, over an emulated path",
		Long: "Measure echo over TLS 1.3, then QUIC, over a path with a round trip: an open loop, judged by the seed's inter-region figures. The\n" +
			"server and the client are in network namespaces of their own, and between them a process hands each packet on when its time has\n" +
			"come. The round trip is measured on the path before the load, and told with the figures. Jitter, loss and rate apply to each\n" +
			"direction. Nothing outside of the namespaces is touched, and they go with the processes. Needs root and /dev/net/tun.\n" +
			"Exit status 1: a target was missed, or there can be no such path here; 2: the command line was refused.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(o.validate()); err != nil {
				return err
			}
			if err := a.canWAN(); err != nil {
				return err
			}
			return a.wan(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	o.path.register(f)
	f.IntVar(&o.conns, "conns", wanConns, "connections")
	f.IntVar(&o.rps, "rps", wanRPS, "requests due per second")
	f.IntVar(&o.payload, "payload", sloPayload, "payload of each request, bytes")
	f.DurationVar(&o.duration, "duration", 6*time.Second, "measuring window of each load")
	f.DurationVar(&o.warmup, "warmup", defaultWarmup, "load before each window, not measured")
	f.BoolVar(&o.quic, "quic", true, "the load over QUIC as well")
	f.StringVar(&o.json, "json", "", "write the report to this file")
	return cmd
}

// loadTLS and loadQUIC are the loads.
func (o *wanOptions) loadTLS() load.Config {
	return load.Config{Conns: o.conns, Payload: o.payload, RPS: o.rps, Warmup: o.warmup, Window: o.duration}
}

func (o *wanOptions) loadQUIC() load.Config {
	c := o.loadTLS()
	c.Streams = defaultStreams
	return c
}

func (o *wanOptions) validate() error {
	c := o.loadTLS()
	if o.quic {
		c = o.loadQUIC()
	}
	errs := []error{o.path.validate(), c.Validate(), load.CheckRange("rps", o.rps, 1, 1<<20)}
	return errors.Join(errs...)
}

// canWAN says why there can be no emulated path here, nil where there can.
func (a *app) canWAN() error {
	if a.probeWAN != nil {
		return a.probeWAN()
	}
	return impair.Available()
}

// wan is the whole run.
func (a *app) wan(ctx context.Context, o *wanOptions) (err error) {
	files, err := cert.Make(impair.DefaultB.Addr().String())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Remove()) }()
	r, err := report.New(report.KindWAN, a.argv)
	if err != nil {
		return err
	}
	path, err := a.startWANPath(&o.path)
	if err != nil {
		return err
	}
	r.WAN = o.path.section()
	err = a.wanLoads(ctx, o, path, files, r)
	if err = errors.Join(err, path.stop(r.WAN)); err != nil {
		return err
	}
	a.judgeLoads(r)
	return a.finish(r, o.json)
}

// wanLoads measures the path, and then the loads over it.
func (a *app) wanLoads(ctx context.Context, o *wanOptions, path *wanPath, files *cert.Files, r *report.Report) error {
	rtt, err := path.measure(ctx, a, o.path.rtt)
	if err != nil {
		return err
	}
	r.WAN.Measure(rtt)
	between := path.ends(r.WAN.MedianMS)
	r.Server = new(report.Server)
	if err := a.runBetween(ctx, between, "tls_echo_server", files, []load.Config{o.loadTLS()}, r, r.Server); err != nil || !o.quic || r.Interrupted {
		return err
	}
	r.QUICServer = new(report.Server)
	return a.runBetween(ctx, between, "quic_echo_server", files, []load.Config{o.loadQUIC()}, r, r.QUICServer)
}

// wanPathCommand is the process of the path.
func (a *app) wanPathCommand() *cobra.Command {
	o := &wanPathOptions{}
	var parent bool
	cmd := &cobra.Command{
		Use:    "wan_path",
		Short:  "hold two network namespaces and an emulated path between them, for ronbench wan and chaos",
		Args:   noArgs,
		Hidden: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(o.validate()); err != nil {
				return err
			}
			var orders io.Reader
			if parent {
				orders = os.Stdin
			}
			return a.runWANPath(cmd.Context(), o, orders)
		},
	}
	o.register(cmd.Flags())
	cmd.Flags().BoolVar(&parent, "with-parent", false, "take orders on standard input, and end when it closes")
	return cmd
}

// runWANPath is the whole life of that process. orders may be nil.
func (a *app) runWANPath(ctx context.Context, o *wanPathOptions, orders io.Reader) (err error) {
	if err := impair.Dedicate(); err != nil {
		fmt.Fprintf(a.stderr, "on a busy machine packets will be late, which is counted: %v\n", err)
	}
	c := impair.Config{Seed: o.seed, AToB: o.params, BToA: o.params}
	for _, n := range []**impair.Namespace{&c.A, &c.B} {
		made, err := impair.NewNamespace()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, made.Close()) }()
		*n = made
	}
	pair, err := impair.Open(c)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "%sclient=%s server=%s\n", lineWANPath, c.A.Path(), c.B.Path())
	if orders != nil {
		var cancel context.CancelFunc
		ctx, cancel = a.changePath(ctx, orders, pair)
		defer cancel()
	}
	<-ctx.Done()
	err = pair.Close()
	b, jerr := json.Marshal(report.WANCounters{ToServer: pair.Counters(impair.AToB), ToClient: pair.Counters(impair.BToA)})
	fmt.Fprintf(a.stdout, "%s%s\n", lineWANCounters, b)
	return errors.Join(err, jerr)
}
