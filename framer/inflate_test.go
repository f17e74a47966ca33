package framer

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// smallConstant is what a decompression may allocate beyond the bound: the decoder's tables and block buffers.
const smallConstant = 1 << 20

// zframe builds zstd frames by hand (RFC 8878 §3.1.1).
type zframe struct{ b []byte }

func zhead(window byte) *zframe { return &zframe{b: []byte{0x28, 0xb5, 0x2f, 0xfd, 0, window}} }

// zsized is a single segment with an 8-byte content size.
func zsized(size uint64) *zframe {
	return &zframe{b: binary.LittleEndian.AppendUint64([]byte{0x28, 0xb5, 0x2f, 0xfd, 3<<6 | 1<<5}, size)}
}

const window8M = 13 << 3 // 2^(10+13)

func (z *zframe) block(kind, size int, last bool, body ...byte) *zframe {
	v := size<<3 | kind<<1
	if last {
		v |= 1
	}
	z.b = append(append(z.b, byte(v), byte(v>>8), byte(v>>16)), body...)
	return z
}

func (z *zframe) rle(size int, last bool) *zframe { return z.block(1, size, last, 'x') }

// big is a compressed block of RLE literals only that decodes to 128 KiB: the block walk cannot know.
func (z *zframe) big(last bool) *zframe {
	const n = 128 << 10
	return z.block(2, 5, last, byte(1|3<<2|n<<4&0xf0), byte(n>>4&0xff), byte(n>>12), 'y', 0)
}

func (z *zframe) times(n int, f func(*zframe)) *zframe {
	for range n {
		f(z)
	}
	return z
}

func streamed(tb testing.TB, n int, opts ...zstd.EOption) []byte {
	var out bytes.Buffer
	w, err := zstd.NewWriter(&out, append(opts, zstd.WithEncoderConcurrency(1))...)
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := io.CopyN(w, zeros{}, int64(n)); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

type inflateCase struct {
	name  string
	src   []byte
	size  int    // of the result, if it is to be accepted
	why   Reason // else the refusal
	bound int    // bytes that may be allocated, besides the small constant
}

func inflateCases(t *testing.T) []inflateCase {
	w := zstd.WithWindowSize(8 << 20)
	some := zstdBytes(t, []byte("some text, some text, some text, some text"))
	dict := append([]byte{0x28, 0xb5, 0x2f, 0xfd, 1<<5 | 1, 77, 3}, 0x19, 0, 0, 'a', 'b', 'c')
	skippable := append([]byte{0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2}, some...)
	big := func(z *zframe) { z.big(false) }
	rle := func(z *zframe) { z.rle(128<<10, false) }
	badSum := bytes.Clone(some)
	badSum[len(badSum)-1] ^= 1
	return []inflateCase{
		{"empty payload", nil, 0, 0, 0},
		{"empty frame", zstdBytes(t, nil, zstd.WithZeroFrames(true)), 0, 0, 0},
		{"64 MiB, size known", zstdBytes(t, make([]byte, 64<<20)), 0, DecompressOverflow, 0},
		{"size beyond 63 bits", zsized(1<<63).rle(1, true).b, 0, DecompressOverflow, 0},
		{"size is the largest number", zsized(1<<64-1).rle(1, true).b, 0, DecompressOverflow, 0},
		{"64 MiB, size unknown", streamed(t, 64<<20, w), 0, DecompressOverflow, MaxInflated},
		{"64 MiB of compressed blocks, size unknown", zhead(window8M).times(511, big).big(true).b, 0, DecompressOverflow, MaxInflated},
		{"8 MiB of compressed blocks, then a run", zhead(window8M).times(64, big).rle(128<<10, true).b, 0, DecompressOverflow, MaxInflated},
		{"a run, then 8 MiB of compressed blocks", zhead(window8M).rle(1, false).times(63, big).big(true).b, 0, DecompressOverflow, MaxInflated},
		{"64 runs of 128 KiB", zhead(window8M).times(63, rle).rle(128<<10, true).b, MaxInflated, 0, MaxInflated},
		{"65 runs of 128 KiB", zhead(window8M).times(64, rle).rle(1, true).b, 0, DecompressOverflow, 0},
		{"64 compressed blocks of 128 KiB", zhead(window8M).times(63, big).big(true).b, MaxInflated, 0, MaxInflated},
		{"claims 8 MiB, holds more", zsized(MaxInflated).times(64, big).big(true).b, 0, DecompressOverflow, MaxInflated},
		{"claims 8 MiB, can only hold a byte", zsized(MaxInflated).rle(1, true).b, 0, BadCompression, 0},
		{"claims 10 bytes, holds a run of 11", zsized(10).rle(11, true).b, 0, BadCompression, 0},
		{"claims 10 bytes, holds 128 KiB", zsized(10).big(true).b, 0, BadCompression, 0},
		{"claims nothing, holds something", zsized(0).big(true).b, 0, BadCompression, 0},
		{"8 MiB, size known", zstdBytes(t, make([]byte, MaxInflated)), MaxInflated, 0, MaxInflated},
		{"8 MiB, size unknown", streamed(t, MaxInflated, w), MaxInflated, 0, MaxInflated},
		{"8 MiB + 1, size known", zstdBytes(t, make([]byte, MaxInflated+1)), 0, DecompressOverflow, 0},
		{"8 MiB + 1, size unknown", streamed(t, MaxInflated+1, w), 0, DecompressOverflow, MaxInflated},
		{"window of 128 MiB", zhead(17<<3).rle(1, true).b, 0, BadCompression, 0},
		{"window a step above 8 MiB", zhead(window8M|1).rle(1, true).b, 0, BadCompression, 0},
		{"window of 8 MiB", zhead(window8M).rle(7, true).b, 7, 0, 0},
		{"largest window", zhead(0xff).rle(1, true).b, 0, BadCompression, 0},
		{"two frames", append(bytes.Clone(some), some...), 0, BadCompression, 0},
		{"trailing byte", append(bytes.Clone(some), 0), 0, BadCompression, 0},
		{"truncated", some[:len(some)-5], 0, BadCompression, 0},
		{"only a header", some[:6], 0, BadCompression, 0},
		{"only a magic number", some[:4], 0, BadCompression, 0},
		{"checksum missing", some[:len(some)-4], 0, BadCompression, 0},
		{"checksum wrong", badSum, 0, BadCompression, 0},
		{"garbage", []byte("garbage, no zstd at all"), 0, BadCompression, 0},
		{"one byte", []byte{0x28}, 0, BadCompression, 0},
		{"skippable frame", skippable, 0, BadCompression, 0},
		{"only a skippable frame", skippable[:10], 0, BadCompression, 0},
		{"dictionary", dict, 0, BadCompression, 0},
		{"reserved bit of the descriptor", []byte{0x28, 0xb5, 0x2f, 0xfd, 8, window8M, 1, 0, 0}, 0, BadCompression, 0},
		{"reserved block", zhead(window8M).block(3, 0, true).b, 0, BadCompression, 0},
		{"block above 128 KiB", zhead(window8M).rle(128<<10+1, true).b, 0, BadCompression, 0},
		{"largest block", zhead(window8M).rle(1<<21-1, true).b, 0, BadCompression, 0},
		{"no last block", zhead(window8M).rle(1, false).b, 0, BadCompression, 0},
	}
}

// allocated is how many bytes fn allocates.
func allocated(fn func()) uint64 {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	var a, b runtime.MemStats
	runtime.ReadMemStats(&a)
	fn()
	runtime.ReadMemStats(&b)
	return b.TotalAlloc - a.TotalAlloc
}

// TestInflate is every case on a fresh decompressor, with what it allocates, and once more on a used one.
func TestInflate(t *testing.T) {
	used, err := NewInflater()
	if err != nil {
		t.Fatal(err)
	}
	defer used.Release()
	for _, v := range inflateCases(t) {
		t.Run(v.name, func(t *testing.T) {
			fresh, err := NewInflater()
			if err != nil {
				t.Fatal(err)
			}
			defer fresh.Release()
			for _, z := range []*Inflater{fresh, used} {
				var out []byte
				got := allocated(func() { out, err = z.Inflate(v.src) })
				if got > uint64(v.bound+smallConstant) {
					t.Errorf("%d bytes allocated, at most %d + %d are allowed", got, v.bound, smallConstant)
				}
				if v.why != 0 {
					if e, ok := err.(*Error); !ok || e.Why != v.why || out != nil || e.Fatal() {
						t.Fatalf("%d bytes, error %v; want %v", len(out), err, v.why)
					}
					continue
				}
				if err != nil || len(out) != v.size {
					t.Fatalf("%d bytes, error %v; want %d", len(out), err, v.size)
				}
			}
		})
	}
}

// TestInflateThroughSession: the verdicts are answered, the connection survives, and the memory of large payloads does
// not stay behind.
func TestInflateThroughSession(t *testing.T) {
	var got int
	c := newFake(t, &fakeHandler{frame: func(_ *Session, f *Frame) { got = len(f.Payload) }}, Options{})
	for i, v := range inflateCases(t) {
		if len(v.src) > MaxPayload {
			continue
		}
		got = -1
		c.feed(req(t, uint64(i), FlagComp, v.src))
		if v.why == 0 {
			if got != v.size || len(c.out) != 0 {
				t.Errorf("%s: the handler saw %d bytes, want %d", v.name, got, v.size)
			}
			continue
		}
		code := uint16(400)
		if v.why == DecompressOverflow {
			code = 413
		}
		if wantError(t, c.one(), uint64(i), code, v.why); got != -1 || c.closed {
			t.Errorf("%s: the handler saw %d bytes, closed %v", v.name, got, c.closed)
		}
	}
	for _, z := range c.s.e.z.free {
		if cap(z.out) > keepInflated {
			t.Errorf("an idle decompressor keeps %d bytes", cap(z.out))
		}
	}
	if n := len(c.s.e.z.free); n != 1 {
		t.Errorf("%d decompressors for one session", n)
	}
	if n := c.s.e.Stats().Rejected(DecompressOverflow); n == 0 {
		t.Error("no overflow was counted")
	}
}

// TestInflateCorrect: what klauspost's encoder makes at any level, with and without a content size and checksum, comes
// back.
func TestInflateCorrect(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	z, err := NewInflater()
	if err != nil {
		t.Fatal(err)
	}
	defer z.Release()
	for _, level := range []zstd.EncoderLevel{zstd.SpeedFastest, zstd.SpeedDefault, zstd.SpeedBetterCompression, zstd.SpeedBestCompression} {
		for _, sum := range []bool{false, true} {
			w, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderCRC(sum), zstd.WithWindowSize(1<<20), zstd.WithZeroFrames(true),
				zstd.WithEncoderConcurrency(1))
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []int{0, 1, 100, 1 << 10, 64 << 10, 128<<10 - 1, 128 << 10, 128<<10 + 1, 1<<20 + 17} {
				p := make([]byte, n)
				for i := range p {
					if p[i] = byte(rng.Uint32()) & 7; i > 100 && rng.IntN(3) > 0 {
						p[i] = p[i-100]
					}
				}
				var unsized bytes.Buffer
				w.Reset(&unsized)
				for rest := p; len(rest) > 0; { // more than one write: the encoder cannot know the size
					k := min(len(rest), 50_000)
					if _, err := w.Write(rest[:k]); err != nil {
						t.Fatal(err)
					}
					rest = rest[k:]
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
				for i, src := range [][]byte{w.EncodeAll(p, nil), unsized.Bytes()} {
					if out, err := z.Inflate(src); err != nil || !bytes.Equal(out, p) {
						t.Fatalf("level %v, %d bytes, checksum %v, variant %d: %d bytes, %v", level, n, sum, i, len(out), err)
					}
				}
			}
		}
	}
}

// TestCompRoundTrip: the handler sees the plain payload under a header that does not lie, or with KeepCompressed the
// payload as it came.
func TestCompRoundTrip(t *testing.T) {
	plain := bytes.Repeat([]byte("frame "), 5000)
	packed := zstdBytes(t, plain)
	for _, keep := range []bool{false, true} {
		t.Run(fmt.Sprint("keep ", keep), func(t *testing.T) {
			n := 0
			c := newFake(t, &fakeHandler{frame: func(s *Session, f *Frame) {
				n++
				want, flag := plain, Flags(0)
				if keep {
					want, flag = packed, FlagComp
				}
				if !bytes.Equal(f.Payload, want) || f.Flags != FlagReq|FlagStart|flag || int(f.Len) != HeaderLen+len(f.Cap)+len(want) || string(f.Cap) != "cap" {
					t.Errorf("handler sees %+v, %d bytes", f.Header, len(f.Payload))
				}
				if err := s.Reply(f, 200, f.Payload); err != nil {
					t.Error(err)
				}
			}}, Options{KeepCompressed: keep})
			c.feed(enc(t, Frame{Header: Header{Flags: FlagReq | FlagStart | FlagComp, AppProtoID: 1, CorrID: 2}, Cap: []byte("cap"), Payload: packed}))
			want := plain
			if keep {
				want = packed
			}
			if f := c.one(); n != 1 || !bytes.Equal(f.Payload, want) || f.Flags&FlagComp != 0 {
				t.Errorf("reply %+v of %d bytes", f.Header, len(f.Payload))
			}
		})
	}
}
