package reactor

import (
	"errors"
	"io"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// simStream is a Stream in front of a simSocket, as unhelpful as the contract allows: it says nothing that it has not promised.
type simStream struct {
	s   *sim
	k   *simSocket
	c   *Conn
	adm *Admission // nil: none

	pending Readiness // to be told by the world, in its own time
	armed   bool      // a read has been told that there is no more: Ready is promised
	hungUp  bool      // HangUp was told
	readEnd bool      // Read has returned the end, or an error
	stopped bool      // the peer takes no more
	failed  bool      // Write has returned an error
	refused bool      // Attach has returned an error
	resets  int
	closes  int
}

// simReason is an error with a word of the canon.
type simReason struct{ unix.Errno }

func (simReason) Reason() string  { return ReasonPeerLimit }
func (r simReason) Unwrap() error { return r.Errno }

// socket is the simulated one behind c.
func (s *sim) socket(c *Conn) *simSocket {
	if st, ok := c.stream.(*simStream); ok {
		return st.k
	}
	if f := s.k.file("a connection", int(c.fd), simConnect); f != nil {
		return f.sock
	}
	return nil
}

// comeAsStream has p's stream attached, from anywhere.
func (s *sim) comeAsStream(p *simPeer) {
	loop := s.rng.IntN(len(s.r.loops))
	if s.rng.IntN(3) > 0 {
		s.attach(p, loop, false)
		return
	}
	from := s.rng.IntN(len(s.r.loops))
	if s.r.Post(from, func() { s.attach(p, loop, from == loop) }) != nil {
		p.gotReset = true
	}
}

// attach attaches p's stream to a loop; near: from that loop itself.
func (s *sim) attach(p *simPeer, loop int, near bool) {
	rng, st := s.rng, &simStream{s: s, k: p.sock}
	ac := AttachConfig{Loop: loop, Stream: st.attached, OnError: s.onError, Dialled: rng.IntN(3) == 0, Protocol: func(c *Conn) Protocol {
		if s.plan.panics && rng.IntN(10) == 0 {
			s.thrown++
			panic(simPanic{})
		}
		if c.loop.stopping && !c.dialled {
			s.failf("peer %d: its stream is served although the loop is drained", p.id)
		}
		return s.newProto(c, p)
	}}
	if rng.IntN(2) == 0 {
		var err error
		if st.adm, err = s.r.Admit(netip.AddrPortFrom(netip.AddrFrom4(p.addr), 1)); err != nil {
			p.gotReset = true
			return
		}
		if ac.Admission = st.adm; rng.IntN(2) == 0 {
			st.adm.Opened()
		}
	}
	if rng.IntN(8) == 0 {
		ac.Refusal = ErrPeerLimit
		if rng.IntN(2) == 0 {
			ac.Refuse = func(c *Conn, cause error) {
				if cause != ErrPeerLimit || c.proto != nil {
					s.failf("Refuse: cause %v, protocol %v", cause, c.proto != nil)
				}
				_ = c.Write(appendSimFrame(nil, p.id, opBye, 0, 0, 5))
			}
		}
	}
	p.sock.bornAt = s.k.clock
	c, err := s.r.Attach(ac)
	if err != nil {
		if err != ErrShuttingDown {
			s.failf("Attach: %v", err)
		}
		st.refused, p.gotReset = true, true
		st.release()
		return
	}
	s.logf("peer %d: stream on loop %d, dialled %v, refusal %v", p.id, loop, ac.Dialled, ac.Refusal)
	p.accepted = true
	s.streams = append(s.streams, st)
	if near && rng.IntN(2) == 0 {
		s.useAtOnce(p, c, ac.Refusal != nil)
	}
}

// useAtOnce does what a callback may do with the connection that it has just attached to its own loop.
func (s *sim) useAtOnce(p *simPeer, c *Conn, refused bool) {
	hello := appendSimFrame(nil, p.id, opHello, 0, 0, s.rng.IntN(50))
	if s.rng.IntN(2) == 0 {
		if err := c.Write(hello); err != nil {
			s.failf("peer %d: Write before the loop has begun with it: %v", p.id, err)
		}
		p.greeting = len(hello)
	}
	switch s.rng.IntN(4) {
	case 0:
		c.Close(errSimAsked)
	case 1:
		c.Abort(errSimAsked)
	default:
		if refused && p.greeting > 0 {
			c.Abort(errSimAsked) // nobody would expect the greeting
		}
	}
}

// attached is AttachConfig.Stream.
func (st *simStream) attached(c *Conn) Stream {
	st.c, st.k.stream = c, st
	if st.s.rng.IntN(4) == 0 {
		st.armed = true
	}
	if st.k.finIn && st.s.rng.IntN(4) > 0 {
		st.pending |= HangUp
		st.ready()
	}
	return st
}

// check is called first by every method.
func (st *simStream) check(what string) {
	st.s.logf("%v: %s of stream %d", st.s.k.clock, what, st.k.peer.id)
	st.s.k.preempt()
	switch cur := st.s.k.cur; {
	case st.refused:
		st.s.failf("stream %d: %s although Attach has failed", st.k.peer.id, what)
	case st.closes > 0:
		st.s.failf("stream %d: %s after Close", st.k.peer.id, what)
	case st.resets > 0 && what != "Close":
		st.s.failf("stream %d: %s after Reset", st.k.peer.id, what)
	case cur == nil || cur.l != st.c.loop:
		st.s.failf("stream %d: %s outside of its loop", st.k.peer.id, what)
	}
}

// over is what comes after the last byte; nil: nothing is known of an end.
func (st *simStream) over() error {
	switch {
	case st.k.err != 0:
		return st.failure(st.k.err)
	case st.k.finIn:
		return io.EOF
	}
	return nil
}

func (st *simStream) failure(errno unix.Errno) error {
	st.k.met(errno)
	if st.s.rng.IntN(2) == 0 {
		return simReason{errno}
	}
	return errno
}

func (st *simStream) Read(p []byte) (n int, err error) {
	st.check("Read")
	k, s := st.k, st.s
	s.checkRead(k)
	if len(p) == 0 || st.readEnd {
		s.failf("stream %d: read of %d bytes, ended %v", k.peer.id, len(p), st.readEnd)
	}
	if s.k.chance(s.k.faults.reset) {
		k.breakDown([...]unix.Errno{unix.ECONNRESET, unix.ETIMEDOUT}[s.rng.IntN(2)])
		k.peer.gotReset = true
	}
	if len(k.recv) == 0 {
		err = st.over()
	} else if !s.k.chance(s.k.faults.short / 4) { // else it blocks all the same
		n = min(len(p), len(k.recv))
		if s.k.chance(s.k.faults.short) {
			n = 1 + s.rng.IntN(n)
		}
		copy(p, k.recv[:n])
		k.recv, k.lastIO = k.recv[n:], s.k.clock
		if len(k.recv) == 0 && s.rng.IntN(2) == 0 {
			err = st.over()
		}
	}
	if st.readEnd = err != nil; st.readEnd || n == len(p) {
		return n, err
	}
	st.armed = true
	if len(k.recv) > 0 || st.over() != nil && !(st.hungUp && n > 0) {
		st.tell(ReadReady)
	}
	if s.rng.IntN(2) == 0 {
		return n, nil
	}
	return n, ErrWouldBlock
}

func (st *simStream) Write(p []byte) (n int, err error) {
	st.check("Write")
	k, s := st.k, st.s
	if len(p) == 0 || k.finOut || st.failed {
		s.failf("stream %d: write of %d bytes, ended %v, failed %v", k.peer.id, len(p), k.finOut, st.failed)
	}
	if s.k.chance(s.k.faults.reset) {
		if k.peer.gotReset, st.stopped = true, s.rng.IntN(2) == 0; !st.stopped {
			k.breakDown(unix.ECONNRESET)
		}
	}
	room := k.sendRoom - len(k.send)
	switch {
	case st.stopped || k.err != 0:
		st.failed = true
		errno := k.err
		if errno == 0 {
			errno = unix.EPIPE
		}
		return s.rng.IntN(len(p) + 1), st.failure(errno)
	case k.squeezed || room <= 0:
		k.nospace = true
		k.stall()
		if s.rng.IntN(2) == 0 {
			return 0, nil
		}
		return 0, ErrWouldBlock
	}
	n = min(len(p), room)
	k.lastIO, k.stalledAt, k.relievedAt = s.k.clock, -1, -1
	if n > 1 && s.k.chance(s.k.faults.short) {
		n = 1 + s.rng.IntN(n-1)
		k.squeeze()
	} else if n < len(p) {
		k.nospace = true
		k.stall()
	}
	k.send = append(k.send, p[:n]...)
	k.taken += n
	if n < len(p) && s.rng.IntN(2) == 0 {
		err = ErrWouldBlock
	}
	return n, err
}

func (st *simStream) CloseWrite() {
	st.check("CloseWrite")
	if st.k.finOut {
		st.s.failf("stream %d: CloseWrite twice", st.k.peer.id)
	}
	st.k.finOut, st.k.drainedAt = true, st.s.k.clock
}

func (st *simStream) Reset(error) {
	st.check("Reset")
	st.resets++
	st.k.linger = true
}

func (st *simStream) Close() {
	st.check("Close")
	st.closes++
	st.k.hangUp()
	st.release()
}

func (st *simStream) release() {
	if st.adm != nil {
		st.adm.Release()
	}
}

func (st *simStream) LocalAddr() net.Addr  { return &net.UDPAddr{Port: 1} }
func (st *simStream) RemoteAddr() net.Addr { return &net.UDPAddr{IP: st.k.peer.addr[:], Port: 2} }

// notify has the world tell the loop, if that is promised.
func (st *simStream) notify(bits uint32) {
	ended := bits&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0
	if ended && st.s.rng.IntN(2) == 0 {
		st.tell(HangUp)
	} else if st.armed && bits&unix.EPOLLIN != 0 {
		st.tell(ReadReady)
	}
	if bits&unix.EPOLLOUT != 0 && (st.k.reset && st.k.nospace || !st.k.reset) {
		st.k.nospace = false
		st.tell(WriteReady)
	}
}

func (st *simStream) tell(ev Readiness) {
	if ev&(ReadReady|HangUp) != 0 {
		st.armed = false
	}
	st.pending |= ev
}

// ready tells some or all of what is to be told.
func (st *simStream) ready() {
	s := st.s
	ev := st.pending & Readiness(s.rng.IntN(8))
	if ev == 0 {
		ev = st.pending
	}
	st.pending &^= ev
	if ev&HangUp != 0 {
		st.hungUp = true
	}
	if s.k.chance(s.k.faults.spurious) {
		ev |= Readiness(s.rng.IntN(8))
	}
	if ev&WriteReady != 0 {
		st.relieved()
	}
	s.logf("stream %d: Ready(%d)", st.k.peer.id, ev)
	st.c.Ready(ev)
	if s.rng.IntN(4) == 0 {
		st.c.Ready(ev)
	}
}

// relieved is called when the loop is about to learn that there is room: from then on output may wait for tokens only.
func (st *simStream) relieved() {
	if st.c.blocked && st.c.outAt != 0 && st.k.stalledAt >= 0 {
		st.k.relievedAt, st.k.stalledAt = st.k.stalledAt, -1
	}
}

// actReady has one stream tell its loop.
func (s *sim) actReady() bool {
	n := len(s.streams)
	if n == 0 {
		return false
	}
	first := s.rng.IntN(n)
	for i := range n {
		if st := s.streams[(first+i)%n]; st.pending != 0 {
			st.ready()
			return true
		}
	}
	return false
}

// untold has a stream tell what is not true, also one that has ended.
func (s *sim) untold() {
	if len(s.streams) > 0 && s.k.chance(s.k.faults.spurious/4) {
		st := s.streams[s.rng.IntN(len(s.streams))]
		st.relieved()
		st.c.Ready(Readiness(1 + s.rng.IntN(7)))
	}
}

// checkStream looks at c's stream, if it is one, when its protocol hears of its end.
func (s *sim) checkStream(c *Conn, cause error) {
	st, ok := c.stream.(*simStream)
	if !ok {
		return
	}
	if st.closes != 1 {
		s.failf("stream %d: %d times Close before OnClose", st.k.peer.id, st.closes)
	}
	if cause == nil && (st.resets > 0 || !st.k.ended) {
		s.failf("stream %d: a clean close with %d resets, CloseWrite %v", st.k.peer.id, st.resets, st.k.ended)
	}
	var pe *PanicError
	aborted := errors.As(cause, &pe) || cause == ErrSlowPeer || cause == ErrWriteTimeout || cause == ErrMinWriteRate || cause == ErrDrainTimeout
	if aborted && st.resets != 1 {
		s.failf("stream %d: closed with %v, without Reset", st.k.peer.id, cause)
	}
	var r simReason
	if errors.As(cause, &r) && reasonOf(cause) != ReasonPeerLimit {
		s.failf("stream %d: the reason of %v is %q", st.k.peer.id, cause, reasonOf(cause))
	}
}
