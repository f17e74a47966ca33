// Package wire is the little of OAP/1's header that an echo server needs, for the peers that are measured against the
// library: they must not depend on what they are compared with.
package wire

import (
	"encoding/binary"
	"fmt"
)

// Figures of the header (see the protocol's page): offsets are in bytes, integers big-endian.
const (
	HeaderLen = 38
	MaxFrame  = 1 << 20
	version   = 1

	offVer   = 4
	offFlags = 6
	offCode  = 8
	offCap   = 28

	flagResp  = 0x02
	flagStart = 0x08
	flagEnd   = 0x10
	reserved  = 0xff00

	codeOK = 200
)

// FrameLen judges the header at the start of b, which holds at least HeaderLen bytes, and returns the whole frame's length.
func FrameLen(b []byte) (int, error) {
	n := binary.BigEndian.Uint32(b)
	if n < HeaderLen || n > MaxFrame {
		return 0, fmt.Errorf("frame length %d is not within %d … %d", n, HeaderLen, MaxFrame)
	}
	if v := binary.BigEndian.Uint16(b[offVer:]); v != version {
		return 0, fmt.Errorf("version %d is not %d", v, version)
	}
	flags := binary.BigEndian.Uint16(b[offFlags:])
	if flags&reserved != 0 {
		return 0, fmt.Errorf("reserved flags are set: %#04x", flags)
	}
	if c := binary.BigEndian.Uint16(b[offCap:]); c != 0 && (flags&flagStart == 0 || int(c) > int(n)-HeaderLen) {
		return 0, fmt.Errorf("capability length %d in a frame of %d bytes, flags %#04x", c, n, flags)
	}
	return int(n), nil
}

// MakeReply turns the request whose header starts b into its reply, in place: RESP|END with code 200, everything else as
// it came.
func MakeReply(b []byte) {
	binary.BigEndian.PutUint16(b[offFlags:], flagResp|flagEnd)
	binary.BigEndian.PutUint16(b[offCode:], codeOK)
}

// Whole says how many bytes at the start of b are whole frames, and turns each of them into its reply. frames counts them.
func Whole(b []byte) (n, frames int, err error) {
	for len(b)-n >= HeaderLen {
		l, err := FrameLen(b[n:])
		if err != nil {
			return n, frames, err
		}
		if len(b)-n < l {
			break
		}
		MakeReply(b[n:])
		n += l
		frames++
	}
	return n, frames, nil
}
