package framer

import (
	"sync/atomic"
	"time"

	"github.com/ron-transport/ron-transport/pool/latency"
)

// LoopTransport is what a Transport on an event loop implements besides; reactor.Conn does. Without it frames are counted all the
// same, but not how long they were held.
type LoopTransport interface {
	// Loop is the number of the loop. Any goroutine.
	Loop() int
	// LoopTime is the loop's clock in nanoseconds, read once per turn. Loop only.
	LoopTime() int64
}

// statuses are the status codes that responses are counted by (oap1.md); others count as the last, 0.
var statuses = [...]uint16{200, 206, 400, 401, 403, 404, 413, 429, 500, 503, 0}

const numStatuses = len(statuses)

// statusIndex is the index of code in statuses. The first, which nearly all are, is found first.
func statusIndex(code uint16) int {
	for i, s := range statuses[:numStatuses-1] {
		if s == code {
			return i
		}
	}
	return numStatuses - 1
}

// meter is what the sessions of one loop count. They add to it atomically, because endpoints of several reactors may share it, but
// hardly anybody else does: so no cache line goes from core to core. Frames, and answers in OnFrame with 200, are added once per OnData, see
// tally; every other answer costs two additions of its own, and a frame that is retained three to six (docs/metrics.md).
type meter struct {
	frames    atomic.Uint64
	responses [numStatuses]atomic.Uint64
	inflight  atomic.Int64
	held      latency.Histogram
	_         [64]byte
}

// responded counts a response that was sent.
func (m *meter) responded(code uint16) { m.responses[statusIndex(code)].Add(1) }

// tally is what one OnData counts, so that a frame that is answered with 200 in OnFrame costs no atomic operation of its own.
type tally struct{ frames, ok uint64 }

// answeredNow counts a frame that Reply or ReplyReserve has answered with another status than 200.
func (m *meter) answeredNow(code uint16) {
	m.responded(code)
	m.held.ObserveZero(1)
}

// addTo adds the tally to m.
func (t *tally) addTo(m *meter) {
	if t.frames > 0 {
		m.frames.Add(t.frames)
	}
	if t.ok > 0 {
		m.responses[0].Add(t.ok)
		m.held.ObserveZero(t.ok)
	}
}

// Stats counts what endpoints do, and what they reject by reason. It may be shared by endpoints. The zero value is ready; it must not be
// copied. Any goroutine.
type Stats struct {
	rejected [numReasons]atomic.Uint64
	meters   [meterSlots]atomic.Pointer[counting] // by loop; nil: no session yet
}

// Rejected is how often a frame or connection was rejected for r. Any goroutine.
func (s *Stats) Rejected(r Reason) uint64 {
	if r >= numReasons {
		return 0
	}
	return s.rejected[r].Load()
}

// meter is what a session on t's loop counts with.
func (s *Stats) meter(t Transport) *counting {
	slot := 0
	if lt, ok := t.(LoopTransport); ok {
		slot = lt.Loop() % meterSlots
	}
	if m := s.meters[slot].Load(); m != nil {
		return m
	}
	s.meters[slot].CompareAndSwap(nil, &counting{meter: new(meter)})
	return s.meters[slot].Load()
}

// Counters is a snapshot of a Stats.
type Counters struct {
	Frames uint64 // frames received, also those that were refused, and a header that ended the connection
	// Responses sent by status: every status of the protocol, and 0 for others. One that comes in many frames (Session.Send) counts once, at
	// its END and with the status that END has; ACKs are not counted.
	Responses map[uint16]uint64
	Rejected  map[Reason]uint64 // what Stats.Rejected tells, every reason
	Inflight  int64             // frames that handlers hold (Frame.Retain)
	// Held is how long requests were held, from OnFrame to the answer or the release. The clock is the loop's, which stands still during
	// a turn: what is answered in OnFrame took less than it can tell and counts in the first bucket. Frames that OnFrame neither answers
	// (Session.Send is no answer to a frame in this sense) nor retains are not in it, nor those whose release came when the connection's
	// loop could not be reached any more.
	Held latency.Snapshot
}

// Counters returns a snapshot; what sessions count meanwhile may be in it in part. Any goroutine.
func (s *Stats) Counters() Counters {
	c := Counters{Responses: make(map[uint16]uint64, numStatuses), Rejected: make(map[Reason]uint64, numReasons)}
	for _, code := range statuses {
		c.Responses[code] = 0
	}
	for r := BadVersion; r < numReasons; r++ {
		c.Rejected[r] = s.Rejected(r)
	}
	for i := range s.meters {
		m := s.meters[i].Load()
		if m == nil {
			continue
		}
		c.Frames += m.frames.Load()
		c.Inflight += m.inflight.Load()
		for j, code := range statuses {
			c.Responses[code] += m.responses[j].Load()
		}
		m.held.AddTo(&c.Held)
	}
	return c
}

// hold begins to count a frame that is retained.
func (r *Retained) hold() {
	r.s.m.inflight.Add(1)
	if lt, ok := r.s.t.(LoopTransport); ok {
		r.at, r.timed = lt.LoopTime(), true
	}
}

// heldFor is how long the frame has been held, by the loop's clock. Loop only.
func (r *Retained) heldFor() time.Duration {
	if lt, ok := r.s.t.(LoopTransport); ok {
		return time.Duration(lt.LoopTime() - r.at)
	}
	return 0
}

// settle counts how long a frame was held whose end has come to the loop. Loop only.
func (r *Retained) settle(status uint16) {
	held := r.heldFor()
	if r.timed {
		r.s.m.held.Observe(held)
	}
	r.traced(status, held)
}
