// Package pool provides reference-counted byte buffers in size classes. Each loop owns one Pool: taking a buffer is the
// owner's alone and takes no lock; giving one back is allowed from any goroutine and takes no lock either.
//
// Released buffers go onto a lock-free stack (push by compare-and-swap, the owner takes all of it with one swap, so
// there is no ABA problem) and from there to the owner's list of their class. Idle memory is bounded by a byte cap and
// shrinks with Decay.
package pool

import (
	"fmt"
	"sync/atomic"
)

// Options configures a Pool.
type Options struct {
	// CacheBytes is the byte cap on idle buffers kept for reuse; a buffer released above it is left to the garbage
	// collector. 0 means DefaultCacheBytes; allowed otherwise: 1 … 2^40. It does not bound the buffers in use.
	CacheBytes int64

	// Poison turns on checks for tests, at a cost per Get and Release that no production server wants to pay: released
	// buffers are filled with a pattern that is verified when they are used again, the stack of each Get is recorded for
	// Leaks, and every double release is recognised.
	Poison bool
}

// Stats is a snapshot of a Pool. The fields are read one after another: while buffers move they may be off by those
// that moved in between; at rest they are exact.
type Stats struct {
	Outstanding      int64  // buffers handed out and not yet returned
	OutstandingBytes int64  // their capacities
	Cached           int64  // idle buffers kept
	CachedBytes      int64  // their capacities; at most the cap
	Gets             uint64 // calls of Get
	Misses           uint64 // of these, those that had to allocate
	Drops            uint64 // buffers left to the garbage collector: over the cap, too large for a class, or decayed
	DoubleReleases   uint64 // calls of Release without a reference, as far as recognised
	Corruptions      uint64 // poison mode: buffers that were written to after their release
}

// classList is the owner's list of idle buffers of one class, used last in, first out: the buffer used last is the
// likeliest to be in a cache of the CPU.
type classList struct {
	free []*Buf
	low  int // fewest buffers in free since the last Decay: these were not needed
}

// Pool is a set of buffers owned by one goroutine. Use New.
type Pool struct {
	classes [numClasses]classList // owner only
	cap     int64                 // immutable
	poison  *poison               // nil outside of poison mode

	_ [64]byte // what follows is written by other goroutines: keep it off the owner's cache lines

	returned  atomic.Pointer[Buf] // stack of released buffers
	idle      atomic.Int64        // buffers in returned and in the lists
	idleBytes atomic.Int64
	live      atomic.Int64 // buffers that exist: idle or handed out
	liveBytes atomic.Int64
	drops     atomic.Uint64
	doubles   atomic.Uint64

	_ [64]byte

	gets   atomic.Uint64 // written by the owner only
	misses atomic.Uint64
}

// New makes an empty pool. It fails when o.CacheBytes is out of range.
func New(o Options) (*Pool, error) {
	if o.CacheBytes < 0 || o.CacheBytes > maxCacheBytes {
		return nil, fmt.Errorf("pool: CacheBytes is %d, allowed are 0 (default %d) and 1 to %d", o.CacheBytes, int64(DefaultCacheBytes), int64(maxCacheBytes))
	}
	p := &Pool{cap: o.CacheBytes}
	if p.cap == 0 {
		p.cap = DefaultCacheBytes
	}
	if o.Poison {
		p.poison = newPoison()
	}
	return p, nil
}

// Get returns a buffer of at least n bytes with one reference, which the caller owns. len(b.B) is the whole capacity,
// ClassSize(n); the bytes are not zeroed. It never returns nil. Owner only.
func (p *Pool) Get(n int) *Buf {
	p.gets.Add(1)
	c := classOf(n)
	if c < 0 {
		return p.fresh(n, c)
	}
	if p.returned.Load() != nil {
		p.collect()
	}
	l := &p.classes[c]
	if len(l.free) == 0 {
		return p.fresh(classBytes(c), c)
	}
	last := len(l.free) - 1
	b := l.free[last]
	l.free[last] = nil
	l.free = l.free[:last]
	l.low = min(l.low, last)
	p.idle.Add(-1)
	p.idleBytes.Add(-int64(len(b.mem)))
	b.refs.Store(1)
	b.B = b.mem
	if p.poison != nil {
		p.poison.out(b)
	}
	return b
}

// fresh allocates a buffer of exactly size bytes.
func (p *Pool) fresh(size, class int) *Buf {
	p.misses.Add(1)
	b := &Buf{class: int8(class), pool: p, mem: make([]byte, size)}
	b.B = b.mem
	b.refs.Store(1)
	p.live.Add(1)
	p.liveBytes.Add(int64(size))
	if p.poison != nil {
		p.poison.out(b)
	}
	return b
}

// put takes back a buffer whose last reference is gone. Any goroutine.
func (p *Pool) put(b *Buf) {
	if p.poison != nil {
		b = p.poison.in(b)
	}
	size := int64(len(b.mem))
	// The cap is taken before the buffer is pushed, so that idle memory is bounded even while the owner does not run.
	if b.class < 0 || p.idleBytes.Add(size) > p.cap {
		if b.class >= 0 {
			p.idleBytes.Add(-size)
		}
		p.drop(b)
		return
	}
	p.idle.Add(1)
	for {
		head := p.returned.Load()
		b.next = head
		if p.returned.CompareAndSwap(head, b) {
			return
		}
	}
}

// drop forgets a buffer that is in no list; the garbage collector takes it.
func (p *Pool) drop(b *Buf) {
	p.drops.Add(1)
	p.live.Add(-1)
	p.liveBytes.Add(-int64(len(b.mem)))
}

// collect moves the returned buffers to the lists of their classes. Owner only.
func (p *Pool) collect() {
	b := p.returned.Swap(nil)
	for b != nil {
		next := b.next
		b.next = nil
		l := &p.classes[b.class]
		l.free = append(l.free, b)
		b = next
	}
}

// Decay frees, in each class, half of the idle buffers that stayed unused since the last call, rounded up. Called about
// once a second it halves unneeded memory each second while a steady load keeps what it uses. Owner only.
func (p *Pool) Decay() {
	p.collect()
	for c := range p.classes {
		l := &p.classes[c]
		n := (l.low + 1) / 2
		for i, b := range l.free[:n] { // the bottom of the list was used longest ago
			p.idle.Add(-1)
			p.idleBytes.Add(-int64(len(b.mem)))
			if p.poison != nil {
				p.poison.verify(b)
			}
			p.drop(b)
			l.free[i] = nil
		}
		if n > 0 {
			rest := copy(l.free, l.free[n:])
			clear(l.free[rest:])
			l.free = l.free[:rest]
		}
		l.low = len(l.free)
	}
}

// Stats returns a snapshot of the counters. Any goroutine.
func (p *Pool) Stats() Stats {
	s := Stats{
		Cached:         p.idle.Load(),
		CachedBytes:    p.idleBytes.Load(),
		Gets:           p.gets.Load(),
		Misses:         p.misses.Load(),
		Drops:          p.drops.Load(),
		DoubleReleases: p.doubles.Load(),
	}
	s.Outstanding = max(0, p.live.Load()-s.Cached)
	s.OutstandingBytes = max(0, p.liveBytes.Load()-s.CachedBytes)
	if p.poison != nil {
		s.Corruptions = p.poison.corruptions.Load()
	}
	return s
}

// OutstandingBytes is the part of Stats that says how many bytes are handed out. Any goroutine.
func (p *Pool) OutstandingBytes() int64 { return max(0, p.liveBytes.Load()-p.idleBytes.Load()) }

func (p *Pool) doubleRelease(b *Buf) {
	p.doubles.Add(1)
	if p.poison != nil {
		p.poison.double(b)
	}
}
