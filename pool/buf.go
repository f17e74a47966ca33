package pool

import "sync/atomic"

// Buf is a counted reference to a byte buffer of a Pool. Get hands it out with one reference; whoever holds a reference
// may use B, and the Release that gives up the last one returns the buffer to its pool.
//
// Reference counting does not order access to the bytes: two holders that write at once race. The usual rule here is
// one writer, which stops writing once it has shared the buffer.
type Buf struct {
	// B is the whole buffer: len(B) == cap(B), the size of the class. The bytes are whatever the last user left. A holder
	// of a reference may use it; sub-slices die with the last reference. Assigning B is pointless: it is restored on reuse.
	B []byte

	refs  atomic.Int32
	class int8 // -1: larger than the largest class
	pool  *Pool
	next  *Buf   // link in the pool's return stack; written only by the goroutine that released the last reference
	mem   []byte // what B is restored from
	trace *trace // poison mode only
}

// Retain adds a reference and returns b. The caller must hold one already: retaining a buffer that has been released is
// a bug that would hand the same memory to two owners, so it panics. Any goroutine that holds a reference.
func (b *Buf) Retain() *Buf {
	if b.refs.Add(1) <= 1 {
		b.refs.Add(-1)
		panic("pool: Retain of a released buffer")
	}
	return b
}

// Release gives up one reference; neither b nor its bytes may be touched afterwards. The last one returns the buffer to
// its pool. A Release without a reference is counted in Stats.DoubleReleases and otherwise ignored, as far as it can be
// recognised: outside of poison mode a buffer that was handed out again in between looks like a live one. Any goroutine.
func (b *Buf) Release() {
	switch n := b.refs.Add(-1); {
	case n == 0:
		b.pool.put(b)
	case n < 0:
		// The count stays below zero until Get sets it: undoing it here could race with that.
		b.pool.doubleRelease(b)
	}
}

// Shared reports whether more than one reference exists. A holder that sees false has the buffer to itself. Any
// goroutine that holds a reference.
func (b *Buf) Shared() bool { return b.refs.Load() > 1 }
