package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/gate"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// Bounds of a power study.
const (
	defaultPowerRuns = 20
	maxPowerRuns     = 1000
	maxSlowdown      = 500
	// calibrations is how often what the added loop costs is measured at most, and the loop made to fit.
	calibrations = 5
	// calibrated is how far what was injected may be from what was asked, in per cent of the base.
	calibrated = 0.75
	// calibrationPairs of slices measure it: four times those of a check, for half of the noise.
	calibrationPairs = 4 * defaultPairs
)

// powerOptions are the flags of ronbench power.
type powerOptions struct {
	pairedOptions
	runs     int
	slowdown int
	json     string
}

func (a *app) powerCommand() *cobra.Command {
	o := &powerOptions{}
	cmd := &cobra.Command{
		Use:   "power",
		Short: "measure how often a paired check finds a slowdown, and how often it fails an unchanged tree",
		Long: "Run the paired check of ronbench check --base many times on two builds of the same commit, and as often on a build whose hot\n" +
			"path is slower: its echo server spins in every frame, for so long that its CPU time per small frame grows by --slowdown per\n" +
			"cent. The source with the loop replaces the true one for that build alone; what the loop does is measured and reported. Runs\n" +
			"of both kinds alternate. Exit status 1: an unchanged tree failed in more than one run of twenty, or a slower one passed in\n" +
			"more than one of twenty, or the study was interrupted.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(o.validate()); err != nil {
				return err
			}
			return a.power(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	o.base = "HEAD"
	o.register(f, "commit that is built, as git names it")
	f.IntVar(&o.runs, "runs", defaultPowerRuns, "runs of each kind")
	f.IntVar(&o.slowdown, "slowdown", 12, "by how much the hot path of the slower build is slower, per cent")
	f.StringVar(&o.gate, "gate", gate.PairedGates, "how much worse each kind of figure may be, per cent")
	f.IntVar(&o.conns, "conns", defaultConns, "connections of the small frames")
	f.IntVar(&o.rps, "rps", pairedRPS, "their rate in the open loop")
	f.StringVar(&o.json, "json", "", "write the report to this file, after every run")
	return cmd
}

func (o *powerOptions) validate() error {
	return errors.Join(o.pairedOptions.validate(), load.CheckRange("runs", o.runs, 1, maxPowerRuns), load.CheckRange("slowdown", o.slowdown, 1, maxSlowdown))
}

// powerStudy is a power study under way.
type powerStudy struct {
	a        *app
	o        *powerOptions
	files    *cert.Files
	progress *report.Progress
	shop     *workshop
	src      string // the commit's tree
	r        *report.Report
	out      *report.Power

	base, null, slow string // the builds
}

// power is the command.
func (a *app) power(ctx context.Context, o *powerOptions) (err error) {
	if err := a.settings.defaultsOnly("power"); err != nil {
		return err
	}
	s := &powerStudy{a: a, o: o, progress: report.NewProgress(a.stderr)}
	if s.r, err = report.New(report.KindPower, a.argv); err != nil {
		return err
	}
	if s.files, err = cert.Make(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.files.Remove()) }()
	if s.shop, err = openWorkshop(ctx, s.progress, "power"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.shop.close()) }()
	s.out = &report.Power{Asked: float64(o.slowdown), Gates: o.gates, Pairs: o.pairs, Wanted: o.runs}
	if err = s.prepare(ctx); err == nil {
		s.r.Power = s.out
		err = s.runs(ctx)
	}
	s.progress.Done()
	s.r.Interrupted = ctx.Err() != nil
	if s.r.Power == nil || (err != nil && !s.r.Interrupted) {
		return err
	}
	s.out.Summarise()
	return a.finish(s.r, o.json)
}

// prepare makes the builds, and fits the slower one.
func (s *powerStudy) prepare(ctx context.Context) error {
	commit, err := s.shop.commit(ctx, s.o.base)
	if err != nil {
		return err
	}
	s.out.Base = short(commit)
	if s.src, err = s.shop.checkout(ctx, commit); err != nil {
		return err
	}
	if s.base, err = s.shop.build(ctx, "base", s.src, nil); err != nil {
		return err
	}
	if s.null, err = s.shop.build(ctx, "second build", s.src, nil); err != nil {
		return err
	}
	return s.fit(ctx)
}

// fit builds the slower side. How much of a frame's CPU time the loop must take follows from what the base needs; what it takes in
// truth is measured, and the loop made to fit.
func (s *powerStudy) fit(ctx context.Context) error {
	m, err := s.measure(ctx, s.base, s.null, "what a frame costs", defaultPairs)
	if err != nil {
		return err
	}
	perFrame := m.Base * 1e3 // ns
	s.out.Rounds = max(1, int(perFrame*s.o.share()/spinCost()))
	for i := range calibrations {
		if err := s.buildSlow(ctx); err != nil {
			return err
		}
		if m, err = s.measure(ctx, s.base, s.slow, "what was injected", calibrationPairs); err != nil {
			return err
		}
		perRound := s.out.Fit(m, s.out.Asked/float64(4*s.out.Rounds))
		if off := s.out.Injected - s.out.Asked; i+1 == calibrations || i > 0 && off < calibrated && off > -calibrated {
			break
		}
		s.out.Rounds = max(1, int(s.out.Asked/perRound))
	}
	if s.out.Overshot() {
		return fmt.Errorf("the slowdown could not be made to fit: %.1f %% were measured and %.0f %% asked for, and a larger one proves nothing: %+v", s.out.Injected, s.out.Asked, s.out.Fits)
	}
	return nil
}

// share is the slowdown as a share.
func (o *powerOptions) share() float64 { return float64(o.slowdown) / 100 }

// measure holds the CPU time per small frame of two builds against each other.
func (s *powerStudy) measure(ctx context.Context, base, change, what string, pairs int) (*gate.PairedRow, error) {
	o := s.o.pairedOptions
	o.pairs = pairs
	key := gate.PairedMetrics()[0]
	run := &pairedRun{o: &o, exes: [sides]string{base, change}, files: s.files, progress: s.progress, label: "power: measuring " + what, only: []string{key.Key}}
	p, err := run.run(ctx)
	if err != nil {
		return nil, err
	}
	return gate.JudgeFigure(p.Pairs(), key, o.pairs, o.gates[key.Gate])
}

// runs makes the runs of both kinds in turn.
func (s *powerStudy) runs(ctx context.Context) error {
	began := time.Now()
	for i := range s.o.runs {
		kinds := []struct {
			name string
			exe  string
			into *report.PowerSide
		}{{"unchanged", s.null, &s.out.Null}, {"slower", s.slow, &s.out.Slow}}
		if i%2 == 1 {
			slices.Reverse(kinds)
		}
		for _, k := range kinds {
			done := len(s.out.Null.Runs) + len(s.out.Slow.Runs)
			label := fmt.Sprintf("power: run %d of %d", done+1, 2*s.o.runs)
			if done > 0 {
				left := time.Since(began) / time.Duration(done) * time.Duration(2*s.o.runs-done)
				s.out.Summarise()
				label += fmt.Sprintf(" (false alarms %d of %d, caught %d of %d, about %s left)", s.out.Null.Failed, len(s.out.Null.Runs), s.out.Slow.Failed,
					len(s.out.Slow.Runs), left.Round(time.Second))
			}
			r, err := s.one(ctx, k.exe, label+", "+k.name)
			if err != nil {
				return err
			}
			k.into.Runs = append(k.into.Runs, r)
			if err := s.keep(); err != nil {
				return err
			}
		}
	}
	return nil
}

// one is one run. What a check says with exit status 1 because it cannot judge is a failure of an unchanged tree, and finds no slowdown.
func (s *powerStudy) one(ctx context.Context, change, label string) (report.PowerRun, error) {
	run := &pairedRun{o: &s.o.pairedOptions, exes: [sides]string{s.base, change}, files: s.files, progress: s.progress, label: label}
	p, err := run.run(ctx)
	if ctx.Err() != nil {
		return report.PowerRun{}, ctx.Err()
	}
	out := report.PowerRun{TookS: p.TookS, Looks: p.Looks, Rows: p.Rows, Failed: err == nil && !p.OK()}
	if err != nil {
		out.Why, out.Rows = err.Error(), nil
		out.Failed = change == s.null
	}
	return out, nil
}

// keep writes the report so far: a study takes long, and may end in many ways.
func (s *powerStudy) keep() error {
	if s.o.json == "" {
		return nil
	}
	s.out.Summarise()
	s.r.Pass = s.r.Passed()
	return s.r.WriteFile(s.o.json)
}
