package load

import (
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// series is what one loop keeps of every interval of the window. All its memory is there before the load starts, and which interval a reply
// belongs to is a matter of its own time: nothing is swapped or asked for while the load runs. Loop only until the loops have ended. A nil
// series keeps nothing.
type series struct {
	f    *Fleet
	bins []bin

	// The interval that was looked up last, and its offsets: nearly every reply is of the same one as that before it.
	now      *bin
	from, to int64
}

// bin is one interval on one loop.
type bin struct {
	frames uint64
	lat    hist.Brief
}

// seriesEvery is the length of the intervals of a window: seriesStep, and whole milliseconds more where that would make too many.
func seriesEvery(window time.Duration) time.Duration {
	each := (window + maxIntervals - 1) / maxIntervals
	return max(seriesStep, (each + time.Millisecond - 1).Truncate(time.Millisecond))
}

// intervals is how many of them a window has, the last one shorter where it must.
func intervals(window, every time.Duration) int { return int((window + every - 1) / every) }

// keepSeries has all loops keep the window interval by interval. Before they start.
func (f *Fleet) keepSeries() {
	f.every = int64(seriesEvery(f.cfg.Window))
	n := intervals(f.cfg.Window, time.Duration(f.every))
	for _, g := range f.groups {
		g.series = &series{f: f, bins: make([]bin, n)}
	}
}

// at is the interval of an offset. What comes after the window, in the drain, belongs to the last one.
func (s *series) at(offset int64) *bin {
	if offset < s.from || offset >= s.to {
		begin := s.f.begin.Load() // it does not move any more when there is something to keep
		i := max(0, min((offset-begin)/s.f.every, int64(len(s.bins)-1)))
		s.now, s.from, s.to = &s.bins[i], begin+i*s.f.every, begin+(i+1)*s.f.every
	}
	return s.now
}

// record keeps a latency that ended at an offset.
func (s *series) record(d time.Duration, offset int64) {
	if s != nil {
		s.at(offset).lat.Record(d)
	}
}

// counted adds a good reply that came at an offset, or an event that was written then.
func (s *series) counted(offset int64) {
	if s != nil {
		s.at(offset).frames++
	}
}

// seriesOf joins what the loops have kept; nil when they keep nothing, or the window was cut before it began. After the loops have ended.
func (f *Fleet) seriesOf() *report.Series {
	window := time.Duration(f.end.Load() - f.begin.Load())
	if f.every == 0 || window <= 0 {
		return nil
	}
	every := time.Duration(f.every)
	n := intervals(window, every)
	out := &report.Series{IntervalMS: millis(every), Points: make([]report.Point, 0, n)}
	for i := range n {
		sum := new(bin)
		for _, g := range f.groups {
			last := i + 1
			if last == n { // a window that was cut has had a drain, too
				last = len(g.series.bins)
			}
			for j := i; j < last; j++ {
				sum.add(&g.series.bins[j])
			}
		}
		out.Points = append(out.Points, sum.point(every*time.Duration(i), min(every*time.Duration(i+1), window)))
	}
	return out
}

func (b *bin) add(o *bin) {
	b.frames += o.frames
	b.lat.Merge(&o.lat)
}

// point is the interval that goes from one time of the window to another. What the processes used is the caller's.
func (b *bin) point(from, to time.Duration) report.Point {
	return report.Point{
		AtS: to.Seconds(), FPS: float64(b.frames) / (to - from).Seconds(), Replies: b.lat.Count(),
		P50: millis(b.lat.Quantile(50)), P99: millis(b.lat.Quantile(99)), MaxMS: millis(b.lat.Max()),
	}
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// sampler calls Hooks.Sample at the ends of intervals. Controller.
type sampler struct {
	f    *Fleet
	take func(at time.Duration) // nil: it does nothing
	next int64                  // offset of the next end
}

// sample calls it now.
func (s *sampler) sample() {
	if s.take == nil {
		return
	}
	since := s.f.now() - s.f.begin.Load()
	s.take(time.Duration(since))
	s.next = s.f.begin.Load() + (since/s.f.every+1)*s.f.every
}

// due samples when an interval has ended, and returns when the next one does: never without a series.
func (s *sampler) due(now int64) int64 {
	if s.take == nil {
		return never
	}
	if now >= s.next {
		s.sample()
	}
	return s.next
}
