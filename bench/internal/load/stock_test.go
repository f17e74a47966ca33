package load

import (
	"context"
	stdtls "crypto/tls"
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/peers/quicgo"
)

// TestMain looks for goroutines that are left. goleak by itself waits a second for them; quic-go's server keeps its socket until its closed
// connections have been silent for three of their probe time-outs, which on a busy machine are longer.
func TestMain(m *testing.M) {
	status := m.Run()
	for began := time.Now(); status == 0; {
		err := goleak.Find()
		if err == nil {
			break
		}
		if time.Since(began) > patience {
			fmt.Fprintln(os.Stderr, err)
			status = 1
		}
	}
	os.Exit(status)
}

// patience covers a race-enabled build on a busy machine.
const patience = 60 * time.Second

// stockServer starts stock quic-go's echo and returns its address, a client's configuration, and what ends it.
func stockServer(t *testing.T, maxStreams int) (*quicgo.Server, NetConfig) {
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
	s, err := quicgo.Listen("127.0.0.1:0", &stdtls.Config{Certificates: []stdtls.Certificate{crt}}, maxStreams)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, NetConfig{Transport: StockQUIC, Addr: s.Addr().String(), Verified: "verified",
		TLS: &stdtls.Config{RootCAs: roots, ServerName: "localhost"}}
}

// measured runs a load over n from its first connection to its last.
// A machine so busy that the window brought nothing is given a longer one.
func measured(t *testing.T, nc NetConfig, cfg Config, warm bool) *report.Phase {
	t.Helper()
	for {
		p := measuredOnce(t, nc, cfg, warm)
		if p.Frames > 0 || p.Errors.Total() != 0 || cfg.Window > time.Minute {
			return p
		}
		cfg.Window *= 4
	}
}

func measuredOnce(t *testing.T, nc NetConfig, cfg Config, warm bool) *report.Phase {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience+cfg.Window)
	defer cancel()
	n, err := NewNet(nc)
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFleet(cfg, n)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Open(ctx, warm, nil); err != nil {
		_ = n.Close()
		t.Fatal(err)
	}
	if f.Ready() != cfg.lines() {
		t.Errorf("%d of %d streams are ready", f.Ready(), cfg.lines())
	}
	p, err := f.Measure(ctx, Hooks{Begin: func() {}, End: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// quicLoads are one load of each kind over streams.
func quicLoads() map[string]Config {
	base := Config{Conns: 3, Streams: 4, Payload: 5000, Window: 700 * time.Millisecond} // no warm-up: on a busy machine it might be all there is
	kind := func(change func(c *Config)) Config {
		c := base
		change(&c)
		return c
	}
	return map[string]Config{
		"one in flight":   kind(func(c *Config) { c.Depth = 1 }),
		"many in flight":  kind(func(c *Config) { c.Depth = 9 }),
		"with permits":    kind(func(c *Config) { c.Depth, c.MaxInflight = 3, 2 }),
		"permit for each": kind(func(c *Config) { c.Depth, c.MaxInflight = 1, 1 }),
		"open":            kind(func(c *Config) { c.RPS = 500 }),
		"open, permits":   kind(func(c *Config) { c.RPS, c.MaxInflight = 300, 1 }),
		"one way":         kind(func(c *Config) { c.OneWay = true }),
		"large":           kind(func(c *Config) { c.Depth, c.Payload, c.Window = 2, MaxPayload/4, 3*time.Second }),
	}
}

// checkQUIC checks what must hold of every load over streams, at whatever speed.
func checkQUIC(t *testing.T, p *report.Phase, cfg Config, warm bool) {
	t.Helper()
	if p.Frames == 0 || p.Errors.Total() != 0 || p.Session.Established != cfg.Conns || p.Streams != cfg.Streams || p.Session.Suite == "" || p.Session.Verified == "" {
		t.Errorf("%+v", p)
	}
	if p.Session.Resumed != map[bool]int{true: cfg.Conns}[warm] {
		t.Errorf("%d of %d sessions resumed", p.Session.Resumed, cfg.Conns)
	}
	if cfg.OneWay && (p.Confirmed < p.Frames || p.Latency.Count != 0 || p.Mode != report.OneWay) || !cfg.OneWay && p.Latency.Count == 0 {
		t.Errorf("%d events in the window, %d confirmed, %d latencies", p.Frames, p.Confirmed, p.Latency.Count)
	}
}

// Every kind of load runs over both libraries' QUIC, and ends without a fault on the server's side.
func TestLoadsOverQUIC(t *testing.T) {
	s, nc := stockServer(t, 4)
	for _, transport := range []string{StockQUIC, QUIC} {
		for name, cfg := range quicLoads() {
			t.Run(transport+", "+name, func(t *testing.T) {
				warm := cfg.Depth == 9 || cfg.OneWay
				nc := nc
				nc.Transport, nc.HighWater = transport, cfg.HighWater()
				nc.TLS = nc.TLS.Clone()
				if nc.TLS.ClientSessionCache = nil; warm {
					nc.TLS.ClientSessionCache = stdtls.NewLRUClientSessionCache(1)
				}
				checkQUIC(t, measured(t, nc, cfg, warm), cfg, warm)
			})
		}
	}
	if n := s.Stats.Failed.Load(); n != 0 {
		t.Errorf("%d streams or connections failed on the server", n)
	}
}

// A server that goes away costs every stream what it had in flight, and is said once.
func TestStockServerDies(t *testing.T) {
	s, nc := stockServer(t, 8)
	n, err := NewNet(nc)
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFleet(Config{Conns: 2, Streams: 2, Payload: 10, Depth: 1, Window: time.Hour}, n)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Open(t.Context(), false, nil); err != nil {
		t.Fatal(err)
	}
	p, err := f.Measure(t.Context(), Hooks{Begin: func() { _ = s.Close() }, End: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	if p.Errors.ConnLost != 4 || p.Errors.FirstError == "" {
		t.Errorf("%+v", p.Errors)
	}
}

// A dial that nobody answers ends with the context, and leaves nothing behind.
func TestStockDialFails(t *testing.T) {
	_, nc := stockServer(t, 1)
	nc.Addr = "127.0.0.1:1" // nobody listens
	n, err := NewNet(nc)
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFleet(Config{Conns: 2, Streams: 2, Payload: 10, Depth: 1, Window: time.Hour}, n)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := f.Open(ctx, false, nil); err == nil {
		t.Error("connected to nobody")
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
