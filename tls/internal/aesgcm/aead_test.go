package aesgcm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// TestLengths: every length gives what crypto/cipher gives, and opens again, in place and elsewhere.
func TestLengths(t *testing.T) {
	each(t, func(t *testing.T, a *AEAD, ref cipher.AEAD, r *rand.ChaCha8) {
		for _, n := range lengths() {
			nonce, aad, plain := take(r, NonceSize), take(r, n%40), take(r, n)
			want := ref.Seal(nil, nonce, plain, aad)
			if got := a.Seal(nil, nonce, plain, aad); !bytes.Equal(got, want) {
				t.Fatalf("%d bytes: sealed elsewhere: ciphertext right: %v", n, bytes.Equal(got[:n], want[:n]))
			}
			buf := append(make([]byte, 0, n+Overhead), plain...)
			if got := a.Seal(buf[:0], nonce, buf, aad); !bytes.Equal(got, want) {
				t.Fatalf("%d bytes: sealed in place: wrong", n)
			}
			if got, err := a.Open(nil, nonce, want, aad); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%d bytes: opened elsewhere: %v", n, err)
			}
			if got, err := a.Open(want[:0], nonce, want, aad); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%d bytes: opened in place: %v", n, err)
			}
		}
	})
}

// TestAlignments: neither source nor destination needs an alignment, elsewhere or in place, and nothing around the destination changes.
func TestAlignments(t *testing.T) {
	sizes := []int{1, 15, 16, 17, 63, 64, 65, 500, 1025, 1600}
	if raceEnabled {
		sizes = []int{17, 1025}
	}
	each(t, func(t *testing.T, a *AEAD, ref cipher.AEAD, r *rand.ChaCha8) {
		nonce, aad := take(r, NonceSize), take(r, 5)
		for _, n := range sizes {
			plain := take(r, n)
			want := ref.Seal(nil, nonce, plain, aad)
			for offset := range 64 {
				src, dst := newGuarded(offset, n), newGuarded(63-offset, n+Overhead)
				copy(src.inner, plain)
				got := a.Seal(dst.inner[:0], nonce, src.inner, aad)
				if !bytes.Equal(got, want) || &got[0] != &dst.inner[0] || !dst.intact() || !bytes.Equal(src.inner, plain) {
					t.Fatalf("sealing %d bytes at offset %d: equal %v, intact %v", n, offset, bytes.Equal(got, want), dst.intact())
				}
				back := newGuarded(offset, n)
				opened, err := a.Open(back.inner[:0], nonce, dst.inner, aad)
				if err != nil || !bytes.Equal(opened, plain) || !back.intact() || !bytes.Equal(dst.inner, want) {
					t.Fatalf("opening %d bytes at offset %d: %v, intact %v", n, offset, err, back.intact())
				}
				place := newGuarded(offset, n+Overhead)
				copy(place.inner, plain)
				got = a.Seal(place.inner[:0], nonce, place.inner[:n], aad)
				if !bytes.Equal(got, want) || &got[0] != &place.inner[0] || !place.intact() {
					t.Fatalf("sealing %d bytes in place at offset %d: equal %v, intact %v", n, offset, bytes.Equal(got, want), place.intact())
				}
				opened, err = a.Open(place.inner[:0], nonce, place.inner, aad)
				if err != nil || !bytes.Equal(opened, plain) || &opened[0] != &place.inner[0] || !bytes.Equal(place.inner[n:], want[n:]) || !place.intact() {
					t.Fatalf("opening %d bytes in place at offset %d: %v, intact %v", n, offset, err, place.intact())
				}
			}
		}
	})
}

// TestAdditionalData: lengths around the block, beyond what one call of the assembly takes, and the empty one.
func TestAdditionalData(t *testing.T) {
	each(t, func(t *testing.T, a *AEAD, ref cipher.AEAD, r *rand.ChaCha8) {
		for n := range 100 {
			for _, size := range []int{0, 1, 100, 700} {
				nonce, aad, plain := take(r, NonceSize), take(r, n), take(r, size)
				want := ref.Seal(nil, nonce, plain, aad)
				if got := a.Seal(nil, nonce, plain, aad); !bytes.Equal(got, want) {
					t.Fatalf("%d bytes of additional data with %d of plaintext", n, size)
				}
				if _, err := a.Open(nil, nonce, want, aad); err != nil {
					t.Fatalf("%d bytes of additional data with %d of plaintext: %v", n, size, err)
				}
			}
		}
	})
}

// TestForgery: one wrong bit anywhere is an error, and leaves no plaintext behind.
func TestForgery(t *testing.T) {
	each(t, func(t *testing.T, a *AEAD, ref cipher.AEAD, r *rand.ChaCha8) {
		for _, n := range []int{0, 1, 16, 65, 600} {
			nonce, aad, plain := take(r, NonceSize), take(r, 21), take(r, n)
			sealed := ref.Seal(nil, nonce, plain, aad)
			for name, field := range map[string][]byte{"tag": sealed[n:], "ciphertext": sealed[:n], "nonce": nonce, "additional data": aad} {
				for bit := range 8 * len(field) {
					field[bit/8] ^= 1 << (bit % 8)
					refuse(t, a, nonce, sealed, aad)
					if t.Failed() {
						t.Fatalf("%d bytes, bit %d of the %s", n, bit, name)
					}
					field[bit/8] ^= 1 << (bit % 8)
					if raceEnabled && bit > 200 {
						break
					}
				}
			}
			refuse(t, a, nonce, sealed, aad[:20])
			refuse(t, a, nonce, sealed, append(slices.Clone(aad), 0))
			for cut := 1; cut <= len(sealed); cut++ {
				refuse(t, a, nonce, sealed[:len(sealed)-cut], aad)
			}
			if _, err := a.Open(nil, nonce, sealed, aad); err != nil {
				t.Fatal("the true one does not open any more")
			}
		}
	})
}

// refuse fails the test if sealed opens, or leaves something in the destination.
func refuse(t *testing.T, a *AEAD, nonce, sealed, aad []byte) {
	t.Helper()
	dst := bytes.Repeat([]byte{0xa5}, len(sealed))
	got, err := a.Open(dst[:0], nonce, sealed, aad)
	if err == nil || got != nil || err.Error() != ErrOpen.Error() {
		t.Errorf("opened: %v", err)
	}
	if a.Implementation() != Go && !errors.Is(err, ErrOpen) {
		t.Errorf("not ErrOpen: %v", err)
	}
	if n := len(sealed) - Overhead; n > 0 && bytes.Count(dst[:n], []byte{0}) != n {
		t.Error("plaintext of a forgery is left in the destination")
	}
}

// TestNonces: all zeros and all ones, and what lies between.
func TestNonces(t *testing.T) {
	each(t, func(t *testing.T, a *AEAD, ref cipher.AEAD, r *rand.ChaCha8) {
		plain := take(r, 700)
		for i := range 64 {
			nonce := bytes.Repeat([]byte{byte(-(i & 1))}, NonceSize)
			if i >= 2 {
				nonce[i%NonceSize] ^= byte(1 << (i % 8))
			}
			if !bytes.Equal(a.Seal(nil, nonce, plain, nil), ref.Seal(nil, nonce, plain, nil)) {
				t.Fatalf("nonce %x", nonce)
			}
		}
	})
}

// TestAppends: what dst holds stays, with and without capacity for the rest.
func TestAppends(t *testing.T) {
	each(t, func(t *testing.T, a *AEAD, ref cipher.AEAD, r *rand.ChaCha8) {
		nonce, plain := take(r, NonceSize), take(r, 333)
		want := ref.Seal([]byte("head"), nonce, plain, nil)
		for _, dst := range [][]byte{[]byte("head"), append(make([]byte, 0, 500), "head"...)} {
			if got := a.Seal(dst, nonce, plain, nil); !bytes.Equal(got, want) {
				t.Fatalf("capacity %d", cap(dst))
			}
			got, err := a.Open(dst, nonce, want[4:], nil)
			if err != nil || string(got[:4]) != "head" || !bytes.Equal(got[4:], plain) {
				t.Fatalf("capacity %d: %v", cap(dst), err)
			}
		}
	})
}

// panicOf is what f panics with, as text.
func panicOf(f func()) (text string) {
	defer func() {
		if v := recover(); v != nil {
			text, _ = v.(string)
		}
	}()
	f()
	return ""
}

// TestMisuse: what crypto/cipher panics for panics here, with the same words.
func TestMisuse(t *testing.T) {
	each(t, func(t *testing.T, a *AEAD, ref cipher.AEAD, r *rand.ChaCha8) {
		buf, nonce, other := take(r, 400), take(r, NonceSize), take(r, 5)
		uses := map[string]func(cipher.AEAD){
			"seal, nonce":         func(c cipher.AEAD) { c.Seal(nil, nonce[:11], buf, nil) },
			"open, nonce":         func(c cipher.AEAD) { _, _ = c.Open(nil, append(nonce, 0), buf, nil) },
			"seal, output ahead":  func(c cipher.AEAD) { c.Seal(buf[:0], nonce, buf[1:200], nil) },
			"seal, output behind": func(c cipher.AEAD) { c.Seal(buf[1:1], nonce, buf[:200], nil) },
			"seal, tag on input": func(c cipher.AEAD) {
				c.Seal(buf[:0], nonce, buf[215:300], nil)
				c.Seal(buf[:0], nonce, buf[100:200], nil)
			},
			"open, output ahead":    func(c cipher.AEAD) { _, _ = c.Open(buf[:0], nonce, buf[1:200], nil) },
			"open, output on tag":   func(c cipher.AEAD) { _, _ = c.Open(buf[199:199], nonce, buf[:200], nil) },
			"seal, additional data": func(c cipher.AEAD) { c.Seal(buf[:0], nonce, other, buf[20:25]) },
			"open, additional data": func(c cipher.AEAD) { _, _ = c.Open(buf[:0], nonce, buf[:200], buf[183:190]) },
		}
		for name, use := range uses {
			want, got := panicOf(func() { use(ref) }), panicOf(func() { use(a) })
			if got != want || !strings.HasPrefix(got, "crypto/cipher: ") {
				t.Errorf("%s: %q, crypto/cipher says %q", name, got, want)
			}
		}
		for name, use := range map[string]func(cipher.AEAD){
			"the bytes behind":   func(c cipher.AEAD) { c.Seal(buf[:0], nonce, buf[:100], buf[116:120]) },
			"exactly in place":   func(c cipher.AEAD) { c.Seal(buf[:0], nonce, buf[:100], nil) },
			"input directly off": func(c cipher.AEAD) { c.Seal(buf[:0], nonce, buf[116:216], nil) },
		} {
			if want, got := panicOf(func() { use(ref) }), panicOf(func() { use(a) }); got != "" || want != "" {
				t.Errorf("%s: %q, crypto/cipher says %q", name, got, want)
			}
		}
	})
}

// TestKeys: other key sizes are refused with crypto/aes's error, and many keys work: the schedules are right for more than one.
func TestKeys(t *testing.T) {
	for _, n := range []int{0, 15, 17, 24, 33} {
		var size aes.KeySizeError
		if _, err := New(make([]byte, n), Auto); !errors.As(err, &size) || int(size) != n {
			t.Errorf("key of %d bytes: %v", n, err)
		}
	}
	r := random(3)
	nonce, plain := take(r, NonceSize), take(r, 1200)
	for _, i := range Available() {
		for n := range 400 {
			key := take(r, 16+16*(n%2))
			if !bytes.Equal(newAEAD(t, key, i).Seal(nil, nonce, plain, nil), reference(t, key).Seal(nil, nonce, plain, nil)) {
				t.Fatalf("%v: key %x", i, key)
			}
		}
	}
}

// TestNoAllocation: neither sealing, nor opening, nor refusing allocates.
func TestNoAllocation(t *testing.T) {
	each(t, func(t *testing.T, a *AEAD, _ cipher.AEAD, r *rand.ChaCha8) {
		nonce, aad, plain := take(r, NonceSize), take(r, 5), take(r, 16384)
		dst, back := make([]byte, 0, 17000), make([]byte, 0, 17000)
		parts := [][]byte{plain[:20], plain[20:9000], plain[9000:]}
		for name, f := range map[string]func(){
			"seal": func() { dst = a.Seal(dst[:0], nonce, plain, aad) },
			"open": func() { _, _ = a.Open(back, nonce, dst, aad) },
			"vec":  func() { a.SealVec(back, nonce, aad, parts, 23) },
		} {
			if name == "open" {
				dst = a.Seal(dst[:0], nonce, plain, aad)
			}
			if n := testing.AllocsPerRun(20, f); n != 0 {
				t.Errorf("%s: %v allocations", name, n)
			}
		}
	})
}

// TestWipe: the keys are gone, and a second time does nothing. Whoever uses it then is told, and no text gets out.
func TestWipe(t *testing.T) {
	for _, i := range Available() {
		a := newAEAD(t, make([]byte, 16), i)
		k := a.keys
		a.Wipe()
		a.Wipe()
		if k != nil && *k != (keys{}) {
			t.Errorf("%v: keys are left", i)
		}
		if a.keys != nil || a.std != nil {
			t.Errorf("%v: still usable", i)
		}
		nonce, dst := make([]byte, NonceSize), make([]byte, 0, 100)
		for name, use := range map[string]func(){
			"seal":  func() { a.Seal(dst, nonce, []byte("text"), nil) },
			"open":  func() { _, _ = a.Open(dst, nonce, make([]byte, 20), nil) },
			"parts": func() { a.SealVec(dst, nonce, nil, [][]byte{[]byte("te"), []byte("xt")}, 23) },
		} {
			if got := panicOf(use); got != wiped || bytes.Count(dst[:100], []byte{0}) != 100 {
				t.Errorf("%v: %s after Wipe: panic %q, output %q", i, name, got, dst[:30])
			}
		}
	}
}
