package load

import (
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
)

// A slice holds the requests that fall due in it and no others, those without a reply with the time they have waited.
func TestSliceHoldsWhatFallsDueInIt(t *testing.T) {
	r := newRig(t, Config{Conns: 2, Payload: 64, RPS: 100, Window: time.Second})
	g := r.f.groups[0]
	g.slice = &span{from: 100 * ms, to: 200 * ms, lat: hist.New()} // requests 10 to 19
	for r.at = 0; r.at < 150*ms; r.at += 10 * ms {
		g.pump(r.at)
		r.echoAll()
	}
	if n := g.slice.lat.Count(); n != 5 {
		t.Fatalf("%d replies in the first half of the slice, want 5", n)
	}
	if n := g.openIn(0, nil); n != 5 {
		t.Fatalf("%d requests of the slice are open before they are due, want 5", n)
	}
	for ; r.at < 300*ms; r.at += 10 * ms { // written, not answered
		g.pump(r.at)
	}
	if n := g.openIn(r.at, g.slice.lat); n != 5 {
		t.Fatalf("%d requests of the slice are open, want 5", n)
	}
	l := g.slice.lat.Summary()
	if l.Count != 10 || l.MaxMS < 149 || l.MaxMS > 151 {
		t.Errorf("%+v, want 10 requests, the slowest due at 150 ms and open at 300 ms", l)
	}
	r.echoAll()
	if n := g.openIn(0, nil); n != 0 {
		t.Errorf("%d requests are open after all replies", n)
	}
}
