package load

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"runtime"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/quic"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls"
	"github.com/ron-transport/ron-transport/tor"
)

// NetConfig says how a fleet connects.
type NetConfig struct {
	Transport  string         // TLS, TCP, QUIC, StockQUIC, Tor
	Addr       string         // host:port
	ServerName string         // for TLS
	TLS        *stdtls.Config // nil: plain TCP
	AESGCM     tls.AESGCM     // on TLS: who encrypts
	Verified   string         // how TLS verifies the server, in words, for the report
	Loops      int            // event loops; 0: one per core
	Early      bool           // QUIC: connections can be used for 0-RTT where a session is resumed
	QUIC       quic.Config    // of the library's QUIC
	HighWater  int            // likewise: see Config.HighWater
	Tor        *tor.Tor       // for Tor: what dials; ready
	Circuits   int            // for Tor: over how many the connections are spread; 0: 1
}

// Transports that a fleet can use.
const (
	TLS       = "tls"
	TCP       = "tcp"
	QUIC      = "quic"    // the library's
	StockQUIC = "quic-go" // quic-go alone, as a careful programmer would use it
	Tor       = "tor"     // onion connections
)

// carrier is what makes the connections of one kind of transport.
type carrier interface {
	// dial begins to connect c, on the loop of its group. The outcome goes to Fleet.ready, once.
	dial(c *conn)
	// forget is told that c, which Fleet.Warm has made, has ended.
	forget(c *conn)
	// state adds what the connection of c, which is open, has negotiated. Loop only.
	state(c *conn, s *report.Session)
	// session adds what the connections have negotiated. After close, too.
	session(conns []*conn, s *report.Session)
	// close says goodbye on every connection and returns when no callback is under way any more.
	close() error
}

// Net is the client side of a transport. For one goroutine.
type Net struct {
	cfg NetConfig
	carrier
}

// NewNet starts what carries a load. The caller calls Close, in the end.
func NewNet(cfg NetConfig) (*Net, error) {
	n := &Net{cfg: cfg}
	var err error
	switch cfg.Transport {
	case QUIC:
		n.carrier, err = newQUICNet(&n.cfg)
	case StockQUIC:
		n.carrier = newStockNet(&n.cfg)
	case Tor:
		n.carrier, err = newTorNet(&n.cfg)
	default:
		n.carrier, err = newLoopNet(&n.cfg)
	}
	return n, err
}

// Close says goodbye on every connection and ends what NewNet has started.
func (n *Net) Close() error { return n.close() }

// loopNet carries the load on the library's TCP and TLS. Each loop is a reactor of its own, so that a connection's loop is
// known before it is made.
type loopNet struct {
	cfg    *NetConfig
	loops  []*reactor.Reactor
	client *tls.Client // nil: plain TCP
}

func newLoopNet(cfg *NetConfig) (*loopNet, error) {
	n := &loopNet{cfg: cfg}
	if cfg.TLS != nil {
		var err error
		if n.client, err = tls.NewClient(tls.Config{TLS: cfg.TLS, AESGCM: cfg.AESGCM}); err != nil {
			return nil, err
		}
	}
	var err error
	n.loops, err = newLoops(cfg)
	return n, err
}

// newLoops starts the reactors of a client.
func newLoops(cfg *NetConfig) ([]*reactor.Reactor, error) {
	if cfg.Loops == 0 {
		cfg.Loops = runtime.GOMAXPROCS(0)
	}
	rc := reactor.Config{
		Loops:            1,
		HandshakeWorkers: max(1, 2*runtime.GOMAXPROCS(0)/cfg.Loops),
		IdleTimeout:      -1, // a load may be as slow as its timetable says
		HandshakeTimeout: dialTimeout,
	}
	var loops []*reactor.Reactor
	for range cfg.Loops {
		r, err := reactor.New(rc)
		if err != nil {
			return nil, errors.Join(err, closeLoops(loops))
		}
		loops = append(loops, r)
	}
	return loops, nil
}

// closeTimeout is how long goodbyes may take.
const closeTimeout = 2 * time.Second

// closeLoops says goodbye on every connection and ends the loops. Connections whose server does not answer are aborted.
func closeLoops(loops []*reactor.Reactor) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	for _, r := range loops {
		if err := r.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (n *loopNet) close() error { return closeLoops(n.loops) }

func (n *loopNet) forget(*conn) {}

func (n *loopNet) dial(c *conn) {
	dc := reactor.DialConfig{Protocol: func(t *reactor.Conn) reactor.Protocol {
		c.t = t
		return c
	}}
	if n.client != nil {
		c.tls = n.client.Conn(n.cfg.ServerName)
		dc.Filter = func() reactor.Filter { return c.tls }
	}
	if _, err := n.loops[c.slot()%len(n.loops)].Dial("tcp", n.cfg.Addr, dc); err != nil {
		c.notOpened(err)
	}
}

func (n *loopNet) session(conns []*conn, s *report.Session) {
	for _, c := range conns {
		n.state(c, s)
	}
}

func (n *loopNet) state(c *conn, s *report.Session) {
	s.Established++
	if c.tls == nil {
		return
	}
	st := c.tls.State()
	if st.Resumed {
		s.Resumed++
	}
	s.Suite, s.Group = stdtls.CipherSuiteName(st.CipherSuite), st.Group.String()
	if st.CipherSuite != stdtls.TLS_CHACHA20_POLY1305_SHA256 {
		s.AESGCM = n.client.AESGCM().String()
	}
}

// Session sums up what the connections negotiated.
func (f *Fleet) Session() report.Session {
	var s report.Session
	if f.errands == nil {
		f.net.session(f.conns, &s)
	} else {
		for _, g := range f.groups {
			s.Add(&g.fresh.session)
		}
	}
	if s.Suite != "" {
		s.Verified = f.net.cfg.Verified
	}
	return s
}
