package aesgcm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestGeneratedIsCurrent: the committed assembly is what the generator makes. The generator is a module of its own; without the modules
// that it needs the test is skipped.
func TestGeneratedIsCurrent(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("builds a program; the run without the race detector and -short does it")
	}
	tool, err := exec.LookPath("go")
	if err != nil {
		t.Skipf("no go command: %v", err)
	}
	if out, err := run(tool, "asm", "mod", "download"); err != nil {
		t.Skipf("the generator's modules cannot be fetched: %v\n%s", err, out)
	}
	dir := t.TempDir()
	sources, err := filepath.Glob("asm/*")
	if err != nil || len(sources) < 8 {
		t.Fatalf("%v, %v", sources, err)
	}
	for _, folder := range []string{"asm", "registers"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range sources {
		b, err := os.ReadFile(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, s), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := run(tool, filepath.Join(dir, "asm"), "generate"); err != nil {
		t.Fatalf("go generate: %v\n%s", err, out)
	}
	for _, name := range []string{"aesgcm_amd64.s", "stub_amd64.go", "registers/registers_amd64.s", "registers/stub_amd64.go"} {
		want, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(name); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not current (%v): run go generate in tls/internal/aesgcm", name, err)
		}
	}
}

// run executes the go command for the module in dir alone.
func run(tool, dir string, args ...string) ([]byte, error) {
	c := exec.Command(tool, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=readonly", "GOOS=", "GOARCH=")
	return c.CombinedOutput()
}
