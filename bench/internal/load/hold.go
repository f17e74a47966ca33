package load

import (
	"context"
	"time"
)

// Hold has the timetable stop in a moment, and returns when everything that fell due before is answered, or no reply
// has come for drainTimeout. Connections stay. Measure runs meanwhile on another goroutine; one goroutine at a time holds, resumes and slices.
func (f *Fleet) Hold(ctx context.Context) error {
	until := f.now() + int64(leadIn)
	if err := f.onLoops(ctx, func(g *group) { g.until = min(g.until, until) }); err != nil {
		return err
	}
	f.drain(ctx)
	return ctx.Err()
}

// Resume goes on with the timetable after a Hold, from now on: what would have been due meanwhile is left out.
func (f *Fleet) Resume(ctx context.Context) error {
	return f.onLoops(ctx, func(g *group) { g.resume(f.now()) })
}

// limit is the offset from which no request is due. Loop only.
func (g *group) limit() int64 { return min(g.f.end.Load(), g.until) }

// resume ends a hold. Loop only.
func (g *group) resume(now int64) {
	if g.until == never || len(g.conns) == 0 {
		return
	}
	from := time.Duration(now + int64(leadIn) - g.f.origin)
	for _, c := range g.conns {
		for k := int64(c.next - c.base); g.f.due(c.idx, k) < g.until; k++ {
			c.unanswered(c.base+uint64(k), g.f.due(c.idx, k), now) // could not even be written
		}
		g.k = g.f.plan.DueBefore(c.idx, from) // the last connection's is the smallest
		c.base = c.next - uint64(g.k)
	}
	g.until, g.pos = never, 0
	g.nextDue.Store(g.f.due(g.conns[0].idx, g.k))
}
