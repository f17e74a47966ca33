package control

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// LinkConfig says how a Link connects.
type LinkConfig struct {
	Network, Addr string // as for Dial
	Auth          Auth
	// OnUp is called with each new connection, authenticated, to say again what tor forgets with a connection: events, services. An error
	// ends the connection, and another is tried later. ctx ends with ConnectTimeout and with Close. Required.
	OnUp func(ctx context.Context, c *Conn) error
	// OnDown is told of each failed attempt and each end of a connection, but that by Close. Optional.
	OnDown func(error)
	// OnEvent is Options.OnEvent.
	OnEvent func(Event)
	// BackoffMin and BackoffMax bound the pause before each new attempt, which doubles. 0: the defaults; else 1 ms … 1 h.
	BackoffMin, BackoffMax time.Duration
	// ConnectTimeout bounds connect, authentication and OnUp together. 0: the default; else 1 ms … 1 h.
	ConnectTimeout time.Duration
}

// Link keeps a control connection and replaces it when it breaks. OnUp and OnDown are called one at a time, on the Link's goroutine.
type Link struct {
	cfg    LinkConfig
	cancel context.CancelFunc
	done   chan struct{}

	mu   sync.Mutex
	conn *Conn         // nil while down
	err  error         // why it is down
	up   chan struct{} // closed when conn is set
}

// errNoAttempt is Link.Conn's error before the first attempt has ended.
var errNoAttempt = errors.New("not connected yet")

// NewLink validates cfg and begins to connect. Close must be called in the end. Any goroutine.
func NewLink(cfg LinkConfig) (*Link, error) {
	if cfg.Network != "unix" && cfg.Network != "tcp" {
		return nil, fmt.Errorf("control: Network is %q, allowed are unix and tcp", cfg.Network)
	}
	if cfg.OnUp == nil {
		return nil, errors.New("control: OnUp is nil, a function is required")
	}
	for _, f := range []struct {
		name string
		v    *time.Duration
		def  time.Duration
	}{{"BackoffMin", &cfg.BackoffMin, DefaultBackoffMin}, {"BackoffMax", &cfg.BackoffMax, max(DefaultBackoffMax, cfg.BackoffMin)},
		{"ConnectTimeout", &cfg.ConnectTimeout, DefaultConnectTimeout}} {
		if *f.v == 0 {
			*f.v = f.def
		}
		if *f.v < minTimeout || *f.v > maxTimeout {
			return nil, fmt.Errorf("control: %s is %v, allowed are %v to %v", f.name, *f.v, minTimeout, maxTimeout)
		}
	}
	if cfg.BackoffMax < cfg.BackoffMin {
		return nil, fmt.Errorf("control: BackoffMax is %v, allowed is BackoffMin, %v, or more", cfg.BackoffMax, cfg.BackoffMin)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Link{cfg: cfg, cancel: cancel, done: make(chan struct{}), up: make(chan struct{}), err: errNoAttempt}
	go l.run(ctx)
	return l, nil
}

// run connects again and again.
func (l *Link) run(ctx context.Context) {
	defer close(l.done)
	for pause := l.cfg.BackoffMin; ctx.Err() == nil; {
		c, err := l.connect(ctx)
		if err == nil {
			pause = l.cfg.BackoffMin
			l.set(c, nil)
			select {
			case <-c.Done():
				err = c.Err()
			case <-ctx.Done():
			}
			_ = c.Close()
			if err == nil {
				err = c.Err()
			}
			l.set(nil, err)
		} else {
			l.set(nil, err)
		}
		if ctx.Err() != nil {
			return
		}
		if l.cfg.OnDown != nil {
			l.cfg.OnDown(err)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, l.cfg.BackoffMax)
	}
}

// connect makes a connection that is ready for use.
func (l *Link) connect(ctx context.Context) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, l.cfg.ConnectTimeout)
	defer cancel()
	c, err := Dial(ctx, l.cfg.Network, l.cfg.Addr, Options{OnEvent: l.cfg.OnEvent})
	if err != nil {
		return nil, err
	}
	if _, err = c.Authenticate(ctx, l.cfg.Auth); err == nil {
		err = l.cfg.OnUp(ctx, c)
	}
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// set notes the connection, or why there is none.
func (l *Link) set(c *Conn, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case c != nil:
		close(l.up)
	case l.conn != nil:
		l.up = make(chan struct{})
	}
	l.conn, l.err = c, err
}

// Conn is the connection, or ErrClosed with the last attempt's error in its chain while there is none. It may break at any moment.
// Any goroutine.
func (l *Link) Conn() (*Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		if errors.Is(l.err, ErrClosed) {
			return nil, l.err
		}
		return nil, fmt.Errorf("%w: %w", ErrClosed, l.err)
	}
	return l.conn, nil
}

// Wait waits until there is a connection. When ctx or the Link ends first, it returns what Conn does. Any goroutine but those of OnUp,
// OnDown and OnEvent.
func (l *Link) Wait(ctx context.Context) (*Conn, error) {
	l.mu.Lock()
	up := l.up
	l.mu.Unlock()
	select {
	case <-up:
	case <-l.done:
	case <-ctx.Done():
	}
	return l.Conn()
}

// Close ends the connection and waits until no function of LinkConfig is being called. Any goroutine but those of OnUp, OnDown and
// OnEvent.
func (l *Link) Close() error {
	l.cancel()
	<-l.done
	return nil
}
