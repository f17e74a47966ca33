package main

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"maps"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/wire"
	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/quic"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tor"
)

// statusOK is the code of an echo.
const statusOK = 200

// ourServer is the library's echo server. It is the framer's handler at the same time.
type ourServer struct {
	reactor  *reactor.Reactor
	listener boundSocket
	quic     *quic.Listener // nil on TCP
	tor      *tor.Tor       // nil but for onion services, as is what follows
	onion    *tor.Service
	endpoint *framer.Endpoint
	handover *handover  // nil: no successor is waited for
	certs    *certStore // nil without --cert
	late     *late      // nil: requests are answered in place

	accepted, failed, frames atomic.Uint64

	mu      sync.Mutex        // guards refused
	refused map[string]uint64 // connections that were never open, by reason
}

// boundSocket is a listener of the reactor or of package quic.
type boundSocket interface {
	Addr() net.Addr
	Granted() (send, recv int)
}

// newOurs is a server that is not running yet.
func newOurs(o *serverOptions) *ourServer {
	return &ourServer{refused: make(map[string]uint64), late: newLate(o.knobs.replyDelay)}
}

// openOurs starts the library's server with the knobs of o; c is nil on plain TCP, and with --cert.
func openOurs(_ context.Context, o *serverOptions, c *stdtls.Certificate) (echoServer, error) {
	s := newOurs(o)
	transport := "tcp"
	var filter func() reactor.Filter
	if o.kind.tls {
		transport = "tcp+tls"
		srv, store, err := tlsServer(o, c)
		if err != nil {
			return nil, err
		}
		s.certs = store
		filter = func() reactor.Filter { return srv.Conn() }
	}
	if err := s.start(o, transport, filter); err != nil {
		s.certs.close()
		return nil, err
	}
	return s, nil
}

func (s *ourServer) start(o *serverOptions, transport string, filter func() reactor.Filter) (err error) {
	if s.endpoint, err = framer.NewEndpoint(s, o.framerOptions(transport)); err != nil {
		return err
	}
	if s.reactor, err = reactor.New(o.knobs.reactor); err != nil {
		return err
	}
	err = s.listen(o, reactor.ListenConfig{
		Protocol: s.protocol,
		Filter:   filter,
		Refuse:   func(c *reactor.Conn, cause error) { s.endpoint.Refuse(c, cause) },
		OnError:  func(_ net.Addr, err error) { s.refuse(err) },
	})
	if err != nil {
		return errors.Join(err, s.reactor.Close())
	}
	return nil
}

// OnOpen is called by the framer for every connection that is ready.
func (s *ourServer) OnOpen(c *framer.Session) {
	s.accepted.Add(1)
	c.SetUserData(new(counted))
}

// counted is what the server keeps for a connection.
type counted struct {
	frames uint64
	tally  *wire.Tally // of a one-way load; nil until its first event
}

// OnFrame answers a request with its own payload. Frames are counted per connection and added up when it ends: a counter
// shared by all loops would cost the measured path.
func (s *ourServer) OnFrame(c *framer.Session, f *framer.Frame) {
	n := c.UserData().(*counted)
	n.frames++
	if f.Flags&framer.FlagEvent != 0 || f.AppProtoID == wire.TallyProto {
		n.oneWay(c, f)
		return
	}
	if s.late != nil {
		s.late.take(f)
		return
	}
	if err := c.Reply(f, statusOK, f.Payload); err != nil {
		refuseLarge(c, f, err)
	}
}

// oneWay counts an event, and answers the question for the tally.
func (n *counted) oneWay(c *framer.Session, f *framer.Frame) {
	if n.tally == nil {
		n.tally = new(wire.Tally)
	}
	if f.Flags&framer.FlagEvent != 0 {
		n.tally.Add(f.Payload)
		return
	}
	var b [wire.TallyLen]byte
	n.tally.Put(b[:])
	_ = c.Reply(f, statusOK, b[:]) // fails when the connection is closing: OnClose has the cause
}

// refuseLarge is apart so that the path of every frame allocates nothing.
func refuseLarge(c *framer.Session, f *framer.Frame, err error) {
	var e *framer.Error
	if errors.As(err, &e) { // larger than what the peer has asked for in its HELLO
		_ = c.SendError(&f.Header, e)
	} // else the connection is closing: OnClose has the cause
}

// OnClose is called by the framer once per connection.
func (s *ourServer) OnClose(c *framer.Session, err error) {
	if n, ok := c.UserData().(*counted); ok {
		s.frames.Add(n.frames)
	}
	if err != nil && !errors.Is(err, reactor.ErrShuttingDown) {
		s.failed.Add(1) // its reason is in the endpoint's counts
	}
}

// refuse counts a connection that ended before it was open; the framer never saw it.
func (s *ourServer) refuse(err error) {
	s.failed.Add(1)
	var r interface{ Reason() string }
	if errors.As(err, &r) {
		s.mu.Lock()
		s.refused[r.Reason()]++
		s.mu.Unlock()
	}
}

// Addr is the bound address.
func (s *ourServer) Addr() string {
	if s.onion != nil {
		return s.onion.Addr()
	}
	return s.listener.Addr().String()
}

// Count fills in what was counted.
func (s *ourServer) Count(r *report.Server) {
	r.Accepted, r.Frames, r.Failed = s.accepted.Load(), s.frames.Load(), s.failed.Load()
	r.LoopCount = s.reactor.Loops()
	r.SndBuf, r.RcvBuf = s.listener.Granted()
	if l, ok := s.listener.(*reactor.Listener); ok {
		r.Control = l.Congestion()
	}
	if s.late != nil {
		r.HeldPeak = s.late.peak.Load()
	}
	st := s.reactor.Stats()
	r.Reactor = &st
	if s.quic != nil {
		s.countQUIC(r)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Rejected = maps.Clone(s.refused)
	for why := framer.BadVersion; why <= framer.IO; why++ {
		if n := s.endpoint.Stats().Rejected(why); n > 0 && why != framer.ShuttingDown { // at the end all are told, that is no rejection
			r.Rejected[why.String()] += n
		}
	}
}

// drainWait is how long connections may take to end in good order: longer than the default grace of a shutdown.
const drainWait = 8 * time.Second

// Close stops accepting and drains; what is left after drainWait is aborted.
func (s *ourServer) Close() error {
	if s.handover != nil {
		s.handover.stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainWait)
	defer cancel()
	defer s.certs.close() // last: handshakes that are under way use it
	err := s.reactor.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	s.late.wait()
	return errors.Join(err, s.closeTor())
}
