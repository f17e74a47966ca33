package main

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/ron-transport/ron-transport/framer"
)

// maxReplyDelay bounds --reply-delay: the end of the server waits for the last reply.
const maxReplyDelay = time.Second

// late answers requests some time after they have come, as a handler does that asks a backend: meanwhile their frames are
// retained, and hold permits. Replies keep the order of the requests.
type late struct {
	delay time.Duration

	held, peak atomic.Int64 // frames retained now, and at most

	mu      sync.Mutex // guards what follows
	queue   []held
	running bool // a goroutine answers the queue
	idle    sync.Cond
}

// held is a frame that waits for its answer.
type held struct {
	frame *framer.Retained
	due   time.Time
}

// newLate is nil for a server that answers at once.
func newLate(delay time.Duration) *late {
	if delay == 0 {
		return nil
	}
	l := &late{delay: delay}
	l.idle.L = &l.mu
	return l
}

// take keeps a request until it is due. Loop only.
func (l *late) take(f *framer.Frame) {
	r := f.Retain()
	if r == nil {
		return // the framer has answered it
	}
	n := l.held.Add(1)
	for p := l.peak.Load(); n > p && !l.peak.CompareAndSwap(p, n); p = l.peak.Load() {
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, held{r, time.Now().Add(l.delay)})
	if !l.running {
		l.running = true
		go l.answer() // ends with the queue; wait is told
	}
}

// answer empties the queue.
func (l *late) answer() {
	for {
		l.mu.Lock()
		batch := l.queue
		l.queue = nil
		if len(batch) == 0 {
			l.running = false
			l.idle.Broadcast()
			l.mu.Unlock()
			return
		}
		l.mu.Unlock()
		for _, h := range batch {
			time.Sleep(time.Until(h.due))
			l.held.Add(-1)                               // before the permit is back, so that peak never exceeds the permits
			_ = h.frame.Reply(statusOK, h.frame.Payload) // fails when the connection has ended: OnClose has the cause
		}
	}
}

// wait returns when every request has been answered. Call it when no more come.
func (l *late) wait() {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.running {
		l.idle.Wait()
	}
}
