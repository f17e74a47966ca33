package reactor

import (
	"runtime/debug"
	"sync"
)

// workers runs handshake steps: at most limit at once, each on a goroutine that ends when there is nothing left to do.
// This is the accept semaphore of the seed: a permit is held while a step computes, never while a peer is awaited. The
// queue holds at most one step per connection.
type workers struct {
	mu      sync.Mutex
	queue   []*Conn
	head    int
	running int
	limit   int
	idle    sync.Cond // running has become 0
}

func newWorkers(limit int) *workers {
	w := &workers{limit: limit}
	w.idle.L = &w.mu
	return w
}

// submit has c's filter make a step. Any goroutine.
func (w *workers) submit(c *Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running < w.limit {
		w.running++
		go w.run(c)
		return
	}
	w.queue = append(w.queue, c)
}

// run makes steps until the queue is empty.
func (w *workers) run(c *Conn) {
	for c != nil {
		done, err := step(c.filter)
		if c.loop.push(task{kind: taskStep, c: c, done: done, err: err}) != nil {
			c.filter.Release() // the loop has stopped: nobody else will
		}
		c = w.next()
	}
}

// next takes the next connection from the queue; nil ends the worker.
func (w *workers) next() *Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.head == len(w.queue) {
		w.queue, w.head = w.queue[:0], 0
		w.running--
		if w.running == 0 {
			w.idle.Broadcast()
		}
		return nil
	}
	c := w.queue[w.head]
	w.queue[w.head] = nil
	w.head++
	if w.head > 64 && 2*w.head > len(w.queue) { // keep the array from growing while the queue never runs empty
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
