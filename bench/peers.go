package main

import (
	"context"
	"crypto/tls"
	"sync/atomic"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/peers/gnetplain"
	"github.com/ron-transport/ron-transport/bench/peers/nbiotls"
	"github.com/ron-transport/ron-transport/bench/peers/nettls"
	"github.com/ron-transport/ron-transport/bench/peers/quicgo"
)

// peerServer is a peer's side of a comparison, whichever it is.
type peerServer struct {
	addr                              string
	close                             func() error
	accepted, streams, frames, failed *atomic.Uint64 // its counters; streams is nil but on QUIC
}

func (p *peerServer) Addr() string { return p.addr }
func (p *peerServer) Close() error { return p.close() }
func (p *peerServer) Count(r *report.Server) {
	r.Accepted, r.Frames, r.Failed = p.accepted.Load(), p.frames.Load(), p.failed.Load()
	if p.streams != nil {
		r.Streams = p.streams.Load()
	}
}

// openNetTLS is the standard library's side.
func openNetTLS(_ context.Context, o *serverOptions, c *tls.Certificate) (echoServer, error) {
	s, err := nettls.Listen(o.listen, &tls.Config{Certificates: []tls.Certificate{*c}})
	if err != nil {
		return nil, err
	}
	return &peerServer{addr: s.Addr().String(), close: s.Close, accepted: &s.Stats.Accepted, frames: &s.Stats.Frames, failed: &s.Stats.Failed}, nil
}

// openNbio is nbio's side, with the TLS that comes with it.
func openNbio(_ context.Context, o *serverOptions, c *tls.Certificate) (echoServer, error) {
	s, err := nbiotls.Listen(o.listen, c)
	if err != nil {
		return nil, err
	}
	return &peerServer{addr: s.Addr().String(), close: s.Close, accepted: &s.Stats.Accepted, frames: &s.Stats.Frames, failed: &s.Stats.Failed}, nil
}

// openQUICGo is stock quic-go's side.
func openQUICGo(_ context.Context, o *serverOptions, c *tls.Certificate) (echoServer, error) {
	s, err := quicgo.Listen(o.listen, &tls.Config{Certificates: []tls.Certificate{*c}}, quicgo.DefaultMaxStreams)
	if err != nil {
		return nil, err
	}
	st := &s.Stats
	return &peerServer{addr: s.Addr().String(), close: s.Close, accepted: &st.Accepted, streams: &st.Streams, frames: &st.Frames, failed: &st.Failed}, nil
}

// openGnet is gnet's side.
func openGnet(_ context.Context, o *serverOptions, _ *tls.Certificate) (echoServer, error) {
	s, err := gnetplain.Listen(o.listen)
	if err != nil {
		return nil, err
	}
	return &peerServer{addr: s.Addr(), close: s.Close, accepted: &s.Stats.Accepted, frames: &s.Stats.Frames, failed: &s.Stats.Failed}, nil
}
