//go:build !purego

package aesgcm

import "unsafe"

//go:generate go generate -C asm .

const (
	// powers is how many powers of H there are: a batch of 32 blocks, up to 32 blocks behind it and the block of lengths are summed
	// before one reduction, and pairs are made.
	powers = 66
	// vecBatch is what the calls of one record except for the last must be a multiple of, in bytes: then their counters start at a
	// multiple of 32, as the assembly needs.
	vecBatch = 512
	pairSize = 2 * blockSize
	// maxHead is how many bytes of a first part the assembly takes from another place than the rest: as many as a register has.
	maxHead = 64
)

// keys is the key material of the assembly, which knows its layout (asm/layout.go).
type keys struct {
	roundKeys [15]element
	rounds    uint64 // 10 or 14
	_         uint64
	powers    [powers]element // H^66 ... H^1
	_         [2]element      // the last chunk loads a whole register of powers; what lies beyond H^1 meets zeros
	lowered   [8]element      // H^4, H^8 ... H^32, each times x^-64
}

// element is a block: 16 bytes, or an element of GF(2^128) in byte-reversed order.
type element [blockSize]byte

// work is what the calls for one record share. It lives on the caller's stack; the assembly knows its layout.
type work struct {
	acc      element        // GHASH so far
	base     uint64         // blocks sealed so far; a multiple of 32
	aad      uint64         // bytes of additional data of the record
	total    uint64         // bytes of ciphertext of the record
	counter  uint64         // scratch
	tag      element        // result
	tail     [pairSize]byte // AVX2: the last bytes, which do not fill a register
	aadBlock element        // AVX2: additional data of at most one block, padded
}

// newKeys expands a key of 16 or 32 bytes.
func newKeys(key []byte) *keys {
	k := &keys{rounds: uint64(len(key)/4 + 6)}
	if len(key) == 16 {
		expand128(k.pointer(), &key[0])
	} else {
		expand256(k.pointer(), &key[0])
	}
	return k
}

// pointer is k as the assembly takes it.
func (k *keys) pointer() *byte { return &k.roundKeys[0][0] }

// wipe overwrites k. It is not inlined, as the compiler may drop stores to a variable that nobody reads any more.
//
//go:noinline
func (k *keys) wipe() { *k = keys{} }

// pointer is w as the assembly takes it.
func (w *work) pointer() *byte { return &w.acc[0] }

// wipe overwrites what depends on the key.
//
//go:noinline
func (w *work) wipe() { *w = work{} }

// begin sets up w for a record with n bytes of ciphertext. It returns the additional data that is left for the first call to hash:
// what is longer than a block is hashed here.
func (a *AEAD) begin(w *work, n int, aad []byte) []byte {
	w.total = uint64(n)
	w.aad = uint64(len(aad))
	if whole := len(aad) / blockSize; len(aad) > blockSize {
		hashBlocks(a.keys.pointer(), w.pointer(), &aad[0], whole)
		aad = aad[whole*blockSize:]
	}
	if a.implementation == AVX2 {
		copy(w.aadBlock[:], aad)
	}
	return aad
}

// sealMore encrypts src, a multiple of vecBatch bytes, as the next part of a record.
func (a *AEAD) sealMore(w *work, nonce, aad, dst, src []byte) {
	if a.implementation == AVX2 {
		sealMore256(a.keys.pointer(), w.pointer(), &nonce[0], len(aad), &dst[0], &src[0], len(src))
	} else {
		sealMore512(a.keys.pointer(), w.pointer(), &nonce[0], unsafe.SliceData(aad), len(aad), &dst[0], &src[0], len(src))
	}
	w.base += uint64(len(src) / blockSize)
}

// sealFinal encrypts src, and behind it the byte typ if n is len(src)+1, as the last part of a record, and sets w.tag.
func (a *AEAD) sealFinal(w *work, nonce, aad, dst, src []byte, n int, typ byte) {
	if a.implementation != AVX2 {
		sealFinal512(a.keys.pointer(), w.pointer(), &nonce[0], unsafe.SliceData(aad), len(aad), unsafe.SliceData(dst), w.pointer(),
			unsafe.SliceData(src), 0, len(src), n, typ)
		return
	}
	whole := len(src) &^ (pairSize - 1)
	copy(w.tail[:], src[whole:])
	if n > len(src) {
		w.tail[len(src)-whole] = typ
	}
	sealFinal256(a.keys.pointer(), w.pointer(), &nonce[0], len(aad), unsafe.SliceData(dst), unsafe.SliceData(src), whole, n-whole)
	copy(dst[whole:n], w.tail[:])
}

// sealHeaded encrypts a whole record of head, src and the byte typ in one call, if the implementation can and the head is short enough.
func (a *AEAD) sealHeaded(w *work, nonce, aad, dst, head, src []byte, typ byte) bool {
	if a.implementation != AVX512 || len(head) > maxHead || len(head) == 0 {
		return false
	}
	n := len(head) + len(src)
	sealFinal512(a.keys.pointer(), w.pointer(), &nonce[0], unsafe.SliceData(aad), len(aad), unsafe.SliceData(dst), &head[0],
		unsafe.SliceData(src), len(head), n, n+1, typ)
	return true
}

// openFinal decrypts src and sets w.tag.
func (a *AEAD) openFinal(w *work, nonce, aad, dst, src []byte) {
	if a.implementation != AVX2 {
		openFinal512(a.keys.pointer(), w.pointer(), &nonce[0], unsafe.SliceData(aad), len(aad), unsafe.SliceData(dst), unsafe.SliceData(src),
			len(src))
		return
	}
	whole := len(src) &^ (pairSize - 1)
	copy(w.tail[:], src[whole:])
	openFinal256(a.keys.pointer(), w.pointer(), &nonce[0], len(aad), unsafe.SliceData(dst), unsafe.SliceData(src), whole, len(src)-whole)
	copy(dst[whole:], w.tail[:])
}
