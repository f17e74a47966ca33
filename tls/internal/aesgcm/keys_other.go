//go:build !amd64 || purego

package aesgcm

// Without assembly there is only Go: an AEAD never has keys, and the methods below are never reached.

type keys struct{}

type work struct{ tag [Overhead]byte }

const (
	vecBatch  = 512
	unreached = "aesgcm: no assembly in this build"
)

func detect() features { return features{} }

func newKeys([]byte) *keys { panic(unreached) }

func (*keys) wipe() { panic(unreached) }

func (*work) wipe() { panic(unreached) }

func (*AEAD) begin(*work, int, []byte) []byte { panic(unreached) }

func (*AEAD) sealMore(_ *work, _, _, _, _ []byte) { panic(unreached) }

func (*AEAD) sealFinal(_ *work, _, _, _, _ []byte, _ int, _ byte) { panic(unreached) }

func (*AEAD) openFinal(_ *work, _, _, _, _ []byte) { panic(unreached) }

func (*AEAD) sealHeaded(_ *work, _, _, _, _, _ []byte, _ byte) bool { panic(unreached) }
