package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/child"
	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/hostile"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/sched"
)

// stormLead is how long a storm blows before its window begins: it has reached its steady state by then.
const stormLead = 500 * time.Millisecond

// stormOptions are the flags of ronbench storm.
type stormOptions struct {
	contrastOptions
	rate, sources, atOnce, nice int
	x25519                      bool
}

func (a *app) stormCommand() *cobra.Command {
	o := &stormOptions{}
	cmd := &cobra.Command{
		Use:   "storm",
		Short: "measure the latency of established connections during a storm of handshakes",
		Long: "Start our TLS server and a steady open-loop load on it, and measure the load's latency in windows without and with a storm of\n" +
			"full TLS handshakes from another process, alternately. Each connection of the storm connects, completes a full handshake and\n" +
			"closes; it is offered at its time, whatever became of those before. All processes share this machine's cores.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(o.validate()); err != nil {
				return err
			}
			return a.storm(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	o.register(f)
	f.IntVar(&o.rate, "rate", 2000, "full handshakes due per second")
	f.IntVar(&o.sources, "sources", 250, "source addresses of the storm, 127.1.0.1 and on; 0: the kernel's choice")
	f.IntVar(&o.atOnce, "at-once", 4000, "connections of the storm under way at most; what is due beyond them is shed")
	f.IntVar(&o.nice, "nice", 0, "scheduling priority of the storm's process, 0 to 19: at 19 it takes what the server and the load leave, as if it ran elsewhere")
	f.BoolVar(&o.x25519, "x25519", false, "X25519 alone for the storm's key exchange, without ML-KEM")
	return cmd
}

func (o *stormOptions) validate() error {
	return errors.Join(o.contrastOptions.validate(), load.CheckRange("rate", o.rate, 1, maxRate),
		load.CheckRange("sources", o.sources, 0, maxSources), load.CheckRange("at-once", o.atOnce, 1, maxAtOnce), load.CheckRange("nice", o.nice, 0, maxNice))
}

func (a *app) storm(ctx context.Context, o *stormOptions) (err error) {
	files, err := cert.Make()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Remove()) }()
	r, err := report.New(report.KindStorm, a.argv)
	if err != nil {
		return err
	}
	s, err := a.startSteady(ctx, &o.contrastOptions, files)
	if err != nil {
		return err
	}
	r.Storm = &report.Storm{Rate: o.rate, Group: "X25519MLKEM768"}
	if o.x25519 {
		r.Storm.Group = "X25519"
	}
	rerr := a.stormRounds(ctx, o, s, r.Storm)
	if err := s.conclude(ctx, r, &r.Storm.Contrast, rerr); err != nil {
		return err
	}
	r.Storm.Summarise()
	r.SLO = report.JudgeContrast("storm", &r.Storm.Contrast, 0)
	return a.finishGated(r, o.json, o.gate)
}

// stormRounds measures pairs of windows, the order swapped each time.
func (a *app) stormRounds(ctx context.Context, o *stormOptions, s *steady, into *report.Storm) (err error) {
	args := []string{"hostile_storm", "--target", s.srv.addr, "--rate", strconv.Itoa(o.rate), "--sources", strconv.Itoa(o.sources),
		"--at-once", strconv.Itoa(o.atOnce), fmt.Sprintf("--x25519=%v", o.x25519),
		"--nice", strconv.Itoa(o.nice)}
	gen, err := a.startHostile(args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gen.Stop(stopWait)) }()
	s.procs = append(s.procs, namedProcess{"storm", gen.PID()})
	began := time.Now()
	for i := range o.rounds {
		r := report.ContrastRound{LoudFirst: i%2 == 1}
		for _, loud := range []bool{r.LoudFirst, !r.LoudFirst} {
			if loud {
				r.Storm = new(hostile.StormCounts)
				r.Loud, r.LoudCPU, err = stormWindow(ctx, o, s, gen, r.Storm)
			} else {
				r.Quiet, r.QuietCPU, err = s.window(ctx, o.duration)
			}
			if err != nil {
				return err
			}
		}
		say(a.stderr, began, "round %d of %d: p99 %.3f ms quiet, %.3f ms in the storm, %.0f handshakes/s complete",
			i+1, o.rounds, r.Quiet.P99, r.Loud.P99, float64(r.Storm.Completed)/r.Storm.Seconds)
		into.Rounds = append(into.Rounds, r)
	}
	return nil
}

// stormWindow measures one window within a storm.
func stormWindow(ctx context.Context, o *stormOptions, s *steady, gen *child.Process, counts *hostile.StormCounts) (l hist.Latency, cpu []report.CPUShare, err error) {
	if err = gen.Tell(orderOn); err != nil {
		return l, nil, err
	}
	if err = sched.Sleep(ctx, stormLead); err == nil {
		l, cpu, err = s.window(ctx, o.duration)
	}
	return l, cpu, errors.Join(err, ask(gen, orderOff, counts))
}

// finishGated is finish for measurements whose missed targets fail the command only on request: their figures hang on the
// machine. An error count above its target always fails.
func (a *app) finishGated(r *report.Report, jsonPath string, gate bool) error {
	err := a.finish(r, jsonPath)
	if errors.Is(err, errMissed) && !gate && report.OnlySpeedMissed(r.SLO) {
		return nil
	}
	return err
}
