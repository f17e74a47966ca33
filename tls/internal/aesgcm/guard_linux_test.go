package aesgcm

import (
	"bytes"
	"crypto/cipher"
	"math/rand/v2"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// fenced is memory with an inaccessible page directly before and behind it.
type fenced struct{ all, usable []byte }

func newFenced(t *testing.T, pages int) fenced {
	t.Helper()
	page := unix.Getpagesize()
	all, err := unix.Mmap(-1, 0, (pages+2)*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Skipf("no memory to map: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Munmap(all); err != nil {
			t.Error(err)
		}
	})
	for _, guard := range [][]byte{all[:page], all[(pages+1)*page:]} {
		if err := unix.Mprotect(guard, unix.PROT_NONE); err != nil {
			t.Skipf("pages cannot be protected: %v", err)
		}
	}
	return fenced{all, all[page : (pages+1)*page]}
}

// first and last are n bytes that touch a fence.
func (f fenced) first(n int) []byte { return f.usable[:n:n] }
func (f fenced) last(n int) []byte {
	b := f.usable[len(f.usable)-n:]
	return b[:n:n]
}

// TestBounds: with source, destination, nonce and additional data against inaccessible pages, at their start or their end, nothing
// outside is read or written: that would be a fault which ends the process.
func TestBounds(t *testing.T) {
	src, dst, small, tiny, apart := newFenced(t, 5), newFenced(t, 5), newFenced(t, 1), newFenced(t, 1), newFenced(t, 1)
	places := []func(fenced, int) []byte{fenced.first, fenced.last}
	step := 1
	if raceEnabled {
		step = 7
	}
	var sizes []int
	for n := 0; n <= 1100; n += step {
		sizes = append(sizes, n)
	}
	sizes = append(sizes, 2047, 2048, 2049, 2560, 4095, 4097, 16383, 16384, 16385)
	each(t, func(t *testing.T, a *AEAD, ref cipher.AEAD, r *rand.ChaCha8) {
		for _, n := range sizes {
			for _, place := range places {
				text, aad, nonce := place(src, n), place(small, n%20), place(tiny, NonceSize)
				r.Read(text)
				r.Read(aad)
				r.Read(nonce)
				plain := bytes.Clone(text)
				want, wantVec := ref.Seal(nil, nonce, text, aad), ref.Seal(nil, nonce, append(bytes.Clone(text), 23), aad)
				if got := a.Seal(place(dst, n+Overhead)[:0], nonce, text, aad); !bytes.Equal(got, want) {
					t.Fatalf("sealed %d bytes", n)
				}
				if got := a.SealVec(place(dst, n+1+Overhead)[:0], nonce, aad, [][]byte{text}, 23); !bytes.Equal(got, wantVec) {
					t.Fatalf("sealed %d bytes and a type", n)
				}
				cut := n / 3
				if got := a.SealVec(place(dst, n+1+Overhead)[:0], nonce, aad, [][]byte{text[:cut], text[cut:]}, 23); !bytes.Equal(got, wantVec) {
					t.Fatalf("sealed %d bytes in two parts", n)
				}
				head := place(apart, min(n, []int{1, 16, 20, 63, 64, 65}[n%6]))
				copy(head, plain)
				text = place(src, n-len(head))
				copy(text, plain[len(head):])
				if got := a.SealVec(place(dst, n+1+Overhead)[:0], nonce, aad, [][]byte{head, text}, 23); !bytes.Equal(got, wantVec) {
					t.Fatalf("sealed %d bytes with a head of %d elsewhere", n, len(head))
				}
				sealed := place(src, n+Overhead)
				copy(sealed, want)
				if got, err := a.Open(place(dst, n)[:0], nonce, sealed, aad); err != nil || !bytes.Equal(got, plain) {
					t.Fatalf("opened %d bytes: %v", n, err)
				}
			}
		}
	})
}

// TestTooLarge: beyond what the block counter allows (SP 800-38D, 5.2.1.1) sealing panics and opening fails, as with crypto/cipher,
// before anything is touched: the memory is only an address.
func TestTooLarge(t *testing.T) {
	if strconv.IntSize < 64 {
		t.Skip("no such length here")
	}
	if raceEnabled {
		t.Skip("the race detector has no such memory")
	}
	bits := 36 // not a constant: this must compile for 32 bits too
	limit := 1<<bits - 32
	all, err := unix.Mmap(-1, 0, limit+4096, unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		t.Skipf("no addresses: %v", err)
	}
	defer func() {
		if err := unix.Munmap(all); err != nil {
			t.Error(err)
		}
	}()
	each(t, func(t *testing.T, a *AEAD, ref cipher.AEAD, r *rand.ChaCha8) {
		nonce := take(r, NonceSize)
		for name, f := range map[string]func(){
			"seal":           func() { a.Seal(nil, nonce, all[:limit+1], nil) },
			"crypto/cipher":  func() { ref.Seal(nil, nonce, all[:limit+1], nil) },
			"a part":         func() { a.SealVec(nil, nonce, nil, [][]byte{all[:limit]}, 23) }, // and the content type
			"parts together": func() { a.SealVec(nil, nonce, nil, [][]byte{all[:limit/2], nil, all[:limit/2]}, 23) },
		} {
			if got := panicOf(f); got != tooLarge {
				t.Errorf("%s: %q", name, got)
			}
		}
		for _, c := range []cipher.AEAD{a, ref} {
			if _, err := c.Open(nil, nonce, all[:limit+Overhead+1], nil); err == nil || err.Error() != ErrOpen.Error() {
				t.Errorf("opened: %v", err)
			}
		}
	})
}
