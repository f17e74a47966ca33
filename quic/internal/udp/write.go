package udp

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is what one sendmsg needs. It is reused, because what the kernel is shown must not lie on a stack.
type message struct {
	hdr  unix.Msghdr
	iov  unix.Iovec
	name unix.RawSockaddrInet6
	pass [passedSpace]byte // control messages when they are not the caller's
}

// WriteMsgUDP sends b to addr as one datagram, or with UDP_SEGMENT in oob as several. It does not keep b or oob. While the
// socket is full it waits for the loop to see room, at most for a second: then, and when the kernel has no memory, b counts
// as sent and lost, which QUIC repairs, where an error would end the connection. Errors of the system are *os.SyscallError:
// EMSGSIZE for a datagram above the path's MTU, EIO where the device cannot segment; net.ErrClosed after Close. Any
// goroutine, also several at once.
func (s *Socket) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	if !s.acquire() {
		return 0, 0, net.ErrClosed
	}
	defer s.release()
	if isLong(b) {
		s.outbox.learn(b, addr.AddrPort())
	} else if wake := s.wake.Load(); wake != nil {
		if err = s.queue(b, oob, addr, *wake); err != nil {
			return 0, 0, err
		}
		return len(b), len(oob), nil
	}
	m := s.messages.Get().(*message)
	defer s.messages.Put(m)
	var errno unix.Errno
	if m.hdr.Namelen, errno = s.encode(&m.name, addr); errno != 0 {
		return 0, 0, os.NewSyscallError("sendmsg", errno)
	}
	segment := segmentSize(oob)
	if segment > 0 && s.outbox.apart.Load() {
		err = s.sendSplit(m, b, m.pass[:withoutSegment(m.pass[:], oob)], segment)
	} else {
		err = s.send(m, b, oob, segment)
	}
	if err != nil {
		return 0, 0, err
	}
	return len(b), len(oob), nil
}

// sendSplit sends what UDP_SEGMENT would have had the kernel cut up, datagram by datagram.
func (s *Socket) sendSplit(m *message, b, oob []byte, segment int) error {
	for len(b) > 0 {
		k := min(segment, len(b))
		if err := s.send(m, b[:k], oob, 0); err != nil {
			return err
		}
		b = b[k:]
	}
	return nil
}

// send sends one message, whose address is in m.name.
func (s *Socket) send(m *message, b, oob []byte, segment int) error {
	m.hdr.Name = (*byte)(unsafe.Pointer(&m.name))
	m.hdr.Iov, m.hdr.Iovlen = &m.iov, 1
	m.iov.Base = unsafe.SliceData(b)
	m.iov.SetLen(len(b))
	m.hdr.Control = unsafe.SliceData(oob)
	m.hdr.SetControllen(len(oob))
	errno, err := s.trySend(m)
	m.iov.Base, m.hdr.Control = nil, nil
	if err != nil {
		return err
	}
	switch errno {
	case 0:
		datagrams := 1
		if segment > 0 {
			datagrams = (len(b) + segment - 1) / segment
		}
		s.count.datagramsOut.Add(uint64(datagrams))
		s.count.bytesOut.Add(uint64(len(b)))
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		s.count.lost.Add(1)
	default:
		s.count.sendErrors.Add(1)
		return os.NewSyscallError("sendmsg", errno)
	}
	return nil
}

// trySend calls sendmsg until the kernel takes or refuses the message. EAGAIN says that it did neither for too long.
func (s *Socket) trySend(m *message) (unix.Errno, error) {
	errno := s.sendmsg(&m.hdr)
	if errno != unix.EAGAIN {
		return errno, nil
	}
	return s.await(&m.hdr)
}

func (s *Socket) sendmsg(h *unix.Msghdr) unix.Errno {
	for {
		_, errno := s.sys.sendmsg(s.fd, h)
		s.count.writeCalls.Add(1)
		if errno != unix.EINTR {
			return errno
		}
	}
}

// WriteTo sends p as one datagram to a *net.UDPAddr; see WriteMsgUDP. Any goroutine.
func (s *Socket) WriteTo(p []byte, addr net.Addr) (int, error) {
	a, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, os.NewSyscallError("sendmsg", unix.EAFNOSUPPORT)
	}
	n, _, err := s.WriteMsgUDP(p, nil, a)
	return n, err
}

// room is where senders wait while the socket is full.
type room struct {
	waiters atomic.Int32 // senders between enter and leave; the loop takes the lock only when there are any

	mu       sync.Mutex
	changed  sync.Cond
	turn     uint64 // counts announcements
	err      error  // why waiting is of no use any more
	deadline time.Time
	timer    *time.Timer
}

func (r *room) init() { r.changed.L = &r.mu }

// enter makes the loop announce room to the caller, and returns the turn to wait for the end of.
func (r *room) enter() uint64 {
	r.waiters.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.turn
}

func (r *room) leave() { r.waiters.Add(-1) }

// wait waits for the end of a turn, and returns the next one.
func (r *room) wait(seen uint64) (uint64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		switch {
		case r.err != nil:
			return 0, r.err
		case !r.deadline.IsZero() && !time.Now().Before(r.deadline):
			return 0, errDeadline
		case r.turn != seen:
			return r.turn, nil
		}
		r.changed.Wait()
	}
}

// announce says that there is room. Cheap while nobody waits.
func (r *room) announce() {
	if r.waiters.Load() > 0 {
		r.stir()
	}
}

// stir ends the turn: all who wait try again.
func (r *room) stir() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn++
	r.changed.Broadcast()
}

func (r *room) end(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
	if r.timer != nil {
		r.timer.Stop()
	}
	r.changed.Broadcast()
}

// setDeadline changes when wait gives up. Zero: never.
func (r *room) setDeadline(t time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return
	}
	r.deadline = t
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	if !t.IsZero() {
		r.timer = time.AfterFunc(time.Until(t), r.stir)
	}
	r.changed.Broadcast()
}
