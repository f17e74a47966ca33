package tls

import (
	"bytes"
	"crypto/hkdf"
	"crypto/hmac"
	"encoding/hex"
	"testing"
)

// TestExpand compares with the standard library's HKDF, for every label in use.
func TestExpand(t *testing.T) {
	for name, id := range allSuites() {
		s := suite(id)
		secret := bytes.Repeat([]byte{0x5c}, s.secretLen())
		mac := hmac.New(s.hash(), secret)
		for label, n := range map[string]int{"key": s.keyLen(), "iv": ivLen, "traffic upd": s.secretLen()} {
			info := append([]byte{0, byte(n), byte(6 + len(label))}, "tls13 "+label+"\x00"...)
			want, err := hkdf.Expand(s.hash(), secret, string(info), n)
			must(err)
			if got := s.expand(nil, mac, label, n); !bytes.Equal(got, want) {
				t.Errorf("%s, %s: %x, want %x", name, label, got, want)
			}
		}
	}
}

// TestKeysVector is the server's handshake traffic of RFC 8448, 3.
func TestKeysVector(t *testing.T) {
	secret, err := hex.DecodeString("b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38")
	must(err)
	s := suite(testSuite)
	mac := hmac.New(s.hash(), secret)
	key, iv := hex.EncodeToString(s.expand(nil, mac, "key", 16)), hex.EncodeToString(s.expand(nil, mac, "iv", 12))
	if key != "3fce516009c21727d0f2e4e86ee403bc" || iv != "5d313eb2671276ee13000b30" {
		t.Errorf("key %s, iv %s", key, iv)
	}
}

// TestSuitesAreAEAD: of all identifiers only those of TLS 1.3's AEADs with GCM and ChaCha20-Poly1305 are spoken (seed §3).
func TestSuitesAreAEAD(t *testing.T) {
	for id := range 1 << 16 {
		want := id >= 0x1301 && id <= 0x1303
		if suite(id).valid() != want {
			t.Errorf("%#04x: valid %v", id, !want)
		}
	}
}
