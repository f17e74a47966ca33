// Package load is the load client: a fleet of connections to one server that carries an open or a closed loop of echo
// requests, checks every reply and keeps the latencies. Everything per frame happens in callbacks on the reactor's loops;
// there is no goroutine per connection and no allocation per frame.
package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/sched"
)

// statusOK is the code of a good reply.
const statusOK = 200

// statusUnavailable on corr_id 0 is a server's goodbye.
const statusUnavailable = 503

// stage is what the fleet is doing. It only moves forward.
type stage = int32

const (
	stageOpen stage = iota // connections are being made
	stageLoad              // the load is under way, its warm-up and drain included
	stageDone              // what is still in flight counts as unanswered; closing connections is no failure
)

// Fleet is a set of connections to one server. Its methods are for one goroutine, the controller, unless they say
// otherwise.
type Fleet struct {
	cfg   Config
	net   *Net
	dial  func(*conn)  // net's
	clock func() int64 // nanoseconds since the fleet was made: all offsets are of this clock
	plan  sched.Plan
	stage atomic.Int32

	groups  []*group // one per loop of the reactor
	conns   []*conn
	errands *errands // of a cold load; else nil

	// The window as offsets. Until the load starts both are never; end moves forward when the load is cut short.
	begin, end atomic.Int64
	origin     int64 // offset of the timetable's first request
	every      int64 // length of the intervals of a series; 0: none is kept

	live   atomic.Int64 // connections that are ready and have not ended
	opened chan opened

	mu       sync.Mutex // guards what follows
	firstErr error
	dialErrs int
}

// opened is the outcome of one dial.
type opened struct {
	c   *conn
	err error
}

// NewFleet prepares a fleet; Open connects it.
func NewFleet(cfg Config, n *Net) (*Fleet, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	zero := time.Now()
	f := &Fleet{cfg: cfg, net: n, dial: func(c *conn) { n.dial(c) }, clock: func() int64 { return int64(time.Since(zero)) }, opened: make(chan opened, cfg.underWay())}
	if cfg.open() {
		var err error
		lines := cfg.lines()
		if cfg.Cold {
			lines = 1 // connections have no timetable of their own
		}
		if f.plan, err = sched.New(cfg.RPS, lines); err != nil {
			return nil, err
		}
	}
	f.begin.Store(never)
	f.end.Store(never)
	for i := range n.cfg.Loops {
		f.groups = append(f.groups, newGroup(f, i))
	}
	return f, nil
}

// now is the current offset. Any goroutine.
func (f *Fleet) now() int64 { return f.clock() }

// note keeps the first cause of trouble. Any goroutine.
func (f *Fleet) note(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.firstErr == nil {
		f.firstErr = err
	}
}

// ready reports the outcome of a dial to Open, or that a fresh connection is over to errands. Loop only; never blocks, because there is room
// for as many as are under way at most.
func (f *Fleet) ready(c *conn, err error) { f.opened <- opened{c, err} }

// orUnexpected gives a clean close in the midst of a load a cause.
func orUnexpected(cause error) error {
	if cause == nil {
		return errors.New("the server closed the connection")
	}
	return cause
}

// Open connects the whole fleet, and opens its streams, a bounded number at a time. With warm it calls Warm first. Connections that fail are
// counted; it is an error only when none succeeds, or ctx ends. A cold load only makes the connection of Warm, which shows that the server is
// there. progress may be nil; it is told how many are ready.
func (f *Fleet) Open(ctx context.Context, warm bool, progress func(ready int)) error {
	if warm || f.cfg.Cold {
		if err := f.Warm(ctx); err != nil {
			return err
		}
	}
	if f.cfg.Cold {
		f.errands = newErrands(f)
		return nil
	}
	first, pending := 0, 0
	for first < f.cfg.lines() || pending > 0 {
		for first < f.cfg.lines() && pending < dialsAtOnce {
			c := newConn(f, first)
			first++
			pending++
			f.dial(c)
		}
		o, err := f.await(ctx)
		if err != nil {
			return err
		}
		pending--
		f.count(o)
		if progress != nil {
			progress(len(f.conns))
		}
	}
	if len(f.conns) == 0 {
		return fmt.Errorf("no connection to %s: %w", f.net.cfg.Addr, f.FirstError())
	}
	return nil
}

func (f *Fleet) await(ctx context.Context) (opened, error) {
	select {
	case o := <-f.opened:
		return o, nil
	case <-ctx.Done():
		return opened{}, ctx.Err()
	}
}

func (f *Fleet) count(o opened) {
	if o.err != nil {
		f.dialErrs++
		f.note(o.err)
		return
	}
	f.conns = append(f.conns, o.c)
}

// Ready is how many connections were established; where there are streams, how many of them.
func (f *Fleet) Ready() int { return len(f.conns) }

// FirstError is the cause of the first failed dial or lost connection, nil when there was none. Any goroutine.
func (f *Fleet) FirstError() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.firstErr
}

// EchoSample echoes one frame on n of the connections, evenly chosen, outside any load, and returns on how many that failed.
func (f *Fleet) EchoSample(ctx context.Context, n int) (failed int, err error) {
	n = min(n, len(f.conns))
	sample := make([]*conn, 0, n)
	for i := range n {
		sample = append(sample, f.conns[i*len(f.conns)/n])
	}
	return f.echoOnce(ctx, sample)
}

// Warm makes one connection outside the fleet, echoes one frame on it and closes it: what a first connection costs once
// is then paid, and its session ticket has arrived before others ask to resume.
func (f *Fleet) Warm(ctx context.Context) error {
	c := newConn(f, f.cfg.lines()) // a number of its own
	f.dial(c)
	o, err := f.await(ctx)
	if err != nil {
		return err
	}
	if o.err != nil {
		return fmt.Errorf("connect to %s: %w", f.net.cfg.Addr, o.err)
	}
	bad, err := f.echoOnce(ctx, []*conn{c})
	if err != nil || bad > 0 {
		return errors.Join(err, fmt.Errorf("no echo from %s on the first connection", f.net.cfg.Addr))
	}
	defer f.net.forget(c)
	return f.retire(ctx, c)
}
