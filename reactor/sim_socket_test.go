package reactor

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// simSocket is a stream socket of the loops' side. Its peer is a simPeer, which sees the network's other end.
type simSocket struct {
	k          *simKernel
	peer       *simPeer
	file       *simFile   // nil until accepted
	stream     *simStream // not nil: it is a stream that is not a socket
	connecting bool       // connect was not called yet or is under way
	called     bool       // connect was called

	recv     []byte // arrived, not read
	recvRoom int
	send     []byte // taken from the loop, not read by the peer
	sendRoom int
	squeezed bool // the kernel is short of memory: takes nothing until it is relieved
	nospace  bool // a write or a wait has found it full: an edge follows

	taken  int  // bytes, in all
	finIn  bool // the peer's end of stream has arrived
	finOut bool // ours was sent
	ended  bool // of a stream: ours was sent before Close
	lost   bool // of a stream: closing has reset it
	reset  bool // the connection is broken
	linger bool // closing resets
	closed bool
	err    unix.Errno   // for the next call
	seen   []unix.Errno // what calls have returned

	mustCome bool // it was queued when its listener began to close: it has to be accepted

	bornAt, lastIO, stalledAt int64 // stalledAt: first refusal since the last progress; -1: none
	waits                     bool  // for tokens or memory, when last looked at
	waitedAt                  int64 // when that had ended
	relievedAt                int64 // of a stream: what stalledAt was until it told of room; -1: it has not
	drainFrom, drainedAt      int64 // when the loop began to drain it, -1: not yet; when the end of stream was sent
}

func (s *simSocket) met(errno unix.Errno) { s.seen = append(s.seen, errno) }

// poll is the socket's state as epoll shows it.
func (s *simSocket) poll() uint32 {
	if s.connecting && !s.called {
		return unix.EPOLLOUT | unix.EPOLLHUP // a fresh socket
	}
	var m uint32
	if s.err != 0 {
		m |= unix.EPOLLERR
	}
	if s.connecting {
		return m
	}
	if s.reset || s.finIn && s.finOut {
		m |= unix.EPOLLHUP
	}
	if s.reset || s.finIn {
		m |= unix.EPOLLIN | unix.EPOLLRDHUP
	}
	if len(s.recv) > 0 {
		m |= unix.EPOLLIN
	}
	if s.reset || s.finOut || s.roomy() {
		m |= unix.EPOLLOUT
	} else {
		s.nospace = true
	}
	return m
}

// roomy says whether a third of the send buffer is free, which is when Linux calls it writable.
func (s *simSocket) roomy() bool { return !s.squeezed && 3*(s.sendRoom-len(s.send)) >= s.sendRoom }

// relieved is called when there may be room again.
func (s *simSocket) relieved() {
	if s.nospace && s.roomy() {
		s.nospace = false
		s.notify(unix.EPOLLOUT)
	}
}

func (s *simSocket) notify(bits uint32) {
	if s.stream != nil {
		s.stream.notify(bits)
	} else if s.file != nil && !s.closed {
		s.k.notify(s.file, bits)
	}
}

// arrive is the peer's bytes coming in.
func (s *simSocket) arrive(p []byte) {
	if s.stream != nil && s.closed && !s.lost {
		return // nobody wants it, and it does no harm to the other direction
	}
	if s.closed || s.reset {
		s.peer.gotReset = true
		return
	}
	s.recv = append(s.recv, p...)
	s.notify(unix.EPOLLIN)
}

// arriveEnd is the peer's end of stream coming in.
func (s *simSocket) arriveEnd() {
	s.finIn = true
	s.notify(unix.EPOLLIN | unix.EPOLLRDHUP)
}

// breakDown is a reset coming in, or the network giving up.
func (s *simSocket) breakDown(errno unix.Errno) {
	if s.closed || s.reset {
		return
	}
	s.reset, s.err = true, errno
	s.met(errno)
	s.met(unix.EPIPE)
	s.send = nil
	s.notify(unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLHUP | unix.EPOLLERR)
}

// hangUp is our descriptor being closed: what was taken still goes out, unless input was left unread.
func (s *simSocket) hangUp() {
	s.closed = true
	lost := s.linger || len(s.recv) > 0 || s.connecting
	if s.stream != nil {
		s.ended, s.recv = s.finOut, nil
		lost = s.linger || !s.finOut
		s.lost = lost
	}
	if lost {
		s.peer.gotReset = true
		s.send = s.send[:min(len(s.send), s.k.rng.IntN(len(s.send)+1))]
	}
	s.finOut = true
}

// takeError returns the pending error once.
func (s *simSocket) takeError() unix.Errno {
	e := s.err
	s.err = 0
	return e
}

func (k *simKernel) read(fd int, p []byte) (got int, errno unix.Errno) {
	k.preempt()
	f := k.file("read", fd, simConnect)
	if f == nil {
		return -1, unix.EBADF
	}
	s := f.sock
	k.s.checkRead(s)
	if k.s.log != nil {
		defer func() { k.s.logf("%v: read of peer %d: %d of %d, %v", k.clock, s.peer.id, got, len(p), errno) }()
	}
	if k.chance(k.faults.reset) {
		s.breakDown([...]unix.Errno{unix.ECONNRESET, unix.ETIMEDOUT, unix.EHOSTUNREACH}[k.rng.IntN(3)])
		s.peer.gotReset = true
	}
	switch {
	case s.connecting:
		k.s.failf("read of descriptor %d, which is not connected", fd)
		return -1, unix.ENOTCONN
	case len(p) == 0:
		k.s.failf("read of nothing")
		return 0, 0
	case k.chance(k.faults.eintr):
		return -1, unix.EINTR
	case len(s.recv) > 0:
		n := min(len(p), len(s.recv))
		if k.chance(k.faults.short) {
			n = 1 + k.rng.IntN(n)
		}
		copy(p, s.recv[:n])
		s.recv = s.recv[n:]
		if n < len(p) && len(s.recv) > 0 {
			s.notify(unix.EPOLLIN) // the rest has come just now
		}
		s.lastIO = k.clock
		return n, 0
	case s.err != 0:
		return -1, s.takeError()
	case s.finIn || s.reset:
		return 0, 0
	}
	return -1, unix.EAGAIN
}

// take judges a write of total bytes: how many the socket takes.
func (k *simKernel) take(fd, total int) (*simSocket, int, unix.Errno) {
	k.preempt()
	f := k.file("write", fd, simConnect)
	if f == nil {
		return nil, -1, unix.EBADF
	}
	s := f.sock
	if k.chance(k.faults.reset) {
		s.breakDown(unix.ECONNRESET)
		s.peer.gotReset = true
	}
	switch {
	case s.connecting || s.finOut:
		k.s.failf("write to descriptor %d, connecting %v, ended %v", fd, s.connecting, s.finOut)
		return nil, -1, unix.EPIPE
	case total == 0:
		k.s.failf("write of nothing")
		return nil, 0, 0
	case s.err != 0:
		return nil, -1, s.takeError()
	case s.reset:
		return nil, -1, unix.EPIPE
	case k.chance(k.faults.eintr):
		return nil, -1, unix.EINTR
	case k.chance(k.faults.nobufs):
		s.stall() // there is room, so no event will tell
		return nil, -1, [...]unix.Errno{unix.ENOBUFS, unix.ENOMEM}[k.rng.IntN(2)]
	case s.squeezed || len(s.send) >= s.sendRoom:
		s.nospace = true
		s.stall()
		return nil, -1, unix.EAGAIN
	}
	n := min(total, s.sendRoom-len(s.send))
	s.lastIO, s.stalledAt = k.clock, -1
	defer func() { s.taken += n }()
	if n > 1 && k.chance(k.faults.short) {
		n = 1 + k.rng.IntN(n-1)
		s.squeeze()
	} else if n < total {
		s.nospace = true
		s.stall()
	}
	return s, n, 0
}

func (s *simSocket) stall() {
	if s.stalledAt < 0 {
		s.stalledAt = s.k.clock
	}
}

// squeeze makes the socket take nothing until the world relieves it.
func (s *simSocket) squeeze() {
	if !s.squeezed {
		s.k.s.squeezed = append(s.k.s.squeezed, s)
	}
	s.squeezed, s.nospace = true, true
	s.stall()
}

func (k *simKernel) write(fd int, p []byte) (int, unix.Errno) {
	s, n, errno := k.take(fd, len(p))
	k.s.logf("%v: write on descriptor %d: %d of %d, %v", k.clock, fd, n, len(p), errno)
	if s != nil {
		s.send = append(s.send, p[:n]...)
	}
	return n, errno
}

func (k *simKernel) writev(fd int, iov []unix.Iovec) (int, unix.Errno) {
	total := 0
	for _, v := range iov {
		total += int(v.Len)
	}
	s, n, errno := k.take(fd, total)
	for left, i := n, 0; s != nil && left > 0; i++ {
		m := min(left, int(iov[i].Len))
		s.send = append(s.send, sliceOf(iov[i])[:m]...)
		left -= m
	}
	return n, errno
}

// sliceOf is the memory behind an iovec.
func sliceOf(v unix.Iovec) []byte { return unsafe.Slice(v.Base, v.Len) }

func (k *simKernel) connect(fd int, _ unix.Sockaddr) unix.Errno {
	k.preempt()
	f := k.file("connect", fd, simConnect)
	if f == nil {
		return unix.EBADF
	}
	s := f.sock
	s.called = true
	s.bornAt = k.clock
	switch p := s.peer; p.dial {
	case dialAtOnce:
		s.established()
		return 0
	case dialNoRoute:
		s.met(unix.ENETUNREACH)
		p.gotReset = true
		return unix.ENETUNREACH
	case dialInterrupted:
		k.s.dials = append(k.s.dials, s)
		return unix.EINTR
	case dialNever:
		return unix.EINPROGRESS
	default:
		k.s.dials = append(k.s.dials, s)
		return unix.EINPROGRESS
	}
}

// established ends a connect that was under way.
func (s *simSocket) established() {
	s.connecting = false
	s.peer.accepted = true
	s.notify(unix.EPOLLOUT)
}

func (k *simKernel) socketError(fd int) unix.Errno {
	k.preempt()
	if f := k.file("getsockopt", fd, simConnect); f != nil {
		if f.sock.connecting && f.sock.err == 0 {
			k.s.failf("descriptor %d is taken for connected", fd)
		}
		return f.sock.takeError()
	}
	return unix.EBADF
}

func (k *simKernel) shutdownWrite(fd int) {
	k.preempt()
	if f := k.file("shutdown", fd, simConnect); f != nil {
		f.sock.finOut = true
		f.sock.drainedAt = k.clock
		if f.sock.finIn {
			f.sock.notify(unix.EPOLLHUP)
		}
	}
}

func (k *simKernel) reset(fd int) {
	k.preempt()
	if f := k.file("setsockopt", fd, simConnect); f != nil {
		f.sock.linger = true
	}
}
