package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// direction says what a function does with src.
type direction int

const (
	seal direction = iota // GHASH reads what was written: it follows one batch behind
	open                  // GHASH reads src, before the batch is overwritten when src is dst
)

// more512 generates sealMore512, which encrypts whole batches of a record that goes on.
func more512() {
	TEXT("sealMore512", attr.NOSPLIT, "func(k, w, nonce, aad *byte, aadLen int, dst, src *byte, srcLen int)")
	Doc("sealMore512 encrypts srcLen bytes, a positive multiple of 512, and updates w.acc but not w.base. See sealFinal512.")
	Pragma("noescape")
	setup512(func() {})
	MOVQ(rSrcLeft, rBatches)
	SHRQ(Imm(9), rBatches)
	LEAQ(at(rKeys, powerAt(32)), rPower)
	batches(seal, false)
	Label("batched")
	emit(reduceOps())
	foldLanes()
	VMOVDQU(x(vAcc), at(rWork, offAcc))
	Comment("What the loop has put aside (see firstRun) depends on the key, and work stays until the record is done.")
	VPXORQ(x(vAcc), x(vAcc), x(vAcc))
	VMOVDQU(x(vAcc), at(rWork, offWhite))
	VMOVQ(x(vAcc), at(rWork, offColumn))
	wipe512()
	RET()
}

// final512 generates the function that handles a record, or the rest of one.
func final512(d direction) {
	name, doc := "sealFinal512", "encrypts the first headLen bytes of head and then src, srcLen bytes in all, and, if n is srcLen+1, the byte typ behind them"
	signature := "func(k, w, nonce, aad *byte, aadLen int, dst, head, src *byte, headLen, srcLen, n int, typ byte)"
	if d == open {
		name, doc = "openFinal512", "decrypts srcLen bytes"
		signature = "func(k, w, nonce, aad *byte, aadLen int, dst, src *byte, srcLen int)"
	}
	TEXT(name, attr.NOSPLIT, signature)
	text := []string{fmt.Sprintf("%s %s, and sets w.tag. aad holds at most 16 bytes; longer data is in w.acc.", name, doc)}
	if d == seal {
		text = append(text, "headLen is at most 64 and at most srcLen; head must be readable memory even if it is zero.")
	}
	Doc(text...)
	Pragma("noescape")
	setup512(func() {
		if d == seal {
			Load(Param("n"), rLeft)
			Load(Param("headLen"), rTmp)
			mask(rTmp, K5)
			SUBQ(rTmp, rSrc)
		} else {
			MOVQ(rSrcLeft, rLeft)
		}
	})
	MOVQ(rSrcLeft, rBatches)
	SHRQ(Imm(9), rBatches)
	Comment("Powers: the last whole batch, the blocks behind it, and the lengths get H^n ... H^1.")
	MOVQ(rBatches, rTmp2)
	SHLQ(Imm(9), rTmp2)
	SUBQ(rTmp2, rSrcLeft)
	SUBQ(rTmp2, rLeft)
	LEAQ(at(rLeft, 15), rTmp)
	ANDQ(I32(-16), rTmp)
	LEAQ(at(rKeys, powerAt(1)), rPower)
	SUBQ(rTmp, rPower)
	TESTQ(rBatches, rBatches)
	JZ(LabelRef("short"))
	SUBQ(I32(batch), rPower)
	batches(d, d == seal)
	Label("short")
	VPXORQ(x(vLo), x(vLo), x(vLo))
	VPXORQ(x(vMid), x(vMid), x(vMid))
	VPXORQ(x(vHi), x(vHi), x(vHi))
	Label("batched")
	chunks(d)
	finish512()
	wipe512()
	RET()
}

// batches generates the loop over rBatches batches, once for each key size. The last batch is hashed with the powers at rPower and
// not reduced. It ends with a jump to "batched".
//
// The last batch is encrypted in halves, so that GHASH can begin with the first while the second is in work: nothing else would be.
func batches(d direction, headed bool) {
	CMPQ(at(rKeys, offRounds), Imm(10))
	JNE(LabelRef("long14"))
	for _, rounds := range []int{10, 14} {
		label := func(s string) string { return fmt.Sprint(s, rounds) }
		if rounds == 14 {
			Label(label("long"))
		}
		blockStates()
		firstBatch(d, rounds, headed, label)
		DECQ(rBatches)
		JZ(LabelRef(label("last")))
		firstRun()
		JMP(LabelRef(label("loop")))
		Label(label("newRun"))
		newRun(0, vRun)
		JMP(LabelRef(label("sameRun")))
		Label(label("crossRun"))
		crossRun()
		JMP(LabelRef(label("crossed")))
		Label(label("loop"))
		weave(aesOps(rounds, batchWidth, loopSource[d], true), spreadOps(d))
		ifRun(0, label("newRun"))
		Label(label("sameRun"))
		emit(storeOps(d, true))
		ifRun(1, label("crossRun"))
		Label(label("crossed"))
		ADDL(Imm(4*batchWidth), rBase.As32())
		DECQ(rBatches)
		JNZ(LabelRef(label("loop")))
		broadcast(at(rWork, offWhite), vWhite0)
		Label(label("last"))
		if d == seal {
			weave(aesOps(rounds, batchWidth/2, memory, false), spreadOps(seal))
			emit(storeOps(seal, false))
			Label(label("done"))
			emit(lastOps(seal))
		} else {
			weave(aesOps(rounds, batchWidth/2, memory, false), lastOps(open))
			emit(storeOps(open, false))
		}
		Comment("The batches took what was to be added.")
		VPXORQ(x(vAcc), x(vAcc), x(vAcc))
		JMP(LabelRef("batched"))
	}
}

// firstBatch handles the first batch, with the states of the second made the long way. When sealing there is nothing to hash yet. With
// headed, the record may have a head.
func firstBatch(d direction, rounds int, headed bool, label func(string) string) {
	if d == open {
		DECQ(rBatches)
		JZ(LabelRef(label("last")))
		weave(aesOps(rounds, batchWidth, loaded, false), spreadOps(open))
		emit(storeOps(open, false))
		blockStates()
		return
	}
	first := memory
	if headed {
		first = headFirst
	}
	emit(aesOps(rounds, batchWidth/2, first, false))
	emit(storeOps(seal, false))
	DECQ(rBatches)
	JZ(LabelRef(label("done")))
	blockStates()
}

// chunks generates the rest of less than a batch: whole chunks of 64 bytes, then what is left, under masks.
func chunks(d direction) {
	Comment("Counters that may be added to: nonce and base as machine words.")
	VPBROADCASTD_Z(rBase.As32(), K4, z(0))
	VPADDD(tables.chunk, z(0), z(0))
	broadcast(tables.chunkUp, vStep)
	broadcast(tables.countSw, vCountSw)
	if d == seal {
		Comment("A head, unless a batch or the part below takes it.")
		KORTESTQ(K5, K5)
		JZ(LabelRef("chunk"))
		CMPQ(rSrcLeft, Imm(vector))
		JLT(LabelRef("part"))
		keystream("head")
		headData()
		chunk(d)
	}
	Label("chunk")
	CMPQ(rSrcLeft, Imm(vector))
	JLT(LabelRef("part"))
	keystream("chunk")
	VMOVDQU64(at(rSrc, 0), z(vData))
	chunk(d)
	JMP(LabelRef("chunk"))
	part(d)
}

// chunk handles the whole chunk in vData with the key stream in register 1, and moves on.
func chunk(d direction) {
	VPXORQ(z(vData), z(1), z(1))
	VMOVDQU64(z(1), at(rDst, 0))
	if d == seal {
		VMOVDQA64(z(1), z(vData))
	}
	hashChunk()
	VPADDD(z(vStep), z(0), z(0))
	for _, r := range []Op{rSrc, rDst, rPower} {
		ADDQ(Imm(vector), r)
	}
	SUBQ(Imm(vector), rSrcLeft)
	SUBQ(Imm(vector), rLeft)
}

// part handles what is less than a chunk.
func part(d direction) {
	Label("part")
	TESTQ(rLeft, rLeft)
	JZ(LabelRef("lengths"))
	Comment("With a lane to spare, the block that masks the tag goes along in it.")
	CMPQ(rLeft, Imm(vector-block))
	JA(LabelRef("full"))
	MOVL(U32(0x8000), rTmp2.As32())
	KMOVW(rTmp2.As32(), K2)
	MOVL(U32(1), rTmp2.As32())
	VPBROADCASTD(rTmp2.As32(), K2, z(0))
	Label("full")
	keystream("part")
	VEXTRACTI32X4(Imm(3), z(1), x(vMasked))
	mask(rSrcLeft, K2)
	if d == seal {
		Load(Param("head"), rTmp)
		KANDNQ(K2, K5, K6)
		VMOVDQU8_Z(at(rSrc, 0), K6, z(vData))
		VMOVDQU8(at(rTmp, 0), K5, z(vData))
		Comment("The content type goes where dst has a byte and src has none.")
		mask(rLeft, K3)
		KANDNQ(K3, K2, K2)
		Load(Param("typ"), rTmp2.As8())
		VPBROADCASTB(rTmp2.As32(), K2, z(vData))
		VPXORQ(z(vData), z(1), z(1))
		VMOVDQU8(z(1), K3, at(rDst, 0))
		VMOVDQU8_Z(z(1), K3, z(vData))
	} else {
		VMOVDQU8_Z(at(rSrc, 0), K2, z(vData))
		VPXORQ(z(vData), z(1), z(1))
		VMOVDQU8(z(1), K2, at(rDst, 0))
	}
	hashChunk()
	Label("lengths")
}

// keystream sets register 1 to the key stream of the counters in register 0.
func keystream(label string) {
	VPSHUFB(z(vCountSw), z(0), z(1))
	VPXORQ(z(vWhite0), z(1), z(1))
	rounds512(label, func(m Op) {
		VBROADCASTI32X4(m, z(vKey))
		VAESENC(z(vKey), z(1), z(1))
	})
	broadcast(at(rCommon, 10*block), vKey)
	VAESENCLAST(z(vKey), z(1), z(1))
}

// rounds512 generates all AES rounds but the first and the last for either key size.
func rounds512(label string, round func(key Op)) {
	CMPQ(rCommon, rKeys)
	JE(LabelRef(label + "Rounds"))
	for r := 1; r <= 4; r++ {
		round(at(rKeys, offRoundKeys+r*block))
	}
	Label(label + "Rounds")
	for r := 1; r <= 9; r++ {
		round(at(rCommon, r*block))
	}
}

// hashChunk adds the chunk in vData, with vAcc, to the sums.
func hashChunk() {
	VPSHUFB(z(vSwap), z(vData), z(vData))
	VPXORQ(z(vAcc), z(vData), z(vData))
	VPXORQ(x(vAcc), x(vAcc), x(vAcc))
	VMOVDQU64(at(rPower, 0), z(vPow))
	multiply(false)
}

// finish512 hashes the lengths, encrypts the hash with the block of counter 1, and stores it as the tag.
func finish512() {
	LEAQ(at(rLeft, -1), rTmp)
	CMPQ(rTmp, Imm(vector-block))
	JB(LabelRef("masked"))
	MOVL(U32(1<<24), rTmp.As32())
	VMOVD(rTmp.As32(), x(1))
	VPSLLDQ(Imm(12), x(1), x(1))
	VPXORQ(x(vWhite0), x(1), x(1))
	rounds512("mask", func(m Op) { VAESENC(m, x(1), x(1)) })
	VAESENCLAST(at(rCommon, 10*block), x(1), x(vMasked))
	Label("masked")
	lengths(2)
	VPXORQ(z(vAcc), z(2), z(vData))
	VMOVDQU(at(rKeys, powerAt(1)), x(3))
	VMOVDQA64(z(3), z(vPow))
	multiply(false)
	emit(reduceOps())
	foldLanes()
	VPSHUFB(x(vSwap), x(vAcc), x(vAcc))
	VPXORQ(x(vMasked), x(vAcc), x(vAcc))
	VMOVDQU(x(vAcc), at(rWork, offTag))
}

// lengths sets v to the block of lengths in bits, in the byte-reversed order that GHASH has here (SP 800-38D, 7.1).
func lengths(v int) {
	MOVQ(at(rWork, offTotal), rTmp)
	SHLQ(Imm(3), rTmp)
	MOVQ(at(rWork, offAAD), rTmp2)
	SHLQ(Imm(3), rTmp2)
	VMOVQ(rTmp, x(v))
	VPINSRQ(Imm(1), rTmp2, x(v), x(v))
}
