package load

import (
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// A cold load has every request on a connection of its own, with a full handshake. In the open loop a connection is due at its time, whatever
// became of those before: when all of Config.Conns are under way the next ones wait, and their latency counts from when they were due. In the
// closed loop the next connection begins when one has ended.
//
// The client closes first, once the reply is there, so the waiting state of TCP is on its side. Towards a loopback address Linux gives such a
// port out again after a second (net.ipv4.tcp_tw_reuse is 2 by default), which leaves some 28,000 connections a second; towards other hosts
// there are as many in a minute. What finds no port is counted as a failed dial.

// fresh is what a cold load keeps on one loop. Loop only.
type fresh struct {
	shaken  *hist.Recorder // from the due time to the end of the handshake, within the window
	session report.Session // what the handshakes agreed on, all of them
}

// errands hands the requests of a cold load out to fresh connections. Controller.
type errands struct {
	f       *Fleet
	free    []int          // numbers of connections that may be made
	next    int64          // the request that is next, from 0
	waited  uint64         // open loop: requests of the window that were due while all connections were under way
	behind  int64          // when a number came free that was waited for: what was due before could not be dialled before
	late    *hist.Recorder // how late dials began for no other reason than the controller
	last    int64          // when one ended, offset
	tick    *time.Ticker
	stopped bool // given up: nothing comes back any more
}

func newErrands(f *Fleet) *errands {
	e := &errands{f: f, late: hist.New()}
	for i := f.cfg.Conns - 1; i >= 0; i-- {
		e.free = append(e.free, i)
	}
	return e
}

// run makes one connection after the other until the end of the window, and waits for those under way.
func (e *errands) run() {
	e.tick = time.NewTicker(progressEvery)
	defer e.tick.Stop()
	e.last = e.f.now()
	for e.one() {
	}
	for len(e.free) < e.f.cfg.Conns && e.await() {
	}
}

// one dials the next connection when it is due; false when there is none.
func (e *errands) one() bool {
	due, ok := e.due()
	if !ok {
		return false
	}
	e.collect()
	if len(e.free) == 0 {
		for len(e.free) == 0 {
			if !e.await() {
				return false
			}
		}
		e.behind = e.f.now()
	}
	now := e.f.now()
	if !e.f.cfg.open() {
		if now >= e.f.end.Load() {
			return false
		}
		e.dial(now)
		return true
	}
	if e.f.within(due) {
		if due < e.behind {
			e.waited++
		}
		e.late.Record(time.Duration(now - max(due, e.behind)))
	}
	e.dial(due)
	return true
}

// due waits until the next connection is due, and says when that was; false at the end of the window.
func (e *errands) due() (int64, bool) {
	if !e.f.cfg.open() {
		return e.f.now(), e.f.now() < e.f.end.Load()
	}
	due := e.f.due(0, e.next)
	for {
		if due >= e.f.end.Load() {
			return 0, false
		}
		now := e.f.now()
		if now >= due {
			return due, true
		}
		sleep(min(time.Duration(due-now), paceNap))
	}
}

// dial begins the next connection, on the number that was free longest.
func (e *errands) dial(due int64) {
	slot := e.free[0]
	e.free = append(e.free[:0], e.free[1:]...)
	c := newConn(e.f, slot)
	c.cold, c.start = true, due
	c.next = uint64(e.next) + 1 // no two requests of a number are alike
	c.want = c.next
	e.next++
	e.f.dial(c)
}

// collect takes back what has ended.
func (e *errands) collect() {
	for {
		select {
		case o := <-e.f.opened:
			e.back(o)
		default:
			return
		}
	}
}

// await takes the next one back that ends; false when that has taken too long after the end of the window.
func (e *errands) await() bool {
	for !e.stopped {
		select {
		case o := <-e.f.opened:
			e.back(o)
			return true
		case <-e.tick.C:
			now, end := e.f.now(), e.f.end.Load()
			e.stopped = now >= end+int64(drainAtMost) || now >= max(end, e.last)+int64(drainTimeout)
		}
	}
	return false
}

func (e *errands) back(o opened) {
	e.last = e.f.now()
	e.free = append(e.free, o.c.idx)
	e.f.net.forget(o.c)
	if o.err != nil {
		e.f.dialErrs++
		e.f.note(o.err)
	}
}

// settle counts what was due and never dialled. After the loops have ended.
func (e *errands) settle(g *group, now int64) {
	if !e.f.cfg.open() {
		return
	}
	for ; ; e.next++ {
		due := e.f.due(0, e.next)
		if due >= e.f.end.Load() {
			return
		}
		if e.f.within(due) {
			e.waited++
			g.errs.Unanswered++
			g.record(0, uint64(e.next)+1, time.Duration(now-due), now)
		}
	}
}

// fill puts what the connections were into the phase.
func (e *errands) fill(p *report.Phase) {
	shaken := hist.New()
	p.Cold = &report.Cold{Waited: e.waited}
	for _, g := range e.f.groups {
		shaken.Merge(g.fresh.shaken)
	}
	p.Cold.Handshake = shaken.Summary()
	p.PaceMS = e.late.Summary().P99
}

// askOnce is OnOpen of a fresh connection.
func (c *conn) askOnce() {
	now := c.f.now()
	c.state = connReady
	s := &c.g.fresh.session
	resumed := s.Resumed
	c.f.net.state(c, s)
	if s.Resumed > resumed {
		c.g.errs.NotCold++
	}
	at := now
	if c.f.cfg.open() {
		at = c.start
	}
	if c.g.inside(at) {
		c.g.fresh.shaken.Record(time.Duration(now - c.start))
	}
	if !c.send(now, c.start) {
		c.t.Close(nil) // over counts it
	}
}

// served ends a fresh connection that has its reply.
func (c *conn) served() {
	if c.state == connReady && c.inflight.n == 0 {
		c.state = connRetiring
		c.t.Close(nil)
	}
}

// over is OnClose of a fresh connection.
func (c *conn) over(was connState, cause error) {
	switch {
	case was == connRetiring:
		c.f.ready(c, nil)
	case c.f.stage.Load() == stageDone: // given up
		c.unanswered(c.want, c.start, c.f.now())
	case was == connDialing:
		c.f.ready(c, orUnexpected(cause))
	default:
		c.g.errs.ConnLost++
		c.g.errs.Transport5xx++
		c.f.note(orUnexpected(cause))
		c.f.ready(c, nil)
	}
}
