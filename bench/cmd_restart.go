package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// maxRestarts bounds one run: a thousand restarts of a few seconds each are hours.
const maxRestarts = 1000

// restartOptions are the flags of ronbench restart.
type restartOptions struct {
	contrastOptions
	restarts int
	every    time.Duration
}

func (a *app) restartCommand() *cobra.Command {
	o := &restartOptions{}
	cmd := &cobra.Command{
		Use:   "restart",
		Short: "restart our server again and again under load, without losing a request",
		Long: "Start our TLS server and a steady open-loop load on it; then, again and again, start a successor, which takes the listening\n" +
			"socket over, and end the predecessor in good order. The load's connections are told, move to a new connection, wait for\n" +
			"the answers they are owed and end the old one. Not one request may fail.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := errors.Join(o.contrastOptions.validate(), load.CheckRange("restarts", o.restarts, 1, maxRestarts),
				load.CheckDuration("every", o.every, 0, time.Hour))
			if err != nil {
				return usage(err)
			}
			return a.restart(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	o.register(f)
	o.rounds = 1
	f.IntVar(&o.restarts, "restarts", 5, "restarts")
	f.DurationVar(&o.every, "every", time.Second, "load between two restarts")
	for _, name := range []string{"rounds", "gate"} { // of measurements in pairs
		_ = f.MarkHidden(name)
	}
	return cmd
}

// restart is the whole run.
func (a *app) restart(ctx context.Context, o *restartOptions) (err error) {
	files, err := cert.Make()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Remove()) }()
	r, err := report.New(report.KindRestart, a.argv)
	if err != nil {
		return err
	}
	o.server = append(o.server, "handover="+filepath.Join(files.Dir, "handover"))
	s, err := a.startSteady(ctx, &o.contrastOptions, files)
	if err != nil {
		return err
	}
	r.Restart = &report.Restart{Servers: 1}
	if r.Restart.Quiet, _, err = s.window(ctx, o.duration); err == nil {
		err = a.restarts(ctx, o, s, r.Restart)
	}
	last := new(report.Server)
	p, ferr := s.finish(last)
	if err = errors.Join(err, ferr); err != nil && ctx.Err() == nil {
		return err
	}
	r.Interrupted = ctx.Err() != nil
	if p != nil {
		r.Restart.Frames += last.Frames
		p.Name, r.Restart.Load = "load across the restarts", *p
	}
	r.SLO = report.JudgeRestart(r.Restart)
	return a.finishGated(r, o.json, true)
}

// restarts replaces the server o.restarts times, while a window is open from the first to the last.
func (a *app) restarts(ctx context.Context, o *restartOptions, s *steady, into *report.Restart) error {
	began := time.Now()
	for i := range o.restarts {
		window := o.every
		type result struct {
			l   hist.Latency
			err error
		}
		measured := make(chan result, 1)
		go func() { // taken below
			l, err := s.fleet.Slice(ctx, max(window, load.MinWindow))
			measured <- result{l, err}
		}()
		took, err := a.replace(o, s, into)
		m := <-measured
		if err = errors.Join(err, m.err); err != nil {
			return err
		}
		into.Servers++
		into.Windows = append(into.Windows, m.l)
		into.TookS = append(into.TookS, took.Seconds())
		say(a.stderr, began, "restart %d of %d: p99 %.3f ms, largest %.3f ms; the predecessor was gone after %s",
			i+1, o.restarts, m.l.P99, m.l.MaxMS, took.Round(time.Millisecond))
	}
	return nil
}

// replace starts a successor and ends the predecessor, and says how long that took.
func (a *app) replace(o *restartOptions, s *steady, into *report.Restart) (time.Duration, error) {
	args, err := serverArgs(o.server)
	if err != nil {
		return 0, err
	}
	old := s.srv
	began := time.Now()
	next, err := a.startServer("tls_echo_server", s.files, args...)
	if err != nil {
		return 0, err
	}
	s.srv = next
	s.procs[0].pid = next.PID()
	select { // it ends by itself
	case <-old.Exited():
	case <-time.After(stopWait):
		return 0, errors.Join(errors.New("the predecessor did not end"), old.stop(nil))
	}
	var r report.Server
	if err := old.stop(&r); err != nil {
		return 0, err
	}
	into.Frames += r.Frames
	return time.Since(began), nil
}
