package framer

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// Flags are the bits of a frame's flags field (oap1.md).
type Flags uint16

// The flags. Bits 8 to 15 are reserved and rejected.
const (
	FlagReq    Flags = 1 << iota // request
	FlagResp                     // response
	FlagEvent                    // event
	FlagStart                    // opens a stream; may carry a capability
	FlagEnd                      // closes its direction of a stream
	FlagAckReq                   // asks for an ACK
	FlagComp                     // the payload is one zstd frame
	FlagAppE2E                   // the payload is encrypted end to end by the application

	knownFlags Flags = 1<<8 - 1
)

// String lists the flags by name. Any goroutine.
func (f Flags) String() string {
	var parts []string
	for i, name := range [...]string{"REQ", "RESP", "EVENT", "START", "END", "ACK_REQ", "COMP", "APP_E2E"} {
		if f&(1<<i) != 0 {
			parts = append(parts, name)
		}
	}
	if rest := f &^ knownFlags; rest != 0 {
		parts = append(parts, fmt.Sprintf("%#04x", uint16(rest)))
	}
	return strings.Join(parts, "|")
}

// TenantID is the 128-bit tenant id, big-endian as on the wire.
type TenantID [16]byte

// Header is the fixed part of a frame (oap1.md). Len and CapLen follow from the frame when it is encoded.
type Header struct {
	Len        uint32 // whole frame in bytes, header included
	Ver        uint16
	Flags      Flags
	Code       uint16 // status of a response, 0 on a request
	AppProtoID uint16 // 0: HELLO and control
	Tenant     TenantID
	CapLen     uint16
	CorrID     uint64
}

// Offsets of the fields.
const (
	offVer    = 4
	offFlags  = 6
	offCode   = 8
	offProto  = 10
	offTenant = 12
	offCapLen = 28
	offCorrID = 30
)

// PutHeader writes h to b[:HeaderLen] as it is; it panics when b is shorter. Any goroutine.
func PutHeader(b []byte, h *Header) {
	_ = b[HeaderLen-1]
	binary.BigEndian.PutUint32(b, h.Len)
	binary.BigEndian.PutUint16(b[offVer:], h.Ver)
	binary.BigEndian.PutUint16(b[offFlags:], uint16(h.Flags))
	binary.BigEndian.PutUint16(b[offCode:], h.Code)
	binary.BigEndian.PutUint16(b[offProto:], h.AppProtoID)
	copy(b[offTenant:], h.Tenant[:])
	binary.BigEndian.PutUint16(b[offCapLen:], h.CapLen)
	binary.BigEndian.PutUint64(b[offCorrID:], h.CorrID)
}

// getHeader reads all fields of b[:HeaderLen] without judging them.
func getHeader(b []byte, h *Header) {
	_ = b[HeaderLen-1]
	h.Len = binary.BigEndian.Uint32(b)
	h.Ver = binary.BigEndian.Uint16(b[offVer:])
	h.Flags = Flags(binary.BigEndian.Uint16(b[offFlags:]))
	h.Code = binary.BigEndian.Uint16(b[offCode:])
	h.AppProtoID = binary.BigEndian.Uint16(b[offProto:])
	copy(h.Tenant[:], b[offTenant:])
	h.CapLen = binary.BigEndian.Uint16(b[offCapLen:])
	h.CorrID = binary.BigEndian.Uint64(b[offCorrID:])
}

// AppendHeader appends h to dst as it is and returns the extended slice. Any goroutine.
func AppendHeader(dst []byte, h *Header) []byte {
	var b [HeaderLen]byte
	PutHeader(b[:], h)
	return append(dst, b[:]...)
}

// ParseHeader reads and judges the header at the start of b. b must hold HeaderLen bytes at least; fewer are a BadFrame.
// maxFrame is the largest Len accepted. The error is an *Error. Any goroutine.
func ParseHeader(b []byte, maxFrame uint32) (Header, error) {
	var h Header
	if len(b) < HeaderLen {
		return h, &Error{Why: BadFrame, Detail: fmt.Sprintf("%d bytes are no header, it has %d", len(b), HeaderLen)}
	}
	getHeader(b, &h)
	if h.sound(maxFrame) {
		return h, nil
	}
	return h, judge(b, maxFrame)
}

// sound is the whole of judge for a complete header, as one expression without calls: the hot path.
func (h *Header) sound(maxFrame uint32) bool {
	return h.Len >= HeaderLen && h.Ver == Version && h.Len <= maxFrame && h.Flags&^knownFlags == 0 &&
		(h.CapLen == 0 || h.Flags&FlagStart != 0 && uint32(h.CapLen) <= h.Len-HeaderLen)
}

// judge looks at as much of a header as is there and returns what is wrong with it, nil if nothing is so far. Each rule
// is applied as soon as the bytes it needs are there, in an order that gives the same verdict however the bytes arrive:
// a length below a header's; then the version, ahead of the upper bound, because the length of a little-endian peer is
// huge and a peer of another dialect must hear 400; then that bound, the flags and the capability.
func judge(b []byte, maxFrame uint32) error {
	if len(b) < 4 {
		return nil
	}
	n := binary.BigEndian.Uint32(b)
	if n < HeaderLen {
		return fault(b, BadFrame, "length %d is below the header's %d", n, HeaderLen)
	}
	if len(b) < 6 {
		return nil
	}
	if v := binary.BigEndian.Uint16(b[offVer:]); v != Version {
		return fault(b, BadVersion, "version %d, only %d is spoken here", v, Version)
	}
	if n > maxFrame {
		return fault(b, FrameTooLarge, "length %d is above the cap of %d", n, maxFrame)
	}
	if len(b) < 8 {
		return nil
	}
	flags := Flags(binary.BigEndian.Uint16(b[offFlags:]))
	if flags&^knownFlags != 0 {
		return fault(b, BadFlags, "reserved flags %#04x", uint16(flags&^knownFlags))
	}
	if len(b) < offCorrID {
		return nil
	}
	switch c := binary.BigEndian.Uint16(b[offCapLen:]); {
	case c > 0 && flags&FlagStart == 0:
		return fault(b, BadFrame, "capability of %d bytes without START", c)
	case uint32(c) > n-HeaderLen:
		return fault(b, BadFrame, "capability of %d bytes in a frame of %d", c, n)
	}
	return nil
}

// fault makes the error for the header in b, with its corr_id if that has arrived.
func fault(b []byte, why Reason, format string, args ...any) *Error {
	e := &Error{Why: why, Detail: fmt.Sprintf(format, args...), fatal: true}
	if len(b) >= HeaderLen {
		e.CorrID = binary.BigEndian.Uint64(b[offCorrID:])
	}
	return e
}
