//go:build amd64 && !purego

package aesgcm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// grow makes the stack that deep, so that what runs next does not move it.
//
//go:noinline
func grow(n int) byte {
	var b [1024]byte
	b[n%len(b)] = byte(n)
	if n > 0 {
		b[0] += grow(n - 1)
	}
	return b[n%len(b)] + b[0]
}

// below runs f and then copies to dst what is left on the stack under its own frame.
//
//go:noinline
func below(dst []byte, f func()) {
	var here byte
	f()
	p := unsafe.Add(unsafe.Pointer(&here), -len(dst))
	for i := range dst {
		dst[i] = *(*byte)(unsafe.Add(p, i))
	}
}

// leave puts b on the stack and leaves it there.
//
//go:noinline
func leave(b []byte) (sum byte) {
	var local [64]byte
	copy(local[:], b)
	for i := range local {
		sum += local[i] * byte(i)
	}
	return sum
}

// TestStackWiped: of keys, of what the tag is masked with, and of the text that AVX2 takes by way of the stack nothing is left there.
func TestStackWiped(t *testing.T) {
	each(t, func(t *testing.T, a *AEAD, ref cipher.AEAD, r *rand.ChaCha8) {
		if a.keys == nil {
			t.Skip("what crypto/cipher leaves is not this package's")
		}
		nonce, aad, text := take(r, NonceSize), take(r, 13), take(r, 4*vecBatch+31)
		dst, back, stack := make([]byte, 0, 3000), make([]byte, 0, 3000), make([]byte, 4096)
		sealed := ref.Seal(nil, nonce, text, aad)
		key := append(bytes.Clone(a.keys.roundKeys[0][:]), a.keys.roundKeys[1][:]...) // AES-256: the first two are the key; AES-128: the first
		block, err := aes.NewCipher(key[:map[uint64]int{10: 16, 14: 32}[a.keys.rounds]])
		if err != nil {
			t.Fatal(err)
		}
		mask := make([]byte, blockSize)
		block.Encrypt(mask, append(bytes.Clone(nonce), 0, 0, 0, 1))
		hash := make([]byte, blockSize)
		for i := range hash {
			hash[i] = mask[i] ^ sealed[len(text)+i]
		}
		secrets := map[string][]byte{"mask of the tag": mask, "hash": hash, "end of the text": text[4*vecBatch:]}
		white := append(bytes.Clone(nonce), 0, 0, 0, 0)
		for i := range white {
			white[i] ^= a.keys.roundKeys[0][i]
		}
		secrets["nonce and first round key"] = white
		for i := range a.keys.roundKeys[:a.keys.rounds+1] {
			secrets[fmt.Sprint("round key ", i)] = a.keys.roundKeys[i][:]
		}
		for i := range a.keys.powers {
			secrets[fmt.Sprint("power ", i)] = a.keys.powers[i][:]
		}
		for name, f := range map[string]func(){
			"seal":    func() { a.Seal(dst, nonce, text, aad) },
			"parts":   func() { a.SealVec(dst, nonce, aad, [][]byte{text[:1700], text[1700:]}, 23) },
			"open":    func() { _, _ = a.Open(back, nonce, sealed, aad) },
			"forgery": func() { _, _ = a.Open(back, nonce, sealed[:len(sealed)-1], aad) },
			"none":    func() { leave(mask) },
		} {
			grow(32)
			below(stack, f)
			var found []string
			for what, secret := range secrets {
				// Eight bytes are enough to tell, and an interrupt may have overwritten the rest.
				if bytes.Contains(stack, secret[:8]) || bytes.Contains(stack, secret[8:16]) {
					found = append(found, what)
				}
			}
			if (len(found) > 0) != (name == "none") {
				t.Errorf("%s: on the stack: %q", name, found)
			}
		}
	})
}
