package adversary

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	stdtls "crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"net"
	"strings"
	"testing"
)

// Content types of records.
const (
	typeAlert     = 21
	typeHandshake = 22
	typeData      = 23
)

// crafter writes TLS 1.3 records by hand on a connection whose handshake crypto/tls has made, and which crypto/tls goes on
// reading.
type crafter struct {
	t      *testing.T
	raw    net.Conn
	tls    *stdtls.Conn
	secret []byte
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
}

func newCrafter(g *rig) *crafter {
	g.t.Helper()
	var keys bytes.Buffer
	c := g.dialTLS(&keys)
	if s := c.ConnectionState().CipherSuite; s != stdtls.TLS_AES_128_GCM_SHA256 {
		g.t.Skipf("records are made for AES-128-GCM, not for %s", stdtls.CipherSuiteName(s))
	}
	k := &crafter{t: g.t, raw: c.NetConn(), tls: c}
	for line := range strings.Lines(keys.String()) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "CLIENT_TRAFFIC_SECRET_0" {
			secret, err := hex.DecodeString(f[2])
			if err != nil {
				g.t.Fatal(err)
			}
			k.rekey(secret)
			return k
		}
	}
	g.t.Fatal("no traffic secret in the key log")
	return nil
}

// expand is HKDF-Expand-Label without a context (RFC 8446, 7.1).
func (k *crafter) expand(secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := append(binary.BigEndian.AppendUint16(nil, uint16(n)), byte(len(label)))
	info = append(append(info, label...), 0)
	out, err := hkdf.Expand(sha256.New, secret, string(info), n)
	if err != nil {
		k.t.Fatal(err)
	}
	return out
}

func (k *crafter) rekey(secret []byte) {
	k.secret, k.seq = secret, 0
	b, err := aes.NewCipher(k.expand(secret, "key", 16))
	if err == nil {
		k.aead, err = cipher.NewGCM(b)
	}
	if err != nil {
		k.t.Fatal(err)
	}
	k.iv = k.expand(secret, "iv", 12)
}

// record seals one record.
func (k *crafter) record(contentType byte, content []byte) []byte {
	inner := append(bytes.Clone(content), contentType)
	h := []byte{typeData, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(h[3:], uint16(len(inner)+k.aead.Overhead()))
	nonce := bytes.Clone(k.iv)
	for i := range 8 {
		nonce[4+i] ^= byte(k.seq >> (56 - 8*i))
	}
	k.seq++
	return k.aead.Seal(h, nonce, inner, h)
}

// keyUpdate is a KeyUpdate message as a record, after which the next keys apply.
func (k *crafter) keyUpdate() []byte {
	r := k.record(typeHandshake, []byte{24, 0, 0, 1, 0})
	k.rekey(k.expand(k.secret, "traffic upd", 32))
	return r
}

// send writes bytes; a server that has closed already is no failure.
func (k *crafter) send(b []byte) { _, _ = k.raw.Write(b) }
