package tls

import (
	"bytes"
	"crypto/fips140"
	stdtls "crypto/tls"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/tls/internal/aesgcm"
)

// here are the implementations that this machine runs.
func here() []AESGCM {
	var all []AESGCM
	for _, i := range aesgcm.Available() {
		all = append(all, AESGCM(i))
	}
	return all
}

// TestAESGCMNames: our values are those of the package with the assembly, and each name stands for its value.
func TestAESGCMNames(t *testing.T) {
	for a, i := range map[AESGCM]aesgcm.Implementation{
		AESGCMAuto: aesgcm.Auto, AESGCMAVX512: aesgcm.AVX512, AESGCMAVX2: aesgcm.AVX2, AESGCMGo: aesgcm.Go,
	} {
		if a.implementation() != i || a.String() != i.String() {
			t.Errorf("%v stands for %v", a, i)
		}
	}
	for _, a := range append(here(), AESGCMAuto) {
		if got, err := ParseAESGCM(a.String()); got != a || err != nil {
			t.Errorf("%v: %v, %v", a, got, err)
		}
	}
	if got := AESGCM(9).String(); got != "AESGCM(9)" {
		t.Error(got)
	}
}

// TestAESGCMRefused: what does not exist is refused before anything starts, with the field, the value and what is allowed.
func TestAESGCMRefused(t *testing.T) {
	_, err := ParseAESGCM("sse")
	for _, part := range []string{`"sse"`, "auto", "go"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not name %s", err, part)
		}
	}
	_, err = NewServer(Config{TLS: serverTLS(), AESGCM: 9})
	for _, part := range []string{"Config.AESGCM", "AESGCM(9)", "auto", "go"} {
		if err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v does not name %s", err, part)
		}
	}
}

// TestAESGCMInFIPSMode: with GODEBUG=fips140=on Auto is Go's, a validated module, and a handshake and its data pass with it. The mode is
// that of a process, so another one is started.
func TestAESGCMInFIPSMode(t *testing.T) {
	if fips140.Enabled() {
		if a, err := AESGCMAuto.Resolve(); a != AESGCMGo || err != nil {
			t.Fatalf("%v, %v", a, err)
		}
		server, client := defaults(t)
		if server.AESGCM() != AESGCMGo || client.AESGCM() != AESGCMGo {
			t.Fatalf("in use: %v and %v", server.AESGCM(), client.AESGCM())
		}
		s, c := pair(t, server, client)
		exchange(t, s, c)
		exchange(t, c, s)
		return
	}
	p := exec.Command(os.Args[0], "-test.run=^TestAESGCMInFIPSMode$", "-test.count=1", "-test.v")
	p.Env = append(os.Environ(), "GODEBUG=fips140=on")
	if out, err := p.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS: TestAESGCMInFIPSMode") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestAESGCMChosen: Config's choice reaches both directions' objects, through handshake, key update and sleep, and peers with
// different ones understand each other.
func TestAESGCMChosen(t *testing.T) {
	for _, mine := range here() {
		for _, theirs := range here() {
			t.Run(fmt.Sprintf("%v,%v", mine, theirs), func(t *testing.T) {
				s, c := connected(t, mine, theirs)
				for round := range 3 {
					for _, x := range []struct {
						conn *Conn
						want AESGCM
					}{{s, mine}, {c, theirs}} {
						for _, h := range []*half{&x.conn.in, &x.conn.out} {
							if got := h.cipher.aead.(*aesgcm.AEAD).Implementation(); got != x.want.implementation() {
								t.Fatalf("round %d: %v instead of %v", round, got, x.want)
							}
						}
					}
					exchange(t, s, c)
					exchange(t, c, s)
					if round == 0 {
						must(s.UpdateKeys(true))
						exchange(t, s, c)
						exchange(t, c, s)
						continue
					}
					s.Sleep()
					c.Sleep()
					exchange(t, s, c)
					exchange(t, c, s)
				}
			})
		}
	}
}

// connected makes a pair with these implementations.
func connected(t *testing.T, server, client AESGCM) (s, c *Conn) {
	t.Helper()
	sc, err := NewServer(Config{TLS: serverTLS(), AESGCM: server})
	must(err)
	cc, err := NewClient(Config{TLS: clientTLS(), AESGCM: client})
	must(err)
	if sc.AESGCM() != server || cc.AESGCM() != client {
		t.Fatalf("in use: %v and %v", sc.AESGCM(), cc.AESGCM())
	}
	return pair(t, sc, cc)
}

// exchange sends one text and fails unless it arrives.
func exchange(t *testing.T, from, to *Conn) {
	t.Helper()
	if got := opened(t, to, sealed(t, from, "some data")); string(got) != "some data" {
		t.Fatalf("%q", got)
	}
}

// TestSealHead: it makes the very bytes that Seal makes of the joined text, with every AEAD, key updates included.
func TestSealHead(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, id := range []uint16{stdtls.TLS_AES_128_GCM_SHA256, stdtls.TLS_AES_256_GCM_SHA384, stdtls.TLS_CHACHA20_POLY1305_SHA256} {
		for _, a := range here() {
			joined, _ := keyedAs(t, id, 3, a)
			apart, _ := keyedAs(t, id, 3, a)
			for _, lengths := range [][2]int{{29, 0}, {0, 29}, {0, 0}, {1, 1}, {29, 1 << 10}, {64, 4 << 10}, {65, 4 << 10}, {29, 1<<14 - 29}, {5000, 5000}} {
				text := make([]byte, lengths[0]+lengths[1])
				for i := range text {
					text[i] = byte(r.Uint32())
				}
				kept := bytes.Clone(text)
				want, err := joined.Seal([]byte("before"), text, false)
				must(err)
				got, err := apart.SealHead([]byte("before"), text[:lengths[0]:lengths[0]], text[lengths[0]:])
				must(err)
				if !bytes.Equal(got, want) || !bytes.Equal(text, kept) {
					t.Errorf("%#04x, %v, %v: other bytes, or a changed text", id, a, lengths)
				}
			}
		}
	}
}

// TestSealHeadTooLong: more than one record's data goes out as records of their own, and arrives.
func TestSealHeadTooLong(t *testing.T) {
	s, c := keyed(t, testSuite, 0)
	head, body := bytes.Repeat([]byte{1}, 30), bytes.Repeat([]byte{2}, 1<<15)
	wire, err := s.SealHead(nil, head, body)
	must(err)
	got, n, err := c.Open(make([]byte, 0, 1<<16), wire)
	if err != nil || n != len(wire) || !bytes.Equal(got, append(head, body...)) {
		t.Fatalf("%d bytes, %d of %d, %v", len(got), n, len(wire), err)
	}
}
