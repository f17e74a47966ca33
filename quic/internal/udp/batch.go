package udp

import (
	"bytes"
	"net"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// batch is datagrams on their way out. Those who send fill it, in any order among connections; then it is made into messages, and
// what goes to one address in datagrams of one length becomes one message. The order of one connection's datagrams stays.
type batch struct {
	data  []byte // one after the other
	parts []part
	dests []dest
	index map[target]int32 // the first of dests with that target

	// What compose makes of them.
	vec      []unix.Mmsghdr
	iovs     []unix.Iovec
	controls [][messageControl]byte
	made     []made // beside vec
	next     int    // the first message that has not been sent

	idle int // rounds in a row for which data had been too large
}

// part is datagrams of one length that one call has brought.
type part struct {
	off, n int32 // in data
	size   int32 // of each datagram, so n is a multiple of it
	next   int32 // the next part to the same destination; -1: none
	key    byte  // parts with the same key may be one connection's
}

// target is where datagrams go that may share a message.
type target struct {
	addr netip.AddrPort
	conn *net.UDPAddr // tells a connection; nil: all to the address
}

// dest is a target and the control messages that accompany what goes there.
type dest struct {
	to          target
	name        unix.RawSockaddrInet6
	nameLen     uint32
	oob         [passedSpace]byte
	oobLen      int32
	next        int32 // the next of dests with the same target; -1: none
	first, last int32 // parts; -1: none
}

// made says what a message is made of.
type made struct {
	dest      int32
	size      int32 // of its datagrams; the last may be shorter
	n         int32 // bytes
	datagrams int32
}

func newBatch() *batch { return &batch{index: make(map[target]int32)} }

// reset empties the batch.
func (b *batch) reset() {
	if cap(b.data) > keepOutbox && len(b.data) < cap(b.data)/4 {
		b.idle++
	} else {
		b.idle = 0
	}
	if b.idle >= trimRounds {
		b.data, b.idle = nil, 0
		clear(b.iovs[:cap(b.iovs)]) // they point there
	}
	b.data, b.parts, b.dests = b.data[:0], b.parts[:0], b.dests[:0]
	b.vec, b.iovs, b.made, b.next = b.vec[:0], b.iovs[:0], b.made[:0], 0
	clear(b.index)
}

// fits says whether p may be added.
func (b *batch) fits(p []byte) bool {
	return len(b.data)+len(p) <= outboxBytes && len(b.parts)+2 <= outboxParts
}

// find returns the destination, or -1.
func (b *batch) find(to target, oob []byte) int32 {
	i, ok := b.index[to]
	if !ok {
		return -1
	}
	for ; i >= 0; i = b.dests[i].next {
		if d := &b.dests[i]; bytes.Equal(d.oob[:d.oobLen], oob) {
			return i
		}
	}
	return -1
}

// newDest adds a destination; its socket address is to be written yet.
func (b *batch) newDest(to target, oob []byte) *dest {
	next, ok := b.index[to]
	if !ok {
		next = -1
	}
	i := int32(len(b.dests))
	b.dests = append(b.dests, dest{to: to, next: next, first: -1, last: -1})
	b.index[to] = i
	d := &b.dests[i]
	d.oobLen = int32(copy(d.oob[:], oob))
	return d
}

// add copies p, datagrams of segment bytes each, the last of which may be shorter; segment 0: one datagram.
func (b *batch) add(to int32, p []byte, segment int, key byte) {
	if segment <= 0 || segment > len(p) {
		segment = len(p)
	}
	whole := len(p) / segment * segment
	b.addPart(to, p[:whole], segment, key)
	if whole < len(p) {
		b.addPart(to, p[whole:], len(p)-whole, key)
	}
}

func (b *batch) addPart(to int32, p []byte, size int, key byte) {
	i := int32(len(b.parts))
	b.parts = append(b.parts, part{off: int32(len(b.data)), n: int32(len(p)), size: int32(size), next: -1, key: key})
	b.data = append(b.data, p...)
	d := &b.dests[to]
	if d.last >= 0 {
		b.parts[d.last].next = i
	} else {
		d.first = i
	}
	d.last = i
}

// compose makes the messages; without join, one for each datagram.
func (b *batch) compose(join bool) {
	n := len(b.parts)
	if !join {
		n = 0
		for i := range b.parts {
			n += int(b.parts[i].n / b.parts[i].size)
		}
	}
	// The kernel is given pointers into these, so they must not move any more.
	b.vec, b.iovs, b.made = emptied(b.vec, n), emptied(b.iovs, n), emptied(b.made, n)
	b.controls = emptied(b.controls, n)[:n]
	for i := range b.dests {
		for b.dests[i].first >= 0 {
			if join {
				b.joined(int32(i))
			} else {
				b.single(int32(i))
			}
		}
	}
}

// emptied is an empty slice with a capacity of n.
func emptied[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, 0, n+n/2)
	}
	return s[:0]
}

// single makes a message of the first datagram to a destination.
func (b *batch) single(to int32) {
	d := &b.dests[to]
	p := &b.parts[d.first]
	start := len(b.iovs)
	size := p.size
	b.emit(p.off, size)
	p.off += size
	if p.n -= size; p.n == 0 {
		b.unlink(d, -1, d.first)
	}
	b.seal(start, made{dest: to, size: size, n: size, datagrams: 1})
}

// joined makes a message of the first part to a destination and those behind it that have datagrams of the same length, as far as
// their connections' order allows, and ends it with a shorter datagram if there is one.
func (b *batch) joined(to int32) {
	d := &b.dests[to]
	m := made{dest: to, size: b.parts[d.first].size}
	start := len(b.iovs)
	var passed [4]uint64 // the keys of parts that stay, a bit each
	short, beforeShort := int32(-1), int32(-1)
	for prev, i := int32(-1), d.first; i >= 0; {
		p := &b.parts[i]
		free := passed[p.key>>6]&(1<<(p.key&63)) == 0
		if free && p.size == m.size && (m.n == 0 || m.n+p.n <= maxMessage && m.datagrams+p.n/p.size <= maxSegments) {
			b.emit(p.off, p.n)
			m.n += p.n
			m.datagrams += p.n / p.size
			i = b.unlink(d, prev, i)
			continue
		}
		if free && short < 0 && p.size < m.size && p.n == p.size {
			short, beforeShort = i, prev
		}
		passed[p.key>>6] |= 1 << (p.key & 63)
		prev, i = i, p.next
	}
	if short >= 0 {
		if p := &b.parts[short]; m.n+p.n <= maxMessage && m.datagrams < maxSegments {
			b.emit(p.off, p.n)
			m.n += p.n
			m.datagrams++
			b.unlink(d, beforeShort, short)
		}
	}
	b.seal(start, m)
}

// emit adds bytes to the message that is being made.
func (b *batch) emit(off, n int32) {
	b.iovs = append(b.iovs, unix.Iovec{Base: &b.data[off], Len: uint64(n)})
}

// unlink takes a part out of its destination's list, and returns the one after it.
func (b *batch) unlink(d *dest, prev, i int32) int32 {
	next := b.parts[i].next
	if prev >= 0 {
		b.parts[prev].next = next
	} else {
		d.first = next
	}
	if d.last == i {
		d.last = prev
	}
	return next
}

// seal ends a message, which has the buffers from start on.
func (b *batch) seal(start int, m made) {
	i := len(b.vec)
	d := &b.dests[m.dest]
	c := &b.controls[i]
	n := copy(c[:], d.oob[:d.oobLen])
	if m.datagrams > 1 {
		n += putSegment(c[n:], uint16(m.size))
	}
	var h unix.Mmsghdr
	h.Hdr.Name, h.Hdr.Namelen = (*byte)(unsafe.Pointer(&d.name)), d.nameLen
	h.Hdr.Iov = &b.iovs[start]
	h.Hdr.SetIovlen(len(b.iovs) - start)
	if n > 0 {
		h.Hdr.Control = &c[0]
		h.Hdr.SetControllen(n)
	}
	b.vec = append(b.vec, h)
	b.made = append(b.made, m)
}
