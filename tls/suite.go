package tls

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	stdtls "crypto/tls"
	"encoding/binary"
	"fmt"
	"hash"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/ron-transport/ron-transport/tls/internal/aesgcm"
)

// suite is a TLS 1.3 cipher suite (RFC 8446, B.4), and how it is computed here. The zero value is none.
type suite struct {
	id  uint16
	aes aesgcm.Implementation // of the suites with AES
}

// known reports whether a suite has been agreed on.
func (s suite) known() bool { return s.id != 0 }

// valid reports whether this record layer speaks s.
func (s suite) valid() bool {
	switch s.id {
	case stdtls.TLS_AES_128_GCM_SHA256, stdtls.TLS_AES_256_GCM_SHA384, stdtls.TLS_CHACHA20_POLY1305_SHA256:
		return true
	}
	return false
}

func (s suite) secretLen() int {
	if s.id == stdtls.TLS_AES_256_GCM_SHA384 {
		return sha512.Size384
	}
	return sha256.Size
}

func (s suite) keyLen() int {
	if s.id == stdtls.TLS_AES_128_GCM_SHA256 {
		return 16
	}
	return 32
}

// hash is the hash function of s.
func (s suite) hash() func() hash.Hash {
	if s.id == stdtls.TLS_AES_256_GCM_SHA384 {
		return sha512.New384
	}
	return sha256.New
}

// expand is HKDF-Expand-Label (RFC 8446, 7.1) with an empty context, and mac being HMAC keyed with the secret: one epoch derives
// several values from one secret. All of them fit in one block of the hash, so that HKDF-Expand (RFC 5869, 2.3) is a single HMAC. dst
// has room for such a block.
func (s suite) expand(dst []byte, mac hash.Hash, label string, n int) []byte {
	info := make([]byte, 0, 32)
	info = binary.BigEndian.AppendUint16(info, uint16(n))
	info = append(info, byte(len("tls13 ")+len(label)))
	info = append(info, "tls13 "...)
	info = append(info, label...)
	info = append(info, 0, 1) // the empty context, and the number of the block
	mac.Reset()
	mac.Write(info)
	return mac.Sum(dst)[:n]
}

// aead makes the cipher for a traffic key.
func (s suite) aead(key []byte) (cipher.AEAD, error) {
	if s.id == stdtls.TLS_CHACHA20_POLY1305_SHA256 {
		return chacha20poly1305.New(key)
	}
	return aesgcm.New(key, s.aes)
}

// half is one direction's protection: everything a connection keeps per direction. Its zero value has no keys.
type half struct {
	seq    uint64             // of the next record
	cipher *recordCipher      // nil without keys, and after sleep
	secret [maxSecretLen]byte // traffic secret of this epoch: the next KeyUpdate and wake derive from it. Never all zeros with keys
}

// recordCipher is what a half needs at work. All of it follows from the secret, so an idle half can do without: an AES-GCM object
// has 1.5 KB, most of a connection.
type recordCipher struct {
	aead   cipher.AEAD
	gcm    *aesgcm.AEAD // aead, when it encrypts what it gathers from several places; else nil
	ivTail uint64       // last eight bytes of the IV, which the sequence number is mixed into
	nonce  [ivLen]byte  // scratch; its first four bytes are the IV's, and stay
}

// install starts an epoch with secret: key and IV of RFC 8446, 7.3, sequence 0. The keys of the epoch before are overwritten.
func (h *half) install(s suite, secret []byte) error {
	if len(secret) != s.secretLen() {
		return fmt.Errorf("tls: traffic secret of %d bytes for suite %#04x", len(secret), s.id)
	}
	made, err := s.recordCipher(secret)
	if err != nil {
		return err
	}
	h.sleep()
	h.cipher = made
	h.seq = 0
	copy(h.secret[:], secret)
	return nil
}

// keyed reports whether an epoch has started.
func (h *half) keyed() bool { return h.secret != [maxSecretLen]byte{} }

// sleep drops what wake can rebuild.
func (h *half) sleep() {
	if h.cipher != nil {
		if w, ok := h.cipher.aead.(interface{ Wipe() }); ok {
			w.Wipe()
		}
		*h.cipher = recordCipher{}
		h.cipher = nil
	}
}

// wake makes a keyed half able to work. The sequence goes on where it was.
func (h *half) wake(s suite) (err error) {
	if h.cipher == nil {
		h.cipher, err = s.recordCipher(h.secret[:s.secretLen()])
	}
	return err
}

// recordCipher derives key and IV (RFC 8446, 7.3).
func (s suite) recordCipher(secret []byte) (*recordCipher, error) {
	var keyBlock, ivBlock [sha512.Size384]byte
	defer clear(keyBlock[:])
	defer clear(ivBlock[:])
	mac := hmac.New(s.hash(), secret)
	key := s.expand(keyBlock[:0], mac, "key", s.keyLen())
	iv := s.expand(ivBlock[:0], mac, "iv", ivLen)
	r := &recordCipher{ivTail: binary.BigEndian.Uint64(iv[4:])}
	copy(r.nonce[:4], iv)
	var err error
	if r.aead, err = s.aead(key); err != nil {
		return nil, err
	}
	if gcm, ok := r.aead.(*aesgcm.AEAD); ok && gcm.Implementation() != aesgcm.Go {
		r.gcm = gcm
	}
	return r, nil
}

// update replaces the epoch by the next one (RFC 8446, 7.2).
func (h *half) update(s suite) error {
	next := s.expand(make([]byte, 0, maxSecretLen), hmac.New(s.hash(), h.secret[:s.secretLen()]), "traffic upd", s.secretLen())
	defer clear(next)
	return h.install(s, next)
}

// next sets the nonce for record seq (RFC 8446, 5.3).
func (r *recordCipher) next(seq uint64) []byte {
	binary.BigEndian.PutUint64(r.nonce[4:], r.ivTail^seq)
	return r.nonce[:]
}

// seal appends one record with content of type typ to dst. The half is awake. It copies, so content may be anything; it is not for the hot path.
func (h *half) seal(dst []byte, typ byte, content []byte) []byte {
	n := len(content) + 1 + tagLen
	at := len(dst)
	dst = append(dst, typeApplicationData, 3, 3, byte(n>>8), byte(n))
	dst = append(dst, content...)
	dst = append(dst, typ)
	body := at + recordHeaderLen
	dst = h.cipher.aead.Seal(dst[:body], h.cipher.next(h.seq), dst[body:], dst[at:body])
	h.seq++
	return dst
}

// open decrypts one whole record as the one with sequence h.seq, without advancing it. The half is awake. scratch holds the plaintext.
func (h *half) open(scratch, record []byte) ([]byte, error) {
	return h.cipher.aead.Open(scratch[:0], h.cipher.next(h.seq), record[recordHeaderLen:], record[:recordHeaderLen])
}

// wipe overwrites what this package can overwrite.
func (h *half) wipe() {
	h.sleep()
	*h = half{}
}
