package main

import (
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// Among 256 blocks, a run, only the last byte of the counter differs, so that after the first AES round one column of four of the state does.
// The loop over batches does not do that round block by block: while a batch is encrypted, the first columns of the next one are made, those
// of 16 blocks in one register, and then they are shuffled into copies of a state of the run. That takes two VAESENC for a batch instead
// of eight, and two XORs of counters instead of eight. (A store of each column into states in memory, which needs no shuffle, took as many
// cycles, but at a lower clock.)
//
// The first two batches are made the long way, so that short records do not pay for the preparation.

// packedCounters are what columnOps needs for each batch of a run: two registers. Column j+4*q of its lane l is for block l of chunk
// j+4*q; the last row of that column comes from the one before it, by ShiftRows.
func packedCounters() []uint64 {
	var words []uint64
	for base := 0; base < 256; base += 4 * batchWidth {
		for q := range 2 {
			for lane := range 4 {
				var column [4]uint64
				for j := range 4 {
					// Batches start at counter base+2.
					counter := uint64(base+2+4*(4*q+j)+lane) % 256
					column[(j+3)%4] = counter << 24
				}
				words = append(words, column[0]|column[1]<<32, column[2]|column[3]<<32)
			}
		}
	}
	return words
}

// blockStates sets registers 0-7 to the batch of rBase after one round, block by block, and moves rBase on. One XOR makes the counters of a
// chunk, as the base is a multiple of 32, so that base+i is base^i; the two blocks that cross into the next 32 take the next base.
func blockStates() {
	broadcast(at(rKeys, offRoundKeys+block), vLast)
	whiten(0, vWhite0, vWhite)
	whiten(1, vWhite0, vWhiteUp)
	for i := range batchWidth {
		white := vWhite
		if i == batchWidth-1 {
			VPBLENDMQ(z(vWhiteUp), z(vWhite), K1, z(i))
			white = i
		}
		VPXORQ(tables.counters.Offset(i*vector), z(white), z(i))
		VAESENC(z(vLast), z(i), z(i))
	}
	ADDL(Imm(4*batchWidth), rBase.As32())
}

// whiten sets v to (nonce, rBase + 32*up) ^ round key 0, white being that with a counter of zero.
func whiten(up int, white, v int) {
	LEAQ(at(rBase, 4*batchWidth*up), rTmp2)
	BSWAPL(rTmp2.As32())
	VPBROADCASTD_Z(rTmp2.As32(), K4, z(v))
	VPXORQ(z(white), z(v), z(v))
}

// Mask registers in the loop.
var (
	rFirst = K2 // the first column of each lane
	rCross = K3 // the other columns of lanes 2 and 3
)

// firstRun prepares for the loop. In there, rBase is that of the next batch, and vWhite0 is in memory, as are the bytes of it that get into
// the column of the counter.
func firstRun() {
	VMOVDQU64(x(vWhite0), at(rWork, offWhite))
	VMOVDQU(tables.columns, x(vLast))
	VPSHUFB(x(vLast), x(vWhite0), x(vLast))
	VMOVD(x(vLast), at(rWork, offColumn))
	MOVL(U32(0x1111), rTmp2.As32())
	KMOVW(rTmp2.As32(), rFirst)
	MOVL(U32(0xee00), rTmp2.As32())
	KMOVW(rTmp2.As32(), rCross)
	newRun(0, vRun)
}

// newRun sets v to a state in the run of the next batch, or up batches further, after one round.
func newRun(up, v int) {
	broadcast(at(rWork, offWhite), vLast)
	whiten(up, vLast, v)
	broadcast(at(rKeys, offRoundKeys+block), vLast)
	VAESENC(z(vLast), z(v), z(v))
}

// crossRun sets the last two blocks of the last batch of a run, which belong to the next one.
func crossRun() {
	newRun(1, vP0)
	VMOVDQA32(z(vP0), rCross, z(batchWidth-1))
}

// ifRun goes to the label if the batch up batches behind the next one is the first of a run.
func ifRun(up int, label string) {
	LEAQ(at(rBase, 4*batchWidth*up), rTmp2)
	TESTL(U32(0xe0), rTmp2.As32())
	JZ(LabelRef(label))
}

// columnOps makes the first columns of the next batch.
func columnOps() []op {
	ops := []op{func() {
		MOVL(rBase.As32(), rTmp2.As32())
		ANDL(U32(0xe0), rTmp2.As32())
		LEAQ(tables.packed, rTmp)
		LEAQ(Mem{Base: rTmp, Index: rTmp2, Scale: 4}, rTmp)
		VPBROADCASTD(at(rKeys, offRoundKeys+block), z(vLast))
	}}
	for q, v := range vColumns {
		ops = append(ops,
			func() {
				VPBROADCASTD(at(rWork, offColumn), z(v))
				VPXORQ(at(rTmp, q*vector), z(v), z(v))
			},
			func() { VAESENC(z(vLast), z(v), z(v)) })
	}
	return ops
}

// nextState sets register i to chunk i of the next batch after one round.
func nextState(i int) {
	VMOVDQA64(z(vRun), z(i))
	VPSHUFD(Imm(uint64(i%4)), z(vColumns[i/4]), rFirst, z(i))
}
