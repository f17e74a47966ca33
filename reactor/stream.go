package reactor

import (
	"errors"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// Readiness says what may be tried now.
type Readiness uint8

const (
	// ReadReady: there may be something to read.
	ReadReady Readiness = 1 << iota
	// WriteReady: something may be written again.
	WriteReady
	// HangUp: the other end is gone, or will send nothing more; reading goes on until it tells, or would block.
	HangUp
)

// ErrWouldBlock is what a Stream returns when nothing can be read or written now.
var ErrWouldBlock error = &Error{Why: ReasonIO, Msg: "would block"}

// Stream is a byte stream that is not a socket of the reactor's, such as a stream of a QUIC connection. A Conn made by
// Attach uses one in place of a socket. All methods except the addresses are called on the connection's loop and must not
// block. Slices are the reactor's again when the call returns. A Ready that is to follow also follows when the stream breaks.
// A panic in a method ends the process, as one in the reactor does.
type Stream interface {
	// Read reads what is there; it is called at first without Ready. ErrWouldBlock: nothing is, and Conn.Ready(ReadReady) will
	// follow. Fewer bytes than p holds mean that this was all: Ready(ReadReady) follows when there is more, or the end. io.EOF
	// is the clean end. Any other error ends the connection; its Reason(), if it has one, is the close's. An error that comes
	// with bytes counts after them. After an error other than ErrWouldBlock it is not called again.
	Read(p []byte) (n int, err error)

	// Write takes what it can of p, and copies it. Fewer bytes than p has, or ErrWouldBlock: Ready(WriteReady) will follow.
	// Any other error ends the connection, as Read's does, whatever was taken.
	Write(p []byte) (n int, err error)

	// CloseWrite ends our direction, after everything that Write has taken.
	CloseWrite()

	// Reset ends both directions, and what Write has taken may be lost; cause, which may be nil, says why. Close follows.
	Reset(cause error)

	// Close is the last call but for the addresses; a direction that has not ended by then is given up.
	Close()

	// LocalAddr and RemoteAddr are the ends' addresses. Any goroutine.
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}

// AttachConfig says what becomes of an attached stream.
type AttachConfig struct {
	// Loop is the loop that the connection is to belong to. 0 … Reactor.Loops() - 1.
	Loop int
	// Stream makes the stream. Required. Called on the goroutine that attaches; before Attach has returned, only Ready and
	// Post of the Conn's methods may be called.
	Stream func(*Conn) Stream
	// Protocol makes the connection's protocol; OnOpen follows at once. Required. Called on the loop.
	Protocol func(*Conn) Protocol
	// Refusal, when it is set, is the reason why the stream is not served: its peer is told by Refuse and the connection
	// closes then, without a Protocol, as one over a limit does.
	Refusal error
	// Refuse is as in ListenConfig. Streams that come while the reactor shuts down are reset with ErrShuttingDown instead.
	Refuse func(c *Conn, cause error)
	// OnError is told of a stream that ended without a Protocol. Optional. Called on the loop.
	OnError func(remote net.Addr, err error)
	// Admission is the connection that carries the stream; its peer's token buckets are charged. nil: none.
	Admission *Admission
	// Dialled says that we have opened the stream: it is not counted as accepted, and its protocol hears of a shutdown that
	// comes in between from OnClose.
	Dialled bool
}

// Attach makes a connection of a stream. From then on all that holds for connections on sockets holds for it, except
// Reactor.Shutdown's end of accepting and the limits on connections: what carries the stream sees to those (Service,
// Admission). On the loop itself the connection may be used and closed at once; one that is closed before its turn has come never
// gets a Protocol. When Attach returns an error, no method of the stream is called. Any goroutine.
func (r *Reactor) Attach(ac AttachConfig) (*Conn, error) {
	switch {
	case ac.Stream == nil || ac.Protocol == nil:
		return nil, errors.New("reactor: AttachConfig.Stream or Protocol is nil, functions are required")
	case ac.Loop < 0 || ac.Loop >= len(r.loops):
		return nil, rangeError("AttachConfig.Loop", ac.Loop, 0, len(r.loops)-1)
	}
	l := r.loops[ac.Loop]
	o := &connOptions{protocol: ac.Protocol, refuse: ac.Refuse, onError: ac.OnError}
	c := &Conn{loop: l, fd: -1, slot: -1, opts: o, wtick: -1, dialled: ac.Dialled, readable: true}
	if ac.Refusal != nil {
		c.more().refusal = ac.Refusal
	}
	if a := ac.Admission; a != nil && a.peer != nil {
		c.more().peer = a.peer
	}
	if c.stream = ac.Stream(c); c.stream == nil {
		return nil, errors.New("reactor: AttachConfig.Stream has returned nil, a stream is required")
	}
	l.load.Add(1)
	if err := l.push(task{kind: taskAttach, c: c}); err != nil {
		l.load.Add(-1)
		return nil, ErrShuttingDown
	}
	return c, nil
}

// attach takes over a stream.
func (l *loop) attach(c *Conn) {
	if c.state == stateClosed { // by a function that was posted before
		return
	}
	if !c.dialled {
		l.count[counterAccepted]++
	}
	l.register(c)
	l.limitRates(c)
	var cause error
	if c.ext != nil {
		cause = c.ext.refusal
	}
	if cause == nil && l.stopping {
		cause = ErrShuttingDown
	}
	switch {
	case cause == nil:
		l.opened(c)
	case c.dialled || cause == ErrShuttingDown: // at once: peers that go on opening streams must not hold up a shutdown
		l.active = c
		if c.dialled {
			c.proto = c.opts.protocol(c)
		}
		l.active = nil
		l.abort(c, cause)
		return
	case !l.noteRefused(c, cause):
		return
	default:
		l.opened(c)
	}
	if c.state <= stateOpen {
		l.input(c)
	}
}

// refuseAttach ends a stream whose loop has stopped.
func (l *loop) refuseAttach(c *Conn) {
	if c.dialled && c.state != stateClosed {
		l.call(func() { c.proto = c.opts.protocol(c) })
	}
	l.abort(c, ErrShuttingDown)
}

// Ready tells c's loop what its stream can do again. It may be called too often, and after the end. It does not allocate,
// beyond the loop's queue. Any goroutine.
func (c *Conn) Ready(ev Readiness) {
	if c.events.Or(uint32(ev)) == 0 {
		_ = c.loop.push(task{kind: taskReady, c: c}) // fails when the loop has stopped: then c is closed
	}
}

// becameReady acts on what Ready has told.
func (l *loop) becameReady(c *Conn) {
	ev := Readiness(c.events.Swap(0))
	if c.slot < 0 || c.state == stateClosed {
		c.hangup = c.hangup || ev&HangUp != 0 // it is read when it is attached, and then it counts how far
		l.count[counterStale]++
		return
	}
	var mask uint32
	if ev&ReadReady != 0 {
		mask |= unix.EPOLLIN
	}
	if ev&WriteReady != 0 {
		mask |= unix.EPOLLOUT
	}
	if ev&HangUp != 0 {
		mask |= unix.EPOLLRDHUP
	}
	l.event(c, mask)
}

// Stream is the stream that c was made of; nil when c is a socket. Any goroutine.
func (c *Conn) Stream() Stream { return c.stream }

// Loop is the number of the loop that c belongs to, 0 … Reactor.Loops()-1. Any goroutine.
func (c *Conn) Loop() int { return c.loop.id }

// Early says whether what is read now may have been replayed by somebody: TLS 1.3 early data (RFC 8446 §8, RFC 9001 §9.2).
// Only streams that have a method of this name know such. Loop only.
func (c *Conn) Early() bool {
	e, ok := c.stream.(interface{ Early() bool })
	return ok && e.Early()
}

// errnoStream stands for an error of a Stream's; Conn.endErr is the error. It is no number of the kernel's.
const errnoStream = unix.Errno(1 << 16)

// read reads c's socket or stream. n 0 without an error is the end.
func (c *Conn) read(p []byte) (int, unix.Errno) {
	if c.stream == nil {
		return c.loop.r.sys.read(int(c.fd), p)
	}
	n := 0
	if c.endErr == nil {
		var err error
		n, err = c.stream.Read(p)
		switch {
		case err == nil || err == ErrWouldBlock:
			if n == 0 {
				return 0, unix.EAGAIN
			}
			return n, 0
		case err == io.EOF:
			c.endErr = err
		default:
			c.broke("read", err)
		}
	}
	switch {
	case n > 0:
		c.hangup = true // so that this is called once more, although n may be small
		return n, 0
	case c.endErr == io.EOF:
		return 0, 0
	}
	return 0, errnoStream
}

// write writes to c's socket or stream.
func (c *Conn) write(p []byte) (int, unix.Errno) {
	if c.stream == nil {
		return c.loop.r.sys.write(int(c.fd), p)
	}
	if len(p) == 0 { // an empty reservation
		return 0, 0
	}
	n, err := c.stream.Write(p)
	switch {
	case err != nil && err != ErrWouldBlock:
		c.broke("write", err)
		return 0, errnoStream
	case n == 0:
		return 0, unix.EAGAIN
	}
	return n, 0
}

// broke notes an error of c's stream; its reason is the close's.
func (c *Conn) broke(op string, err error) {
	why := reasonOf(err)
	if why == "" {
		why = ReasonIO
	}
	c.endErr = &Error{Why: why, Msg: op, Err: err, gone: true}
}

// failure is the error behind what read or write has returned.
func (c *Conn) failure(op string, errno unix.Errno) error {
	if errno == errnoStream {
		return c.endErr
	}
	return ioError(op, errno)
}

// shutdownWrite ends our direction of c's socket or stream.
func (c *Conn) shutdownWrite() {
	if c.stream != nil {
		c.stream.CloseWrite()
		return
	}
	c.loop.r.sys.shutdownWrite(int(c.fd))
}

// closeSource closes c's socket or stream.
func (c *Conn) closeSource() {
	if c.stream != nil {
		c.stream.Close()
		return
	}
	c.loop.r.sys.close(int(c.fd))
}

// abort resets c at the end of the turn, without further output.
func (l *loop) abort(c *Conn, cause error) {
	if c.state == stateClosed {
		return
	}
	if c.state >= stateDraining && c.cause == nil {
		c.cause = cause // what was written may be lost: that is no clean close
	}
	if c.stream != nil {
		c.stream.Reset(cause)
	} else {
		l.r.sys.reset(int(c.fd))
	}
	l.kill(c, cause)
}
