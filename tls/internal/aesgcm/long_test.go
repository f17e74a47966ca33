package aesgcm

import (
	"bytes"
	"crypto/cipher"
	"math/rand/v2"
	"testing"
)

// The tests here cross multiples of 256 blocks, 4 KiB: AVX512 prepares counters for that many, see asm/counters512.go.

const (
	runBatches = 256 * blockSize / vecBatch // between two multiples of 256 blocks
	longest    = 40 << 10                   // up to which every number of batches is tried
)

// longLengths are those around every number of batches up to longest, then some beyond 64 KiB, and one that carries into the third byte
// of the block counter.
func longLengths() []int {
	step := 1
	if raceEnabled {
		step = 5 // odd: no number of batches modulo runBatches is left out
	}
	var all []int
	for k := 0; k <= longest; k += vecBatch * step {
		all = append(all, max(k-1, 0), k, k+1, k+16*31+3)
	}
	for _, k := range []int{64 << 10, 68 << 10, 128 << 10, 1<<20 + 2048} {
		all = append(all, k-33, k, k+97)
	}
	return all
}

// TestLongRecords: records of many batches are what crypto/cipher makes, in one piece, in place, behind a head, and opened again. That
// is more than TLS has in a record, but not more than the package takes.
func TestLongRecords(t *testing.T) {
	each(t, func(t *testing.T, a *AEAD, ref cipher.AEAD, r *rand.ChaCha8) {
		all := longLengths()
		text, nonce, aad := take(r, all[len(all)-1]), take(r, NonceSize), take(r, 5)
		sealed, opened := make([]byte, 0, len(text)+Overhead), make([]byte, 0, len(text)+Overhead)
		for i, n := range all {
			nonce[i%NonceSize]++
			plain := text[len(text)-n:]
			want := ref.Seal(nil, nonce, plain, aad)
			if got := a.Seal(sealed, nonce, plain, aad); !bytes.Equal(got, want) {
				t.Fatalf("%d bytes: sealed elsewhere: wrong from byte %d", n, firstDifference(got, want))
			}
			if got := a.Seal(opened, nonce, append(opened, plain...), aad); !bytes.Equal(got, want) {
				t.Fatalf("%d bytes: sealed in place: wrong from byte %d", n, firstDifference(got, want))
			}
			if got, err := a.Open(opened, nonce, want, aad); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%d bytes: opened elsewhere: %v", n, err)
			}
			if n > 0 {
				// The last byte is the content type then.
				head := min(1+i%70, n-1)
				if got := a.SealVec(sealed, nonce, aad, [][]byte{plain[:head], plain[head : n-1]}, plain[n-1]); !bytes.Equal(got, want) {
					t.Fatalf("%d bytes: sealed behind a head of %d: wrong from byte %d", n, head, firstDifference(got, want))
				}
			}
			if got, err := a.Open(want[:0], nonce, want, aad); err != nil || !bytes.Equal(got, plain) {
				t.Fatalf("%d bytes: opened in place: %v", n, err)
			}
		}
	})
}

// firstDifference is the index of the first byte that a and b do not share.
func firstDifference(a, b []byte) int {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// TestLongParts: a record in several calls of the assembly, of any number of batches each, from any batch of a run on. The first part
// sets where the second one starts, the second where the rest does.
func TestLongParts(t *testing.T) {
	step := 1
	if raceEnabled {
		step = 5
	}
	each(t, func(t *testing.T, a *AEAD, ref cipher.AEAD, r *rand.ChaCha8) {
		rest := (runBatches+3)*vecBatch + 211
		text := take(r, (2*runBatches+4)*vecBatch+rest)
		for first := range runBatches {
			for second := 1; second <= runBatches+4; second += step {
				plain := text[:vecBatch*(first+second)+rest]
				checkVec(t, a, ref, r, [][]byte{plain[:vecBatch*first], plain[vecBatch*first : vecBatch*(first+second)], plain[vecBatch*(first+second):]})
			}
		}
	})
}
