package framer

import (
	"bytes"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// FuzzDecode: any bytes in any split give the same frames and verdict as in one piece, and what is accepted encodes to the
// same bytes.
func FuzzDecode(f *testing.F) {
	f.Fuzz(func(t *testing.T, stream, split []byte) {
		if len(stream) > 4096 {
			return
		}
		whole := decodeSplit(t, stream, 2048, nil)
		var cuts []int
		for i, at := 0, 0; i < len(split); i++ {
			if at += int(split[i]); at >= len(stream) {
				break
			}
			cuts = append(cuts, at)
		}
		if got := decodeSplit(t, stream, 2048, cuts); !sameOutcome(got, whole) {
			t.Fatalf("cut at %v: %+v, whole: %+v", cuts, got, whole)
		}
		var again []byte
		for _, f := range whole.frames {
			again = append(again, enc(t, f)...)
		}
		if !bytes.HasPrefix(stream, again) || len(stream)-len(again) != whole.left {
			t.Fatal("accepted frames encode to other bytes")
		}
	})
}

// FuzzParseHeader: ParseHeader and Decoder agree on every header, and an accepted one encodes to the same bytes.
func FuzzParseHeader(f *testing.F) {
	f.Fuzz(func(t *testing.T, b []byte, maxFrame uint32) {
		maxFrame = min(maxFrame, MaxFrame)
		h, err := ParseHeader(b, maxFrame)
		if len(b) < HeaderLen {
			if err == nil {
				t.Fatal("half a header was accepted")
			}
			return
		}
		b = b[:HeaderLen]
		d := NewDecoder(maxFrame)
		var g Frame
		if _, derr := d.Next(b, &g); (derr == nil) != (err == nil) {
			t.Fatalf("ParseHeader says %v, Decoder %v", err, derr)
		} else if err != nil && *err.(*Error) != *derr.(*Error) {
			t.Fatalf("ParseHeader says %v, Decoder %v", err, derr)
		}
		if !bytes.Equal(AppendHeader(nil, &h), b) {
			t.Fatalf("%x came back as %x", b, AppendHeader(nil, &h))
		}
		if err == nil && (h.Len < HeaderLen || h.Len > maxFrame || h.Ver != Version || h.Flags > 0xff || uint32(h.CapLen) > h.Len-HeaderLen || h.CapLen > 0 && h.Flags&FlagStart == 0) {
			t.Fatalf("%+v was accepted", h)
		}
	})
}

// FuzzInflate: the bound holds, and what is accepted is what an unguarded decoder makes of it.
func FuzzInflate(f *testing.F) {
	z, err := NewInflater()
	if err != nil {
		f.Fatal(err)
	}
	plain, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(16<<20))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		out, err := z.Inflate(src)
		if len(out) > MaxInflated || cap(z.out) > MaxInflated+inflateSlack {
			t.Fatalf("%d bytes came out, %d are kept", len(out), cap(z.out))
		}
		if err != nil {
			if e, ok := err.(*Error); !ok || out != nil || e.Why != BadCompression && e.Why != DecompressOverflow {
				t.Fatalf("%d bytes with error %v", len(out), err)
			}
			return
		}
		want, perr := plain.DecodeAll(src, nil)
		if perr != nil || !bytes.Equal(out, want) {
			t.Fatalf("%d bytes were accepted, an unguarded decoder makes %d and says %v", len(out), len(want), perr)
		}
	})
}

// FuzzSession: any bytes in any split, to a handler that answers in every way there is. Nothing panics, all output
// decodes, each frame is answered once, all buffers come back.
func FuzzSession(f *testing.F) {
	f.Fuzz(func(t *testing.T, stream, split []byte) {
		if len(stream) > 4096 {
			return
		}
		var held []*Retained
		h := &fakeHandler{frame: func(s *Session, f *Frame) {
			switch f.CorrID % 8 {
			case 0:
				_ = s.Reply(f, 200, f.Payload)
			case 1:
				_ = s.Reply(f, 200, f.Payload[len(f.Payload)/2:])
			case 2:
				copy(s.ReplyReserve(f, 200, min(len(f.Payload), 9)), f.Payload)
			case 3:
				_ = s.ReplyError(f, &Error{Why: RateLimited, Detail: string(f.Payload[:min(9, len(f.Payload))])})
			case 4, 5:
				held = append(held, f.Retain())
			case 6:
				_ = s.Send(&Frame{Header: Header{Flags: f.Flags, CorrID: f.CorrID}, Payload: f.Payload})
			}
		}}
		c := newFake(t, h, Options{MaxFrame: 2048, MaxInflight: 2, MaxStreams: 3, KeepCompressed: len(split)%2 == 1})
		c.high = 300
		for i := 0; len(stream) > 0 && !c.closed; i++ {
			n := len(stream)
			if i < len(split) {
				n = min(n, int(split[i]))
			}
			c.feed(stream[:n])
			stream = stream[n:]
			if len(held) > i%3 {
				if held[0].CorrID == 4 {
					held[0].Release()
				} else {
					_ = held[0].Reply(200, held[0].Payload)
				}
				held = held[1:]
				c.turn()
			}
		}
		for len(held) > 0 { // each lets another in
			held[0].Release()
			held = held[1:]
			c.turn()
		}
		if !c.closed && c.s.Inflight() != 0 { // once it is closed nobody counts
			t.Fatalf("%d permits are out", c.s.Inflight())
		}
		if !c.closed {
			c.goodbye(fakeCause("shutting_down"))
		}
		c.sent()
		if n := len(c.s.streams.m); n > 6 {
			t.Fatalf("%d streams are remembered", n)
		}
	})
}
