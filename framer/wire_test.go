package framer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
)

// wireField is a field of another dialect's header: its name and width in bytes.
type wireField struct {
	name  string
	width int
}

// dialect is a layout that some document calls OAP/1 and that is not ours.
type dialect struct {
	name      string
	fields    []wireField
	little    bool
	afterSelf bool // len does not count its own four bytes
}

var dialects = []dialect{
	{name: "31 bytes, 1-byte version", fields: []wireField{{"len", 4}, {"ver", 1}, {"flags", 1}, {"code", 2}, {"proto", 2}, {"tenant", 16}, {"corr", 4}, {"cap", 1}}},
	{name: "31 bytes, our first fields", fields: []wireField{{"len", 4}, {"ver", 2}, {"flags", 2}, {"code", 2}, {"proto", 2}, {"tenant", 8}, {"cap", 2}, {"corr", 8}, {"pad", 1}}},
	{name: "33 bytes, 1-byte version", fields: []wireField{{"len", 4}, {"ver", 1}, {"flags", 2}, {"code", 2}, {"proto", 2}, {"tenant", 16}, {"cap", 2}, {"corr", 4}}},
	{name: "33 bytes, 1-byte flags", fields: []wireField{{"len", 4}, {"ver", 2}, {"flags", 1}, {"code", 2}, {"proto", 2}, {"tenant", 16}, {"cap", 2}, {"corr", 4}}},
	{name: "37 bytes, 1-byte version", fields: []wireField{{"len", 4}, {"ver", 1}, {"flags", 2}, {"code", 2}, {"proto", 2}, {"tenant", 16}, {"cap", 2}, {"corr", 8}}},
	{name: "37 bytes, 1-byte flags", fields: []wireField{{"len", 4}, {"ver", 2}, {"flags", 1}, {"code", 2}, {"proto", 2}, {"tenant", 16}, {"cap", 2}, {"corr", 8}}},
	{name: "little-endian", fields: ourFields, little: true},
	{name: "little-endian length only", fields: append([]wireField{{"littlelen", 4}}, ourFields[1:]...)},
	{name: "length after itself", fields: ourFields, afterSelf: true},
	{name: "1-byte version after itself", fields: []wireField{{"len", 4}, {"ver", 1}, {"flags", 2}, {"code", 2}, {"proto", 2}, {"tenant", 16}, {"cap", 2}, {"corr", 8}}, afterSelf: true},
}

var ourFields = []wireField{{"len", 4}, {"ver", 2}, {"flags", 2}, {"code", 2}, {"proto", 2}, {"tenant", 16}, {"cap", 2}, {"corr", 8}}

func (d *dialect) encode(flags, proto uint64, payload []byte) []byte {
	head := 0
	for _, f := range d.fields {
		head += f.width
	}
	total := uint64(head + len(payload))
	if d.afterSelf {
		total -= 4
	}
	values := map[string]uint64{"len": total, "littlelen": total, "ver": 1, "flags": flags, "proto": proto, "tenant": 0xAA, "corr": 7}
	var b []byte
	for _, f := range d.fields {
		w := make([]byte, 16)
		binary.BigEndian.PutUint64(w[8:], values[f.name])
		w = w[16-f.width:]
		if d.little || f.name == "littlelen" {
			for i, j := 0, len(w)-1; i < j; i, j = i+1, j-1 {
				w[i], w[j] = w[j], w[i]
			}
		}
		b = append(b, w...)
	}
	return append(b, payload...)
}

// TestDialects: a peer that speaks another layout says HELLO, or sends requests, and hears a 400 or 413 before it has sent
// more than that; then the connection closes.
func TestDialects(t *testing.T) {
	for _, d := range dialects {
		hello := d.encode(1, 0, []byte(`{"ua":null}`))
		request := d.encode(1, 7, []byte("some payload"))
		for name, wire := range map[string][]byte{"hello": hello, "requests": append(bytes.Clone(request), request...)} {
			for _, step := range []int{1, 6, len(wire)} {
				t.Run(fmt.Sprintf("%s/%s/%d", d.name, name, step), func(t *testing.T) {
					c := newFake(t, &fakeHandler{}, Options{})
					for i := 0; i < len(wire) && !c.closed; i += step {
						c.feed(wire[i:min(i+step, len(wire))])
					}
					if !c.closed {
						t.Fatal("the connection hangs")
					}
					var e *Error
					if !errors.As(c.cause, &e) || e.Status() < 400 || e.Status() >= 500 || !e.Fatal() {
						t.Errorf("closed with %v", c.cause)
					}
					fs := c.sent()
					wantError(t, fs[len(fs)-1], e.CorrID, e.Status(), e.Why)
				})
			}
		}
	}
}

// TestFrameCap is the cap at ±1 byte, through the codec, a session and a session with a smaller cap.
func TestFrameCap(t *testing.T) {
	for _, limit := range []int{MaxFrame, 4096} {
		for _, d := range []int{-1, 0, 1} {
			n := limit + d
			wire := make([]byte, n)
			PutHeader(wire, &Header{Len: uint32(n), Ver: 1, Flags: FlagReq, AppProtoID: 1, CorrID: 5})
			got := 0
			c := newFake(t, &fakeHandler{frame: func(_ *Session, f *Frame) { got = int(f.Len) }}, Options{MaxFrame: limit})
			head := wire[:HeaderLen]
			if d <= 0 {
				head = wire
			}
			c.feed(head)
			if d <= 0 {
				if got != n || c.closed {
					t.Errorf("cap %d: frame of %d bytes: handler saw %d, closed %v", limit, n, got, c.closed)
				}
			} else if wantError(t, c.one(), 5, 413, FrameTooLarge); !c.closed || got != 0 {
				t.Errorf("cap %d: frame of %d bytes was not refused from its header", limit, n)
			}
			f := Frame{Header: Header{Flags: FlagReq}, Payload: wire[HeaderLen:]}
			if _, err := AppendFrame(nil, &f); (err != nil) != (n > MaxFrame) {
				t.Errorf("AppendFrame of %d bytes: %v", n, err)
			}
		}
	}
}

// TestEncoderIsStrict: what AppendFrame accepts decodes to itself, and what a decoder refuses it refuses.
func TestEncoderIsStrict(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	accepted := 0
	for range 20000 {
		f := Frame{Header: Header{Flags: Flags(rng.Uint32()), Ver: uint16(rng.IntN(3)), Code: uint16(rng.Uint32()), AppProtoID: uint16(rng.Uint32()), CorrID: rng.Uint64()}}
		if rng.IntN(4) > 0 {
			f.Flags &= knownFlags
		}
		rng2 := rng.IntN(3)
		f.Cap = make([]byte, rng2*rng.IntN(40))
		f.Payload = make([]byte, rng.IntN(100))
		raw := f
		raw.Len, raw.CapLen = uint32(HeaderLen+len(f.Cap)+len(f.Payload)), uint16(len(f.Cap))
		if raw.Ver == 0 {
			raw.Ver = Version
		}
		naive := AppendHeader(nil, &raw.Header)
		naive = append(append(naive, f.Cap...), f.Payload...)
		_, _, want := decodeAll(naive)
		wire, err := AppendFrame(nil, &f)
		if (err == nil) != (want == nil) {
			t.Fatalf("encoder says %v, decoder %v for %+v", err, want, raw.Header)
		}
		if err != nil {
			if err.(*Error).Why != want.(*Error).Why {
				t.Fatalf("encoder says %v, decoder %v", err, want)
			}
			continue
		}
		accepted++
		fs, rest, err := decodeAll(wire)
		if err != nil || len(fs) != 1 || len(rest) != 0 || fs[0].Header != f.Header || !bytes.Equal(fs[0].Cap, f.Cap) || !bytes.Equal(fs[0].Payload, f.Payload) {
			t.Fatalf("%+v came back as %+v, %v", f.Header, fs, err)
		}
	}
	if accepted < 1000 {
		t.Errorf("only %d frames were accepted", accepted)
	}
}

// outcome is what a decoder made of a stream.
type outcome struct {
	frames []Frame
	why    Reason
	detail string
	left   int
}

// decodeSplit decodes stream as it arrives in pieces that end at cuts.
func decodeSplit(tb testing.TB, stream []byte, maxFrame uint32, cuts []int) outcome {
	d := NewDecoder(maxFrame)
	var o outcome
	var buf []byte
	for _, cut := range append(cuts, len(stream)) {
		buf = append(buf, stream[len(buf):cut]...)
		for at := len(stream) - o.left; o.why == 0; { // left counts from the end; see below
			at = consumed(o.frames)
			var f Frame
			n, err := d.Next(buf[at:], &f)
			if err != nil {
				e := err.(*Error)
				o.why, o.detail = e.Why, e.Detail
				if m, again := d.Next(buf[at:], &f); m != 0 || again != err {
					tb.Fatal("the verdict is not sticky")
				}
				break
			}
			if n == 0 {
				if need := d.Need(); need <= len(buf)-at {
					tb.Fatalf("Need is %d, %d are there", need, len(buf)-at)
				}
				break
			}
			if n != int(f.Len) || len(f.Cap)+len(f.Payload)+HeaderLen != n || cap(f.Payload) != len(f.Payload) || cap(f.Cap) != len(f.Cap) {
				tb.Fatalf("frame %+v of %d bytes", f.Header, n)
			}
			f.Cap, f.Payload = bytes.Clone(f.Cap), bytes.Clone(f.Payload)
			o.frames = append(o.frames, f)
		}
	}
	o.left = len(stream) - consumed(o.frames)
	return o
}

func consumed(fs []Frame) (n int) {
	for _, f := range fs {
		n += int(f.Len)
	}
	return n
}

func sameOutcome(a, b outcome) bool {
	if a.why != b.why || a.detail != b.detail || a.left != b.left || len(a.frames) != len(b.frames) {
		return false
	}
	for i := range a.frames {
		f, g := &a.frames[i], &b.frames[i]
		if f.Header != g.Header || !bytes.Equal(f.Cap, g.Cap) || !bytes.Equal(f.Payload, g.Payload) {
			return false
		}
	}
	return true
}

// randomStream is a few sound frames and then, mostly, something that is none.
func randomStream(tb testing.TB, rng *rand.Rand) []byte {
	var b []byte
	for range rng.IntN(4) {
		f := Frame{Header: Header{Flags: Flags(rng.Uint32()) & knownFlags, CorrID: rng.Uint64()}, Payload: make([]byte, rng.IntN(60))}
		if f.Flags&FlagStart != 0 {
			f.Cap = make([]byte, rng.IntN(20))
		}
		b = append(b, enc(tb, f)...)
	}
	if rng.IntN(5) == 0 {
		return b[:len(b)-rng.IntN(len(b)+1)]
	}
	tail := make([]byte, HeaderLen+rng.IntN(20))
	PutHeader(tail, &Header{Len: uint32(rng.IntN(90)), Ver: 1, Flags: FlagStart, CapLen: uint16(rng.IntN(40))})
	for range rng.IntN(3) {
		tail[rng.IntN(30)] = byte(rng.Uint32())
	}
	return append(b, tail[:rng.IntN(len(tail)+1)]...)
}

// TestAnySplit: however a stream is cut, frames and verdict are those of the whole.
func TestAnySplit(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	verdicts := map[Reason]int{}
	for range 3000 {
		stream := randomStream(t, rng)
		whole := decodeSplit(t, stream, 4096, nil)
		verdicts[whole.why]++
		all := make([]int, len(stream))
		for i := range all {
			all[i] = i
		}
		var some []int
		for i := range stream {
			if rng.IntN(8) == 0 {
				some = append(some, i)
			}
		}
		for _, cuts := range [][]int{all, some} {
			if got := decodeSplit(t, stream, 4096, cuts); !sameOutcome(got, whole) {
				t.Fatalf("stream %x cut at %v:\n%+v, whole:\n%+v", stream, cuts, got, whole)
			}
		}
	}
	for _, why := range []Reason{0, BadVersion, BadFlags, BadFrame, FrameTooLarge} {
		if verdicts[why] < 20 {
			t.Errorf("verdict %v came up %d times only: the streams are too tame", why, verdicts[why])
		}
	}
}

// TestEarliest: a verdict falls with the byte that decides it, not later.
func TestEarliest(t *testing.T) {
	head := func(change func(*Header)) []byte {
		h := Header{Len: 100, Ver: 1, Flags: FlagReq, CorrID: 9}
		change(&h)
		return AppendHeader(nil, &h)
	}
	for _, v := range []struct {
		name string
		wire []byte
		at   int
		why  Reason
	}{
		{"short length", head(func(h *Header) { h.Len = 37 }), 4, BadFrame},
		{"version", head(func(h *Header) { h.Ver = 2 }), 6, BadVersion},
		{"version before length", head(func(h *Header) { h.Ver, h.Len = 2, 1<<32-1 }), 6, BadVersion},
		{"length", head(func(h *Header) { h.Len = MaxFrame + 1 }), 6, FrameTooLarge},
		{"flags", head(func(h *Header) { h.Flags = 0x8001 }), 8, BadFlags},
		{"version before flags", head(func(h *Header) { h.Flags, h.Ver = 0x8001, 0 }), 6, BadVersion},
		{"cap without START", head(func(h *Header) { h.CapLen = 1 }), 30, BadFrame},
		{"cap beyond the frame", head(func(h *Header) { h.CapLen, h.Flags = 63, FlagStart }), 30, BadFrame},
		{"largest cap in a frame without room", head(func(h *Header) { h.CapLen, h.Flags, h.Len = 65535, FlagStart, 38 }), 30, BadFrame},
	} {
		d := NewDecoder(MaxFrame)
		var f Frame
		for n := range v.wire {
			m, err := d.Next(v.wire[:n+1], &f)
			if m != 0 {
				t.Fatalf("%s: a frame", v.name)
			}
			if err == nil {
				continue
			}
			if e := err.(*Error); n+1 != v.at || e.Why != v.why || !e.Fatal() || e.CorrID != 0 {
				t.Errorf("%s: %v after %d bytes, want %v after %d", v.name, err, n+1, v.why, v.at)
			}
			break
		}
		if d.verdict == nil {
			t.Errorf("%s: no verdict", v.name)
		}
		_, err := ParseHeader(v.wire, MaxFrame)
		if e, ok := err.(*Error); !ok || e.Why != v.why || e.CorrID != 9 {
			t.Errorf("%s: ParseHeader says %v", v.name, err)
		}
	}
	if _, err := ParseHeader(make([]byte, 37), MaxFrame); err == nil || err.(*Error).Why != BadFrame {
		t.Errorf("37 bytes are a header: %v", err)
	}
	if d := NewDecoder(1 << 31); d.max != MaxFrame {
		t.Errorf("a decoder accepts %d bytes", d.max)
	}
}

// TestHeaderRoundTrip: every field comes back.
func TestHeaderRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for range 1000 {
		h := Header{Len: 38 + 65535 + rng.Uint32N(1000), Ver: 1, Flags: FlagStart | Flags(rng.Uint32())&knownFlags, Code: uint16(rng.Uint32()),
			AppProtoID: uint16(rng.Uint32()), CapLen: uint16(rng.Uint32()), CorrID: rng.Uint64()}
		for i := range h.Tenant {
			h.Tenant[i] = byte(rng.Uint32())
		}
		got, err := ParseHeader(AppendHeader(nil, &h), MaxFrame)
		if err != nil || got != h {
			t.Fatalf("%+v came back as %+v, %v", h, got, err)
		}
	}
	if s := (FlagReq | FlagEnd | 0x4000).String(); s != "REQ|END|0x4000" {
		t.Errorf("flags read %q", s)
	}
}
