package wire

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Application protocols of the bench's frames; 0 would be HELLO.
const (
	Proto      = 0x7e57 // echo requests, and the events of a one-way load
	TallyProto = 0x7e58 // the question how many events have arrived
)

// TallyLen is the payload of the question for a tally, and of its answer: frames, bytes, sum.
const TallyLen = 24

// Offsets and flags that only the one-way load needs.
const (
	offApp    = 10
	flagEvent = 0x04

	// sumEvery is how often an event's whole payload goes into the sum instead of its ends alone: often enough to catch a
	// transport that damages the middle, seldom enough not to cost either side a second pass over every byte.
	sumEvery = 64
	// sumPrime spreads what is in the sum already, so that the order of the events counts.
	sumPrime = 0x9e3779b97f4a7c15
)

// Tally is what one end of a connection knows of a one-way load: how many events, how many bytes of payload, and a sum over
// their content and order. Both ends add the same payloads in the same order; then their tallies are equal. One goroutine at
// a time.
type Tally struct {
	Frames, Bytes, Sum uint64
}

// Add counts one event's payload.
func (t *Tally) Add(payload []byte) {
	t.Frames++
	t.Bytes += uint64(len(payload))
	var first, last uint64
	if n := len(payload); n >= 8 {
		first, last = binary.BigEndian.Uint64(payload), binary.BigEndian.Uint64(payload[n-8:])
	}
	t.Sum = ((t.Sum^first)*sumPrime ^ last) * sumPrime
	if t.Frames%sumEvery == 0 {
		t.Sum ^= uint64(crc32.Checksum(payload, castagnoli()))
	}
}

// castagnoli is the table of the CRC that processors compute; crc32 makes it once and for all.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// Put writes the tally to b, which holds TallyLen bytes.
func (t *Tally) Put(b []byte) {
	binary.BigEndian.PutUint64(b, t.Frames)
	binary.BigEndian.PutUint64(b[8:], t.Bytes)
	binary.BigEndian.PutUint64(b[16:], t.Sum)
}

// ReadTally reads what Put has written.
func ReadTally(b []byte) (Tally, error) {
	if len(b) != TallyLen {
		return Tally{}, fmt.Errorf("a tally of %d bytes, not %d", len(b), TallyLen)
	}
	return Tally{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint64(b[16:])}, nil
}

// Answer is what an echo server does with one whole, judged frame of a connection whose tally t is: an event is counted and
// not answered (nil), a question for the tally is answered with it, everything else with itself. The answer is made in place.
func (t *Tally) Answer(frame []byte) []byte {
	app := binary.BigEndian.Uint16(frame[offApp:])
	switch {
	case app == Proto && binary.BigEndian.Uint16(frame[offFlags:])&flagEvent != 0:
		t.Add(frame[HeaderLen:])
		return nil
	case app == TallyProto && len(frame) == HeaderLen+TallyLen:
		t.Put(frame[HeaderLen:])
	}
	MakeReply(frame)
	return frame
}
