package certs

import (
	"context"
	stdtls "crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls"
)

// serverOf makes the server that a Store feeds.
func serverOf(s *Store) *tls.Server {
	server, err := tls.NewServer(tls.Config{TLS: &stdtls.Config{GetCertificate: s.GetCertificate}})
	must(err)
	must(s.Attach(server))
	return server
}

func clientOf(cache stdtls.ClientSessionCache) *stdtls.Config {
	return &stdtls.Config{RootCAs: theCA().pool, ServerName: "a.test", NextProtos: []string{tls.ALPN}, ClientSessionCache: cache}
}

// pump moves the bytes of a handshake between two ends, in this goroutine.
func pump(t *testing.T, server, client *tls.Conn) {
	t.Helper()
	ends := []*tls.Conn{client, server}
	var wire [2][]byte // towards the end with that index
	var done [2]bool
	for range 20 {
		for i, c := range ends {
			for !done[i] {
				n, step, err := c.Handshake(wire[i])
				wire[i] = wire[i][n:]
				if err == nil && step {
					done[i], err = c.Step()
				}
				wire[1-i] = c.Output(wire[1-i])
				if err != nil {
					t.Fatal(err)
				}
				if !step {
					break
				}
			}
		}
		if done[0] && done[1] {
			send(t, nil, client, wire[0]) // the ticket
			return
		}
	}
	t.Fatal("the handshake does not end")
}

// send opens wire, or what from seals, at to.
func send(t *testing.T, from, to *tls.Conn, wire []byte) string {
	t.Helper()
	if from != nil {
		var err error
		wire, err = from.Seal(nil, []byte("data"), false)
		must(err)
	}
	out, n, err := to.Open(make([]byte, 0, len(wire)+32<<10), wire)
	if err != nil || n != len(wire) {
		t.Fatalf("%d of %d bytes opened: %v", n, len(wire), err)
	}
	return string(out)
}

// TestReloadBetweenHandshakes: without sockets, connections made before a reload go on, a handshake that a reload overtakes gets the
// new certificate, and so do later ones.
func TestReloadBetweenHandshakes(t *testing.T) {
	dir := t.TempDir()
	first, second := theCA().issue(single), theCA().issue(single)
	s, _, _ := open(t, Config{Pairs: []Pair{first.write(dir, "a")}})
	server := serverOf(s)
	client, err := tls.NewClient(tls.Config{TLS: clientOf(nil)})
	must(err)
	connect := func(between func()) (sc, cc *tls.Conn) {
		sc, cc = server.Conn(), client.Conn("")
		t.Cleanup(sc.Release)
		t.Cleanup(cc.Release)
		between()
		pump(t, sc, cc)
		return sc, cc
	}
	serial := func(c *tls.Conn) string { return c.State().PeerCertificates[0].SerialNumber.String() }
	oldS, oldC := connect(func() {})
	_, overtaken := connect(func() {
		second.write(dir, "a")
		must(s.Reload())
	})
	_, newC := connect(func() {})
	if serial(oldC) != first.SerialNumber.String() || serial(overtaken) != second.SerialNumber.String() || serial(newC) != second.SerialNumber.String() {
		t.Errorf("serials %s, %s, %s; want %v, then %v", serial(oldC), serial(overtaken), serial(newC), first.SerialNumber, second.SerialNumber)
	}
	for range 3 {
		if send(t, oldC, oldS, nil) != "data" || send(t, oldS, oldC, nil) != "data" {
			t.Error("the old connection has lost data")
		}
	}
}

// echo sends back what it gets.
type echo struct{ c *reactor.Conn }

func (e echo) OnData(p []byte) (int, int, error) { return len(p), 0, e.c.WriteInPlace(p) }
func (echo) OnOpen()                             {}
func (echo) OnEOF() bool                         { return false }
func (echo) OnDrained()                          {}
func (echo) OnGoodbye(error)                     {}
func (echo) OnClose(error)                       {}

// serve echoes over TLS on a loopback address.
func serve(server *tls.Server) (addr string, r *reactor.Reactor) {
	var err error
	r, err = reactor.New(reactor.Config{Loops: 1, LingerTimeout: 100 * time.Millisecond})
	must(err)
	lis, err := r.Listen("tcp", "127.0.0.1:0", reactor.ListenConfig{
		Protocol: func(c *reactor.Conn) reactor.Protocol { return echo{c} },
		Filter:   func() reactor.Filter { return server.Conn() },
	})
	must(err)
	return lis.Addr().String(), r
}

// visit connects and has one byte echoed, which also brings the ticket.
func visit(t *testing.T, addr string, cfg *stdtls.Config) *stdtls.Conn {
	t.Helper()
	c, err := (&stdtls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: cfg}).DialContext(context.Background(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	conn := c.(*stdtls.Conn)
	t.Cleanup(func() { _ = conn.Close() })
	must(conn.SetDeadline(time.Now().Add(20 * time.Second)))
	ping(t, conn)
	return conn
}

func ping(t *testing.T, c *stdtls.Conn) {
	t.Helper()
	b := []byte{7}
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, b); err != nil || b[0] != 7 {
		t.Fatalf("echo %v, %v", b, err)
	}
}

// TestReloadOverReactor: the same over sockets, with Run looking by itself.
func TestReloadOverReactor(t *testing.T) {
	dir := t.TempDir()
	first, second := theCA().issue(single), theCA().issue(single)
	reloaded := make(chan Event, 8)
	s, err := New(Config{Pairs: []Pair{first.write(dir, "a")}, Interval: minInterval, OnEvent: func(e Event) {
		if e.Kind == EventReloaded {
			reloaded <- e
		}
	}})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	addr, r := serve(serverOf(s))
	t.Cleanup(func() { _ = r.Close() })
	old := visit(t, addr, clientOf(nil))
	second.write(dir, "a")
	<-reloaded
	next := visit(t, addr, clientOf(nil))
	if got := old.ConnectionState().PeerCertificates[0]; !got.Equal(first.Certificate) {
		t.Errorf("the first connection got serial %v", got.SerialNumber)
	}
	if got := next.ConnectionState().PeerCertificates[0]; !got.Equal(second.Certificate) {
		t.Errorf("the second connection got serial %v", got.SerialNumber)
	}
	ping(t, old)
	if !s.Stats().Running || s.Run(ctx) != ErrRunning {
		t.Error("a second Run was let in")
	}
	cancel()
	if err := <-ended; err != context.Canceled || s.Stats().Running {
		t.Errorf("Run ended with %v", err)
	}
}
