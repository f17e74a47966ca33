package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Vector registers of the 256-bit functions. 0-7 are the blocks in the AES rounds, and there are only sixteen: constants and powers of
// H are memory operands. General registers are those of the 512-bit functions; rSrcLeft counts what is left of whole pairs of blocks.
const (
	uKey   = 8 // the round key at hand, in both lanes
	uTmp   = 9 // no operation leaves anything in it for another one
	uLo    = 10
	uMid   = 11
	uHi    = 12
	uData  = 13 // a pair of blocks of ciphertext for GHASH
	uAcc   = 14 // GHASH so far, in the low lane; the high one is zero
	uCount = 15 // nonce and counter of the next pair, as machine words
)

const (
	pair       = 32 // bytes of a ymm register
	pairs      = 8  // ymm registers that one iteration encrypts
	batch256   = pairs * pair
	batchShift = 8 // log2 of batch256
)

var pairTables struct {
	first Mem // counters of the first pair, less base
	step  Mem // 2 as a counter
	mask  Mem // 32 bytes of ones, then as many zeros
}

func declareTables256() {
	pairTables.first = constants("pairCounters", 0, 2<<32, 0, 3<<32)
	pairTables.step = constants("pairStep", 0, 2<<32, 0, 2<<32)
	ones := ^uint64(0)
	pairTables.mask = constants("tailMask", ones, ones, ones, ones, 0, 0, 0, 0)
}

// key256 loads a round key into both lanes.
func key256(m Mem) { VBROADCASTI128(m, y(uKey)) }

// count256 sets v to the next two counter blocks.
func count256(v int) {
	VPSHUFB(tables.countSw, y(uCount), y(v))
	VPADDD(pairTables.step, y(uCount), y(uCount))
	VPXOR(y(uKey), y(v), y(v))
}

// aes256Ops encrypts a batch from rSrc to rDst and moves on.
func aes256Ops(rounds int) []op {
	ops := []op{func() { key256(at(rKeys, offRoundKeys)) }}
	for i := range pairs {
		ops = append(ops, func() { count256(i) })
	}
	for r := 1; r < rounds; r++ {
		ops = append(ops, func() { key256(at(rKeys, offRoundKeys+r*block)) })
		for i := range pairs {
			ops = append(ops, func() { VAESENC(y(uKey), y(i), y(i)) })
		}
	}
	ops = append(ops, func() { key256(at(rKeys, offRoundKeys+rounds*block)) })
	for i := range pairs {
		ops = append(ops, func() {
			VPXOR(at(rSrc, i*pair), y(uKey), y(uTmp))
			VAESENCLAST(y(uTmp), y(i), y(i))
		})
	}
	return ops
}

func store256Ops() []op {
	var ops []op
	for i := range pairs {
		ops = append(ops, func() { VMOVDQU(y(i), at(rDst, i*pair)) })
	}
	return append(ops, func() {
		ADDQ(I32(batch256), rSrc)
		ADDQ(I32(batch256), rDst)
	})
}

// multiply256 adds the products of uData and a pair of powers to the sums, or sets these.
func multiply256(power Mem, first bool) []op {
	var ops []op
	for _, p := range []struct {
		halves uint64
		sum    int
		set    bool
	}{{0x00, uLo, first}, {0x11, uHi, first}, {0x01, uMid, first}, {0x10, uMid, false}} {
		ops = append(ops, func() {
			if p.set {
				VPCLMULQDQ(Imm(p.halves), power, y(uData), y(p.sum))
				return
			}
			VPCLMULQDQ(Imm(p.halves), power, y(uData), y(uTmp))
			VPXOR(y(uTmp), y(p.sum), y(p.sum))
		})
	}
	return ops
}

// hash256Ops adds a batch of ciphertext at base+disp to fresh sums, with the powers at rPower. The first pair comes last: it alone
// waits for uAcc, the hash of what lies before.
func hash256Ops(base Register, disp int) []op {
	var ops []op
	for turn := range pairs {
		i := (turn + 1) % pairs
		ops = append(ops, func() {
			VMOVDQU(at(base, disp+i*pair), y(uData))
			VPSHUFB(tables.swap, y(uData), y(uData))
			if i == 0 {
				VPXOR(y(uAcc), y(uData), y(uData))
			}
		})
		ops = append(ops, multiply256(at(rPower, i*pair), turn == 0)...)
	}
	return ops
}

// reduce256Ops reduces the sums to uAcc, see reduceOps, and adds its lanes.
func reduce256Ops() []op {
	step := func(from, to int) op {
		return func() {
			VPCLMULQDQ(Imm(0), tables.poly, y(from), y(uTmp))
			VPSHUFD(Imm(swapHalves), y(from), y(from))
			VPXOR(y(uTmp), y(to), y(to))
			VPXOR(y(from), y(to), y(to))
		}
	}
	return []op{step(uLo, uMid), step(uMid, uHi), func() {
		VEXTRACTI128(Imm(1), y(uHi), x(uTmp))
		VPXOR(x(uTmp), x(uHi), x(uAcc))
	}}
}

// setup256 loads parameters and the hash so far, makes the first counters and hashes the block of additional data.
func setup256() {
	Load(Param("k"), rKeys)
	Load(Param("w"), rWork)
	nonce256()
	MOVQ(at(rWork, offBase), rTmp)
	VPINSRD(Imm(3), rTmp.As32(), x(0), x(0))
	VINSERTI128(Imm(1), x(0), y(0), y(0))
	VPADDD(pairTables.first, y(0), y(uCount))
	MOVQ(at(rKeys, offRounds), rCommon)
	SHLQ(Imm(4), rCommon)
	LEAQ(Mem{Base: rKeys, Index: rCommon, Scale: 1, Disp: offRoundKeys - 10*block}, rCommon)
	Load(Param("dst"), rDst)
	Load(Param("src"), rSrc)
	Load(Param("srcLen"), rSrcLeft)
	VMOVDQU(at(rWork, offAcc), x(uAcc))
	Load(Param("aadLen"), rTmp)
	TESTQ(rTmp, rTmp)
	JZ(LabelRef("hashed"))
	VMOVDQU(at(rWork, offAADBlock), x(uData))
	VPSHUFB(tables.swap, x(uData), x(uData))
	VPXOR(x(uAcc), x(uData), x(uData))
	Comment("What the upper lane of the power is does not matter: that of the data is zero.")
	emit(multiply256(at(rKeys, powerAt(1)), true))
	emit(reduce256Ops())
	Label("hashed")
}

// nonce256 sets the lower three words of register 0 to the nonce.
func nonce256() {
	Load(Param("nonce"), rTmp)
	VMOVD(at(rTmp, 0), x(0))
	VPINSRD(Imm(1), at(rTmp, 4), x(0), x(0))
	VPINSRD(Imm(2), at(rTmp, 8), x(0), x(0))
}

func more256() {
	TEXT("sealMore256", attr.NOSPLIT, "func(k, w, nonce *byte, aadLen int, dst, src *byte, srcLen int)")
	Doc("sealMore256 encrypts srcLen bytes, a positive multiple of 256, and updates w.acc but not w.base. See sealFinal256.")
	Pragma("noescape")
	setup256()
	MOVQ(rSrcLeft, rBatches)
	SHRQ(Imm(batchShift), rBatches)
	LEAQ(at(rKeys, powerAt(2*pairs)), rTmp2)
	batches256(seal)
	Label("batched")
	emit(reduce256Ops())
	VMOVDQU(x(uAcc), at(rWork, offAcc))
	VZEROALL()
	RET()
}

func final256(d direction) {
	name, doc := "sealFinal256", "encrypts"
	if d == open {
		name, doc = "openFinal256", "decrypts"
	}
	TEXT(name, attr.NOSPLIT, "func(k, w, nonce *byte, aadLen int, dst, src *byte, srcLen, rest int)")
	Doc(fmt.Sprintf("%s %s srcLen bytes, a multiple of 32, and then rest bytes, at most 32, in w.tail, and sets w.tag.", name, doc),
		"aadLen may be zero; otherwise w.aadBlock holds the padded data.")
	Pragma("noescape")
	setup256()
	Load(Param("rest"), rLeft)
	Comment("Powers as in the 512-bit functions: the last batch, the blocks behind it, and the lengths get H^n ... H^1.")
	MOVQ(rSrcLeft, rBatches)
	SHRQ(Imm(batchShift), rBatches)
	ANDQ(I32(batch256-1), rSrcLeft)
	LEAQ(at(rLeft, 15), rTmp)
	ANDQ(I32(-16), rTmp)
	ADDQ(rSrcLeft, rTmp)
	LEAQ(at(rKeys, powerAt(1)), rTmp2)
	SUBQ(rTmp, rTmp2)
	MOVQ(rTmp2, rPower)
	TESTQ(rBatches, rBatches)
	JZ(LabelRef("short"))
	SUBQ(I32(batch256), rTmp2)
	batches256(d)
	Label("short")
	for _, v := range []int{uLo, uMid, uHi} {
		VPXOR(x(v), x(v), x(v))
	}
	Label("batched")
	pairs256(d)
	finish256()
	VZEROALL()
	RET()
}

// batches256 generates the loop over rBatches batches, once for each key size. The last one is hashed with the powers at rTmp2 and not
// reduced.
func batches256(d direction) {
	LEAQ(at(rKeys, powerAt(2*pairs)), rPower)
	CMPQ(at(rKeys, offRounds), Imm(10))
	JNE(LabelRef("long14"))
	for _, rounds := range []int{10, 14} {
		loop, last := fmt.Sprint("loop", rounds), fmt.Sprint("last", rounds)
		hash := func() []op {
			if d == seal {
				return hash256Ops(rDst, -batch256)
			}
			return hash256Ops(rSrc, 0)
		}
		if rounds == 14 {
			Label("long14")
		}
		if d == seal {
			emit(aes256Ops(rounds))
			emit(store256Ops())
		}
		Label(loop)
		DECQ(rBatches)
		JZ(LabelRef(last))
		weave(aes256Ops(rounds), append(hash(), reduce256Ops()...))
		emit(store256Ops())
		JMP(LabelRef(loop))
		Label(last)
		MOVQ(rTmp2, rPower)
		if d == seal {
			emit(hash())
		} else {
			weave(aes256Ops(rounds), hash())
			emit(store256Ops())
		}
		ADDQ(I32(batch256), rPower)
		VPXOR(x(uAcc), x(uAcc), x(uAcc))
		JMP(LabelRef("batched"))
	}
}

// pairs256 generates the rest of less than a batch: whole pairs of blocks, then the tail.
func pairs256(d direction) {
	Label("pair")
	TESTQ(rSrcLeft, rSrcLeft)
	JZ(LabelRef("part"))
	keystream256("pair")
	VMOVDQU(at(rSrc, 0), y(uData))
	VPXOR(y(uData), y(1), y(1))
	VMOVDQU(y(1), at(rDst, 0))
	if d == seal {
		VMOVDQA(y(1), y(uData))
	}
	hashPair256()
	for _, r := range []Op{rSrc, rDst} {
		ADDQ(Imm(pair), r)
	}
	SUBQ(Imm(pair), rSrcLeft)
	JMP(LabelRef("pair"))

	Label("part")
	TESTQ(rLeft, rLeft)
	JZ(LabelRef("lengths"))
	keystream256("part")
	VMOVDQU(at(rWork, offTail), y(uData))
	VPXOR(y(uData), y(1), y(1))
	VMOVDQU(y(1), at(rWork, offTail))
	if d == seal {
		VMOVDQA(y(1), y(uData))
	}
	Comment("Beyond the tail, GHASH takes zeros.")
	LEAQ(pairTables.mask.Offset(pair), rTmp)
	SUBQ(rLeft, rTmp)
	VPAND(at(rTmp, 0), y(uData), y(uData))
	hashPair256()
	Label("lengths")
}

// keystream256 sets register 1 to the key stream of the next pair.
func keystream256(label string) {
	key256(at(rKeys, offRoundKeys))
	count256(1)
	rounds512(label, func(m Op) {
		VBROADCASTI128(m, y(uKey))
		VAESENC(y(uKey), y(1), y(1))
	})
	key256(at(rCommon, 10*block))
	VAESENCLAST(y(uKey), y(1), y(1))
}

// hashPair256 adds the pair in uData, with uAcc, to the sums.
func hashPair256() {
	VPSHUFB(tables.swap, y(uData), y(uData))
	VPXOR(y(uAcc), y(uData), y(uData))
	VPXOR(x(uAcc), x(uAcc), x(uAcc))
	emit(multiply256(at(rPower, 0), false))
	ADDQ(Imm(pair), rPower)
}

// finish256 hashes the lengths and makes the tag, as finish512 does.
func finish256() {
	nonce256()
	MOVL(U32(1<<24), rTmp.As32())
	VPINSRD(Imm(3), rTmp.As32(), x(0), x(1))
	VPXOR(at(rKeys, offRoundKeys), x(1), x(1))
	rounds512("mask", func(m Op) { VAESENC(m, x(1), x(1)) })
	VAESENCLAST(at(rCommon, 10*block), x(1), x(1))
	lengths(2)
	VPXOR(x(uAcc), x(2), x(uData))
	emit(multiply256(at(rKeys, powerAt(1)), false))
	emit(reduce256Ops())
	VPSHUFB(tables.swap, x(uAcc), x(uAcc))
	VPXOR(x(1), x(uAcc), x(uAcc))
	VMOVDQU(x(uAcc), at(rWork, offTag))
}
