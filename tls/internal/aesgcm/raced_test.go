//go:build race

package aesgcm

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// raced names the operation that a run of TestRaceSeen as a process of its own performs.
const raced = "RON_TEST_RACED"

// TestRaceSeen: the race detector sees memory that only assembly touches, also with implementations other than Go. Each race is made in
// a process of its own, which must fail for it.
func TestRaceSeen(t *testing.T) {
	buf, dst, nonce, head := make([]byte, 1000), make([]byte, 2000), make([]byte, NonceSize), make([]byte, 20)
	races := map[string]struct {
		mine  func(a *AEAD)
		other func()
	}{
		"plaintext":         {func(a *AEAD) { a.Seal(dst[:0], nonce, buf, nil) }, func() { buf[700] = 1 }},
		"additional data":   {func(a *AEAD) { a.Seal(dst[:0], nonce, head, buf[:13]) }, func() { buf[7] = 1 }},
		"ciphertext":        {func(a *AEAD) { _, _ = a.Open(dst[:0], nonce, buf, nil) }, func() { buf[700] = 1 }},
		"second of parts":   {func(a *AEAD) { a.SealVec(dst[:0], nonce, nil, [][]byte{head, buf}, 23) }, func() { buf[700] = 1 }},
		"output":            {func(a *AEAD) { a.Seal(dst[:0], nonce, buf, nil) }, func() { dst[700] = 1 }},
		"output of parts":   {func(a *AEAD) { a.SealVec(dst[:0], nonce, nil, [][]byte{head, buf}, 23) }, func() { dst[700] = 1 }},
		"output of opening": {func(a *AEAD) { _, _ = a.Open(dst[:0], nonce, buf, nil) }, func() { dst[700] = 1 }},
		"none":              {func(a *AEAD) { a.SealVec(dst[:0], nonce, nil, [][]byte{head, buf}, 23) }, func() { dst[1900] = buf[700] }},
	}
	if name := os.Getenv(raced); name != "" {
		a := newAEAD(t, make([]byte, 16), Default())
		var wg sync.WaitGroup
		wg.Go(races[name].other)
		races[name].mine(a)
		wg.Wait()
		return
	}
	if Default() == Go {
		t.Skip("crypto/cipher does not tell the race detector where it writes")
	}
	for name := range races {
		t.Run(name, func(t *testing.T) {
			c := exec.Command(os.Args[0], "-test.run=^TestRaceSeen$", "-test.count=1")
			c.Env = append(os.Environ(), raced+"="+name)
			out, err := c.CombinedOutput()
			if seen := strings.Contains(string(out), "WARNING: DATA RACE"); seen != (name != "none") || seen != (err != nil) {
				t.Errorf("seen: %v, %v\n%s", seen, err, out)
			}
		})
	}
}
