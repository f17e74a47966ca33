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

// sweepAll stands for every knob that belongs to no preset.
const sweepAll = "all"

// sweepOptions are the flags of ronbench sweep.
type sweepOptions struct {
	names    []string
	rounds   int
	duration time.Duration
	json     string

	chosen []sweepKnob
}

func (a *app) sweepCommand() *cobra.Command {
	o := &sweepOptions{}
	cmd := &cobra.Command{
		Use:   "sweep",
		Short: "measure what each knob does, value by value",
		Long: "Measure our servers with one knob at several values, each in a load in which that knob can show. The values of a knob take\n" +
			"turns, with a fresh server each, and the order is reversed every round. For each value there are the medians, and the\n" +
			"ratio of the figure that the knob is for to that of the default, with the spread of the rounds' own ratios. A difference is\n" +
			"called one when all rounds of the one side are beyond all of the other.\n" +
			"--knob ablation turns features off one by one instead.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(o.validate()); err != nil {
				return err
			}
			return a.sweep(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.names, "knob", []string{sweepAll}, "which of "+strings.Join(sweepNames(), ", "))
	f.IntVar(&o.rounds, "rounds", 5, "measurements of each value")
	f.DurationVar(&o.duration, "duration", time.Second, "measuring window of each measurement")
	f.StringVar(&o.json, "json", "", "write the report to this file")
	return cmd
}

// sweepNames are what --knob takes.
func sweepNames() []string {
	out := []string{sweepAll, ablation}
	for _, k := range sweepTable() {
		out = append(out, k.name)
	}
	return out
}

// picks says whether a name of --knob stands for k.
func (k *sweepKnob) picks(name string) bool {
	return name == k.name || name == sweepAll && k.preset == "" || name != "" && name == k.preset
}

func (o *sweepOptions) validate() error {
	errs := []error{load.CheckRange("rounds", o.rounds, 1, maxRounds), load.CheckDuration("duration", o.duration, load.MinWindow, load.MaxWindow)}
	names := sweepNames()
	for _, n := range o.names {
		if !slices.Contains(names, n) {
			errs = append(errs, &load.FlagError{Flag: "knob", Value: fmt.Sprintf("%q", n), Allowed: strings.Join(names, ", ")})
		}
	}
	o.chosen = nil
	for _, k := range sweepKnobs() {
		if slices.ContainsFunc(o.names, k.picks) {
			o.chosen = append(o.chosen, k)
		}
	}
	if len(o.names) == 0 {
		errs = append(errs, &load.FlagError{Flag: "knob", Value: "none", Allowed: strings.Join(names, ", ")})
	}
	return errors.Join(errs...)
}

// sweep measures the chosen knobs. One that cannot be measured to its end fails the sweep, with the rounds that it has, and the others. An interrupt ends it with the rounds that are complete.
func (a *app) sweep(ctx context.Context, o *sweepOptions) (err error) {
	files, err := cert.Make()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Remove()) }()
	r, err := report.New(report.KindSweep, a.argv)
	if err != nil {
		return err
	}
	w := &sweeping{a: a, o: o, files: files, progress: report.NewProgress(a.stderr), began: time.Now()}
	w.total = w.planned(len(o.chosen))
	var broken []error
	for i := range o.chosen {
		s, kerr := w.knob(ctx, &o.chosen[i])
		if s.Complete() {
			s.Summarise()
			r.Sweep = append(r.Sweep, *s)
		}
		if kerr != nil && ctx.Err() == nil { // the others are measured all the same
			w.progress.Done()
			fmt.Fprintf(a.stderr, "ronbench: %v\n", kerr)
			broken = append(broken, kerr)
			w.done = w.planned(i + 1)
		}
		if ctx.Err() != nil {
			r.Interrupted = true
			break
		}
	}
	w.progress.Done()
	failed := errors.Join(broken...)
	if len(r.Sweep) == 0 {
		return errors.Join(failed, ctx.Err())
	}
	r.SLO = report.JudgeSweep(r.Sweep)
	if failed != nil { // what was measured is in the report, and that not all was
		r.SLO = append(r.SLO, report.SLORow{ID: "sweep_broken", Phase: "all", What: "every knob was measured to its end", Verdict: report.Failed, Why: failed.Error()})
	}
	return a.finish(r, o.json)
}

// planned is how many measurements the first n knobs take.
func (w *sweeping) planned(n int) int {
	sum := 0
	for i := range w.o.chosen[:n] {
		sum += w.o.rounds * len(w.o.chosen[i].values)
	}
	return sum
}

// sweeping is a sweep under way.
type sweeping struct {
	a        *app
	o        *sweepOptions
	files    *cert.Files
	progress *report.Progress
	began    time.Time
	done     int // measurements
	total    int
}

// knob measures one knob, round by round. When it fails, or ctx ends, there is what the complete rounds have.
func (w *sweeping) knob(ctx context.Context, k *sweepKnob) (*report.Sweep, error) {
	s := &report.Sweep{Knob: k.name, Load: k.what, Unit: k.unit, Figure: k.figure, Why: k.refIs}
	for i := range k.values {
		v := &k.values[i]
		s.Values = append(s.Values, report.SweepValue{Name: v.name, Flags: slices.Concat(k.args, v.args)})
		if v.ref {
			s.Reference = v.name
		}
	}
	for round := range w.o.rounds {
		points, proofs, err := w.round(ctx, k, round)
		if err != nil {
			return s, err
		}
		for i := range points {
			s.Values[i].Rounds, s.Values[i].Proof = append(s.Values[i].Rounds, points[i]), proofs[i]
		}
	}
	return s, nil
}

// round measures every value once.
func (w *sweeping) round(ctx context.Context, k *sweepKnob, round int) ([]report.SweepPoint, []string, error) {
	points, proofs := make([]report.SweepPoint, len(k.values)), make([]string, len(k.values))
	for i := range k.values {
		if round%2 == 1 {
			i = len(k.values) - 1 - i
		}
		w.progress.Line(time.Now(), w.line(k, &k.values[i], round))
		var err error
		points[i], proofs[i], err = k.measure(ctx, &sweepJob{w.a, w.files, k, &k.values[i], w.o.duration})
		if ctx.Err() != nil {
			return nil, nil, ctx.Err() // half a window is not comparable
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s %s, round %d: %w", k.name, k.values[i].name, round+1, err)
		}
		w.done++
	}
	return points, proofs, nil
}

func (w *sweeping) line(k *sweepKnob, v *sweepValue, round int) string {
	each := sweepWarmup + w.o.duration + 500*time.Millisecond // a first guess at what starting and stopping takes
	if w.done > 0 {
		each = time.Since(w.began) / time.Duration(w.done)
	}
	left := each * time.Duration(w.total-w.done)
	return fmt.Sprintf("sweep: %s, round %d of %d, %s (%d of %d, about %s left)",
		k.name, round+1, w.o.rounds, v.name, w.done+1, w.total, left.Round(time.Second))
}
