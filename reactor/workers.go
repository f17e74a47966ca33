package reactor

import (
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// workers runs handshake steps: at most limit at once, each on a goroutine that ends when there is nothing left to do.
// This is the accept semaphore of the seed: a permit is held while a step runs, never while a peer is awaited. The queue
// holds at most one step per connection.
//
// Of the permits only as many as leave one core to the loops are used at first: while every core computes a step of some
// 300 µs, a loop that has something to do waits for it (measured: docs/performance.md). The others are for steps that do
// not compute but wait, in a user's callback: they are used when no step has ended for a while.
type workers struct {
	mu      sync.Mutex
	queue   []*Conn
	head    int
	running int
	peak    int    // most that have run at once
	ended   uint64 // steps
	busy    int    // workers used at first
	limit   int
	watched bool      // a look at the queue is due
	idle    sync.Cond // running has become 0
}

func newWorkers(limit int) *workers {
	w := &workers{limit: limit, busy: min(limit, max(1, runtime.GOMAXPROCS(0)-1))}
	w.idle.L = &w.mu
	return w
}

// submit has c's filter make a step. Any goroutine.
func (w *workers) submit(c *Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running < w.busy {
		w.begin()
		go w.run(c, w.ended)
		return
	}
	w.queue = append(w.queue, c)
	w.watch()
}

// begin takes a permit.
func (w *workers) begin() {
	w.running++
	w.peak = max(w.peak, w.running)
}

// mostAtOnce is how many permits were out at once at most. Any goroutine.
func (w *workers) mostAtOnce() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.peak
}

// watch arranges for a look at the queue, if there are permits left that could move it.
func (w *workers) watch() {
	if w.watched || w.running >= w.limit {
		return
	}
	w.watched = true
	ended := w.ended
	time.AfterFunc(stepStall, func() { w.look(ended) })
}

// look uses one more permit when no step has ended since ended was read, although some wait.
func (w *workers) look(ended uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.watched = false
	if w.head == len(w.queue) {
		return
	}
	if w.ended == ended && w.running < w.limit {
		w.begin()
		go w.run(w.pop(), w.ended)
	}
	w.watch()
}

// run makes steps until the queue is empty. ended is w.ended when c was taken.
func (w *workers) run(c *Conn, ended uint64) {
	defer func() {
		if c != nil { // a user's callback has called runtime.Goexit, which ends this goroutine and nothing else
			stepEnded(c, false, errGoexit)
			go w.run(w.next(ended))
		}
	}()
	for c != nil {
		done, err := false, ErrClosed
		if !c.gone.Load() { // its deadline may have passed while it waited for a worker
			done, err = step(c.filter)
		}
		stepEnded(c, done, err)
		runtime.Gosched() // a loop that has woken up must not wait behind a row of steps
		c, ended = w.next(ended)
	}
}

// stepEnded gives c's filter back to its loop.
func stepEnded(c *Conn, done bool, err error) {
	if c.loop.push(task{kind: taskStep, c: c, done: done, err: err}) != nil {
		c.filter.Release() // the loop has stopped: nobody else will
	}
}

// next takes the next connection from the queue; nil ends the worker. One above the usual number also ends when the others
// have made steps since it took its last one.
func (w *workers) next(ended uint64) (*Conn, uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	alone := w.ended == ended
	w.ended++
	if w.head < len(w.queue) && (w.running <= w.busy || alone) {
		return w.pop(), w.ended
	}
	w.running--
	if w.running == 0 {
		w.idle.Broadcast()
	}
	if w.head < len(w.queue) {
		w.watch()
	}
	return nil, 0
}

// pop takes the first connection out of the queue, which is not empty.
func (w *workers) pop() *Conn {
	c := w.queue[w.head]
	w.queue[w.head] = nil
	w.head++
	switch {
	case w.head == len(w.queue):
		w.queue, w.head = w.queue[:0], 0
	case w.head > 64 && 2*w.head > len(w.queue): // keep the array from growing while the queue never runs empty
		n := copy(w.queue, w.queue[w.head:])
		clear(w.queue[n:])
		w.queue, w.head = w.queue[:n], 0
	}
	return c
}

// wait returns when no step runs.
func (w *workers) wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.running > 0 {
		w.idle.Wait()
	}
}

// step turns a panic in a user's callback (certificates, verification) into an error.
func step(f Filter) (done bool, err error) {
	defer func() {
		if v := recover(); v != nil {
			done, err = false, &PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return f.Step()
}
