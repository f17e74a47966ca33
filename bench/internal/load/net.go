package load

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"runtime"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls"
)

// NetConfig says how a fleet connects.
type NetConfig struct {
	Transport  string         // tls, tcp
	Addr       string         // host:port
	ServerName string         // for TLS
	TLS        *stdtls.Config // nil: plain TCP
	Verified   string         // how TLS verifies the server, in words, for the report
	Loops      int            // event loops; 0: one per core
}

// Net is the client side of the library: event loops and a TLS client. Each loop is a reactor of its own, so that a
// connection's loop is known before it is made. For one goroutine.
type Net struct {
	cfg    NetConfig
	loops  []*reactor.Reactor
	client *tls.Client // nil: plain TCP
}

// NewNet starts the loops. The caller calls Close, in the end.
func NewNet(cfg NetConfig) (*Net, error) {
	n := &Net{cfg: cfg}
	if cfg.TLS != nil {
		var err error
		if n.client, err = tls.NewClient(tls.Config{TLS: cfg.TLS}); err != nil {
			return nil, err
		}
	}
	if n.cfg.Loops == 0 {
		n.cfg.Loops = runtime.GOMAXPROCS(0)
	}
	rc := reactor.Config{
		Loops:            1,
		HandshakeWorkers: max(1, 2*runtime.GOMAXPROCS(0)/n.cfg.Loops),
		IdleTimeout:      -1, // a load may be as slow as its timetable says
		HandshakeTimeout: dialTimeout,
	}
	for range n.cfg.Loops {
		r, err := reactor.New(rc)
		if err != nil {
			return nil, errors.Join(err, n.Close())
		}
		n.loops = append(n.loops, r)
	}
	return n, nil
}

// closeTimeout is how long goodbyes may take.
const closeTimeout = 2 * time.Second

// Close says goodbye on every connection and ends the loops. Connections whose server does not answer are aborted.
func (n *Net) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	var errs []error
	for _, r := range n.loops {
		if err := r.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// dial begins to connect c, on the loop of its group. The outcome goes to Fleet.ready, once.
func (n *Net) dial(c *conn) {
	dc := reactor.DialConfig{Protocol: func(t *reactor.Conn) reactor.Protocol {
		c.t = t
		return c
	}}
	if n.client != nil {
		c.tls = n.client.Conn(n.cfg.ServerName)
		dc.Filter = func() reactor.Filter { return c.tls }
	}
	if _, err := n.loops[c.idx%len(n.loops)].Dial("tcp", n.cfg.Addr, dc); err != nil {
		c.notOpened(err)
	}
}

// session sums up what the connections negotiated.
func (f *Fleet) session() report.Session {
	s := report.Session{Established: len(f.conns)}
	for _, c := range f.conns {
		if c.tls == nil {
			continue
		}
		st := c.tls.State()
		if st.Resumed {
			s.Resumed++
		}
		s.Suite, s.Group, s.Verified = stdtls.CipherSuiteName(st.CipherSuite), st.Group.String(), f.net.cfg.Verified
	}
	return s
}
