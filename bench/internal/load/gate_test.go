package load

import (
	stdtls "crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/wire"
)

// gate is an echo server on crypto/tls whose connections, or whose frames, pass one at a time, so that it can stall all of them.
type gate struct {
	ln    net.Listener
	cfg   *stdtls.Config
	conns bool // connections pass, before their handshake, and not frames
	wg    sync.WaitGroup

	mu      sync.Mutex    // guards what follows; held while somebody passes
	passed  int           // since the last arm
	stallAt int           // the one that stalls
	stall   time.Duration // for how long
	every   time.Duration // how long everybody takes
	now     int           // connections that are there
	most    int
	resumed int
	open    map[net.Conn]bool
}

// startGate starts a gate and returns a client's configuration.
func startGate(t *testing.T, conns bool) (*gate, NetConfig) {
	t.Helper()
	files, err := cert.Make()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Remove() })
	crt, err := files.Load()
	if err != nil {
		t.Fatal(err)
	}
	roots, err := cert.Pool(files.Cert)
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{conns: conns, open: make(map[net.Conn]bool), cfg: &stdtls.Config{Certificates: []stdtls.Certificate{crt}, MinVersion: stdtls.VersionTLS13}}
	if g.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	g.wg.Go(g.accept)
	t.Cleanup(g.close)
	return g, NetConfig{Transport: TLS, Addr: g.ln.Addr().String(), ServerName: "localhost", Verified: "verified",
		TLS: &stdtls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: stdtls.VersionTLS13}}
}

func (g *gate) close() {
	g.ln.Close()
	g.mu.Lock()
	for c := range g.open {
		c.Close()
	}
	g.mu.Unlock()
	g.wg.Wait()
}

// arm has the n-th from now on stall.
func (g *gate) arm(n int, stall time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.passed, g.stallAt, g.stall, g.most, g.resumed = 0, n, stall, 0, 0
}

// counts are the most connections at once, and how many have resumed a session, since the last arm.
func (g *gate) counts() (most, resumed int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.most, g.resumed
}

func (g *gate) pass() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.passed++
	time.Sleep(g.every)
	if g.passed == g.stallAt {
		time.Sleep(g.stall)
	}
}

func (g *gate) accept() {
	for {
		c, err := g.ln.Accept()
		if err != nil {
			return
		}
		g.mu.Lock()
		g.open[c] = true
		g.now++
		g.most = max(g.most, g.now)
		g.mu.Unlock()
		g.wg.Go(func() {
			g.serve(stdtls.Server(c, g.cfg))
			g.mu.Lock()
			delete(g.open, c)
			g.now--
			g.mu.Unlock()
			c.Close() // the client knows of the end after it is counted
		})
	}
}

func (g *gate) serve(c *stdtls.Conn) {
	if g.conns {
		g.pass()
	}
	if c.Handshake() != nil {
		return
	}
	if c.ConnectionState().DidResume {
		g.mu.Lock()
		g.resumed++
		g.mu.Unlock()
	}
	for {
		head := make([]byte, wire.HeaderLen)
		if _, err := io.ReadFull(c, head); err != nil {
			return
		}
		frame := append(head, make([]byte, int(binary.BigEndian.Uint32(head))-wire.HeaderLen)...)
		if _, err := io.ReadFull(c, frame[wire.HeaderLen:]); err != nil {
			return
		}
		if !g.conns {
			g.pass()
		}
		wire.MakeReply(frame)
		if _, err := c.Write(frame); err != nil {
			return
		}
	}
}
