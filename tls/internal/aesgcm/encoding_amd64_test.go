//go:build linux && !purego

package aesgcm

import (
	"bytes"
	"debug/elf"
	"debug/gosym"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// narrow are the instructions of the functions that processors without AVX-512 run, as objdump names them. All but EVEX forms of them are of x86-64 itself, AVX,
// AVX2, AES-NI, PCLMULQDQ, VAES and VPCLMULQDQ, which are what is asked for.
const narrow = `
add and cmp dec int3 je jmp jne lea mov ret shl shr sub test
vaesenc vaesenclast vaeskeygenassist
vbroadcasti128 vextracti128 vinserti128 vmovd vmovdqa vmovdqu vmovq vpinsrd vpinsrq vzeroall
vpaddd vpaddq vpand vpor vpshufb vpshufd vpslldq vpsrad vpsrlq vpxor
vpclmulhqhqdq vpclmulhqlqdq vpclmullqhqdq vpclmullqlqdq
`

// assembled are the functions of the assembly as they are in this program, name to its first and last address, but for the two instructions by which the
// processor is asked.
func assembled(t *testing.T) map[string][2]uint64 {
	t.Helper()
	f, err := elf.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	lines, text := f.Section(".gopclntab"), f.Section(".text")
	if lines == nil || text == nil {
		t.Skip("this program is linked in a way in which its functions cannot be found")
	}
	data, err := lines.Data()
	if err != nil {
		t.Fatal(err)
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(data, text.Addr))
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile("aesgcm_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][2]uint64{}
	for _, m := range regexp.MustCompile(`(?m)^TEXT ·(\w+)\(SB\)`).FindAllSubmatch(source, -1) {
		name := string(m[1])
		if name == "cpuid" || name == "xgetbv" {
			continue
		}
		for _, fn := range table.Funcs {
			// Go puts a function of its own before each, of some 100 bytes. The assembly is the longer one.
			if fn.BaseName() == name && strings.Contains(fn.Name, "/internal/aesgcm.") && fn.End-fn.Entry > all[name][1]-all[name][0] {
				all[name] = [2]uint64{fn.Entry, fn.End}
			}
		}
	}
	return all
}

// TestEncoding: what processors without AVX-512 run has no instruction beyond those that are asked for. The Go assembler chooses the encoding, and takes that of
// AVX-512 without a word where a register or a form has no other; so this looks at the machine code, as another program decodes it.
func TestEncoding(t *testing.T) {
	objdump, err := exec.LookPath("objdump")
	if err != nil {
		t.Skip("no disassembler: ", err)
	}
	all := assembled(t)
	if len(all) < 9 {
		t.Fatalf("%d functions found: %v", len(all), all)
	}
	line := regexp.MustCompile(`(?m)^ *[0-9a-f]+:\t((?:[0-9a-f]{2} )+) *\t(?:\{\w+\} )?(\S+)`)
	asked := map[string]bool{}
	for _, name := range strings.Fields(narrow) {
		asked[name] = true
	}
	for name, at := range all {
		out, err := exec.Command(objdump, "-d", "-w", fmt.Sprintf("--start-address=%#x", at[0]), fmt.Sprintf("--stop-address=%#x", at[1]), os.Args[0]).Output()
		if err != nil {
			t.Fatalf("objdump: %v", err)
		}
		found := line.FindAllSubmatch(out, -1)
		wide := 0
		for _, m := range found {
			mnemonic := string(m[2])
			if evex := bytes.HasPrefix(m[1], []byte("62 ")); evex || !asked[mnemonic] && !asked[strings.TrimRight(mnemonic, "lq")] {
				if wide++; !strings.HasSuffix(name, "512") {
					t.Errorf("%s: %s", name, bytes.TrimSpace(m[0]))
				}
			}
		}
		if strings.HasSuffix(name, "512") && wide < 100 || len(found) < 20 || bytes.Contains(out, []byte("(bad)")) {
			t.Errorf("%s: %d instructions, %d of them of AVX-512: the machine code was not understood", name, len(found), wide)
		}
	}
}
