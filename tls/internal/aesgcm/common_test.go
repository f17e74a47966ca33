package aesgcm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"math/rand/v2"
	"testing"
)

// random is a source of test data that is the same in every run.
func random(seed uint64) *rand.ChaCha8 { return rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}) }

// take returns n bytes of r in a slice without spare capacity.
func take(r *rand.ChaCha8, n int) []byte {
	b := make([]byte, n)
	r.Read(b)
	return b
}

// reference is crypto/cipher's AEAD for key.
func reference(t testing.TB, key []byte) cipher.AEAD {
	t.Helper()
	b, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	a, err := cipher.NewGCM(b)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newAEAD(t testing.TB, key []byte, i Implementation) *AEAD {
	t.Helper()
	a, err := New(key, i)
	if err != nil {
		t.Fatal(err)
	}
	if a.Implementation() != i {
		t.Fatalf("asked for %v, got %v", i, a.Implementation())
	}
	return a
}

// each runs f for every implementation that this machine has, with both key sizes.
func each(t *testing.T, f func(t *testing.T, a *AEAD, ref cipher.AEAD, r *rand.ChaCha8)) {
	t.Helper()
	for _, i := range Available() {
		for _, size := range []int{16, 32} {
			t.Run(fmt.Sprintf("%v/%d", i, 8*size), func(t *testing.T) {
				r := random(uint64(size))
				key := take(r, size)
				f(t, newAEAD(t, key, i), reference(t, key), r)
			})
		}
	}
}

// lengths are those around every border of the assembly: blocks, registers, batches, and the largest records.
func lengths() []int {
	step := 1
	if raceEnabled {
		step = 5
	}
	var all []int
	for n := 0; n <= 1100; n += step {
		all = append(all, n)
	}
	for n := 16300; n <= 16640; n += step {
		all = append(all, n)
	}
	for k := 1536; k < 16300; k += 512 {
		all = append(all, k-1, k, k+1)
	}
	return all
}

// guarded is a buffer between two stretches of known bytes.
type guarded struct {
	all   []byte
	at    int
	inner []byte
}

const (
	guardLen  = 80
	guardByte = 0xa5
)

// newGuarded makes one of n bytes, at an address that is offset beyond a multiple of 16 at least.
func newGuarded(offset, n int) guarded {
	all := bytes.Repeat([]byte{guardByte}, 2*guardLen+64+n)
	at := guardLen + offset
	return guarded{all, at, all[at : at+n : at+n]}
}

// intact reports whether nothing but the inner part has changed.
func (g guarded) intact() bool {
	for _, outside := range [][]byte{g.all[:g.at], g.all[g.at+len(g.inner):]} {
		if bytes.Count(outside, []byte{guardByte}) != len(outside) {
			return false
		}
	}
	return true
}
