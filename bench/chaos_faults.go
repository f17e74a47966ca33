package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/chaos"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/scripts/netem/impair"
)

// The load of the rows about faults, and what is done to it.
const (
	faultRPS     = 200
	faultPayload = 4 << 10
	faultRTT     = 20 * time.Millisecond

	// partitionFor is shorter than every deadline that a connection has, cutFor longer than the one that cutIdle sets.
	partitionFor = 3 * time.Second
	cutFor       = 8 * time.Second
	cutIdle      = 3 * time.Second
	// faultFor is how long the others last.
	faultFor = 4 * time.Second
	// killedFor is how long the server is away, killedIdle how long a client over QUIC waits for one whose port says nothing.
	killedFor  = time.Second
	killedIdle = 3 * time.Second
	// faultDial bounds a dial in the rows in which connections are dialled again: an attempt that began in a partition ends soon after it.
	faultDial = 2 * time.Second
	// pauseFor is how far the server's clock jumps, pauseIdle its deadlines in that row.
	pauseFor  = 4 * time.Second
	pauseIdle = 2 * time.Second

	stepRTT       = 200 * time.Millisecond
	collapseRate  = 1e6 / 8
	collapseQueue = 64 << 10 // half a second at that rate
	mtuBlackHole  = 600      // bytes: below what TCP begins with, and what QUIC needs

	// edgeFor is the load between the stage before and the fault: its requests may be caught by the fault, those before are answered.
	edgeFor = 10 * faultRTT

	// reasonTLS is the canon's word for a stream that breaks TLS, or is cut off.
	reasonTLS = "tls"

	// histError allows for the resolution of a latency: three digits.
	histError = 0.999

	// recoverLimit is how long a load may take to be served as before: TCP's timeouts have doubled meanwhile.
	recoverLimit = 60 * time.Second
)

// fault is one row.
type fault struct {
	row, what string
	spec      standSpec
	lasts     time.Duration
	limit     time.Duration // of the recovery; 0: recoverLimit
	harm      func(context.Context, *stand) error
	heal      func(*stand) error
	ends      []string // the reasons with which connections may end, and all have to; none: all have to live on
	note      func(*stand, *report.ChaosFault, *report.Server)
	// bite says whether the figures show that the fault took place. A row that passes because nothing was broken proves nothing.
	bite func(*report.ChaosFault, *report.WANCounters) bool
}

// silent is the bite of a fault in which nothing is served: what fell due at its beginning waits for its end.
func (f *fault) silent() {
	least := (f.lasts - chaos.Bin).Seconds() * 1e3
	f.bite = func(into *report.ChaosFault, _ *report.WANCounters) bool { return into.During.MaxMS >= least }
}

// faults are the steps of the rows about faults of the path and of the peer.
func (c *chaosRun) faults() []step {
	var out []step
	for _, kind := range []func(string) fault{c.partition, c.cut, c.killed, c.rttStep, c.collapse, c.blackHole, c.clock} {
		for _, t := range c.o.faultTransports() {
			f := kind(t)
			if !c.o.has(f.row) {
				continue
			}
			out = append(out, step{name: f.row, label: f.row + ", " + f.spec.transport, path: f.spec.path != nil, do: func(ctx context.Context) error { return c.fault(ctx, &f) }})
		}
	}
	return out
}

// onPath is the stand of a row over a path.
func (c *chaosRun) onPath(transport string) standSpec {
	s := c.faultSpec(transport)
	s.path, s.seed = &impair.Params{Delay: faultRTT / 2}, c.o.seed
	return s
}

// onLoopback has this machine's hosts as they are.
func (c *chaosRun) onLoopback(transport string) standSpec {
	if transport == report.ChaosTLSTuned {
		transport = report.ChaosTLS
	}
	return c.faultSpec(transport)
}

// faultSpec is the load of a row about a fault.
func (c *chaosRun) faultSpec(transport string) standSpec {
	l := c.cellLoad(transport)
	l.RPS, l.Payload = faultRPS, faultPayload
	return standSpec{transport: transport, client: l}
}

// pathFault is a row in which the path changes, and changes back.
func (c *chaosRun) pathFault(row, transport, what string, lasts time.Duration, broken impair.Params) fault {
	f := fault{row: row, what: what, spec: c.onPath(transport), lasts: lasts}
	f.harm = func(_ context.Context, s *stand) error { return s.path.set(broken) }
	f.heal = func(s *stand) error { return s.path.set(*s.spec.path) }
	return f
}

func (c *chaosRun) partition(transport string) fault {
	f := c.pathFault(rowPartition, transport, fmt.Sprintf("nothing arrives for %s, no deadline is over", partitionFor), partitionFor, impair.Params{Loss: 1})
	f.silent()
	return f
}

func (c *chaosRun) cut(transport string) fault {
	f := c.pathFault(rowCut, transport, fmt.Sprintf("nothing arrives for %s, connections may be silent for %s", cutFor, cutIdle), cutFor, impair.Params{Loss: 1})
	f.silent()
	f.spec.client.Idle, f.spec.client.DialTimeout = cutIdle, faultDial
	f.spec.serverArgs = []string{"--idle-timeout", cutIdle.String()}
	if isQUIC(transport) {
		f.spec.serverArgs = append(f.spec.serverArgs, "--conn-idle-timeout", cutIdle.String())
	}
	f.ends = []string{reactor.ReasonIdleTimeout}
	if !isQUIC(transport) {
		// A client that goes on writing into a buffer of the kernel's is not idle. It learns of the end when the server, which heard nothing and has
		// closed, answers its next retransmission: with the goodbye it has sent, or with a reset. One whose buffer is full gives up by itself.
		f.ends = append(f.ends, reactor.ReasonIO, reactor.ReasonWriteTimeout, reactor.ReasonSlowPeer)
		f.note = endedByServer
	}
	return f
}

// endedByServer adds how many connections the server has ended for being idle; all had to be.
func endedByServer(s *stand, into *report.ChaosFault, srv *report.Server) {
	n := uint64(0)
	if srv.Reactor != nil {
		n = srv.Reactor.ClosedBy[reactor.ReasonIdleTimeout]
	}
	into.Fact("ended by the server with idle_timeout", float64(n), "")
	if n < uint64(s.spec.client.Conns) {
		into.Wrong = append(into.Wrong, fmt.Sprintf("the server has ended %d of %d connections with %s", n, s.spec.client.Conns, reactor.ReasonIdleTimeout))
	}
}

func (c *chaosRun) rttStep(transport string) fault {
	what := fmt.Sprintf("the round trip goes from %s to %s for %s", faultRTT, stepRTT, faultFor)
	f := c.pathFault(rowStep, transport, what, faultFor, impair.Params{Delay: stepRTT / 2})
	f.bite = func(into *report.ChaosFault, _ *report.WANCounters) bool {
		return into.During.P50 >= histError*stepRTT.Seconds()*1e3
	}
	return f
}

func (c *chaosRun) collapse(transport string) fault {
	what := fmt.Sprintf("the rate falls to 1 Mbit/s each way for %s", faultFor)
	f := c.pathFault(rowCollapse, transport, what, faultFor, impair.Params{Delay: faultRTT / 2, Rate: collapseRate, QueueBytes: collapseQueue})
	f.bite = func(into *report.ChaosFault, _ *report.WANCounters) bool { // what was on its way comes as well
		return float64(into.Served*faultPayload) <= into.FaultS*collapseRate+collapseQueue
	}
	return f
}

func (c *chaosRun) blackHole(transport string) fault {
	what := fmt.Sprintf("packets above %d bytes vanish for %s", mtuBlackHole, faultFor)
	f := c.pathFault(rowMTU, transport, what, faultFor, impair.Params{Delay: faultRTT / 2, MaxSize: mtuBlackHole})
	f.bite = func(_ *report.ChaosFault, path *report.WANCounters) bool { return path.ToServer.TooBig > 0 }
	return f
}

// killed is the row of a server that is killed. It needs no path.
func (c *chaosRun) killed(transport string) fault {
	f := fault{row: rowKilled, what: fmt.Sprintf("the server is killed, and started again %s later", killedFor), spec: c.onLoopback(transport), lasts: killedFor}
	f.silent()
	f.ends = []string{reasonTLS, reactor.ReasonIO} // the kernel ends the stream of a dead process, without a goodbye, or resets it
	if isQUIC(transport) {
		f.ends = []string{reactor.ReasonIdleTimeout, reactor.ReasonIO} // nobody says so, unless the new one with a stateless reset
	}
	f.spec.client.Idle, f.spec.client.DialTimeout = killedIdle, faultDial
	f.harm = func(_ context.Context, s *stand) error {
		if err := s.srv.Signal(syscall.SIGKILL); err != nil {
			return err
		}
		<-s.srv.Exited()
		return nil
	}
	f.heal = func(s *stand) error { return s.startServer(s.srv.addr) }
	return f
}

// clock is the row of a clock that jumps. Deadlines go by the monotonic clock, which nobody can set; a process that is stopped sees it jump when
// it goes on, by more than its deadlines, and with frames waiting that came meanwhile.
func (c *chaosRun) clock(transport string) fault {
	f := fault{row: rowClock, what: fmt.Sprintf("the server is stopped for %s, and sees its clock jump over deadlines of %s", pauseFor, pauseIdle), spec: c.onLoopback(transport), lasts: pauseFor}
	d := pauseIdle.String()
	f.spec.serverArgs = []string{"--idle-timeout", d, "--frame-timeout", d, "--write-timeout", d}
	f.silent()
	f.harm = func(_ context.Context, s *stand) error { return s.srv.Signal(syscall.SIGSTOP) }
	f.heal = func(s *stand) error { return s.srv.Signal(syscall.SIGCONT) }
	return f
}

// fault runs one row. One that cannot be run to its end has failed; the others go on.
func (c *chaosRun) fault(ctx context.Context, f *fault) error {
	into := report.ChaosFault{Row: f.row, Transport: f.spec.transport, What: f.what}
	s, err := c.build(ctx, f.spec)
	if err == nil {
		if err = s.through(ctx, f); err == nil {
			err = s.faultEnd(f, &into)
		} else {
			err = errors.Join(err, s.abandon())
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		into.Wrong = append(into.Wrong, err.Error())
	}
	c.into.Faults = append(c.into.Faults, into)
	return nil
}

// through is the load before, during and after the fault.
func (s *stand) through(ctx context.Context, f *fault) (err error) {
	d := s.c.o.duration
	if err := s.load.stage(stageWarm, chaos.Open); err != nil {
		return err
	}
	if _, err := s.watch(ctx, stageWarm, d/2, d/2, nil); err != nil {
		return err
	}
	if err := s.load.stage(stageBefore, chaos.Open); err != nil {
		return err
	}
	usual, err := s.watch(ctx, "before the fault", d, d, nil)
	if err != nil {
		return err
	}
	if err := s.load.stage(stageEdge, chaos.Open); err != nil {
		return err
	}
	if _, err := s.watch(ctx, "before the fault", edgeFor, edgeFor, nil); err != nil {
		return err
	}
	if err := f.harm(ctx, s); err != nil {
		return err
	}
	healed := false
	defer func() {
		if !healed { // what is stopped, or cut off, could not end in good order
			err = errors.Join(err, f.heal(s))
		}
	}()
	if err := s.load.stage(stageDuring, chaos.Open); err != nil {
		return err
	}
	if _, err := s.watch(ctx, "the fault", f.lasts, f.lasts, nil); err != nil {
		return err
	}
	healed = true
	if err := f.heal(s); err != nil {
		return err
	}
	if err := s.load.stage(stageAfter, chaos.Open); err != nil {
		return err
	}
	limit := f.limit
	if limit == 0 {
		limit = recoverLimit
	}
	enough := func(st chaos.Status) bool {
		s.recovered = st.Awaited <= usual && st.Live == s.spec.client.Conns
		return s.recovered
	}
	if _, err = s.watch(ctx, "after the fault", d, limit, enough); err != nil {
		return err
	}
	_, err = s.watch(ctx, "after the fault", d/2, d/2, nil) // so that the series shows it
	return err
}

// faultEnd takes the figures of a row.
func (s *stand) faultEnd(f *fault, into *report.ChaosFault) error {
	r, srv, path, err := s.end()
	if err != nil {
		return err
	}
	before, edge, during, after := stageOf(r, stageBefore), stageOf(r, stageEdge), stageOf(r, stageDuring), stageOf(r, stageAfter)
	into.Before, into.During, into.After = before.Latency, during.Latency, after.Latency
	into.Served = during.Good
	into.FaultS, into.Books = after.AtS-during.AtS, books(r)
	at := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	rec := chaos.Recover(&r.Series, at(before.AtS), at(edge.AtS), at(after.AtS), at(after.FirstS))
	into.Recovery = &rec
	if !s.recovered { // all may be answered since, by a server that was asked nothing new
		into.Wrong = append(into.Wrong, "the load was not served as before when its time was over")
	}
	if f.bite != nil && !f.bite(into, &path) {
		into.Wrong = append(into.Wrong, "the fault has not shown in what was served during it")
	}
	into.Wrong = append(into.Wrong, f.unexpected(into, s.spec.client.Conns, r.FirstEnd)...)
	if f.note != nil {
		f.note(s, into, &srv)
	}
	return nil
}

// unexpected says which ends of connections were not those that the fault brings about.
func (f *fault) unexpected(into *report.ChaosFault, conns int, first string) []string {
	b := &into.Books
	ended, right := b.Ended(), uint64(0)
	for _, why := range f.ends {
		right += b.Ends[why]
	}
	switch {
	case len(f.ends) == 0 && ended > 0:
		return []string{fmt.Sprintf("connections ended that were to live on: %s; the first: %s", b.EndWords(), first)}
	case len(f.ends) == 0:
		return nil
	case right != ended || ended < uint64(conns):
		return []string{fmt.Sprintf("%d connections were to end, each with one of %s; ended: %s; the first: %s", conns, strings.Join(f.ends, ", "), b.EndWords(), first)}
	case b.Dialled != uint64(conns)+ended:
		return []string{fmt.Sprintf("%d connections ended, and %d were opened again", ended, b.Dialled-uint64(conns))}
	}
	return nil
}
