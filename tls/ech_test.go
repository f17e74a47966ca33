package tls

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	stdtls "crypto/tls"
	"encoding/binary"
	"errors"
	"testing"
)

// echConfig is an ECHConfig for key, with DHKEM(X25519), HKDF-SHA256 and AES-128-GCM.
func echConfig(key *ecdh.PrivateKey) []byte {
	var b []byte
	b = append(b, 1)       // config id
	b = append(b, 0, 0x20) // kem
	b = append(b, 0, 32)   // public key
	b = append(b, key.PublicKey().Bytes()...)
	b = append(b, 0, 4, 0, 1, 0, 1) // kdf, aead
	b = append(b, 32)               // maximum name length
	b = append(b, 11)
	b = append(b, "server.test"...)
	b = append(b, 0, 0)
	out := binary.BigEndian.AppendUint16(nil, 0xfe0d)
	out = binary.BigEndian.AppendUint16(out, uint16(len(b)))
	return append(out, b...)
}

func echList(config []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(config))), config...)
}

// TestECH: Encrypted Client Hello, accepted and refused, with and without a HelloRetryRequest. The key log then has another random
// than the wire, and the alert for a refusal comes behind the client's Finished.
func TestECH(t *testing.T) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	must(err)
	other, err := ecdh.X25519().GenerateKey(rand.Reader)
	must(err)
	for _, retry := range []bool{false, true} {
		sc := serverTLS()
		if retry {
			sc.CurvePreferences = []stdtls.CurveID{stdtls.CurveP384}
		}
		sc.EncryptedClientHelloKeys = []stdtls.EncryptedClientHelloKey{{Config: echConfig(key), PrivateKey: key.Bytes(), SendAsRetry: true}}
		cc := clientTLS()
		cc.EncryptedClientHelloConfigList = echList(echConfig(key))
		server := newServer(t, sc)
		s, c := pair(t, server, newClient(t, cc))
		if got := opened(t, s, sealed(t, c, "hidden")); string(got) != "hidden" || s.State().ServerName != "server.test" {
			t.Errorf("retry %v: %q, %+v", retry, got, s.State())
		}
		if got := opened(t, c, sealed(t, s, "back")); string(got) != "back" {
			t.Errorf("%q", got)
		}
		cc.EncryptedClientHelloConfigList = echList(echConfig(other))
		x, y := server.Conn(), newClient(t, cc).Conn("")
		_, _, err := shake(x, y)
		var rejected *stdtls.ECHRejectionError
		var e *Error
		if !errors.As(y.failure(), &e) || e.Alert != 121 || e.Remote || !errors.As(e, &rejected) || !bytes.Equal(rejected.RetryConfigList, echList(echConfig(key))) {
			t.Errorf("retry %v: rejected: %v, %v", retry, err, y.failure())
		}
		if x.failure() != nil {
			t.Errorf("server %v", x.failure())
		}
		x.Release()
		y.Release()
	}
}
