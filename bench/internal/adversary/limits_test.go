package adversary

import (
	stdtls "crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/hostile"
	"github.com/ron-transport/ron-transport/reactor"
)

// dialFrom connects from the n-th source address, which is a peer of its own, and completes the handshake if it can.
func (g *rig) dialFrom(n int) (*stdtls.Conn, error) {
	g.t.Helper()
	d := net.Dialer{LocalAddr: hostile.Source(n, n+1)}
	raw, err := d.Dial("tcp", g.addr)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { raw.Close() })
	_ = raw.SetDeadline(time.Now().Add(4 * patience)) // a new socket: it takes one
	c := stdtls.Client(raw, &stdtls.Config{InsecureSkipVerify: true, NextProtos: []string{"oap/1"}})
	return c, c.Handshake()
}

// Peers over a limit are refused before they cost a handshake, with an alert, and others are served.
func TestLimitsPerPeer(t *testing.T) {
	for name, c := range map[string]struct {
		tune   func(*reactor.Config)
		reason string
		tries  int // connections of one peer, all kept
		least  int // of them served
		most   int
	}{
		"connections": {func(c *reactor.Config) { c.MaxConnsPerPeer = 3 }, "peer_limit", 6, 3, 3},
		"rate":        {func(c *reactor.Config) { c.PeerConnRate = 4 }, "rate_limited", 40, 4, 39},
		"capacity":    {func(c *reactor.Config) { c.MaxConns = 5 }, "over_capacity", 8, 4, 4}, // and the healthy one
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, c.tune)
			served := 0
			for range c.tries {
				_, err := g.dialFrom(0)
				switch {
				case err == nil:
					served++
				case !strings.Contains(err.Error(), "internal error") && !strings.Contains(err.Error(), "reset"):
					t.Errorf("refused with %v, want an alert", err)
				}
			}
			if served < c.least || served > c.most {
				t.Errorf("%d of %d connections were served, want %d to %d", served, c.tries, c.least, c.most)
			}
			g.want(c.reason, c.tries-served)
			g.counted(c.reason, uint64(c.tries-served))
			if c.reason == "over_capacity" {
				return
			}
			if _, err := g.dialFrom(1); err != nil {
				t.Errorf("another peer: %v", err)
			}
		})
	}
}

// Silent connections of one peer use up its half-open ones, not those of others; when their deadline has ended them the peer
// is served again.
func TestHalfOpenLimit(t *testing.T) {
	const half = 5
	g := newRig(t, func(c *reactor.Config) { brief(c); c.MaxHandshakesPerPeer = half })
	for range half {
		d := net.Dialer{LocalAddr: hostile.Source(0, 1)}
		raw, err := d.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { raw.Close() })
	}
	g.eventually("the silent connections are accepted", func() bool { return g.r.Stats().Accepted >= half+1 })
	if _, err := g.dialFrom(0); err == nil && g.r.Stats().ClosedBy["handshake_timeout"] == 0 {
		t.Error("the peer is served above its half-open limit")
	}
	if _, err := g.dialFrom(1); err != nil {
		t.Errorf("another peer: %v", err)
	}
	g.want("handshake_timeout", half)
	if _, err := g.dialFrom(0); err != nil {
		t.Errorf("the peer, after its silent connections have ended: %v", err)
	}
}
