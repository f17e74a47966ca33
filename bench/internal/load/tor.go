package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/sched"
	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tor"
)

// Dials over Tor.
const (
	// torDialTime bounds one attempt, torDialPause is the pause before the next; tor itself says when a retry makes sense.
	torDialTime  = 30 * time.Second
	torDialPause = 200 * time.Millisecond
	// torDialTries bounds the attempts of one connection: what fails more often is down.
	torDialTries = 5
	// MaxHellos bounds what Hellos may be asked for.
	MaxHellos = 10_000
	// MaxCircuits bounds the circuits of a load: each costs every tor on its way memory and handshakes.
	MaxCircuits = 1024
)

// torNet carries the load on onion connections.
type torNet struct {
	cfg   *NetConfig
	loops []*reactor.Reactor

	mu     sync.Mutex // guards closed
	closed bool
	wg     sync.WaitGroup // dials that wait for their next attempt
	ctx    context.Context
	cancel context.CancelFunc
}

func newTorNet(cfg *NetConfig) (*torNet, error) {
	n := &torNet{cfg: cfg}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	var err error
	n.loops, err = newLoops(cfg)
	return n, err
}

// torAttempt is the protocol of one attempt: the conn itself, but for failures after which another attempt is made.
type torAttempt struct {
	*conn
	n    *torNet
	left int
	open bool
}

func (a *torAttempt) OnOpen() {
	a.open = true
	a.conn.OnOpen()
}

func (a *torAttempt) OnClose(cause error) {
	if a.open || a.left == 0 || !worthRetry(cause) || !a.n.later(func() { a.n.attempt(a.conn, a.left-1) }) {
		a.conn.OnClose(cause)
	}
}

// worthRetry says whether tor, or time, promises more for another attempt.
func worthRetry(cause error) bool {
	var e *tor.Error
	return errors.Is(cause, reactor.ErrHandshakeTimeout) || errors.As(cause, &e) && e.RetryAfter() > 0
}

// later calls fn after a pause, on a goroutine of its own; false when the net is being closed.
func (n *torNet) later(fn func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.wg.Go(func() {
		select {
		case <-time.After(torDialPause):
		case <-n.ctx.Done():
		}
		fn()
	})
	return true
}

func (n *torNet) dial(c *conn) { n.attempt(c, torDialTries-1) }

// attempt dials c once.
func (n *torNet) attempt(c *conn, left int) {
	isolation := fmt.Sprint("load ", c.slot()%max(n.cfg.Circuits, 1))
	_, err := n.cfg.Tor.Dial(n.loops[c.slot()%len(n.loops)], n.cfg.Addr, tor.DialConfig{
		Isolation: isolation, Timeout: torDialTime,
		Protocol: func(t *reactor.Conn) reactor.Protocol {
			c.t = t
			return &torAttempt{conn: c, n: n, left: left}
		},
	})
	switch {
	case err == nil:
	case left > 0 && worthRetry(err) && n.later(func() { n.attempt(c, left-1) }):
	case c.from != nil:
		c.dialFailed(err)
	default:
		c.notOpened(err)
	}
}

func (n *torNet) forget(*conn) {}

func (n *torNet) state(_ *conn, s *report.Session) { s.Established++ }

func (n *torNet) session(conns []*conn, s *report.Session) { s.Established = len(conns) }

func (n *torNet) close() error {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.cancel()
	n.wg.Wait()
	return closeLoops(n.loops)
}

// HelloConfig is a measurement of fresh connections.
type HelloConfig struct {
	Tor   *tor.Tor
	Addr  string // X.onion:port
	Count int    // connections, one after the other; 1 … MaxHellos
	// Circuits is over how many circuits they are spread; each has its own with Count.
	Circuits int
	Pause    time.Duration // between two
	Loops    int           // as NetConfig's
	// Progress is told how many are done.
	Progress func(done int)
	// Begin and End are called before the first and after the last, as Hooks'.
	Begin, End func()
}

// Hellos makes fresh onion connections and says HELLO on each. A latency is from the dial to the reply, attempts that tor asked to repeat
// included. One connection before them, which is not measured, has the client's tor fetch the service's descriptor.
func Hellos(ctx context.Context, cfg HelloConfig) (*report.Phase, error) {
	nc := NetConfig{Loops: cfg.Loops}
	loops, err := newLoops(&nc)
	if err != nil {
		return nil, err
	}
	defer func() { _ = closeLoops(loops) }()
	p := &report.Phase{Transport: Tor, Target: cfg.Addr, Mode: report.Hello, Conns: cfg.Count, Circuits: cfg.Circuits}
	first := "hello first"
	if cfg.Circuits < cfg.Count {
		first = "hello 0" // the circuit is there
	}
	if err := hello(ctx, loops[0], &cfg, first); err != nil {
		return nil, fmt.Errorf("no HELLO from %s: %w", cfg.Addr, err)
	}
	lat, began := hist.New(), time.Now()
	cfg.Begin()
	for i := range cfg.Count {
		isolation := fmt.Sprint("hello ", i%cfg.Circuits)
		if sched.Sleep(ctx, cfg.Pause) != nil {
			break
		}
		t0 := time.Now()
		if err := hello(ctx, loops[i%len(loops)], &cfg, isolation); err != nil {
			if ctx.Err() != nil {
				break
			}
			if p.Errors.DialFailed++; p.Errors.FirstError == "" {
				p.Errors.FirstError = err.Error()
			}
			continue
		}
		lat.Record(time.Since(t0))
		p.Frames++
		cfg.Progress(i + 1)
	}
	cfg.End()
	p.WindowS = time.Since(began).Seconds()
	p.Sent, p.Latency, p.Curve = p.Frames, lat.Summary(), report.CurveOf(lat)
	p.FPS = float64(p.Frames) / (p.WindowS - (time.Duration(p.Frames) * cfg.Pause).Seconds())
	p.Session.Established = int(p.Frames)
	return p, nil
}

// hello makes one connection, says HELLO, and closes it.
func hello(ctx context.Context, r *reactor.Reactor, cfg *HelloConfig, isolation string) error {
	for left := torDialTries - 1; ; left-- {
		err := helloOnce(ctx, r, cfg, isolation)
		if err == nil || left == 0 || !worthRetry(err) || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(torDialPause):
		case <-ctx.Done():
		}
	}
}

func helloOnce(ctx context.Context, r *reactor.Reactor, cfg *HelloConfig, isolation string) error {
	h := &helloHandler{ended: make(chan error, 1)}
	end, err := framer.NewEndpoint(h, framer.Options{})
	if err != nil {
		return err
	}
	var s *framer.Session
	c, err := cfg.Tor.Dial(r, cfg.Addr, tor.DialConfig{Isolation: isolation, Timeout: torDialTime, Protocol: func(c *reactor.Conn) reactor.Protocol {
		s = end.Session(c)
		return s
	}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, torDialTime)
	defer cancel()
	_, err = s.Hello(ctx, "ronbench")
	_ = c.Post(func() { c.Close(nil) }) // fails where it has ended
	if cause := <-h.ended; err != nil && cause != nil {
		return cause // says more than that the session is closed
	}
	return err
}

// helloHandler notes how a connection has ended.
type helloHandler struct{ ended chan error }

func (h *helloHandler) OnOpen(*framer.Session)                 {}
func (h *helloHandler) OnFrame(*framer.Session, *framer.Frame) {}
func (h *helloHandler) OnClose(_ *framer.Session, err error)   { h.ended <- err }
