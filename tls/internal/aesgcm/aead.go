package aesgcm

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
)

const (
	// NonceSize is the only nonce length, in bytes (RFC 8446, 5.3).
	NonceSize = 12
	// Overhead is how many bytes longer than its plaintext a ciphertext is: the tag (RFC 5116, 5.1).
	Overhead = 16

	blockSize = 16
	// maxPlaintext is what the 32-bit block counter allows in bytes (SP 800-38D, 5.2.1.1).
	maxPlaintext = (1<<32 - 2) * blockSize
)

// The messages of crypto/cipher's own panics: callers' mistakes look the same with every implementation.
const (
	badNonce   = "crypto/cipher: incorrect nonce length given to GCM"
	tooLarge   = "crypto/cipher: message too large for GCM"
	badOverlap = "crypto/cipher: invalid buffer overlap of output and input"
	badAAD     = "crypto/cipher: invalid buffer overlap of output and additional data"
)

const wiped = "aesgcm: used after Wipe"

// ErrOpen is the error for a ciphertext that is not authentic: wrong key, nonce, additional data, ciphertext or tag. It tells no
// more on purpose.
var ErrOpen = errors.New("cipher: message authentication failed")

// AEAD is AES-128-GCM or AES-256-GCM with nonces of 12 and tags of 16 bytes. It is a crypto/cipher.AEAD. Any number of goroutines
// may use one at a time, except for Wipe.
type AEAD struct {
	implementation Implementation
	keys           *keys       // with AVX512 and AVX2
	std            cipher.AEAD // with Go
}

var _ cipher.AEAD = (*AEAD)(nil)

// New makes an AEAD for a key of 16 or 32 bytes, which is not kept. Auto stands for what Default returns. Errors: aes.KeySizeError for
// another length, *ImplementationError for an implementation that Available does not list, and what crypto/cipher refuses in FIPS 140
// mode. Any goroutine.
func New(key []byte, implementation Implementation) (*AEAD, error) {
	if len(key) != 16 && len(key) != 32 {
		return nil, aes.KeySizeError(len(key))
	}
	if implementation == Auto {
		implementation = Default()
	}
	if !implementation.supported() {
		_, err := ParseImplementation(implementation.String())
		return nil, err
	}
	a := &AEAD{implementation: implementation}
	if implementation != Go {
		a.keys = newKeys(key)
		return a, nil
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	a.std, err = cipher.NewGCM(block)
	return a, err
}

// Implementation returns what a computes with; never Auto. Any goroutine.
func (a *AEAD) Implementation() Implementation { return a.implementation }

// NonceSize returns 12. Any goroutine.
func (a *AEAD) NonceSize() int { return NonceSize }

// Overhead returns 16. Any goroutine.
func (a *AEAD) Overhead() int { return Overhead }

// Wipe overwrites the key material. Of Go's it can only drop the reference. The AEAD must not be in use, nor be used again: it then
// panics. A second Wipe does nothing.
func (a *AEAD) Wipe() {
	if a.keys != nil {
		a.keys.wipe()
	}
	*a = AEAD{}
}

// fallback is crypto/cipher's AEAD.
func (a *AEAD) fallback() cipher.AEAD {
	if a.std == nil {
		panic(wiped)
	}
	return a.std
}

// Seal appends the ciphertext of plaintext and its tag to dst, as cipher.AEAD has it: plaintext may be exactly what is appended over
// (plaintext[:0] as dst), any other overlap of it, or of additionalData, with the output panics, as does a nonce that has not 12 bytes.
// Nothing is allocated if dst has the capacity. Nothing is kept. Any goroutine.
func (a *AEAD) Seal(dst, nonce, plaintext, additionalData []byte) []byte {
	noteRead(plaintext)
	noteRead(additionalData)
	if a.keys == nil {
		return a.fallback().Seal(dst, nonce, plaintext, additionalData)
	}
	if len(nonce) != NonceSize {
		panic(badNonce)
	}
	if uint64(len(plaintext)) > maxPlaintext {
		panic(tooLarge)
	}
	whole, out := extend(dst, len(plaintext)+Overhead)
	if inexactOverlap(out, plaintext) {
		panic(badOverlap)
	}
	if anyOverlap(out, additionalData) {
		panic(badAAD)
	}
	noteWrite(out)
	var w work
	aad := a.begin(&w, len(plaintext), additionalData)
	a.sealFinal(&w, nonce, aad, out, plaintext, len(plaintext), 0)
	copy(out[len(plaintext):], w.tag[:])
	w.wipe()
	return whole
}

// Open appends the plaintext of ciphertext, which ends with the tag, to dst, as cipher.AEAD has it; overlaps are as for Seal. Nothing
// is allocated if dst has the capacity. For a ciphertext that is not authentic the error is ErrOpen (from Go: an error of the same
// text), the result is nil and what would have been the plaintext is overwritten with zeros. Any goroutine.
func (a *AEAD) Open(dst, nonce, ciphertext, additionalData []byte) ([]byte, error) {
	noteRead(ciphertext)
	noteRead(additionalData)
	if a.keys == nil {
		return a.fallback().Open(dst, nonce, ciphertext, additionalData)
	}
	if len(nonce) != NonceSize {
		panic(badNonce)
	}
	n := len(ciphertext) - Overhead
	if n < 0 || uint64(n) > maxPlaintext {
		return nil, ErrOpen
	}
	whole, out := extend(dst, n)
	if inexactOverlap(out, ciphertext) {
		panic(badOverlap)
	}
	if anyOverlap(out, additionalData) {
		panic(badAAD)
	}
	noteWrite(out)
	tag := ciphertext[n:]
	var w work
	aad := a.begin(&w, n, additionalData)
	a.openFinal(&w, nonce, aad, out, ciphertext[:n])
	wrong := difference(w.tag[:], tag)
	w.wipe()
	if wrong != 0 {
		clear(out)
		return nil, ErrOpen
	}
	return whole, nil
}

// difference is zero if the tags are equal. Its time does not depend on where they differ.
func difference(a, b []byte) uint64 {
	low := binary.LittleEndian.Uint64(a[:8]) ^ binary.LittleEndian.Uint64(b[:8])
	high := binary.LittleEndian.Uint64(a[8:]) ^ binary.LittleEndian.Uint64(b[8:Overhead])
	return low | high
}
