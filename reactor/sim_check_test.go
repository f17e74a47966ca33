package reactor

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

type unixErrno = unix.Errno

const (
	errRefused     = unix.ECONNREFUSED
	errUnreachable = unix.EHOSTUNREACH
	errTimedOut    = unix.ETIMEDOUT
)

// simLate is how late a deadline may be noticed: two ticks of the wheel.
const simLate = 2 * int64(wheelTick)

// peerOf finds the other end of c.
func (s *sim) peerOf(c *Conn) *simPeer { return s.socket(c).peer }

// connOf finds the connection on socket k; nil: there is none (any more).
func (s *sim) connOf(k *simSocket) *Conn {
	for _, l := range s.r.loops {
		for _, c := range l.slots {
			if c != nil && !k.closed && (k.file != nil || k.stream != nil) && s.socket(c) == k {
				return c
			}
		}
	}
	return nil
}

// deadline is when c must have ended, by what the simulated kernel has seen; -1: no deadline. Frames are judged elsewhere.
func (s *sim) deadline(c *Conn, k *simSocket) int64 {
	at := int64(-1)
	by := func(from int64, d time.Duration) {
		if d > 0 && from >= 0 && (at < 0 || from+int64(d) < at) {
			at = from + int64(d)
		}
	}
	cfg := &s.plan.cfg
	switch c.state {
	case stateProxy, stateConnecting, stateHandshake:
		by(k.bornAt, cfg.HandshakeTimeout)
	case stateOpen:
		p := k.peer.proto
		if !p.eof {
			by(p.stayedAt, cfg.ShutdownGrace)
		}
		if c.inAt|c.outAt != 0 { // for tokens or memory
			k.waits = true
			break
		}
		if k.waits {
			k.waits, k.waitedAt = false, s.k.clock
		}
		by(max(k.lastIO, k.waitedAt, p.openedAt), cfg.IdleTimeout)
	case stateLingering:
		by(k.drainedAt, cfg.LingerTimeout)
		return at
	}
	if c.state == stateDraining {
		by(k.drainFrom, cfg.DrainTimeout)
	}
	if c.Queued() > 0 {
		by(k.stalledAt, cfg.WriteTimeout)
	}
	return at
}

// conns calls f for each connection of a loop that has not ended.
func (s *sim) conns(l *loop, f func(c *Conn, k *simSocket)) {
	for _, c := range l.slots {
		if c != nil && c.state != stateClosed && s.failure == "" {
			if k := s.socket(c); k != nil {
				f(c, k)
			}
		}
	}
}

// checkTurn looks at a loop between two turns.
func (s *sim) checkTurn(sl *simLoop) {
	l := sl.l
	if sl.where == simDone {
		return
	}
	if b := s.plan.budget; b > 0 && l.pool.OutstandingBytes() > int64(b/len(s.loops)) && l.high > pressedMark && s.turns > 100 {
		s.failf("loop %d: its connections hold %d bytes, the mark is %d", l.id, l.pool.OutstandingBytes(), l.high)
	}
	s.conns(l, func(c *Conn, k *simSocket) {
		id := k.peer.id
		if l.stopping && (c.dialled && c.state <= stateHandshake || c.state == stateOpen && !c.leaving) {
			s.failf("conn %d: in state %d although the loop is drained", id, c.state)
		}
		if c.state == stateDraining && k.drainFrom < 0 {
			k.drainFrom = l.now
		}
		// After a jump of the clock the sockets come first.
		if at := s.deadline(c, k); at >= 0 && at+simLate < l.now && l.unseen == 0 && l.now >= l.judgeFrom {
			s.failf("conn %d: in state %d %v after its deadline", id, c.state, time.Duration(l.now-at))
		}
		if at := l.earliest(c); at != 0 && (c.wtick < 0 || c.wtick > max(at/int64(wheelTick)+1, l.wheel.tick)) {
			s.failf("conn %d: deadline %v is filed under tick %d (now %d)", id, time.Duration(at), c.wtick, l.wheel.tick)
		}
		kept := !c.queued && c.state == stateOpen && (c.in != nil || c.cipherLen > 0) && !c.pending && !c.held()
		if kept && c.readAt == 0 && l.r.cfg.FrameTimeout > 0 {
			s.failf("conn %d: a partial frame without a deadline", id)
		}
		if n, most := c.Queued(), l.r.cfg.HardCap+simMaxPayload+1000; n > most+most/16 {
			s.failf("conn %d: %d bytes queued", id, n)
		}
		if c.filter == nil && c.Queued() > l.r.cfg.HardCap+s.largest(k.peer) {
			s.failf("conn %d: %d bytes queued, the hard cap is %d", id, c.Queued(), l.r.cfg.HardCap)
		}
	})
}

// largest is the most that one write of p's protocol queues.
func (s *sim) largest(p *simPeer) int {
	n := 100
	for _, f := range p.frames {
		n = max(n, f.size+simFrameHeader)
	}
	return n
}

// checkSleep looks at a loop that is about to wait ms milliseconds: it must not sleep through anything.
func (s *sim) checkSleep(sl *simLoop, ms int) {
	l := sl.l
	if l.unseen > 0 {
		s.failf("the loop sleeps, but has not judged its deadlines after a jump of the clock")
	}
	s.conns(l, func(c *Conn, k *simSocket) {
		if at := s.deadline(c, k); at >= 0 && ms != 0 && (ms < 0 || s.k.clock+int64(ms)*1e6 > max(at, l.judgeFrom)+simLate) {
			s.failf("conn %d: the loop sleeps for %d ms, its deadline is in %v", k.peer.id, ms, time.Duration(at-s.k.clock))
		}
		if c.dirty || c.queued {
			s.failf("conn %d: the loop sleeps, but there is work: to be flushed %v, to be read %v", k.peer.id, c.dirty, c.queued)
		}
		if c.Queued() > 0 && !c.blocked && c.outAt == 0 && c.state > stateHandshake {
			s.failf("conn %d: the loop sleeps, but output waits that is not blocked", k.peer.id)
		}
	})
}

// checkRead is called for every read of a socket.
func (s *sim) checkRead(k *simSocket) {
	for _, c := range s.k.cur.l.slots {
		if c == nil || c.state != stateOpen || s.socket(c) != k {
			continue
		}
		if c.paused != 0 || c.out.bytes > 0 && c.Queued() > s.plan.cfg.HighWater && c.blocked && !c.dirty && !c.dialled {
			s.failf("conn %d: read although paused %v, with %d bytes queued", k.peer.id, c.paused, c.Queued())
		}
	}
}

// checkOwed is called when nothing can happen without time passing: no peer may be waiting for something by then, unless
// it hangs by its own plan.
func (s *sim) checkOwed() {
	for _, p := range s.peers {
		if !p.accepted || p.finished() || p.broke || p.deaf() {
			continue
		}
		if c := s.connOf(p.sock); c != nil && c.inAt|c.outAt != 0 {
			continue // it waits for tokens or memory, and the clock does move on
		} else if c != nil && c.state == stateOpen && p.refrains() {
			continue // it may be above its mark, and is read no more then
		} else if c != nil && c.paused&pausePipe != 0 {
			if o := c.ext.pipe; o == nil || !o.over {
				s.failf("peer %d waits for ever for the partner of a pipe, which is not above its mark", p.id)
			}
			continue
		}
		switch {
		case p.sentEnd && p.proto != nil:
			s.failf("peer %d has ended its stream and waits for ours for ever", p.id)
		case p.mute():
		case !p.complete(), p.filter != nil && !p.shaken:
			s.failf("peer %d waits for ever: %d of %d frames sent, %d replies owed", p.id, p.next, len(p.frames), p.owed())
		}
	}
}

// checkRest is called at such moments too: what has to be over by then, and the marks of pipes.
func (s *sim) checkRest() {
	for _, l := range s.r.loops {
		s.conns(l, func(c *Conn, k *simSocket) {
			id := k.peer.id
			if c.state == stateLingering && k.finIn {
				s.failf("conn %d: it lingers although the peer has ended its stream", id)
			}
			if c.state != stateOpen || !c.over || c.ext == nil || c.ext.pipe == nil {
				return
			}
			if o := c.ext.pipe; o.state == stateOpen && o.ext != nil && o.ext.pipe == c && o.paused&pausePipe == 0 {
				s.failf("conn %d: above its mark, but the other end of the pipe is not paused", id)
			}
		})
	}
}

// checkQueue looks at what a listener leaves in its queue.
func (s *sim) checkQueue(sl *simListener) {
	if s.plan.faults.accept > 0 || s.plan.limit < 1<<20 || s.plan.faults.add > 0 {
		return // a loop may have had to let go of it
	}
	for _, k := range sl.file.queue {
		if k.mustCome {
			s.failf("peer %d: it was waiting when the listener closed, and is not accepted", k.peer.id)
		}
	}
}

// closed judges the cause that a protocol is given.
func (s *sim) closed(p *simProto, cause error) {
	s.logf("conn %d: OnClose %v", p.peer.id, cause)
	if p.closed > 1 {
		s.failf("conn %d: OnClose twice", p.peer.id)
	}
	s.checkStream(p.c, cause)
	if p.inside {
		s.failf("conn %d: OnClose inside another callback", p.peer.id)
	}
	if (cause == nil || cause != p.told) && !s.fits(p, cause) {
		s.failf("conn %d: closed for a reason that does not fit: %v", p.peer.id, cause)
	}
}

// fits says whether cause is what happened to p.
func (s *sim) fits(p *simProto, cause error) bool {
	k, peer, cfg := p.peer.sock, p.peer, &s.plan.cfg
	since := func(from int64, d time.Duration) bool { return d > 0 && from >= 0 && s.k.clock >= from+int64(d) }
	var e *Error
	var pe *PanicError
	switch {
	case cause == nil:
		return p.ended && !p.asked && k.taken >= p.wrote
	case cause == ErrMinReadRate, cause == ErrMinWriteRate:
		return cfg.MinRate > 0 && since(p.openedAt, minRateWindow)
	case cause == errSimAsked:
		return p.asked
	case cause == ErrPeerLimit: // dialled: its protocol hears of the refusal
		return p.c.stream != nil && p.c.dialled && p.c.ext.refusal == cause
	case cause == errSimFrame:
		return p.badIn
	case cause == ErrHandshakeTimeout:
		return !p.opened && since(k.bornAt, cfg.HandshakeTimeout)
	case cause == ErrWriteTimeout:
		return since(k.stalledAt, cfg.WriteTimeout) || since(k.relievedAt, cfg.WriteTimeout)
	case cause == ErrFrameTimeout:
		return since(max(p.tookAt, p.paused), cfg.FrameTimeout) && !p.c.held()
	case cause == ErrIdleTimeout:
		return since(max(p.openedAt, k.lastIO), cfg.IdleTimeout)
	case cause == ErrDrainTimeout:
		return since(k.drainFrom, cfg.DrainTimeout)
	case cause == ErrShuttingDown:
		return s.drained
	case cause == ErrSlowPeer:
		return p.slow
	case cause == errTruncated:
		return peer.sentEnd && peer.broke
	case errors.As(cause, &pe):
		f, _ := p.c.filter.(*simFilter)
		return p.thrown || f != nil && f.panicAt >= 0
	case errors.As(cause, &e):
		var errno unix.Errno
		errors.As(e.Err, &errno)
		return slices.Contains(k.seen, errno) || !p.opened && errno == unix.ECONNRESET && k.finIn
	}
	f, _ := p.c.filter.(*simFilter)
	if cause == errSimStep {
		return f != nil && f.failAt >= 0
	}
	return p.c.filter != nil && peer.broke
}

// checkEnd looks at what is left when the loops have ended.
func (s *sim) checkEnd() {
	if s.k.open != 0 {
		s.failf("%d descriptors are left open", s.k.open)
	}
	var panics, closed uint64
	for i, l := range s.r.loops {
		st := l.pool.Stats()
		if st.Outstanding != 0 {
			s.failf("loop %d: leak: %v", i, l.pool.Leaks())
		}
		if st.DoubleReleases+st.Corruptions > 0 {
			s.failf("loop %d: %v", i, l.pool.Faults())
		}
		panics += l.count[counterPanics]
		closed += l.count[counterClosed]
		if l.load.Load() != 0 || l.conns != 0 || l.refused != 0 {
			s.failf("loop %d: load %d, %d connections, %d refused", i, l.load.Load(), l.conns, l.refused)
		}
	}
	if s.told != int(panics) || s.told > s.thrown {
		s.failf("%d panics counted, %d told, %d thrown", panics, s.told, s.thrown)
	}
	if n := s.r.admitted.Load(); n != 0 {
		s.failf("%d connections are still counted", n)
	}
	s.checkPeers()
	for _, p := range s.protos {
		if p.closed != 1 {
			s.failf("conn %d: %d times OnClose", p.peer.id, p.closed)
		}
	}
	for _, st := range s.streams {
		if st.closes != 1 {
			s.failf("stream %d: %d times Close", st.k.peer.id, st.closes)
		}
	}
	for i, f := range s.filters {
		if f, ok := f.(*simFilter); ok && !f.released {
			s.failf("filter %d was never released: %v", i, f)
		}
	}
	for _, p := range s.peers {
		s.checkPeer(p)
	}
	if s.tls != nil {
		for _, p := range s.peers {
			if p.filter != nil {
				p.filter.Release()
			}
		}
	}
}

// checkPeer compares what a peer has received with what was written.
func (s *sim) checkPeer(p *simPeer) {
	pr := p.proto
	if pr == nil || !p.gotEnd || p.gotReset || p.sock.reset || p.deaf() {
		return
	}
	if p.filter != nil && !p.gotBye {
		if pr.opened && p.shaken && (s.tls == nil || !p.broke) {
			s.failf("peer %d: end without the filter's goodbye", p.id)
		}
		return
	}
	if p.plainGot != pr.wrote {
		s.failf("peer %d: %d bytes of %d, and a clean end", p.id, p.plainGot, pr.wrote)
	}
}

// checkPeers looks for peers that are still counted.
func (s *sim) checkPeers() {
	if s.r.peers == nil {
		return
	}
	for a, p := range s.r.peers.m {
		if p.conns != 0 || p.half != 0 {
			s.failf("peer %v still counts: %d connections, %d half-open", a, p.conns, p.half)
		}
	}
}
