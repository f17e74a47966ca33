package quic

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/reactor"
)

// connState is the life of a connection whose streams can be used; it only moves downwards.
type connState uint8

const (
	// connOpen: streams come and go.
	connOpen connState = iota
	// connRefused: over a limit; its peer's streams are told so, and it is closed soon.
	connRefused
	// connDraining: the endpoint shuts down, and it is closed when its last stream has ended.
	connDraining
	// connClosing: CONNECTION_CLOSE is being sent, or came; streams are on their way out.
	connClosing
)

// Conn is a QUIC connection: its streams are connections of the reactor, all on one loop.
type Conn struct {
	ep   *endpoint
	port *port
	qc   *quicgo.Conn
	tag  *tag
	loop int

	accepted bool                      // by a listener
	remote   net.Addr                  // when it began
	agreed   atomic.Pointer[agreement] // nil until someone asks after the handshake
	early    atomic.Bool               // the handshake is not complete
	moving   sync.Mutex                // held by Migrate; taken before mu
	seen     net.Addr                  // the peer's address as the handler knows it; loop only

	send sender

	mu      sync.Mutex
	state   connState
	streams *stream       // the first of a list
	live    int           // its length, and what is about to be on it
	code    Code          // of our own close
	cause   error         // likewise
	ended   bool          // quic-go is done with it: no stream is linked any more
	gone    chan struct{} // closed when it has ended and the last stream is unlinked
	paths   []*path       // sockets of its own, after migrations; the present one last
	left    []*path       // those that it has left
}

// newConn makes the Conn of a quic-go connection and registers it; nil when the endpoint is closed.
func newConn(ep *endpoint, p *port, qc *quicgo.Conn, t *tag, accepted bool) *Conn {
	c := &Conn{ep: ep, port: p, qc: qc, tag: t, loop: p.loop, accepted: accepted, remote: qc.RemoteAddr(), gone: make(chan struct{})}
	c.seen, c.send.c = c.remote, c
	select {
	case <-qc.HandshakeComplete():
		t.opened()
	default:
		c.early.Store(true)
	}
	if t.refusal != nil {
		c.state = connRefused
	}
	if !ep.add(c) {
		return nil
	}
	t.taken.Store(true)
	if c.early.Load() {
		ep.wg.Add(1)
		go c.awaitHandshake()
	} else {
		c.shaken()
	}
	if h := ep.handler; h != nil && t.refusal == nil {
		ep.post(c.loop, func() { h.OnConnOpen(c) })
	}
	return c
}

// awaitHandshake ends the early phase.
func (c *Conn) awaitHandshake() {
	defer c.ep.wg.Done()
	select {
	case <-c.qc.HandshakeComplete():
		c.early.Store(false)
		c.tag.opened()
		c.shaken()
	case <-c.qc.Context().Done():
	}
}

// run accepts the peer's streams until the connection ends, and then sees it off.
func (c *Conn) run() {
	defer c.ep.wg.Done()
	if c.tag.refusal != nil {
		if c.ep.failed(c.loop, c.seen, c.tag.refusal); c.ep.refuse == nil {
			c.Close(codeFor(c.tag.refusal), c.tag.refusal)
		}
		stop := time.AfterFunc(refuseLinger, func() { c.Close(codeFor(c.tag.refusal), c.tag.refusal) })
		defer stop.Stop()
	}
	for {
		qs, err := c.qc.AcceptStream(context.Background())
		if err == nil {
			c.accept(qs)
			continue
		}
		if !errors.Is(err, quicgo.Err0RTTRejected) {
			break
		}
		if _, err := c.qc.NextConnection(context.Background()); err != nil {
			break
		}
	}
	<-c.qc.Context().Done()
	c.end(context.Cause(c.qc.Context()))
}

// end sees the streams off and tells the handler.
func (c *Conn) end(err error) {
	c.mu.Lock()
	refused := c.tag.refusal != nil
	code, cause := c.code, c.cause
	if c.state < connClosing {
		c.state = connClosing
		cause = connCause(err, !c.Early())
		code = codeOf(err, cause)
		c.code, c.cause = code, cause
	}
	for s := c.streams; s != nil; s = s.next {
		s.rc.Ready(reactor.ReadReady | reactor.HangUp)
	}
	c.ended = true
	if c.live == 0 {
		close(c.gone)
	}
	paths := append(c.paths, c.left...)
	c.mu.Unlock()
	c.awaitStreams(cause)
	if refused {
		c.ep.refusals.Add(-1)
	} else if h := c.ep.handler; h != nil {
		told := make(chan struct{})
		if c.ep.post(c.loop, func() { defer close(told); h.OnConnClose(c, code, cause) }) {
			<-told
		}
	}
	c.tag.release()
	for _, p := range paths {
		p.close()
	}
	c.ep.remove(c)
}

// awaitStreams waits until the last stream is closed. One whose handler does not read does not notice, and is aborted.
func (c *Conn) awaitStreams(cause error) {
	for {
		select {
		case <-c.gone:
			return
		case <-time.After(deadStreams):
		}
		if cause == nil {
			cause = ErrClosed
		}
		c.mu.Lock()
		for s := c.streams; s != nil; s = s.next {
			rc := s.rc
			_ = rc.Post(func() { rc.Abort(cause) })
		}
		c.mu.Unlock()
	}
}

// codeOf is the application's error code of an end that came from the peer, or from quic-go.
func codeOf(err, cause error) Code {
	var app *quicgo.ApplicationError
	if errors.As(err, &app) {
		return Code(app.ErrorCode)
	}
	return codeFor(cause)
}

// accept makes a connection of the reactor of a stream that the peer has opened.
func (c *Conn) accept(qs *quicgo.Stream) {
	ac := reactor.AttachConfig{Protocol: c.ep.protocol, Refusal: c.tag.refusal, Refuse: c.ep.refuse}
	if _, err := c.attach(qs, ac); err != nil {
		c.ep.count.refusedStreams.Add(1)
	}
}

// OpenConfig says what becomes of a stream that we open.
type OpenConfig struct {
	// Protocol makes the stream's protocol. Required. Called on the connection's loop.
	Protocol func(*reactor.Conn) reactor.Protocol
}

// OpenStream opens a stream. The peer hears of it with the first bytes. It never blocks: ErrStreamLimit when the peer allows no
// further stream now, ErrEarlyRejected while a rejected 0-RTT handshake is not complete; else an error with the reason of the
// connection's end. When it returns an error, Protocol is not called. Any goroutine.
func (c *Conn) OpenStream(oc OpenConfig) (*reactor.Conn, error) {
	if oc.Protocol == nil {
		return nil, errors.New("quic: OpenConfig.Protocol is nil, a function is required")
	}
	qs, err := c.qc.OpenStream()
	if errors.Is(err, quicgo.Err0RTTRejected) && !c.Early() {
		if _, err = c.qc.NextConnection(context.Background()); err == nil { // run has not come to it yet; it does not block
			qs, err = c.qc.OpenStream()
		}
	}
	if err != nil {
		var limit *quicgo.StreamLimitReachedError
		switch {
		case errors.As(err, &limit):
			return nil, ErrStreamLimit
		case errors.Is(err, quicgo.Err0RTTRejected):
			return nil, ErrEarlyRejected
		}
		return nil, c.endError(err)
	}
	return c.attach(qs, reactor.AttachConfig{Protocol: oc.Protocol, Dialled: true})
}

// attach puts a stream on the connection's loop. On an error the peer is told and the stream given back.
func (c *Conn) attach(qs *quicgo.Stream, ac reactor.AttachConfig) (*reactor.Conn, error) {
	s := newStream(c, qs)
	if !c.reserve() {
		s.refuse(CodeIO)
		return nil, c.endError(nil)
	}
	ac.Loop, ac.Admission = c.loop, c.tag.adm
	ac.Stream = func(rc *reactor.Conn) reactor.Stream { c.link(s, rc); return s }
	rc, err := c.ep.r.Attach(ac)
	if err != nil {
		s.refuse(codeFor(err))
		c.unlink(s)
		c.ep.wg.Done()
		return nil, err
	}
	c.ep.count.streams.Add(1)
	go s.wait()
	return rc, nil
}

// endError is the error of a call that came too late.
func (c *Conn) endError(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.state == connClosing && c.cause != nil:
		return c.cause
	case c.state != connClosing && err != nil:
		if cause := connCause(err, !c.Early()); cause != nil {
			return cause
		}
	}
	return ErrClosed
}

// Close ends the connection at once with a code for the peer; cause is what the protocols of its streams, and the handler, are
// told; nil means an end without a fault. What streams have not delivered yet is lost: end them first. It does not block, and
// calls after the first do nothing. Any goroutine.
func (c *Conn) Close(code Code, cause error) {
	c.mu.Lock()
	if c.state == connClosing {
		c.mu.Unlock()
		return
	}
	c.state, c.code, c.cause = connClosing, code, cause
	c.mu.Unlock()
	c.ep.wg.Add(1)
	go func() { // it waits for the send queue, which may wait for a loop
		defer c.ep.wg.Done()
		_ = c.qc.CloseWithError(code.app(), code.Reason())
	}()
}

// drain has the connection closed once its last stream has ended.
func (c *Conn) drain() {
	c.mu.Lock()
	idle := c.state == connOpen && c.live == 0
	if c.state == connOpen {
		c.state = connDraining
	}
	c.mu.Unlock()
	if idle {
		c.settle(CodeShuttingDown, reactor.ErrShuttingDown)
	}
}

// settle closes the connection when its last bytes have been acknowledged, or settleMax is over. It does not block.
func (c *Conn) settle(code Code, cause error) {
	c.ep.wg.Add(1)
	go func() {
		defer c.ep.wg.Done()
		c.awaitAcks()
		c.Close(code, cause)
	}()
}

// awaitAcks waits until nothing has been sent for a probe timeout (RFC 9002, §6.2): were anything unacknowledged, a probe
// would have been. quic-go tells no other way.
func (c *Conn) awaitAcks() {
	end := time.Now().Add(settleMax)
	for time.Now().Before(end) {
		st := c.qc.ConnectionStats()
		pto := st.SmoothedRTT + max(4*st.MeanDeviation, time.Millisecond) + ackDelay
		select {
		case <-time.After(min(pto+pto/4, settleMax)):
		case <-c.qc.Context().Done():
			return
		}
		if c.qc.ConnectionStats().PacketsSent == st.PacketsSent {
			return
		}
	}
}

// reserve counts a stream that is about to be linked, and its goroutine; false when the connection has ended.
func (c *Conn) reserve() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return false
	}
	c.live++
	c.ep.wg.Add(1)
	return true
}

// link puts s on the list of streams.
func (c *Conn) link(s *stream, rc *reactor.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s.rc, s.linked = rc, true
	if c.streams != nil {
		c.streams.prev = s
	}
	s.next, c.streams = c.streams, s
}

// unlink forgets a stream that is closed, or was never attached.
func (c *Conn) unlink(s *stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.linked {
		s.linked = false
		if s.prev != nil {
			s.prev.next = s.next
		} else {
			c.streams = s.next
		}
		if s.next != nil {
			s.next.prev = s.prev
		}
		s.prev, s.next = nil, nil
	}
	c.live--
	switch {
	case c.live > 0:
	case c.ended:
		close(c.gone)
	case c.state == connDraining:
		c.settle(CodeShuttingDown, reactor.ErrShuttingDown)
	}
}
