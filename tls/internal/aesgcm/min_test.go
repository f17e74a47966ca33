package aesgcm

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"
)

func TestMin(t *testing.T) {
	if os.Getenv("MIN") == "" {
		t.Skip()
	}
	for _, kl := range []int{16, 32} {
		for _, n := range []int{64, 128, 192, 256,320,384, 448,512, 1024, 1025,2048,4097, 16385} {
			var res [3][2]float64
			for x, impl := range []Implementation{AVX512, AVX2, Go} {
				if !impl.supported() {
					continue
				}
				key := make([]byte, kl)
				a, _ := New(key, impl)
				src := make([]byte, n)
				dst := make([]byte, 5, n+16+5)
				nonce := make([]byte, 12)
				aad := make([]byte, 5)
				ct := a.Seal(nil, nonce, src, aad)
				for d := range 2 {
					k := 40000/n + 1
					var all []time.Duration
					for range 3000 {
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
					res[x][d] = float64(all[len(all)/10].Nanoseconds()) / float64(k)
				}
			}
			for x, impl := range []Implementation{AVX512, AVX2} {
				fmt.Printf("%d %6d %v seal %6.1f open %6.1f  go %6.1f %6.1f ratio %.2f %.2f\n", kl, n, impl, res[x][0], res[x][1], res[2][0], res[2][1], res[2][0]/res[x][0], res[2][1]/res[x][1])
			}
		}
	}
}
