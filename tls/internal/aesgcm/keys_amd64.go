//go:build !purego

package aesgcm

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

//go:generate go generate -C asm .

// powers is how many powers of H there are: a batch of 32 blocks, up to 32 blocks behind it and the block of lengths are summed before
// one reduction, and pairs are made.
const powers = 66

// keys is the key material of the assembly, which knows its layout (asm/layout.go).
type keys struct {
	roundKeys [15][blockSize]byte
	rounds    uint64            // 10 or 14
	_         uint64            //
	powers    [powers]fieldElem // H^66 ... H^1
	_         [2]fieldElem      // the last chunk loads a whole vector of powers; what lies beyond H^1 meets zeros
	lowered   [8]fieldElem      // H^4, H^8 ... H^32 times x^-64
}

// fieldElem is an element of GF(2^128) in byte-reversed order, times x: products in the POLYVAL field are then those of GHASH.
type fieldElem [blockSize]byte

// work is what one record's calls share. It lives on the caller's stack.
type work struct {
	acc   fieldElem       // GHASH so far
	base  uint64          // blocks sealed so far; a multiple of 32
	aad   uint64          // bytes of additional data of the record
	total uint64          // bytes of ciphertext of the record
	_     uint64          //
	tag   [blockSize]byte // result
	tail  [32]byte        // AVX2: the last bytes, which do not fill a vector
}

func newKeys(key []byte) *keys {
	k := &keys{rounds: uint64(len(key)/4 + 6)}
	if len(key) == 16 {
		expand128(k.pointer(), &key[0])
	} else {
		expand256(k.pointer(), &key[0])
	}
	return k
}

// pointer is what the assembly takes k as.
func (k *keys) pointer() *byte { return &k.roundKeys[0][0] }

//go:noinline
func (k *keys) wipe() { *k = keys{} }

func (w *work) pointer() *byte { return &w.acc[0] }

// wipe overwrites what depends on the key. It is not inlined, as the compiler drops stores to a variable that nobody reads any more.
//
//go:noinline
func (w *work) wipe() { *w = work{} }

// detect asks for what the functions of the assembly use. golang.org/x/sys/cpu has no flags for VAES and VPCLMULQDQ without AVX-512.
func detect() features {
	var f features
	x := &cpu.X86
	f.avx512 = x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL && x.HasAVX512VAES && x.HasAVX512VPCLMULQDQ && x.HasBMI2
	return f
}

// begin sets up w for a record with n bytes of ciphertext. It returns the additional data if the other calls hash it: what is longer
// than a block is hashed here.
func (a *AEAD) begin(w *work, n int, aad []byte) []byte {
	w.total = uint64(n)
	w.aad = uint64(len(aad))
	return aad
}

// sealFinal encrypts src, and behind it the byte typ if n is len(src)+1, and sets w.tag.
func (a *AEAD) sealFinal(w *work, nonce, aad, dst, src []byte, n int, typ byte) {
	sealFinal512(a.keys.pointer(), w.pointer(), &nonce[0], unsafe.SliceData(aad), len(aad), unsafe.SliceData(dst), unsafe.SliceData(src), len(src), n, typ)
}

// openFinal decrypts src and sets w.tag.
func (a *AEAD) openFinal(w *work, nonce, aad, dst, src []byte) {
	openFinal512(a.keys.pointer(), w.pointer(), &nonce[0], unsafe.SliceData(aad), len(aad), unsafe.SliceData(dst), unsafe.SliceData(src), len(src))
}
