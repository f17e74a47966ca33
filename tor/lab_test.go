package tor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tor/control"
)

// echo answers each frame with its payload.
type echo struct{ quiet }

func (echo) OnFrame(s *framer.Session, f *framer.Frame) { _ = s.Reply(f, 200, f.Payload) }

// quiet is a handler that does nothing.
type quiet struct{}

func (quiet) OnOpen(*framer.Session)                 {}
func (quiet) OnFrame(*framer.Session, *framer.Frame) {}
func (quiet) OnClose(*framer.Session, error)         {}

// caller is the handler of a client's connection. It tells how it opens and ends.
type caller struct {
	quiet
	opened chan struct{}
	closed chan error
}

func newCaller() *caller { return &caller{opened: make(chan struct{}), closed: make(chan error, 1)} }

func (c *caller) OnOpen(*framer.Session)             { close(c.opened) }
func (c *caller) OnClose(_ *framer.Session, e error) { c.closed <- e }

// client is one end of an onion connection.
type client struct {
	*caller
	s *framer.Session
	c *reactor.Conn
}

// dialTime is long for a dial on this network, which takes half a second.
const dialTime = 20 * time.Second

// dialOnce dials and waits until frames can flow.
func dialOnce(t testing.TB, tor *Tor, r *reactor.Reactor, addr, isolation string) (*client, error) {
	t.Helper()
	cl := &client{caller: newCaller()}
	e, err := framer.NewEndpoint(cl.caller, framer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	cl.c, err = tor.Dial(r, addr, DialConfig{Isolation: isolation, Timeout: dialTime, Protocol: func(c *reactor.Conn) reactor.Protocol { cl.s = e.Session(c); return cl.s }})
	if err != nil {
		return nil, err
	}
	select {
	case <-cl.opened:
		return cl, nil
	case err := <-cl.closed:
		return nil, err
	}
}

// connect dials until it succeeds, as a client does that heeds RetryAfter.
func connect(t testing.TB, tor *Tor, r *reactor.Reactor, addr, isolation string) *client {
	t.Helper()
	cl, err := connectWithin(t, 4*time.Minute, tor, r, addr, isolation)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	return cl
}

// connectWithin is connect with a bound.
func connectWithin(t testing.TB, limit time.Duration, tor *Tor, r *reactor.Reactor, addr, isolation string) (*client, error) {
	t.Helper()
	for end, forgot := time.Now().Add(limit), time.Now(); ; {
		cl, err := dialOnce(t, tor, r, addr, isolation)
		if err == nil {
			return cl, nil
		}
		var e *Error
		retry := errors.Is(err, reactor.ErrHandshakeTimeout) || errors.As(err, &e) && e.RetryAfter() > 0
		if !retry || time.Now().After(end) {
			return nil, err
		}
		// Tor remembers for two minutes which introduction points have failed, unless it is told to forget; it listens to that every ten seconds.
		if c, lost := tor.Control(); lost == nil && time.Since(forgot) > forgetEvery {
			_ = c.Signal(patient(t), control.SignalNewNym) // fails where the connection is lost
			forgot = time.Now()
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// forgetEvery is above the ten seconds within which tor takes one NEWNYM.
const forgetEvery = 11 * time.Second

// ask sends a request and checks that its payload comes back.
func (cl *client) ask(ctx context.Context, payload []byte) error {
	f, err := cl.s.Ask(ctx, &framer.Frame{Header: framer.Header{AppProtoID: 7}, Payload: payload})
	if err != nil {
		return err
	}
	if f.Code != 200 || !bytes.Equal(f.Payload, payload) {
		return fmt.Errorf("%d bytes with code %d came back for %d", len(f.Payload), f.Code, len(payload))
	}
	return nil
}

// pattern is a payload that no other seed has.
func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>8)*31 ^ byte(i)*7 ^ seed
	}
	return b
}

// history is what OnStatus has told.
type history struct {
	mu  sync.Mutex
	all []Status
}

func (h *history) add(s Status) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, s)
}

func (h *history) list() []Status {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Status(nil), h.all...)
}

// attach uses one of the private network's clients, and waits until it is ready.
func attach(t testing.TB, i int, cfg Config) *Tor {
	t.Helper()
	cfg.Control = "unix:" + network(t).Client(i).ControlSocket()
	tor, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tor.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := tor.WaitReady(patient(t)); err != nil {
		t.Fatal(err)
	}
	return tor
}

// own starts a tor of our own in the private network.
func own(t testing.TB, cfg Config) *Tor {
	t.Helper()
	cfg.Process.Options = append(network(t).Options(), cfg.Process.Options...)
	tor, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tor.Close(); err != nil {
			t.Error(err)
		}
	})
	return tor
}

// serve opens an onion service that echoes.
func serve(t testing.TB, tor *Tor, r *reactor.Reactor, cfg ServiceConfig) *Service {
	t.Helper()
	e, err := framer.NewEndpoint(echo{}, framer.Options{Ready: tor.Ready, Transports: []string{"tor"}})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen.Protocol = func(c *reactor.Conn) reactor.Protocol { return e.Session(c) }
	svc, err := tor.Listen(r, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := svc.Close(); err != nil {
			t.Error(err)
		}
	})
	return svc
}

// newClientKey makes a key pair.
func newClientKey(t testing.TB) control.ClientKey {
	t.Helper()
	k, err := control.GenerateClientKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}
