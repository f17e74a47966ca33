package framer

import (
	"bytes"
	"math/rand/v2"
	"net"
	"runtime/debug"
	"slices"
	"testing"

	"github.com/ron-transport/ron-transport/pool"
)

// seedBench is one of the seed's micro-benchmarks (§2.1): a function that makes its loop body, and how many allocations
// one run of it may make.
type seedBench struct {
	id     string
	bytes  int64
	allocs float64
	setup  func(tb testing.TB) func()
}

// text is n bytes that compress to about a third.
func text(n int) []byte {
	rng := rand.New(rand.NewPCG(1, 1))
	p := make([]byte, n)
	for i := range p {
		if p[i] = "etaoin shrdlu"[rng.IntN(13)]; i > 64 && rng.IntN(4) > 0 {
			p[i] = p[i-64]
		}
	}
	return p
}

// seedBenches is the table that benchmark, guard and allocation test share. The ids are fixed for ever; the fifth,
// write_coalesce_64k_chunks, is the reactor's.
func seedBenches() []seedBench {
	return []seedBench{
		{"oap_frame_encode_16k", HeaderLen + 16<<10, 0, func(tb testing.TB) func() {
			f := Frame{Header: Header{Flags: FlagReq, AppProtoID: 1, CorrID: 1}, Payload: text(16 << 10)}
			dst := make([]byte, 0, MaxFrame)
			return func() {
				out, err := AppendFrame(dst, &f)
				if err != nil || len(out) != HeaderLen+16<<10 {
					tb.Fatal(err)
				}
			}
		}},
		{"oap_frame_decode_16k", HeaderLen + 16<<10, 0, func(tb testing.TB) func() {
			wire := req(tb, 1, 0, text(16<<10))
			d := NewDecoder(MaxFrame)
			var f Frame
			return func() {
				if n, err := d.Next(wire, &f); n != len(wire) || err != nil {
					tb.Fatal(n, err)
				}
			}
		}},
		{"oap_header_parse", HeaderLen, 0, func(tb testing.TB) func() {
			wire := req(tb, 1, 0, nil)
			return func() {
				if h, err := ParseHeader(wire, MaxFrame); err != nil || h.CorrID != 1 {
					tb.Fatal(err)
				}
			}
		}},
		{"bounded_inflate_guard_1mib", 1 << 20, 0, func(tb testing.TB) func() {
			z, err := NewInflater()
			if err != nil {
				tb.Fatal(err)
			}
			tb.Cleanup(z.Release)
			src := zstdBytes(tb, text(1<<20))
			return func() {
				if out, err := z.Inflate(src); err != nil || len(out) != 1<<20 {
					tb.Fatal(len(out), err)
				}
			}
		}},
	}
}

// BenchmarkSeed is the seed's micro-benchmarks.
func BenchmarkSeed(b *testing.B) {
	for _, s := range seedBenches() {
		b.Run(s.id, func(b *testing.B) {
			run := s.setup(b)
			run()
			b.SetBytes(s.bytes)
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
	}
}

// TestSeedBenchmarkIDs guards the ids, which baselines refer to.
func TestSeedBenchmarkIDs(t *testing.T) {
	var ids []string
	for _, s := range seedBenches() {
		ids = append(ids, s.id)
	}
	if want := []string{"oap_frame_encode_16k", "oap_frame_decode_16k", "oap_header_parse", "bounded_inflate_guard_1mib"}; !slices.Equal(ids, want) {
		t.Errorf("benchmark ids are %q, want %q", ids, want)
	}
}

// benchConn is a Transport that throws output away and allocates nothing.
type benchConn struct {
	out [128 << 10]byte
	n   int
}

func (c *benchConn) Reserve(n int) []byte {
	c.n++
	return c.out[:n]
}

func (c *benchConn) Write(p []byte) error {
	c.n++
	return nil
}

func (c *benchConn) WriteInPlace(p []byte) error {
	c.n++
	return nil
}

func (c *benchConn) RetainInput() *pool.Buf { return nil }
func (c *benchConn) Writable() bool         { return true }
func (c *benchConn) PauseRead()             {}
func (c *benchConn) ResumeRead()            {}
func (c *benchConn) Post(fn func()) error   { return nil }
func (c *benchConn) Close(error)            {}
func (c *benchConn) Abort(error)            {}
func (c *benchConn) RemoteAddr() net.Addr   { return nil }
func (c *benchConn) LocalAddr() net.Addr    { return nil }

// echo is a loop body that feeds n frames of size bytes and has them answered.
func echo(tb testing.TB, frames, size int, flags Flags, answer func(s *Session, f *Frame)) (run func(), total int) {
	e, err := NewEndpoint(&fakeHandler{frame: answer}, Options{})
	if err != nil {
		tb.Fatal(err)
	}
	c := new(benchConn)
	s := e.Session(c)
	payload := text(size)
	if flags&FlagComp != 0 {
		payload = zstdBytes(tb, payload)
	}
	wire := bytes.Repeat(req(tb, 1, flags, payload), frames)
	work := make([]byte, len(wire))
	return func() {
		copy(work, wire) // answers in place change it
		c.n = 0
		if n, _, err := s.OnData(work); n != len(work) || err != nil || c.n == 0 {
			tb.Fatal(n, err, c.n)
		}
	}, len(wire)
}

func inPlace(s *Session, f *Frame)  { _ = s.Reply(f, 200, f.Payload) }
func reserved(s *Session, f *Frame) { copy(s.ReplyReserve(f, 200, len(f.Payload)), f.Payload) }

// paths are the ways through a session that must not allocate in steady state.
var paths = []struct {
	name   string
	size   int
	flags  Flags
	answer func(*Session, *Frame)
}{
	{"in place", 16 << 10, 0, inPlace},
	{"in place with ACK", 16 << 10, FlagAckReq, inPlace},
	{"reserved", 16 << 10, 0, reserved},
	{"copied", 16 << 10, 0, func(s *Session, f *Frame) { _ = s.Reply(f, 200, f.Payload[1:]) }},
	{"copied in two parts", 200_000, 0, func(s *Session, f *Frame) { _ = s.Reply(f, 200, f.Payload[1:]) }},
	{"as a stream", 16 << 10, FlagStart | FlagEnd, inPlace},
	{"compressed", 60_000, FlagComp, reserved},
}

// TestNoAllocations: the seed's benchmarks and the paths of a session, in steady state.
func TestNoAllocations(t *testing.T) {
	if raceBuild() {
		t.Skip("the race detector allocates")
	}
	for _, s := range seedBenches() {
		run := s.setup(t)
		run()
		if n := testing.AllocsPerRun(50, run); n != s.allocs {
			t.Errorf("%s: %v allocations, want %v", s.id, n, s.allocs)
		}
	}
	for _, p := range paths {
		run, _ := echo(t, 3, p.size, p.flags, p.answer)
		run()
		if n := testing.AllocsPerRun(50, run); n != 0 {
			t.Errorf("session, %s: %v allocations for three frames", p.name, n)
		}
	}
}

// BenchmarkSessionEcho is a frame through a session and its answer.
func BenchmarkSessionEcho(b *testing.B) {
	for _, p := range paths {
		b.Run(p.name, func(b *testing.B) {
			run, total := echo(b, 1, p.size, p.flags, p.answer)
			run()
			b.SetBytes(int64(total))
			b.ReportAllocs()
			for b.Loop() {
				run()
			}
		})
	}
}

// BenchmarkDecodeBuffered is one frame of 64 bytes decoded while 1 or 256 are buffered: the cost must not grow.
func BenchmarkDecodeBuffered(b *testing.B) {
	for _, frames := range []int{1, 256} {
		b.Run(map[int]string{1: "1", 256: "256"}[frames], func(b *testing.B) {
			wire := bytes.Repeat(req(b, 1, 0, make([]byte, 26)), frames)
			d := NewDecoder(MaxFrame)
			var f Frame
			at := 0
			b.ReportAllocs()
			for b.Loop() {
				n, err := d.Next(wire[at:], &f)
				if err != nil || n != 64 {
					b.Fatal(n, err)
				}
				if at += n; at == len(wire) {
					at = 0
				}
			}
		})
	}
}

// TestDecodeTouchesOneFrame: decoding a frame judges and copies nothing behind it, however much there is.
func TestDecodeTouchesOneFrame(t *testing.T) {
	wire := req(t, 1, 0, []byte("payload"))
	d := NewDecoder(MaxFrame)
	var alone, crowded Frame
	if n, err := d.Next(wire[:len(wire):len(wire)], &alone); n != len(wire) || err != nil {
		t.Fatal(n, err)
	}
	rest := append(bytes.Clone(wire), bytes.Repeat([]byte{0xff}, 1<<20)...) // garbage that any look would condemn
	if n, err := d.Next(rest, &crowded); n != len(wire) || err != nil || crowded.Header != alone.Header {
		t.Errorf("%d, %v", n, err)
	}
}

// raceBuild reports whether this test was built with -race, where pools drop buffers at random and allocations are not
// those of the code.
func raceBuild() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.ContainsFunc(info.Settings, func(s debug.BuildSetting) bool { return s.Key == "-race" && s.Value == "true" })
}
