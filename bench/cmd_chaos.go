package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ron-transport/ron-transport/bench/internal/chaos"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/scripts/netem/impair"
)

// Rows of ronbench chaos.
const (
	rowMatrix    = "matrix"         // loss × round trip × transport
	rowPartition = "partition"      // nothing arrives for a time shorter than the deadlines
	rowCut       = "partition-kill" // and for one longer: connections end and are dialled again
	rowKilled    = "peer-killed"    // the server process is killed, and started again
	rowStep      = "rtt-step"       // the round trip grows tenfold, and falls back
	rowCollapse  = "bandwidth"      // the rate falls to a megabit, and comes back
	rowMTU       = "mtu"            // large packets vanish without a word
	rowLoris     = "loris"          // slow and silent connections of four kinds
	rowBombs     = "bombs"          // payloads that inflate without end, under a limit of memory
	rowClock     = "clock"          // the server's clock jumps
	rowStreams   = "streams"        // the ablation: more QUIC streams under loss
)

// chaosRows are all rows in their order; shortRows those of --short.
func chaosRows() []string {
	return []string{rowMatrix, rowPartition, rowCut, rowKilled, rowStep, rowCollapse, rowMTU, rowLoris, rowBombs, rowClock, rowStreams}
}

func shortRows() []string {
	return []string{rowMatrix, rowPartition, rowKilled, rowLoris, rowBombs, rowClock}
}

// Defaults and bounds of ronbench chaos.
const (
	// chaosConns, chaosDepth and chaosRPS are a load that TCP's congestion control of old carries in the worst cell: two requests per second of
	// 16 KiB on each connection are half of what it grants with 5 % loss and 150 ms (Mathis 1997).
	chaosConns = 16
	chaosDepth = 8
	chaosRPS   = 32
	// maxChaosDuration keeps the series of a row within what one line of the client's answer holds.
	maxChaosDuration = time.Minute
	// maxChaosCells bounds a matrix to a day.
	maxChaosCells = 2000
	// maxChaosRTT is beyond what a dial within its deadline allows.
	maxChaosRTT = 2 * time.Second
)

// chaosOptions are the flags of ronbench chaos.
type chaosOptions struct {
	rows, transports    []string
	loss                []float64
	rtt                 []time.Duration
	duration            time.Duration
	conns, rps, payload int
	seed                uint64
	short               bool
	json                string
}

func (a *app) chaosCommand() *cobra.Command {
	o := &chaosOptions{}
	cmd := &cobra.Command{
		Use:   "chaos",
		Short: "break the path, the peer and the load in many ways, and check every frame",
		Long: "Run our echo servers under loss and delay (a matrix of cells for TLS, for TLS between hosts that are set for long paths, and for QUIC\n" +
			"with one and with many streams), through partitions, a killed peer, steps of the round trip, a collapse of the rate and an MTU black\n" +
			"hole, beside slow and silent connections of four kinds, under compression bombs with a limit of memory, and across a jump of the clock.\n" +
			"Every request carries its number and a checksum: a row passes when no frame was lost, doubled or corrupted, and the load was served as\n" +
			"before after the fault; how soon is told.\n" +
			"The path is a process between two network namespaces, which needs root and /dev/net/tun; without, rows that need it are left out.\n" +
			"Exit status 1: a row failed; 2: the command line was refused.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if o.short {
				o.shorten(cmd.Flags().Changed)
			}
			if err := usage(o.validate()); err != nil {
				return err
			}
			return a.chaos(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.rows, "rows", chaosRows(), "what to run")
	f.StringSliceVar(&o.transports, "transports", chaosTransports(), "transports of the matrix and of the faults")
	f.Float64SliceVar(&o.loss, "loss", []float64{0, 1, 3, 5}, "packets lost in each direction, percent, of the matrix")
	f.DurationSliceVar(&o.rtt, "rtt", []time.Duration{0, 50 * time.Millisecond, 100 * time.Millisecond, 150 * time.Millisecond}, "round trips of the matrix")
	f.DurationVar(&o.duration, "duration", 3*time.Second, "of each window of a cell, and of the stages before and after a fault")
	f.IntVar(&o.conns, "conns", chaosConns, "connections")
	f.IntVar(&o.rps, "rps", chaosRPS, "requests due per second in the matrix's open loops")
	f.IntVar(&o.payload, "payload", sloPayload, "payload of each request of the matrix, bytes")
	f.Uint64Var(&o.seed, "seed", 1, "of what is left to chance")
	f.BoolVar(&o.short, "short", false, "few and short rows, for CI: other defaults of --rows, --transports, --loss, --rtt and --duration")
	f.StringVar(&o.json, "json", "", "write the report to this file")
	return cmd
}

func chaosTransports() []string {
	return []string{report.ChaosTLS, report.ChaosTLSTuned, report.ChaosQUIC, report.ChaosQUICMany}
}

// shorten sets the defaults of --short where no flag says otherwise.
func (o *chaosOptions) shorten(given func(flag string) bool) {
	if !given("rows") {
		o.rows = shortRows()
	}
	if !given("transports") {
		o.transports = slices.DeleteFunc(chaosTransports(), func(t string) bool { return t == report.ChaosTLSTuned })
	}
	if !given("loss") {
		o.loss = []float64{0, 3}
	}
	if !given("rtt") {
		o.rtt = []time.Duration{50 * time.Millisecond}
	}
	if !given("duration") {
		o.duration = time.Second
	}
}

// validate checks the flags; all faults are reported together.
func (o *chaosOptions) validate() error {
	errs := []error{
		knownNames("rows", o.rows, chaosRows()), knownNames("transports", o.transports, chaosTransports()),
		load.CheckDuration("duration", o.duration, 5*chaos.Bin, maxChaosDuration), load.CheckRange("conns", o.conns, 1, chaos.MaxLines/chaosDepth),
		load.CheckRange("rps", o.rps, 1, chaos.MaxRPS), load.CheckRange("payload", o.payload, chaos.MinPayload, chaos.MaxPayload),
	}
	for _, v := range o.loss {
		if !(v >= 0 && v < 100) {
			errs = append(errs, &load.FlagError{Flag: "loss", Value: fmt.Sprint(v), Allowed: "0 to less than 100"})
		}
	}
	for _, v := range o.rtt {
		errs = append(errs, load.CheckDuration("rtt", v, 0, min(maxChaosRTT, 2*impair.MaxDelay)))
	}
	if len(o.loss) == 0 || len(o.rtt) == 0 || len(o.loss)*len(o.rtt)*len(o.transports) > maxChaosCells {
		errs = append(errs, fmt.Errorf("--loss, --rtt: %d × %d cells are not allowed; allowed: 1 to %d with all transports", len(o.loss), len(o.rtt), maxChaosCells))
	}
	return errors.Join(errs...)
}

// knownNames refuses a list that is empty, or has a name that is not known, or twice the same.
func knownNames(flag string, names, known []string) error {
	bad := len(names) == 0
	for i, n := range names {
		bad = bad || !slices.Contains(known, n) || slices.Contains(names[:i], n)
	}
	if bad {
		return &load.FlagError{Flag: flag, Value: fmt.Sprintf("%q", strings.Join(names, ",")), Allowed: "some of " + strings.Join(known, ",") + ", each once"}
	}
	return nil
}

// has says whether a row was asked for.
func (o *chaosOptions) has(row string) bool { return slices.Contains(o.rows, row) }

// faultTransports are those of the rows about faults: QUIC with one stream says what QUIC with many would, and TLS what it would between hosts that
// are set for long paths.
func (o *chaosOptions) faultTransports() []string {
	saysMore := map[string]string{report.ChaosQUICMany: report.ChaosQUIC, report.ChaosTLSTuned: report.ChaosTLS}
	return slices.DeleteFunc(slices.Clone(o.transports), func(t string) bool { return slices.Contains(o.transports, saysMore[t]) })
}

// chaos is the whole run.
func (a *app) chaos(ctx context.Context, o *chaosOptions) (err error) {
	r, err := report.New(report.KindChaos, a.argv)
	if err != nil {
		return err
	}
	r.Chaos = &report.Chaos{Seed: o.seed, Payload: o.payload, Conns: o.conns, RPS: o.rps}
	c := &chaosRun{a: a, o: o, into: r.Chaos, progress: report.NewProgress(a.stderr), noPath: a.canWAN()}
	err = c.run(ctx)
	c.progress.Done()
	if ctx.Err() != nil && (len(r.Chaos.Cells) > 0 || len(r.Chaos.Faults) > 0) {
		r.Interrupted, err = true, nil
	}
	if err != nil {
		return err
	}
	t := a.targets(r)
	r.SLOTargets, r.SLO = t.Ref, report.JudgeChaos(r.Chaos, t)
	return a.finish(r, o.json)
}
