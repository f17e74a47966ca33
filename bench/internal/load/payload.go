package load

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"

	"github.com/ron-transport/ron-transport/bench/internal/wire"
	"github.com/ron-transport/ron-transport/framer"
)

// markLen is the length of the sequence mark at either end of a payload.
const markLen = 8

// fullCheckEvery is how often a reply is compared byte by byte instead of by its marks alone: often enough to catch a
// server that damages the middle, seldom enough not to cost the client a second pass over every byte.
const fullCheckEvery = 64

// AppProto is the application protocol of the load's frames; 0 would be HELLO.
const AppProto = wire.Proto

// template is a request frame that is patched for each request. The payload is noise (the same for the whole load) with
// the connection's number and the request's sequence number in the first and the last 8 bytes, as far as it is long
// enough to hold them: a reply of another request, of another connection, or with parts exchanged cannot match.
type template struct {
	frame []byte
	head  framer.Header
}

func newTemplate(payload int, oneWay bool) *template {
	t := &template{frame: make([]byte, framer.HeaderLen+payload)}
	t.head = framer.Header{
		Len: uint32(len(t.frame)), Ver: framer.Version, Flags: framer.FlagReq, AppProtoID: AppProto,
	}
	if oneWay {
		t.head.Flags = framer.FlagEvent
	}
	rng := rand.New(rand.NewPCG(uint64(payload), 0x6f61702f31))
	p := t.payload()
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	return t
}

// clone is a template that another goroutine may patch.
func (t *template) clone() *template { return &template{frame: slices.Clone(t.frame), head: t.head} }

func (t *template) payload() []byte { return t.frame[framer.HeaderLen:] }

// marks are the values in the first and the last 8 bytes.
func marks(conn int, seq uint64) (first, last uint64) {
	first = uint64(conn)<<40 ^ seq
	return first, ^first
}

// patch makes the template request seq of connection conn.
func (t *template) patch(conn int, seq uint64) {
	t.head.CorrID = seq
	framer.PutHeader(t.frame, &t.head)
	first, last := marks(conn, seq)
	p := t.payload()
	if len(p) >= markLen {
		binary.BigEndian.PutUint64(p, first)
	}
	if len(p) >= 2*markLen {
		binary.BigEndian.PutUint64(p[len(p)-markLen:], last)
	}
}

// matches says whether p is the payload of request seq of connection conn.
func (t *template) matches(p []byte, conn int, seq uint64) bool {
	if len(p) != len(t.payload()) {
		return false
	}
	first, last := marks(conn, seq)
	if len(p) >= markLen && binary.BigEndian.Uint64(p) != first {
		return false
	}
	if len(p) >= 2*markLen && binary.BigEndian.Uint64(p[len(p)-markLen:]) != last {
		return false
	}
	if seq%fullCheckEvery != 0 {
		return true
	}
	lo, hi := 0, len(p)
	if len(p) >= markLen {
		lo = markLen
	}
	if len(p) >= 2*markLen {
		hi -= markLen
	}
	return bytes.Equal(p[lo:hi], t.payload()[lo:hi])
}
