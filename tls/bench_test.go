package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"fmt"
	"iter"
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"
)

// TestConnMemory keeps an idle server connection small: with both AEADs, and asleep.
func TestConnMemory(t *testing.T) {
	const conns = 2000
	const mostAwake, mostAsleep = 3500, 256 // of the first, two AEADs with their powers of H take 3.1 KB
	if size := unsafe.Sizeof(Conn{}); size > 192 {
		t.Errorf("a Conn has %d bytes; above 192 the allocator takes the next size class", size)
	}
	server, client := defaults(t)
	kept := make([]*Conn, 0, conns)
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	connect := func() *Conn {
		s, c := server.Conn(), client.Conn("")
		if _, _, err := shake(s, c); err != nil {
			t.Fatal(err)
		}
		c.Release()
		return s
	}
	connect().Release() // what is made once per process
	before := heap()
	for range conns {
		kept = append(kept, connect())
	}
	awake := (int64(heap()) - int64(before)) / conns
	for _, s := range kept {
		s.Sleep()
	}
	asleep := (int64(heap()) - int64(before)) / conns
	t.Logf("bytes per connection: %d awake, %d asleep", awake, asleep)
	if awake > mostAwake || asleep > mostAsleep {
		t.Errorf("bytes per idle server connection: %d awake, want at most %d; %d asleep, want at most %d", awake, mostAwake, asleep, mostAsleep)
	}
	for _, s := range kept {
		s.Release()
	}
}

var sizes = []int{1 << 10, 4 << 10, 16 << 10, 64 << 10}

func BenchmarkSeal(b *testing.B) {
	for name, id := range allSuites() {
		for _, size := range sizes {
			for _, mutable := range []bool{true, false} {
				b.Run(fmt.Sprintf("%s/%dKiB/mutable=%v", name, size>>10, mutable), func(b *testing.B) {
					s, _ := keyed(b, id, DefaultRecordsPerKey)
					src := make([]byte, size, size+1)
					dst := make([]byte, 0, s.SealedSize(size))
					b.SetBytes(int64(size))
					b.ReportAllocs()
					for b.Loop() {
						if _, err := s.Seal(dst, src, mutable); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	for name, id := range allSuites() {
		for _, size := range sizes {
			b.Run(fmt.Sprintf("%s/%dKiB", name, size>>10), func(b *testing.B) {
				s, c := keyed(b, id, DefaultRecordsPerKey)
				wire, err := c.Seal(nil, make([]byte, size), false)
				must(err)
				dst := make([]byte, 0, size+maxCiphertext)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					s.in.seq = 0
					if out, _, err := s.Open(dst, wire); err != nil || len(out) != size {
						b.Fatal(len(out), err)
					}
				}
			})
		}
	}
}

// BenchmarkHandshake measures what a full handshake costs the server, against crypto/tls's own server, which runs here over the same
// kind of pipe with nothing of this package around it. The two alternate, the client is the same in both, and medians are reported:
// a busy machine then slows both alike.
func BenchmarkHandshake(b *testing.B) {
	for _, group := range []stdtls.CurveID{stdtls.X25519MLKEM768, stdtls.X25519} {
		b.Run(group.String(), func(b *testing.B) {
			cc, sc := clientTLS(), serverTLS()
			cc.CurvePreferences = []stdtls.CurveID{group}
			server, client := newServer(b, sc), newClient(b, cc)
			sc.NextProtos, sc.MinVersion = []string{ALPN}, stdtls.VersionTLS13
			var ours, theirs []time.Duration
			for b.Loop() {
				ours = append(ours, timeOurs(b, server, client))
				theirs = append(theirs, timeTheirs(b, sc, client))
			}
			median := func(d []time.Duration) float64 { slices.Sort(d); return float64(d[len(d)/2].Nanoseconds()) }
			x, y := median(ours), median(theirs)
			b.ReportMetric(x, "ours-ns")
			b.ReportMetric(y, "crypto/tls-ns")
			b.ReportMetric(100*(x/y-1), "%more")
		})
	}
	b.Run("allocations", func(b *testing.B) {
		server, client := defaults(b)
		b.ReportAllocs()
		for b.Loop() {
			timeOurs(b, server, client)
		}
	})
}

// timeOurs is the server's part of one handshake of ours.
func timeOurs(b *testing.B, server *Server, client *Client) (spent time.Duration) {
	s, c := server.Conn(), client.Conn("")
	defer c.Release()
	var toServer, toClient []byte
	for s.state < stateOpen {
		if _, err := advance(c, &toClient, &toServer); err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		if _, err := advance(s, &toServer, &toClient); err != nil {
			b.Fatal(err)
		}
		spent += time.Since(start)
	}
	s.Release()
	return spent
}

// timeTheirs is the same for crypto/tls.
func timeTheirs(b *testing.B, sc *stdtls.Config, client *Client) (spent time.Duration) {
	c := client.Conn("")
	defer c.Release()
	p := &pipe{}
	var toServer, toClient []byte
	if _, err := advance(c, &toClient, &toServer); err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	s := stdtls.Server(p, sc)
	next, stop := iter.Pull(func(yield func(struct{}) bool) {
		p.park = yield
		must(s.Handshake())
	})
	defer stop()
	for {
		p.in, toServer = toServer, nil
		_, parked := next()
		toClient = append(toClient, p.out...)
		p.out = nil
		spent += time.Since(start)
		if !parked {
			return spent
		}
		if _, err := advance(c, &toClient, &toServer); err != nil {
			b.Fatal(err)
		}
		start = time.Now()
	}
}

// TestHotPathAllocations: nothing is allocated per record.
func TestHotPathAllocations(t *testing.T) {
	for name, id := range allSuites() {
		for _, mutable := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/mutable=%v", name, mutable), func(t *testing.T) {
				s, c := keyed(t, id, DefaultRecordsPerKey)
				src := bytes.Repeat([]byte{7}, 70_000)
				src = append(src, 0)[:70_000]
				wire := make([]byte, 0, c.SealedSize(len(src)))
				plain := make([]byte, 0, len(src)+1)
				allocs := testing.AllocsPerRun(20, func() {
					sealed, err := c.Seal(wire, src, mutable)
					if err != nil {
						t.Fatal(err)
					}
					out, n, err := s.Open(plain, sealed)
					if err != nil || n != len(sealed) || len(out) != len(src) {
						t.Fatal(len(out), n, err)
					}
				})
				if allocs != 0 {
					t.Errorf("%v allocations per Seal and Open of 5 records", allocs)
				}
			})
		}
	}
}

// BenchmarkWake measures what a connection that sleeps pays for its next record, sent and received.
func BenchmarkWake(b *testing.B) {
	for name, id := range allSuites() {
		b.Run(name, func(b *testing.B) {
			s, c := keyed(b, id, DefaultRecordsPerKey)
			src, wire, plain := []byte("x"), make([]byte, 0, 100), make([]byte, 0, 100)
			b.ReportAllocs()
			for b.Loop() {
				s.Sleep()
				c.Sleep()
				sealed, err := s.Seal(wire, src, false)
				must(err)
				if _, _, err := c.Open(plain, sealed); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
