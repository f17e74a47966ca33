//go:build !purego

package aesgcm

import "golang.org/x/sys/cpu"

// Bits of the register XCR0: the states that the operating system keeps when it switches threads (Intel SDM volume 1, 13.3).
const (
	xcr0YMM = 0x06           // XMM, YMM
	xcr0ZMM = 0xe0 | xcr0YMM // and the mask registers, the upper halves of ZMM0-15, ZMM16-31
	ecxVAES = 1 << 9         // CPUID leaf 7, ECX
	ecxMul  = 1 << 10        // VPCLMULQDQ, likewise
)

// processor is all that the choice depends on.
type processor struct {
	leaf7  uint32 // CPUID leaf 7, ECX; zero without that leaf
	xcr0   uint32 // zero where it cannot be read
	avx2   bool   // AVX2, AES-NI and PCLMULQDQ
	avx512 bool   // F, BW, DQ and VL, and BMI2
}

// detect asks the processor and the operating system. golang.org/x/sys/cpu knows VAES and VPCLMULQDQ only together with AVX-512, so these
// are asked for here. Its options in GODEBUG (cpu.avx512f=off, cpu.avx2=off) count.
func detect() features { return probe().features() }

// probe is what this processor and operating system say.
func probe() processor {
	x := &cpu.X86
	p := processor{
		avx2:   x.HasAVX2 && x.HasAES && x.HasPCLMULQDQ,
		avx512: x.HasAVX512F && x.HasAVX512BW && x.HasAVX512DQ && x.HasAVX512VL && x.HasAVX512VAES && x.HasAVX512VPCLMULQDQ && x.HasBMI2,
	}
	if leaves, _, _, _ := cpuid(0, 0); leaves >= 7 {
		_, _, p.leaf7, _ = cpuid(7, 0)
	}
	if x.HasOSXSAVE {
		p.xcr0, _ = xgetbv()
	}
	return p
}

// features tells what can run: every instruction must be there, and the operating system must keep every register in use, or another
// thread's values would turn up in them.
func (p processor) features() features {
	ymm := p.avx2 && p.leaf7&ecxVAES != 0 && p.leaf7&ecxMul != 0 && p.xcr0&xcr0YMM == xcr0YMM
	return features{avx2: ymm, avx512: ymm && p.avx512 && p.xcr0&xcr0ZMM == xcr0ZMM}
}
