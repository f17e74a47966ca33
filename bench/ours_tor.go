package main

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
)

// openTor starts the library's server as an onion service: the same handler as on TLS. It returns when the service can be found.
func openTor(ctx context.Context, o *serverOptions, _ *stdtls.Certificate) (echoServer, error) {
	stderr, ok := o.stderr.(*os.File)
	if !ok {
		return nil, errors.New("standard error is no file")
	}
	s := newOurs(o)
	var err error
	if s.tor, err = o.tor.open(ctx, stderr); err != nil {
		return nil, err
	}
	if err := s.startOnion(ctx, o); err != nil {
		return nil, errors.Join(o.tor.explain(err), s.tor.Close())
	}
	return s, nil
}

func (s *ourServer) startOnion(ctx context.Context, o *serverOptions) (err error) {
	fo := o.framerOptions("tor")
	fo.Ready = s.tor.Ready
	if s.endpoint, err = framer.NewEndpoint(s, fo); err != nil {
		return err
	}
	if s.reactor, err = reactor.New(o.knobs.reactor); err != nil {
		return o.knobs.explain(err)
	}
	cfg := o.tor.service
	cfg.Local = o.listen
	cfg.Listen = reactor.ListenConfig{
		Protocol: func(c *reactor.Conn) reactor.Protocol { return s.endpoint.Session(c) },
		Refuse:   func(c *reactor.Conn, cause error) { s.endpoint.Refuse(c, cause) },
		OnError:  func(_ net.Addr, err error) { s.refuse(err) },
	}
	if s.onion, err = s.tor.Listen(s.reactor, cfg); err == nil {
		s.listener = s.onion.Listener()
		fmt.Fprintf(o.stderr, "tor: publishing %s\n", s.onion.Addr())
		err = s.onion.WaitReady(ctx)
	}
	if err != nil {
		return errors.Join(err, s.reactor.Close())
	}
	return nil
}

// closeTor ends what openTor has started besides the reactor.
func (s *ourServer) closeTor() error {
	if s.tor == nil {
		return nil
	}
	return s.tor.Close()
}
