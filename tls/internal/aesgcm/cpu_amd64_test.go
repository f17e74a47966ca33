//go:build !purego

package aesgcm

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestFeatures: no implementation is chosen when an instruction, or a register state of the operating system, is missing.
func TestFeatures(t *testing.T) {
	const both = ecxVAES | ecxMul
	for name, c := range map[string]struct {
		p    processor
		want features
	}{
		"everything":                       {processor{both, 0xe7, true, true}, features{avx512: true, avx2: true}},
		"more than that":                   {processor{^uint32(0), ^uint32(0), true, true}, features{avx512: true, avx2: true}},
		"no AVX-512":                       {processor{both, 0xe7, true, false}, features{avx2: true}},
		"AVX-512, not kept by the system":  {processor{both, 0x07, true, true}, features{avx2: true}},
		"mask registers not kept":          {processor{both, 0xc7, true, true}, features{avx2: true}},
		"upper halves not kept":            {processor{both, 0xa7, true, true}, features{avx2: true}},
		"ZMM16-31 not kept":                {processor{both, 0x67, true, true}, features{avx2: true}},
		"YMM not kept":                     {processor{both, 0xe3, true, true}, features{}},
		"XMM not kept":                     {processor{both, 0xe5, true, true}, features{}},
		"no XGETBV":                        {processor{both, 0, true, true}, features{}},
		"no VAES":                          {processor{ecxMul, 0xe7, true, true}, features{}},
		"no VPCLMULQDQ":                    {processor{ecxVAES, 0xe7, true, true}, features{}},
		"no leaf 7":                        {processor{0, 0xe7, true, true}, features{}},
		"no AVX2, whatever AVX-512 claims": {processor{both, 0xe7, false, true}, features{}},
		"nothing":                          {processor{}, features{}},
	} {
		if got := c.p.features(); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestFeaturesOfThisKernel: what is chosen is what Linux says about processor and kernel.
func TestFeaturesOfThisKernel(t *testing.T) {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Skip(err)
	}
	_, flags, _ := strings.Cut(string(info), "\nflags")
	flags, _, _ = strings.Cut(flags, "\n")
	has := func(names ...string) bool {
		for _, n := range names {
			if !slices.Contains(strings.Fields(flags), n) {
				return false
			}
		}
		return true
	}
	if !has("sse2") {
		t.Skip("no flags of the processor in /proc/cpuinfo")
	}
	if strings.Contains(os.Getenv("GODEBUG"), "cpu.") {
		t.Skip("GODEBUG takes instructions away")
	}
	avx2 := has("avx2", "aes", "pclmulqdq", "vaes", "vpclmulqdq")
	want := features{avx2: avx2, avx512: avx2 && has("avx512f", "avx512bw", "avx512dq", "avx512vl", "bmi2")}
	if got := detect(); got != want {
		t.Errorf("%+v, want %+v of %s", got, want, flags)
	}
}

// again runs tests in another process of this program, under what is before it, with a GODEBUG of its own, and has TestDefault expect want.
func again(want Implementation, godebug string, under []string, tests ...string) (said string, err error) {
	line := append(slices.Clone(under), os.Args[0], "-test.run=^("+strings.Join(tests, "|")+")$", "-test.count=1", "-test.v")
	c := exec.Command(line[0], line[1:]...)
	c.Env = append(os.Environ(), "GODEBUG="+godebug, expected+"="+want.String())
	out, err := c.CombinedOutput()
	return string(out), err
}

// TestFewerInstructions: a process that must do without some instructions takes the next best implementation by itself, and its bytes
// are right.
func TestFewerInstructions(t *testing.T) {
	if os.Getenv("GODEBUG") != "" {
		t.Skip("GODEBUG is set")
	}
	for option, wants := range map[string][]Implementation{"cpu.avx512f=off": {AVX2, Go}, "cpu.avx512bw=off": {AVX2, Go}, "cpu.avx2=off": {Go}, "cpu.aes=off": {Go}} {
		want := wants[slices.IndexFunc(wants, Implementation.supported)]
		if out, err := again(want, option, nil, "TestDefault", "TestVectors", "TestSealVecHeads"); err != nil || !strings.Contains(out, "PASS: TestDefault") {
			t.Errorf("%s, want %v: %v\n%s", option, want, err, out)
		}
	}
}

// TestProbe shows what the processor is found to have; TestOtherProcessors reads it.
func TestProbe(t *testing.T) {
	p := probe()
	t.Logf("AVX2 %t, AVX-512 %t, VAES %t, VPCLMULQDQ %t", p.avx2, p.avx512, p.leaf7&ecxVAES != 0, p.leaf7&ecxMul != 0)
	if p.avx512 && (!p.avx2 || p.leaf7&ecxVAES == 0 || p.leaf7&ecxMul == 0) {
		t.Error("the two ways to ask contradict each other")
	}
}

// TestOtherProcessors: so does one on a processor that never had them. QEMU plays the processors. (None that QEMU 7.2 knows has all that the 256-bit
// variant needs; that it runs without AVX-512 is for TestEncoding to show.)
func TestOtherProcessors(t *testing.T) {
	if raceEnabled {
		t.Skip("the emulator does not bear the race detector")
	}
	qemu, err := exec.LookPath("qemu-x86_64")
	if err != nil {
		t.Skip("no emulator of other processors: ", err)
	}
	for model, has := range map[string]string{
		"max,-vpclmulqdq": "AVX2 true, AVX-512 false, VAES true, VPCLMULQDQ false",
		"Haswell":         "AVX2 true, AVX-512 false, VAES false, VPCLMULQDQ false",
		"Westmere":        "AVX2 false, AVX-512 false, VAES false, VPCLMULQDQ false", // AES
		"qemu64":          "AVX2 false, AVX-512 false, VAES false, VPCLMULQDQ false", // none
	} {
		out, err := again(Go, "", []string{qemu, "-cpu", model}, "TestProbe", "TestDefault", "TestVectors", "TestSealVecHeads")
		switch {
		case strings.Contains(out, "can only be run on AMD64 processors"):
			t.Logf("%s: this program was built for later ones (GOAMD64)", model)
		case err != nil || !strings.Contains(out, "PASS: TestDefault") || !strings.Contains(out, has):
			t.Errorf("%s, which is to have %s: %v\n%s", model, has, err, out)
		}
	}
}
