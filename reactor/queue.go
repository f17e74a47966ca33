package reactor

import "github.com/ron-transport/ron-transport/pool"

// segKind says who may change the bytes behind a segment.
type segKind uint8

const (
	// segChunk: a chunk of the queue's own; nobody else sees it, and it has a spare byte at the end.
	segChunk segKind = iota
	// segInput: part of an input buffer of the same connection.
	segInput
	// segBuf: a buffer that was handed over.
	segBuf
)

// seg is a piece of queued output: buf.B[off:end].
type seg struct {
	next     *seg
	buf      *pool.Buf
	off, end int
	kind     segKind
}

// outQueue is the plaintext output of one connection, in order.
type outQueue struct {
	head, tail *seg
	bytes      int
}

// append adds a segment and takes over the reference to b. It does not count the bytes.
func (l *loop) append(q *outQueue, kind segKind, b *pool.Buf, off, end int) *seg {
	s := l.freeSegs
	if s == nil {
		s = new(seg)
	} else {
		l.freeSegs = s.next
	}
	*s = seg{buf: b, off: off, end: end, kind: kind}
	if q.tail == nil {
		q.head = s
	} else {
		q.tail.next = s
	}
	q.tail = s
	return s
}

// grow returns n contiguous bytes at the end of q, counted as queued. The first chunk of a queue is small, later ones
// hold a whole flush. Each keeps one byte free, for the content type that follows a record's plaintext.
func (l *loop) grow(q *outQueue, n int) []byte {
	s := q.tail
	if s == nil || s.kind != segChunk || s.end+n+1 > len(s.buf.B) {
		size := firstChunk
		if s != nil && l.high > pressedMark { // while memory is short chunks stay small
			size = l.r.cfg.WriteCoalesce
		}
		s = l.append(q, segChunk, l.pool.Get(max(n+1, size)), 0, 0)
	}
	p := s.buf.B[s.end : s.end+n : s.end+n]
	s.end += n
	q.bytes += n
	return p
}

// drop removes the first n bytes of q and releases the buffers that they were in.
func (l *loop) drop(q *outQueue, n int) {
	q.bytes -= n
	for n > 0 || (q.head != nil && q.head.off == q.head.end) {
		s := q.head
		k := min(n, s.end-s.off)
		s.off += k
		n -= k
		if s.off < s.end {
			return
		}
		q.head = s.next
		if q.head == nil {
			q.tail = nil
		}
		s.buf.Release()
		*s = seg{next: l.freeSegs}
		l.freeSegs = s
	}
}

// gather copies the first n bytes of q to dst, n <= len(dst), and removes them.
func (l *loop) gather(q *outQueue, dst []byte) []byte {
	n := 0
	for n < len(dst) && q.head != nil {
		s := q.head
		k := copy(dst[n:], s.buf.B[s.off:s.end])
		n += k
		l.drop(q, k)
	}
	return dst[:n]
}

// unpin copies small pieces of large input buffers that have to wait, so that a slow peer's few bytes do not hold on to
// a buffer many times their size.
func (l *loop) unpin(q *outQueue) {
	for s := q.head; s != nil; s = s.next {
		n := s.end - s.off
		if s.kind != segInput || 4*n > len(s.buf.B) {
			continue
		}
		b := l.pool.Get(n + 1)
		copy(b.B, s.buf.B[s.off:s.end])
		s.buf.Release()
		s.buf, s.off, s.end, s.kind = b, 0, n, segChunk
	}
}
