package main

import (
	"context"
	"errors"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/sched"
)

// turnLead is how long the load runs on a server before its window begins: it has reached its steady state by then, and that
// on the other server has ended.
const turnLead = 500 * time.Millisecond

// startControl starts the server without a crowd and the load on it, which is held until its turn.
func (l *lorisRun) startControl(ctx context.Context, server *steady) error {
	l.free = server
	l.s.procs = append(l.s.procs, namedProcess{"free server", server.srv.PID()})
	return server.fleet.Hold(ctx)
}

// cycles measures windows on the crowded server (which has the load when they begin, and when they end) and on the free one,
// in the order A B B A.
func (l *lorisRun) cycles(ctx context.Context, round int) (out []report.ControlCycle, err error) {
	for range l.o.cycles {
		y := report.ControlCycle{Round: round}
		before, err := l.counts(orderCount)
		if err != nil {
			return out, err
		}
		if err := l.controlWindow(ctx, l.s, &y.Crowded[0]); err != nil {
			return out, err
		}
		if err := l.give(ctx, l.s, l.free); err != nil {
			return out, err
		}
		for i := range y.Free {
			if err := l.controlWindow(ctx, l.free, &y.Free[i]); err != nil {
				return out, err
			}
		}
		if err := l.give(ctx, l.free, l.s); err != nil {
			return out, err
		}
		if err := l.controlWindow(ctx, l.s, &y.Crowded[1]); err != nil {
			return out, err
		}
		after, err := l.counts(orderCount)
		if err != nil {
			return out, err
		}
		y.Crowd = int(min(before.Live, after.Live))
		say(l.a.stderr, l.began, "p99 %.3f, %.3f ms on the crowded server, %.3f, %.3f ms on the free one",
			y.Crowded[0].Latency.P99, y.Crowded[1].Latency.P99, y.Free[0].Latency.P99, y.Free[1].Latency.P99)
		out = append(out, y)
	}
	return out, nil
}

// give has the load leave one server and go to another.
func (l *lorisRun) give(ctx context.Context, from, to *steady) error {
	return errors.Join(from.fleet.Hold(ctx), to.fleet.Resume(ctx))
}

// controlWindow measures the load on one server, which has it, and the processes of all.
func (l *lorisRun) controlWindow(ctx context.Context, s *steady, into *report.ControlWindow) (err error) {
	if err = sched.Sleep(ctx, turnLead); err != nil {
		return err
	}
	into.Latency, into.CPU, err = window(ctx, s.fleet, l.s.procs, l.o.duration)
	return err
}
