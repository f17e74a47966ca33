package framer

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/pool"
)

var (
	errFakeClosed = errors.New("fake: closed")
	errFakeFull   = errors.New("fake: queue full")
)

// fakeSeg is a piece of output: a part of the input buffer that is sent from there, or bytes of its own.
type fakeSeg struct {
	buf      *pool.Buf // nil: own
	own      []byte
	off, end int
}

// fakeConn is a Transport that behaves as the reactor's connection does: one input buffer behind all OnData slices,
// output that is sent from where it lies at the end of the turn, and a queue of posted functions. Everything but Post is
// for the test's goroutine, which is the loop.
type fakeConn struct {
	tb   testing.TB
	pool *pool.Pool
	s    *Session

	in         *pool.Buf
	start, end int
	inData     bool
	need       int
	calls      int

	segs      []fakeSeg
	queued    int
	out       []byte // what was sent
	inPlace   int    // WriteInPlace calls that were not copies
	high      int    // high-water mark
	jam       bool   // the peer does not read: nothing is flushed
	starved   bool
	paused    bool
	pending   bool
	pauses    int
	closing   bool
	closed    bool
	closes    int // calls of Close and Abort
	cause     error
	noInput   bool // RetainInput returns nil
	chunk     []byte
	onDone    func(error)
	keptAfter bool // OnEOF said keep

	mu    sync.Mutex
	tasks []func()
	gone  bool
	full  bool
	wake  chan struct{}
}

// fakeHandler is a Handler of functions; nil ones do nothing.
type fakeHandler struct {
	open    func(*Session)
	frame   func(*Session, *Frame)
	drained func(*Session)
	close   func(*Session, error)
	closes  int
}

func (h *fakeHandler) OnOpen(s *Session) {
	if h.open != nil {
		h.open(s)
	}
}

func (h *fakeHandler) OnFrame(s *Session, f *Frame) {
	if h.frame != nil {
		h.frame(s, f)
	}
}

func (h *fakeHandler) OnDrained(s *Session) {
	if h.drained != nil {
		h.drained(s)
	}
}

func (h *fakeHandler) OnClose(s *Session, cause error) {
	h.closes++
	if h.close != nil {
		h.close(s, cause)
	}
}

func newPool(tb testing.TB, poison bool) *pool.Pool {
	p, err := pool.New(pool.Options{Poison: poison})
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

// newFake makes an open session over a fake transport with a poison pool; at the end of the test the session is closed
// and every buffer must be back.
func newFake(tb testing.TB, h *fakeHandler, o Options) *fakeConn {
	tb.Helper()
	e, err := NewEndpoint(h, o)
	if err != nil {
		tb.Fatal(err)
	}
	c := &fakeConn{tb: tb, pool: newPool(tb, true), high: 1 << 30, wake: make(chan struct{}, 1)}
	c.s = e.Session(c)
	c.s.OnOpen()
	tb.Cleanup(func() {
		c.finish(nil)
		if h.closes != 1 {
			tb.Errorf("OnClose was called %d times", h.closes)
		}
		c.balance()
	})
	return c
}

// balance checks that every buffer is back and none was misused.
func (c *fakeConn) balance() {
	c.tb.Helper()
	if st := c.pool.Stats(); st.Outstanding != 0 || st.DoubleReleases != 0 || st.Corruptions != 0 {
		c.tb.Errorf("pool is off balance: %+v\nleaks: %q\nfaults: %q", st, c.pool.Leaks(), c.pool.Faults())
	}
}

// feed appends bytes to the input and runs a turn.
func (c *fakeConn) feed(p []byte) {
	c.tb.Helper()
	c.room(len(p))
	c.end += copy(c.in.B[c.end:], p)
	c.pending = true
	c.turn()
}

// room makes place for n bytes; shared buffers are never moved in.
func (c *fakeConn) room(n int) {
	if c.in != nil && c.start == c.end && !c.in.Shared() {
		for i := range c.in.B[:c.end] {
			c.in.B[i] = 0xEE // whoever still looks at consumed bytes shall notice
		}
		c.start, c.end = 0, 0
	}
	if c.in != nil && len(c.in.B)-c.end >= n {
		return
	}
	b := c.pool.Get(c.end - c.start + n)
	if c.in != nil {
		c.end = copy(b.B, c.in.B[c.start:c.end])
		c.in.Release()
	}
	c.in, c.start = b, 0
}

// turn runs posted functions, delivers, flushes and buries, as a loop's turn does.
func (c *fakeConn) turn() {
	c.tb.Helper()
	for range 1000 {
		c.runTasks()
		if c.pending && !c.paused && !c.closing {
			c.pending = false
			c.deliver()
		}
		c.flush()
		c.mu.Lock()
		idle := len(c.tasks) == 0
		c.mu.Unlock()
		if idle && (!c.pending || c.paused || c.closing || c.jam) {
			break
		}
	}
	if c.closing && !c.jam {
		c.finish(c.cause)
	}
}

func (c *fakeConn) runTasks() {
	c.mu.Lock()
	tasks := c.tasks
	c.tasks = nil
	c.mu.Unlock()
	for _, fn := range tasks {
		fn()
	}
}

func (c *fakeConn) deliver() {
	for !c.closing {
		have := c.end - c.start
		if have == 0 || have < c.need {
			return
		}
		if c.paused || c.queued > c.high {
			c.pending = true
			return
		}
		c.inData = true
		c.calls++
		n, need, err := c.s.OnData(c.in.B[c.start:c.end])
		c.inData = false
		if n < 0 || n > have {
			c.tb.Fatalf("OnData consumed %d of %d bytes", n, have)
		}
		c.start += n
		c.need = need
		if err != nil {
			c.Close(err)
			return
		}
		if n == 0 && !c.paused && c.queued <= c.high {
			if have >= need {
				c.need = have + 1
			}
		}
	}
}

// flush sends the output from where it lies.
func (c *fakeConn) flush() {
	if c.jam || len(c.segs) == 0 {
		return
	}
	for _, g := range c.segs {
		if g.buf == nil {
			c.out = append(c.out, g.own...)
			continue
		}
		c.out = append(c.out, g.buf.B[g.off:g.end]...)
		g.buf.Release()
	}
	c.segs, c.queued = c.segs[:0], 0
	if c.starved && !c.closed {
		c.starved = false
		c.s.OnDrained()
	}
}

// eof is the peer's clean end of stream; the reactor tells of it when nothing waits before it.
func (c *fakeConn) eof() {
	if c.pending || c.start != c.end {
		c.tb.Fatal("the test ends the stream before its bytes were delivered")
	}
	if c.closing {
		return
	}
	if c.keptAfter = c.s.OnEOF(); !c.keptAfter {
		c.Close(nil)
	}
	c.turn()
}

// goodbye closes as the reactor does on its own account.
func (c *fakeConn) goodbye(cause error) {
	c.s.OnGoodbye(cause)
	c.Close(cause)
	c.turn()
}

// finish ends the connection: output is sent, buffers go back, OnClose is called, and what was posted before runs.
func (c *fakeConn) finish(cause error) {
	if c.closed {
		return
	}
	c.closing, c.closed = true, true
	c.jam = false
	c.flush()
	if c.in != nil {
		c.in.Release()
		c.in = nil
	}
	c.mu.Lock()
	c.gone = true
	c.mu.Unlock()
	c.s.OnClose(cause)
	c.runTasks()
}

// until runs turns until done is closed.
func (c *fakeConn) until(done <-chan struct{}) {
	c.tb.Helper()
	limit := time.After(20 * time.Second)
	for {
		c.turn()
		select {
		case <-done:
			c.turn()
			return
		case <-c.wake:
		case <-limit:
			c.tb.Fatal("nothing happens")
		}
	}
}

// Reserve is Transport's.
func (c *fakeConn) Reserve(n int) []byte {
	if c.closing {
		return nil
	}
	if n > 128<<10 {
		c.tb.Errorf("Reserve(%d) is above 128 KiB", n)
		return nil
	}
	p := make([]byte, n)
	c.segs = append(c.segs, fakeSeg{own: p})
	c.queued += n
	return p
}

// Write is Transport's.
func (c *fakeConn) Write(p []byte) error {
	if c.closing {
		return errFakeClosed
	}
	c.segs = append(c.segs, fakeSeg{own: bytes.Clone(p)})
	c.queued += len(p)
	return nil
}

// WriteInPlace is Transport's; a slice that is not the input's with its capacity untouched is an error here.
func (c *fakeConn) WriteInPlace(p []byte) error {
	if c.closing {
		return errFakeClosed
	}
	off := -1
	if c.in != nil {
		off = len(c.in.B) - cap(p)
	}
	if !c.inData || len(p) == 0 || off < c.start || off+len(p) > c.end || &c.in.B[off] != &p[0] {
		c.tb.Errorf("WriteInPlace of %d bytes that are not the input's, or with a changed capacity", len(p))
		return c.Write(p)
	}
	c.inPlace++
	c.segs = append(c.segs, fakeSeg{buf: c.in.Retain(), off: off, end: off + len(p)})
	c.queued += len(p)
	return nil
}

// RetainInput is Transport's.
func (c *fakeConn) RetainInput() *pool.Buf {
	if !c.inData || c.noInput {
		return nil
	}
	return c.in.Retain()
}

// Writable is Transport's.
func (c *fakeConn) Writable() bool {
	if c.queued <= c.high {
		return true
	}
	c.starved = true
	return false
}

// PauseRead is Transport's.
func (c *fakeConn) PauseRead() {
	c.paused = true
	c.pauses++
}

// ResumeRead is Transport's.
func (c *fakeConn) ResumeRead() {
	if c.closed {
		c.tb.Error("ResumeRead after OnClose")
	}
	if c.paused {
		c.paused, c.pending = false, true
	}
}

// Post is Transport's.
func (c *fakeConn) Post(fn func()) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.gone:
		return errFakeClosed
	case c.full:
		return errFakeFull
	}
	c.tasks = append(c.tasks, fn)
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return nil
}

func (c *fakeConn) setFull(full bool) {
	c.mu.Lock()
	c.full = full
	c.mu.Unlock()
}

// Close is Transport's.
func (c *fakeConn) Close(cause error) {
	c.closes++
	if !c.closing {
		c.closing, c.cause = true, cause
	}
}

// Abort is Transport's.
func (c *fakeConn) Abort(cause error) {
	for _, g := range c.segs {
		if g.buf != nil {
			g.buf.Release()
		}
	}
	c.segs, c.queued = nil, 0
	c.Close(cause)
}

// RemoteAddr is Transport's.
func (c *fakeConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 2} }

// LocalAddr is Transport's.
func (c *fakeConn) LocalAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// sent decodes and forgets what was sent.
func (c *fakeConn) sent() []Frame {
	c.tb.Helper()
	out := c.out
	c.out = nil
	fs, rest, err := decodeAll(out)
	if err != nil || len(rest) > 0 {
		c.tb.Fatalf("output is not a whole number of sound frames: %v, %d bytes left", err, len(rest))
	}
	return fs
}

// one is sent for exactly one frame.
func (c *fakeConn) one() Frame {
	c.tb.Helper()
	fs := c.sent()
	if len(fs) != 1 {
		c.tb.Fatalf("%d frames were sent, want one: %+v", len(fs), fs)
	}
	return fs[0]
}
