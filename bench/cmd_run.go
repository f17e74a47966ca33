package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// runOptions are the flags of the bare command.
type runOptions struct {
	payload, conns, rps, depth int
	duration, warmup           time.Duration
	json                       string
	openLoop, closedLoop       bool // which phases run
	quic                       bool
}

// runCommand is ronbench itself: a run over TLS on this machine that starts everything it needs.
func (a *app) runCommand() *cobra.Command {
	o := &runOptions{}
	cmd := &cobra.Command{
		Use:   "ronbench",
		Short: "measure ron-transport on this machine against the seed's targets",
		Long: "Measure echo over TLS 1.3, then QUIC, on this machine: ronbench makes a throw-away certificate, starts a server and a\n" +
			"client as processes of their own, and judges the figures by the seed's targets. An open loop at the target rate shows\n" +
			"latency and cost, a closed loop the maximum. On QUIC the loads are those of the seed's rows: 16 KiB frames at a fixed\n" +
			"rate, and 64 KiB frames one way. Given only one of --rps and --depth, it runs only the open or only the other phases.\n" +
			"Exit status 1: a target was missed; 2: the command line was refused.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			rps, depth := cmd.Flags().Changed("rps"), cmd.Flags().Changed("depth")
			o.openLoop, o.closedLoop = rps || !depth, depth || !rps
			if err := usage(o.validate()); err != nil {
				return err
			}
			return a.runAll(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.payload, "payload", defaultPayload, "payload of each request, bytes")
	f.IntVar(&o.conns, "conns", defaultConns, "connections")
	f.IntVar(&o.rps, "rps", defaultRPS, "open loop: requests due per second")
	f.IntVar(&o.depth, "depth", defaultDepth, "closed loop: requests in flight per connection")
	f.DurationVar(&o.duration, "duration", 6*time.Second, "measuring window of each phase")
	f.DurationVar(&o.warmup, "warmup", defaultWarmup, "load before each window, not measured")
	f.BoolVar(&o.quic, "quic", true, "the phases over QUIC as well")
	f.StringVar(&o.json, "json", "", "write the report to this file")
	return cmd
}

// quicWindow bounds the window of each phase over QUIC in the bare run: enough for its rows.
const quicWindow = 3 * time.Second

// quicLoads are the phases over QUIC.
func (o *runOptions) quicLoads() []load.Config {
	var out []load.Config
	if !o.quic {
		return nil
	}
	for _, w := range quicWorkloads() {
		if w.rate.RatioTarget > 0 || (w.load.OneWay && !o.closedLoop) || (!w.load.OneWay && !o.openLoop) {
			continue // about a comparison, or not asked for
		}
		w.load.Conns = min(w.load.Conns, o.conns)
		w.load.Warmup, w.load.Window = o.warmup, min(o.duration, quicWindow)
		out = append(out, w.load)
	}
	return out
}

// loads are the phases of the run.
func (o *runOptions) loads() []load.Config {
	var out []load.Config
	base := load.Config{Conns: o.conns, Payload: o.payload, Warmup: o.warmup, Window: o.duration}
	if o.openLoop {
		c := base
		c.RPS = o.rps
		out = append(out, c)
	}
	if o.closedLoop {
		c := base
		c.Depth = o.depth
		out = append(out, c)
	}
	return out
}

func (o *runOptions) validate() error {
	if o.openLoop && o.rps == 0 {
		return &load.FlagError{Flag: "rps", Value: "0", Allowed: "1 or more (for a closed loop give --depth alone)"}
	}
	for _, c := range o.loads() {
		if err := c.Validate(); err != nil {
			return err
		}
	}
	return nil
}

// runAll is the bare run.
func (a *app) runAll(ctx context.Context, o *runOptions) (err error) {
	files, err := cert.Make()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Remove()) }()
	r, err := report.New(report.KindRun, a.argv)
	if err != nil {
		return err
	}
	r.Server = new(report.Server)
	if err := a.runOn(ctx, "tls_echo_server", files, o.loads(), r, r.Server); err != nil {
		return err
	}
	if loads := o.quicLoads(); len(loads) > 0 && !r.Interrupted {
		r.QUICServer = new(report.Server)
		if err := a.runOn(ctx, "quic_echo_server", files, loads, r, r.QUICServer); err != nil {
			return err
		}
	}
	a.judgeLoads(r)
	return a.finish(r, o.json)
}

// ends are where the two ends of a load run, when they are not both just here.
type ends struct {
	server, client         func(func() error) error // run what starts them
	serverArgs, clientArgs []string                 // further flags of them
	rttMS                  float64                  // of the path between them
}

// runOn starts a server, drives the loads against it, one after the other, and ends it.
func (a *app) runOn(ctx context.Context, command string, files *cert.Files, loads []load.Config, r *report.Report, into *report.Server) error {
	here := func(f func() error) error { return f() }
	return a.runBetween(ctx, &ends{server: here, client: here}, command, files, loads, r, into)
}

// runBetween is runOn with the ends elsewhere.
func (a *app) runBetween(ctx context.Context, e *ends, command string, files *cert.Files, loads []load.Config, r *report.Report, into *report.Server) error {
	var srv *serverProcess
	if err := e.server(func() (err error) {
		srv, err = a.startServer(command, files, e.serverArgs...)
		return err
	}); err != nil {
		return err
	}
	for _, c := range loads {
		var p *report.Phase
		if err := e.client(func() (err error) {
			p, err = a.runPhase(ctx, srv, files, c, a.stderr, e.clientArgs...)
			return err
		}); err != nil {
			return errors.Join(err, srv.stop(nil))
		}
		if srv.transport == load.QUIC {
			p.Name = "QUIC " + p.Name
		}
		p.RTTms = e.rttMS
		r.Phases = append(r.Phases, *p)
		if ctx.Err() != nil {
			r.Interrupted = true
			break
		}
	}
	return srv.stop(into)
}

// runPhase drives one load from a client process against srv. progress gets the client's live line; nil hides it. more are further flags
// of the client.
func (a *app) runPhase(ctx context.Context, srv *serverProcess, files *cert.Files, c load.Config, progress io.Writer, more ...string) (*report.Phase, error) {
	out := filepath.Join(files.Dir, "client.json")
	kind := clientKindOf(srv.transport)
	args := []string{
		kind.command, "--target", srv.target(), "--with-parent", "--json", out,
		"--server-pid", strconv.Itoa(srv.PID()), "--conns", strconv.Itoa(c.Conns),
		"--duration", c.Window.String(), "--warmup", c.Warmup.String(),
	}
	if kind.tls {
		args = append(args, "--ca", files.Cert)
	}
	switch {
	case c.Cold:
		args = append(args, "--cold")
	case kind.tls:
		args = append(args, "--resume")
	}
	if kind.streams && !c.Cold {
		args = append(args, "--streams", strconv.Itoa(max(1, c.Streams)))
		if !c.OneWay {
			args = append(args, "--max-inflight", strconv.Itoa(c.MaxInflight))
		}
	}
	if len(c.Mix) > 0 {
		args = append(args, "--mix", load.MixString(c.Mix))
	} else {
		args = append(args, "--payload", strconv.Itoa(c.Payload))
	}
	switch {
	case c.RPS > 0:
		args = append(args, "--rps", strconv.Itoa(c.RPS))
	case c.OneWay:
		args = append(args, "--one-way")
	case !c.Cold:
		args = append(args, "--depth", strconv.Itoa(c.Depth))
	}
	return a.clientPhase(ctx, progress, append(args, more...), c.Warmup+c.Window, out)
}

// clientPhase runs a client that writes its report to out, and reads the one phase in it.
func (a *app) clientPhase(ctx context.Context, progress io.Writer, args []string, expected time.Duration, out string) (*report.Phase, error) {
	failed := a.runChild(ctx, progress, args, expected)
	if failed != nil && !errors.Is(failed, errChildMissed) {
		return nil, failed
	}
	r, err := report.Read(out)
	if err != nil {
		return nil, errors.Join(failed, err)
	}
	if err := os.Remove(out); err != nil {
		return nil, err
	}
	if len(r.Phases) != 1 {
		return nil, fmt.Errorf("the client reported %d phases, not 1", len(r.Phases))
	}
	return &r.Phases[0], nil
}
