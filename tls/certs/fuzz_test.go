package certs

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// FuzzTicketFile: whatever a ticket key file holds, it is refused with an error that shows none of it, or gives keys that are in order,
// different and bounded, and that come back when they are written.
func FuzzTicketFile(f *testing.F) {
	line := "2026-11-24T06:00:00Z " + strings.Repeat("0123456789abcdef", 4) + "\n"
	f.Add([]byte(line))
	f.Add([]byte("# comment\n\n" + line + "2026-11-23T06:00:00Z " + strings.Repeat("fedcba9876543210", 4)))
	f.Add([]byte(line + line))
	f.Add([]byte(""))
	f.Fuzz(func(t *testing.T, b []byte) {
		keys, err := ParseTicketFile(b)
		if err != nil {
			if keys != nil {
				t.Fatal("keys with an error")
			}
			if !strings.HasPrefix(err.Error(), "certs: ticket key file") || len(err.Error()) > 200 {
				t.Fatalf("error %q", err)
			}
			return
		}
		if len(keys) < 1 || len(keys) > maxTicketKeys || len(b) > maxTicketFile {
			t.Fatalf("%d keys from %d bytes", len(keys), len(b))
		}
		seen := map[[32]byte]bool{}
		for i, k := range keys {
			if seen[k.key] || i > 0 && k.made.After(keys[i-1].made) {
				t.Fatalf("key %d", i)
			}
			seen[k.key] = true
			if !strings.Contains(strings.ToLower(string(b)), fmt.Sprintf(" %x", k.key)) {
				t.Fatalf("key %d is not in the file", i)
			}
		}
		written, err := FormatTicketFile(keys)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseTicketFile(written); err != nil || !slices.Equal(again, keys) {
			t.Fatalf("written and read back: %v", err)
		}
		next := rotated(keys, time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC), maxKeepKeys)
		if _, err := FormatTicketFile(next); err != nil {
			t.Fatalf("rotated: %v", err)
		}
	})
}

// FuzzAnswer: no OCSP answer makes the checks panic, and of all that is made from sound ones only what was signed is taken. The
// certificates and answers are files, so that every process of the fuzzer has the same.
func FuzzAnswer(f *testing.F) {
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join("testdata", "ocsp", name))
		must(err)
		return b
	}
	ca, err := x509.ParseCertificate(read("ca.der"))
	must(err)
	leaf, err := x509.ParseCertificate(read("leaf.der"))
	must(err)
	now := leaf.NotBefore.Add(90 * time.Minute)
	for _, name := range []string{"good.der", "delegated.der"} {
		f.Add(read(name))
		if _, err := judgeAnswer(read(name), leaf, ca, now); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := judgeAnswer(b, leaf, ca, now)
		if (st == nil) == (err == nil) {
			t.Fatalf("%v, %v", st, err)
		}
		if err == nil && (st.revoked || now.Sub(st.thisUpdate) != 30*time.Minute) {
			t.Fatalf("a forged answer was taken: %+v", st)
		}
	})
}
