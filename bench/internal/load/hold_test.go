package load

import (
	"testing"
	"time"
)

// A hold leaves out what would be due in it, keeps what is owed from before, and the connections carry on afterwards.
func TestHoldLeavesItsRequestsOut(t *testing.T) {
	r := newRig(t, Config{Conns: 3, Payload: 16, RPS: 300, Window: 400 * time.Millisecond}) // a request every 10 ms on each connection
	g := r.f.groups[0]
	run := func(to int64) {
		for ; r.at < to; r.at += ms {
			g.pump(r.at)
			r.echoAll()
		}
	}
	run(100 * ms)
	r.ts[1].full = true // its request at 103 ms waits
	r.at = 105 * ms
	if err := r.f.onLoops(t.Context(), func(g *group) { g.until = 110 * ms }); err != nil {
		t.Fatal(err)
	}
	run(190 * ms)
	if n, err := r.f.outstanding(t.Context()); n != 1 || err != nil {
		t.Errorf("%d outstanding in the hold, want the one that waits; %v", n, err)
	}
	r.ts[1].full = false
	r.all[1].OnDrained()
	r.echoAll()
	if err := r.f.Hold(t.Context()); err != nil { // it is held already: nothing moves
		t.Fatal(err)
	}
	if n := r.f.answered(); n != 33 {
		t.Errorf("%d answered before and in the hold, want 33", n)
	}
	r.at = 200*ms - int64(leadIn)
	if err := r.f.Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	run(400 * ms)
	p := r.finish()
	if p.Errors.Total() != 0 || p.Frames != 33+60 || p.Latency.Count != 33+60 {
		t.Errorf("%d frames, %d latencies, %+v", p.Frames, p.Latency.Count, p.Errors)
	}
}

// What was due before a hold and could not even be written until it ends is an error, and counted once.
func TestHoldCountsWhatCouldNotBeWritten(t *testing.T) {
	r := newRig(t, Config{Conns: 2, Payload: 16, RPS: 200, Window: 300 * time.Millisecond})
	g := r.f.groups[0]
	r.ts[0].full = true
	for ; r.at < 100*ms; r.at += ms {
		g.pump(r.at)
		r.echoAll()
	}
	g.until = 50 * ms
	g.resume(190 * ms)
	r.ts[0].full = false
	for ; r.at < 300*ms; r.at += ms {
		g.pump(r.at)
		r.echoAll()
	}
	if p := r.finish(); p.Errors.Unanswered != 5 || p.Errors.Total() != 5 {
		t.Errorf("%+v, want 5 unanswered", p.Errors)
	}
}
