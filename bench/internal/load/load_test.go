package load

import (
	"errors"
	"io"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/framer"
)

const ms = int64(time.Millisecond)

// fakeTransport collects what is written. It blocks while full is set.
type fakeTransport struct {
	out    []byte
	full   bool
	room   int // with more than 0, the frames it takes before it is full
	closed bool
}

func (t *fakeTransport) Write(p []byte) error {
	if t.closed {
		return io.ErrClosedPipe
	}
	t.out = append(t.out, p...)
	if t.room > 0 {
		t.room--
		t.full = t.room == 0
	}
	return nil
}
func (t *fakeTransport) Writable() bool {
	if t.room > 0 {
		t.full = false
	}
	return !t.full
}
func (t *fakeTransport) Post(fn func()) error { fn(); return nil }
func (t *fakeTransport) Close(error)          { t.closed = true }

// replies takes what was written so far and returns it as the server's replies, one slice each.
func (t *fakeTransport) replies(tb testing.TB) [][]byte {
	tb.Helper()
	var out [][]byte
	dec := framer.NewDecoder(framer.MaxFrame)
	for len(t.out) > 0 {
		var f framer.Frame
		n, err := dec.Next(t.out, &f)
		if err != nil || n == 0 {
			tb.Fatalf("the client wrote no whole frame: %d, %v", n, err)
		}
		if f.Flags != framer.FlagReq || f.Code != 0 {
			tb.Fatalf("the client wrote no request: %+v", f.Header)
		}
		out = append(out, answer(tb, &f, framer.FlagResp|framer.FlagEnd, statusOK))
		t.out = t.out[n:]
	}
	return out
}

func answer(tb testing.TB, f *framer.Frame, flags framer.Flags, code uint16) []byte {
	tb.Helper()
	r := *f
	r.Flags, r.Code = flags, code
	b, err := framer.AppendFrame(nil, &r)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// rig is a fleet on a fake clock with fake connections, all on one loop, its load under way since the offset 0.
type rig struct {
	tb  testing.TB
	f   *Fleet
	at  int64 // the clock
	ts  []*fakeTransport
	all []*conn
}

func newRig(tb testing.TB, cfg Config) *rig {
	tb.Helper()
	r := prepareRig(tb, cfg)
	r.start()
	return r
}

// start begins the load.
func (r *rig) start() {
	f := r.f
	f.begin.Store(int64(f.cfg.Warmup))
	f.end.Store(int64(f.cfg.Warmup + f.cfg.Window))
	f.keepSeries()
	f.stage.Store(stageLoad)
	f.groups[0].start()
}

// prepareRig is a rig whose load has not started.
func prepareRig(tb testing.TB, cfg Config) *rig {
	tb.Helper()
	f, err := NewFleet(cfg, &Net{cfg: NetConfig{Transport: "tcp", Loops: 1}, carrier: &loopNet{}})
	if err != nil {
		tb.Fatal(err)
	}
	r := &rig{tb: tb, f: f}
	f.clock = func() int64 { return r.at }
	for i := range cfg.lines() {
		t := &fakeTransport{}
		c := newConn(f, i)
		c.t = t
		c.OnOpen()
		<-f.opened
		f.conns = append(f.conns, c)
		r.ts, r.all = append(r.ts, t), append(r.all, c)
	}
	return r
}

// deliver gives a connection bytes of the server.
func (r *rig) deliver(i int, p ...[]byte) {
	r.tb.Helper()
	b := slices.Concat(p...)
	n, _, err := r.all[i].OnData(b)
	if err != nil || n != len(b) {
		r.tb.Fatalf("OnData took %d of %d bytes, %v", n, len(b), err)
	}
}

// echoAll answers everything that was written.
func (r *rig) echoAll() {
	for i, t := range r.ts {
		if rs := t.replies(r.tb); len(rs) > 0 {
			r.deliver(i, rs...)
		}
	}
}

// finish ends the load and returns its phase.
func (r *rig) finish() *report.Phase {
	r.f.stage.Store(stageDone)
	return r.f.phase(r.at)
}

func near(got, want float64) bool { return math.Abs(got-want) <= 0.01+want*0.002 }

// A server that stalls for 100 ms delays every request that fell due meanwhile: each counts with its own delay, although
// the client had only these few in flight. This is what coordinated omission would hide.
func TestOpenLoopCountsFromTheSchedule(t *testing.T) {
	r := newRig(t, Config{Conns: 2, Payload: 64, RPS: 1000, Window: 200 * time.Millisecond})
	for r.at = 0; r.at < 200*ms; r.at += ms {
		r.f.groups[0].pump(r.at)
		if r.at >= 100*ms { // the stall is over
			r.echoAll()
		}
	}
	p := r.finish()
	if p.Latency.Count != 200 || p.Frames != 200 || p.Sent != 200 || p.Errors.Total() != 0 {
		t.Fatalf("%+v", p)
	}
	// 100 requests waited 100, 99, … 1 ms, the others not at all.
	if !near(p.Latency.MaxMS, 100) || !near(p.Latency.P95, 90) || p.Latency.P50 > 1 {
		t.Errorf("%+v", p.Latency)
	}
}

// A client that is late itself does not make the latency look better, and says how late it was.
func TestLateClientCountsFromTheSchedule(t *testing.T) {
	r := newRig(t, Config{Conns: 3, Payload: 0, RPS: 300, Window: 100 * time.Millisecond})
	r.at = 50 * ms // the first 15 are due, or 16: those before and at 50 ms
	r.f.groups[0].pump(r.at)
	r.echoAll()
	r.at = 100 * ms
	r.f.groups[0].pump(r.at)
	r.echoAll()
	p := r.finish()
	if p.Latency.Count != 30 || !near(p.Latency.MaxMS, 50) || !near(p.PaceMS, 50) || p.Errors.Total() != 0 {
		t.Errorf("latency %+v, pacing %v ms, errors %+v", p.Latency, p.PaceMS, p.Errors)
	}
}

// A connection that cannot be written keeps its place in the timetable and catches up; the others go on.
func TestOpenLoopCatchesUpAfterBackPressure(t *testing.T) {
	r := newRig(t, Config{Conns: 2, Payload: 8, RPS: 200, Window: 100 * time.Millisecond})
	r.ts[0].full = true
	for r.at = 0; r.at < 100*ms; r.at += ms {
		r.f.groups[0].pump(r.at)
		if r.at == 60*ms {
			r.ts[0].full = false
			r.all[0].OnDrained()
		}
		r.echoAll()
	}
	p := r.finish()
	if p.Latency.Count != 20 || p.Frames != 20 || !near(p.Latency.MaxMS, 60) || p.Errors.Total() != 0 {
		t.Errorf("%+v, errors %+v", p.Latency, p.Errors)
	}
}

func TestWarmupIsNotMeasured(t *testing.T) {
	r := newRig(t, Config{Conns: 1, Payload: 8, RPS: 100, Warmup: 100 * time.Millisecond, Window: 100 * time.Millisecond})
	for r.at = 0; r.at < 300*ms; r.at += ms {
		r.f.groups[0].pump(r.at)
		if r.at != 95*ms { // delays nothing: no request is due then
			r.echoAll()
		}
	}
	p := r.finish()
	if p.Frames != 10 || p.Latency.Count != 10 || p.Sent != 10 {
		t.Errorf("%d frames, %d latencies, %d sent; want 10 of each", p.Frames, p.Latency.Count, p.Sent)
	}
	if got := r.f.answered(); got != 20 {
		t.Errorf("%d replies in all, want 20: nothing is due after the window", got)
	}
}

// What was due and not answered is an error and counts with the time it has waited at least.
func TestUnanswered(t *testing.T) {
	r := newRig(t, Config{Conns: 2, Payload: 8, RPS: 100, Window: 100 * time.Millisecond})
	r.ts[1].full = true // its requests are never even written
	for r.at = 0; r.at < 100*ms; r.at += ms {
		r.f.groups[0].pump(r.at)
		if r.at < 50*ms {
			r.echoAll()
		}
	}
	if n, _ := r.f.outstanding(t.Context()); n != 7 {
		t.Errorf("%d outstanding, want 2 in flight and 5 overdue", n)
	}
	r.at = 1100 * ms
	p := r.finish()
	if p.Errors.Unanswered != 7 || p.Latency.Count != 10 || !near(p.Latency.MaxMS, 1090) {
		t.Errorf("%+v, %+v", p.Errors, p.Latency)
	}
}

// Requests that a loop wrote before it knew of the load's end do not hide those that are due before it and missing.
func TestDrainWaitsForWhatIsDueBeforeTheEnd(t *testing.T) {
	r := newRig(t, Config{Conns: 2, Payload: 8, RPS: 100, Window: time.Hour})
	for r.at = 0; r.at < 90*ms; r.at += 10 * ms {
		r.f.groups[0].pump(r.at)
		r.echoAll()
	}
	r.ts[1].full = true // its request at 90 ms is not written
	for ; r.at < 150*ms; r.at += 10 * ms {
		r.f.groups[0].pump(r.at)
		r.echoAll()
	}
	r.f.end.Store(100 * ms) // decided at 90 ms, and known late
	if n, _ := r.f.outstanding(t.Context()); n != 1 {
		t.Errorf("%d outstanding, want the one at 90 ms", n)
	}
	r.ts[1].full = false
	r.all[1].OnDrained()
	r.echoAll()
	if n, _ := r.f.outstanding(t.Context()); n != 0 {
		t.Errorf("%d outstanding, want none", n)
	}
	if p := r.finish(); p.Errors.Total() != 0 {
		t.Errorf("%+v", p.Errors)
	}
}

func TestClosedLoopKeepsDepth(t *testing.T) {
	const depth = 4
	r := newRig(t, Config{Conns: 3, Payload: 100, Depth: depth, Window: 100 * time.Millisecond})
	for r.at = 0; r.at < 100*ms; r.at += 10 * ms {
		for i, tr := range r.ts {
			rs := tr.replies(t)
			if len(rs) != depth {
				t.Fatalf("%d ms: connection %d wrote %d requests, want %d", r.at/ms, i, len(rs), depth)
			}
			r.at += ms
			r.deliver(i, rs...)
			r.at -= ms
		}
	}
	r.at = 100 * ms
	r.echoAll()
	for i, tr := range r.ts {
		if len(tr.out) != 0 {
			t.Errorf("connection %d wrote after the window", i)
		}
	}
	p := r.finish()
	if p.Errors.Total() != 0 || p.Frames != 10*3*depth || !near(p.Latency.MinMS, 1) || !near(p.Latency.P50, 10) {
		t.Errorf("%d frames, %+v, %+v", p.Frames, p.Latency, p.Errors)
	}
}

// Each way a server can go wrong is seen, and counted once.
func TestWrongRepliesAreCounted(t *testing.T) {
	type errs = report.Errors
	frameOf := func(b []byte) *framer.Frame {
		var f framer.Frame
		dec := framer.NewDecoder(framer.MaxFrame)
		if n, err := dec.Next(b, &f); n == 0 || err != nil {
			t.Fatal(n, err)
		}
		return &f
	}
	for _, c := range []struct {
		name string
		do   func(rs [][]byte) [][]byte // the replies to requests 1 … 4
		good uint64
		want errs
	}{
		{"right", func(rs [][]byte) [][]byte { return rs }, 4, errs{}},
		{"duplicated", func(rs [][]byte) [][]byte { return append(rs, rs[3]) }, 4, errs{OutOfOrder: 1}},
		{"reordered", func(rs [][]byte) [][]byte { rs[1], rs[2] = rs[2], rs[1]; return rs }, 3, errs{OutOfOrder: 2}},
		{"never asked", func(rs [][]byte) [][]byte {
			f := frameOf(slices.Clone(rs[0]))
			f.CorrID = 99
			return append(rs, answer(t, f, framer.FlagResp, statusOK))
		}, 4, errs{OutOfOrder: 1}},
		{"first byte", func(rs [][]byte) [][]byte { rs[2][framer.HeaderLen] ^= 1; return rs }, 3, errs{WrongPayload: 1}},
		{"last byte", func(rs [][]byte) [][]byte { rs[2][len(rs[2])-1] ^= 1; return rs }, 3, errs{WrongPayload: 1}},
		{"payload of another request", func(rs [][]byte) [][]byte {
			copy(rs[1][framer.HeaderLen:], rs[0][framer.HeaderLen:])
			return rs
		}, 3, errs{WrongPayload: 1}},
		{"short", func(rs [][]byte) [][]byte {
			f := frameOf(slices.Clone(rs[3]))
			f.Payload = f.Payload[:len(f.Payload)-1]
			rs[3] = answer(t, f, framer.FlagResp, statusOK)
			return rs
		}, 3, errs{WrongPayload: 1}},
		{"no response", func(rs [][]byte) [][]byte {
			rs[0] = answer(t, frameOf(slices.Clone(rs[0])), framer.FlagReq, statusOK)
			return rs
		}, 3, errs{WrongPayload: 1}},
		{"429", func(rs [][]byte) [][]byte {
			rs[0] = answer(t, frameOf(slices.Clone(rs[0])), framer.FlagResp, 429)
			return rs
		}, 3, errs{Rejected429: 1}},
		{"503", func(rs [][]byte) [][]byte {
			rs[0] = answer(t, frameOf(slices.Clone(rs[0])), framer.FlagResp, 503)
			return rs
		}, 3, errs{Rejected503: 1}},
		{"500", func(rs [][]byte) [][]byte {
			rs[0] = answer(t, frameOf(slices.Clone(rs[0])), framer.FlagResp, 500)
			return rs
		}, 3, errs{Transport5xx: 1}},
		{"404", func(rs [][]byte) [][]byte {
			rs[0] = answer(t, frameOf(slices.Clone(rs[0])), framer.FlagResp, 404)
			return rs
		}, 3, errs{OtherStatus: 1}},
	} {
		r := newRig(t, Config{Conns: 1, Payload: 40, Depth: 4, Window: 100 * time.Millisecond})
		r.at = ms
		rs := r.ts[0].replies(t)
		r.f.end.Store(2 * ms)
		r.f.groups[0].conns[0].f.cfg.Depth = 0 // no further requests: the replies stand alone
		r.deliver(0, c.do(rs)...)
		p := r.finish()
		if p.Errors != c.want || p.Frames != c.good {
			t.Errorf("%s: %d good, %+v; want %d, %+v", c.name, p.Frames, p.Errors, c.good, c.want)
		}
	}
}

// Damage in the middle of a payload is found in the replies that are compared whole.
func TestMiddleIsSampled(t *testing.T) {
	tm := newTemplate(100, false)
	for seq := uint64(1); seq <= 2*fullCheckEvery; seq++ {
		tm.patch(7, seq)
		p := slices.Clone(tm.payload())
		if !tm.matches(p, 7, seq) {
			t.Fatalf("request %d does not match its own payload", seq)
		}
		p[50] ^= 1
		if got, want := tm.matches(p, 7, seq), seq%fullCheckEvery != 0; got != want {
			t.Fatalf("request %d with a damaged middle: matches is %v", seq, got)
		}
	}
	for n := range 40 { // lengths around the marks
		tm := newTemplate(n, false)
		for _, seq := range []uint64{1, fullCheckEvery} {
			tm.patch(3, seq)
			p := slices.Clone(tm.payload())
			tm.patch(4, 99)
			if !tm.matches(p, 3, seq) {
				t.Fatalf("%d bytes, request %d: no match", n, seq)
			}
			if n >= markLen && tm.matches(p, 4, seq) {
				t.Fatalf("%d bytes: the payload of another connection matches", n)
			}
		}
	}
}

func TestLostConnection(t *testing.T) {
	r := newRig(t, Config{Conns: 2, Payload: 8, Depth: 3, Window: 100 * time.Millisecond})
	r.at = ms
	r.all[0].OnClose(errors.New("reset"))
	if keep := r.all[1].OnEOF(); keep {
		t.Error("a load goes on with a server that has ended its side")
	}
	r.all[1].OnClose(nil)
	p := r.finish()
	want := report.Errors{ConnLost: 2, Transport5xx: 6, FirstError: "reset"}
	if p.Errors != want || r.f.live.Load() != 0 {
		t.Errorf("%+v, %d alive; want %+v", p.Errors, r.f.live.Load(), want)
	}
	r = newRig(t, Config{Conns: 1, Payload: 8, Depth: 3, Window: 100 * time.Millisecond})
	r.f.stage.Store(stageDone)
	r.all[0].OnClose(nil) // our own end
	if p := r.finish(); p.Errors.ConnLost != 0 || p.Errors.Unanswered != 3 {
		t.Errorf("%+v", p.Errors)
	}
}

// A bad header ends the connection with the decoder's error; the decoder, not the client, judges.
func TestBadHeaderIsFatal(t *testing.T) {
	r := newRig(t, Config{Conns: 1, Payload: 8, Depth: 1, Window: 100 * time.Millisecond})
	b := r.ts[0].replies(t)[0]
	b[5] = 9
	if _, _, err := r.all[0].OnData(b); err == nil {
		t.Error("a reply of another version was accepted")
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	r := newRig(t, Config{Conns: 1, Payload: 64, Depth: 8, Window: time.Hour})
	tr := r.ts[0]
	buf := make([]byte, 0, 1<<16)
	reply := func() {
		r.at += 1000
		buf = append(buf[:0], tr.out...)
		tr.out = tr.out[:0]
		for n := 0; n < len(buf); n += framer.HeaderLen + 64 {
			buf[n+7], buf[n+8], buf[n+9] = byte(framer.FlagResp|framer.FlagEnd), 0, statusOK
		}
		if _, _, err := r.all[0].OnData(buf); err != nil {
			t.Fatal(err)
		}
	}
	reply()
	if n := testing.AllocsPerRun(1000, reply); n != 0 {
		t.Errorf("%v allocations per batch of 8 frames", n)
	}
	if e := r.finish().Errors; e.WrongPayload+e.OutOfOrder != 0 {
		t.Errorf("%+v", e)
	}
}

func TestQueue(t *testing.T) {
	var q queue
	var model []int64
	for i := range int64(1000) {
		q.push(i)
		model = append(model, i)
		if i%3 == 0 || i > 700 {
			v, ok := q.pop()
			if !ok || v != model[0] {
				t.Fatalf("pop %d, %v; want %d", v, ok, model[0])
			}
			model = model[1:]
		}
		if q.n != len(model) {
			t.Fatalf("%d queued, want %d", q.n, len(model))
		}
	}
	q = queue{}
	if _, ok := q.pop(); ok {
		t.Error("an empty queue gave something")
	}
}
