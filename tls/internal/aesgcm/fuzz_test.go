package aesgcm

import (
	"bytes"
	"slices"
	"testing"
)

// FuzzSeal compares every implementation with crypto/cipher, over keys, nonces, additional data, texts, a cut into parts and a change
// to the ciphertext. cut says where the text is cut, flip which bit is changed.
func FuzzSeal(f *testing.F) {
	long := take(random(9), 2600)
	for _, n := range []int{0, 1, 16, 64, 511, 512, 1025, 2600} {
		f.Add(long[:32], n%2 == 0, long[40:52], long[:n%37], long[:n], uint16(n/3), uint16(7*n))
	}
	f.Fuzz(func(t *testing.T, key []byte, short bool, nonce, aad, plain []byte, cut, flip uint16) {
		key, nonce = append(slices.Clone(key), make([]byte, 32)...), append(slices.Clone(nonce), make([]byte, NonceSize)...)[:NonceSize]
		size := 32
		if short {
			size = 16
		}
		ref := reference(t, key[:size])
		want := ref.Seal(nil, nonce, plain, aad)
		inner := append(slices.Clone(plain), 23)
		wantVec := ref.Seal(nil, nonce, inner, aad)
		at := int(cut) % (len(plain) + 1)
		changed := slices.Clone(want)
		changed[int(flip/8)%len(changed)] ^= 1 << (flip % 8)
		for _, i := range Available() {
			a := newAEAD(t, key[:size], i)
			if got := a.Seal(nil, nonce, plain, aad); !bytes.Equal(got, want) {
				t.Fatalf("%v: sealed %d bytes wrongly", i, len(plain))
			}
			if got := a.SealVec(nil, nonce, aad, [][]byte{plain[:at], plain[at:]}, 23); !bytes.Equal(got, wantVec) {
				t.Fatalf("%v: %d bytes cut at %d: sealed wrongly", i, len(plain), at)
			}
			if got, err := a.Open(nil, nonce, want, aad); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%v: %d bytes: opened wrongly: %v", i, len(plain), err)
			}
			if _, err := a.Open(nil, nonce, changed, aad); err == nil {
				t.Fatalf("%v: a forgery opened", i)
			}
		}
	})
}
