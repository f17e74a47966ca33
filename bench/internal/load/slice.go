package load

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/sched"
)

// span is a part of a load whose latencies are kept apart, on one loop. Loop only.
type span struct {
	from, to int64 // offsets: requests due in [from, to) belong to it
	lat      *hist.Recorder
}

func (s *span) holds(at int64) bool { return at >= s.from && at < s.to }

// sliceSettle is the pause between two looks at whether a slice's requests are all answered.
const sliceSettle = 10 * time.Millisecond

// Slice measures the requests of an open loop that fall due in the next d, while Measure runs on another goroutine, and
// returns their latencies. Requests that have no reply drainTimeout after the slice's end count with the time they have
// waited. One goroutine at a time.
func (f *Fleet) Slice(ctx context.Context, d time.Duration) (hist.Latency, error) {
	if !f.cfg.open() {
		return hist.Latency{}, errors.New("slices are parts of an open loop")
	}
	from := f.now() + int64(leadIn)
	to := from + int64(d)
	for _, g := range f.groups {
		f.post(g, func() { g.slice = &span{from: from, to: to, lat: hist.New()} })
	}
	sum := hist.New()
	for limit := to + int64(drainTimeout); ; {
		if err := sched.Sleep(ctx, max(time.Duration(to-f.now()), sliceSettle)); err != nil {
			return hist.Latency{}, err
		}
		last := f.now() >= limit
		open, err := f.collect(ctx, sum, last)
		if err != nil {
			return hist.Latency{}, err
		}
		if open == 0 || last {
			return sum.Summary(), nil
		}
	}
}

// collect asks every loop how many requests of its slice are open, and takes the slices over when none is, or at last.
func (f *Fleet) collect(ctx context.Context, sum *hist.Recorder, last bool) (open int, err error) {
	type answer struct {
		g    *group
		open int
	}
	answers := make(chan answer, len(f.groups))
	asked := 0
	for _, g := range f.groups {
		if f.post(g, func() { answers <- answer{g, g.openIn(math.MaxInt64, nil)} }) {
			asked++
		}
	}
	for range asked {
		select {
		case a := <-answers:
			open += a.open
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	if open > 0 && !last {
		return open, nil
	}
	taken := make(chan *span, len(f.groups))
	asked = 0
	for _, g := range f.groups {
		if f.post(g, func() {
			if g.slice != nil {
				g.openIn(g.f.now(), g.slice.lat)
			}
			taken <- g.slice
			g.slice = nil
		}) {
			asked++
		}
	}
	for range asked {
		select {
		case s := <-taken:
			if s != nil {
				sum.Merge(s.lat)
			}
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	return open, nil
}

// openIn counts the slice's requests that have no reply yet, also those due and not even written. With a recorder they are
// recorded with the time they have waited until now.
func (g *group) openIn(now int64, into *hist.Recorder) (n int) {
	if g.slice == nil {
		return 0
	}
	g.open(g.slice.from, g.slice.to, func(start int64) {
		n++
		if into != nil {
			into.Record(time.Duration(now - start))
		}
	})
	return n
}

// open calls fn with the start of every request within [from, to) that has no reply yet: those in flight and, in an open
// loop, those that are not even written. A connection that has ended owes nothing: its end is counted by itself. Loop only.
func (g *group) open(from, to int64, fn func(start int64)) {
	within := func(start int64) {
		if start >= from && start < to {
			fn(start)
		}
	}
	due := min(to, g.until)
	for _, c := range g.old {
		c.inflight.each(within)
	}
	for _, c := range g.conns {
		c.inflight.each(within)
		if !g.f.cfg.open() || c.state == connEnded {
			continue
		}
		for k := int64(c.next - c.base); ; k++ {
			at := g.f.due(c.idx, k)
			if at >= due {
				break
			}
			within(at)
		}
	}
}
