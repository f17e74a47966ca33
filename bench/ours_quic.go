package main

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"net"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/quic"
	"github.com/ron-transport/ron-transport/reactor"
)

// openQUIC starts the library's server over QUIC: the same handler as on TLS, with a session for every stream.
func openQUIC(_ context.Context, o *serverOptions, c *stdtls.Certificate) (echoServer, error) {
	s := newOurs(o)
	srv, store, err := tlsServer(o, c)
	if err != nil {
		return nil, err
	}
	s.certs = store
	if err := s.startQUIC(o, srv.QUIC()); err != nil {
		s.certs.close()
		return nil, o.quic.explain(err)
	}
	return s, nil
}

func (s *ourServer) startQUIC(o *serverOptions, conf *stdtls.Config) (err error) {
	if s.endpoint, err = framer.NewEndpoint(s, o.framerOptions("quic")); err != nil {
		return err
	}
	if s.reactor, err = reactor.New(o.knobs.reactor); err != nil {
		return err
	}
	lc := o.quic.listen
	lc.Config = o.quic.config
	lc.TLS = conf
	lc.Protocol = func(c *reactor.Conn) reactor.Protocol { return s.endpoint.Session(c) }
	lc.Refuse = func(c *reactor.Conn, cause error) { s.endpoint.Refuse(c, cause) }
	lc.OnError = func(_ net.Addr, err error) { s.refuse(err) }
	if s.quic, err = quic.Listen(s.reactor, o.listen, lc); err != nil {
		return errors.Join(err, s.reactor.Close())
	}
	s.listener = s.quic
	return nil
}

// countQUIC fills in what only QUIC has. On it the framer's connections are streams.
func (s *ourServer) countQUIC(r *report.Server) {
	st, off := s.quic.Stats(), s.quic.Offload()
	r.Streams, r.Accepted = r.Accepted, st.Opened
	r.QUIC, r.Offload = &st, &off
}
