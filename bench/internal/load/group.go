package load

import (
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// group is the load's state on one loop. Its connections all live on that loop, which alone touches the plain fields
// until the loops have ended; the atomic ones are read by the controller meanwhile.
type group struct {
	f     *Fleet
	index int // among the fleet's groups
	tmpls *templates
	conns []*conn // ready connections in the order of their numbers once the load has started

	lat    *hist.Recorder // latencies within the window
	denied uint64         // open loop: requests due in the window that had to wait for a permit
	late   *hist.Recorder // open loop: how long after its due time a request was written, within the window
	errs   report.Errors
	bySize []bySize       // of a mixed load, one for each of its parts; else nil
	series *series        // the window interval by interval; nil: not kept
	fresh  *fresh         // of a cold load; else nil
	lag    *hist.Recorder // how long tasks waited for the loop, within the window

	old   []*conn // replaced, and owed answers when that happened
	slice *span   // nil: none is being measured
	until int64   // the timetable is held from this offset on; never: it is not

	// The cursor of the timetable: conns[pos] is due next, with its request k.
	pos int
	k   int64

	confirmed     uint64        // one way: events that have arrived, as the server says
	moved         uint64        // connections that took over from one whose server shut down
	inWindow      uint64        // good replies within the window; one way: events written
	writtenInside uint64        // requests written within the window
	answered      atomic.Uint64 // good replies, published after every batch
	nextDue       atomic.Int64  // offset of the next request of the timetable; never when there is none
	poked         atomic.Bool   // the pacer's wake-up is on its way

	_ [64]byte // keeps the next group's counters off this one's cache line
}

// never is a due time that does not come.
const never = math.MaxInt64

func newGroup(f *Fleet, index int) *group {
	g := &group{f: f, index: index, until: never, tmpls: newTemplates(&f.cfg), lat: hist.New(), late: hist.New(), lag: hist.New()}
	if len(f.cfg.Mix) > 0 {
		for range f.cfg.Mix {
			g.bySize = append(g.bySize, bySize{lat: hist.New()})
		}
	}
	if f.cfg.Cold {
		g.fresh = &fresh{shaken: hist.New()}
	}

	g.nextDue.Store(never)
	return g
}

// pump writes every request of the timetable that is due at the offset now, on all connections of the loop.
func (g *group) pump(now int64) {
	if g.nextDue.Load() > now {
		return
	}
	end := g.limit()
	for {
		c := g.conns[g.pos]
		due := g.f.due(c.idx, g.k)
		if due >= end {
			g.nextDue.Store(never)
			break
		}
		if due > now {
			g.nextDue.Store(due)
			break
		}
		c.catchUp(now)
		if g.pos++; g.pos == len(g.conns) {
			g.pos, g.k = 0, g.k+1
		}
	}
}

// onPoke runs on the loop when the pacer found the timetable due.
func (g *group) onPoke() {
	g.poked.Store(false)
	g.pump(g.f.now())
}

// inside says whether an offset is within the measuring window.
func (g *group) inside(at int64) bool { return g.f.within(at) }

// within says whether an offset is within the measuring window. Any goroutine.
func (f *Fleet) within(at int64) bool { return at >= f.begin.Load() && at < f.end.Load() }

// start begins the load on this loop.
func (g *group) start() {
	slices.SortFunc(g.conns, func(a, b *conn) int { return a.idx - b.idx })
	if len(g.conns) == 0 {
		return
	}
	now := g.f.now()
	for _, c := range g.conns {
		c.base = c.next
		if !g.f.cfg.open() {
			c.fill(now)
		}
	}
	if g.f.cfg.open() {
		g.nextDue.Store(g.f.due(g.conns[0].idx, 0))
	}
}

// settle counts what was due within the window and never answered, with the least latency it can have had. It runs after
// the loops have ended.
func (g *group) settle(end int64) {
	for _, c := range slices.Concat(g.conns, g.old) {
		if g.f.cfg.OneWay {
			if !c.confirmed {
				g.errs.Unanswered += c.tally.Frames // nobody knows whether they have arrived
			}
			continue
		}
		for {
			start, ok := c.inflight.pop()
			if !ok {
				break
			}
			c.unanswered(c.want, start, end)
			c.want++
		}
		if !g.f.cfg.open() || c.heir.Load() != nil {
			continue
		}
		for k := int64(c.next - c.base); ; k++ {
			due := g.f.due(c.idx, k)
			if due >= g.limit() {
				break
			}
			c.unanswered(c.base+uint64(k), due, end)
		}
	}
}

// unanswered counts request seq, which is due at start and has no reply by end.
func (c *conn) unanswered(seq uint64, start, end int64) {
	if c.g.inside(start) {
		c.g.errs.Unanswered++
		c.g.record(c.idx, seq, time.Duration(end-start), end)
	}
}

// bySize is what is kept apart for one size of a mixed load.
type bySize struct {
	lat    *hist.Recorder
	frames uint64 // as inWindow
}

// record keeps the latency of request seq of a connection, which ended at an offset.
func (g *group) record(conn int, seq uint64, d time.Duration, at int64) {
	g.lat.Record(d)
	g.series.record(d, at)
	if g.bySize != nil {
		g.bySize[g.tmpls.part(conn, seq)].lat.Record(d)
	}
}

// counted adds request seq of a connection to what the window carries, at an offset.
func (g *group) counted(conn int, seq uint64, at int64) {
	g.inWindow++
	g.series.counted(at)
	if g.bySize != nil {
		g.bySize[g.tmpls.part(conn, seq)].frames++
	}
}
