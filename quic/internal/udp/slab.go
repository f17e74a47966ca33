package udp

import (
	"net"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// slab is the room for one message of recvmmsg, and then the message: datagrams of one peer, all of them segment bytes long
// but the last. It belongs to the depot while it is free or queued, to the loop while it is being read into, and to the
// reading goroutine while it is cut.
type slab struct {
	next *slab // in the depot's lists

	buf     []byte
	iov     unix.Iovec
	name    unix.RawSockaddrInet6
	control [controlSpace]byte

	nameLen, controlLen uint32
	flags               int32 // MSG_TRUNC, MSG_CTRUNC
	n                   int   // bytes of buf that the message fills

	// What the reading goroutine makes of it.
	off     int // bytes of buf that have been handed on
	segment int
	peer    *net.UDPAddr
	pass    [passedSpace]byte // control messages that are handed on with each datagram
	passLen int
	moved   bool // from another socket, which has counted it
}

func newSlab(size int) *slab {
	sl := &slab{buf: make([]byte, size)}
	sl.iov.Base = &sl.buf[0]
	sl.iov.SetLen(size)
	return sl
}

// aim points an entry of the vector at the slab.
func (sl *slab) aim(m *unix.Mmsghdr) {
	m.Hdr.Name = (*byte)(unsafe.Pointer(&sl.name))
	m.Hdr.Namelen = unix.SizeofSockaddrInet6
	m.Hdr.Iov = &sl.iov
	m.Hdr.Iovlen = 1
	m.Hdr.Control = &sl.control[0]
	m.Hdr.Controllen = controlSpace
	m.Hdr.Flags = 0
	m.Len = 0
}

// fill notes what the kernel has said about the message.
func (sl *slab) fill(m *unix.Mmsghdr) {
	sl.n, sl.moved = int(m.Len), false
	sl.nameLen = m.Hdr.Namelen
	sl.controlLen = uint32(m.Hdr.Controllen)
	sl.flags = m.Hdr.Flags
}

// list is a chain of slabs.
type list struct {
	head, tail *slab
	n          int
}

func (l *list) pushBack(sl *slab) {
	sl.next = nil
	if l.tail == nil {
		l.head = sl
	} else {
		l.tail.next = sl
	}
	l.tail = sl
	l.n++
}

func (l *list) pushFront(sl *slab) {
	sl.next = l.head
	l.head = sl
	if l.tail == nil {
		l.tail = sl
	}
	l.n++
}

func (l *list) pop() *slab {
	sl := l.head
	if sl == nil {
		return nil
	}
	l.head = sl.next
	if l.head == nil {
		l.tail = nil
	}
	sl.next = nil
	l.n--
	return sl
}

// depot holds a socket's slabs and hands them between the loop and the reading goroutine. Slabs that have been read are
// returned with the next call of either side, so that each batch costs one lock.
//
// Invariant: total = free.n + queue.n + those that the two sides hold, total ≤ maxSlabs.
type depot struct {
	mu      sync.Mutex
	arrived sync.Cond // queue has become non-empty, or err or deadline have changed

	queue   list // read by the loop, in order
	free    list // last used first
	total   int
	size    int  // of a slab's buffer
	least   int  // the smallest free.n since the last trim
	stalled bool // the loop has found no slab and waits to be woken

	err      error     // why there is nothing to be read any more
	deadline time.Time // of reading; zero: none
	timer    *time.Timer
	trimmer  *time.Timer
}

func (d *depot) init(size int) {
	d.size = size
	d.arrived.L = &d.mu
}

// equip gives the loop up to want slabs. It returns how many; with none the loop is stalled until a slab is returned.
func (d *depot) equip(into []*slab) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return 0
	}
	for i := range into {
		sl := d.free.pop()
		if sl == nil {
			if d.total >= maxSlabs {
				d.stalled = i == 0
				return i
			}
			sl = newSlab(d.size)
			d.total++
			d.watchIdle()
		}
		into[i] = sl
	}
	d.least = min(d.least, d.free.n)
	return len(into)
}

// deliver takes the loop's slabs back: the first n hold messages.
func (d *depot) deliver(from []*slab, n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		n = 0 // nobody reads any more
	}
	for i := len(from) - 1; i >= n; i-- {
		d.release(from[i])
	}
	for _, sl := range from[:n] {
		d.queue.pushBack(sl)
	}
	clear(from)
	if n > 0 {
		d.arrived.Signal()
	}
}

// move takes a datagram of a message that another socket has read. It joins the one before it if both are of one message. false: there is
// no room, or nobody reads any more.
func (d *depot) move(from *slab, datagram []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return false
	}
	sl := d.queue.tail
	if sl == nil || !sl.moved || !sl.continues(from, len(datagram)) {
		if sl = d.free.pop(); sl == nil {
			if d.total >= maxSlabs {
				return false
			}
			sl = newSlab(d.size)
			d.total++
			d.watchIdle()
		}
		d.least = min(d.least, d.free.n)
		sl.name, sl.nameLen, sl.flags = from.name, from.nameLen, 0
		sl.control, sl.controlLen = from.control, from.controlLen
		sl.n, sl.segment, sl.moved = 0, from.segment, true
		d.queue.pushBack(sl)
	}
	sl.n += copy(sl.buf[sl.n:], datagram)
	d.arrived.Signal()
	return true
}

// continues says whether a datagram of n bytes from a message may follow what the slab holds.
func (sl *slab) continues(from *slab, n int) bool {
	return sl.segment == from.segment && sl.n%sl.segment == 0 && sl.n+n <= len(sl.buf) && sl.nameLen == from.nameLen &&
		sl.name == from.name && sl.controlLen == from.controlLen && sl.control == from.control
}

// release puts a slab back. The caller has the lock.
func (d *depot) release(sl *slab) {
	if d.err != nil {
		d.total--
		return
	}
	d.free.pushFront(sl)
}

// take moves up to takeSlabs messages to the reading goroutine, after it has put back those of used. It waits for one;
// err is the end, or the deadline's. wake tells to wake the loop.
func (d *depot) take(used, into *list) (wake bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for sl := used.pop(); sl != nil; sl = used.pop() {
		d.release(sl)
	}
	wake, d.stalled = d.stalled && d.free.n > 0, d.stalled && d.free.n == 0
	for {
		switch {
		case d.err != nil:
			return wake, d.err
		case !d.deadline.IsZero() && !time.Now().Before(d.deadline):
			return wake, errDeadline
		case d.queue.n > 0:
			for range min(d.queue.n, takeSlabs) {
				into.pushBack(d.queue.pop())
			}
			return wake, nil
		case wake:
			return wake, nil // the caller wakes the loop and comes again
		}
		d.arrived.Wait()
	}
}

// end makes every take fail with err, unless it already fails, and lets the slabs go.
func (d *depot) end(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return
	}
	d.err = err
	d.total -= d.free.n + d.queue.n
	d.free, d.queue = list{}, list{}
	if d.timer != nil {
		d.timer.Stop()
	}
	if d.trimmer != nil {
		d.trimmer.Stop()
	}
	d.arrived.Broadcast()
}

// setDeadline changes when take gives up. Zero: never.
func (d *depot) setDeadline(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return
	}
	d.deadline = t
	if d.timer != nil {
		d.timer.Stop()
	}
	d.arrived.Broadcast()
	if t.IsZero() || !time.Now().Before(t) {
		return
	}
	if d.timer == nil {
		d.timer = time.AfterFunc(time.Until(t), d.expire)
		return
	}
	d.timer.Reset(time.Until(t))
}

// expire lets a waiting take look at the deadline.
func (d *depot) expire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.arrived.Broadcast()
}

// watchIdle starts the trimmer, which stops by itself once the depot is small. The caller has the lock.
func (d *depot) watchIdle() {
	switch {
	case d.total != keepSlabs+1:
	case d.trimmer == nil:
		d.trimmer = time.AfterFunc(trimEvery, d.trim)
	default:
		d.trimmer.Reset(trimEvery)
	}
}

// trim lets go of the slabs that have not been needed since it was last called.
func (d *depot) trim() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return
	}
	for n := min(d.least, d.total-keepSlabs); n > 0; n-- {
		d.free.pop()
		d.total--
	}
	d.least = d.free.n
	if d.total > keepSlabs {
		d.trimmer.Reset(trimEvery)
	}
}
