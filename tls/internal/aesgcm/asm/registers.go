package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	. "github.com/mmcloughlin/avo/reg"
)

// registerAccess generates package registers, with which tests look at what the functions leave behind in vector registers.
func registerAccess() {
	type width struct {
		name      string
		registers int
		bytes     int
		register  func(int) VecPhysical
		move      func(...Op)
	}
	for _, w := range []width{
		{"512", 32, vector, z, VMOVDQU64},
		{"256", 16, pair, y, func(ops ...Op) { VMOVDQU(ops[0], ops[1]) }},
	} {
		TEXT("Fill"+w.name, attr.NOSPLIT, "func(from *byte)")
		Doc("Fill" + w.name + " loads all vector registers of that width from consecutive memory.")
		Pragma("noescape")
		Load(Param("from"), RAX)
		for i := range w.registers {
			w.move(at(RAX, i*w.bytes), w.register(i))
		}
		RET()

		TEXT("Save"+w.name, attr.NOSPLIT, "func(to *byte)")
		Doc("Save" + w.name + " stores all vector registers of that width to consecutive memory, and clears them.")
		Pragma("noescape")
		Load(Param("to"), RAX)
		for i := range w.registers {
			w.move(w.register(i), at(RAX, i*w.bytes))
		}
		if w.registers == 32 {
			wipe512()
		} else {
			VZEROALL()
		}
		RET()
	}
}
