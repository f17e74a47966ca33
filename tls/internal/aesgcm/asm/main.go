package main

import (
	. "github.com/mmcloughlin/avo/build"
)

//go:generate go run . -out ../aesgcm_amd64.s -stubs ../stub_amd64.go -pkg aesgcm

func main() {
	ConstraintExpr("!purego")
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
	Generate()
}
