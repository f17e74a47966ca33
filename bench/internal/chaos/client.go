package chaos

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/quic"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls"
)

// statusOK is the code of a good reply; another one on corr_id 0 is a server's goodbye.
const statusOK = 200

// noStage is the stage of requests that are of none.
const noStage = -1

// Config is a client. New validates it.
type Config struct {
	Addr    string         // host:port
	TLS     *stdtls.Config // of the handshake
	QUIC    bool           // else TLS over TCP
	Conns   int            // connections
	Streams int            // of each, on QUIC; else 1
	Depth   int            // closed loop: requests in flight per stream
	RPS     int            // open loop: requests due per second over all
	Payload int            // bytes of each request and each reply
	// Idle is the time without any byte after which the client gives a connection up, DialTimeout the bound on connect and handshake.
	// 0: never, and 10 s.
	Idle, DialTimeout time.Duration
}

func (c *Config) validate() error {
	var errs []error
	for _, f := range []struct {
		name      string
		v, lo, hi int
	}{
		{"Conns", c.Conns, 1, MaxLines}, {"Streams", c.Streams, 1, max(1, MaxLines/max(1, c.Conns))}, {"Depth", c.Depth, 1, MaxDepth},
		{"RPS", c.RPS, 1, MaxRPS}, {"Payload", c.Payload, MinPayload, MaxPayload},
	} {
		if f.v < f.lo || f.v > f.hi {
			errs = append(errs, fmt.Errorf("chaos: %s %d is not allowed; allowed: %d to %d", f.name, f.v, f.lo, f.hi))
		}
	}
	if !c.QUIC && c.Streams != 1 {
		errs = append(errs, fmt.Errorf("chaos: Streams %d is not allowed on TLS; allowed: 1", c.Streams))
	}
	return errors.Join(errs...)
}

// Mode is how a stage asks.
type Mode string

const (
	Quiet  Mode = "quiet"  // nothing new
	Open   Mode = "open"   // by the timetable; latency counts from the due time
	Closed Mode = "closed" // a fixed number in flight; latency counts from the write
)

// Stage is a part of a client's life, and what was answered in it.
type Stage struct {
	Name    string       `json:"name"`
	Mode    Mode         `json:"mode"`
	AtS     float64      `json:"at_s"` // since the client's start
	LastS   float64      `json:"last_s"`
	Good    uint64       `json:"good"`          // replies that came in it
	FirstS  float64      `json:"first_reply_s"` // since the client's start; negative: none came
	Latency hist.Latency `json:"latency"`       // of the requests that were due, or written, in it, whenever they were answered

	lat *hist.Recorder
}

// Result is what a client has seen.
type Result struct {
	Stages []Stage `json:"stages"`
	Series Series  `json:"series"`
	Counts Counts  `json:"counts"`
	// Ends are connections that ended before the client closed them, by the reason of the canon; "" is a clean end by the server, which has not said why.
	Ends       map[string]uint64 `json:"ends"`
	Dialled    uint64            `json:"dialled"`     // connections that were open
	DialFailed uint64            `json:"dial_failed"` // dials that came to nothing
	FirstEnd   string            `json:"first_end,omitempty"`
}

// Status is a look at a client under way.
type Status struct {
	Good    uint64 `json:"good"`    // replies so far
	Awaited int    `json:"awaited"` // requests without one
	Live    int    `json:"live"`    // connections that are open
	Wrong   uint64 `json:"wrong"`
}

// Client is the load. Its methods are for one goroutine; what they touch is on the loop.
type Client struct {
	cfg     Config
	reactor *reactor.Reactor
	tls     *tls.Client
	dialer  *quic.Dialer // nil on TLS
	zero    time.Time
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc

	// Loop only from here on.
	books   *ledger
	links   []*link
	lines   []*line
	mode    Mode
	origin  int64  // of the timetable
	planned uint64 // requests of it that have fallen due
	stages  []Stage
	res     Result
	frame   []byte // scratch for one request
	closing bool   // ends of connections are ours
}

// New starts a client, which begins to connect. The caller calls Close.
func New(cfg Config) (*Client, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, zero: time.Now(), books: newLedger(cfg.Payload), mode: Quiet}
	c.res.Ends = make(map[string]uint64)
	c.frame = make([]byte, headerLen+cfg.Payload)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	idle := cfg.Idle
	if idle == 0 {
		idle = -1
	}
	var err error
	if c.tls, err = tls.NewClient(tls.Config{TLS: cfg.TLS}); err != nil {
		return nil, err
	}
	if c.reactor, err = reactor.New(reactor.Config{Loops: 1, IdleTimeout: idle, HandshakeTimeout: cfg.DialTimeout, HighWater: highWater(cfg)}); err != nil {
		return nil, err
	}
	if cfg.QUIC {
		qc := quic.Config{IdleTimeout: cfg.Idle, HandshakeTimeout: cfg.DialTimeout}
		if c.dialer, err = quic.NewDialer(c.reactor, quic.DialerConfig{Config: qc, TLS: c.tls.QUIC()}); err != nil {
			return nil, errors.Join(err, c.reactor.Close())
		}
	}
	for i := range cfg.Conns {
		k := &link{c: c, state: linkWaiting, pause: redialFirst}
		for j := range cfg.Streams {
			n := &line{link: k, index: i*cfg.Streams + j}
			k.lines = append(k.lines, n)
		}
		c.links = append(c.links, k)
	}
	for j := range cfg.Streams { // requests in turn go to connections in turn
		for i := range cfg.Conns {
			c.lines = append(c.lines, c.links[i].lines[j])
		}
	}
	if err := c.onLoop(func() {
		for _, k := range c.links {
			k.dial()
		}
	}); err != nil {
		return nil, errors.Join(err, c.reactor.Close())
	}
	go c.pumpLoop() // ends with ctx
	return c, nil
}

// highWater is the mark of a connection's output that the client's own requests never reach while a server answers: it has to read replies
// while it writes.
func highWater(cfg Config) int {
	return max(reactor.DefaultHighWater, cfg.Depth*(cfg.Payload+headerLen))
}

// now is the offset since the start, nanoseconds.
func (c *Client) now() int64 { return int64(time.Since(c.zero)) }

// onLoop runs fn on the loop and returns when it has run.
func (c *Client) onLoop(fn func()) error {
	done := make(chan struct{})
	if err := c.reactor.Post(0, func() { fn(); close(done) }); err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case <-c.ctx.Done():
		return c.ctx.Err()
	}
}

// pumpLoop looks at the timetable until the client ends.
func (c *Client) pumpLoop() {
	t := time.NewTicker(pumpEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if c.onLoop(func() { c.pump(c.now()) }) != nil {
				return
			}
		case <-c.ctx.Done():
			return
		}
	}
}

// pump hands out the timetable's requests that are due, and fills closed loops.
func (c *Client) pump(now int64) {
	c.bins(now)
	switch c.mode {
	case Open:
		for {
			due := c.origin + int64(c.planned)*int64(time.Second)/int64(c.cfg.RPS)
			if due > now {
				return
			}
			n := c.lines[c.planned%uint64(len(c.lines))]
			c.planned++
			c.res.Series.Due[min(bin(time.Duration(due)), len(c.res.Series.Due)-1)]++
			n.give(c.books.begin(n.index, len(c.stages)-1, due))
		}
	case Closed:
		for _, n := range c.lines {
			n.fill(now)
		}
	}
}

// bins makes room in the series for the offset now.
func (c *Client) bins(now int64) {
	for s := &c.res.Series; len(s.Due) <= bin(time.Duration(now)) && len(s.Due) < maxBins; {
		s.Due, s.Replies = append(s.Due, 0), append(s.Replies, 0)
	}
}

// Stage begins a new stage; the one before ends.
func (c *Client) Stage(name string, mode Mode) error {
	return c.onLoop(func() {
		now := c.now()
		c.endStage(now)
		c.stages = append(c.stages, Stage{Name: name, Mode: mode, AtS: time.Duration(now).Seconds(), FirstS: never, lat: hist.New()})
		if mode == Open && c.mode != Open {
			c.origin, c.planned = now, 0
		}
		c.mode = mode
		c.pump(now)
	})
}

func (c *Client) endStage(now int64) {
	if len(c.stages) == 0 {
		return
	}
	c.stages[len(c.stages)-1].LastS = time.Duration(now).Seconds()
}

// Status looks at the client.
func (c *Client) Status() (s Status, err error) {
	err = c.onLoop(func() {
		s = Status{Good: c.books.counts.Answered, Awaited: len(c.books.open), Wrong: c.books.counts.Wrong()}
		for _, k := range c.links {
			if k.state == linkOpen {
				s.Live++
			}
		}
	})
	return s, err
}

// Finish asks nothing new, waits until everything is answered or patience is over, and returns the books, closed. When all is answered each
// connection is asked for one more echo, which is of no stage: a second reply that is still on its way comes before that.
func (c *Client) Finish(ctx context.Context, patience time.Duration) (*Result, error) {
	if err := c.onLoop(func() {
		c.endStage(c.now())
		c.mode = Quiet
	}); err != nil {
		return nil, err
	}
	limit := time.Now().Add(patience)
	answered, err := c.settled(ctx, limit)
	if err == nil && answered {
		if err = c.onLoop(c.askLast); err == nil {
			_, err = c.settled(ctx, limit)
		}
	}
	if err != nil {
		return nil, err
	}
	var r Result
	err = c.onLoop(func() {
		c.closing = true
		c.books.close()
		c.res.Counts, c.res.Stages = c.books.counts, c.stages
		for i := range c.stages {
			c.stages[i].Latency = c.stages[i].lat.Summary()
		}
		r = c.res
	})
	return &r, err
}

// settled waits until everything is answered; false when the limit came first.
func (c *Client) settled(ctx context.Context, limit time.Time) (bool, error) {
	for time.Now().Before(limit) {
		s, err := c.Status()
		if err != nil || s.Awaited == 0 {
			return err == nil, err
		}
		select {
		case <-time.After(Bin / 4):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return false, nil
}

// askLast has each line that is connected ask once more.
func (c *Client) askLast() {
	for _, n := range c.lines {
		if n.on != nil {
			n.give(c.books.begin(n.index, noStage, c.now()))
		}
	}
}

// Close ends all connections and the loop.
func (c *Client) Close() error {
	_ = c.onLoop(func() { c.closing = true }) // fails when the loop has ended
	c.cancel()
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	err := c.reactor.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = nil
	}
	return err
}

// serverName is what the certificate has to be for.
func serverName(addr string) string {
	host, _, _ := net.SplitHostPort(addr) // the dial has its own opinion of a bad one
	return host
}
