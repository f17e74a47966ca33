package reactor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ron-transport/ron-transport/pool"
)

// Reactor is a set of event loops and the connections on them.
type Reactor struct {
	cfg     Config
	sys     kernel
	loops   []*loop
	workers *workers
	onPanic func(v any)
	events  *events // nil without a logger

	peers    *peers        // nil without limits per peer
	maxConns atomic.Int64  // Config.MaxConns; see SetMaxConns
	admitted atomic.Int64  // accepted connections that count for MaxConns
	refusals atomic.Uint64 // connections that were not admitted (Admit)

	mu        sync.Mutex
	listeners []*Listener
	services  []Service
	stopped   bool
	stopOnce  sync.Once
	stopErr   error
}

// New validates cfg and starts the loops. Shutdown or Close must be called in the end.
func New(cfg Config) (*Reactor, error) { return newReactor(cfg, linux{base: time.Now()}) }

// newReactor is New on a given kernel.
func newReactor(cfg Config, sys kernel) (*Reactor, error) {
	r, err := makeReactor(cfg, sys)
	if err != nil {
		return nil, err
	}
	for _, l := range r.loops {
		go l.run()
	}
	return r, nil
}

// makeReactor does all of that but start the loops.
func makeReactor(cfg Config, sys kernel) (*Reactor, error) {
	r := &Reactor{cfg: cfg.withDefaults(), sys: sys}
	if err := r.cfg.validate(); err != nil {
		return nil, err
	}
	r.maxConns.Store(int64(r.cfg.MaxConns))
	r.peers = newPeers(&r.cfg)
	if r.cfg.Logger != nil {
		r.events = newEvents(r.cfg.Logger)
	}
	r.workers = newWorkers(r.cfg.HandshakeWorkers)
	for i := range r.cfg.Loops {
		l, err := r.newLoop(i)
		if err != nil {
			for _, l := range r.loops {
				l.teardown()
			}
			return nil, err
		}
		r.loops = append(r.loops, l)
	}
	return r, nil
}

// newLoop makes a loop that is not running yet.
func (r *Reactor) newLoop(id int) (*loop, error) {
	p, err := pool.New(pool.Options{CacheBytes: r.cfg.PoolBytes, Poison: r.cfg.Poison})
	if err != nil {
		return nil, fmt.Errorf("reactor: PoolBytes: %w", err)
	}
	l := &loop{r: r, id: id, pool: p, idle: make(chan struct{}), done: make(chan struct{}), events: make([]unix.EpollEvent, eventsPerWait)}
	l.high, l.low = r.cfg.HighWater, r.cfg.LowWater
	l.cipher = make([]byte, r.cfg.ReadBuffer+recordRoom)
	l.gathered = make([]byte, recordMax+1)
	l.now = r.sys.now()
	l.wheel.tick = l.now/int64(wheelTick) + 1
	var errno unix.Errno
	if l.ep, errno = r.sys.epollCreate(); errno != 0 {
		return nil, ioError("epoll_create1", errno)
	}
	if l.efd, errno = r.sys.eventfd(); errno != 0 {
		r.sys.close(l.ep)
		return nil, ioError("eventfd", errno)
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | epollET, Fd: wakeToken}
	if errno = r.sys.epollAdd(l.ep, l.efd, &ev); errno != 0 {
		r.sys.close(l.efd)
		r.sys.close(l.ep)
		return nil, ioError("epoll_ctl", errno)
	}
	l.spare = r.sys.spare()
	return l, nil
}

// lightest is the loop with the fewest connections; near where that makes no difference.
func (r *Reactor) lightest(near *loop) *loop {
	best, load := near, near.load.Load()
	for _, l := range r.loops {
		if n := l.load.Load(); n < load {
			best, load = l, n
		}
	}
	return best
}

// DialConfig says what becomes of a dialled connection.
type DialConfig struct {
	// Protocol makes the connection's protocol, before Dial returns. Required. Its OnOpen is called when connect and
	// handshake have succeeded, its OnClose with the cause when they have not. Called on the goroutine that dials; it may
	// keep the Conn, to be used once Dial has returned. When Dial returns an error, no method of it is called.
	Protocol func(*Conn) Protocol
	// Filter makes the connection's filter; nil: plain. Called on the goroutine that dials.
	Filter func() Filter
	// Near puts the connection on the loop of this one; nil: on the loop with the fewest. A gateway wants that for the two
	// ends of a Pipe: their protocols may then call each other's loop-only methods directly, and the marks are exact.
	Near *Conn
	// Timeout bounds connect and handshake together, in place of Config.HandshakeTimeout: a way that is slow by nature, such as
	// Tor, needs more. 0: Config.HandshakeTimeout; negative: none; else 10 ms … 24 h.
	Timeout time.Duration
}

// Dial starts connecting to addr and returns at once; host names are looked up first, which may block. network is as for
// Listen. Errors of the connection itself go to the protocol's OnClose. Any goroutine.
func (r *Reactor) Dial(network, addr string, dc DialConfig) (*Conn, error) {
	if dc.Protocol == nil {
		return nil, errors.New("reactor: DialConfig.Protocol is nil, a function is required")
	}
	if err := timeoutError("DialConfig.Timeout", dc.Timeout); err != nil {
		return nil, err
	}
	sa, family, err := resolve(network, addr)
	if err != nil {
		return nil, err
	}
	fd, err := r.socket(family)
	if err != nil {
		return nil, &Error{Why: ReasonIO, Msg: "dial " + addr, Err: err}
	}
	l := r.lightest(r.loops[0])
	if dc.Near != nil {
		if l = dc.Near.loop; l.r != r {
			_ = unix.Close(fd)
			return nil, errors.New("reactor: DialConfig.Near is a connection of another reactor, one of this reactor is required")
		}
	}
	l.load.Add(1)
	o := &connOptions{filter: dc.Filter, addr: unconnected(family), peer: &net.UnixAddr{Net: "unix", Name: addr}, timeout: dc.Timeout}
	c := &Conn{loop: l, fd: int32(fd), slot: -1, opts: o, wtick: -1, dialled: true}
	ok := false
	defer func() {
		if !ok { // also when Filter or Protocol has panicked
			l.load.Add(-1)
			_ = unix.Close(fd)
			if c.filter != nil {
				c.filter.Release()
			}
		}
	}()
	if o.filter != nil {
		c.filter = o.filter()
	}
	c.remote = addrPort(sa)
	c.proto = dc.Protocol(c)
	if err := l.push(task{kind: taskDial, c: c, sa: sa}); err != nil {
		return nil, err
	}
	ok = true
	return c, nil
}

// forget takes a closed listener off the list.
func (r *Reactor) forget(lis *Listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, l := range r.listeners {
		if l == lis {
			r.listeners = append(r.listeners[:i], r.listeners[i+1:]...)
			return
		}
	}
}

// Shutdown stops accepting, lets every protocol say goodbye, drains all connections, and stops the loops. When ctx ends
// first, what is left is aborted and ctx's error returned. A Config.Logger that is stuck is waited for as long as ctx, but for a second at
// least; what it is still to be told is then left to its goroutine. Later calls wait and return the same. Any goroutine except a
// loop's.
func (r *Reactor) Shutdown(ctx context.Context) error {
	r.stopOnce.Do(func() { r.stopErr = r.shutdown(ctx) })
	return r.stopErr
}

// Close is Shutdown without patience: connections are aborted. Any goroutine except a loop's.
func (r *Reactor) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Config is the configuration in force: New's, with the defaults in place of zeros. A PoolBytes of 0 stays: it is the pool's default.
// It is a copy. Any goroutine.
func (r *Reactor) Config() Config { return r.cfg }

// Loops is the number of loops. Any goroutine.
func (r *Reactor) Loops() int { return len(r.loops) }

// Leaks returns a line for each buffer that is still held, with the stack that took it. Only with Config.Poison, and
// only after Shutdown. Any goroutine.
func (r *Reactor) Leaks() []string {
	var all []string
	for _, l := range r.loops {
		all = append(all, l.pool.Leaks()...)
	}
	return all
}
