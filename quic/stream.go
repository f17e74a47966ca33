package quic

import (
	"io"
	"net"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/reactor"
)

// stream is a QUIC stream as the reactor wants it. Methods are the loop's unless they say otherwise.
type stream struct {
	c  *Conn
	qs *quicgo.Stream
	rc *reactor.Conn

	in      reader
	out     writer
	since   time.Time // when the chunk that is being written was begun; with urgency under the sender's lock
	urgency int8
	reset   Code // for the peer, when it ends in the middle
	closed  bool

	linked     bool // on the connection's list; with prev and next under its lock
	prev, next *stream
}

var _ reactor.Stream = (*stream)(nil)

func newStream(c *Conn, qs *quicgo.Stream) *stream {
	s := &stream{c: c, qs: qs, urgency: urgencyFirst}
	s.in.again = make(chan struct{}, 1)
	return s
}

// Read implements reactor.Stream.
func (s *stream) Read(p []byte) (int, error) {
	s.c.checkPath()
	return s.in.read(s, p)
}

// Write implements reactor.Stream.
func (s *stream) Write(p []byte) (int, error) {
	s.c.checkPath()
	return s.out.write(s, p)
}

// CloseWrite implements reactor.Stream.
func (s *stream) CloseWrite() { s.out.finish(s) }

// Reset implements reactor.Stream.
func (s *stream) Reset(cause error) {
	s.reset = codeFor(cause)
	s.qs.CancelWrite(s.reset.stream())
	s.qs.CancelRead(s.reset.stream())
}

// Close implements reactor.Stream. Both directions are given up, whatever they were at, so that quic-go forgets the stream; and
// its place is the peer's again, only now, so that no peer has more streams here than MaxStreams.
func (s *stream) Close() {
	if s.closed {
		return
	}
	s.closed = true
	s.qs.CancelRead(s.reset.stream())
	s.in.close()
	s.out.end(s)
	s.qs.ReleaseStreamCredit()
	s.c.unlink(s)
}

// refuse gives up a stream that was not attached.
func (s *stream) refuse(code Code) {
	s.qs.CancelRead(code.stream())
	s.qs.CancelWrite(code.stream())
	s.qs.ReleaseStreamCredit()
}

// LocalAddr implements reactor.Stream. Any goroutine.
func (s *stream) LocalAddr() net.Addr { return s.c.LocalAddr() }

// RemoteAddr implements reactor.Stream. Any goroutine.
func (s *stream) RemoteAddr() net.Addr { return s.c.RemoteAddr() }

// Early is what reactor.Conn.Early asks. Any goroutine.
func (s *stream) Early() bool { return s.c.Early() }

// ConnOf is the QUIC connection of a stream; nil when rc is no stream of this package's. Any goroutine.
func ConnOf(rc *reactor.Conn) *Conn {
	if s, ok := rc.Stream().(*stream); ok {
		return s.c
	}
	return nil
}

// streamError translates an error of a stream. When we have closed the connection, our own cause is the truth.
func (c *Conn) streamError(err error) error {
	if err == io.EOF {
		return err
	}
	c.mu.Lock()
	closing, cause := c.state == connClosing, c.cause
	c.mu.Unlock()
	switch {
	case !closing:
		return streamCause(err, !c.Early())
	case cause == nil:
		return io.EOF
	}
	return cause
}

// checkPath tells the handler when the peer has moved. Loop only.
func (c *Conn) checkPath() {
	if !c.accepted {
		return // only clients move
	}
	if a := c.qc.RemoteAddr(); a != c.seen {
		from := c.seen
		c.seen = a
		if h := c.ep.handler; h != nil && c.tag.refusal == nil && a.String() != from.String() {
			h.OnConnMigrated(c, from)
		}
	}
}
