package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/gate"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// crate is the only name that --crate takes.
const crate = "ron-transport"

// Loads of a check besides the small frames: 64 KiB chunks, for the latency some of them at once, for the rate as many as go.
const (
	checkStreamConns = 16
	checkStreamDepth = 4
	maxCheckRuns     = 99
)

// checkOptions are the flags of ronbench check.
type checkOptions struct {
	crate, baselines, schema, report, gate, stat, waiver string
	runs, conns, rps                                     int
	duration, warmup                                     time.Duration
	record                                               bool

	paired pairedOptions // with --base

	gates gate.Gates
}

func (a *app) checkCommand() *cobra.Command {
	o := &checkOptions{}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "hold a change against its base commit, or the median of several runs against a baseline of this machine",
		Long: "With --base REF: build that commit and the working tree, measure both alternately in short slices with this program as the\n" +
			"client of both, and judge the ratios, so that what the machine does to both cancels. Figures that are not clear get more\n" +
			"pairs. A figure fails when the median of its pairs is beyond the gate and it is certain that the change is worse at all.\n" +
			"The gates are \"" + gate.PairedGates + "\" unless --gate says otherwise, --rps is " + strconv.Itoa(pairedRPS) + ", and\n" +
			"--report is written. The working tree is not touched. ronbench power says how much such a check can be trusted.\n\n" +
			"Without --base: measure --runs times (small frames over TLS in an open and a closed loop, 64 KiB chunks over TLS and QUIC), write what was measured\n" +
			"to --report, and compare the medians with the baseline. If --report is there already, its runs are judged and nothing is\n" +
			"measured. A baseline is of one machine; --record writes one of this machine instead of judging.\n\n" +
			"Exit status 1: a gate is breached, or cannot be judged (the base does not build; the baseline does not fit the schema or lacks a figure, it is of another machine, there are\n" +
			"too few runs, a figure is no number, the waiver does not hold); 2: the command line was refused.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(o.validatePaired(cmd)); err != nil {
				return err
			}
			if cmd.Flags().Changed("base") {
				return a.checkPaired(cmd.Context(), o)
			}
			return a.check(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	dir := "testing/performance/baselines/"
	f.StringVar(&o.crate, "crate", crate, "what is checked; only this")
	f.StringVar(&o.baselines, "baselines", dir+"ron-transport.json", "file of the baseline")
	f.StringVar(&o.schema, "schema", dir+"perf-baseline.schema.json", "JSON Schema that the baseline must fit")
	f.StringVar(&o.report, "report", "", "file of the runs: read if it is there, else written; empty: measure, and write nothing")
	f.StringVar(&o.gate, "gate", "+10p95,+10p99,-10throughput,+15cpu,+15mem", "how much worse each kind of figure may be, per cent")
	f.IntVar(&o.runs, "runs", 3, "runs, at least")
	f.StringVar(&o.stat, "stat", "median", "what of the runs is compared; only this")
	f.StringVar(&o.waiver, "waiver", "", fmt.Sprintf("JSON file {\"reason\": …, \"until\": \"YYYY-MM-DD\"} that widens every gate by %d per cent", gate.WaiverPct))
	f.BoolVar(&o.record, "record", false, "write the medians to --baselines")
	f.IntVar(&o.conns, "conns", defaultConns, "connections of the small frames")
	f.IntVar(&o.rps, "rps", defaultRPS, "their rate in the open loop")
	f.DurationVar(&o.duration, "duration", 4*time.Second, "measuring window of each load")
	f.DurationVar(&o.warmup, "warmup", defaultWarmup, "load before each window, not measured")
	o.paired.register(f, "commit that the working tree is compared with, as git names it, instead of a baseline")
	return cmd
}

// only refuses other values of flags that have just one.
func (o *checkOptions) only() error {
	var errs []error
	for _, f := range []struct{ flag, v, only string }{{"crate", o.crate, crate}, {"stat", o.stat, "median"}} {
		if f.v != f.only {
			errs = append(errs, &load.FlagError{Flag: f.flag, Value: fmt.Sprintf("%q", f.v), Allowed: f.only})
		}
	}
	return errors.Join(errs...)
}

// validate checks the flags without --base.
func (o *checkOptions) validate() error {
	errs := []error{o.only()}
	var err error
	if o.gates, err = gate.Parse(o.gate); err != nil {
		errs = append(errs, fmt.Errorf("--gate: %w", err))
	}
	if o.record && o.waiver != "" {
		errs = append(errs, errors.New("--waiver: has no meaning with --record; give one of them"))
	}
	errs = append(errs, load.CheckRange("runs", o.runs, 1, maxCheckRuns), load.CheckRange("rps", o.rps, 1, 1<<24))
	for _, c := range append(o.tlsLoads(), o.quicLoads()...) {
		errs = append(errs, c.Validate())
	}
	return errors.Join(errs...)
}

// The loads of a run, in the order in which values takes their phases.
func (o *checkOptions) tlsLoads() []load.Config {
	with := func(c load.Config) load.Config {
		c.Warmup, c.Window = o.warmup, o.duration
		return c
	}
	return []load.Config{
		with(load.Config{Conns: o.conns, Payload: defaultPayload, RPS: o.rps}),
		with(load.Config{Conns: o.conns, Payload: defaultPayload, Depth: defaultDepth}),
		with(load.Config{Conns: checkStreamConns, Payload: streamPayload, Depth: checkStreamDepth}),
		with(load.Config{Conns: checkStreamConns, Payload: streamPayload, OneWay: true}),
	}
}

func (o *checkOptions) quicLoads() []load.Config {
	return []load.Config{{Conns: checkStreamConns, Streams: 1, Payload: streamPayload, OneWay: true, Warmup: o.warmup, Window: o.duration}}
}

// streamPayload is the seed's chunk (seed §1.3).
const streamPayload = 64 << 10

// check is the command.
func (a *app) check(ctx context.Context, o *checkOptions) error {
	var base *gate.Baseline
	var waiver *gate.Waiver
	var err error
	if !o.record { // before minutes of measuring
		if base, err = gate.ReadBaseline(o.baselines, o.schema); err != nil {
			return err
		}
	}
	if o.waiver != "" {
		if waiver, err = gate.ReadWaiver(o.waiver, time.Now()); err != nil {
			return fmt.Errorf("waiver %s: %w", o.waiver, err)
		}
	}
	r, err := a.checkRuns(ctx, o, base)
	if err != nil {
		return err
	}
	c := r.Check
	if o.record {
		if len(c.Runs) < o.runs {
			return fmt.Errorf("there are %d runs, %d are required", len(c.Runs), o.runs)
		}
		if err := (&gate.Baseline{Ref: c.Machine, Values: c.Medians}).Write(o.baselines); err != nil {
			return err
		}
		if _, err := gate.ReadBaseline(o.baselines, o.schema); err != nil {
			return err
		}
		return a.finish(r, "")
	}
	extra := 0.0
	if c.Waiver = waiver; waiver != nil {
		extra = gate.WaiverPct
	}
	c.Gates, c.Baseline = o.gates, o.baselines
	if err := sameMachine(base, c.Machine); err != nil {
		return err
	}
	if c.Rows, err = gate.Judge(c.Runs, o.runs, base, o.gates, extra); err != nil {
		return err
	}
	return a.finish(r, o.report)
}

// sameMachine refuses a baseline of another machine: absolute figures say nothing then.
func sameMachine(base *gate.Baseline, machine string) error {
	if base.Ref != machine {
		return fmt.Errorf("the baseline is of %q, and this is %q: figures of different machines cannot be compared (--record writes a baseline of this one)", base.Ref, machine)
	}
	return nil
}

// checkRuns reads the report with the runs, or measures.
func (a *app) checkRuns(ctx context.Context, o *checkOptions, base *gate.Baseline) (*report.Report, error) {
	if o.report != "" {
		r, err := report.Read(o.report)
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("report %s: %w", o.report, err)
		case r.Schema != report.Schema || r.Kind != report.KindCheck || r.Check == nil:
			return nil, fmt.Errorf("report %s: it is no report of a check", o.report)
		default:
			r.Pass, r.Check.Medians = true, gate.Medians(r.Check.Runs)
			return r, nil
		}
	}
	r, err := report.New(report.KindCheck, a.argv)
	if err != nil {
		return nil, err
	}
	r.Check = &report.Check{Crate: o.crate, Machine: r.Reference(), Stat: o.stat}
	if base != nil {
		if err := sameMachine(base, r.Check.Machine); err != nil {
			return nil, err
		}
	}
	files, err := cert.Make()
	if err != nil {
		return nil, err
	}
	defer func() { _ = files.Remove() }()
	for i := range o.runs {
		fmt.Fprintf(a.stderr, "run %d of %d\n", i+1, o.runs)
		v, err := a.checkRun(ctx, o, files)
		if err != nil {
			return nil, err
		}
		r.Check.Runs = append(r.Check.Runs, v)
	}
	r.Check.Medians = gate.Medians(r.Check.Runs)
	if o.report != "" {
		return r, r.WriteFile(o.report) // also if it cannot be judged
	}
	return r, nil
}

// checkRun measures once.
func (a *app) checkRun(ctx context.Context, o *checkOptions, files *cert.Files) (gate.Values, error) {
	r := new(report.Report)
	if err := a.runOn(ctx, "tls_echo_server", files, o.tlsLoads(), r, new(report.Server)); err != nil {
		return nil, err
	}
	if err := a.runOn(ctx, "quic_echo_server", files, o.quicLoads(), r, new(report.Server)); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return checkValues(r.Phases)
}

// checkValues are the figures of a run's phases.
func checkValues(ps []report.Phase) (gate.Values, error) {
	if len(ps) != 5 {
		return nil, fmt.Errorf("there are %d phases, not 5", len(ps))
	}
	for i := range ps {
		if n := ps[i].Errors.Total(); n > 0 {
			return nil, fmt.Errorf("%s, %s: %d errors: a run with errors is no measurement", ps[i].Name, report.Size(ps[i].Payload), n)
		}
	}
	open, closed, stream, oneWay, quic := &ps[0], &ps[1], &ps[2], &ps[3], &ps[4]
	if open.ServerUse == nil {
		return nil, errors.New("the server was not measured")
	}
	u := open.ServerUse
	return gate.Values{
		"tls_small_p95_ms": open.Latency.P95, "tls_small_p99_ms": open.Latency.P99, "tls_small_fps": closed.FPS,
		"tls_stream_64k_p95_ms": stream.Latency.P95, "tls_stream_64k_gbps": oneWay.GbpsEachWay, "quic_stream_64k_gbps": quic.GbpsEachWay,
		"cpu_pct_at_target": u.CPUPct, "mem_gib": float64(max(u.RSSStart, u.RSSEnd)) / (1 << 30),
	}, nil
}
