package udp

import (
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// outbox is where datagrams wait for the loop to come by. It sends what all connections have put there meanwhile with one system call,
// and a message of many datagrams costs the kernel, and a receiver that coalesces, little more than a message of one. Only what
// belongs to established connections goes this way: an error of a handshake's packets is quic-go's to know at once.
type outbox struct {
	mu     sync.Mutex
	fill   *batch                        // what comes in
	idLen  map[netip.AddrPort]uint8      // shortest connection ID that a peer has chosen; 0 is how one says that its address has one connection
	failed map[netip.AddrPort]unix.Errno // what the next send to an address is told

	sending sync.Mutex
	send    *batch // what goes out

	join  bool        // connections to one address may share a message
	apart atomic.Bool // the device cannot segment, or must not
}

func (o *outbox) init(apart, join bool) {
	o.fill, o.send = newBatch(), newBatch()
	o.idLen, o.failed = make(map[netip.AddrPort]uint8), make(map[netip.AddrPort]unix.Errno)
	o.apart.Store(apart)
	o.join = join
}

// isLong says whether a datagram begins with a packet of a handshake (RFC 9000, §17.2).
func isLong(p []byte) bool { return len(p) == 0 || p[0]&0x80 != 0 }

// learn notes the length of the connection ID that a peer has chosen, from a long header sent to it. A peer that has more than one
// connection at an address must have chosen IDs (RFC 9000, §5.2), so where there are none, all is one connection.
func (o *outbox) learn(p []byte, addr netip.AddrPort) {
	const at = 5 // behind the first byte and the version
	if !o.join || len(p) <= at {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	n, known := o.idLen[addr]
	if known && n <= p[at] {
		return
	}
	if !known && len(o.idLen) >= maxPeers {
		clear(o.idLen) // those whose length is not known are sent to in order
	}
	o.idLen[addr] = p[at]
}

// post puts datagrams of segment bytes each into the outbox. ok is false when there is no room; first says that the loop does not
// know that something is there.
func (s *Socket) post(p, oob []byte, segment int, addr *net.UDPAddr) (ok, first bool, errno unix.Errno) {
	o := &s.outbox
	to := target{addr: addr.AddrPort()}
	if !o.join {
		to.conn = addr
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.failed) > 0 {
		if errno = o.failed[to.addr]; errno != 0 {
			delete(o.failed, to.addr)
			return false, false, errno
		}
	}
	b := o.fill
	if !b.fits(p) {
		return false, false, 0
	}
	i := b.find(to, oob)
	if i < 0 {
		d := b.newDest(to, oob)
		i = int32(len(b.dests) - 1)
		if d.nameLen, errno = s.encode(&d.name, addr); errno != 0 {
			return false, false, errno
		}
	}
	var key byte
	if o.idLen[to.addr] > 0 && len(p) > 1 {
		key = p[1] // the first byte of the connection ID
	}
	first = len(b.parts) == 0
	b.add(i, p, segment, key)
	return true, first, 0
}

// queue sends by way of the outbox.
func (s *Socket) queue(p, oob []byte, addr *net.UDPAddr, wake func()) error {
	var pass [passedSpace]byte
	n := withoutSegment(pass[:], oob)
	segment := segmentSize(oob)
	for {
		ok, first, errno := s.post(p, pass[:n], segment, addr)
		switch {
		case errno != 0:
			return os.NewSyscallError("sendmsg", errno)
		case first:
			wake()
			return nil
		case ok:
			return nil
		}
		if err := s.flush(true); err != nil {
			return err
		}
	}
}

// flush sends what is in the outbox. With wait it waits for room as WriteMsgUDP does; without, what finds no room stays until there
// is some, or until somebody waits for it.
func (s *Socket) flush(wait bool) error {
	o := &s.outbox
	for {
		if wait {
			o.sending.Lock()
		} else if !o.sending.TryLock() {
			return nil // the one who sends looks again
		}
		done, err := s.sendOut(wait)
		o.sending.Unlock()
		if !done || err != nil {
			return err
		}
		o.mu.Lock()
		empty := len(o.fill.parts) == 0
		o.mu.Unlock()
		if empty {
			return nil
		}
	}
}

// sendOut sends what is left of the batch that goes out, or the next one. done is false when there was no room.
func (s *Socket) sendOut(wait bool) (done bool, err error) {
	o := &s.outbox
	if b := o.send; b.next == len(b.vec) {
		b.reset()
		o.mu.Lock()
		o.send, o.fill = o.fill, b
		o.mu.Unlock()
		o.send.compose(!o.apart.Load())
	}
	b := o.send
	for b.next < len(b.vec) {
		n, errno := s.sys.sendmmsg(s.fd, b.vec[b.next:])
		s.count.writeCalls.Add(1)
		if errno == 0 {
			for i := range n {
				s.sentOne(&b.made[b.next+i])
			}
			b.next += n
			continue
		}
		if errno == unix.EINTR {
			continue
		}
		if errno == unix.EAGAIN {
			if !wait {
				s.count.sendWaits.Add(1)
				return false, nil
			}
			if errno, err = s.await(&b.vec[b.next].Hdr); err != nil {
				return false, err
			}
			if errno == unix.EAGAIN { // there will be no room for the others either
				s.count.lost.Add(uint64(len(b.vec) - b.next))
				b.next = len(b.vec)
				break
			}
		}
		s.settle(b, errno)
		b.next++
	}
	return true, nil
}

func (s *Socket) sentOne(m *made) {
	s.count.datagramsOut.Add(uint64(m.datagrams))
	s.count.bytesOut.Add(uint64(m.n))
}

// settle deals with the message at b.next, which the kernel has taken or refused. What is refused as one is tried datagram by
// datagram: where the device cannot segment that works, and it is not asked to again.
func (s *Socket) settle(b *batch, errno unix.Errno) {
	m := &b.made[b.next]
	if errno == 0 {
		s.sentOne(m)
		return
	}
	if m.datagrams > 1 && errno != unix.EAGAIN && errno != unix.ENOBUFS && errno != unix.ENOMEM {
		if errno == unix.EIO || errno == unix.EINVAL {
			s.outbox.apart.Store(true)
		}
		errno = s.sendApart(b)
	}
	switch errno {
	case 0:
		return
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		s.count.lost.Add(1)
		return
	case unix.EMSGSIZE, unix.EPERM: // a probe of the path's MTU; a filter's answer, which quic-go tries again
		s.count.sendErrors.Add(1)
		return
	}
	s.count.sendErrors.Add(1)
	o := &s.outbox
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.failed) >= maxFailed {
		clear(o.failed)
	}
	o.failed[b.dests[m.dest].to.addr] = errno
}

// iovecs is what a message consists of.
func iovecs(h *unix.Msghdr) []unix.Iovec { return unsafe.Slice(h.Iov, h.Iovlen) }

// sendApart sends the datagrams of the message at b.next one by one. It returns the last error.
func (s *Socket) sendApart(b *batch) (last unix.Errno) {
	m := &b.made[b.next]
	d := &b.dests[m.dest]
	h := b.vec[b.next].Hdr
	var iov unix.Iovec
	h.Control = nil
	if d.oobLen > 0 {
		h.Control = &d.oob[0]
	}
	h.SetControllen(int(d.oobLen))
	for _, v := range iovecs(&b.vec[b.next].Hdr) {
		for p := unsafe.Slice(v.Base, v.Len); len(p) > 0; {
			n := min(len(p), int(m.size))
			iov.Base = &p[0]
			iov.SetLen(n)
			h.Iov = &iov
			h.SetIovlen(1)
			if errno := s.sendmsg(&h); errno != 0 {
				last = errno
			} else {
				s.sentOne(&made{n: int32(n), datagrams: 1})
			}
			p = p[n:]
		}
	}
	return last
}

// await sends a message for which there was no room, and waits for some, at most for a second.
func (s *Socket) await(h *unix.Msghdr) (unix.Errno, error) {
	s.count.sendWaits.Add(1)
	giveUp := time.Now().Add(maxSendWait)
	seen := s.room.enter()
	defer s.room.leave()
	timer := time.AfterFunc(maxSendWait, s.room.stir)
	defer timer.Stop()
	for {
		// Only now that the loop knows of us does EAGAIN mean that it will tell us about room.
		errno := s.sendmsg(h)
		if errno != unix.EAGAIN || !time.Now().Before(giveUp) {
			return errno, nil
		}
		var err error
		if seen, err = s.room.wait(seen); err != nil {
			return 0, err
		}
	}
}
