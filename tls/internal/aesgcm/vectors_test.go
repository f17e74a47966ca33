package aesgcm

import (
	"bytes"
	"encoding/hex"
	"os"
	"strings"
	"testing"
)

// vector is a line of testdata/vectors.txt.
type vector struct {
	name                           string
	key, nonce, aad, plain, sealed []byte
	valid                          bool
}

// readVectors reads lines of name, valid or forged, key, nonce, additional data, plaintext and ciphertext with tag, in hexadecimal.
func readVectors(t *testing.T) []vector {
	t.Helper()
	text, err := os.ReadFile("testdata/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		if len(f) != 7 || f[1] != "valid" && f[1] != "forged" {
			t.Fatalf("line %q", line)
		}
		v := vector{name: f[0], valid: f[1] == "valid"}
		for i, to := range []*[]byte{&v.key, &v.nonce, &v.aad, &v.plain, &v.sealed} {
			if f[2+i] == "-" {
				continue
			}
			if *to, err = hex.DecodeString(f[2+i]); err != nil {
				t.Fatalf("%s: %v", v.name, err)
			}
		}
		all = append(all, v)
	}
	return all
}

// TestVectors: published test cases, and forgeries made from them.
func TestVectors(t *testing.T) {
	all := readVectors(t)
	if len(all) < 20 {
		t.Fatalf("%d vectors", len(all))
	}
	for _, v := range all {
		for _, i := range Available() {
			a := newAEAD(t, v.key, i)
			got, err := a.Open(nil, v.nonce, v.sealed, v.aad)
			if (err == nil) != v.valid || v.valid && !bytes.Equal(got, v.plain) {
				t.Errorf("%v: %s: opened %x, %v", i, v.name, got, err)
			}
			if sealed := a.Seal(nil, v.nonce, v.plain, v.aad); bytes.Equal(sealed, v.sealed) != v.valid {
				t.Errorf("%v: %s: sealed %x", i, v.name, sealed)
			}
		}
	}
}
