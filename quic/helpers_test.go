package quic

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
)

// patience is how long anything may take that must happen.
const patience = 20 * time.Second

// start makes a reactor that is shut down when the test ends, and checked for what it leaves behind.
func start(t testing.TB, cfg reactor.Config) *reactor.Reactor {
	t.Helper()
	return startAll(t, 1, cfg)[0]
}

// startAll makes several, which are shut down one after the other, and checked together.
func startAll(t testing.TB, n int, cfg reactor.Config) []*reactor.Reactor {
	t.Helper()
	if p, q, err := os.Pipe(); err == nil { // the runtime's own poller keeps two descriptors from its first use on
		_, _ = p.Close(), q.Close()
	}
	fds := countFDs(t)
	ignore := goleak.IgnoreCurrent()
	cfg.Poison = true
	if cfg.Loops == 0 {
		cfg.Loops = 2
	}
	if cfg.ShutdownGrace == 0 {
		cfg.ShutdownGrace = time.Second
	}
	var all []*reactor.Reactor
	for range n {
		r, err := reactor.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	t.Cleanup(func() {
		for _, r := range all {
			shutDown(t, r)
		}
		goleak.VerifyNone(t, ignore)
		waitFor(t, "descriptors", func() bool { return countFDs(t) <= fds })
	})
	return all
}

// shutDown shuts a reactor down, if the test has not, and looks for buffers left behind.
func shutDown(t testing.TB, r *reactor.Reactor) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) { // by Close before
		t.Errorf("Shutdown: %v", err)
	}
	for _, l := range r.Leaks() {
		t.Errorf("leaked buffer: %s", l)
	}
	if n := r.Stats().PoolOutstanding; n != 0 {
		t.Errorf("%d buffers outstanding", n)
	}
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
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("gave up waiting for %s", what)
		}
	}
}

// certificate makes a certificate for localhost, and the configuration that trusts it.
func certificate(t testing.TB) (server, client *stdtls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &stdtls.Config{Certificates: []stdtls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}}},
		&stdtls.Config{RootCAs: roots}
}

// pair is a listener and a dialer that trusts it.
type pair struct {
	r        *reactor.Reactor
	lis      *Listener
	d        *Dialer
	srv, cli *stdtls.Config
}

// newPair makes a pair. The configurations' missing parts are filled in; the listener echoes unless it has a protocol.
func newPair(t testing.TB, r *reactor.Reactor, lc ListenConfig, dc DialerConfig) *pair {
	t.Helper()
	p := &pair{r: r}
	p.srv, p.cli = certificate(t)
	if lc.TLS == nil {
		lc.TLS = p.srv
	}
	if dc.TLS == nil {
		dc.TLS = p.cli
	}
	if lc.Protocol == nil {
		lc.Protocol = sessions(t, &echoHandler{})
	}
	var err error
	if p.lis, err = Listen(r, "127.0.0.1:0", lc); err != nil {
		t.Fatal(err)
	}
	if p.d, err = NewDialer(r, dc); err != nil {
		t.Fatal(err)
	}
	return p
}

// dial connects to the pair's listener.
func (p *pair) dial(t testing.TB) *Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := p.d.Dial(ctx, p.lis.Addr().String())
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	return c
}

// sessions makes the protocol function of a handler's endpoint.
func sessions(t testing.TB, h framer.Handler) func(*reactor.Conn) reactor.Protocol {
	t.Helper()
	end, err := framer.NewEndpoint(h, framer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return func(c *reactor.Conn) reactor.Protocol { return end.Session(c) }
}

// open opens a stream with a session on it.
func open(t testing.TB, c *Conn, h framer.Handler) *framer.Session {
	t.Helper()
	end, err := framer.NewEndpoint(h, framer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	made := make(chan *framer.Session, 1)
	if _, err := c.OpenStream(OpenConfig{Protocol: func(rc *reactor.Conn) reactor.Protocol {
		s := end.Session(rc)
		made <- s
		return s
	}}); err != nil {
		t.Fatalf("open: %v", err)
	}
	return <-made
}

// echoHandler answers requests with their payload, and remembers the causes of closes.
type echoHandler struct {
	mu     sync.Mutex
	opened int
	closed []error
}

func (h *echoHandler) OnOpen(*framer.Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.opened++
}

func (h *echoHandler) OnFrame(s *framer.Session, f *framer.Frame) {
	if f.Flags&framer.FlagReq != 0 {
		_ = s.Reply(f, 200, f.Payload)
	}
}

func (h *echoHandler) OnClose(_ *framer.Session, cause error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = append(h.closed, cause)
}

// causes waits for n closes and returns their causes.
func (h *echoHandler) causes(t testing.TB, n int) []error {
	t.Helper()
	waitFor(t, fmt.Sprintf("%d closes", n), func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.closed) >= n
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]error(nil), h.closed...)
}

// ask sends a request of n bytes and checks that they come back.
func ask(s *framer.Session, n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p := make([]byte, n)
	_, _ = rand.Read(p)
	f, err := s.Ask(ctx, &framer.Frame{Header: framer.Header{AppProtoID: 7}, Payload: p})
	if err != nil {
		return err
	}
	if f.Code != 200 || !bytes.Equal(f.Payload, p) {
		return fmt.Errorf("reply %d with %d bytes, equal %v", f.Code, len(f.Payload), bytes.Equal(f.Payload, p))
	}
	return nil
}

// mustAsk is ask for replies that must come.
func mustAsk(t testing.TB, s *framer.Session, n int) {
	t.Helper()
	if err := ask(s, n); err != nil {
		t.Fatalf("ask with %d bytes: %v", n, err)
	}
}

// reasonOf is the canon's word for an error; "" without one.
func reasonOf(err error) string {
	if r, ok := err.(interface{ Reason() string }); ok {
		return r.Reason()
	}
	return ""
}

// connEvents is a ConnHandler that records.
type connEvents struct {
	mu     sync.Mutex
	opened []*Conn
	moved  int
	closed []connEnd
}

type connEnd struct {
	c     *Conn
	code  Code
	cause error
}

func (e *connEvents) OnConnOpen(c *Conn) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opened = append(e.opened, c)
}

func (e *connEvents) OnConnMigrated(*Conn, net.Addr) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.moved++
}

func (e *connEvents) OnConnClose(c *Conn, code Code, cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = append(e.closed, connEnd{c, code, cause})
}

// conn waits for the n-th connection that was opened.
func (e *connEvents) conn(t testing.TB, n int) *Conn {
	t.Helper()
	var c *Conn
	waitFor(t, "OnConnOpen", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.opened) <= n {
			return false
		}
		c = e.opened[n]
		return true
	})
	return c
}

// end waits for the n-th connection that has ended.
func (e *connEvents) end(t testing.TB, n int) connEnd {
	t.Helper()
	var end connEnd
	waitFor(t, "OnConnClose", func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		if len(e.closed) <= n {
			return false
		}
		end = e.closed[n]
		return true
	})
	return end
}

// script is a reactor.Protocol made of functions; nil ones do the least.
type script struct {
	c     *reactor.Conn
	open  func(*reactor.Conn)
	data  func(c *reactor.Conn, p []byte) (int, int, error)
	eof   func(*reactor.Conn) bool
	drain func(*reactor.Conn)
	close func(*reactor.Conn, error)
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
	if s.drain != nil {
		s.drain(s.c)
	}
}

func (s *script) OnGoodbye(error) {}

func (s *script) OnClose(err error) {
	if s.close != nil {
		s.close(s.c, err)
	}
}

// with makes the protocol function for a template.
func (s script) with(c *reactor.Conn) reactor.Protocol {
	s.c = c
	return &s
}

// echo sends everything back without copying it.
var echo = script{data: func(c *reactor.Conn, p []byte) (int, int, error) { return len(p), 0, c.WriteInPlace(p) }}

// openScript opens a stream for a template.
func openScript(t testing.TB, c *Conn, s script) *reactor.Conn {
	t.Helper()
	rc, err := c.OpenStream(OpenConfig{Protocol: s.with})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return rc
}

// closes records the causes given to OnClose.
type closes chan error

func (k closes) add(_ *reactor.Conn, err error) { k <- err }

// one waits for the next cause.
func (k closes) one(t testing.TB) error {
	t.Helper()
	select {
	case err := <-k:
		return err
	case <-time.After(patience):
		t.Fatal("gave up waiting for OnClose")
		return nil
	}
}
