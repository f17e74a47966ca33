package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"fmt"
	"math"
	"testing"
)

// TestRecordLimit: with the default no key seals more than 2^24 records, which is below the 2^24.5 of RFC 8446, 5.5. The KeyUpdate is
// the one record more that the old key seals. Both ends are put right before the limit: real records up to there would be 256 GiB.
func TestRecordLimit(t *testing.T) {
	if limit := float64(DefaultRecordsPerKey) + 1; limit > math.Pow(2, 24.5) {
		t.Fatalf("%v records with one key", limit)
	}
	ways := map[string]func(c *Conn, dst, src []byte) ([]byte, error){
		"Seal":     func(c *Conn, dst, src []byte) ([]byte, error) { return c.Seal(dst, src, false) },
		"SealHead": func(c *Conn, dst, src []byte) ([]byte, error) { return c.SealHead(dst, src[:29], src[29:]) },
	}
	for _, id := range []uint16{stdtls.TLS_AES_128_GCM_SHA256, stdtls.TLS_AES_256_GCM_SHA384} {
		for _, a := range here() {
			for name, seal := range ways {
				t.Run(fmt.Sprintf("%#04x,%v,%s", id, a, name), func(t *testing.T) {
					s, c := keyedAs(t, id, 0, a)
					s.out.seq, c.in.seq = DefaultRecordsPerKey-2, DefaultRecordsPerKey-2
					text := bytes.Repeat([]byte("text"), 100)
					secret, record := s.out.secret, len(text)+recordOverhead
					for i, want := range []struct {
						size int
						seq  uint64
						same bool
					}{{record, DefaultRecordsPerKey - 1, true}, {record, DefaultRecordsPerKey, true}, {keyUpdateLen + record, 1, false}, {record, 2, false}} {
						wire, err := seal(s, nil, text)
						must(err)
						if len(wire) != want.size || s.out.seq != want.seq || (s.out.secret == secret) != want.same {
							t.Fatalf("record %d: %d bytes, sequence %d, same key: %v; want %+v", i, len(wire), s.out.seq, s.out.secret == secret, want)
						}
						if len(wire) > s.SealedSize(len(text)) {
							t.Errorf("record %d: %d bytes, SealedSize says %d", i, len(wire), s.SealedSize(len(text)))
						}
						if got := opened(t, c, wire); !bytes.Equal(got, text) {
							t.Fatalf("record %d: other plaintext", i)
						}
					}
				})
			}
		}
	}
}

// TestKeyUpdateWipes: the keys of the epoch before are overwritten at both ends, not left to the garbage collector.
func TestKeyUpdateWipes(t *testing.T) {
	for _, a := range here() {
		s, c := keyedAs(t, testSuite, 0, a)
		old := []*recordCipher{s.out.cipher, c.in.cipher}
		aeads := []any{old[0].aead, old[1].aead}
		must(s.UpdateKeys(false))
		exchange(t, s, c)
		for i, r := range old {
			if *r != (recordCipher{}) {
				t.Errorf("%v: end %d: the IV of the epoch before is left", a, i)
			}
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%v: end %d: the keys of the epoch before still work", a, i)
					}
				}()
				aeads[i].(interface {
					Seal(dst, nonce, plaintext, additionalData []byte) []byte
				}).Seal(nil, make([]byte, ivLen), nil, nil)
			}()
		}
		exchange(t, s, c)
		exchange(t, c, s)
	}
}
