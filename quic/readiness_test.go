package quic

import (
	"testing"

	"github.com/ron-transport/ron-transport/pool/readiness"
	"github.com/ron-transport/ron-transport/reactor"
)

func TestReadiness(t *testing.T) {
	r := start(t, reactor.Config{MaxConns: 1})
	p := newPair(t, r, ListenConfig{MaxHandshakes: 2}, DialerConfig{})
	expect := func(what string, want readiness.State, why string) {
		t.Helper()
		s := p.lis.Readiness()
		if s.State != want || why != "" && (len(s.Reasons) != 1 || s.Reasons[0].Why != why || s.Reasons[0].Detail == "") {
			t.Errorf("%s: %+v, want %v %s", what, s, want, why)
		}
	}
	expect("at first", readiness.Ready, "")
	p.lis.ep.half.Add(1)
	expect("one is half-open", readiness.Ready, "")
	p.lis.ep.half.Add(1)
	expect("as many as may be are half-open", readiness.Degraded, reactor.ReasonOverCapacity)
	p.lis.ep.half.Add(-2)
	expect("none is half-open", readiness.Ready, "")
	c := p.dial(t)
	waitFor(t, "the reactor's limit", func() bool { return p.lis.Readiness().State == readiness.Degraded })
	expect("at the reactor's limit", readiness.Degraded, reactor.ReasonOverCapacity)
	c.Close(0, nil)
	waitFor(t, "the end of the connection", func() bool { return p.lis.Readiness().State == readiness.Ready })
	if err := p.lis.Close(); err != nil {
		t.Fatal(err)
	}
	expect("closed", readiness.NotReady, reactor.ReasonShuttingDown)
}
