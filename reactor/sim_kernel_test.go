package reactor

import (
	"math/rand/v2"

	"golang.org/x/sys/unix"
)

// simKind is what a descriptor of the simulated kernel stands for.
type simKind uint8

const (
	simSpare   simKind = iota // /dev/null
	simEpoll                  // an epoll set
	simEvent                  // an eventfd
	simListen                 // a listening socket
	simConnect                // a stream socket
)

// simFile is one open descriptor.
type simFile struct {
	fd      int
	kind    simKind
	sock    *simSocket   // simConnect
	queue   []*simSocket // simListen: connected, not accepted
	watches []*simWatch  // registrations of this file, in the order of waking

	ready    []*simWatch       // simEpoll: what has changed and was not told
	sleeping bool              // simEpoll: a loop waits
	past     []unix.EpollEvent // simEpoll: registrations that are gone
}

// simWatch is one registration in an epoll set.
type simWatch struct {
	ep, file *simFile
	ev       unix.EpollEvent
	listed   bool // on ep.ready
	gone     bool
}

// simFaults are chances in 1,000 per call.
type simFaults struct {
	eintr, short, nobufs, reset int
	accept, add, spare          int
	preempt, reorder, stale     int
	spurious                    int // only every other schedule: it wakes a loop that has missed an event
}

// simKernel models the part of Linux that a loop sees: descriptors whose numbers are used again lowest first, sockets with
// bounded buffers, epoll with its ready list (an edge-triggered registration is listed by a change and told once, with the
// state at the moment of the wait; a level-triggered one stays listed while its state lasts), eventfds, and a clock.
// Everything runs in one goroutine at a time; the choices are the seed's.
type simKernel struct {
	s      *sim
	rng    *rand.Rand
	clock  int64
	files  []*simFile
	open   int
	limit  int // descriptors that may be open at once
	faults simFaults
	cur    *simLoop // whose code runs; nil: the world's
	closes int
}

func (k *simKernel) chance(perMille int) bool { return perMille > 0 && k.rng.IntN(1000) < perMille }

// install gives f the lowest free number; -1: there are no descriptors left.
func (k *simKernel) install(f *simFile) int {
	if k.open >= k.limit {
		return -1
	}
	k.open++
	for fd := 3; fd < len(k.files); fd++ {
		if k.files[fd] == nil {
			k.files[fd], f.fd = f, fd
			return fd
		}
	}
	for len(k.files) < 3 {
		k.files = append(k.files, nil)
	}
	f.fd = len(k.files)
	k.files = append(k.files, f)
	return f.fd
}

// file finds what fd stands for; anything but kind is the loop's error.
func (k *simKernel) file(op string, fd int, kind simKind) *simFile {
	if fd < 0 || fd >= len(k.files) || k.files[fd] == nil {
		k.s.failf("%s on descriptor %d, which is closed", op, fd)
		return nil
	}
	if f := k.files[fd]; f.kind == kind {
		return f
	}
	k.s.failf("%s on descriptor %d, which is of kind %d", op, fd, k.files[fd].kind)
	return nil
}

func (k *simKernel) close(fd int) {
	k.preempt()
	if fd < 0 || fd >= len(k.files) || k.files[fd] == nil {
		k.s.failf("close of descriptor %d, which is closed", fd)
		return
	}
	f := k.files[fd]
	k.files[fd] = nil
	k.open--
	k.closes++
	for _, w := range f.watches {
		k.forget(w)
	}
	f.watches = nil
	if f.sock != nil {
		f.sock.hangUp()
	}
	for _, s := range f.queue {
		s.peer.gotReset = true
	}
}

func (k *simKernel) spare() int {
	if k.chance(k.faults.spare) {
		return -1
	}
	return k.install(&simFile{kind: simSpare})
}

func (k *simKernel) epollCreate() (int, unix.Errno) { return k.install(&simFile{kind: simEpoll}), 0 }
func (k *simKernel) eventfd() (int, unix.Errno)     { return k.install(&simFile{kind: simEvent}), 0 }

func (k *simKernel) wake(fd int) {
	if f := k.file("wake", fd, simEvent); f != nil {
		k.notify(f, unix.EPOLLIN)
	}
}

// now may be the point where a loop is interrupted: between looking at its queue and sleeping.
func (k *simKernel) now() int64 {
	k.preempt()
	return k.clock
}

// preempt hands over to the world in the middle of a turn; the clock stands still meanwhile.
func (k *simKernel) preempt() {
	if k.cur != nil && k.chance(k.faults.preempt) {
		k.cur.pass(simMidTurn)
	}
}

func (k *simKernel) epollAdd(ep, fd int, ev *unix.EpollEvent) unix.Errno {
	k.preempt()
	set := k.file("epoll_ctl", ep, simEpoll)
	if set == nil || fd < 0 || fd >= len(k.files) || k.files[fd] == nil {
		k.s.failf("epoll_ctl adds descriptor %d, which is closed", fd)
		return unix.EBADF
	}
	f := k.files[fd]
	for _, w := range f.watches {
		if w.ep == set {
			k.s.failf("descriptor %d is added twice", fd)
			return unix.EEXIST
		}
	}
	if f.sock != nil {
		f.sock.bornAt = k.clock
	}
	if k.cur != nil && k.chance(k.faults.add) {
		errno := [...]unix.Errno{unix.ENOSPC, unix.ENOMEM}[k.rng.IntN(2)]
		if f.sock != nil {
			f.sock.met(errno)
		}
		return errno
	}
	w := &simWatch{ep: set, file: f, ev: *ev}
	f.watches = append(f.watches, w)
	if k.mask(w) != 0 {
		k.list(w)
	}
	return 0
}

func (k *simKernel) epollDel(ep, fd int) unix.Errno {
	k.preempt()
	if fd >= 0 && fd < len(k.files) && k.files[fd] != nil {
		f := k.files[fd]
		for i, w := range f.watches {
			if w.ep.fd == ep {
				f.watches = append(f.watches[:i], f.watches[i+1:]...)
				k.forget(w)
				return 0
			}
		}
	}
	k.s.failf("epoll_ctl removes descriptor %d, which is not in the set", fd)
	return unix.ENOENT
}

// forget takes a registration that has ended off its set's list.
func (k *simKernel) forget(w *simWatch) {
	w.gone = true
	if len(w.ep.past) < 64 && w.ev.Fd >= 0 {
		w.ep.past = append(w.ep.past, w.ev)
	}
	for i, r := range w.ep.ready {
		if r == w {
			w.ep.ready = append(w.ep.ready[:i], w.ep.ready[i+1:]...)
			return
		}
	}
}

// list notes that w's state has changed.
func (k *simKernel) list(w *simWatch) {
	if !w.listed {
		w.listed = true
		w.ep.ready = append(w.ep.ready, w)
	}
}

// notify tells the watchers of f that bits have come up. Of exclusive ones it goes on until one was asleep.
func (k *simKernel) notify(f *simFile, bits uint32) {
	for _, w := range f.watches {
		if (w.ev.Events|unix.EPOLLERR|unix.EPOLLHUP)&bits == 0 {
			continue
		}
		k.list(w)
		if w.ev.Events&unix.EPOLLEXCLUSIVE != 0 && w.ep.sleeping {
			return
		}
	}
}

// mask is the state of w's file, as far as w asks for it.
func (k *simKernel) mask(w *simWatch) uint32 {
	var m uint32
	switch w.file.kind {
	case simEvent:
		m = unix.EPOLLIN
	case simListen:
		if len(w.file.queue) > 0 {
			m = unix.EPOLLIN
		}
	case simConnect:
		m = w.file.sock.poll()
	}
	return m & (w.ev.Events | unix.EPOLLERR | unix.EPOLLHUP)
}

// due says whether a wait on set would return something; what has nothing to tell any more goes off the list.
func (k *simKernel) due(set *simFile) bool {
	for len(set.ready) > 0 {
		if k.mask(set.ready[0]) != 0 {
			return true
		}
		set.ready[0].listed = false
		set.ready = set.ready[1:]
	}
	return false
}

// collect is the end of a wait.
func (k *simKernel) collect(set *simFile, evs []unix.EpollEvent) int {
	n := 0
	if k.chance(k.faults.reorder) {
		k.rng.Shuffle(len(set.ready), func(i, j int) { set.ready[i], set.ready[j] = set.ready[j], set.ready[i] })
	}
	if k.chance(k.faults.reorder) {
		evs = evs[:1+k.rng.IntN(3)] // a batch is full: the rest comes late
	}
	list := set.ready
	set.ready = nil
	for _, w := range list {
		m := k.mask(w)
		if m == 0 {
			w.listed = false
			continue
		}
		if n == len(evs) {
			set.ready = append(set.ready, w)
			continue
		}
		evs[n] = unix.EpollEvent{Events: m, Fd: w.ev.Fd, Pad: w.ev.Pad}
		n++
		if w.ev.Events&epollET == 0 {
			set.ready = append(set.ready, w) // level-triggered: looked at again
			continue
		}
		w.listed = false
	}
	if n > 0 && n < len(evs) {
		n += k.untrue(set, evs[n:n+1])
	}
	k.relieve(evs[:n])
	return n
}

// relieve notes that the peers of these events have room again: output that waits for tokens no longer waits for them.
func (k *simKernel) relieve(evs []unix.EpollEvent) {
	for _, ev := range evs {
		if ev.Fd < 0 || ev.Events&unix.EPOLLOUT == 0 {
			continue
		}
		c := k.cur.l.slots[ev.Fd]
		if c == nil || c.gen != ev.Pad || !c.blocked || c.outAt == 0 {
			continue
		}
		if f := k.files[c.fd]; f != nil && f.sock != nil {
			f.sock.stalledAt = -1
		}
	}
}

// untrue adds one event that a kernel may deliver but need not: for a registration that is gone, or once more for one that
// was told.
func (k *simKernel) untrue(set *simFile, ev []unix.EpollEvent) int {
	switch {
	case k.chance(k.faults.stale) && len(set.past) > 0:
		ev[0] = set.past[k.rng.IntN(len(set.past))]
		ev[0].Events = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLHUP
		return 1
	case k.chance(k.faults.spurious):
		f := k.files[3+k.rng.IntN(len(k.files)-3)]
		if f == nil || f.kind != simConnect || len(f.watches) == 0 || f.watches[0].ep != set || f.sock.connecting {
			return 0
		}
		w := f.watches[0]
		ev[0] = unix.EpollEvent{Events: k.mask(w) | unix.EPOLLIN | unix.EPOLLOUT, Fd: w.ev.Fd, Pad: w.ev.Pad}
		return 1
	}
	return 0
}

func (k *simKernel) epollPoll(ep int, evs []unix.EpollEvent) (int, unix.Errno) {
	set := k.file("epoll_wait", ep, simEpoll)
	k.cur.pass(simPolling)
	return k.collect(set, evs), 0
}

func (k *simKernel) epollWait(ep int, evs []unix.EpollEvent, ms int) (int, unix.Errno) {
	set := k.file("epoll_wait", ep, simEpoll)
	sl := k.cur
	k.s.checkSleep(sl, ms)
	sl.until, sl.interrupted = -1, false
	if ms >= 0 {
		sl.until = k.clock + int64(ms)*1e6
	}
	set.sleeping = true
	sl.pass(simWaiting)
	set.sleeping = false
	if sl.interrupted {
		return -1, unix.EINTR
	}
	return k.collect(set, evs), 0
}

func (k *simKernel) accept(fd int) (int, unix.Sockaddr, unix.Errno) {
	k.preempt()
	f := k.file("accept", fd, simListen)
	switch {
	case f == nil:
		return -1, nil, unix.EBADF
	case k.chance(k.faults.accept):
		errno := [...]unix.Errno{unix.EMFILE, unix.ENFILE, unix.ECONNABORTED, unix.EINTR, unix.ENOBUFS, unix.ENOMEM, unix.EPERM}[k.rng.IntN(7)]
		if errno == unix.ECONNABORTED && len(f.queue) > 0 {
			f.queue[0].peer.gotReset = true
			f.queue = f.queue[1:]
		}
		return -1, nil, errno
	case len(f.queue) == 0:
		return -1, nil, unix.EAGAIN
	}
	s := f.queue[0]
	nf := &simFile{kind: simConnect, sock: s}
	if k.install(nf) < 0 {
		return -1, nil, unix.EMFILE
	}
	s.file = nf
	f.queue = f.queue[1:]
	s.peer.accepted = true
	return nf.fd, &unix.SockaddrInet4{Port: 1000 + s.peer.id, Addr: s.peer.addr}, 0
}
