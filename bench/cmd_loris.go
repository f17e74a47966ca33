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
	"github.com/ron-transport/ron-transport/bench/internal/hostile"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/sched"
)

// Figures of the measurement with a hostile crowd.
const (
	lorisRatio   = 1.10 // the healthy load's p99 on the crowded server, of that on a server without a crowd
	maxCycles    = 100
	lorisKept    = idleLimit   // bytes of server memory per hostile connection that may stay when they are gone
	crowdPerProc = 5000        // connections of one process: well within its descriptors, and more processes open faster
	crowdPoll    = time.Second // between two readings while the crowd forms or leaves
	// lorisSndBuf is small so that slow readers reach the server's own bounds instead of filling a kernel buffer each.
	lorisSndBuf = 64 << 10
)

// lorisOptions are the flags of ronbench loris.
type lorisOptions struct {
	contrastOptions
	hostile, sources, atOnce int
	nice                     int
	cycles                   int
	drip, again              time.Duration
	patience, settle, calm   time.Duration
}

func (a *app) lorisCommand() *cobra.Command {
	o := &lorisOptions{}
	cmd := &cobra.Command{
		Use:   "loris",
		Short: "measure a healthy load beside a crowd of slow and silent hostile connections",
		Long: "Start our TLS server and a steady open-loop load on it, and measure the load's latency before and beside a crowd of hostile\n" +
			"connections: silent ones, half and dripped ClientHellos, dripped frame headers and bodies, readers that read nothing.\n" +
			"What the crowd's own processes and the kernel cost the machine has a control: a second server of ours that has no crowd.\n" +
			"While the crowd is there the load goes from the crowded server to the free one and back, and the ratio of the two is judged.\n" +
			"A hostile connection that the server ends is opened again. The server's memory and descriptors are read all the time, and\n" +
			"how it ended connections is counted. The crowd has processes and source addresses of its own.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(o.validate()); err != nil {
				return err
			}
			return a.loris(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	o.register(f)
	f.IntVar(&o.cycles, "cycles", 3, "per round, turns of four windows beside the crowd: on the crowded server, twice on the free one, on the crowded one")
	f.IntVar(&o.hostile, "conns", 10000, "hostile connections, all kinds in turn")
	f.IntVar(&o.sources, "sources", 250, "source addresses of the crowd, 127.1.0.1 and on; 0: the kernel's choice")
	f.IntVar(&o.atOnce, "at-once", 32, "hostile connections being opened at once, per process")
	f.IntVar(&o.nice, "nice", maxNice, "scheduling priority of the crowd's processes, 0 to 19: at 19 they take what the server and the load leave, as if they ran elsewhere")
	f.DurationVar(&o.drip, "drip", time.Second, "time between two bytes of a dripping connection")
	f.DurationVar(&o.again, "again", 2*time.Second, "pause before a hostile connection that has ended is opened again")
	f.DurationVar(&o.calm, "calm", 5*time.Second, "wait before each window, for the coming and going of the crowd to be over")
	f.DurationVar(&o.settle, "settle", 10*time.Second, "wait before the last reading, for caches to shrink")
	f.DurationVar(&o.patience, "patience", 3*time.Minute, "how long the crowd may take to form and to leave; TCP may need two minutes to notice the end of a peer that read nothing")
	return cmd
}

func (o *lorisOptions) validate() error {
	return errors.Join(o.contrastOptions.validate(), load.CheckRange("conns", o.hostile, 1, load.MaxConns),
		load.CheckRange("sources", o.sources, 0, maxSources), load.CheckRange("at-once", o.atOnce, 1, maxAtOnce), load.CheckRange("nice", o.nice, 0, maxNice),
		load.CheckRange("cycles", o.cycles, 1, maxCycles), load.CheckDuration("drip", o.drip, time.Millisecond, time.Hour), load.CheckDuration("again", o.again, time.Millisecond, time.Hour),
		load.CheckDuration("settle", o.settle, 0, maxSettle), load.CheckDuration("calm", o.calm, 0, maxSettle),
		load.CheckDuration("patience", o.patience, time.Second, time.Hour))
}

// loris is the whole measurement.
func (a *app) loris(ctx context.Context, o *lorisOptions) (err error) {
	files, err := cert.Make()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Remove()) }()
	r, err := report.New(report.KindLoris, a.argv)
	if err != nil {
		return err
	}
	o.server = append([]string{"sndbuf=" + strconv.Itoa(lorisSndBuf)}, o.server...) // a later one wins
	r.Loris = &report.Loris{Hostile: o.hostile, Control: new(report.Control)}
	free, err := a.startSteady(ctx, &o.contrastOptions, files)
	if err != nil {
		return err
	}
	err = a.lorisBeside(ctx, o, r, files, free)
	if p, ferr := free.finish(nil); ctx.Err() == nil {
		err = errors.Join(err, ferr)
		if p != nil {
			p.Name, r.Loris.Control.Load = "load on the free server", *p
		}
	}
	if err != nil {
		return err
	}
	if r.Server.Reactor != nil {
		r.Loris.Ends = r.Server.Reactor.ClosedBy
	}
	r.Loris.Summarise()
	r.Loris.Control.Summarise()
	r.SLO = report.JudgeLoris(r.Loris, lorisRatio, lorisKept)
	return a.finishGated(r, o.json, o.gate)
}

// lorisBeside is the measurement once the free server has its load.
func (a *app) lorisBeside(ctx context.Context, o *lorisOptions, r *report.Report, files *cert.Files, free *steady) error {
	s, err := a.startSteady(ctx, &o.contrastOptions, files)
	if err != nil {
		return err
	}
	l := &lorisRun{a: a, o: o, s: s, into: r.Loris, began: time.Now()}
	if err = l.startControl(ctx, free); err == nil {
		err = l.run(ctx)
	}
	return s.conclude(ctx, r, &r.Loris.Contrast, err)
}

// lorisRun is the measurement under way.
type lorisRun struct {
	a      *app
	o      *lorisOptions
	s      *steady // the server that gets the crowd, and its load
	free   *steady // the one that does not
	into   *report.Loris
	crowds []*child.Process
	began  time.Time
}

func (l *lorisRun) run(ctx context.Context) (err error) {
	defer func() {
		for _, p := range l.crowds {
			err = errors.Join(err, p.Stop(stopWait))
		}
	}()
	if err := l.start(); err != nil {
		return err
	}
	if err := l.read("start", true); err != nil {
		return err
	}
	for i := range l.o.rounds {
		r := report.ContrastRound{}
		if err := sched.Sleep(ctx, l.o.calm); err != nil {
			return err
		}
		if r.Quiet, r.QuietCPU, err = l.s.window(ctx, l.o.duration); err != nil {
			return err
		}
		if err := l.form(ctx); err != nil {
			return err
		}
		if err := sched.Sleep(ctx, l.o.calm); err != nil {
			return err
		}
		turns, err := l.cycles(ctx, i+1)
		if err != nil {
			return err
		}
		r.Loud, r.LoudCPU = turns[0].Crowded[0].Latency, turns[0].Crowded[0].CPU
		l.into.Control.Cycles = append(l.into.Control.Cycles, turns...)
		c, err := l.counts(orderCount)
		if err != nil {
			return err
		}
		r.Crowd = &c
		if err := l.read(fmt.Sprintf("window %d", i+1), false); err != nil {
			return err
		}
		if err := l.disperse(ctx); err != nil {
			return err
		}
		say(l.a.stderr, l.began, "round %d of %d: p99 %.3f ms quiet, %.3f ms beside %d hostile connections", i+1, l.o.rounds, r.Quiet.P99, r.Loud.P99, c.Live)
		l.into.Rounds = append(l.into.Rounds, r)
	}
	if err := sched.Sleep(ctx, l.o.settle); err != nil {
		return err
	}
	return l.read("end", true)
}

// start starts the processes of the crowd.
func (l *lorisRun) start() error {
	for first := 0; first < l.o.hostile; first += crowdPerProc {
		p, err := l.a.startHostile("hostile_crowd", "--target", l.s.srv.addr, "--conns", strconv.Itoa(min(crowdPerProc, l.o.hostile-first)),
			"--first", strconv.Itoa(first), "--sources", strconv.Itoa(l.o.sources), "--at-once", strconv.Itoa(l.o.atOnce),
			"--nice", strconv.Itoa(l.o.nice), "--drip", l.o.drip.String(), "--again", l.o.again.String())
		if err != nil {
			return err
		}
		l.crowds = append(l.crowds, p)
		l.s.procs = append(l.s.procs, namedProcess{"crowd", p.PID()})
	}
	return nil
}

// counts gives all processes of the crowd an order and sums their answers up.
func (l *lorisRun) counts(order string) (hostile.CrowdCounts, error) {
	var sum hostile.CrowdCounts
	for _, p := range l.crowds {
		var c hostile.CrowdCounts
		if err := ask(p, order, &c); err != nil {
			return sum, err
		}
		sum.Add(&c)
	}
	return sum, nil
}

// form has the crowd come and waits until every connection has been tried once.
func (l *lorisRun) form(ctx context.Context) error {
	for _, p := range l.crowds {
		if err := p.Tell(orderOn); err != nil {
			return err
		}
	}
	for limit := time.Now().Add(l.o.patience); ; {
		if err := sched.Sleep(ctx, crowdPoll); err != nil {
			return err
		}
		c, err := l.counts(orderCount)
		if err != nil {
			return err
		}
		say(l.a.stderr, l.began, "%s", &c)
		if c.Tried >= int64(l.o.hostile) || time.Now().After(limit) {
			return nil // a server that refuses most of them has its figures, too
		}
		if err := l.read("forming", false); err != nil {
			return err
		}
	}
}

// disperse has the crowd leave and waits until the server has noticed.
func (l *lorisRun) disperse(ctx context.Context) error {
	if _, err := l.counts(orderOff); err != nil {
		return err
	}
	start := l.into.Memory[0].FDs
	for limit := time.Now().Add(l.o.patience); time.Now().Before(limit); {
		n, err := proc.FDs(l.s.srv.PID())
		if err != nil || n <= start {
			return err
		}
		if err := sched.Sleep(ctx, crowdPoll); err != nil {
			return err
		}
	}
	return l.read("leaving took too long", false)
}

// read takes a reading of the server; with free, after it has given free memory back.
func (l *lorisRun) read(what string, free bool) error {
	pid := l.s.srv.PID()
	m := report.LorisState{AtS: time.Since(l.began).Seconds(), What: what}
	if free {
		if _, err := l.s.srv.freeMemory(); err != nil {
			return err
		}
	}
	var err error
	if m.RSS, err = proc.RSS(pid); err != nil {
		return err
	}
	if m.FDs, err = proc.FDs(pid); err != nil {
		return err
	}
	c, err := l.counts(orderCount)
	m.Conns = int(c.Live)
	l.into.Memory = append(l.into.Memory, m)
	return err
}
