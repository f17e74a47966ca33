package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Registers of key setup. It has one form for both vector widths: 256-bit, without AVX-512.
const (
	kKey   = 0 // round key, or the even one of AES-256
	kOdd   = 1
	kWord  = 2 // what AESKEYGENASSIST made
	kShift = 3
	kPoly  = 5
	kH     = 6  // H, byte-reversed and times x: so that products in the POLYVAL field are those of GHASH
	kStep  = 7  // power of H in both lanes: how far one step goes
	kA     = 8  // factor, then product
	kLo    = 9  // as vLo, vMid, vHi
	kMid   = 10 //
	kHi    = 11
	kTmp   = 12
	kPair1 = 13
	kPair2 = 14
)

// expandKey generates the function that sets up keys of one size: round keys (FIPS 197, 5.2), then powers of H.
func expandKey(bits int) {
	TEXT(fmt.Sprint("expand", bits), attr.NOSPLIT, "func(k, key *byte)")
	Doc(fmt.Sprintf("expand%d sets the round keys and the powers of H in k from a key of %d bits.", bits, bits))
	Pragma("noescape")
	Load(Param("k"), rKeys)
	Load(Param("key"), rTmp)
	rounds := bits/32 + 6
	if bits == 128 {
		schedule128()
	} else {
		schedule256()
	}
	Comment("H is the encryption of zero.")
	VMOVDQU(at(rKeys, offRoundKeys), x(kH))
	for r := 1; r < rounds; r++ {
		VAESENC(at(rKeys, offRoundKeys+r*block), x(kH), x(kH))
	}
	VAESENCLAST(at(rKeys, offRoundKeys+rounds*block), x(kH), x(kH))
	timesX()
	powersOfH()
	VZEROALL()
	RET()
}

func saveKey(v, r int) { VMOVDQU(x(v), at(rKeys, offRoundKeys+r*block)) }

func schedule128() {
	VMOVDQU(at(rTmp, 0), x(kKey))
	saveKey(kKey, 0)
	rcon := uint64(1)
	for r := 1; r <= 10; r++ {
		VAESKEYGENASSIST(Imm(rcon), x(kKey), x(kWord))
		nextKey(kKey, 0xff)
		saveKey(kKey, r)
		if rcon <<= 1; rcon > 0xff {
			rcon = 0x1b
		}
	}
}

func schedule256() {
	VMOVDQU(at(rTmp, 0), x(kKey))
	VMOVDQU(at(rTmp, 16), x(kOdd))
	saveKey(kKey, 0)
	saveKey(kOdd, 1)
	for r := 2; r <= 14; r += 2 {
		VAESKEYGENASSIST(Imm(1<<(r/2-1)), x(kOdd), x(kWord))
		nextKey(kKey, 0xff)
		saveKey(kKey, r)
		if r < 14 {
			VAESKEYGENASSIST(Imm(0), x(kKey), x(kWord))
			nextKey(kOdd, 0xaa)
			saveKey(kOdd, r+1)
		}
	}
}

// nextKey makes four words of the schedule in v from the four in it: each is the word before it XORed with the one that stood in its
// place, which is a running XOR, and the word of the assisted register that choice takes goes into all.
func nextKey(v int, choice uint64) {
	VPSHUFD(Imm(choice), x(kWord), x(kWord))
	VPSLLDQ(Imm(4), x(v), x(kShift))
	for i := range 3 {
		VPXOR(x(kShift), x(v), x(v))
		if i < 2 {
			VPSLLDQ(Imm(4), x(kShift), x(kShift))
		}
	}
	VPXOR(x(kWord), x(v), x(v))
}

// timesX reverses the bytes of H and multiplies it by x, without a branch on its highest bit (RFC 8452, appendix A).
func timesX() {
	VMOVDQU(tables.swap, x(kTmp))
	VPSHUFB(x(kTmp), x(kH), x(kH))
	VPSRAD(Imm(31), x(kH), x(kA))
	VPSHUFD(Imm(0xff), x(kA), x(kA)) // all ones if the highest bit is set
	VPSRLQ(Imm(63), x(kH), x(kLo))
	VPSLLDQ(Imm(8), x(kLo), x(kLo))
	VPADDQ(x(kH), x(kH), x(kH))
	VPOR(x(kLo), x(kH), x(kH))
	VPAND(tables.reduce, x(kA), x(kA))
	VPXOR(x(kA), x(kH), x(kH))
}

// product sets the a register to a*b in the POLYVAL field, in each lane of w: x or y.
func product(w func(int) VecPhysical, a, b int) {
	VPCLMULQDQ(Imm(0x01), w(a), w(b), w(kMid))
	VPCLMULQDQ(Imm(0x10), w(a), w(b), w(kTmp))
	VPCLMULQDQ(Imm(0x00), w(a), w(b), w(kLo))
	VPCLMULQDQ(Imm(0x11), w(a), w(b), w(kHi))
	VPXOR(w(kTmp), w(kMid), w(kMid))
	for _, step := range [][2]int{{kLo, kMid}, {kMid, kHi}} {
		VPCLMULQDQ(Imm(0), w(kPoly), w(step[0]), w(kTmp))
		VPSHUFD(Imm(swapHalves), w(step[0]), w(step[0]))
		VPXOR(w(kTmp), w(step[1]), w(step[1]))
		VPXOR(w(step[0]), w(step[1]), w(step[1]))
	}
	VMOVDQA(w(kHi), w(a))
}

// powersOfH stores H^n ... H^1. Pairs are made from pairs eight powers lower: four independent chains of products.
func powersOfH() {
	VBROADCASTI128(tables.poly, y(kPoly))
	both := func(from, to int) { VINSERTI128(Imm(1), x(from), y(from), y(to)) }
	savePair := func(v, n int) { VMOVDQU(y(v), at(rKeys, powerAt(n))) }

	VMOVDQA(x(kH), x(kA))
	product(x, kA, kH)
	both(kA, kStep)
	VINSERTI128(Imm(1), x(kH), y(kA), y(kPair1)) // H^2, H^1
	savePair(kPair1, 2)
	VMOVDQA(y(kPair1), y(kPair2))
	product(y, kPair2, kStep) // H^4, H^3
	savePair(kPair2, 4)
	both(kPair2, kStep)
	product(y, kPair1, kStep)
	savePair(kPair1, 6)
	product(y, kPair2, kStep)
	savePair(kPair2, 8)
	both(kPair2, kStep)

	LEAQ(at(rKeys, powerAt(10)), rTmp)
	MOVQ(U32((powers-8)/2), rTmp2)
	Label("power")
	VMOVDQU(at(rTmp, 8*block), y(kA))
	product(y, kA, kStep)
	VMOVDQU(y(kA), at(rTmp, 0))
	SUBQ(Imm(2*block), rTmp)
	DECQ(rTmp2)
	JNZ(LabelRef("power"))
	loweredPowers()
}

// loweredPowers stores H^n * x^-64 for the eight powers that whole batches use: one step of reduction each.
func loweredPowers() {
	for n := 4; n <= 4*batchWidth; n += 4 {
		VMOVDQU(at(rKeys, powerAt(n)), x(kA))
		VPCLMULQDQ(Imm(0), x(kPoly), x(kA), x(kTmp))
		VPSHUFD(Imm(swapHalves), x(kA), x(kA))
		VPXOR(x(kTmp), x(kA), x(kA))
		VMOVDQU(x(kA), at(rKeys, loweredAt(n)))
	}
}

// hashBlocks generates the function for additional data longer than a block. It takes one block at a time: no record layer has that.
func hashBlocks() {
	TEXT("hashBlocks", attr.NOSPLIT, "func(k, w, data *byte, n int)")
	Doc("hashBlocks adds n blocks of data to the hash in w.acc; n is positive.")
	Pragma("noescape")
	Load(Param("k"), rKeys)
	Load(Param("w"), rWork)
	Load(Param("data"), rTmp)
	Load(Param("n"), rTmp2)
	VMOVDQU(tables.poly, x(kPoly))
	VMOVDQU(at(rKeys, powerAt(1)), x(kH))
	VMOVDQU(at(rWork, offAcc), x(kA))
	Label("block")
	VMOVDQU(at(rTmp, 0), x(kTmp))
	VPSHUFB(tables.swap, x(kTmp), x(kTmp))
	VPXOR(x(kTmp), x(kA), x(kA))
	product(x, kA, kH)
	ADDQ(Imm(block), rTmp)
	DECQ(rTmp2)
	JNZ(LabelRef("block"))
	VMOVDQU(x(kA), at(rWork, offAcc))
	VZEROALL()
	RET()
}

// cpu generates the two instructions that tell what the processor and the operating system offer.
func cpu() {
	TEXT("cpuid", attr.NOSPLIT, "func(leaf, subleaf uint32) (a, b, c, d uint32)")
	Doc("cpuid executes CPUID.")
	Load(Param("leaf"), EAX)
	Load(Param("subleaf"), ECX)
	CPUID()
	for i, r := range []Register{EAX, EBX, ECX, EDX} {
		Store(r, ReturnIndex(i))
	}
	RET()

	TEXT("xgetbv", attr.NOSPLIT, "func() (a, d uint32)")
	Doc("xgetbv reads the register XCR0: which register states the operating system keeps.")
	XORL(ECX, ECX)
	XGETBV()
	Store(EAX, ReturnIndex(0))
	Store(EDX, ReturnIndex(1))
	RET()
}
