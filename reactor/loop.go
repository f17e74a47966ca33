package reactor

import (
	"math"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ron-transport/ron-transport/pool"
)

// epollET is unix.EPOLLET as the field's type wants it; the constant is negative.
const epollET = 1 << 31

// loop is one event loop. Its fields belong to its goroutine, except those said to be shared.
type loop struct {
	r    *Reactor
	id   int
	ep   int
	efd  int
	now  int64 // the clock, read once per turn
	pool *pool.Pool

	slots     []*Conn // by slot; nil: free
	freeSlots []int32
	gen       int32 // of the newest connection; an event with another generation than its slot's connection is stale
	conns     int   // registered connections
	stopping  bool

	watches  []*Watch // by slot; nil: free
	watching int      // watches that are not nil

	events  []unix.EpollEvent
	evNext  int // events[evNext:evCount] have not been dispatched
	evCount int
	tasks   []task
	tkNext  int

	cur    *Conn // whose input is being processed
	active *Conn // whose callback runs
	work   workBuffer
	in     *pool.Buf // plaintext scratch
	cipher []byte    // ciphertext scratch: one kept record and one read
	sealed []byte    // sealed output of one flush
	// gathered holds the plaintext of one record that straddles segments, and its content type.
	gathered []byte
	iov      [maxIovecs]unix.Iovec
	freeSegs *seg

	ready     backlog[*Conn]  // to be read without an event
	dirty     backlog[*Conn]  // to be flushed
	woken     backlog[*Watch] // to be called without an event
	dead      []*Conn         // to be buried
	high, low int             // the marks in force, see weigh
	refused   int             // connections that are being refused
	queued    int64           // output that waits, of all connections that were flushed
	turnEnd   int64           // the clock as it was read after the turn, before blocking; 0: it was not
	unseen    int             // turns in which no deadline is judged yet, because the clock has jumped: see clockTurn
	backBy    int64           // when the wait was to be over at the latest
	judgeFrom int64           // likewise: no deadline is judged before
	judged    bool            // deadlines were judged since judgeFrom was set
	wheel     wheel
	nextDecay int64
	listeners []*acceptor
	spare     int // a descriptor to give up when there are none left; -1: none

	count    [numCounters]uint64
	closedBy [numReasons]uint64
	stats    published // shared

	queue taskQueue     // shared
	load  atomic.Int64  // shared: connections bound to this loop, also those on their way
	idle  chan struct{} // shared: closed when a shutdown has left no connection
	done  chan struct{}
}

// push gives the loop a task that a user posted.
func (l *loop) push(t task) error {
	wake, err := l.queue.push(t, t.kind != taskFunc)
	if wake {
		l.r.sys.wake(l.efd)
	}
	return err
}

// run turns until the reactor has stopped, the last connection is gone, and the last batch of tasks is done.
func (l *loop) run() {
	defer close(l.done)
	worked := true
	for !l.stopping || l.conns > 0 || l.watching > 0 || l.tasks != nil {
		n := l.wait(worked)
		l.clockTurn(worked, n)
		l.evNext, l.evCount = 0, n
		if l.tasks == nil {
			l.tasks, l.tkNext = l.queue.take(), 0
		}
		worked = n > 0 || len(l.tasks) > 0 || l.busy()
		for !l.turn() {
		}
		l.publish()
		l.tellIdle()
	}
	l.teardown()
}

// clockTurn reads the clock for the next turn, and counts how long the last one took if it had work: until the loop looked at its
// sockets again or, if nothing was there, was about to block. The clock is not read once more for that.
//
// A loop that did not run for long (a process that was stopped, a machine that was suspended) finds the clock beyond many deadlines, and on
// its sockets what came in time. So no deadline is judged after a jump before all sockets were looked at: until an epoll_wait has fewer than
// it could return, or as many turns have passed as it takes to be told of every connection. What came on the sockets of a Watch goes through
// other goroutines before it is a connection's, so there it has some time as well. A loop whose turns all take that long must judge too:
// that time is not given again before deadlines were judged.
func (l *loop) clockTurn(worked bool, events int) {
	began := l.now
	l.now = l.r.sys.now()
	if l.judged && l.watching > 0 && l.now-l.backBy > int64(clockJump) {
		l.judgeFrom, l.judged = l.now+int64(clockJump), false
	}
	switch {
	case l.unseen == 0 && l.now-began > int64(clockJump):
		l.unseen = l.conns/len(l.events) + 1
	case events < len(l.events):
		l.unseen = 0
	case l.unseen > 0:
		l.unseen--
	}
	if worked {
		end := l.turnEnd
		if end == 0 {
			end = l.now
		}
		l.stats.turns.Observe(time.Duration(end - began))
	}
	l.turnEnd = 0
}

// turn does everything that one wake-up brought. It returns false when a callback has panicked: that connection is
// aborted and the turn goes on where it was.
func (l *loop) turn() (ok bool) {
	defer func() {
		if !ok {
			l.recovered(recover())
		}
	}()
	for l.evNext < l.evCount {
		ev := &l.events[l.evNext]
		l.evNext++
		l.dispatch(ev)
	}
	for n := 0; l.tkNext < len(l.tasks) && n < tasksPerTurn; n++ {
		t := &l.tasks[l.tkNext]
		l.tkNext++
		l.perform(t)
	}
	if l.tasks != nil && l.tkNext == len(l.tasks) {
		l.queue.recycle(l.tasks)
		l.tasks, l.tkNext = nil, 0
	}
	l.runWoken()
	l.runReady()
	if l.unseen == 0 && l.now >= l.judgeFrom {
		l.judged = true
		l.wheel.advance(l.now, expiriesPerTurn, l.expire)
	}
	l.flushDirty()
	l.bury()
	l.weigh()
	l.upkeep()
	return true
}

// recovered deals with a panic in a callback. One that no callback caused is a bug of this package, and goes on.
func (l *loop) recovered(v any) {
	c := l.active
	if c == nil {
		panic(v)
	}
	l.active = nil
	l.count[counterPanics]++
	if l.work.buf != nil {
		l.dropWork()
		l.work = workBuffer{}
	}
	l.cur = nil
	stack := debug.Stack()
	l.abort(c, &PanicError{Value: v, Stack: stack})
	l.r.tellPanic(v, func() []byte { return stack })
	if l.r.onPanic != nil {
		l.r.onPanic(v)
	}
}

// busy says whether work waits that needs no event.
func (l *loop) busy() bool {
	return len(l.ready.next) > 0 || len(l.dirty.next) > 0 || len(l.woken.next) > 0 || l.tasks != nil || l.unseen > 0 || l.now >= l.judgeFrom && l.wheel.left()
}

// wait returns the number of events. After a turn with work it looks without waiting first, and lets other goroutines run
// before it blocks: blocking at once costs more per frame and per wake-up (10–12 % of the server's CPU time per 4 KiB echo).
func (l *loop) wait(worked bool) int {
	l.backBy = l.now
	if worked || l.busy() {
		if n, errno := l.r.sys.epollPoll(l.ep, l.events); n > 0 && errno == 0 {
			return n
		}
		if l.busy() || l.yield() {
			return 0
		}
	}
	l.queue.sleeping.Store(true)
	defer l.queue.sleeping.Store(false)
	if l.queue.waiting.Load() > 0 {
		return 0
	}
	ms := l.timeout()
	l.backBy = math.MaxInt64
	if ms >= 0 {
		l.backBy = l.turnEnd + int64(ms)*int64(time.Millisecond)
	}
	n, errno := l.r.sys.epollWait(l.ep, l.events, ms)
	if errno != 0 {
		return 0 // EINTR; anything else is met again by the calls that follow
	}
	l.count[counterWakes]++
	return n
}

// yield lets other goroutines run, and returns whether they have brought work. Where connections are on sockets of a Watch, what
// the loop has read goes through several goroutines before it comes back as a task; blocking in between costs more than asking a
// few times.
func (l *loop) yield() (work bool) {
	rounds := 1
	if l.watching > 0 {
		rounds = watchYields
	}
	for range rounds {
		runtime.Gosched()
		if l.queue.waiting.Load() > 0 {
			return true
		}
	}
	return false
}

// timeout is how long the loop may block, in milliseconds; -1 for ever.
func (l *loop) timeout() int {
	now := l.r.sys.now()
	l.turnEnd = now
	at, ok := l.wheel.next()
	at = max(at, l.judgeFrom)
	for _, a := range l.listeners {
		if a.rearmAt != 0 && (!ok || a.rearmAt < at) {
			at, ok = a.rearmAt, true
		}
	}
	if (l.pool.Stats().CachedBytes > 0 || l.conns == 0 && l.in != nil) && (!ok || l.nextDecay < at) {
		at, ok = l.nextDecay, true
	}
	if !ok {
		return -1
	}
	return int(max(0, at-now+int64(time.Millisecond)-1) / int64(time.Millisecond))
}

// dispatch acts on one event, unless it is stale.
func (l *loop) dispatch(ev *unix.EpollEvent) {
	if ev.Fd < 0 {
		switch {
		case ev.Fd <= watchToken:
			l.watched(ev)
		case ev.Fd != wakeToken:
			l.acceptFrom(int(-ev.Fd) - 2)
		}
		return
	}
	c := l.slots[ev.Fd]
	if c == nil || c.gen != ev.Pad || c.state == stateClosed {
		l.count[counterStale]++
		return
	}
	l.event(c, ev.Events)
}

// event acts on one event of c.
func (l *loop) event(c *Conn, ev uint32) {
	if c.state == stateConnecting {
		if ev&(unix.EPOLLOUT|unix.EPOLLERR|unix.EPOLLHUP) != 0 {
			l.connected(c)
		}
		if c.state == stateClosed || c.state == stateConnecting {
			return
		}
	}
	if ev&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.hangup = true
	}
	if ev&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		c.readable = true
	}
	if ev&unix.EPOLLOUT != 0 && c.blocked {
		c.blocked = false
		if c.outAt != 0 {
			c.stallAt, c.outWindow.from = 0, 0 // from here on it waits for our tokens, not for the peer
		}
		l.flush(c)
	}
	if ev&unix.EPOLLERR != 0 && !c.canRead() && c.state != stateClosed {
		if errno := l.r.sys.socketError(int(c.fd)); errno != 0 {
			l.kill(c, ioError("socket", errno))
		}
	}
	if c.readable && c.canRead() {
		l.input(c)
	}
}

// perform runs one task.
func (l *loop) perform(t *task) {
	switch t.kind {
	case taskFunc:
		l.call(t.fn)
	case taskAdopt:
		l.adopt(t.fd, t.lis, t.sa)
	case taskDial:
		if l.stopping { // nobody would end it
			l.kill(t.c, ErrShuttingDown)
			return
		}
		l.startDial(t.c, t.sa)
	case taskStep:
		l.stepped(t.c, t.done, t.err)
	case taskReady:
		l.becameReady(t.c)
	case taskAttach:
		l.attach(t.c)
	case taskWatch, taskUnwatch, taskWake:
		l.performWatch(t)
	case taskDrain:
		l.stopping = true
		l.tkNext-- // after a panic in a callback it is done again, for the connections that are left
		for _, c := range l.slots {
			if c != nil {
				l.shutdownConn(c)
			}
		}
		l.tkNext++
	case taskAbort:
		for _, c := range l.slots {
			if c != nil && c.state != stateClosed {
				c.Abort(ErrShuttingDown)
			}
		}
	case taskLink:
		l.link(t.c, t.peer)
	case taskPipe:
		l.setPiped(t.c, t.peer, t.word)
	case taskShare:
		l.shareListener(t.lis)
	case taskListen:
		l.addListener(t.lis)
	case taskClose:
		l.tkNext-- // likewise
		l.closeListener(t.lis)
		l.tkNext++
		t.fn()
	}
}

// call runs a posted function; a panic in it is counted, there is no connection to blame.
func (l *loop) call(fn func()) {
	defer l.survive()
	fn()
}

// survive is deferred where a panic is nobody's but the caller's.
func (l *loop) survive() {
	if v := recover(); v != nil {
		l.count[counterPanics]++
		l.r.tellPanic(v, debug.Stack)
		if l.r.onPanic != nil {
			l.r.onPanic(v)
		}
	}
}

// enqueue has c's input looked at in the next turn without an event.
func (l *loop) enqueue(c *Conn) {
	if !c.queued && c.state != stateClosed {
		c.queued = true
		l.ready.next = append(l.ready.next, c)
	}
}

// runReady reads the connections that were left with more to read; what they leave again is the next turn's.
func (l *loop) runReady() {
	l.ready.turn()
	for c := l.ready.take(); c != nil; c = l.ready.take() {
		c.queued = false
		if c.state != stateClosed && (c.pending || c.readable && c.canRead()) {
			l.input(c)
		} else if c.state == stateOpen {
			l.armRead(c) // it may have been paused inside a frame
		}
	}
}

// flushLater has c's output flushed at the end of the turn.
func (l *loop) flushLater(c *Conn) {
	if !c.dirty {
		c.dirty = true
		l.dirty.next = append(l.dirty.next, c)
	}
}

// flushDirty flushes what was written outside of the input path: once per connection and turn.
func (l *loop) flushDirty() {
	l.dirty.turn()
	for c := l.dirty.take(); c != nil; c = l.dirty.take() {
		c.dirty = false
		l.flush(c)
	}
}

// weigh sets the marks by what the loop's connections hold together. Those that wait for the low mark hear of a change when
// they are next looked at.
func (l *loop) weigh() {
	cfg := &l.r.cfg
	l.high, l.low = cfg.HighWater, cfg.LowWater
	if b := cfg.BufferBudget; b > 0 && l.pool.OutstandingBytes() > int64(b/cfg.Loops) {
		l.high, l.low = min(l.high, pressedMark), min(l.low, pressedMark/2)
	}
}

// upkeep gives memory back and lets listeners try again.
func (l *loop) upkeep() {
	for _, a := range l.listeners {
		if a.rearmAt != 0 && l.now >= a.rearmAt {
			l.rearm(a)
		}
	}
	if l.now >= l.nextDecay {
		l.nextDecay = l.now + int64(decayEvery)
		l.pool.Decay()
		if l.conns == 0 && l.in != nil { // whoever shares it has a reference of their own
			l.in.Release()
			l.in = nil
		}
	}
}

// teardown ends a loop without connections: tasks that came too late still run, so that nobody waits for ever.
func (l *loop) teardown() {
	for _, t := range l.queue.stop() {
		switch t.kind {
		case taskFunc:
			l.call(t.fn)
		case taskAdopt:
			l.r.sys.close(t.fd)
			l.load.Add(-1)
		case taskDial:
			l.kill(t.c, ErrShuttingDown)
		case taskAttach:
			l.refuseAttach(t.c)
		case taskStep:
			t.c.filter.Release()
		case taskClose, taskWatch, taskUnwatch:
			t.fn()
		}
	}
	for len(l.dead) > 0 { // dialled or attached
		l.call(l.bury)
	}
	if l.in != nil {
		l.in.Release()
		l.in = nil
	}
	l.publish()
	l.tellIdle()
	if l.spare >= 0 {
		l.r.sys.close(l.spare)
	}
	l.r.sys.close(l.efd)
	l.r.sys.close(l.ep)
}
