package udp

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// A control message is a header of 16 bytes (length with the header, level, type), data, and padding to 8 bytes (cmsg(3)).
const (
	controlHeader = unix.SizeofCmsghdr
	controlAlign  = 8
)

// control is one control message.
type control struct {
	level, typ int32
	whole      []byte // with header and padding
	data       []byte
}

// nextControl cuts the first control message off b. ok is false at the end, and where what is left is not well formed.
func nextControl(b []byte) (c control, rest []byte, ok bool) {
	if len(b) < controlHeader {
		return c, nil, false
	}
	length := binary.NativeEndian.Uint64(b)
	if length < controlHeader || length > uint64(len(b)) {
		return c, nil, false
	}
	c.level = int32(binary.NativeEndian.Uint32(b[8:]))
	c.typ = int32(binary.NativeEndian.Uint32(b[12:]))
	c.data = b[controlHeader:length]
	// The padding of the last message may be missing.
	end := min((int(length)+controlAlign-1)&^(controlAlign-1), len(b))
	c.whole = b[:end]
	return c, b[end:], true
}

// passes says whether quic-go uses the message and finds it as long as it expects; a wrong length would end the transport.
func (c *control) passes() bool {
	switch {
	case c.level == unix.IPPROTO_IP && c.typ == unix.IP_TOS:
		return len(c.data) == 1
	case c.level == unix.IPPROTO_IP && c.typ == unix.IP_PKTINFO:
		return len(c.data) == unix.SizeofInet4Pktinfo
	case c.level == unix.IPPROTO_IPV6 && c.typ == unix.IPV6_TCLASS:
		return len(c.data) == 4
	case c.level == unix.IPPROTO_IPV6 && c.typ == unix.IPV6_PKTINFO:
		return len(c.data) == unix.SizeofInet6Pktinfo
	}
	return false
}

// filterControl copies the messages that quic-go uses from in to out and returns their length. segment is what UDP_GRO says:
// the length of all datagrams of the message but the last, 0 if it holds one datagram.
func filterControl(out, in []byte) (n, segment int) {
	for {
		c, rest, ok := nextControl(in)
		if !ok {
			return n, segment
		}
		in = rest
		switch {
		case c.level == unix.IPPROTO_UDP && c.typ == unix.UDP_GRO && len(c.data) >= 4:
			segment = max(0, int(int32(binary.NativeEndian.Uint32(c.data))))
		case c.level == unix.IPPROTO_UDP && c.typ == unix.UDP_GRO && len(c.data) >= 2:
			segment = int(binary.NativeEndian.Uint16(c.data))
		case c.passes() && len(c.whole) <= len(out)-n:
			n += copy(out[n:], c.whole)
		}
	}
}

// segmentSize finds UDP_SEGMENT in the control messages of a send; 0 without one.
func segmentSize(oob []byte) int {
	for {
		c, rest, ok := nextControl(oob)
		if !ok {
			return 0
		}
		if c.level == unix.IPPROTO_UDP && c.typ == unix.UDP_SEGMENT && len(c.data) >= 2 {
			return int(binary.NativeEndian.Uint16(c.data))
		}
		oob = rest
	}
}

// withoutSegment copies the control messages of a send to out, except UDP_SEGMENT. What does not fit is left out.
func withoutSegment(out, oob []byte) (n int) {
	for {
		c, rest, ok := nextControl(oob)
		if !ok {
			return n
		}
		if (c.level != unix.IPPROTO_UDP || c.typ != unix.UDP_SEGMENT) && len(c.whole) <= len(out)-n {
			n += copy(out[n:], c.whole)
		}
		oob = rest
	}
}

// putSegment writes UDP_SEGMENT, and returns its length.
func putSegment(out []byte, size uint16) int {
	binary.NativeEndian.PutUint64(out, controlHeader+2)
	binary.NativeEndian.PutUint32(out[8:], unix.IPPROTO_UDP)
	binary.NativeEndian.PutUint32(out[12:], unix.UDP_SEGMENT)
	clear(out[controlHeader : controlHeader+controlAlign])
	binary.NativeEndian.PutUint16(out[controlHeader:], size)
	return controlHeader + controlAlign
}
