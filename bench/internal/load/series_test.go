package load

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/report"
)

func TestIntervals(t *testing.T) {
	for _, c := range []struct {
		window, every time.Duration
		n             int
	}{
		{MinWindow, 200 * time.Millisecond, 1}, {500 * time.Millisecond, 200 * time.Millisecond, 3}, {6 * time.Second, 200 * time.Millisecond, 30},
		{2 * time.Minute, 200 * time.Millisecond, 600}, {2*time.Minute + 1, 201 * time.Millisecond, 598}, {10 * time.Minute, time.Second, 600},
		{MaxWindow, 1008 * time.Second, 600},
	} {
		every := seriesEvery(c.window)
		if n := intervals(c.window, every); every != c.every || n != c.n {
			t.Errorf("%v: %d intervals of %v, want %d of %v", c.window, n, every, c.n, c.every)
		}
	}
}

// naive is what a series should be: every reply as it came.
type naive struct{ came, took []int64 }

// check compares a phase with what came: every latency and every frame is in its interval, and none is lost.
func (m *naive) check(t *testing.T, p *report.Phase, frames []int64) {
	t.Helper()
	if p.Series == nil {
		t.Fatal("no series")
	}
	every, window := p.Series.IntervalMS/1e3, p.WindowS
	n := len(p.Series.Points)
	if want := int(math.Ceil(window/every - 1e-9)); n != want {
		t.Fatalf("%d points of %v s in a window of %v s, want %d", n, every, window, want)
	}
	type sum struct {
		replies, frames int64
		max             float64
	}
	want := make([]sum, n)
	in := func(at int64) *sum { return &want[min(int(at/int64(every*1e9+0.5)), n-1)] }
	for i, at := range m.came {
		s := in(at)
		s.replies++
		s.max = max(s.max, max(float64(m.took[i])/1e6, 1e-3))
	}
	for _, at := range frames {
		in(at).frames++
	}
	var replies int64
	var carried, slowest, from float64
	for i, pt := range p.Series.Points {
		good := pt.FPS * (pt.AtS - from)
		if pt.Replies != want[i].replies || math.Abs(good-float64(want[i].frames)) > 1e-6 || math.Abs(pt.MaxMS-want[i].max) > 1e-9 {
			t.Errorf("interval %d: %+v with %v frames, want %+v", i, pt, good, want[i])
		}
		if pt.P50 > pt.P99 || pt.P99 > pt.MaxMS || (pt.P50 == 0) != (pt.Replies == 0) {
			t.Errorf("interval %d: percentiles %+v", i, pt)
		}
		replies, carried, slowest, from = replies+pt.Replies, carried+good, max(slowest, pt.MaxMS), pt.AtS
	}
	if math.Abs(from-window) > 1e-9 {
		t.Errorf("the last interval ends at %v s, the window at %v s", from, window)
	}
	if replies != p.Latency.Count || math.Abs(carried-float64(p.Frames)) > 1e-6 || !near(p.Latency.MaxMS, slowest) {
		t.Errorf("the intervals have %d latencies up to %v ms and %v frames, the phase %d up to %v ms and %d", replies, slowest, carried,
			p.Latency.Count, p.Latency.MaxMS, p.Frames)
	}
}

// However replies and events come, in the window and in the drain, the series holds exactly what the phase does.
func TestSeriesAgainstNaiveModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		window := MinWindow + time.Duration(rng.Int64N(int64(5*time.Second)))
		f, err := NewFleet(Config{Conns: 1, Depth: 1, Payload: 8, Window: window}, &Net{cfg: NetConfig{Transport: TCP, Loops: 3}, carrier: &loopNet{}})
		if err != nil {
			t.Fatal(err)
		}
		f.keepSeries()
		f.begin.Store(0)
		f.end.Store(int64(window))
		if rng.IntN(3) == 0 { // cut short
			f.end.Store(rng.Int64N(int64(window)) + 1)
		}
		var m naive
		var frames []int64
		for range 500 {
			g := f.groups[rng.IntN(3)]
			at, took := rng.Int64N(f.end.Load()+int64(time.Second)), rng.Int64N(int64(time.Second))
			g.record(0, 1, time.Duration(took), at)
			m.came, m.took = append(m.came, at), append(m.took, took)
			if g.inside(at) {
				g.counted(0, 1, at)
				frames = append(frames, at)
			}
		}
		m.check(t, f.phase(f.end.Load()), frames)
	}
}

// A reply counts where it arrives, whenever it was due; what has none counts at the end.
func TestSeriesOfAnOpenLoopWithAStall(t *testing.T) {
	r := newRig(t, Config{Conns: 1, Payload: 8, RPS: 100, Window: time.Second})
	for r.at = 0; r.at < 1000*ms; r.at += 10 * ms {
		r.f.groups[0].pump(r.at)
		if r.at < 210*ms || r.at >= 590*ms && r.at < 800*ms { // else the server stalls
			r.echoAll()
		}
	}
	r.at = 1100 * ms
	p := r.finish()
	pts := p.Series.Points
	if len(pts) != 5 || pts[0].Replies != 20 || pts[1].Replies != 1 || pts[2].Replies != 39 || pts[3].Replies != 20 || pts[4].Replies != 20 {
		t.Fatalf("%+v", pts)
	}
	if pts[1].FPS != 5 || pts[2].FPS != 195 || pts[4].FPS != 0 || !near(pts[2].MaxMS, 380) || !near(pts[4].MaxMS, 300) {
		t.Errorf("%+v", pts)
	}
	if p.Errors.Unanswered != 20 {
		t.Errorf("%+v", p.Errors)
	}
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	var back report.Phase
	if err := json.Unmarshal(b, &back); err != nil || len(back.Series.Points) != 5 || back.Series.Points[2] != pts[2] || len(back.Curve) != len(p.Curve) {
		t.Errorf("%v: %s", err, b)
	}
}

// One way the points are of what was written.
func TestSeriesOfAOneWayLoad(t *testing.T) {
	r := prepareRig(t, Config{Conns: 1, Payload: 8, OneWay: true, Window: time.Second})
	r.ts[0].room = 7
	r.start()
	for r.at = 100 * ms; r.at < 1000*ms; r.at += 100 * ms {
		r.ts[0].room = 7
		r.all[0].OnDrained()
	}
	p := r.finish()
	for i, pt := range p.Series.Points {
		if pt.FPS != 70 || pt.Replies != 0 || pt.P50 != 0 {
			t.Errorf("interval %d: %+v, want 14 events in 200 ms and no latency", i, pt)
		}
	}
	if len(p.Series.Points) != 5 || p.Frames != 70 || p.Curve != nil {
		t.Errorf("%d points, %d frames, curve %v", len(p.Series.Points), p.Frames, p.Curve)
	}
}

// The sampler is called once for the intervals that have ended, however late, and aims at the next end.
func TestSamplerCatchesUp(t *testing.T) {
	r := newRig(t, Config{Conns: 1, Payload: 8, Depth: 1, Window: time.Second})
	var took []time.Duration
	s := sampler{f: r.f, take: func(at time.Duration) { took = append(took, at) }}
	r.at = 3 * ms
	s.sample()
	for _, c := range []struct{ at, next int64 }{{199, 200}, {200, 400}, {399, 400}, {905, 1000}, {950, 1000}} {
		r.at = c.at * ms
		if next := s.due(r.at); next != c.next*ms {
			t.Errorf("at %d ms: the next end is at %v, want %d ms", c.at, time.Duration(next), c.next)
		}
	}
	if len(took) != 3 || took[0] != 3*time.Millisecond || took[2] != 905*time.Millisecond {
		t.Errorf("samples at %v", took)
	}
	none := sampler{f: r.f}
	none.sample()
	if none.due(r.at) != never {
		t.Error("there is an end without a series")
	}
}

// BenchmarkSeries is what a reply costs more for the series.
func BenchmarkSeries(b *testing.B) {
	f, err := NewFleet(Config{Conns: 1, Depth: 1, Payload: 8, Window: MaxWindow}, &Net{cfg: NetConfig{Transport: TCP, Loops: 1}, carrier: &loopNet{}})
	if err != nil {
		b.Fatal(err)
	}
	f.keepSeries()
	f.begin.Store(0)
	f.end.Store(never)
	s := f.groups[0].series
	b.ReportAllocs()
	for i := range int64(b.N) {
		at := i * 10_000
		s.record(time.Duration(i&0xfffff+20_000), at)
		s.counted(at)
	}
}

// BenchmarkRecord is one latency of the phase's own, to compare with.
func BenchmarkRecord(b *testing.B) {
	g := newGroup(&Fleet{cfg: Config{Payload: 8}}, 0)
	for i := range int64(b.N) {
		g.lat.Record(time.Duration(i&0xfffff + 20_000))
	}
}
