package adversary

import (
	"bytes"
	stdtls "crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/hostile"
	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls"
)

const (
	statusOK = 200
	// patience is for what must happen and has no deadline of its own; a busy machine under the race detector is slow.
	patience = 15 * time.Second
	// deadline is every deadline of the server under test where a hostile client is to meet it (brief). It holds for the healthy
	// client as well, so a busy machine must manage a handshake, and a frame, in that time.
	deadline = 1500 * time.Millisecond
	// linger is how long the server waits for a peer to close after its own end: no healthy client needs it.
	linger = 200 * time.Millisecond
)

// rig is a server on loopback and a healthy client beside whatever the test does to it.
type rig struct {
	t    *testing.T
	r    *reactor.Reactor
	e    *framer.Endpoint
	addr string

	mu      sync.Mutex
	ends    map[string]int // connections that did not end cleanly, by reason; "" for none
	held    []*framer.Retained
	holding bool // retain frames instead of answering them
}

// OnOpen, OnFrame and OnClose make the rig the framer's handler: an echo, or one that holds on to everything.
func (g *rig) OnOpen(*framer.Session) {}

func (g *rig) OnFrame(s *framer.Session, f *framer.Frame) {
	g.mu.Lock()
	hold := g.holding && len(f.Payload) < healthySize
	if hold {
		g.held = append(g.held, f.Retain())
	}
	g.mu.Unlock()
	if !hold {
		_ = s.Reply(f, statusOK, f.Payload) // fails when the connection is closing: OnClose has the cause
	}
}

func (g *rig) OnClose(_ *framer.Session, err error) { g.ended(err) }

func (g *rig) ended(err error) {
	if err == nil {
		return
	}
	why := ""
	if r, ok := errors.AsType[interface {
		error
		Reason() string
	}](err); ok {
		why = r.Reason()
	}
	g.mu.Lock()
	g.ends[why]++
	g.mu.Unlock()
}

// newRig starts the server and the healthy client, and checks at the end of the test that nothing is left of either.
func newRig(t *testing.T, tune func(*reactor.Config)) *rig {
	t.Helper()
	fds, routines := openFDs(t), runtime.NumGoroutine()
	g := &rig{t: t, ends: map[string]int{}}
	files, err := cert.Make()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := files.Load()
	if err = errors.Join(err, files.Remove()); err != nil {
		t.Fatal(err)
	}
	srv, err := tls.NewServer(tls.Config{TLS: &stdtls.Config{Certificates: []stdtls.Certificate{pair}}})
	if err != nil {
		t.Fatal(err)
	}
	if g.e, err = framer.NewEndpoint(g, framer.Options{Transports: []string{"tcp+tls"}}); err != nil {
		t.Fatal(err)
	}
	cfg := reactor.Config{
		Loops: 1, Poison: true, SendBuffer: 32 << 10, RecvBuffer: 32 << 10,
		HandshakeTimeout: 4 * patience, FrameTimeout: 4 * patience, WriteTimeout: 4 * patience, LingerTimeout: linger,
	}
	if tune != nil {
		tune(&cfg)
	}
	if g.r, err = reactor.New(cfg); err != nil {
		t.Fatal(err)
	}
	lis, err := g.r.Listen("tcp", "127.0.0.1:0", reactor.ListenConfig{
		Protocol: func(c *reactor.Conn) reactor.Protocol { return g.e.Session(c) },
		Filter:   func() reactor.Filter { return srv.Conn() },
		OnError:  func(_ net.Addr, err error) { g.ended(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	g.addr = lis.Addr().String()
	stop := g.healthy()
	t.Cleanup(func() { g.finish(stop, fds, routines) })
	return g
}

// brief makes the server's deadlines such as a test can wait for.
func brief(c *reactor.Config) {
	c.HandshakeTimeout, c.FrameTimeout, c.WriteTimeout = deadline, deadline, deadline
}

// finish ends everything and looks for what is left.
func (g *rig) finish(stopHealthy func(), fds, routines int) {
	t := g.t
	g.eventually("the hostile connections are gone", func() bool { return g.r.Stats().Conns == 1 })
	stopHealthy()
	g.eventually("all connections are gone and all buffers back", func() bool {
		s := g.r.Stats()
		return s.Conns == 0 && s.PoolOutstanding <= int64(g.r.Loops()) // each loop may keep its scratch buffer
	})
	if s := g.r.Stats(); s.Panics != 0 {
		t.Errorf("%d panics", s.Panics)
	}
	if err := g.r.Close(); err != nil {
		t.Error(err)
	}
	for _, l := range g.r.Leaks() {
		t.Errorf("leaked buffer: %s", l)
	}
	g.eventually("descriptors and goroutines are back", func() bool { return openFDs(t) <= fds && runtime.NumGoroutine() <= routines })
}

func (g *rig) eventually(what string, ok func() bool) {
	g.t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			g.t.Errorf("not in time: %s (%+v, %d descriptors, %d goroutines)", what, g.r.Stats(), openFDs(g.t), runtime.NumGoroutine())
			return
		}
	}
}

func openFDs(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// want waits until n connections have ended for the reason.
func (g *rig) want(reason string, n int) {
	g.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		g.mu.Lock()
		got, all := g.ends[reason], fmt.Sprint(g.ends)
		g.mu.Unlock()
		if got >= n {
			return
		}
		if time.Now().After(end) {
			g.t.Errorf("%d connections ended as %q, want %d; all: %s", got, reason, n, all)
			return
		}
	}
}

// counted checks the reactor's own count of closes by reason.
func (g *rig) counted(reason string, n uint64) {
	g.t.Helper()
	g.eventually(fmt.Sprintf("%d closes counted as %s", n, reason), func() bool { return g.r.Stats().ClosedBy[reason] >= n })
}

// healthySize is the payload of the healthy client: larger than any a hostile one sends where frames are held.
const healthySize = 1000

// healthy echoes frames on a connection of its own until the returned function is called; the test fails if one is lost.
func (g *rig) healthy() (stop func()) {
	g.t.Helper()
	c := g.dialTLS(nil)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer c.Close()
		for n := 0; ; n++ {
			p := bytes.Repeat([]byte{byte(n)}, healthySize)
			if _, err := c.Write(hostile.Request(0, p)); err != nil {
				g.t.Errorf("healthy connection: %v", err)
				return
			}
			code, body, err := readFrame(c)
			if err != nil || code != statusOK || !bytes.Equal(body, p) {
				g.t.Errorf("healthy connection: code %d, %d bytes, %v", code, len(body), err)
				return
			}
			select {
			case <-quit:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	return func() { close(quit); <-done }
}

// readFrame reads one frame.
func readFrame(r io.Reader) (code uint16, payload []byte, err error) {
	h := make([]byte, hostile.HeaderLen)
	if _, err := io.ReadFull(r, h); err != nil {
		return 0, nil, err
	}
	p := make([]byte, int(binary.BigEndian.Uint32(h))-len(h))
	_, err = io.ReadFull(r, p)
	return binary.BigEndian.Uint16(h[8:]), p, err
}

// dial connects; the socket is closed at the end of the test at the latest.
func (g *rig) dial() *net.TCPConn {
	g.t.Helper()
	c, err := net.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(4 * patience)) // a new socket: it takes one
	return c.(*net.TCPConn)
}

// dialTLS connects and completes the handshake. keys gets the secrets in the key log's format.
func (g *rig) dialTLS(keys io.Writer) *stdtls.Conn {
	g.t.Helper()
	c := stdtls.Client(g.dial(), &stdtls.Config{
		MinVersion: stdtls.VersionTLS13, InsecureSkipVerify: true, NextProtos: []string{"oap/1"}, KeyLogWriter: keys, ServerName: "localhost",
	})
	if err := c.Handshake(); err != nil {
		g.t.Fatal(err)
	}
	return c
}

// reset closes a socket with a reset.
func reset(t *testing.T, c *net.TCPConn) {
	t.Helper()
	if err := errors.Join(c.SetLinger(0), c.Close()); err != nil {
		t.Error(err)
	}
}

// alertIn returns the plaintext alert that b ends with, -1 when there is none.
func alertIn(b []byte) int {
	if n := len(b); n >= 7 && bytes.Equal(b[n-7:n-5], []byte{21, 3}) && bytes.Equal(b[n-4:n-1], []byte{0, 2, 2}) {
		return int(b[n-1])
	}
	return -1
}

// lasted checks how long something took: not less than the deadline, and not many times more, which would be another
// deadline's doing. It is a matter of seconds, not of speed.
func lasted(t *testing.T, since time.Time) {
	t.Helper()
	if d := time.Since(since); d < deadline-50*time.Millisecond || d > deadline+10*time.Second {
		t.Errorf("ended after %v, the deadline is %v", d, deadline)
	}
}
