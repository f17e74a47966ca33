package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// compareWarmup is the load before each window of a comparison: long enough for the handshakes' cost and the first growth
// of buffers to be over.
const compareWarmup = 500 * time.Millisecond

// maxRounds bounds a comparison: beyond it only time is spent, the median no longer moves.
const maxRounds = 100

// workload is one of the fixed loads of a comparison, with the ratio of server CPU per frame that ours may have.
type workload struct {
	name                  string
	payload, conns, depth int
	tlsLimit, tcpLimit    float64
}

func workloads() []workload {
	return []workload{
		{"4k-50x1", 4 << 10, 50, 1, 1.00, 1.05},
		{"4k-50x16", 4 << 10, 50, 16, 0.70, 1.05},
		{"1k-200x4", 1 << 10, 200, 4, 0.80, 1.05},
		{"64k-8x4", 64 << 10, 8, 4, 0.75, 1.05},
	}
}

func workloadNames() []string {
	var out []string
	for _, w := range workloads() {
		out = append(out, w.name)
	}
	return out
}

// compareOptions are the flags of ronbench compare.
type compareOptions struct {
	transport string
	names     []string
	rounds    int
	duration  time.Duration
	json      string
	gate      bool

	chosen []workload
}

func (a *app) compareCommand() *cobra.Command {
	o := &compareOptions{}
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "compare our server with a peer: server CPU per frame, rates, latencies",
		Long: "Compare our echo server with a peer (tls: net and crypto/tls; tcp: gnet), alternately, with a fresh server process each\n" +
			"time, the order swapped every round and the same client for both. Judged is the ratio of the medians of the server's\n" +
			"CPU time per frame.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(o.validate()); err != nil {
				return err
			}
			return a.compare(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.transport, "transport", "tls", "tls or tcp")
	f.StringSliceVar(&o.names, "workloads", workloadNames(), "which of "+strings.Join(workloadNames(), ", ")+" (payload, connections x in flight)")
	f.IntVar(&o.rounds, "rounds", 5, "pairs of measurements per workload")
	f.DurationVar(&o.duration, "duration", 5*time.Second, "measuring window of each measurement")
	f.StringVar(&o.json, "json", "", "write the report to this file")
	f.BoolVar(&o.gate, "gate", false, "exit with status 1 when a ratio is above its limit")
	return cmd
}

func (o *compareOptions) validate() error {
	var errs []error
	if o.transport != "tls" && o.transport != "tcp" {
		errs = append(errs, &load.FlagError{Flag: "transport", Value: o.transport, Allowed: "tls, tcp"})
	}
	errs = append(errs, load.CheckRange("rounds", o.rounds, 1, maxRounds), load.CheckDuration("duration", o.duration, load.MinWindow, load.MaxWindow))
	o.chosen = nil
	for _, w := range workloads() {
		if slices.Contains(o.names, w.name) {
			o.chosen = append(o.chosen, w)
		}
	}
	for _, n := range o.names {
		if !slices.Contains(workloadNames(), n) {
			errs = append(errs, &load.FlagError{Flag: "workloads", Value: n, Allowed: strings.Join(workloadNames(), ", ")})
		}
	}
	if len(o.names) == 0 {
		errs = append(errs, &load.FlagError{Flag: "workloads", Value: "none", Allowed: strings.Join(workloadNames(), ", ")})
	}
	return errors.Join(errs...)
}

// limit is the ratio that a workload may have on a transport.
func (w *workload) limit(transport string) float64 {
	if transport == "tls" {
		return w.tlsLimit
	}
	return w.tcpLimit
}

// sides are the server commands of both sides.
func (o *compareOptions) sides() (ours, peer, peerName string) {
	if o.transport == "tls" {
		return "tls_echo_server", "peer_nettls_echo_server", "net + crypto/tls"
	}
	return "tcp_echo_server", "peer_gnet_echo_server", "gnet"
}

// compare runs the comparison. An interrupt ends it with the rounds that are complete.
func (a *app) compare(ctx context.Context, o *compareOptions) (err error) {
	files, err := cert.Make()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Remove()) }()
	r, err := report.New(report.KindCompare, a.argv)
	if err != nil {
		return err
	}
	c := &comparison{a: a, o: o, files: files, progress: report.NewProgress(a.stderr), total: 2 * o.rounds * len(o.chosen), began: time.Now()}
	for _, w := range o.chosen {
		p, werr := c.workload(ctx, w)
		if len(p.Rounds) > 0 {
			p.Summarise(w.limit(o.transport))
			r.Compare = append(r.Compare, *p)
		}
		if werr != nil && ctx.Err() == nil {
			c.progress.Done()
			return werr
		}
		if ctx.Err() != nil {
			r.Interrupted = true
			break
		}
	}
	c.progress.Done()
	r.SLO = report.JudgeRatios(r.Compare)
	if err := a.finish(r, o.json); err != nil && (o.gate || !errors.Is(err, errMissed)) {
		return err
	}
	return nil
}

// comparison is a comparison under way.
type comparison struct {
	a        *app
	o        *compareOptions
	files    *cert.Files
	progress *report.Progress
	began    time.Time
	done     int // measurements
	total    int
}

func (c *comparison) workload(ctx context.Context, w workload) (*report.Pairing, error) {
	ours, peer, name := c.o.sides()
	p := &report.Pairing{Workload: w.name, Payload: w.payload, Conns: w.conns, Depth: w.depth, PeerName: name}
	for i := range c.o.rounds {
		round := report.Round{OursFirst: i%2 == 0}
		order := []struct {
			command string
			into    *report.Phase
		}{{ours, &round.Ours}, {peer, &round.Peer}}
		if !round.OursFirst {
			slices.Reverse(order)
		}
		for _, side := range order {
			c.progress.Line(time.Now(), c.line(w, i, side.command))
			ph, err := c.one(ctx, side.command, w)
			if err != nil {
				return p, fmt.Errorf("%s, round %d, %s: %w", w.name, i+1, side.command, err)
			}
			if ctx.Err() != nil {
				return p, ctx.Err() // half a window is not comparable
			}
			*side.into = *ph
			c.done++
		}
		p.Rounds = append(p.Rounds, round)
	}
	return p, nil
}

// one is one measurement: a fresh server, a client, both gone at the end.
func (c *comparison) one(ctx context.Context, command string, w workload) (*report.Phase, error) {
	srv, err := c.a.startServer(command, c.files)
	if err != nil {
		return nil, err
	}
	l := load.Config{Conns: w.conns, Payload: w.payload, Depth: w.depth, Warmup: compareWarmup, Window: c.o.duration}
	p, err := c.a.runPhase(ctx, srv, c.files, l, nil)
	if err = errors.Join(err, srv.stop(new(report.Server))); err != nil {
		return nil, err
	}
	if p.ServerUse == nil {
		return nil, errors.New("the server's process could not be measured: " + p.Errors.FirstError)
	}
	return p, nil
}

func (c *comparison) line(w workload, round int, command string) string {
	each := compareWarmup + c.o.duration + 500*time.Millisecond // a first guess at what starting and stopping takes
	if c.done > 0 {
		each = time.Since(c.began) / time.Duration(c.done)
	}
	left := each * time.Duration(c.total-c.done)
	return fmt.Sprintf("compare: %s, round %d of %d, %s (%d of %d, about %s left)",
		w.name, round+1, c.o.rounds, command, c.done+1, c.total, left.Round(time.Second))
}
