// Command asm generates the assembly of package aesgcm and, with -registers, that of its test package registers. It is a module of its
// own: nothing that imports the transport needs avo.
package main

import (
	"flag"

	. "github.com/mmcloughlin/avo/build"
)

//go:generate go run . -out ../aesgcm_amd64.s -stubs ../stub_amd64.go -pkg aesgcm
//go:generate go run . -registers -out ../registers/registers_amd64.s -stubs ../registers/stub_amd64.go -pkg registers

func main() {
	registers := flag.Bool("registers", false, "generate package registers instead")
	flag.Parse()
	ConstraintExpr("!purego")
	if *registers {
		registerAccess()
	} else {
		functions()
	}
	Generate()
}

// functions generates package aesgcm.
func functions() {
	declareTables512()
	declareTables256()
	cpu()
	expandKey(128)
	expandKey(256)
	hashBlocks()
	more512()
	final512(seal)
	final512(open)
	more256()
	final256(seal)
	final256(open)
}
