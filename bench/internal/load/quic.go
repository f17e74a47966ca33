package load

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"runtime"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/sched"
	"github.com/ron-transport/ron-transport/quic"
	"github.com/ron-transport/ron-transport/reactor"
)

// quicNet carries the load on the library's QUIC: every conn is a stream.
type quicNet struct {
	loops  *reactor.Reactor
	dialer *quic.Dialer
	links  *links[*quic.Conn]
}

func newQUICNet(cfg *NetConfig) (*quicNet, error) {
	if cfg.Loops == 0 {
		cfg.Loops = runtime.GOMAXPROCS(0)
	}
	r, err := reactor.New(reactor.Config{
		Loops: cfg.Loops, HighWater: cfg.HighWater,
		IdleTimeout:  -1, // a load may be as slow as its timetable says
		BufferBudget: -1, // nor do marks shrink: the load bounds itself
	})
	if err != nil {
		return nil, err
	}
	tc := cfg.TLS.Clone()
	if tc.ClientSessionCache == nil { // to package quic that means one of its own
		tc.ClientSessionCache = noSessions{}
	}
	d, err := quic.NewDialer(r, quic.DialerConfig{Config: cfg.QUIC, TLS: tc, Early: cfg.Early})
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	n := &quicNet{loops: r, dialer: d}
	n.links = newLinks(func(ctx context.Context, c *conn) (*quic.Conn, error) {
		return d.DialOn(ctx, c.g.index, cfg.Addr) // the loop of its group
	}, func(c *quic.Conn) { c.Close(quic.CodeNone, nil) })
	return n, nil
}

// noSessions keeps none, so that every handshake is a full one.
type noSessions struct{}

func (noSessions) Get(string) (*stdtls.ClientSessionState, bool) { return nil, false }
func (noSessions) Put(string, *stdtls.ClientSessionState)        {}

// earlyPoll is the pause before a stream is opened again whose server has rejected 0-RTT, and not completed the handshake yet.
const earlyPoll = time.Millisecond

func (n *quicNet) dial(c *conn) {
	oc := quic.OpenConfig{Protocol: func(t *reactor.Conn) reactor.Protocol {
		c.t = t
		return c
	}}
	n.links.dial(c, func(ctx context.Context, raw *quic.Conn) error {
		for {
			_, err := raw.OpenStream(oc)
			if !errors.Is(err, quic.ErrEarlyRejected) || sched.Sleep(ctx, earlyPoll) != nil {
				return err
			}
		}
	})
}

func (n *quicNet) forget(c *conn) { n.links.forget(c) }

func (n *quicNet) close() error {
	n.links.close()
	return closeLoops([]*reactor.Reactor{n.loops})
}

func (n *quicNet) session(_ []*conn, s *report.Session) {
	n.links.each(func(c *quic.Conn) { addQUIC(c, s) })
}

func (n *quicNet) state(c *conn, s *report.Session) {
	n.links.of(c, func(c *quic.Conn) { addQUIC(c, s) })
}

func addQUIC(c *quic.Conn, s *report.Session) {
	st := c.State()
	s.Established++
	if st.Resumed {
		s.Resumed++
	}
	if st.UsedEarly {
		s.Early++
	}
	s.Suite, s.Group = st.Suite, st.Group
}
