package reactor

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// taskKind says what a task asks of the loop.
type taskKind uint8

const (
	taskFunc    taskKind = iota // run fn
	taskAdopt                   // take over an accepted descriptor
	taskDial                    // start connecting c
	taskStep                    // a handshake step of c has ended
	taskDrain                   // say goodbye to every connection and drain
	taskAbort                   // abort every connection
	taskLink                    // make peer the partner of c (Pipe)
	taskPipe                    // c is told word by its partner peer
	taskListen                  // accept from a listener
	taskClose                   // close a listener
	taskShare                   // a listener is now shared with other processes
	taskAttach                  // take over a stream
	taskReady                   // a stream can be read or written again
	taskWatch                   // register a watch
	taskUnwatch                 // forget one
	taskWake                    // call one
)

// task is one item of a loop's queue.
type task struct {
	kind  taskKind
	done  bool // taskStep: the handshake is complete
	fd    int
	fn    func()
	c     *Conn
	peer  *Conn // taskLink, taskPipe
	word  pipeWord
	lis   *Listener
	watch *Watch
	sa    unix.Sockaddr
	err   error
}

// taskQueue carries work from other goroutines to a loop: many producers, one consumer, one lock per batch on the
// consumer's side, and one wake-up of a sleeping loop per batch.
type taskQueue struct {
	mu       sync.Mutex
	in       []task
	stopped  bool
	spare    []task
	waiting  atomic.Int32 // len(in), so that the loop can look without the lock
	sleeping atomic.Bool  // the loop is about to block, or blocks
}

// push adds t. internal tasks are not subject to the bound: they are bounded by the connections that exist. It reports
// whether the loop must be woken.
func (q *taskQueue) push(t task, internal bool) (wake bool, err error) {
	q.mu.Lock()
	switch {
	case q.stopped:
		q.mu.Unlock()
		return false, ErrClosed
	case len(q.in) >= maxTasks && !internal:
		q.mu.Unlock()
		return false, ErrQueueFull
	}
	q.in = append(q.in, t)
	q.waiting.Store(int32(len(q.in)))
	q.mu.Unlock()
	return q.sleeping.CompareAndSwap(true, false), nil
}

// take returns all tasks; the slice is the caller's until it gives it back with recycle.
func (q *taskQueue) take() []task {
	if q.waiting.Load() == 0 {
		return nil
	}
	q.mu.Lock()
	t := q.in
	q.in = q.spare
	q.spare = nil
	q.waiting.Store(0)
	q.mu.Unlock()
	return t
}

// recycle gives the slice of take back for reuse, unless a burst has made it large.
func (q *taskQueue) recycle(t []task) {
	clear(t)
	if cap(t) > tasksPerTurn {
		return
	}
	q.mu.Lock()
	q.spare = t[:0]
	q.mu.Unlock()
}

// stop refuses further tasks and returns those that are left.
func (q *taskQueue) stop() []task {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	t := q.in
	q.in = nil
	q.waiting.Store(0)
	return t
}
