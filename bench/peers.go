package main

import (
	"context"
	"crypto/tls"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/peers/gnetplain"
	"github.com/ron-transport/ron-transport/bench/peers/nbiotls"
	"github.com/ron-transport/ron-transport/bench/peers/nettls"
	"github.com/ron-transport/ron-transport/bench/peers/quicgo"
)

// netTLSServer is the standard library's side of a comparison.
type netTLSServer struct{ s *nettls.Server }

func openNetTLS(_ context.Context, o *serverOptions, c *tls.Certificate) (echoServer, error) {
	s, err := nettls.Listen(o.listen, &tls.Config{Certificates: []tls.Certificate{*c}})
	if err != nil {
		return nil, err
	}
	return netTLSServer{s}, nil
}

func (p netTLSServer) Addr() string { return p.s.Addr().String() }
func (p netTLSServer) Close() error { return p.s.Close() }
func (p netTLSServer) Count(r *report.Server) {
	st := &p.s.Stats
	r.Accepted, r.Frames, r.Failed = st.Accepted.Load(), st.Frames.Load(), st.Failed.Load()
}

// nbioServer is nbio's side of a comparison, with the TLS that comes with it.
type nbioServer struct{ s *nbiotls.Server }

func openNbio(_ context.Context, o *serverOptions, c *tls.Certificate) (echoServer, error) {
	s, err := nbiotls.Listen(o.listen, c)
	if err != nil {
		return nil, err
	}
	return nbioServer{s}, nil
}

func (p nbioServer) Addr() string { return p.s.Addr().String() }
func (p nbioServer) Close() error { return p.s.Close() }
func (p nbioServer) Count(r *report.Server) {
	st := &p.s.Stats
	r.Accepted, r.Frames, r.Failed = st.Accepted.Load(), st.Frames.Load(), st.Failed.Load()
}

// quicgoServer is stock quic-go's side of a comparison.
type quicgoServer struct{ s *quicgo.Server }

func openQUICGo(_ context.Context, o *serverOptions, c *tls.Certificate) (echoServer, error) {
	s, err := quicgo.Listen(o.listen, &tls.Config{Certificates: []tls.Certificate{*c}}, quicgo.DefaultMaxStreams)
	if err != nil {
		return nil, err
	}
	return quicgoServer{s}, nil
}

func (p quicgoServer) Addr() string { return p.s.Addr().String() }
func (p quicgoServer) Close() error { return p.s.Close() }
func (p quicgoServer) Count(r *report.Server) {
	st := &p.s.Stats
	r.Accepted, r.Streams, r.Frames, r.Failed = st.Accepted.Load(), st.Streams.Load(), st.Frames.Load(), st.Failed.Load()
}

// gnetServer is gnet's side of a comparison.
type gnetServer struct{ s *gnetplain.Server }

func openGnet(_ context.Context, o *serverOptions, _ *tls.Certificate) (echoServer, error) {
	s, err := gnetplain.Listen(o.listen)
	if err != nil {
		return nil, err
	}
	return gnetServer{s}, nil
}

func (p gnetServer) Addr() string { return p.s.Addr() }
func (p gnetServer) Close() error { return p.s.Close() }
func (p gnetServer) Count(r *report.Server) {
	st := &p.s.Stats
	r.Accepted, r.Frames, r.Failed = st.Accepted.Load(), st.Frames.Load(), st.Failed.Load()
}
