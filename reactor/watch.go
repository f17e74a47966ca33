package reactor

import (
	"errors"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Watcher is told when a descriptor that is no connection can be used, such as a UDP socket.
type Watcher interface {
	// OnReady says what may be tried now; nothing when it is called because of again or Watch.Wake. It must not block. With
	// again it is called in the next turn without an event, so it can stop after a fair share. The registration is
	// edge-triggered: what was not read or written until it would block is not told again. A panic in it is counted
	// (Stats.Panics) and goes no further; the watch stays. Loop only.
	OnReady(ev Readiness) (again bool)
}

// Watch is a descriptor on a loop.
type Watch struct {
	l      *loop
	fd     int
	w      Watcher
	slot   int32 // in the loop's table; -1: not there
	gen    int32
	queued bool        // on the loop's list of watches to be called
	waking atomic.Bool // shared: Wake was called, and the loop does not know yet
	added  chan error
	once   sync.Once
}

// Watch has a loop tell w of a descriptor until Watch.Close returns. OnReady is called for what is there already, also before
// Watch has returned. fd must be non-blocking; it stays the caller's, and is closed after Watch.Close. A loop does not end while
// it has watches: see Service. Any goroutine except a loop's.
func (r *Reactor) Watch(loop, fd int, w Watcher) (*Watch, error) {
	switch {
	case w == nil:
		return nil, errors.New("reactor: the Watcher is nil, one is required")
	case loop < 0 || loop >= len(r.loops):
		return nil, rangeError("loop", loop, 0, len(r.loops)-1)
	}
	wa := &Watch{l: r.loops[loop], fd: fd, w: w, slot: -1, added: make(chan error, 1)}
	if err := wa.l.push(task{kind: taskWatch, watch: wa, fn: func() { wa.added <- ErrShuttingDown }}); err != nil {
		return nil, ErrShuttingDown
	}
	if err := <-wa.added; err != nil {
		return nil, err
	}
	return wa, nil
}

// Wake has OnReady called once more without an event, in one of the next turns; that call sees what the caller did before.
// After Close it does nothing. Any goroutine.
func (w *Watch) Wake() {
	if w.waking.CompareAndSwap(false, true) {
		_ = w.l.push(task{kind: taskWake, watch: w}) // fails when the loop has stopped: then the watch is closed
	}
}

// Close ends the watch: when it returns, OnReady is not running and will not be called any more. Any goroutine except a loop's.
func (w *Watch) Close() error {
	w.once.Do(func() {
		done := make(chan struct{})
		if err := w.l.push(task{kind: taskUnwatch, watch: w, fn: func() { close(done) }}); err == nil {
			<-done
		}
	})
	return nil
}

// performWatch runs one task about a watch.
func (l *loop) performWatch(t *task) {
	switch {
	case t.kind == taskWake:
		t.watch.waking.Store(false) // OnReady comes after this, and sees what the next Wake is not called for
		l.wakeLater(t.watch)
	case t.kind == taskUnwatch:
		l.dropWatch(t.watch)
		t.fn()
	case l.stopping: // nobody would end it
		t.fn()
	default:
		t.watch.added <- l.addWatch(t.watch)
	}
}

// addWatch registers a descriptor.
func (l *loop) addWatch(w *Watch) error {
	w.slot = int32(len(l.watches))
	for i, x := range l.watches {
		if x == nil {
			w.slot = int32(i)
			break
		}
	}
	l.gen++
	w.gen = l.gen
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | epollET, Fd: watchToken - w.slot, Pad: w.gen}
	if errno := l.r.sys.epollAdd(l.ep, w.fd, &ev); errno != 0 {
		w.slot = -1
		return ioError("epoll_ctl", errno)
	}
	if int(w.slot) == len(l.watches) {
		l.watches = append(l.watches, nil)
	}
	l.watches[w.slot] = w
	l.watching++
	return nil
}

// dropWatch forgets a descriptor.
func (l *loop) dropWatch(w *Watch) {
	if w.slot < 0 {
		return
	}
	l.r.sys.epollDel(l.ep, w.fd)
	l.watches[w.slot] = nil
	w.slot = -1
	l.watching--
}

// watched tells a watch of an event, unless it is stale.
func (l *loop) watched(ev *unix.EpollEvent) {
	i := int(watchToken - ev.Fd)
	if i >= len(l.watches) || l.watches[i] == nil || l.watches[i].gen != ev.Pad {
		l.count[counterStale]++
		return
	}
	var r Readiness
	if ev.Events&(unix.EPOLLIN|unix.EPOLLERR) != 0 {
		r |= ReadReady
	}
	if ev.Events&(unix.EPOLLOUT|unix.EPOLLERR) != 0 {
		r |= WriteReady
	}
	if ev.Events&(unix.EPOLLHUP|unix.EPOLLRDHUP) != 0 {
		r |= HangUp
	}
	l.callWatch(l.watches[i], r)
}

// callWatch calls OnReady; a panic in it is counted, there is no connection to blame.
func (l *loop) callWatch(w *Watch, ev Readiness) {
	defer l.survive()
	if w.w.OnReady(ev) {
		l.wakeLater(w)
	}
}

// wakeLater has w called in the next turn.
func (l *loop) wakeLater(w *Watch) {
	if !w.queued && w.slot >= 0 {
		w.queued = true
		l.woken.next = append(l.woken.next, w)
	}
}

// runWoken calls the watches that have more to do.
func (l *loop) runWoken() {
	l.woken.turn()
	for w := l.woken.take(); w != nil; w = l.woken.take() {
		w.queued = false
		if w.slot >= 0 {
			l.callWatch(w, 0)
		}
	}
}
