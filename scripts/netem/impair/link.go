// Package impair is a network path with faults: delay, jitter, a rate with a bounded queue, loss, reordering, duplicates and corruption, from
// a seed, in user space. Link is the path of one direction without any input or output of its own: it is told the time. Pair runs two of them
// between two TUN devices, each in a network namespace.
package impair

import (
	"math/rand/v2"
	"time"
)

// Counters are what has happened to the packets of one direction. At all times
//
//	In + Duplicated = Out + Lost + Overflow + TooBig + Unsent + Held.
type Counters struct {
	In         uint64 `json:"in_packets"`
	InBytes    uint64 `json:"in_bytes"`
	Out        uint64 `json:"out_packets"`
	OutBytes   uint64 `json:"out_bytes"`
	Lost       uint64 `json:"lost"`       // as asked for
	Overflow   uint64 `json:"overflow"`   // came to a full queue
	TooBig     uint64 `json:"too_big"`    // above MaxSize
	Duplicated uint64 `json:"duplicated"` // copies made
	Reordered  uint64 `json:"reordered"`  // sent without the delay
	Corrupted  uint64 `json:"corrupted"`
	Unsent     uint64 `json:"unsent"` // were due, and the device at the other end did not take them
	Held       uint64 `json:"held"`   // in the link now
	HeldPeak   uint64 `json:"held_peak"`
	// Late are those of Out that left the link more than LateAfter after they were due, because nobody asked it; LateMax is the most.
	Late    uint64        `json:"late"`
	LateMax time.Duration `json:"late_max_ns"`
	// DeviceDropped are packets that the kernel dropped at the device before the link saw them, because nobody read it for too long: they
	// are in none of the others. Anything but 0 says that the machine was too busy for this emulation.
	DeviceDropped uint64 `json:"device_dropped"`
}

// packet is one packet in the link.
type packet struct {
	data   []byte
	due    time.Duration // under way: when it arrives
	serial uint64        // keeps the order of those that are due at the same time
	early  bool          // sent without the delay
}

// Link is one direction of a path. Times are since any one moment and never go back. Not for concurrent use.
//
// A packet passes two places: it waits in the queue until those before it are sent and it is, at the rate; then it is under way for the
// delay. What is decided by chance is decided when it comes, each kind from a stream of numbers of its own: whether the nth packet is lost
// depends on the seed and the loss alone.
type Link struct {
	p Params
	c Counters

	waiting      []packet      // first in, first out, from head on; empty without a rate
	head         int           // of waiting
	waitingBytes int           // of waiting
	sentAt       time.Duration // when the head of waiting is sent; without one, when the last was

	flight    flight // by due time
	heldBytes int    // of waiting and flight

	loss, reorder, duplicate, corrupt, where, jitter *rand.Rand

	serial uint64
	free   [][]byte // buffers of packets that have gone
	last   []byte   // what Pop has returned
}

// freeBuffers bounds how many buffers are kept: a burst beyond is the collector's.
const freeBuffers = 4096

// NewLink makes a link. The same seed, parameters and packets at the same times have the same fate. The parameters are valid.
func NewLink(seed uint64, p Params) *Link {
	stream := func(n uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, n)) }
	return &Link{p: p.withDefaults(), loss: stream(1), reorder: stream(2), duplicate: stream(3), corrupt: stream(4), where: stream(5), jitter: stream(6)}
}

// Set changes the parameters at the time now. Packets under way arrive when they would have; those that wait are sent at the new rate, also the
// one that is half sent. A queue that is longer than the new bounds is kept.
func (l *Link) Set(now time.Duration, p Params) {
	l.send(now)
	p = p.withDefaults()
	if rest := l.sentAt - now; l.waits() > 0 && rest > 0 {
		if p.Rate == 0 {
			rest = 0
		} else {
			rest = time.Duration(float64(rest) * float64(l.p.Rate) / float64(p.Rate))
		}
		l.sentAt = now + rest
	}
	l.p = p
	l.send(now)
}

// Counters are the counts so far.
func (l *Link) Counters() Counters { return l.c }

// Push takes a packet that comes at the time now. It copies it.
func (l *Link) Push(now time.Duration, data []byte) {
	l.send(now)
	l.c.In++
	l.c.InBytes += uint64(len(data))
	lost, early := chance(l.loss, l.p.Loss), chance(l.reorder, l.p.Reorder)
	twice, wrong := chance(l.duplicate, l.p.Duplicate), chance(l.corrupt, l.p.Corrupt)
	switch {
	case l.p.MaxSize > 0 && len(data) > l.p.MaxSize:
		l.c.TooBig++
		return
	case lost:
		l.c.Lost++
		return
	}
	if twice {
		l.c.Duplicated++
		l.enter(now, data, false, false)
	}
	l.enter(now, data, early, wrong)
}

// chance draws from a stream. It draws always, so that the nth draw is the nth packet's.
func chance(r *rand.Rand, share float64) bool { return r.Float64() < share }

// enter puts one packet into the link, if there is room.
func (l *Link) enter(now time.Duration, data []byte, early, wrong bool) {
	full := l.p.Rate > 0 && (l.waits() >= l.p.QueuePackets || l.waitingBytes+len(data) > l.p.QueueBytes)
	if full || l.c.Held >= maxHeldPackets || l.heldBytes+len(data) > maxHeldBytes {
		l.c.Overflow++
		return
	}
	p := packet{data: l.copy(data), early: early, serial: l.serial}
	l.serial++
	if wrong && len(data) > 0 {
		bit := l.where.IntN(8 * len(data))
		p.data[bit/8] ^= 1 << (bit % 8)
		l.c.Corrupted++
	}
	l.c.Held++
	l.c.HeldPeak = max(l.c.HeldPeak, l.c.Held)
	l.heldBytes += len(data)
	if l.p.Rate == 0 {
		l.depart(now, p)
		return
	}
	if l.waits() == 0 {
		l.sentAt = max(now, l.sentAt) + l.p.sendTime(len(data))
	}
	l.waiting = append(l.waiting, p)
	l.waitingBytes += len(data)
}

// copy copies data into a buffer of the link's.
func (l *Link) copy(data []byte) []byte {
	if n := len(l.free); n > 0 && cap(l.free[n-1]) >= len(data) {
		b := l.free[n-1][:len(data)]
		l.free = l.free[:n-1]
		copy(b, data)
		return b
	}
	b := make([]byte, len(data), max(len(data), DefaultMTU))
	copy(b, data)
	return b
}

// waits is how many packets are in the queue.
func (l *Link) waits() int { return len(l.waiting) - l.head }

// send moves the packets that are sent by now from the queue to those under way.
func (l *Link) send(now time.Duration) {
	for l.waits() > 0 && l.sentAt <= now {
		p := l.waiting[l.head]
		l.waiting[l.head] = packet{}
		l.head++
		l.waitingBytes -= len(p.data)
		if l.head*2 >= len(l.waiting) { // on the average one move for each packet
			l.waiting = l.waiting[:copy(l.waiting, l.waiting[l.head:])]
			l.head = 0
		}
		l.depart(l.sentAt, p)
		if l.waits() > 0 {
			l.sentAt += l.p.sendTime(len(l.waiting[l.head].data))
		}
	}
}

// depart puts a packet under way that was sent at that time.
func (l *Link) depart(at time.Duration, p packet) {
	p.due = at
	if p.early {
		l.c.Reordered++
	} else {
		p.due += l.p.Delay
		if l.p.Jitter > 0 {
			p.due += time.Duration((2*l.jitter.Float64() - 1) * float64(l.p.Jitter))
		}
	}
	l.flight.push(p)
}

// Next is the time at which the link wants to be asked again, and whether there is one: when a packet is sent or arrives.
func (l *Link) Next() (at time.Duration, ok bool) {
	if l.waits() > 0 {
		at, ok = l.sentAt, true
	}
	if len(l.flight) > 0 && (!ok || l.flight[0].due < at) {
		at, ok = l.flight[0].due, true
	}
	return at, ok
}

// Pop returns a packet that has arrived by now, in the order of arrival. It is the caller's until the next call of Pop.
func (l *Link) Pop(now time.Duration) (data []byte, ok bool) {
	l.send(now)
	if l.last != nil && len(l.free) < freeBuffers {
		l.free = append(l.free, l.last)
	}
	l.last = nil
	if len(l.flight) == 0 || l.flight[0].due > now {
		return nil, false
	}
	p := l.flight.pop()
	l.heldBytes -= len(p.data)
	l.c.Held--
	l.c.Out++
	if late := now - p.due; late > 0 {
		l.c.LateMax = max(l.c.LateMax, late)
		if late > LateAfter {
			l.c.Late++
		}
	}
	l.c.OutBytes += uint64(len(p.data))
	l.last = p.data
	return p.data, true
}

// unsent takes back the last packet of Pop: the device has not taken it.
func (l *Link) unsent(size int) {
	l.c.Out--
	l.c.OutBytes -= uint64(size)
	l.c.Unsent++
}

// flight is a heap of the packets under way. It is not container/heap's because that allocates for each packet, and a collection of garbage waits
// for threads that the scheduler may let wait.
type flight []packet

func (f flight) before(i, j int) bool {
	return f[i].due < f[j].due || f[i].due == f[j].due && f[i].serial < f[j].serial
}

func (f *flight) push(p packet) {
	h := append(*f, p)
	*f = h
	for i := len(h) - 1; i > 0; {
		parent := (i - 1) / 2
		if !h.before(i, parent) {
			return
		}
		h[i], h[parent] = h[parent], h[i]
		i = parent
	}
}

// pop takes the packet that arrives first; there is one.
func (f *flight) pop() packet {
	h := *f
	first, last := h[0], len(h)-1
	h[0], h[last] = h[last], packet{}
	h = h[:last]
	*f = h
	for i := 0; ; {
		child := 2*i + 1
		if child >= len(h) {
			return first
		}
		if child+1 < len(h) && h.before(child+1, child) {
			child++
		}
		if !h.before(child, i) {
			return first
		}
		h[i], h[child] = h[child], h[i]
		i = child
	}
}
