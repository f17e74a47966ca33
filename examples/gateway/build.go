package main

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/quic"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls"
	"github.com/ron-transport/ron-transport/tls/certs"
	"github.com/ron-transport/ron-transport/tor"
)

// endpoint is the framing of one transport's connections.
type endpoint struct {
	now   atomic.Pointer[framer.Endpoint] // for connections that come from now on
	stats framer.Stats                    // of all there have been
}

// app is a gateway that runs.
type app struct {
	src   sources
	log   *slog.Logger
	level *slog.LevelVar

	loops  *reactor.Reactor
	gw     *gateway
	ends   map[string]*endpoint // by transport; not changed once made
	store  *certs.Store         // nil without TLS and QUIC
	server *tls.Server          // likewise
	tls    *reactor.Listener    // nil: off; the same holds for the next three
	quic   *quic.Listener
	tor    *tor.Tor
	onion  *tor.Service
	admin  *admin

	pending *reactor.Handover // the predecessor's sockets, while we start

	leaving atomic.Bool   // readiness is gone for good
	handed  chan struct{} // closed when a successor has taken over

	mu  sync.Mutex // guards now
	now *effective // what is in force

	stop context.CancelFunc // ends the background
	work sync.WaitGroup
}

// start brings a gateway up. What has begun is ended when something fails. A predecessor hears last that we are ready.
func start(src sources, e *effective, log *slog.Logger, level *slog.LevelVar) (*app, error) {
	ctx, stop := context.WithCancel(context.Background())
	a := &app{src: src, log: log, level: level, now: e, ends: map[string]*endpoint{}, stop: stop, handed: make(chan struct{})}
	err := a.open(ctx)
	if err == nil {
		err = a.ready(ctx)
	}
	if a.pending != nil {
		err = errors.Join(err, a.pending.Close())
	}
	if err != nil {
		end, cancel := context.WithTimeout(context.Background(), failedGrace)
		defer cancel()
		_ = a.close(end)
		return nil, e.explain(err)
	}
	if c := e.Config; c.TLS.Handover != "" {
		a.work.Go(func() { a.offer(ctx, c.TLS.Handover) })
	}
	a.work.Go(func() { a.watch(ctx) })
	return a, nil
}

// open makes the parts in their order: nothing listens before all that it needs is there.
func (a *app) open(ctx context.Context) (err error) {
	c := a.now.Config
	r := c.Reactor
	r.Logger = a.log
	if a.loops, err = reactor.New(r); err != nil {
		return err
	}
	d, err := newDialer(a.loops, c)
	if err != nil {
		return err
	}
	p, err := newPolicy(c)
	if err != nil {
		return err
	}
	a.gw = newGateway(a.log, a.loops, p, d)
	for _, name := range []string{"tls", "quic", "tor"} {
		a.ends[name] = new(endpoint)
	}
	if err := a.setFrames(c); err != nil {
		return err
	}
	if c.needsCert() {
		if err := a.openTLS(ctx, c); err != nil {
			return err
		}
	}
	if c.QUIC.Listen != "" {
		if a.quic, err = quic.Listen(a.loops, c.QUIC.Listen, a.quicConfig(c)); err != nil {
			return err
		}
		a.log.Info("listening", "transport", "quic", "addr", a.quic.Addr().String())
	}
	if c.Tor.Enabled {
		if err := a.openTor(c); err != nil {
			return err
		}
	}
	if err := a.openAdmin(c); err != nil {
		return err
	}
	if err := a.listenTLS(ctx, c); err != nil { // last, because of a predecessor
		return err
	}
	a.serveAdmin()
	return nil
}

// setFrames puts the frames' limits in force for new connections.
func (a *app) setFrames(c *Config) error {
	for name, e := range a.ends {
		o := c.Frames
		o.Stats, o.Transports = &e.stats, c.transports()
		end, err := framer.NewEndpoint(a.gw, o)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		e.now.Store(end)
	}
	return nil
}

// transports is what HELLO tells clients of.
func (c *Config) transports() []string {
	var all []string
	if c.TLS.Listen != "" {
		all = append(all, "tcp+tls")
	}
	if c.QUIC.Listen != "" {
		all = append(all, "quic")
	}
	if c.Tor.Enabled {
		all = append(all, "tor")
	}
	return all
}

// listenConfig is what becomes of connections, the same on every transport.
func (a *app) listenConfig(transport string) reactor.ListenConfig {
	e := a.ends[transport]
	return reactor.ListenConfig{
		Name:     transport,
		Protocol: func(c *reactor.Conn) reactor.Protocol { return e.now.Load().Session(c) },
		Refuse:   func(c *reactor.Conn, cause error) { e.now.Load().Refuse(c, cause) },
		OnError:  func(remote net.Addr, err error) { a.refused(transport, remote, err) },
	}
}

func (a *app) refused(transport string, remote net.Addr, err error) {
	a.log.Debug("connection not opened", "transport", transport, "remote", remote.String(), "reason", reasonOf(err), "err", err)
}

// openTLS loads the certificate and begins to look after it.
func (a *app) openTLS(ctx context.Context, c *Config) (err error) {
	s := c.TLS.Store
	s.Pairs = []certs.Pair{c.TLS.Pair}
	s.OnEvent = a.certEvent
	if a.store, err = certs.New(s); err != nil {
		return err
	}
	if a.store.Stats().Pairs[0].MustStaple {
		first, cancel := context.WithTimeout(ctx, stapleWait)
		_ = a.store.Staple(first) // told as an event, and by readiness; it is tried again
		cancel()
	}
	a.server, err = tls.NewServer(tls.Config{TLS: &stdtls.Config{GetCertificate: a.store.GetCertificate, SessionTicketsDisabled: c.TLS.NoTickets}, AESGCM: c.TLS.AESGCM})
	if err == nil && !c.TLS.NoTickets {
		err = a.store.Attach(a.server)
	}
	if err != nil {
		return err
	}
	a.work.Go(func() { _ = a.store.Run(ctx) })
	return nil
}

// certEvent logs what happens to certificates, staples and ticket keys.
func (a *app) certEvent(e certs.Event) {
	if e.Err != nil {
		a.log.Warn("certificates", "event", e.Kind.String(), "reason", "tls", "err", e.Err)
		return
	}
	a.log.Info("certificates", "event", e.Kind.String())
}

// proxy is what the listener is told about balancers; nil: there are none.
func (t *TLSConfig) proxy() *reactor.ProxyConfig {
	if len(t.Proxy.Trusted) == 0 {
		return nil
	}
	return &t.Proxy
}

// listenTLS opens the TLS listener, or takes it over from the process that waits at tls.handover.
func (a *app) listenTLS(ctx context.Context, c *Config) (err error) {
	if c.TLS.Listen == "" {
		return nil
	}
	lc := a.listenConfig("tls")
	lc.Filter, lc.Proxy = func() reactor.Filter { return a.server.Conn() }, c.TLS.proxy()
	if c.TLS.Handover == "" {
		a.tls, err = a.loops.Listen("tcp", c.TLS.Listen, lc)
	} else {
		a.tls, err = a.takeOver(ctx, c, lc)
	}
	if err != nil {
		return err
	}
	snd, rcv := a.tls.Granted()
	a.log.Info("listening", "transport", "tls", "addr", a.tls.Addr().String(), "sndbuf", snd, "rcvbuf", rcv)
	return nil
}

// quicConfig is the QUIC listener's configuration.
func (a *app) quicConfig(c *Config) quic.ListenConfig {
	lc := c.QUIC.Lib
	common := a.listenConfig("quic")
	lc.Protocol, lc.Refuse, lc.OnError = common.Protocol, common.Refuse, common.OnError
	lc.Logger = a.log
	if a.server != nil {
		lc.TLS = a.server.QUIC()
	}
	return lc
}

// openTor starts a tor, or uses one that runs, and offers the onion service.
func (a *app) openTor(c *Config) (err error) {
	lib := c.Tor.Lib
	lib.Logger = a.log
	if a.tor, err = tor.Open(lib); err != nil {
		return err
	}
	s := c.Tor.Service
	s.Listen = a.listenConfig("tor")
	if a.onion, err = a.tor.Listen(a.loops, s); err != nil {
		return err
	}
	a.log.Info("listening", "transport", "tor", "addr", a.onion.Addr())
	return nil
}
