package aesgcm

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

func TestSlope(t *testing.T) {
	if os.Getenv("MIN") == "" {
		t.Skip()
	}
	for _, kl := range []int{16, 32} {
		for _, off := range []int{0, 5} {
			key := make([]byte, kl)
			a, _ := New(key, AVX512)
			var res [2][2]float64
			for x, n := range []int{8193, 16385} {
				buf := make([]byte, 40000)
				src := buf[:n:n]
				dst := make([]byte, off, n+16+5)
				nonce := make([]byte, 12)
				aad := make([]byte, 5)
				ct := a.Seal(nil, nonce, src, aad)
				for d := range 2 {
					k := 8
					var all []time.Duration
					for range 6000 {
						s := time.Now()
						for range k {
							if d == 0 {
								a.Seal(dst, nonce, src, aad)
							} else {
								a.Open(dst, nonce, ct, aad)
							}
						}
						all = append(all, time.Since(s))
					}
					slices.Sort(all)
					res[x][d] = float64(all[len(all)/100].Nanoseconds()) / float64(k)
				}
			}
			for d := range 2 {
				per := (res[1][d] - res[0][d]) / 16
				fmt.Printf("key %d off %d %d: 16K %.0f per batch %.2f ns = %.1f cycles, fixed %.0f\n", kl, off, d, res[1][d], per, per*4.1, res[1][d]-32*per)
			}
		}
	}
}
