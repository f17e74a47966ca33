package reactor

import (
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ron-transport/ron-transport/pool"
)

// connState is the life of a connection; it only moves downwards.
type connState uint8

const (
	// stateConnecting: connect(2) is under way; nothing else happens until the socket is writable.
	stateConnecting connState = iota
	// stateProxy: the PROXY header of an accepted connection is awaited; there is no filter and no protocol yet.
	stateProxy
	// stateHandshake: the filter's handshake is under way; the protocol sees nothing, its writes wait.
	stateHandshake
	// stateOpen: bytes flow both ways (only outwards once the peer has ended its stream).
	stateOpen
	// stateDraining: Close was called; queued output and the filter's goodbye are being written, input is dropped.
	stateDraining
	// stateLingering: all is written and our end of stream sent; input is dropped until the peer's end or the deadline.
	stateLingering
	// stateClosed: waits for the end of the turn, where the descriptor is closed and OnClose is called.
	stateClosed
)

// inputEnd says how the peer's stream ended, while plaintext from before the end may still wait for delivery.
type inputEnd uint8

const (
	// endNone: the stream goes on.
	endNone inputEnd = iota
	// endClean: the peer said goodbye, or on a plain connection just ended.
	endClean
	// endError: the stream broke; Conn.endErr says how.
	endError
	// endTold: the protocol has been told and keeps the connection for writing.
	endTold
)

// pauseBits says who does not want a connection to be read.
type pauseBits uint8

const (
	// pauseUser: the protocol, by PauseRead.
	pauseUser pauseBits = 1 << iota
	// pauseRate: a token bucket is empty.
	pauseRate
	// pausePipe: the partner's output is above its high-water mark.
	pausePipe
)

// Conn is one connection. Make them with Reactor.Listen, Dial and Attach. It implements framer.Transport.
type Conn struct {
	loop   *loop
	proto  Protocol // nil on an accepted connection until it is open
	filter Filter   // nil: plain
	stream Stream   // nil: a socket
	opts   *connOptions

	fd, slot, gen int32         // slot is -1 until the loop has registered the connection; fd of a stream, always
	events        atomic.Uint32 // shared: what Ready has told and the loop has not seen
	counted       int32         // of Queued, what is in the loop's sum
	shakeAt       uint32        // when the handshake began, see shakeUnit
	state         connState
	end           inputEnd

	readable bool // the socket may have bytes that were not read
	hangup   bool // the peer has shut down: a short read does not mean drained
	fin      bool // the socket's end of stream has been read
	blocked  bool // the kernel takes no more output until EPOLLOUT
	over     bool // output above the high mark after a flush: not read
	starved  bool // Writable has returned false since the last OnDrained
	pending  bool // complete input waits for delivery
	dirty    bool // on the loop's flush list
	queued   bool // on the loop's ready list
	stepping bool // a worker has the filter
	pinned   bool // someone outside the loop may hold a reference to in, or to input that is queued in out
	dialled  bool
	finished bool // the filter's goodbye is written or queued
	admitted bool // counted in the limits
	refused  bool // over a limit: it is told so and closed, and never gets a protocol
	shaking  bool // its handshake has begun and is not complete
	leaving  bool // the goodbye of a shutdown is said, and phaseAt ends the grace
	asleep   bool // the filter's memory has been let go
	paused   pauseBits

	need           int       // bytes from inStart that make another OnData worth while
	unit           int       // size of the last large frame that did not arrive in one piece
	in             *pool.Buf // plaintext kept between turns; nil when there is none
	inStart, inEnd int
	cipher         *pool.Buf // ciphertext kept between turns; nil when there is none
	cipherLen      int

	out              outQueue  // plaintext to send
	wire             *pool.Buf // sealed bytes the kernel did not take; nil when there are none
	wireOff, wireEnd int

	// Deadlines in nanoseconds of the loop's clock; 0: none.
	phaseAt, readAt, stallAt int64
	lastIO                   int64
	inAt, outAt              int64  // when a wait for tokens ends; 0: no wait
	inWindow, outWindow      window // the rate of an unfinished frame, and of waiting output
	wtick                    int64  // the wheel slot's tick; -1: not filed
	wnext, wprev             *Conn

	ext *extra // nil on a connection without limits of its own

	cause  error       // of the close
	endErr error       // why the input ended; of a stream, also what Read has returned and is not acted on yet
	gone   atomic.Bool // closed: for other goroutines

	remote netip.AddrPort
	local  netip.AddrPort // invalid: opts.addr
	cred   *unix.Ucred    // of a unix socket's peer
	known  atomic.Bool    // local and cred are set, and stay: for other goroutines
}

// connOptions is what connections of one listener or dial share.
type connOptions struct {
	protocol func(*Conn) Protocol
	filter   func() Filter
	refuse   func(*Conn, error)
	onError  func(remote net.Addr, err error)
	addr     net.Addr      // a listener's own address
	peer     net.Addr      // for sockets without an IP address
	timeout  time.Duration // of connect and handshake, for dials; 0: Config.HandshakeTimeout
}

// accepting reports whether output may still be queued.
func (c *Conn) accepting() bool { return c.state <= stateOpen }

// Reserve returns n bytes at the end of the output, contiguous, to be filled before the next call on c; they are sent
// with the turn's flush. nil when c is closing or n is above 128 KiB. Loop only.
func (c *Conn) Reserve(n int) []byte {
	if !c.accepting() || n > maxReserve || n < 0 || !c.belowCap() {
		return nil
	}
	p := c.loop.grow(&c.out, n)
	c.touch()
	return p
}

// Write copies p to the end of the output. It never blocks. ErrClosed when c is closing, ErrSlowPeer (and the connection
// is closed) when the output is above the hard cap already. Loop only.
func (c *Conn) Write(p []byte) error {
	if err := c.checkWrite(); err != nil {
		return err
	}
	for len(p) > 0 {
		n := min(len(p), c.loop.r.cfg.WriteCoalesce)
		copy(c.loop.grow(&c.out, n), p)
		p = p[n:]
	}
	c.touch()
	return nil
}

// WriteInPlace queues p without copying it. p must be a sub-slice of the slice that the running OnData was given, with
// its capacity left as it was; it must not be changed afterwards. Anything else is copied, as Write does. Loop only.
func (c *Conn) WriteInPlace(p []byte) error {
	l := c.loop
	if l.cur != c || len(p) == 0 || l.work.buf == nil {
		return c.Write(p)
	}
	b := l.work.buf
	off := len(b.B) - cap(p)
	if off < 0 || off+len(p) > l.work.end || &b.B[off] != &p[0] {
		return c.Write(p)
	}
	if c.blocked && 4*len(p) <= len(b.B) {
		return c.Write(p) // it has to wait: a few bytes must not hold on to a buffer many times their size
	}
	if err := c.checkWrite(); err != nil {
		return err
	}
	c.out.bytes += len(p)
	if t := c.out.tail; t != nil && t.kind == segInput && t.buf == b && t.end == off {
		t.end += len(p)
		c.touch()
		return nil
	}
	l.append(&c.out, segInput, b.Retain(), off, off+len(p))
	c.touch()
	return nil
}

// WriteBuf queues n bytes of b from off on, without copying them. It takes over the caller's reference, also when it
// fails. The bytes must not be changed afterwards. Loop only.
func (c *Conn) WriteBuf(b *pool.Buf, off, n int) error {
	err := c.checkWrite()
	if err != nil || n == 0 {
		b.Release()
		return err
	}
	_ = b.B[off : off+n] // a bad range panics here, in the caller's callback, not in the flush
	c.out.bytes += n
	c.loop.append(&c.out, segBuf, b, off, off+n)
	c.touch()
	return nil
}

// RetainInput returns a counted reference to the buffer behind the slice that the running OnData was given; the bytes
// stay as they are until it is released. nil outside of OnData. Loop only.
func (c *Conn) RetainInput() *pool.Buf {
	if c.loop.cur != c || c.loop.work.buf == nil {
		return nil
	}
	c.loop.work.pinned = true
	return c.loop.work.buf.Retain()
}

// Writable is false while the queued output is above the high-water mark; OnDrained follows. Loop only.
func (c *Conn) Writable() bool {
	n := c.Queued()
	if n > pressedMark {
		c.loop.weigh() // what others wrote in this turn counts
	}
	if n <= c.loop.high {
		return true
	}
	c.starved = true
	return false
}

// Queued is the output in bytes that the kernel has not taken yet. Loop only.
func (c *Conn) Queued() int { return c.out.bytes + c.wireEnd - c.wireOff }

// PauseRead stops the delivery of input, and so, in time, the peer. Loop only.
func (c *Conn) PauseRead() {
	c.paused |= pauseUser
	c.readAt, c.inWindow.from = 0, 0 // who makes the peer wait must not count it
}

// ResumeRead undoes PauseRead; input that waits is delivered in one of the next turns. Loop only.
func (c *Conn) ResumeRead() {
	if c.paused&pauseUser != 0 {
		c.paused &^= pauseUser
		c.loop.enqueue(c)
	}
}

// Post has fn run on c's loop, in order with other posts to that loop. If it returns nil, fn will run, even if the
// connection is closed by then (writes fail in that case). ErrClosed when it is closed already, ErrQueueFull when the loop
// cannot keep up. Any goroutine.
func (c *Conn) Post(fn func()) error {
	if c.gone.Load() {
		return ErrClosed
	}
	return c.loop.push(task{kind: taskFunc, fn: fn})
}

// Close sends everything that was written, then the filter's goodbye, then the end of the stream, waits for the peer's
// end within the linger deadline, and closes. Input is dropped from now on. OnClose(cause) comes later, never inside
// this call. Calls after the first do nothing. Loop only.
func (c *Conn) Close(cause error) { c.loop.startClose(c, cause) }

// Abort drops the output and resets the connection at the end of the turn. Loop only.
func (c *Conn) Abort(cause error) { c.loop.abort(c, cause) }

// RemoteAddr is the peer's address. Any goroutine.
func (c *Conn) RemoteAddr() net.Addr {
	if c.stream != nil {
		return c.stream.RemoteAddr()
	}
	if c.remote.IsValid() {
		return net.TCPAddrFromAddrPort(c.remote)
	}
	return c.opts.peer
}

// LocalAddr is our end's address; of a dialled connection, once it is connected. Any goroutine.
func (c *Conn) LocalAddr() net.Addr {
	if c.stream != nil {
		return c.stream.LocalAddr()
	}
	if c.known.Load() && c.local.IsValid() {
		return net.TCPAddrFromAddrPort(c.local)
	}
	return c.opts.addr
}

// Filter is the connection's filter, nil on a plain one: an embedder reads its state (suite, certificates) after OnOpen.
// Loop only.
func (c *Conn) Filter() Filter { return c.filter }

// LoopTime is the loop's clock in nanoseconds, monotonic since the Reactor was made: when the turn began. Loop only.
func (c *Conn) LoopTime() int64 { return c.loop.now }

// belowCap closes a connection whose peer takes nothing while the protocol goes on writing.
func (c *Conn) belowCap() bool {
	if c.Queued() < c.loop.r.cfg.HardCap {
		return true
	}
	c.Abort(ErrSlowPeer)
	return false
}

func (c *Conn) checkWrite() error {
	if !c.accepting() {
		return ErrClosed
	}
	if !c.belowCap() {
		return ErrSlowPeer
	}
	return nil
}

// touch makes sure that c is flushed in this turn. The connection whose input is being processed is flushed anyway.
func (c *Conn) touch() {
	if c.loop.cur != c {
		c.loop.flushLater(c)
		if c.ext != nil && c.ext.pipe != nil && c.Queued() > c.loop.high {
			c.loop.overflows(c) // not only when the turn ends: its partner may be about to bring more
		}
	}
}
