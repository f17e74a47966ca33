package load

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/reactor"
)

// sleepy is a connection of a client that is held up in its callback.
type sleepy struct {
	*conn
	d time.Duration
}

func (s sleepy) OnData(p []byte) (consumed, need int, err error) {
	time.Sleep(s.d)
	return s.conn.OnData(p)
}

// measuredOn runs a closed loop on a single loop of the client, whose callbacks take d, and returns who limited it if the machine was idle.
func measuredOn(t *testing.T, nc NetConfig, d time.Duration) (*report.Phase, report.Limit) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	nc.Loops = 1
	n, err := NewNet(nc)
	if err != nil {
		t.Fatal(err)
	}
	f, err := NewFleet(Config{Conns: 4, Payload: 100, Depth: 3, Window: 3 * time.Second}, n)
	if err != nil {
		t.Fatal(err)
	}
	loops := n.carrier.(*loopNet)
	f.dial = func(c *conn) {
		c.tls = loops.client.Conn(nc.ServerName)
		_, err := loops.loops[0].Dial("tcp", nc.Addr, reactor.DialConfig{
			Filter: func() reactor.Filter { return c.tls },
			Protocol: func(rc *reactor.Conn) reactor.Protocol {
				c.t = rc
				return sleepy{c, d}
			},
		})
		if err != nil {
			t.Error(err)
		}
	}
	if err := f.Open(ctx, false, nil); err != nil {
		t.Fatal(err)
	}
	p, err := f.Measure(ctx, Hooks{Begin: func() {}, End: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	if p.Errors.Total() != 0 || p.Frames == 0 {
		t.Fatalf("%+v", p)
	}
	p.Client, p.ServerUse, p.CoreBusy = report.ProcUse{CPUPct: 3, Usable: 1}, &report.ProcUse{CPUPct: 2}, []float64{10, 10} // what an idle machine would say
	e := p.Evidence(2)
	return p, report.LimitOf(&e)
}

// A client that is held up in its own callbacks uses no processor to speak of, and is found all the same; a slow server is not taken for it.
func TestHeldUpClientIsTheLimit(t *testing.T) {
	g, nc := startGate(t, false)
	p, l := measuredOn(t, nc, 20*time.Millisecond)
	if l.Who != report.LimitClient || !strings.Contains(l.Why, "waited") || !strings.Contains(l.Why, "lower bounds") {
		t.Errorf("%+v; lag %v ms, latency %+v", l, p.LagMS, p.Latency)
	}
	g.mu.Lock()
	g.every = 30 * time.Millisecond
	g.mu.Unlock()
	if p, l := measuredOn(t, nc, 0); l.Who == report.LimitClient {
		t.Errorf("the server takes 30 ms for each frame: %+v; lag %v ms, latency %+v", l, p.LagMS, p.Latency)
	}
}
