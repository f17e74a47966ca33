package reactor

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"
)

// script is a Protocol made of functions; nil ones do the least.
type script struct {
	c       *Conn
	open    func(*Conn)
	data    func(c *Conn, p []byte) (int, int, error)
	eof     func(*Conn) bool
	drained func(*Conn)
	goodbye func(*Conn, error)
	close   func(*Conn, error)
}

func (s *script) OnOpen() {
	if s.open != nil {
		s.open(s.c)
	}
}

func (s *script) OnData(p []byte) (int, int, error) {
	if s.data != nil {
		return s.data(s.c, p)
	}
	return len(p), 0, nil
}

func (s *script) OnEOF() bool { return s.eof != nil && s.eof(s.c) }

func (s *script) OnDrained() {
	if s.drained != nil {
		s.drained(s.c)
	}
}

func (s *script) OnGoodbye(err error) {
	if s.goodbye != nil {
		s.goodbye(s.c, err)
	}
}

func (s *script) OnClose(err error) {
	if s.close != nil {
		s.close(s.c, err)
	}
}

// with makes the Protocol function for a template.
func (s script) with(c *Conn) Protocol {
	s.c = c
	return &s
}

// echo sends everything back without copying it.
var echo = script{data: func(c *Conn, p []byte) (int, int, error) { return len(p), 0, c.WriteInPlace(p) }}

// slowest is what a test gives a connection that must not be ended for want of speed: a busy machine with the race detector
// may leave one alone for longer than the defaults allow.
const slowest = 5 * time.Minute

// start makes a reactor that is shut down, and checked for leaks, when the test ends.
func start(t testing.TB, cfg Config) *Reactor {
	t.Helper()
	return startOn(t, cfg, linux{base: time.Now()})
}

// startOn is start with a kernel of the test's own.
func startOn(t testing.TB, cfg Config, sys kernel) *Reactor {
	t.Helper()
	if p, q, err := os.Pipe(); err == nil { // the runtime's own poller keeps two descriptors from its first use on
		_, _ = p.Close(), q.Close()
	}
	before := countFDs(t)
	goroutines := runtime.NumGoroutine()
	cfg.Poison = true
	if cfg.Loops == 0 {
		cfg.Loops = 2
	}
	if cfg.LingerTimeout == 0 {
		cfg.LingerTimeout = 500 * time.Millisecond
	}
	if cfg.ShutdownGrace == 0 {
		cfg.ShutdownGrace = 500 * time.Millisecond
	}
	for _, d := range []*time.Duration{&cfg.HandshakeTimeout, &cfg.FrameTimeout, &cfg.WriteTimeout} {
		if *d == 0 {
			*d = slowest
		}
	}
	if cfg.MinRate == 0 {
		cfg.MinRate = -1
	}
	r, err := newReactor(cfg, sys)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { checkLeaks(t, r, before, goroutines) })
	return r
}

// checkLeaks shuts r down and looks for buffers, descriptors and goroutines left behind.
func checkLeaks(t testing.TB, r *Reactor, fds, goroutines int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := r.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	for _, l := range r.Leaks() {
		t.Errorf("leaked buffer: %s", l)
	}
	if n := r.Stats().PoolOutstanding; n != 0 {
		t.Errorf("%d buffers outstanding", n)
	}
	for _, l := range r.loops {
		if s := l.pool.Stats(); s.DoubleReleases+s.Corruptions > 0 {
			t.Errorf("pool of loop %d: %d double releases, %d corruptions: %v", l.id, s.DoubleReleases, s.Corruptions, l.pool.Faults())
		}
	}
	waitFor(t, "descriptors", func() bool { return countFDs(t) <= fds })
	waitFor(t, "goroutines", func() bool { return runtime.NumGoroutine() <= goroutines })
}

func countFDs(t testing.TB) int {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// waitFor waits for a condition that must come true.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for %s", what)
		}
	}
}

// listen starts a listener for a template.
func listen(t testing.TB, r *Reactor, s script) *Listener {
	t.Helper()
	lis, err := r.Listen("tcp", "127.0.0.1:0", ListenConfig{Protocol: s.with})
	if err != nil {
		t.Fatal(err)
	}
	return lis
}

// dialNet connects with the standard library.
func dialNet(t testing.TB, lis *Listener) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	return c.(*net.TCPConn)
}

// closes records the causes given to OnClose.
type closes struct {
	mu  sync.Mutex
	got []error
}

func (k *closes) add(_ *Conn, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.got = append(k.got, err)
}

func (k *closes) all() []error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]error(nil), k.got...)
}

// one waits for the first cause.
func (k *closes) one(t testing.TB) error {
	t.Helper()
	waitFor(t, "OnClose", func() bool { return len(k.all()) > 0 })
	return k.all()[0]
}

// checkBlocksComeBack sends count blocks, of up to 2^bits bytes each, in pieces of up to piece bytes, ends the stream, and
// compares what an echo of blocks sends back.
func checkBlocksComeBack(t testing.TB, c interface {
	io.ReadWriter
	CloseWrite() error
}, rng *rand.Rand, count, bits, piece int) {
	t.Helper()
	var sent []byte
	for range count {
		n := rng.IntN(1 << rng.IntN(bits))
		sent = append(sent, byte(n>>16), byte(n>>8), byte(n), 0)
		for range n {
			sent = append(sent, byte(rng.Uint32()))
		}
	}
	go func() {
		for p := sent; len(p) > 0; {
			k := min(len(p), 1+rng.IntN(piece))
			_, _ = c.Write(p[:k])
			p = p[k:]
		}
		_ = c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d of %d bytes came back, equal %v, %v", len(got), len(sent), bytes.Equal(got, sent), err)
	}
}
