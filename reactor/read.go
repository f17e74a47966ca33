package reactor

import (
	"io"

	"golang.org/x/sys/unix"

	"github.com/ron-transport/ron-transport/pool"
)

// workBuffer is the plaintext of the connection that is being read: buf.B[start:end] waits for delivery.
type workBuffer struct {
	buf        *pool.Buf // nil: no connection is being read
	start, end int
	pinned     bool // RetainInput was called
}

// canRead says whether reading c's socket now makes sense.
func (c *Conn) canRead() bool {
	switch c.state {
	case stateProxy:
		return c.end == endNone
	case stateHandshake:
		return !c.stepping && c.end == endNone
	case stateOpen:
		return !c.held() && c.end == endNone
	case stateDraining, stateLingering:
		return true
	}
	return false
}

// held says whether an open connection is not read for now. One that we have dialled goes on while its output is above the
// high-water mark: it asks and its peer answers, and were neither read until its output has drained, they would wait for each
// other. What it reads costs nothing but what its protocol makes of it, and the hard cap bounds that.
func (c *Conn) held() bool { return c.paused != 0 || c.over && !c.dialled }

// input runs the reading side of c for one turn: what waits is delivered, the socket is read within the budget, and the
// output that came of it is flushed.
func (l *loop) input(c *Conn) {
	if c.state == stateDraining || c.state == stateLingering {
		l.discard(c)
		return
	}
	l.begin(c)
	for budget := l.r.cfg.ReadBuffer; budget > 0; {
		if c.pending {
			c.pending = false
			l.process(c, l.takeCipher(c, 0))
		}
		if !c.readable || !c.canRead() || c.pending || c.state > stateOpen { // what comes after a close is discard's
			break
		}
		n := l.pull(c)
		if n <= 0 {
			break
		}
		budget -= n
	}
	l.finishInput(c)
	l.finish(c)
}

// begin makes c's kept plaintext the work buffer: a small rest moves to the front of the loop's scratch, so that a whole
// read fits behind it; a large one is continued where it is.
func (l *loop) begin(c *Conn) {
	l.cur = c
	w := &l.work
	n := c.inEnd - c.inStart
	if n >= keepWhole {
		*w = workBuffer{buf: c.in, start: c.inStart, end: c.inEnd, pinned: c.pinned}
		c.in = nil
		return
	}
	*w = workBuffer{buf: l.scratch()}
	if c.in != nil {
		w.end = copy(w.buf.B, c.in.B[c.inStart:c.inEnd])
		c.in.Release()
		c.in = nil
	}
}

// scratch is the loop's plaintext buffer; a new one when the last went to a connection.
func (l *loop) scratch() *pool.Buf {
	if l.in != nil && l.in.Shared() {
		l.in.Release()
		l.in = nil
	}
	if l.in == nil {
		l.in = l.pool.Get(l.r.cfg.ReadBuffer + keepWhole + recordRoom)
	}
	return l.in
}

// finish ends what begin began: output is flushed, and what is left of the plaintext goes into a buffer of its size.
func (l *loop) finish(c *Conn) {
	l.flush(c)
	w := &l.work
	n := w.end - w.start
	if c.state >= stateDraining {
		n = 0
	}
	switch {
	case n == 0:
		c.inStart, c.inEnd = 0, 0
		l.dropWork()
	case n < keepWhole || w.buf == l.in && 4*n < len(w.buf.B): // not a buffer many times its size
		c.in = l.pool.Get(n)
		c.inStart, c.inEnd = 0, copy(c.in.B, w.buf.B[w.start:w.end])
		l.dropWork()
	default:
		if w.buf == l.in {
			l.in = nil
		}
		c.in, c.inStart, c.inEnd = w.buf, w.start, w.end
	}
	c.pinned = w.pinned && (c.in == w.buf || c.out.bytes > 0) || c.pinned && c.out.bytes > 0
	*w = workBuffer{}
	l.cur = nil
	l.armRead(c)
	again := c.readable && c.canRead()
	if c.pending {
		again = c.paused == 0 && !c.over
	}
	if again {
		l.enqueue(c)
	}
}

// dropWork releases the work buffer, unless it is the loop's own.
func (l *loop) dropWork() {
	if l.work.buf != l.in {
		l.work.buf.Release()
	}
}

// room makes sure that n more bytes fit behind the work buffer's end. It moves the bytes only if nobody else sees them.
func (l *loop) room(c *Conn, n int) {
	w := &l.work
	if len(w.buf.B)-w.end >= n {
		return
	}
	have := w.end - w.start
	if have+n <= len(w.buf.B) && !w.buf.Shared() {
		copy(w.buf.B, w.buf.B[w.start:w.end])
		w.start, w.end = 0, have
		return
	}
	want := min(max(c.need, have), max(4*have, growStep)) // what the frame needs, but announcing much gets it little
	b := l.pool.Get(max(want, have) + n)
	copy(b.B, w.buf.B[w.start:w.end])
	c.pinned = c.pinned || w.pinned // queued output may be part of the old buffer
	l.dropWork()
	*w = workBuffer{buf: b, end: have}
}

// rewind reuses the work buffer from its start once everything is consumed and nobody else sees it.
func (l *loop) rewind() {
	w := &l.work
	if w.start == w.end && !w.buf.Shared() {
		w.start, w.end, w.pinned = 0, 0, false
	}
}

// pull reads the socket once and processes what came. It returns the number of bytes; 0 or less ends the turn.
func (l *loop) pull(c *Conn) int {
	var p []byte
	plain := c.filter == nil && c.state != stateProxy
	if plain {
		p = l.plainSpace(c)
	} else {
		p = l.cipher[c.cipherLen:]
	}
	p = c.readSize(p)
	n, errno := c.read(p)
	l.count[counterReads]++
	switch {
	case errno == unix.EINTR:
		return 1 // try again, within the budget
	case errno == unix.EAGAIN:
		c.readable = false
		return 0
	case errno != 0:
		l.inputBroke(c, c.failure("read", errno))
		return 0
	case n == 0:
		l.inputEnded(c)
		return 0
	}
	l.count[counterBytesIn] += uint64(n)
	c.lastIO = l.now
	c.inWindow.bytes += n
	if c.asleep {
		l.wakeUp(c)
	}
	if n < len(p) && !c.hangup {
		c.readable = false
	}
	if plain {
		l.work.end += n
		l.deliver(c)
	} else {
		l.process(c, l.takeCipher(c, n))
	}
	if c.ext != nil {
		l.chargeRead(c, n)
	}
	return n
}

// plainSpace is where the next read of a plain connection goes. For large frames of known size it ends where a frame
// ends, if they all have that size: no rest has to be kept then, and each frame is read into memory that is still in the
// cache (measured: docs/performance.md).
func (l *loop) plainSpace(c *Conn) []byte {
	w := &l.work
	if w.start == w.end && w.buf.Shared() {
		l.flush(c) // what is to be sent from here goes first: then it is free again
	}
	l.rewind()
	have := w.end - w.start
	most := l.r.cfg.ReadBuffer
	if c.need > have && c.need >= keepWhole {
		c.unit = c.need
	}
	if c.unit > have && c.unit-have <= most {
		if have == 0 && w.buf == l.in && framesPerRead*c.unit > most {
			most = framesPerRead * c.unit
			l.widen(most)
		}
		rest := c.unit - have
		most = rest + (most-rest)/c.unit*c.unit
	}
	l.room(c, max(recordRoom, min(c.need-have, most)))
	return w.buf.B[w.end:min(len(w.buf.B), w.end+most)]
}

// widen replaces the loop's scratch, which is the work buffer and empty, by one of at least n bytes.
func (l *loop) widen(n int) {
	w := &l.work
	if len(w.buf.B) >= n || w.buf.Shared() {
		return
	}
	l.in.Release()
	l.in = l.pool.Get(n)
	*w = workBuffer{buf: l.in}
}

// takeCipher puts the ciphertext kept from earlier in front of the n bytes just read and returns both.
func (l *loop) takeCipher(c *Conn, n int) []byte {
	k := c.cipherLen
	if k > 0 {
		copy(l.cipher, c.cipher.B[:k])
		c.cipher.Release()
		c.cipher, c.cipherLen = nil, 0
	}
	return l.cipher[:k+n]
}

// process takes ciphertext through the filter and plaintext to the protocol, and keeps the rest.
func (l *loop) process(c *Conn, src []byte) {
	for progress := true; progress; {
		switch {
		case c.state == stateProxy:
			src, progress = l.readProxy(c, src)
		case c.filter == nil || c.end != endNone && c.state == stateOpen:
			l.deliver(c)
			return
		case c.state == stateHandshake:
			src, progress = l.shake(c, src)
		case c.state == stateOpen:
			src, progress = l.open(c, src)
		default:
			return // closing: input is dropped
		}
	}
	if len(src) > 0 && c.state <= stateOpen && c.end == endNone {
		c.cipher = l.pool.Get(len(src))
		c.cipherLen = copy(c.cipher.B, src)
		if c.state == stateOpen && c.held() {
			c.pending = true // whole records may be among it: no event will tell
		}
	}
}

// open decrypts what fits and delivers it. It returns the ciphertext that is left and whether to go on.
func (l *loop) open(c *Conn, src []byte) ([]byte, bool) {
	if !l.deliver(c) {
		return src, false
	}
	l.rewind()
	if len(src) == 0 {
		return src, false
	}
	next := c.filter.NextRecord(src)
	if next > len(src) {
		return src, false
	}
	w := &l.work
	l.room(c, next)
	out, n, err := c.filter.Open(w.buf.B[:w.end], src)
	w.end = len(out)
	if err == io.EOF {
		c.end = endClean
	} else if err != nil {
		c.end, c.endErr = endError, err
	}
	l.deliver(c)
	return src[n:], c.end == endNone && n > 0
}

// deliver hands the work buffer to the protocol until it wants more, or must not get more. It returns whether input may
// go on.
func (l *loop) deliver(c *Conn) bool {
	w := &l.work
	for c.state == stateOpen {
		have := w.end - w.start
		if have == 0 || have < c.need {
			return !c.held()
		}
		if c.held() {
			c.pending = true
			return false
		}
		l.active = c
		n, need, err := c.proto.OnData(w.buf.B[w.start:w.end])
		if n < 0 || n > have {
			panic("reactor: OnData consumed more than it was given")
		}
		l.active = nil
		w.start += n
		c.need = need
		if n > 0 {
			c.readAt = 0
		}
		if err != nil {
			l.startClose(c, err)
			return false
		}
		stopped := c.paused != 0
		if c.Queued() > l.high {
			stopped = true
			l.flush(c)
		}
		if stopped && c.over && !c.held() {
			stopped = false // the flush has not helped, and it is read all the same
		}
		if n == 0 && !stopped && c.starved {
			c.pending = true // it waits for OnDrained: again at the low mark
			l.overflows(c)
			return false
		}
		if n == 0 && !stopped && have >= c.need {
			c.need = have + 1 // it cannot go on with what is there, whatever it says
		}
	}
	w.start = w.end
	return false
}

// armRead starts the frame deadline when an incomplete frame or record is kept, and ends it when none is. Input that
// waits because the protocol or the output made it wait has no deadline.
func (l *loop) armRead(c *Conn) {
	if c.state != stateOpen {
		c.stopFrame()
		return
	}
	partial := (c.in != nil || c.cipherLen > 0) && !c.pending && !c.held()
	switch {
	case !partial:
		c.stopFrame()
		return
	case c.readAt == 0 && l.r.cfg.FrameTimeout > 0:
		c.readAt = l.now + int64(l.r.cfg.FrameTimeout)
		l.wheel.file(c, c.readAt)
	}
	l.measure(c, &c.inWindow)
}

// inputEnded notes the socket's end of stream.
func (l *loop) inputEnded(c *Conn) {
	c.readable, c.fin = false, true
	if c.end != endNone {
		return
	}
	c.end = endClean
	if c.filter != nil {
		if err := c.filter.EOF(); err != nil {
			c.end, c.endErr = endError, err
		}
	}
	switch c.state {
	case stateProxy:
		c.end, c.endErr = endError, errProxyIncomplete
	case stateHandshake:
		c.end, c.endErr = endError, ioError("handshake", unix.ECONNRESET)
	}
}

// inputBroke notes a failed read; what was read before is delivered first.
func (l *loop) inputBroke(c *Conn, err error) {
	c.readable = false
	if c.state > stateOpen { // closed by OnDrained, just before the read
		l.brokeClosing(c, err)
		return
	}
	c.end, c.endErr = endError, err
}

// finishInput tells the protocol that the stream has ended, once everything before the end is delivered.
func (l *loop) finishInput(c *Conn) {
	if c.end == endNone || c.end == endTold || c.pending || c.state > stateOpen || c.stepping {
		return
	}
	end := c.end
	c.end = endTold
	switch {
	case c.state == stateProxy:
		l.proxyFailed(c, c.endErr)
	case c.state == stateHandshake:
		l.handshakeFailed(c, c.endErr)
	case end == endError:
		l.startClose(c, c.endErr)
	case l.work.end > l.work.start:
		l.startClose(c, errTruncated)
	default:
		l.active = c
		keep := c.proto.OnEOF()
		l.active = nil
		if !keep {
			l.startClose(c, nil)
		}
	}
}

// brokeClosing ends a closing connection whose input has broken.
func (l *loop) brokeClosing(c *Conn, err error) {
	if c.stream != nil && c.state == stateDraining && c.Queued() == 0 {
		c.shutdownWrite() // a stream's directions break one at a time: what it has taken is to arrive
	}
	l.kill(c, err)
}

// discard reads and drops what a peer still sends after we have closed, so that its bytes do not turn our last ones into
// a reset.
func (l *loop) discard(c *Conn) {
	for budget := l.r.cfg.ReadBuffer; budget > 0 && c.readable; {
		n, errno := c.read(l.cipher)
		l.count[counterReads]++
		switch {
		case errno == unix.EINTR:
			n = 1
		case errno == unix.EAGAIN:
			c.readable = false
		case errno != 0:
			c.readable = false
			l.brokeClosing(c, c.failure("read", errno))
			return
		case n == 0:
			c.readable, c.fin = false, true
			if c.state == stateLingering {
				l.kill(c, c.cause)
				return
			}
		default:
			l.count[counterBytesIn] += uint64(n)
		}
		budget -= n
	}
	if c.readable {
		l.enqueue(c)
	}
}
