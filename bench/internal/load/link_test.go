package load

import (
	"errors"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/wire"
	"github.com/ron-transport/ron-transport/framer"

	"github.com/ron-transport/ron-transport/quic"
)

// linked gives the streams of each connection of a rig their link, before the load starts.
func linked(r *rig, limit int) map[int]*link {
	links := map[int]*link{}
	for _, c := range r.all {
		l := links[c.slot()]
		if l == nil {
			l = &link{limit: limit}
			links[c.slot()] = l
		}
		c.link = l
	}
	return links
}

// newStreamRig is a rig whose conns are streams, with permits; its load has not started.
func newStreamRig(t *testing.T, cfg Config, limit int) (*rig, map[int]*link) {
	t.Helper()
	r := prepareRig(t, cfg)
	links := linked(r, limit)
	r.start()
	return r, links
}

// written is how many requests each conn has written since the last call.
func (r *rig) written() []int {
	out := make([]int, len(r.ts))
	for i, t := range r.ts {
		out[i] = len(t.out) / (framer.HeaderLen + r.f.cfg.Payload)
	}
	return out
}

func equal(a []int, b ...int) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// Streams of a connection share its permits, each connection has its own, and who has waited longest goes first.
func TestPermitsAreSharedInTurn(t *testing.T) {
	// Streams 0, 2, 4 are of connection 0; 1, 3, 5 of connection 1.
	r, links := newStreamRig(t, Config{Conns: 2, Streams: 3, Payload: 16, Depth: 2, Window: time.Hour}, 2)
	if w := r.written(); !equal(w, 2, 2, 0, 0, 0, 0) {
		t.Fatalf("%v written at the start, want the two permits of each connection used by its first stream", w)
	}
	owed := r.ts[0].replies(t)
	r.deliver(0, owed[0])
	if w := r.written(); !equal(w, 0, 2, 1, 0, 0, 0) {
		t.Fatalf("%v, want the permit to go to the second stream", w)
	}
	r.deliver(0, owed[1])
	if w := r.written(); !equal(w, 0, 2, 1, 0, 1, 0) {
		t.Fatalf("%v, want the permit to go to the third", w)
	}
	r.deliver(2, r.ts[2].replies(t)...)
	if w := r.written(); !equal(w, 0, 2, 1, 0, 1, 0) {
		t.Fatalf("%v, want the permit to go to the second's other request, which has waited longest", w)
	}
	r.deliver(2, r.ts[2].replies(t)...)
	if w := r.written(); !equal(w, 1, 2, 0, 0, 1, 0) {
		t.Fatalf("%v, want the permit to go to the first again", w)
	}
	for range 300 {
		r.at += ms
		r.echoAll()
		for slot, l := range links {
			n := 0
			for i := slot; i < 6; i += 2 {
				n += r.all[i].inflight.n
			}
			if l.inflight != 2 || n != 2 {
				t.Fatalf("connection %d: %d permits out, %d requests in flight, want 2 of each", slot, l.inflight, n)
			}
		}
	}
	for i, c := range r.all {
		if n, first := c.next, r.all[i%2].next; n+5 < first || n > first+5 {
			t.Errorf("stream %d has written %d requests, the first of its connection %d", i, n, first)
		}
	}
}

// A stream that ends gives its permits to the others.
func TestPermitsOfALostStream(t *testing.T) {
	r, links := newStreamRig(t, Config{Conns: 1, Streams: 3, Payload: 16, Depth: 2, Window: time.Hour}, 2)
	r.all[1].OnClose(errors.New("reset")) // waits, has none
	r.all[0].OnClose(errors.New("reset"))
	if w := r.written(); !equal(w, 2, 0, 2) || links[0].inflight != 2 {
		t.Errorf("%v written, %d permits out", w, links[0].inflight)
	}
	p := r.finish()
	if p.Errors.ConnLost != 2 || p.Errors.Transport5xx != 2 {
		t.Errorf("%+v", p.Errors)
	}
}

// A first request in 0-RTT packets that the server does not take gives its permit back.
func TestPermitOfARejectedGreeting(t *testing.T) {
	for _, cause := range []error{quic.ErrEarlyRejected, errors.New("reset")} {
		r, links := newStreamRig(t, Config{Conns: 1, Streams: 2, Payload: 16, Depth: 1, Window: time.Hour}, 2)
		r.f.dial = func(*conn) {}
		before := links[0].inflight
		r.all[0].state = connGreeting
		r.all[0].OnClose(cause)
		if n := links[0].inflight; n != before-1 {
			t.Errorf("%v: %d permits out, %d before", cause, n, before)
		}
	}
}

// What is due and waits for a permit keeps its place in the timetable.
func TestPermitsInTheOpenLoop(t *testing.T) {
	r, _ := newStreamRig(t, Config{Conns: 1, Streams: 2, Payload: 16, RPS: 200, Window: 100 * time.Millisecond}, 1)
	for ; r.at < 100*ms; r.at += ms {
		r.f.groups[0].pump(r.at)
		if r.at >= 60*ms {
			r.echoAll()
		}
	}
	for range 20 {
		r.echoAll()
	}
	p := r.finish()
	if p.Latency.Count != 20 || p.Errors.Total() != 0 || !near(p.Latency.MaxMS, 60) {
		t.Errorf("%+v, %+v", p.Latency, p.Errors)
	}
	if p.Held < 2 || p.Held > 19 { // at 60 ms one request of each stream had waited at least; the very first did not
		t.Errorf("%d requests waited for a permit", p.Held)
	}
}

// A one-way load fills the output, goes on when it drains, and ends with the question for the tally.
func TestOneWay(t *testing.T) {
	r := prepareRig(t, Config{Conns: 2, Payload: 100, OneWay: true, Window: 100 * time.Millisecond})
	servers := make([]wire.Tally, 2)
	for _, ft := range r.ts {
		ft.room = 3
	}
	r.start()
	serve := func(i int) (answers [][]byte) {
		dec := framer.NewDecoder(framer.MaxFrame)
		out := r.ts[i].out
		for len(out) > 0 {
			var f framer.Frame
			n, err := dec.Next(out, &f)
			if err != nil || n == 0 {
				t.Fatal(n, err)
			}
			if a := servers[i].Answer(out[:n]); a != nil {
				answers = append(answers, a)
			}
			out = out[n:]
		}
		r.ts[i].out = nil
		return answers
	}
	for range 5 {
		for i, c := range r.all {
			if a := serve(i); a != nil {
				t.Fatal("an event was answered, or a question came early")
			}
			r.ts[i].room = 3
			c.OnDrained()
		}
		r.at += 10 * ms
	}
	r.at = 100 * ms
	r.f.askTallies()
	for i := range r.all {
		a := serve(i)
		if len(a) != 1 {
			t.Fatalf("%d questions", len(a))
		}
		if n, _ := r.f.outstanding(t.Context()); n != 2-i {
			t.Errorf("%d answers outstanding, want %d", n, 2-i)
		}
		r.deliver(i, a...)
	}
	p := r.finish()
	if p.Errors.Total() != 0 || p.Frames != 36 || p.Confirmed != 36 || p.Mode != "one-way" || p.Latency.Count != 0 {
		t.Errorf("%+v", p)
	}
}

// Events that were lost, damaged, or never confirmed are errors.
func TestOneWayErrors(t *testing.T) {
	tally := func(tl wire.Tally) *framer.Frame {
		b := make([]byte, wire.TallyLen)
		tl.Put(b)
		return &framer.Frame{Header: framer.Header{Code: statusOK, AppProtoID: wire.TallyProto}, Payload: b}
	}
	for _, c := range []struct {
		name               string
		answer             func(right wire.Tally) *framer.Frame
		unanswered, wrong  uint64
		wantsAFirstMessage bool
	}{
		{"lost", func(r wire.Tally) *framer.Frame { r.Frames -= 2; return tally(r) }, 2, 0, true},
		{"damaged", func(r wire.Tally) *framer.Frame { r.Sum++; return tally(r) }, 0, 1, true},
		{"no tally", func(wire.Tally) *framer.Frame {
			return &framer.Frame{Header: framer.Header{Code: statusOK, AppProtoID: AppProto}, Payload: make([]byte, 5)}
		}, 3, 1, true},
		{"never", func(wire.Tally) *framer.Frame { return nil }, 3, 0, false},
	} {
		r := prepareRig(t, Config{Conns: 1, Payload: 100, OneWay: true, Window: 100 * time.Millisecond})
		r.ts[0].room = 3
		r.start()
		r.at = 100 * ms
		r.f.askTallies()
		if f := c.answer(r.all[0].tally); f != nil {
			f.CorrID = 4
			r.deliver(0, answer(t, f, framer.FlagResp|framer.FlagEnd, statusOK))
		}
		p := r.finish()
		if e := p.Errors; e.Unanswered != c.unanswered || e.WrongPayload != c.wrong || e.Total() != c.unanswered+c.wrong || (e.FirstError != "") != c.wantsAFirstMessage {
			t.Errorf("%s: %+v", c.name, e)
		}
	}
}
