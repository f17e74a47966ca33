package aesgcm

import (
	"crypto/cipher"
	"fmt"
	"slices"
	"testing"
	"time"
)

// benchCase is one AEAD with buffers for a record.
type benchCase struct {
	key                   []byte
	a                     *AEAD
	nonce, aad, plain     []byte
	parts                 [][]byte // a frame's header of 20 bytes and the rest
	dst, box, destination []byte
}

func newBenchCase(b *testing.B, i Implementation, bits, n int) *benchCase {
	r := random(7)
	c := &benchCase{key: take(r, bits/8), nonce: take(r, NonceSize), aad: take(r, 5), plain: take(r, n)}
	c.a = newAEAD(b, c.key, i)
	c.parts = [][]byte{c.plain[:min(20, n)], c.plain[min(20, n):]}
	// A record's ciphertext stands behind its header of 5 bytes, so it is never aligned.
	c.dst = make([]byte, 5, 5+n+1+Overhead)
	c.box = c.a.Seal(make([]byte, 5, 5+n+Overhead), c.nonce, c.plain, c.aad)[5:]
	c.destination = make([]byte, 0, n)
	return c
}

// operations are what is measured.
var operations = []struct {
	name  string
	sizes []int
	f     func(c *benchCase)
}{
	{"seal", []int{64, 256, 1024, 4096, 16384}, func(c *benchCase) { c.a.Seal(c.dst, c.nonce, c.plain, c.aad) }},
	{"open", []int{64, 256, 1024, 4096, 16384}, func(c *benchCase) {
		if _, err := c.a.Open(c.destination, c.nonce, c.box, c.aad); err != nil {
			panic(err)
		}
	}},
	{"sealvec", []int{64, 256, 1024, 2048, 3072, 4096, 16384}, func(c *benchCase) { c.a.SealVec(c.dst, c.nonce, c.aad, c.parts, 23) }},
	{"new", []int{0}, func(c *benchCase) {
		if _, err := New(c.key, c.a.implementation); err != nil {
			panic(err)
		}
	}},
}

// BenchmarkAgainstGo alternates each implementation with crypto/cipher in slices of some twenty microseconds, much less than what a scheduler
// gives a neighbour, and reports the medians of the slices in ns and their ratio: on a busy machine only that is worth something.
func BenchmarkAgainstGo(b *testing.B) {
	for _, op := range operations {
		for _, bits := range []int{128, 256} {
			for _, n := range op.sizes {
				for _, i := range Available() {
					if i == Go {
						continue
					}
					ours := newBenchCase(b, i, bits, n)
					both := [2]*benchCase{ours, {}}
					*both[1] = *ours // the same buffers: neither pushes the other's out of the cache
					both[1].a = newAEAD(b, ours.key, Go)
					b.Run(fmt.Sprintf("%s/aes%d/%d/%v", op.name, bits, n, i), func(b *testing.B) {
						repeat := 1 + 2_000_000/(n+200)
						var times [2][]time.Duration
						for b.Loop() {
							for which, c := range both {
								start := time.Now()
								for range repeat {
									op.f(c)
								}
								times[which] = append(times[which], time.Since(start))
							}
						}
						var ns [2]float64
						for which, t := range times {
							slices.Sort(t)
							ns[which] = float64(t[len(t)/2].Nanoseconds()) / float64(repeat)
						}
						b.ReportMetric(0, "ns/op")
						b.ReportMetric(ns[0], "ns")
						b.ReportMetric(ns[1], "go-ns")
						b.ReportMetric(ns[1]/ns[0], "x-of-go")
					})
				}
			}
		}
	}
}

// BenchmarkRecord is the plain form, for profiles: one implementation, one record of 16 KiB.
func BenchmarkRecord(b *testing.B) {
	for _, i := range Available() {
		c := newBenchCase(b, i, 128, 16384)
		var aead cipher.AEAD = c.a
		b.Run(i.String(), func(b *testing.B) {
			b.SetBytes(int64(len(c.plain)))
			b.ReportAllocs()
			for b.Loop() {
				aead.Seal(c.dst, c.nonce, c.plain, c.aad)
			}
		})
	}
}
