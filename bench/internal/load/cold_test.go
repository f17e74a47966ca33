package load

import (
	"context"
	stdtls "crypto/tls"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// coldly runs a cold load; ready is called when the server is known to be there.
func coldly(t *testing.T, nc NetConfig, cfg Config, ready func()) *report.Phase {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n, err := NewNet(nc)
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFleet(cfg, n)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Open(ctx, false, nil); err != nil {
		t.Fatal(err)
	}
	ready()
	p, err := f.Measure(ctx, Hooks{Begin: func() {}, End: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A server that stalls for 400 ms delays every request that falls due meanwhile, also those for which there is no connection left: each counts
// from when it was due. Of 50 requests, 20 ms apart, none but the first nine gets its answer before the stall is over, so six at least wait
// 300 ms or more, however fast the machine is, and the 95th percentile shows it.
func TestColdLoadCountsFromTheSchedule(t *testing.T) {
	g, nc := startGate(t, true)
	cfg := Config{Cold: true, Conns: 3, Payload: 1000, RPS: 50, Window: time.Second}
	p := coldly(t, nc, cfg, func() { g.arm(10, 400*time.Millisecond) })
	if p.Errors.Total() != 0 || p.Latency.Count != 50 || p.Session.Established != 50 || p.Session.Resumed != 0 || p.Session.Suite == "" || p.Mode != report.Open {
		t.Fatalf("%+v", p)
	}
	if p.Latency.P95 < 300*0.999 || p.Latency.MaxMS < 390 {
		t.Errorf("the stall is not in the latencies: %+v", p.Latency)
	}
	if c := p.Cold; c == nil || c.Handshake.Count != 50 || c.Handshake.P95 < 300*0.999 || c.Handshake.P50 > p.Latency.P50 || c.Waited < 15 {
		t.Errorf("%+v", c)
	}
	if most, resumed := g.counts(); most > 3 || resumed != 0 {
		t.Errorf("%d connections at once, %d resumed", most, resumed)
	}
}

// The same of connections that last, with resumed sessions: of 200 requests, 2 ms apart, 25 at least wait 150 ms or more.
func TestResumedLoadCountsFromTheSchedule(t *testing.T) {
	g, nc := startGate(t, false)
	nc.TLS.ClientSessionCache = stdtls.NewLRUClientSessionCache(1)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	n, err := NewNet(nc)
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFleet(Config{Conns: 4, Payload: 1000, RPS: 500, Window: 400 * time.Millisecond}, n)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Open(ctx, true, nil); err != nil {
		t.Fatal(err)
	}
	g.arm(50, 200*time.Millisecond)
	p, err := f.Measure(ctx, Hooks{Begin: func() {}, End: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	if p.Errors.Total() != 0 || p.Latency.Count != 200 || p.Session.Resumed != 4 {
		t.Fatalf("%+v", p)
	}
	if p.Latency.P95 < 150*0.999 || p.Latency.MaxMS < 195 {
		t.Errorf("the stall is not in the latencies: %+v", p.Latency)
	}
}

// A closed cold load has as many connections at once as it is told, one after the other, on every transport that has handshakes.
func TestColdLoadOnEveryTransport(t *testing.T) {
	g, nc := startGate(t, true)
	_, quic := stockServer(t, 4)
	for _, transport := range []string{TLS, QUIC, StockQUIC} {
		for name, cfg := range map[string]Config{
			"closed": {Cold: true, Conns: 3, Payload: 3000, Window: 500 * time.Millisecond},
			"mixed":  {Cold: true, Conns: 2, Mix: []Part{{10, 1}, {5000, 1}}, RPS: 40, Window: 500 * time.Millisecond},
		} {
			t.Run(transport+", "+name, func(t *testing.T) {
				nc := nc
				if transport != TLS {
					nc = quic
				}
				nc.Transport = transport
				p := coldly(t, nc, cfg, func() { g.arm(0, 0) })
				for p.Frames == 0 && cfg.Window < time.Minute { // a busy machine
					cfg.Window *= 4
					p = coldly(t, nc, cfg, func() { g.arm(0, 0) })
				}
				if p.Frames == 0 || p.Errors.Total() != 0 || p.Session.Resumed != 0 || uint64(p.Session.Established) < p.Frames || p.Cold == nil ||
					p.Cold.Handshake.Count == 0 || p.Cold.Handshake.P50 > p.Latency.P50 || p.GbpsEachWay <= 0 {
					t.Errorf("%+v, %+v", p, p.Cold)
				}
				for _, size := range p.BySize {
					if size.Frames == 0 && p.Frames > 2 {
						t.Errorf("no frame of %d bytes in %d: %+v", size.Payload, p.Frames, p.BySize)
					}
				}
				if most, _ := g.counts(); transport == TLS && (most > cfg.Conns || most == 0) {
					t.Errorf("%d connections at once, allowed are %d", most, cfg.Conns)
				}
			})
		}
	}
}

// Handshakes that resume a session are errors of a cold load.
func TestColdLoadRefusesResumption(t *testing.T) {
	_, nc := startGate(t, true)
	nc.TLS.ClientSessionCache = stdtls.NewLRUClientSessionCache(1)
	p := coldly(t, nc, Config{Cold: true, Conns: 2, Payload: 10, RPS: 50, Window: 200 * time.Millisecond}, func() {})
	if p.Errors.NotCold == 0 || p.Session.Resumed == 0 || p.Errors.Total() < p.Errors.NotCold {
		t.Errorf("%+v, errors %+v", p.Session, p.Errors)
	}
}

// Connections that are refused are counted, each of them, and the load goes on.
func TestColdLoadWithoutServer(t *testing.T) {
	g, nc := startGate(t, true)
	p := coldly(t, nc, Config{Cold: true, Conns: 2, Payload: 10, RPS: 50, Window: 200 * time.Millisecond}, g.close)
	if p.Errors.DialFailed != 10 || p.Frames != 0 || p.Errors.FirstError == "" {
		t.Errorf("%+v", p.Errors)
	}
}

// What gets no answer is given up in the end: it counts with the time it has waited, dialled or not.
func TestColdLoadGivesUp(t *testing.T) {
	f, err := NewFleet(Config{Cold: true, Conns: 2, Payload: 10, RPS: 100, Window: 100 * time.Millisecond}, &Net{cfg: NetConfig{Transport: TLS, Loops: 1}, carrier: &loopNet{}})
	if err != nil {
		t.Fatal(err)
	}
	var dialled []*conn
	var at int64
	f.clock = func() int64 {
		if at += ms; len(dialled) == 2 { // nothing comes any more: time passes quickly
			at += int64(drainTimeout)
		}
		return at
	}
	f.dial = func(c *conn) {
		c.t = &fakeTransport{}
		if dialled = append(dialled, c); len(dialled) == 1 {
			c.OnOpen() // the other's handshake never ends
		}
	}
	f.begin.Store(0)
	f.end.Store(100 * ms)
	f.stage.Store(stageLoad)
	f.errands = newErrands(f)
	f.errands.run()
	f.stage.Store(stageDone)
	for _, c := range dialled {
		c.OnClose(nil)
	}
	p := f.phase(f.now())
	if len(dialled) != 2 || p.Errors.Unanswered != 10 || p.Errors.Total() != 10 || p.Latency.Count != 10 || p.Latency.MinMS < 1000 || p.Cold.Waited != 8 {
		t.Errorf("%d dialled, %+v, %+v, %+v", len(dialled), p.Errors, p.Latency, p.Cold)
	}
}
