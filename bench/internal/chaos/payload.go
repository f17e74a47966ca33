package chaos

import (
	"encoding/binary"
	"hash/crc32"
)

// Layout of a payload: the request's number, the attempt and the line, noise, and the checksum of everything before it.
const (
	offAttempt = 8
	offLine    = 12
	markLen    = 16
	sumLen     = 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// mark is what a payload says of itself.
type mark struct {
	id            uint64
	attempt, line uint32
}

// putPayload fills p, which is MinPayload bytes or longer, for m. The noise depends on the number alone: a reply with the bytes of another
// request differs everywhere.
func putPayload(p []byte, m mark) {
	binary.BigEndian.PutUint64(p, m.id)
	binary.BigEndian.PutUint32(p[offAttempt:], m.attempt)
	binary.BigEndian.PutUint32(p[offLine:], m.line)
	noise := p[markLen : len(p)-sumLen]
	x := m.id*0x9e3779b97f4a7c15 | 1
	for len(noise) >= 8 {
		x ^= x << 13 // xorshift64 (Marsaglia 2003): as fast as memory, and never 0
		x ^= x >> 7
		x ^= x << 17
		binary.LittleEndian.PutUint64(noise, x)
		noise = noise[8:]
	}
	for i := range noise {
		noise[i] = byte(x >> (8 * i))
	}
	binary.BigEndian.PutUint32(p[len(p)-sumLen:], crc32.Checksum(p[:len(p)-sumLen], castagnoli))
}

// readPayload reads a payload; ok says that it is sound: as long as it has to be, and with the right checksum.
func readPayload(p []byte, size int) (m mark, ok bool) {
	if len(p) != size || size < MinPayload {
		return m, false
	}
	if crc32.Checksum(p[:size-sumLen], castagnoli) != binary.BigEndian.Uint32(p[size-sumLen:]) {
		return m, false
	}
	return mark{binary.BigEndian.Uint64(p), binary.BigEndian.Uint32(p[offAttempt:]), binary.BigEndian.Uint32(p[offLine:])}, true
}
