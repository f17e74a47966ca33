package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"fmt"
	"iter"
	"runtime"
	"testing"
	"time"
	"unsafe"
)

// TestConnMemory keeps an idle server connection small: with both AEADs, and asleep.
func TestConnMemory(t *testing.T) {
	const conns = 2000
	const mostAwake, mostAsleep = 1900, 200
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

// BenchmarkHandshake measures what a full handshake costs the server (server-ns/op), against crypto/tls's own server, which runs
// here over the same kind of pipe with nothing of this package around it. The client is the same in both.
func BenchmarkHandshake(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		server, client := defaults(b)
		var spent time.Duration
		b.ReportAllocs()
		for b.Loop() {
			s, c := server.Conn(), client.Conn("")
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
			c.Release()
		}
		b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "server-ns/op")
	})
	b.Run("crypto-tls", func(b *testing.B) {
		_, client := defaults(b)
		sc := serverTLS()
		sc.NextProtos, sc.MinVersion = []string{ALPN}, stdtls.VersionTLS13
		var spent time.Duration
		b.ReportAllocs()
		for b.Loop() {
			c := client.Conn("")
			p := &pipe{}
			s := stdtls.Server(p, sc)
			next, stop := iter.Pull(func(yield func(struct{}) bool) {
				p.park = yield
				must(s.Handshake())
			})
			var toServer, toClient []byte
			for parked := true; parked; {
				if _, err := advance(c, &toClient, &toServer); err != nil {
					b.Fatal(err)
				}
				start := time.Now()
				p.in, toServer = toServer, nil
				_, parked = next()
				toClient = append(toClient, p.out...)
				p.out = nil
				spent += time.Since(start)
			}
			stop()
			c.Release()
		}
		b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "server-ns/op")
	})
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
