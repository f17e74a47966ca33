package aesgcm

import (
	"bytes"
	"crypto/cipher"
	"fmt"
	"math/rand/v2"
	"testing"
)

// split cuts b into parts at the given lengths; the last one is what is left.
func split(b []byte, lengths ...int) [][]byte {
	var parts [][]byte
	for _, n := range lengths {
		n = min(max(n, 0), len(b))
		parts = append(parts, b[:n:n])
		b = b[n:]
	}
	return append(parts, b)
}

// checkVec compares SealVec over parts with Seal over the joined text.
func checkVec(t *testing.T, a *AEAD, ref cipher.AEAD, r *rand.ChaCha8, parts [][]byte) {
	t.Helper()
	nonce, aad := take(r, NonceSize), take(r, 5)
	inner := append(bytes.Join(parts, nil), 23)
	want := ref.Seal([]byte("head"), nonce, inner, aad)
	dst := newGuarded(5, len(want))
	got := a.SealVec(append(dst.inner[:0], "head"...), nonce, aad, parts, 23)
	if !bytes.Equal(got, want) || !dst.intact() {
		var lengths []int
		for _, p := range parts {
			lengths = append(lengths, len(p))
		}
		t.Fatalf("parts %v: intact %v", lengths, dst.intact())
	}
	if !bytes.Equal(bytes.Join(parts, nil), inner[:len(inner)-1]) {
		t.Fatal("a part was written to")
	}
}

// TestSealVecSplits: wherever the parts meet, the record is that of the joined text.
func TestSealVecSplits(t *testing.T) {
	each(t, func(t *testing.T, a *AEAD, ref cipher.AEAD, r *rand.ChaCha8) {
		for _, n := range []int{0, 1, 63, 511, 512, 2047, 2048, 2559, 4096, 16384} {
			plain := take(r, n)
			for _, parts := range [][][]byte{nil, {}, {nil}, {{}, plain, nil}, {nil, plain}, {plain[:min(n, 20)], nil}, split(plain, 1), split(plain, 16), split(plain, 0, 20, 0),
				split(plain, n-1), split(plain, n/2), split(plain, 512), split(plain, 511), split(plain, 513, 2048), split(plain, 1024, 1, 1024),
				split(plain, 16, n-40), split(plain, 3, 3, 3, 3, 2000, 3, 3, 3)} {
				checkVec(t, a, ref, r, parts)
			}
		}
		steps := 3000
		if raceEnabled {
			steps = 200
		}
		rnd := rand.New(r)
		for range steps {
			plain := take(r, rnd.IntN(6000))
			var lengths []int
			for range rnd.IntN(12) {
				lengths = append(lengths, rnd.IntN(1+rnd.IntN(2500)))
			}
			checkVec(t, a, ref, r, split(plain, lengths...))
		}
	})
}

// TestSealVecHeads: a short first part and a second one, around every length that matters to either.
func TestSealVecHeads(t *testing.T) {
	step := 1
	if raceEnabled {
		step = 7
	}
	each(t, func(t *testing.T, a *AEAD, ref cipher.AEAD, r *rand.ChaCha8) {
		for head := 0; head <= 66; head += step {
			for _, total := range []int{63, 64, 65, 127, 128, 511, 512, 513, 1023, 1024, 1600} {
				for _, n := range []int{head, head + 1, max(head, total-1), max(head, total), total + head} {
					plain := take(r, n)
					checkVec(t, a, ref, r, [][]byte{bytes.Clone(plain[:head]), bytes.Clone(plain[head:])})
				}
			}
		}
	})
}

// TestSealVecEveryCut: a record of two parts, cut at every byte.
func TestSealVecEveryCut(t *testing.T) {
	step := 1
	if raceEnabled {
		step = 11
	}
	each(t, func(t *testing.T, a *AEAD, ref cipher.AEAD, r *rand.ChaCha8) {
		plain := take(r, 3700)
		for cut := 0; cut <= len(plain); cut += step {
			checkVec(t, a, ref, r, split(plain, cut))
		}
	})
}

// TestSealVecMisuse: overlaps and a wrong nonce panic, whichever part it is.
func TestSealVecMisuse(t *testing.T) {
	each(t, func(t *testing.T, a *AEAD, _ cipher.AEAD, r *rand.ChaCha8) {
		buf, nonce, part := make([]byte, 300), take(r, NonceSize), take(r, 50)
		for name, use := range map[string]struct {
			f    func()
			want string
		}{
			"nonce":           {func() { a.SealVec(nil, nonce[:8], nil, nil, 23) }, badNonce},
			"in place":        {func() { a.SealVec(buf[:0], nonce, nil, [][]byte{buf[:50]}, 23) }, badOverlap},
			"second part":     {func() { a.SealVec(buf[:0], nonce, nil, [][]byte{part, buf[70:74]}, 23) }, badOverlap},
			"additional data": {func() { a.SealVec(buf[:0], nonce, buf[60:65], [][]byte{part}, 23) }, badAAD},
		} {
			if got := panicOf(use.f); got != use.want {
				t.Errorf("%s: %q", name, got)
			}
		}
		if got := panicOf(func() { a.SealVec(buf[:5], nonce, buf[:5], [][]byte{part, buf[80:88]}, 23) }); got != "" {
			t.Errorf("parts and header beside the output: %q", got)
		}
	})
}

// ExampleAEAD_SealVec seals a record of two parts behind its header, which is the additional data.
func ExampleAEAD_SealVec() {
	a, err := New(make([]byte, 16), Auto)
	if err != nil {
		fmt.Println(err)
		return
	}
	parts := [][]byte{[]byte("a frame's header, "), []byte("and its payload")}
	record := append(make([]byte, 0, 100), 23, 3, 3, 0, 18+15+1+16)
	record = a.SealVec(record, make([]byte, NonceSize), record, parts, 23)
	inner, err := a.Open(nil, make([]byte, NonceSize), record[5:], record[:5])
	fmt.Printf("%s, type %d, %v\n", inner[:len(inner)-1], inner[len(inner)-1], err)
	// Output: a frame's header, and its payload, type 23, <nil>
}
