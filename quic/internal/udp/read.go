package udp

import (
	"net"
	"os"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// loopSide is what only the loop touches.
type loopSide struct {
	vec      [maxVector]unix.Mmsghdr
	slabs    [maxVector]*slab
	want     int  // how many messages the next call is prepared for
	readable bool // the last call of recvmmsg did not drain the socket, or there was an event since
	errors   int  // in a row
}

// readerSide is what only the reading goroutine touches.
type readerSide struct {
	peers peers
	slabs list // taken from the depot, not cut yet
	used  list // cut
}

// OnReady is called by the loop for every readiness event of the socket (edge-triggered; readable also stands for an error),
// and with both arguments false when SetWake's function or an earlier true asked for it. It sends
// what waits, reads what the budget allows, and never waits. again asks to be called in the next turn without an event. Loop only.
func (s *Socket) OnReady(readable, writable bool) (again bool) {
	if writable {
		s.room.announce()
	}
	l := &s.loop
	if readable {
		l.readable = true
	}
	if !s.acquire() {
		return false
	}
	defer s.release()
	_ = s.flush(false)
	if !l.readable {
		return false
	}
	for calls, bytes := 0, 0; calls < readCalls && bytes < readBudget; calls++ {
		n, drained, ok := s.receive()
		bytes += n
		if drained {
			l.readable = false
		}
		if drained || !ok {
			return false
		}
	}
	return true
}

// receive makes one call of recvmmsg. n counts bytes; drained says that the socket has nothing more; ok is false when there
// was no slab to read into, or the socket is at its end.
func (s *Socket) receive() (n int, drained, ok bool) {
	l := &s.loop
	k := s.depot.equip(l.slabs[:l.want])
	if k == 0 {
		return 0, false, false
	}
	for i, sl := range l.slabs[:k] {
		sl.aim(&l.vec[i])
	}
	got, errno := s.sys.recvmmsg(s.fd, l.vec[:k])
	s.count.readCalls.Add(1)
	if errno != 0 {
		s.depot.deliver(l.slabs[:k], 0)
		return 0, errno == unix.EAGAIN, s.readError(errno)
	}
	l.errors = 0
	for i, sl := range l.slabs[:got] {
		sl.fill(&l.vec[i])
		n += sl.n
	}
	s.depot.deliver(l.slabs[:k], got)
	switch {
	case got == k:
		l.want = min(2*l.want, maxVector)
	case got < k/2 && l.want > 2:
		l.want--
	}
	return n, got < k, true
}

// readError says whether reading goes on after an error.
func (s *Socket) readError(errno unix.Errno) bool {
	switch errno {
	case unix.EAGAIN, unix.EINTR:
		return true
	case unix.EBADF, unix.ENOTSOCK, unix.EINVAL, unix.EFAULT:
	default: // ENOMEM, or an error of an earlier datagram
		s.count.readErrors.Add(1)
		if s.loop.errors++; s.loop.errors < maxReadErrors {
			return true
		}
	}
	s.depot.end(os.NewSyscallError("recvmmsg", errno))
	return false
}

// ReadBatch fills ms with datagrams: N, NN, Flags and Addr, which is a *net.UDPAddr that stays valid and must not be changed.
// It waits until there is at least one, and returns no error with any. An error is the socket's end (net.ErrClosed after
// Close) or the deadline's; none is temporary. The first of a message's Buffers and its OOB are written to before it returns,
// never after. A datagram longer than that buffer is dropped and counted. flags is ignored. Any goroutine, but only one at a
// time, together with ReadFrom and ReadMsgUDP.
func (s *Socket) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	if len(ms) == 0 {
		return 0, unix.EINVAL
	}
	for {
		if n := s.cut(ms); n > 0 {
			return n, nil
		}
		wake, err := s.depot.take(&s.reader.used, &s.reader.slabs)
		if wake {
			s.wakeLoop()
		}
		if err != nil {
			return 0, err
		}
	}
}

// cut fills ms from the slabs that have been taken.
func (s *Socket) cut(ms []ipv4.Message) (n int) {
	r := &s.reader
	for n < len(ms) {
		sl := r.slabs.head
		if sl == nil {
			break
		}
		if sl.peer == nil && !s.open(sl) {
			r.used.pushBack(r.slabs.pop())
			continue
		}
		m := &ms[n]
		end := min(sl.off+sl.segment, sl.n)
		datagram := sl.buf[sl.off:end]
		switch o := s.owner(sl, datagram); {
		case len(datagram) > len(m.Buffers[0]):
			s.count.oversized.Add(1)
		case o != s:
			if s.count.moved.Add(1); !o.depot.move(sl, datagram) {
				s.count.unmoved.Add(1)
			}
		default:
			m.N = copy(m.Buffers[0], datagram)
			m.NN = copy(m.OOB, sl.pass[:sl.passLen])
			m.Flags, m.Addr = 0, sl.peer
			n++
		}
		if sl.off = end; end >= sl.n {
			sl.peer = nil
			r.used.pushBack(r.slabs.pop())
		}
	}
	return n
}

// owner is the socket whose a datagram is. The kernel steers a message by its first datagram, also where it has joined those of several
// connections from one address.
func (s *Socket) owner(sl *slab, datagram []byte) *Socket {
	if len(s.group) == 0 || sl.segment == sl.n || sl.moved {
		return s
	}
	return s.group[steer(datagram, len(s.group))]
}

// open reads the address and the control messages of a message. It says whether the message is of use, and counts it.
func (s *Socket) open(sl *slab) bool {
	key, ok := keyOf(&sl.name, sl.nameLen)
	if !ok || sl.flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		s.count.truncated.Add(1)
		return false
	}
	sl.passLen, sl.segment = filterControl(sl.pass[:], sl.control[:sl.controlLen])
	if sl.segment == 0 || sl.segment > sl.n {
		sl.segment = sl.n
	}
	sl.off, sl.peer = 0, s.reader.peers.intern(key)
	if sl.moved {
		return true
	}
	datagrams := 1
	if sl.segment > 0 {
		datagrams = (sl.n + sl.segment - 1) / sl.segment
	}
	s.count.datagramsIn.Add(uint64(datagrams))
	s.count.bytesIn.Add(uint64(sl.n))
	if datagrams > 1 {
		s.count.coalesced.Add(uint64(datagrams))
	}
	return true
}

// ReadFrom reads one datagram, as net.PacketConn says. Goroutines: see ReadBatch.
func (s *Socket) ReadFrom(p []byte) (int, net.Addr, error) {
	n, _, _, addr, err := s.ReadMsgUDP(p, nil)
	if err != nil {
		return 0, nil, err
	}
	return n, addr, nil
}

// ReadMsgUDP reads one datagram and its control messages. Goroutines: see ReadBatch.
func (s *Socket) ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error) {
	ms := [1]ipv4.Message{{Buffers: [][]byte{b}, OOB: oob}}
	if _, err = s.ReadBatch(ms[:], 0); err != nil {
		return 0, 0, 0, nil, err
	}
	return ms[0].N, ms[0].NN, 0, ms[0].Addr.(*net.UDPAddr), nil
}

// wakeLoop asks for a turn of OnReady without an event.
func (s *Socket) wakeLoop() {
	if wake := s.wake.Load(); wake != nil {
		(*wake)()
	}
}
