package aesgcm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	"testing"
)

func TestQuick(t *testing.T) {
	for _, kl := range []int{16, 32} {
		key := make([]byte, kl)
		rand.Read(key)
		b, _ := aes.NewCipher(key)
		ref, _ := cipher.NewGCM(b)
		for _, impl := range Available() {
			a, err := New(key, impl)
			if err != nil {
				t.Fatal(err)
			}
			bad := 0
			for n := 0; n < 2200; n++ {
				src := make([]byte, n)
				rand.Read(src)
				nonce := make([]byte, 12)
				rand.Read(nonce)
				aad := make([]byte, n%17)
				want := ref.Seal(nil, nonce, src, aad)
				got := a.Seal(nil, nonce, src, aad)
				if !bytes.Equal(got, want) {
					t.Errorf("seal %d/%v/%d ct %v", kl, impl, n, bytes.Equal(got[:n], want[:n]))
					if bad++; bad > 5 {
						break
					}
				}
				pt, err := a.Open(nil, nonce, want, aad)
				if err != nil || !bytes.Equal(pt, src) {
					t.Errorf("open %d/%v/%d %v", kl, impl, n, err)
					if bad++; bad > 5 {
						break
					}
				}
			}
		}
	}
}

func BenchmarkQ(b *testing.B) {
	for _, kl := range []int{16, 32} {
		for _, n := range []int{1025, 16385} {
			for _, impl := range []Implementation{AVX512, Go} {
				key := make([]byte, kl)
				a, _ := New(key, impl)
				src := make([]byte, n)
				dst := make([]byte, 0, n+16)
				nonce := make([]byte, 12)
				aad := make([]byte, 5)
				ct := a.Seal(nil, nonce, src, aad)
				b.Run(fmt.Sprint("seal", kl, "/", n, "/", impl), func(b *testing.B) {
					b.SetBytes(int64(n))
					for b.Loop() {
						a.Seal(dst, nonce, src, aad)
					}
				})
				b.Run(fmt.Sprint("open", kl, "/", n, "/", impl), func(b *testing.B) {
					b.SetBytes(int64(n))
					for b.Loop() {
						a.Open(dst, nonce, ct, aad)
					}
				})
			}
		}
	}
}
func BenchmarkNew(b *testing.B) {
	for _, kl := range []int{16, 32} {
		for _, impl := range []Implementation{AVX512, Go} {
			key := make([]byte, kl)
			b.Run(fmt.Sprint("new", kl, "/", impl), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					New(key, impl)
				}
			})
		}
	}
}
