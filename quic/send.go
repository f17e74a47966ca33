package quic

import (
	"sync"
	"time"
)

// sender writes the chunks of a connection's streams in the order in which they came, two at a time: so a frame leaves in one
// piece, and its receiver has little to put together. With quic-go's own order, a packet of each stream in turn, all frames
// under way end at about the same time, and every stream's reader is woken for each of its packets (64 KiB frames on 16 streams: 6
// reads and more for each, instead of 2). The second of the two waits behind the first, so that there is no gap between them. What
// does not get on, because the peer has closed its window or because the path is slow, does not count: it shares with those
// behind it as quic-go does.
type sender struct {
	c  *Conn
	fn func() // the goroutines' function, made once

	mu      sync.Mutex
	fifo    []*stream // with chunks to write, from head on
	head    int
	workers int           // goroutines that are not stuck
	first   *stream       // of their streams, the one that goes first; nil: none
	second  *stream       // the one behind it
	pace    time.Duration // what chunks take
	check   *time.Timer
	checked bool // the timer runs
}

// The order of quic-go (RFC 9218, §4.1: lower goes first). urgencyFirst is what every stream has to begin with: what is small
// goes beside the first chunk, not behind it.
const (
	urgencyFirst  = 3
	urgencySecond = 4
)

// enqueue has s's chunks written.
func (q *sender) enqueue(s *stream) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.push(s)
	q.staff()
}

// staff has goroutines work on what waits. When there are enough of them, it is looked at after a while whether they are stuck.
func (q *sender) staff() {
	waiting := len(q.fifo) - q.head
	for ; waiting > 0 && q.workers < maxWriters; waiting-- {
		q.workers++
		if q.fn == nil {
			q.fn = q.run
		}
		q.c.ep.wg.Add(1)
		go q.fn()
	}
	switch {
	case waiting <= 0 || q.checked:
	case q.check == nil:
		q.checked = true
		q.check = time.AfterFunc(q.patience(), q.look)
	default:
		q.checked = true
		q.check.Reset(q.patience())
	}
}

func (q *sender) push(s *stream) {
	if q.head > 0 && len(q.fifo) == cap(q.fifo) {
		n := copy(q.fifo, q.fifo[q.head:])
		clear(q.fifo[n:])
		q.fifo, q.head = q.fifo[:n], 0
	}
	q.fifo = append(q.fifo, s)
}

// pop takes the stream whose turn it is; nil when none waits.
func (q *sender) pop() *stream {
	if q.head == len(q.fifo) {
		return nil
	}
	s := q.fifo[q.head]
	q.fifo[q.head] = nil
	if q.head++; q.head == len(q.fifo) {
		q.fifo, q.head = q.fifo[:0], 0
	}
	return s
}

// run is a goroutine.
func (q *sender) run() {
	defer q.c.ep.wg.Done()
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		s := q.pop()
		if s == nil {
			q.workers--
			return
		}
		q.begin(s)
		q.staff()
		q.mu.Unlock()
		more := s.writeNext()
		q.mu.Lock()
		q.took(time.Since(s.since))
		stuck := q.finish(s)
		if more {
			q.push(s)
		}
		if stuck {
			if q.workers == maxWriters {
				q.staff()
				return
			}
			q.workers++
		}
	}
}

// begin puts s in its place.
func (q *sender) begin(s *stream) {
	s.since = time.Now()
	urgency := urgencyFirst
	if q.first == nil {
		q.first = s
	} else {
		q.second, urgency = s, urgencySecond
	}
	s.prioritize(int8(urgency))
}

// finish takes s from its place, and returns whether it had lost it before.
func (q *sender) finish(s *stream) (stuck bool) {
	switch s {
	case q.first:
		if q.first, q.second = q.second, nil; q.first != nil {
			q.first.prioritize(urgencyFirst)
		}
	case q.second:
		q.second = nil
	default:
		return true
	}
	return false
}

// took notes how long a chunk has taken. One that was quick says more about the path than one that was slow, which may have waited for
// its stream's window.
func (q *sender) took(d time.Duration) {
	if d < q.pace {
		q.pace -= (q.pace - d) / 2
		return
	}
	q.pace += (min(d, stuckTimes*max(q.pace, stuckAfter/stuckTimes)) - q.pace) / 4
}

// patience is how long a chunk may take before it counts as stuck.
func (q *sender) patience() time.Duration {
	return min(max(stuckTimes*q.pace, stuckAfter), stuckAtMost)
}

// look takes those that are stuck out of the count. As long as none gets on, the path may be slow, and it becomes more patient.
func (q *sender) look() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.checked = false
	now, patience := time.Now(), q.patience()
	for _, s := range [2]*stream{q.first, q.second} {
		if s != nil && now.Sub(s.since) >= patience {
			q.finish(s)
			s.prioritize(urgencyFirst)
			q.workers--
			q.pace = max(q.pace, min(patience, stuckAtMost)/2)
		}
	}
	q.staff()
}

// prioritize gives the stream its place in quic-go's order.
func (s *stream) prioritize(urgency int8) {
	if s.urgency != urgency {
		s.urgency = urgency
		s.qs.SetPriority(urgency, true)
	}
}
