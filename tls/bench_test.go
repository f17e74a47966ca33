package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"fmt"
	"runtime"
	"testing"
)

// TestConnMemory keeps an idle server connection small: both AEADs, secrets and all.
func TestConnMemory(t *testing.T) {
	const conns = 2000
	const most = 2252 // 2.2 KiB
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
	each := (int64(heap()) - int64(before)) / conns
	t.Logf("%d bytes per connection", each)
	if each > most {
		t.Errorf("%d bytes per idle server connection, want at most %d", each, most)
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

// BenchmarkHandshake compares a full handshake, both ends in memory and in one goroutine's time, with crypto/tls's own.
func BenchmarkHandshake(b *testing.B) {
	b.Run("ours", func(b *testing.B) {
		server, client := defaults(b)
		b.ReportAllocs()
		for b.Loop() {
			s, c := server.Conn(), client.Conn("")
			if _, _, err := shake(s, c); err != nil {
				b.Fatal(err)
			}
			s.Release()
			c.Release()
		}
	})
	b.Run("crypto-tls", func(b *testing.B) {
		sc, cc := serverTLS(), clientTLS()
		sc.NextProtos = []string{ALPN}
		b.ReportAllocs()
		for b.Loop() {
			x, y := newWire()
			s, c := stdtls.Server(x, sc), stdtls.Client(y, cc)
			done := make(chan error)
			go func() { done <- s.Handshake() }()
			if err := c.Handshake(); err != nil {
				b.Fatal(err)
			}
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
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
