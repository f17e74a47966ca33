package reactor

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// Records of simFilter: type, length of the body (2), sequence number (4), checksum over all of that and the body (4).
const (
	simRecordHeader = 11
	simShake        = 22
	simData         = 23
	simTicket       = 24 // after the handshake, carries nothing
	simBye          = 25
	simAlert        = 21
)

var (
	errSimRecord    = errors.New("bad record")
	errSimAlert     = errors.New("peer sent an alert")
	errSimTruncated = errors.New("end without goodbye")
	errSimStep      = errors.New("step failed")
)

// simFilter has the contract of a TLS filter without its cost: records that cannot be reordered, doubled, changed or cut
// off unnoticed, a handshake of several flights with a step for each, and a goodbye.
type simFilter struct {
	s        *sim
	client   bool
	flights  int // the client's; a server answers each but the last
	got      int // flights of the other side
	stepping bool
	done     bool
	pending  int // flights to be put into Output
	failed   error
	tell     byte // alert to put into Output
	bye      bool // goodbye received
	ended    bool // Finish was called
	released bool
	in, out  uint32
	failAt   int // this step fails; -1: none
	panicAt  int // this step panics; -1: none
	steps    int
	most     int // records that one Open takes, as when dst is nearly full; 0: any number
}

// check reports a call that the contract forbids.
func (f *simFilter) check(op string) {
	if f.released || f.stepping {
		f.s.failf("%s called: released %v, step under way %v", op, f.released, f.stepping)
	}
}

func (f *simFilter) record(dst []byte, kind byte, body []byte) []byte {
	at := len(dst)
	dst = append(dst, kind, byte(len(body)>>8), byte(len(body)))
	dst = binary.BigEndian.AppendUint32(dst, f.out)
	f.out++
	sum := crc32.Update(crc32.ChecksumIEEE(dst[at:]), crc32.IEEETable, body)
	dst = binary.BigEndian.AppendUint32(dst, sum)
	return append(dst, body...)
}

// take judges the record at the start of src, which is whole.
func (f *simFilter) take(src []byte) (kind byte, body []byte, err error) {
	body = src[simRecordHeader:f.NextRecord(src)]
	sum := crc32.Update(crc32.ChecksumIEEE(src[:7]), crc32.IEEETable, body)
	if binary.BigEndian.Uint32(src[3:]) != f.in || binary.BigEndian.Uint32(src[7:]) != sum {
		return 0, nil, errSimRecord
	}
	f.in++
	if src[0] == simAlert {
		return 0, nil, errSimAlert
	}
	return src[0], body, nil
}

func (f *simFilter) NextRecord(src []byte) int {
	if len(src) < simRecordHeader {
		return simRecordHeader
	}
	return simRecordHeader + int(src[1])<<8 + int(src[2])
}

func (f *simFilter) Handshake(src []byte) (int, bool, error) {
	f.check("Handshake")
	switch {
	case f.done:
		return 0, false, nil
	case f.failed != nil:
		return 0, false, f.failed
	case f.client && f.steps == 0:
		f.stepping = true
		return 0, true, nil
	}
	if n := f.NextRecord(src); len(src) < simRecordHeader || len(src) < n {
		return 0, false, nil
	}
	n := f.NextRecord(src)
	kind, _, err := f.take(src)
	if err == nil && kind != simShake {
		err = errSimRecord
	}
	if err != nil {
		f.failed, f.tell = err, 1
		return n, false, err
	}
	f.got++
	f.stepping = true
	return n, true, nil
}

func (f *simFilter) Step() (bool, error) {
	if !f.stepping {
		f.s.failf("Step called without need")
	}
	f.steps++
	switch f.steps - 1 {
	case f.failAt:
		f.failed, f.tell = errSimStep, 1
		return false, f.failed
	case f.panicAt:
		f.s.thrown++
		panic(simPanic{})
	}
	f.pending = 1
	if !f.client && f.got == f.flights {
		f.done = true // its output is a ticket
	}
	f.done = f.done || f.client && f.got == f.flights-1
	return f.done, nil
}

// stepped is told that the loop knows.
func (f *simFilter) stepped() { f.stepping = false }

func (f *simFilter) Output(dst []byte) []byte {
	f.stepping = false // the loop has it back
	f.check("Output")
	if f.tell != 0 {
		f.tell = 0
		return f.record(dst, simAlert, nil)
	}
	for ; f.pending > 0; f.pending-- {
		kind := byte(simShake)
		if f.done && !f.client {
			kind = simTicket
		}
		dst = f.record(dst, kind, make([]byte, 30+f.steps*70))
	}
	return dst
}

func (f *simFilter) Open(dst, src []byte) (out []byte, consumed int, err error) {
	f.check("Open")
	if !f.done {
		f.s.failf("Open before the handshake is done")
	}
	for n := 0; consumed < len(src) && (f.most == 0 || n < f.most); n++ {
		rest := src[consumed:]
		n := f.NextRecord(rest)
		if len(rest) < n {
			break
		}
		if cap(dst)-len(dst) < n-simRecordHeader {
			if consumed == 0 {
				f.s.failf("Open has no room for a record of %d", n)
			}
			break
		}
		kind, body, err := f.take(rest)
		if err != nil {
			return dst, consumed, err
		}
		consumed += n
		switch kind {
		case simData:
			dst = append(dst, body...)
		case simTicket:
		case simBye:
			f.bye = true
			return dst, consumed, io.EOF
		default:
			return dst, consumed, errSimRecord
		}
	}
	return dst, consumed, nil
}

func (f *simFilter) Seal(dst, src []byte, mutable bool) ([]byte, error) {
	f.check("Seal")
	if !f.done || f.ended {
		f.s.failf("Seal: handshake done %v, ended %v", f.done, f.ended)
	}
	for len(src) > 0 {
		n := min(len(src), recordMax)
		if cap(src) > n && mutable {
			b := &src[:n+1][n]
			old := *b
			*b = simData
			dst = f.record(dst, simData, src[:n])
			*b = old
		} else {
			dst = f.record(dst, simData, src[:n])
		}
		src = src[n:]
	}
	return dst, nil
}

// SealHead makes one record of both, as tls.Conn does.
func (f *simFilter) SealHead(dst, head, body []byte) ([]byte, error) {
	f.check("SealHead")
	if !f.done || f.ended || len(head) == 0 || len(body) == 0 || len(head)+len(body) > recordMax {
		f.s.failf("SealHead: handshake done %v, ended %v, %d and %d bytes", f.done, f.ended, len(head), len(body))
	}
	return f.record(dst, simData, append(bytes.Clone(head), body...)), nil
}

func (f *simFilter) SealedSize(n int) int { return n + (n/recordMax+1)*simRecordHeader }

func (f *simFilter) Finish(dst []byte, cause error) []byte {
	f.check("Finish")
	if f.ended {
		f.s.failf("Finish called twice")
	}
	f.ended = true
	if !f.done {
		return f.record(dst, simAlert, nil)
	}
	return f.record(dst, simBye, nil)
}

func (f *simFilter) EOF() error {
	if f.bye {
		return nil
	}
	return errSimTruncated
}

// Refuse makes it a Refuser.
func (f *simFilter) Refuse(dst []byte) []byte {
	f.check("Refuse")
	if f.steps > 0 || f.got > 0 {
		f.s.failf("Refuse in the middle of a handshake")
	}
	return f.record(dst, simAlert, nil)
}

// Sleep makes it a Sleeper.
func (f *simFilter) Sleep() {
	f.check("Sleep")
	if !f.done {
		f.s.failf("Sleep before the handshake is done")
	}
}

func (f *simFilter) Release() { f.released = true }

func (f *simFilter) String() string {
	return fmt.Sprintf("client %v, flights %d/%d, done %v, released %v", f.client, f.got, f.flights, f.done, f.released)
}
