package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// The layout of the Go structs keys and work of package aesgcm, in bytes. aesgcm.TestLayout compares both sides.
const (
	offRoundKeys = 0   // 15 round keys of 16 bytes, in the order of use
	offRounds    = 240 // uint64: 10 or 14
	offPowers    = 256 // powers H^66 ... H^1 of 16 bytes each: a later block takes a lower power, so descending order is ascending memory
	powers       = 66
	offLowered   = offPowers + (powers+2)*block // H^4, H^8 ... H^32 times x^-64; a gap of two blocks lies between

	offAcc      = 0  // GHASH so far, byte-reversed
	offBase     = 16 // uint64: block counter of the next batch less 2, a multiple of 32
	offAAD      = 24 // uint64: bytes of additional data in the record
	offTotal    = 32 // uint64: bytes of ciphertext in the record
	offCounter  = 40 // uint32: scratch
	offTag      = 48 // the result of a final call
	offTail     = 64 // 32 bytes, for avx2: the last ones, which do not fill a register
	offAADBlock = 96 // 16 bytes, for avx2: additional data of at most one block, padded

	offColumn = offCounter // for avx512, in the loop over batches, see firstRun
	offWhite  = offTag     // the same
)

const (
	block      = 16
	vector     = 64 // bytes of a zmm register
	batchWidth = 8  // zmm registers that one iteration encrypts
	batch      = batchWidth * vector
)

// powerAt is where H^n stands.
func powerAt(n int) int { return offPowers + (powers-n)*block }

// loweredAt is where H^n * x^-64 stands; n is a multiple of four up to 32.
func loweredAt(n int) int { return offLowered + (n/4-1)*block }

// op is one instruction, or a few that belong together, not emitted yet.
type op func()

// weave emits two independent instruction streams evenly mixed, so that the scheduler always finds work for both the AES and the
// carry-less multiplication port. The order within each stream stays.
func weave(a, b []op) {
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		// Take from the stream that is further behind its share.
		if j == len(b) || i < len(a) && i*len(b) <= j*len(a) {
			a[i]()
			i++
		} else {
			b[j]()
			j++
		}
	}
}

func emit(ops []op) { weave(ops, nil) }

// Vector registers by number.
func z(n int) VecPhysical {
	return []VecPhysical{Z0, Z1, Z2, Z3, Z4, Z5, Z6, Z7, Z8, Z9, Z10, Z11, Z12, Z13, Z14, Z15,
		Z16, Z17, Z18, Z19, Z20, Z21, Z22, Z23, Z24, Z25, Z26, Z27, Z28, Z29, Z30, Z31}[n]
}

func y(n int) VecPhysical { return z(n).AsY().(VecPhysical) }
func x(n int) VecPhysical { return z(n).AsX().(VecPhysical) }

// at is the memory operand base+disp.
func at(base Register, disp int) Mem { return Mem{Base: base, Disp: disp} }

// swapHalves is the immediate of VPSHUFD that exchanges the two quadwords of each 128-bit lane.
const swapHalves = 0x4e

// xor3 is the truth table of VPTERNLOG for a^b^c.
const xor3 = 0x96

// constants declares a read-only table of quadwords.
func constants(name string, values ...uint64) Mem {
	m := GLOBL(name, attr.RODATA|attr.NOPTR)
	for i, v := range values {
		DATA(8*i, U64(v))
	}
	return m
}
