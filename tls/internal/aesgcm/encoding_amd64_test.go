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

// assembled are the functions of the assembly as they are in this program, name to its first and last address.
func assembled(t *testing.T) map[string][2]uint64 {
	t.Helper()
	f, err := elf.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	lines, err := f.Section(".gopclntab").Data()
	if err != nil {
		t.Fatal(err)
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(lines, f.Section(".text").Addr))
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
		for _, fn := range table.Funcs {
			// Go puts a function of its own before each, whose code says nothing; the longer one is the assembly.
			if fn.BaseName() == name && strings.Contains(fn.Name, "/internal/aesgcm.") && fn.End-fn.Entry > all[name][1]-all[name][0] {
				all[name] = [2]uint64{fn.Entry, fn.End}
			}
		}
		if all[name][1] == 0 {
			t.Errorf("%s is not in this program", name)
		}
	}
	return all
}

// TestEncoding: what processors without AVX-512 run has no instruction of it. The Go assembler chooses the encoding, and takes that of AVX-512 without a
// word where a register or a form has no other; so this looks at the machine code, as another program decodes it.
func TestEncoding(t *testing.T) {
	objdump, err := exec.LookPath("objdump")
	if err != nil {
		t.Skip("no disassembler: ", err)
	}
	line := regexp.MustCompile(`(?m)^ *[0-9a-f]+:\t((?:[0-9a-f]{2} )+) *\t(?:\{\w+\} )?(\S+)`)
	// BMI1, BMI2 and ADX, which a processor with AVX2 need not have.
	other := regexp.MustCompile(`^(andn|bextr|bls\w+|bzhi|mulx|pdep|pext|rorx|sarx|shlx|shrx|adcx|adox)[lq]?$`)
	for name, at := range assembled(t) {
		out, err := exec.Command(objdump, "-d", "-w", fmt.Sprintf("--start-address=%#x", at[0]), fmt.Sprintf("--stop-address=%#x", at[1]), os.Args[0]).Output()
		if err != nil {
			t.Fatalf("objdump: %v", err)
		}
		found := line.FindAllSubmatch(out, -1)
		wide := 0
		for _, m := range found {
			if bytes.HasPrefix(m[1], []byte("62 ")) || other.Match(m[2]) { // 62: the prefix EVEX
				if wide++; !strings.HasSuffix(name, "512") {
					t.Errorf("%s: %s", name, bytes.TrimSpace(m[0]))
				}
			}
		}
		if strings.HasSuffix(name, "512") && wide < 100 || len(found) < 3 || bytes.Contains(out, []byte("(bad)")) {
			t.Errorf("%s: %d instructions, %d of them of AVX-512: the machine code was not understood", name, len(found), wide)
		}
	}
}
