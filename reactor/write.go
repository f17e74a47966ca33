package reactor

import (
	"golang.org/x/sys/unix"
)

// recordMax is the most plaintext that one record carries (RFC 8446 §5.1), and the unit in which output is sealed.
const recordMax = 1 << 14

// flush hands c's output to the kernel until it is all taken or the kernel takes no more, and then sees to the marks.
func (l *loop) flush(c *Conn) {
	if c.state == stateClosed || c.state <= stateHandshake && c.wire == nil {
		return
	}
	if !c.blocked && c.outAt == 0 && c.Queued() > 0 {
		if c.filter == nil {
			l.flushPlain(c)
		} else {
			l.flushSealed(c)
		}
	}
	left := c.Queued()
	l.queued += int64(left) - int64(c.counted)
	c.counted = int32(left)
	if c.outWindow.from != 0 && left == 0 {
		c.outWindow.from = 0
	}
	switch {
	case c.state == stateDraining && c.Queued() == 0:
		l.finishOutput(c)
	case c.state == stateOpen:
		l.marks(c)
	}
}

// marks pauses or resumes reading by the queue's length, and tells a protocol that waits.
func (l *loop) marks(c *Conn) {
	n := c.Queued()
	if n > l.high {
		l.overflows(c)
	}
	if n > l.low || !(c.over || c.starved) {
		return
	}
	if c.over {
		c.over = false
		l.enqueue(c)
		if c.ext != nil && c.ext.pipe != nil {
			l.tellPipe(c, pipeResume)
		}
	}
	if c.starved {
		c.starved = false
		l.active = c
		c.proto.OnDrained()
		l.active = nil
		if c.out.bytes > 0 || c.state == stateDraining {
			l.flushLater(c) // not now: a producer that never stops must not hold the loop
		}
	}
}

// overflows notes that c's output is above the high-water mark, and has its partner paused.
func (l *loop) overflows(c *Conn) {
	if c.over {
		return
	}
	c.over = true
	if c.held() {
		c.stopFrame()
	}
	if c.ext != nil && c.ext.pipe != nil {
		l.tellPipe(c, pipePause)
	}
}

// flushPlain writes the queue as it is.
func (l *loop) flushPlain(c *Conn) {
	for c.out.bytes > 0 && c.outAt == 0 {
		var n int
		var errno unix.Errno
		want := c.out.bytes
		if s := c.out.head; s.next == nil || c.outBurst() > 0 || c.stream != nil {
			end := s.end
			if b := c.outBurst(); b > 0 {
				end = min(end, s.off+b)
			}
			want = end - s.off
			n, errno = c.write(s.buf.B[s.off:end])
		} else {
			iov := l.iov[:0]
			want = 0
			for ; s != nil && len(iov) < maxIovecs && want < l.r.cfg.WriteCoalesce; s = s.next {
				v := unix.Iovec{Base: &s.buf.B[s.off]}
				v.SetLen(s.end - s.off)
				iov = append(iov, v)
				want += s.end - s.off
			}
			n, errno = l.r.sys.writev(int(c.fd), iov)
		}
		if !l.wrote(c, n, want, errno) {
			return
		}
		l.drop(&c.out, n)
		if c.blocked {
			l.unpin(&c.out)
			return
		}
	}
}

// wrote notes the outcome of a write of want bytes. It returns false when nothing was written.
func (l *loop) wrote(c *Conn, n, want int, errno unix.Errno) bool {
	l.count[counterWrites]++
	switch errno {
	case 0:
	case unix.EINTR:
		l.flushLater(c) // no event will tell
		return false
	case unix.EAGAIN:
		l.block(c)
		l.unpin(&c.out)
		return false
	case unix.ENOBUFS, unix.ENOMEM: // the socket has room, so no event will tell
		l.stalled(c)
		l.holdWrites(c, l.now+int64(retryAfterNobufs))
		l.unpin(&c.out)
		return false
	default:
		err := c.failure("write", errno)
		if c.state == stateDraining && c.cause == nil && !c.finished {
			c.cause = err // what was sealed for this write is in no queue any more: it is lost all the same
		}
		l.kill(c, err)
		return false
	}
	l.count[counterBytesOut] += uint64(n)
	if n > 0 {
		c.lastIO, c.stallAt = l.now, 0
		c.outWindow.bytes += n
		if c.asleep {
			l.wakeUp(c)
		}
		if c.ext != nil {
			l.chargeWrite(c, n)
		}
	}
	if n < want {
		l.block(c) // edge-triggered: EPOLLOUT follows
	}
	return true
}

// block waits for EPOLLOUT, for no longer than the write deadline.
func (l *loop) block(c *Conn) {
	c.blocked = true
	l.stalled(c)
}

// stalled starts the deadlines of waiting output, unless they run.
func (l *loop) stalled(c *Conn) {
	l.measure(c, &c.outWindow)
	if c.stallAt == 0 && l.r.cfg.WriteTimeout > 0 {
		c.stallAt = l.now + int64(l.r.cfg.WriteTimeout)
		l.wheel.file(c, c.stallAt)
	}
}

// flushSealed seals the queue, a flush's worth at a time, and writes it. Nothing is sealed while sealed bytes wait.
func (l *loop) flushSealed(c *Conn) {
	for {
		if c.wire != nil && !l.flushWire(c) {
			return
		}
		if c.out.bytes == 0 || c.state <= stateHandshake || c.finished || c.outAt != 0 {
			return
		}
		var err error
		if l.sealed, err = l.seal(c, l.sealed[:0]); err != nil {
			if c.state == stateDraining && c.cause != nil { // the peer broke a rule: nothing is sealed any more but the alert
				l.drop(&c.out, c.out.bytes)
				return
			}
			l.kill(c, err)
			return
		}
		if !l.send(c, l.sealed) {
			return
		}
	}
}

// flushWire writes the sealed bytes that wait. It returns whether they are all gone.
func (l *loop) flushWire(c *Conn) bool {
	p := c.wire.B[c.wireOff:c.wireEnd]
	n, errno := c.write(p)
	if !l.wrote(c, n, len(p), errno) {
		return false
	}
	c.wireOff += n
	if c.wireOff < c.wireEnd {
		return false
	}
	c.wire.Release()
	c.wire, c.wireOff, c.wireEnd = nil, 0, 0
	return true
}

// send writes sealed bytes, and keeps what the kernel does not take. It returns whether the kernel may take more. p is
// not used afterwards.
func (l *loop) send(c *Conn, p []byte) bool {
	if c.wire == nil && !c.blocked && c.outAt == 0 && len(p) > 0 {
		n, errno := c.write(p)
		if l.wrote(c, n, len(p), errno) {
			p = p[n:]
		}
	}
	if c.state == stateClosed {
		return false
	}
	if len(p) > 0 {
		l.keepWire(c, p)
	}
	return !c.blocked && c.outAt == 0
}

// keepWire appends p to the sealed bytes that wait.
func (l *loop) keepWire(c *Conn, p []byte) {
	if c.wire != nil && len(c.wire.B)-c.wireEnd < len(p) {
		b := l.pool.Get(c.wireEnd - c.wireOff + len(p))
		n := copy(b.B, c.wire.B[c.wireOff:c.wireEnd])
		c.wire.Release()
		c.wire, c.wireOff, c.wireEnd = b, 0, n
	}
	if c.wire == nil {
		c.wire, c.wireOff, c.wireEnd = l.pool.Get(len(p)), 0, 0
	}
	c.wireEnd += copy(c.wire.B[c.wireEnd:], p)
}

// seal appends records for about one flush of c's queue to dst. Full records are sealed from where the bytes are; only
// one that would have to straddle segments is gathered first, so that small frames share records.
func (l *loop) seal(c *Conn, dst []byte) ([]byte, error) {
	limit := l.writeSize(c)
	q := &c.out
	var err error
	for err == nil && q.bytes > 0 && len(dst) < limit {
		s := q.head
		n := s.end - s.off
		if s.next != nil {
			n -= n % recordMax
		}
		if limit < recordMax {
			n = min(s.end-s.off, limit) // a narrow token bucket
		}
		if n == 0 {
			dst, err = l.sealSmall(c, dst)
			continue
		}
		if n > limit+recordMax {
			n = max(limit-limit%recordMax, min(limit, recordMax))
		}
		dst, err = c.filter.Seal(dst, s.buf.B[s.off:s.off+n], l.mutable(c, s))
		l.drop(q, n)
	}
	return dst, err
}

// sealHeadMax is the longest first segment that goes to a HeadSealer: a frame's header. What is longer costs such a filter a copy too.
const sealHeadMax = 64

// sealSmall seals one record whose data begins in a segment that is shorter than a record. A header and a payload that is all that
// there is, or fills the record, are sealed from where they are; pieces of more segments are gathered.
func (l *loop) sealSmall(c *Conn, dst []byte) (_ []byte, err error) {
	q := &c.out
	s := q.head
	n := s.end - s.off
	if next := s.next; n <= sealHeadMax && next != nil && (next.next == nil || n+next.end-next.off >= recordMax) {
		if h, ok := c.filter.(HeadSealer); ok {
			body := next.buf.B[next.off:min(next.end, next.off+recordMax-n)]
			dst, err = h.SealHead(dst, s.buf.B[s.off:s.end], body)
			l.drop(q, n+len(body))
			return dst, err
		}
	}
	return c.filter.Seal(dst, l.gather(q, l.gathered[:recordMax]), true)
}

// mutable says whether bytes of s may be changed for a moment: nobody but this loop can see them.
func (l *loop) mutable(c *Conn, s *seg) bool {
	switch s.kind {
	case segChunk:
		return true
	case segInput:
		return !c.pinned && !(l.cur == c && l.work.pinned)
	default:
		return !s.buf.Shared()
	}
}
