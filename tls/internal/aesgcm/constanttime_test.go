//go:build amd64 && !purego

package aesgcm

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"unsafe"
)

var (
	scalar = regexp.MustCompile(`^([ABCD][XL]|[SD]I|BP|R\d+|K[0-7])$`)
	wide   = regexp.MustCompile(`^[XYZ]\d+$`)
)

// leak says how an instruction may let a secret decide about a branch or an address; "" if it cannot. Keys, texts and hashes are in
// vector registers and in memory only. Branches and addresses depend on flags, general and mask registers only. So it suffices that
// nothing goes from the former to the latter, but for what public names: memory operands that hold lengths or the number of rounds.
func leak(mnemonic string, operands []string, public map[string]bool) string {
	last := len(operands) - 1
	if strings.HasPrefix(mnemonic, "V") {
		switch {
		case strings.HasPrefix(mnemonic, "VPTEST"), strings.HasPrefix(mnemonic, "VTEST"), strings.Contains(mnemonic, "COMIS"):
			return "flags or a mask from a vector register"
		case strings.Contains(mnemonic, "GATHER"), strings.Contains(mnemonic, "SCATTER"):
			return "addresses from a vector register"
		case last >= 0 && scalar.MatchString(operands[last]):
			return "a general or mask register from a vector register"
		}
		return ""
	}
	for i, o := range operands {
		if wide.MatchString(o) {
			return "a vector register in an instruction that is not a vector's"
		}
		address := strings.Contains(o, "(") && !strings.HasSuffix(o, "(FP)")
		if address && mnemonic != "LEAQ" && !public[o] && (i != last || !strings.HasPrefix(mnemonic, "MOV")) {
			return "a general register or flags from memory"
		}
	}
	return ""
}

// TestConstantTime: no branch and no address in the assembly depends on a key, a text or a hash.
func TestConstantTime(t *testing.T) {
	source, err := os.ReadFile("aesgcm_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	// AX is keys and BX is work in every function that takes them, see the generator's registers.
	public := map[string]bool{}
	for _, p := range []struct {
		base   string
		offset uintptr
	}{{"AX", unsafe.Offsetof(keys{}.rounds)}, {"BX", unsafe.Offsetof(work{}.base)}, {"BX", unsafe.Offsetof(work{}.aad)}, {"BX", unsafe.Offsetof(work{}.total)}} {
		public[fmt.Sprintf("%d(%s)", p.offset, p.base)] = true
	}
	seen := 0
	for _, m := range regexp.MustCompile(`(?m)^\t([A-Z]\w+)(?:[ \t]+(.*))?$`).FindAllStringSubmatch(string(source), -1) {
		var operands []string
		if m[2] != "" {
			operands = strings.Split(m[2], ", ")
		}
		if why := leak(m[1], operands, public); why != "" {
			t.Errorf("%s: %s", strings.TrimSpace(m[0]), why)
		}
		seen++
	}
	if seen < 5000 {
		t.Errorf("%d instructions", seen)
	}
	for _, bad := range []string{"VMOVQ X1, R8", "VMOVD X0, AX", "VPEXTRQ $0x01, X3, R12", "VPMOVMSKB Y3, AX", "VPTEST Y1, Y1", "VPTESTMQ Z1, Z2, K1", "VPCMPEQB Z1, Z2, K3",
		"VPGATHERDD Y1, (AX)(Y2*4), Y3", "MOVQ (CX), R8", "MOVBLZX 3(AX), R8", "CMPQ 48(BX), $0x00", "XORQ (AX), R9", "MOVQ X1, R8", "MOVQ 256(AX), R9", "PEXTRQ $0x00, X0, AX", "ADDQ R8, (BX)"} {
		mnemonic, operands, _ := strings.Cut(bad, " ")
		if leak(mnemonic, strings.Split(operands, ", "), public) == "" {
			t.Errorf("%s is let pass", bad)
		}
	}
}
