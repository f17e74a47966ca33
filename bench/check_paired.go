package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/gate"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// pairedOptions are the flags of a paired check, which check and power share.
type pairedOptions struct {
	base       string
	pairs      int
	slice      time.Duration
	conns, rps int
	gate       string

	looks int // maxLooks; fewer in a test
	gates gate.Gates
}

// register declares the flags that check does not have otherwise.
func (o *pairedOptions) register(f *pflag.FlagSet, base string) {
	o.looks = maxLooks
	f.StringVar(&o.base, "base", o.base, base)
	f.IntVar(&o.pairs, "pairs", defaultPairs, "pairs of slices per load, a multiple of 4; up to twice as many are added where the verdict is not clear")
	f.DurationVar(&o.slice, "slice", defaultSlice, "measuring window of each slice")
}

func (o *pairedOptions) validate() error {
	var err error
	if o.gates, err = gate.Parse(o.gate); err != nil {
		err = fmt.Errorf("--gate: %w", err)
	}
	errs := []error{err, o.checkPairs(), load.CheckRange("rps", o.rps, 1, 1<<24),
		load.CheckDuration("slice", o.slice, load.MinWindow, maxSlice)}
	for _, l := range o.pairedLoads() {
		errs = append(errs, l.config.Validate())
	}
	return errors.Join(errs...)
}

// checkPairs wants whole pairs of rounds: in one the base's server is started first, in the next the change's.
func (o *pairedOptions) checkPairs() error {
	if o.pairs < gate.LeastPairs || o.pairs > maxPairs || o.pairs%pairsStep != 0 {
		return &load.FlagError{Flag: "pairs", Value: strconv.Itoa(o.pairs),
			Allowed: fmt.Sprintf("%d to %d, by %d, so that each side is first as often as the other", gate.LeastPairs, maxPairs, pairsStep)}
	}
	return nil
}

// validatePaired takes over the flags that check has in both modes, and refuses those of the other one.
func (o *checkOptions) validatePaired(cmd *cobra.Command) error {
	given := cmd.Flags().Changed
	p := &o.paired
	var errs []error
	if !given("base") {
		for _, f := range []string{"pairs", "slice"} {
			if given(f) {
				errs = append(errs, fmt.Errorf("--%s: only with --base", f))
			}
		}
		return errors.Join(append(errs, o.validate())...)
	}
	for _, f := range []string{"baselines", "schema", "record", "runs", "duration", "warmup"} {
		if given(f) {
			errs = append(errs, fmt.Errorf("--%s: is for a baseline, and has no meaning with --base, which measures the base itself; give one of them", f))
		}
	}
	p.conns, p.rps, p.gate = o.conns, pairedRPS, gate.PairedGates
	if given("rps") {
		p.rps = o.rps
	}
	if given("gate") {
		p.gate = o.gate
	}
	return errors.Join(append(errs, o.only(), p.validate())...)
}

// checkPaired is the command with --base.
func (a *app) checkPaired(ctx context.Context, o *checkOptions) (err error) {
	if err := a.settings.defaultsOnly("check --base"); err != nil {
		return err
	}
	waiver, extra, err := o.readWaiver()
	if err != nil {
		return err
	}
	r, err := report.New(report.KindPaired, a.argv)
	if err != nil {
		return err
	}
	files, err := cert.Make()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Remove()) }()
	run := &pairedRun{o: &o.paired, files: files, progress: report.NewProgress(a.stderr), label: "check", extra: extra}
	r.Paired, err = a.measurePaired(ctx, run)
	run.progress.Done()
	if r.Paired == nil {
		return err
	}
	r.Paired.Waiver = waiver
	if r.Interrupted = ctx.Err() != nil; r.Interrupted {
		err = errors.New("interrupted before the change was judged")
	}
	ferr := a.finish(r, o.report) // also of what cannot be judged: the pairs are in it
	if err != nil && errors.Is(ferr, errMissed) {
		return err // that is why there is no verdict
	}
	return errors.Join(err, ferr)
}

// measurePaired builds both sides and measures them. The result is nil when there is no measurement.
func (a *app) measurePaired(ctx context.Context, run *pairedRun) (p *report.Paired, err error) {
	w, err := openWorkshop(ctx, run.progress, run.label)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	commit, err := w.commit(ctx, run.o.base)
	if err != nil {
		return nil, err
	}
	change, err := w.changed(ctx)
	if err != nil {
		return nil, err
	}
	src, err := w.checkout(ctx, commit)
	if err != nil {
		return nil, err
	}
	if run.exes[sideBase], err = w.build(ctx, "base", src, nil); err != nil {
		return nil, err
	}
	if src, err = w.copyTree(ctx); err != nil {
		return nil, err
	}
	if run.exes[sideChange], err = w.build(ctx, "change", src, nil); err != nil {
		return nil, err
	}
	p, err = run.run(ctx)
	p.Base, p.Change = short(commit), change
	return p, err
}
