package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// General registers of the 512-bit functions.
var (
	rKeys    = RAX // *keys
	rWork    = RBX // *work
	rSrc     = RCX // moves on with every batch and chunk
	rDst     = RDX // the same
	rSrcLeft = RSI // bytes of src not read yet
	rLeft    = RDI // bytes of dst not written yet: rSrcLeft, or one more with a content type
	rBatches = R8  // whole batches to come
	rCommon  = R9  // address of round key rounds-10, so that the last ten rounds of both key sizes have the same offsets
	rPower   = R10 // power of H for the next chunk, once the number of blocks to the end is known
	rTmp     = R11
	rTmp2    = R12
	rBase    = R13 // counter base of the next batch; in the loop over batches, of the one behind that
)

// Mask registers: K1 has the quadwords of lanes 2 and 3, K4 the counter's doubleword of each lane, K5 the bytes of a head that has not been
// taken. K2, K3 and K6 are for the moment, but K2 and K3 in the loop over batches, see counters512.go.

// Vector registers of the 512-bit functions. 0-7 are the blocks in the AES rounds.
const (
	vKey     = 8  // the round key at hand, in all lanes
	vLast    = 9  // last round key ^ data: the last AES round then adds both at once
	vLo      = 10 // GHASH sums of products not reduced yet: low x low halves,
	vMid     = 11 // low x high and high x low; not in the loop over batches, which has no such sum
	vHi      = 12 // high x high
	vSwap    = 13 // VPSHUFB mask that reverses the bytes of each block
	vPoly    = 14 // reduction constant
	vAcc     = 15 // GHASH so far: one value for each lane, to be added to the next four blocks
	vWhite   = 16 // before the loop: (nonce, counter base) ^ round key 0
	vWhiteUp = 17 // the same for the next batch
	vRun     = 18 // in the loop: a state after one round, all but the first column of which is that of every block
	vWhite0  = 18 // (nonce, zero) ^ round key 0
	vPow     = 19 // a power of H
	vP0      = 20 // products
	vP1      = 21
	vP2      = 22
	vP3      = 23
	vData    = 24 // a chunk of ciphertext for GHASH
	vLow     = 25 // in the loop: a power times x^-64
	vP4      = 26 // outside of it: more products
	vP5      = 27
	vMasked  = 28 // at the end: the block that masks the tag
	vStep    = 29 // in the chunk loop: counter step
	vCountSw = 30 // in the chunk loop: VPSHUFB mask that makes the counter big-endian
)

// vColumns are the first columns of the next batch, in the loop.
var vColumns = [2]int{16, 17}

// vSealed are the chunks of the last batch that was encrypted, with the bytes of each block reversed, while GHASH has not had them. The
// registers have other uses when nothing is encrypted, and in functions that decrypt.
var vSealed = [batchWidth]int{11, 24, 26, 27, 28, 29, 30, 31}

// vLoaded are chunks of the batch that is being decrypted, as far as registers go: GHASH and the last AES round share a load then.
var vLoaded = [7]int{11, 26, 27, 28, 29, 30, 31}

var tables struct {
	counters Mem // for chunk 0 ... 7 of a batch, what the counters differ in from the base, as big-endian counters
	chunk    Mem // counters of the first chunk, less base, as machine words
	swap     Mem
	countSw  Mem
	chunkUp  Mem // 4, the counter step of a chunk, as a machine word
	poly     Mem // the reduction constant, for multiplications
	columns  Mem // VPSHUFB mask for the bytes that get into the column of the counter
	packed   Mem // packedCounters
	reduce   Mem // x^128 modulo the polynomial
}

// declareTables512 emits the constants.
func declareTables512() {
	var c []uint64
	for i := range 32 {
		// Batches start at counter base+2. Blocks 30 and 31 lie beyond the next multiple of 32.
		c = append(c, 0, uint64((i+2)%32)<<56)
	}
	tables.counters = constants("counters", c...)
	tables.chunk = constants("chunkCounters", 0, 2<<32, 0, 3<<32, 0, 4<<32, 0, 5<<32)
	tables.swap = constants("byteSwap", 0x08090a0b0c0d0e0f, 0x0001020304050607, 0x08090a0b0c0d0e0f, 0x0001020304050607)
	tables.countSw = constants("counterSwap", 0x0706050403020100, 0x0c0d0e0f0b0a0908, 0x0706050403020100, 0x0c0d0e0f0b0a0908)
	tables.chunkUp = constants("chunkStep", 0, 4<<32)
	tables.poly = constants("poly", 0xc200000000000000, 0, 0xc200000000000000, 0)
	// A column comes from rows 0-3 of columns 0-3.
	tables.columns = constants("columnRows", 0x0f0a05000f0a0500, 0x0f0a05000f0a0500)
	tables.packed = constants("packedCounters", packedCounters()...)
	tables.reduce = constants("reduction", 1, 0xc200000000000000)
}

// broadcast loads 16 bytes into all lanes. It costs a load port only.
func broadcast(m Mem, v int) { VBROADCASTI32X4(m, z(v)) }

// source says where aesOps has the data from.
type source int

const (
	memory    source = iota // rSrc
	headFirst               // the same, but the first chunk is that of headData
	loaded                  // vLoaded, where spreadOps put what it hashes; the rest from memory
)

// loopSource is that of the loop over batches.
var loopSource = map[direction]source{seal: memory, open: loaded}

// aesOps encrypts a batch from rSrc to rDst, width registers at a time. Four suffice to keep the AES unit busy; eight load each round key
// once.
func aesOps(rounds, width int, from source, next bool) []op {
	var ops []op
	if next {
		ops = columnOps()
	}
	for half := 0; half < batchWidth; half += width {
		for r := 2; r < rounds; r++ {
			ops = append(ops, func() { broadcast(at(rKeys, offRoundKeys+r*block), vKey) })
			for i := half; i < half+width; i++ {
				ops = append(ops, func() { VAESENC(z(vKey), z(i), z(i)) })
			}
		}
		ops = append(ops, func() { broadcast(at(rKeys, offRoundKeys+rounds*block), vKey) })
		for i := half; i < half+width; i++ {
			ops = append(ops, func() {
				switch {
				case from == headFirst && i == 0:
					headData()
					VPXORQ(z(vData), z(vKey), z(vLast))
				case from == loaded && i < len(vLoaded):
					VPXORQ(z(vLoaded[i]), z(vKey), z(vLast))
				default:
					VPXORQ(at(rSrc, i*vector), z(vKey), z(vLast))
				}
				VAESENCLAST(z(vLast), z(i), z(i))
			})
		}
	}
	return ops
}

// headData sets vData to the first chunk of a record: the head, and behind it the source, from whose address the head's length has been
// subtracted. Masked loads read nothing where their mask is zero. Afterwards there is no head any more.
func headData() {
	Load(Param("head"), rTmp)
	KNOTQ(K5, K6)
	VMOVDQU8_Z(at(rSrc, 0), K6, z(vData))
	VMOVDQU8(at(rTmp, 0), K5, z(vData))
	KXORQ(K5, K5, K5)
}

// storeOps writes the batch and moves on.
func storeOps(d direction, next bool) []op {
	var ops []op
	for i := range batchWidth {
		ops = append(ops, func() { VMOVDQU64(z(i), at(rDst, i*vector)) })
		if d == seal {
			ops = append(ops, func() { VPSHUFB(z(vSwap), z(i), z(vSealed[i])) })
		}
		if next {
			ops = append(ops, func() { nextState(i) })
		}
	}
	return append(ops, func() {
		ADDQ(I32(batch), rSrc)
		ADDQ(I32(batch), rDst)
	})
}

// spreadOps adds a batch of ciphertext at base+disp, with what vAcc holds, to fresh sums, and reduces them to vAcc. The powers of all
// lanes of a chunk are equal: each lane is a GHASH of its own with H^4, and nothing is added across lanes. That is for batches with
// more to follow.
//
// A block a = a1*x^64 + a0 times H^n is, up to the factor of x^-128 that the POLYVAL field has, x^-64 * (a1*H^n + a0*G) with
// G = H^n * x^-64: 192 bits instead of 256, which take two sums instead of three, and one step to reduce instead of two.
func spreadOps(d direction) []op {
	var ops []op
	if d == open {
		for i, v := range vLoaded {
			ops = append(ops, func() { VMOVDQU64(at(rSrc, i*vector), z(v)) })
		}
	}
	for turn := range batchWidth {
		// The first chunk comes last: it alone waits for vAcc, the reduction of the batch before.
		i := (turn + 1) % batchWidth
		data := vData
		if d == seal {
			data = vSealed[i]
		}
		ops = append(ops, func() {
			switch {
			case d == open && i < len(vLoaded):
				VPSHUFB(z(vSwap), z(vLoaded[i]), z(data))
			case d == open:
				VMOVDQU64(at(rSrc, i*vector), z(data))
				VPSHUFB(z(vSwap), z(data), z(data))
			}
			if i == 0 {
				VPXORQ(z(vAcc), z(data), z(data))
			}
		},
			func() { broadcast(at(rKeys, powerAt(4*(batchWidth-i))), vPow) },
			func() { broadcast(at(rKeys, loweredAt(4*(batchWidth-i))), vLow) },
			func() { VPCLMULQDQ(Imm(0x00), z(vLow), z(data), z(vP0)) },
			func() { VPCLMULQDQ(Imm(0x01), z(vPow), z(data), z(vP1)) },
			func() { VPCLMULQDQ(Imm(0x10), z(vLow), z(data), z(vP2)) },
			func() { VPCLMULQDQ(Imm(0x11), z(vPow), z(data), z(vP3)) },
			func() { sum(turn == 0, vP0, vP1, vLo) },
			func() { sum(turn == 0, vP2, vP3, vHi) })
	}
	return append(ops,
		func() { VPCLMULQDQ(Imm(0), z(vPoly), z(vLo), z(vP0)) },
		func() { VPSHUFD(Imm(swapHalves), z(vLo), z(vAcc)) },
		func() { VPTERNLOGQ(Imm(xor3), z(vP0), z(vHi), z(vAcc)) })
}

// lastOps adds the last batch, as spreadOps does, but with the powers at rPower, which moves on, and without reducing.
func lastOps(d direction) []op {
	// When sealing, some of the usual registers hold the chunks, but those of the AES rounds are free.
	mid, p4, p5 := vMid, vP4, vP5
	if d == seal {
		mid, p4, p5 = 0, 1, 2
	}
	var ops []op
	for turn := range batchWidth {
		i := (turn + 1) % batchWidth
		data := vData
		if d == seal {
			data = vSealed[i]
		}
		ops = append(ops, func() {
			if d == open {
				VMOVDQU64(at(rSrc, i*vector), z(data))
				VPSHUFB(z(vSwap), z(data), z(data))
			}
			if i == 0 {
				VPXORQ(z(vAcc), z(data), z(data))
			}
		}, func() { VMOVDQU64(at(rPower, i*vector), z(vPow)) })
		lo, hi := vP0, vP1
		if turn%2 == 1 {
			lo, hi = vP2, vP3
		}
		ops = append(ops,
			func() { VPCLMULQDQ(Imm(0x01), z(vPow), z(data), z(p4)) },
			func() { VPCLMULQDQ(Imm(0x10), z(vPow), z(data), z(p5)) },
			func() { VPCLMULQDQ(Imm(0x00), z(vPow), z(data), z(lo)) },
			func() { VPCLMULQDQ(Imm(0x11), z(vPow), z(data), z(hi)) },
			func() { sum(turn == 0, p4, p5, mid) })
		if turn%2 == 1 {
			ops = append(ops, func() { sum(turn == 1, vP0, vP2, vLo) }, func() { sum(turn == 1, vP1, vP3, vHi) })
		}
	}
	if mid != vMid {
		ops = append(ops, func() { VMOVDQA64(z(mid), z(vMid)) })
	}
	return append(ops, func() { ADDQ(I32(batch), rPower) })
}

// sum is to = a^b, or to ^= a^b.
func sum(first bool, a, b, to int) {
	if first {
		VPXORQ(z(a), z(b), z(to))
		return
	}
	VPTERNLOGQ(Imm(xor3), z(a), z(b), z(to))
}

// reduceOps divides the sums by x^128 modulo the POLYVAL polynomial, lane by lane, into vAcc. Each step removes the lowest
// quadword: it adds that multiple of the polynomial which cancels it.
func reduceOps() []op {
	return []op{
		func() { VPCLMULQDQ(Imm(0), z(vPoly), z(vLo), z(vP0)) },
		func() { VPSHUFD(Imm(swapHalves), z(vLo), z(vP1)) },
		func() { sum(false, vP0, vP1, vMid) },
		func() { VPCLMULQDQ(Imm(0), z(vPoly), z(vMid), z(vP0)) },
		func() { VPSHUFD(Imm(swapHalves), z(vMid), z(vAcc)) },
		func() { VPTERNLOGQ(Imm(xor3), z(vP0), z(vHi), z(vAcc)) },
	}
}

// foldLanes adds the four lanes of vAcc into its lowest and clears the others.
func foldLanes() {
	VEXTRACTI64X4(Imm(1), z(vAcc), y(vP0))
	VPXORQ(y(vP0), y(vAcc), y(vAcc))
	VEXTRACTI32X4(Imm(1), y(vAcc), x(vP0))
	VPXORQ(x(vP0), x(vAcc), x(vAcc))
}

// multiply adds the products of the data and power registers to the sums; the lanes must not matter, or match.
func multiply(first bool) {
	VPCLMULQDQ(Imm(0x01), z(vPow), z(vData), z(vP4))
	VPCLMULQDQ(Imm(0x10), z(vPow), z(vData), z(vP5))
	VPCLMULQDQ(Imm(0x00), z(vPow), z(vData), z(vP0))
	VPCLMULQDQ(Imm(0x11), z(vPow), z(vData), z(vP1))
	sum(first, vP4, vP5, vMid)
	if first {
		VMOVDQA64(z(vP0), z(vLo))
		VMOVDQA64(z(vP1), z(vHi))
		return
	}
	VPXORQ(z(vP0), z(vLo), z(vLo))
	VPXORQ(z(vP1), z(vHi), z(vHi))
}

// setup512 loads constants, the nonce and the hash so far, and hashes the additional data.
func setup512(n op) {
	Load(Param("k"), rKeys)
	Load(Param("w"), rWork)
	Load(Param("nonce"), rTmp)
	Comment("The nonce in pieces, as a record layer wrote it: a wide load would wait for those stores to retire.")
	VMOVD(at(rTmp, 0), x(0))
	VPINSRD(Imm(1), at(rTmp, 4), x(0), x(0))
	VPINSRD(Imm(2), at(rTmp, 8), x(0), x(0))
	MOVQ(at(rWork, offBase), rBase)
	broadcast(at(rKeys, offRoundKeys), vKey)
	VSHUFI64X2(Imm(0), z(0), z(0), z(0))
	VPXORQ(z(vKey), z(0), z(vWhite0))
	broadcast(tables.swap, vSwap)
	broadcast(tables.poly, vPoly)
	MOVL(U32(0xf0), rTmp2.As32()) // quadwords of lanes 2 and 3
	KMOVW(rTmp2.As32(), K1)
	MOVL(U32(0x8888), rTmp2.As32()) // the doubleword of the counter in each lane
	KMOVW(rTmp2.As32(), K4)
	MOVQ(at(rKeys, offRounds), rCommon)
	SHLQ(Imm(4), rCommon)
	LEAQ(Mem{Base: rKeys, Index: rCommon, Scale: 1, Disp: offRoundKeys - 10*block}, rCommon)
	Load(Param("dst"), rDst)
	Load(Param("src"), rSrc)
	Load(Param("srcLen"), rSrcLeft)
	n()
	VMOVDQU(at(rWork, offAcc), x(vAcc))
	hashAAD512()
}

// hashAAD512 hashes up to 16 bytes of additional data, as far as the call has any.
func hashAAD512() {
	Load(Param("aadLen"), rTmp2)
	TESTQ(rTmp2, rTmp2)
	JZ(LabelRef("hashed"))
	Load(Param("aad"), rTmp)
	mask(rTmp2, K2)
	VMOVDQU8_Z(at(rTmp, 0), K2, x(vData))
	VPSHUFB(x(vSwap), x(vData), x(vData))
	VPXORQ(z(vAcc), z(vData), z(vData))
	VMOVDQU(at(rKeys, powerAt(1)), x(0))
	VMOVDQA64(z(0), z(vPow))
	multiply(true)
	emit(reduceOps())
	Label("hashed")
}

// mask sets the lowest n bits of k, at most 64.
func mask(n GPPhysical, k Register) {
	MOVQ(I32(-1), rBatches)
	BZHIQ(n, rBatches, rBatches)
	KMOVQ(rBatches, k)
}

// wipe512 clears every vector register.
func wipe512() {
	for i := 16; i < 32; i++ {
		VPXORQ(x(i), x(i), x(i))
	}
	VZEROALL()
}
