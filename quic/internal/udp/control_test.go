package udp

import (
	"bytes"
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// appendControl appends a control message as the kernel writes it.
func appendControl(b []byte, level, typ int32, data ...byte) []byte {
	b = binary.NativeEndian.AppendUint64(b, uint64(unix.CmsgLen(len(data))))
	b = binary.NativeEndian.AppendUint32(b, uint32(level))
	b = binary.NativeEndian.AppendUint32(b, uint32(typ))
	b = append(b, data...)
	return append(b, make([]byte, unix.CmsgSpace(len(data))-unix.CmsgLen(len(data)))...)
}

func int32Bytes(v int32) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(v)) }

func TestFilterControl(t *testing.T) {
	tos := appendControl(nil, unix.IPPROTO_IP, unix.IP_TOS, 2)
	info4 := appendControl(nil, unix.IPPROTO_IP, unix.IP_PKTINFO, make([]byte, 12)...)
	class := appendControl(nil, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 1, 0, 0, 0)
	info6 := appendControl(nil, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, make([]byte, 20)...)
	gro := appendControl(nil, unix.IPPROTO_UDP, unix.UDP_GRO, int32Bytes(1200)...)
	cat := func(bs ...[]byte) []byte { return bytes.Join(bs, nil) }
	for name, c := range map[string]struct {
		in, out []byte
		segment int
	}{
		"nothing":                     {nil, nil, 0},
		"all that quic-go uses":       {cat(tos, info4, info6), cat(tos, info4, info6), 0},
		"IPv6":                        {cat(class, info6), cat(class, info6), 0},
		"coalesced":                   {cat(tos, gro, info4), cat(tos, info4), 1200},
		"last without its padding":    {tos[:unix.CmsgLen(1)], tos[:unix.CmsgLen(1)], 0},
		"unknown between":             {cat(tos, appendControl(nil, unix.SOL_SOCKET, unix.SO_TIMESTAMP, 1, 2), info4), cat(tos, info4), 0},
		"wrong length of TOS":         {cat(appendControl(nil, unix.IPPROTO_IP, unix.IP_TOS, 1, 2, 3, 4), info4), info4, 0},
		"wrong length of class":       {appendControl(nil, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 1), nil, 0},
		"wrong length of address":     {appendControl(nil, unix.IPPROTO_IP, unix.IP_PKTINFO, 1), nil, 0},
		"wrong length of segment":     {appendControl(nil, unix.IPPROTO_UDP, unix.UDP_GRO, 9), nil, 0},
		"segment of two bytes":        {appendControl(nil, unix.IPPROTO_UDP, unix.UDP_GRO, 0xb0, 4), nil, 1200},
		"negative segment":            {appendControl(nil, unix.IPPROTO_UDP, unix.UDP_GRO, int32Bytes(-1)...), nil, 0},
		"header cut off":              {cat(tos, info4[:15]), tos, 0},
		"length beyond the end":       {cat(tos, info4[:20]), tos, 0},
		"length below the header's":   {cat(tos, make([]byte, 16), info4), tos, 0},
		"more than there is room for": {bytes.Repeat(info6, 4), bytes.Repeat(info6, 3), 0},
	} {
		out := make([]byte, passedSpace)
		n, segment := filterControl(out, c.in)
		if !bytes.Equal(out[:n], c.out) || segment != c.segment {
			t.Errorf("%s: passed %x, segment %d; want %x, %d", name, out[:n], segment, c.out, c.segment)
		}
	}
}

func TestSegmentSize(t *testing.T) {
	tos := appendControl(nil, unix.IPPROTO_IP, unix.IP_TOS, 2)
	seg := appendControl(nil, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0xb0, 4)
	all := append(append([]byte(nil), seg...), tos...)
	if n := segmentSize(all); n != 1200 {
		t.Errorf("segment size %d", n)
	}
	if n := segmentSize(tos); n != 0 {
		t.Errorf("segment size %d without one", n)
	}
	out := make([]byte, passedSpace)
	if n := withoutSegment(out, all); !bytes.Equal(out[:n], tos) {
		t.Errorf("without segment: %x, want %x", out[:n], tos)
	}
}

// FuzzControl: whatever the control messages are, what is passed on is well formed, has the lengths that quic-go insists on,
// and is read by the parser of x/sys, which quic-go uses, as it was in the input.
func FuzzControl(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(appendControl(appendControl(nil, unix.IPPROTO_IP, unix.IP_TOS, 2), unix.IPPROTO_UDP, unix.UDP_GRO, int32Bytes(1252)...))
	f.Add(appendControl(nil, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, make([]byte, 20)...))
	f.Add(appendControl(nil, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 1, 2))
	f.Fuzz(func(t *testing.T, in []byte) {
		out := make([]byte, passedSpace)
		n, segment := filterControl(out, in)
		if n > len(in) || segment < 0 {
			t.Fatalf("%d bytes of %d, segment %d", n, len(in), segment)
		}
		for rest := out[:n]; len(rest) > 0; {
			h, data, more, err := unix.ParseOneSocketControlMessage(rest)
			if err != nil {
				t.Fatalf("passed on %x: %v", out[:n], err)
			}
			c := control{level: h.Level, typ: h.Type, data: data}
			if !c.passes() || !bytes.Contains(in, rest[:h.Len]) {
				t.Fatalf("passed on %x of %x", rest[:h.Len], in)
			}
			rest = more
		}
		if size := segmentSize(in); size < 0 || size > 0xffff {
			t.Fatalf("segment size %d", size)
		}
		if k := withoutSegment(out, in); segmentSize(out[:k]) != 0 {
			t.Fatalf("a segment size is left in %x", out[:k])
		}
	})
}
