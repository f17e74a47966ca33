package quic

import (
	stdtls "crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/reactor"
)

// TestConfigErrors: each value out of range is refused before anything starts, by a message with field, value and range.
func TestConfigErrors(t *testing.T) {
	srv, _ := certificate(t)
	ok := ListenConfig{TLS: srv, Protocol: echo.with}
	for want, spoil := range map[string]func(*ListenConfig){
		"MaxStreams is -1, allowed are 1 to 65536":           func(lc *ListenConfig) { lc.MaxStreams = -1 },
		"StreamWindow is 100, allowed are 16384 to 6291456":  func(lc *ListenConfig) { lc.StreamWindow = 100 },
		"MaxStreamWindow is 2147483648, allowed are 16384":   func(lc *ListenConfig) { lc.MaxStreamWindow = 2 << 30 },
		"ConnWindow is 33554432, allowed are 16384 to 65536": func(lc *ListenConfig) { lc.ConnWindow, lc.MaxConnWindow = 32<<20, 64<<10 },
		"MaxConnWindow is 2147483648, allowed are 16384":     func(lc *ListenConfig) { lc.MaxConnWindow = 2 << 30 },
		"WindowBudget is 2199023255552, allowed are 1 to":    func(lc *ListenConfig) { lc.WindowBudget = 2 << 40 },
		"PacketSize is 1199, allowed are 1200 to 1452":       func(lc *ListenConfig) { lc.PacketSize = 1199 },
		"SendBuffer is 1, allowed are 65536 to 67108864":     func(lc *ListenConfig) { lc.SendBuffer = 1 },
		"RecvBuffer is 134217728, allowed are 65536":         func(lc *ListenConfig) { lc.RecvBuffer = 128 << 20 },
		"HandshakeTimeout is 1ms, allowed are 10ms to 24h":   func(lc *ListenConfig) { lc.HandshakeTimeout = time.Millisecond },
		"IdleTimeout is 48h0m0s, allowed are 10ms to 24h":    func(lc *ListenConfig) { lc.IdleTimeout = 48 * time.Hour },
		"KeepAlive is -1s, allowed are 10ms to 24h":          func(lc *ListenConfig) { lc.KeepAlive = -time.Second },
		"MaxHandshakes is -1, allowed are 1 to 1048576":      func(lc *ListenConfig) { lc.MaxHandshakes = -1 },
		"RetryAbove is 11, allowed are 1 to 10":              func(lc *ListenConfig) { lc.MaxHandshakes, lc.RetryAbove = 10, 11 },
		"Protocol is nil":                                    func(lc *ListenConfig) { lc.Protocol = nil },
		"TLS is nil":                                         func(lc *ListenConfig) { lc.TLS = nil },
		"TLS has no Certificates":                            func(lc *ListenConfig) { lc.TLS = &stdtls.Config{} },
		"TLS.MinVersion is TLS 1.2; allowed: 0 or":           func(lc *ListenConfig) { lc.TLS = srv.Clone(); lc.TLS.MinVersion = stdtls.VersionTLS12 },
		"TLS.MaxVersion is TLS 1.2; allowed: 0 or":           func(lc *ListenConfig) { lc.TLS = srv.Clone(); lc.TLS.MaxVersion = stdtls.VersionTLS12 },
	} {
		lc := ok
		spoil(&lc)
		if _, err := lc.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	if _, err := (DialerConfig{Config: Config{PacketSize: 1}}).check(); err == nil {
		t.Error("a dialer with a PacketSize of 1")
	}
}

// TestDefaultsReachQuicGo: the defaults, and what was set instead, are what quic-go is given.
func TestDefaultsReachQuicGo(t *testing.T) {
	c := Config{}.withDefaults()
	if err := c.validate(); err != nil {
		t.Fatalf("the defaults: %v", err)
	}
	q := c.quicgo(true, false)
	if q.MaxIncomingStreams != 512 || q.MaxIncomingUniStreams != -1 || q.HandshakeIdleTimeout != 5*time.Second || q.MaxIdleTimeout != 90*time.Second ||
		q.KeepAlivePeriod != 0 || q.InitialStreamReceiveWindow != 512<<10 || q.MaxStreamReceiveWindow != 6<<20 ||
		q.InitialConnectionReceiveWindow != 1<<20 || q.MaxConnectionReceiveWindow != 15<<20 || q.Allow0RTT || q.InitialPacketSize != 0 ||
		!q.RequireStreamCreditRelease || q.EnableDatagrams {
		t.Errorf("the defaults: %+v", q)
	}
	c = Config{MaxStreams: 7, HandshakeTimeout: time.Second, IdleTimeout: 2 * time.Second, KeepAlive: 3 * time.Second, StreamWindow: 20000,
		MaxStreamWindow: 30000, ConnWindow: 40000, MaxConnWindow: 50000, PacketSize: 1300}.withDefaults()
	q = c.quicgo(true, true)
	if q.MaxIncomingStreams != 7 || q.HandshakeIdleTimeout != time.Second/2 || q.MaxIdleTimeout != 2*time.Second || q.KeepAlivePeriod != 3*time.Second ||
		q.InitialStreamReceiveWindow != 20000 || q.MaxStreamReceiveWindow != 30000 || q.InitialConnectionReceiveWindow != 40000 ||
		q.MaxConnectionReceiveWindow != 50000 || q.InitialPacketSize != 1300 || !q.Allow0RTT {
		t.Errorf("what was set: %+v", q)
	}
	if q := c.quicgo(false, false); q.MaxIncomingStreams != -1 {
		t.Errorf("without streams of the peer: %d", q.MaxIncomingStreams)
	}
}

// TestSocketsGetTheirSizes: SendBuffer and RecvBuffer reach the sockets (Linux doubles them).
func TestSocketsGetTheirSizes(t *testing.T) {
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{Config: Config{SendBuffer: 100 << 10, RecvBuffer: 80 << 10, DisableGRO: true}}, DialerConfig{})
	if send, recv := p.lis.Granted(); send != 200<<10 || recv != 160<<10 {
		t.Errorf("granted %d and %d", send, recv)
	}
	if p.lis.Offload().GRO {
		t.Error("GRO is on")
	}
	mustAsk(t, open(t, p.dial(t), &echoHandler{}), 100<<10)
}

// TestWindowBudget: windows grow while there is budget, and what they grew by comes back with the connection's end.
func TestWindowBudget(t *testing.T) {
	r := start(t, reactor.Config{})
	small := Config{StreamWindow: 16 << 10, ConnWindow: 16 << 10, WindowBudget: -1}
	p := newPair(t, r, ListenConfig{Config: small}, DialerConfig{})
	mustAsk(t, open(t, p.dial(t), &echoHandler{}), 1000000)
	if n := p.lis.Stats().WindowGrown; n != 0 {
		t.Errorf("grown by %d without a budget", n)
	}
	small.WindowBudget = 100 << 10
	q := newPair(t, r, ListenConfig{Config: small}, DialerConfig{})
	c := q.dial(t)
	s := open(t, c, &echoHandler{})
	for range 20 {
		mustAsk(t, s, 1000000)
	}
	if n := q.lis.Stats().WindowGrown; n <= 0 || n > 100<<10 {
		t.Errorf("grown by %d with a budget of %d", n, 100<<10)
	}
	c.Close(CodeNone, nil)
	waitFor(t, "the budget", func() bool { return q.lis.Stats().WindowGrown == 0 })
}

// TestSteering: connection IDs name their socket, whatever the number of sockets, and differ.
func TestSteering(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7, 100, 255, 256} {
		for socket := range n {
			seen := map[string]bool{}
			for range 20 {
				id, err := steering{socket, n}.GenerateConnectionID()
				if err != nil {
					t.Fatal(err)
				}
				if b := id.Bytes(); len(b) != connIDLen || int(b[0])%n != socket || seen[string(b)] {
					t.Fatalf("socket %d of %d: %x", socket, n, b)
				}
				seen[string(id.Bytes())] = true
			}
		}
	}
}
