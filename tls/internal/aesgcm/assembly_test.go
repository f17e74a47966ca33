//go:build amd64 && !purego

package aesgcm

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"os"
	"regexp"
	"strconv"
	"testing"
	"unsafe"

	"github.com/ron-transport/ron-transport/tls/internal/aesgcm/registers"
)

// TestLayout: the generator's offsets are those of the Go structs.
func TestLayout(t *testing.T) {
	source, err := os.ReadFile("asm/layout.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uintptr{
		"offRoundKeys": unsafe.Offsetof(keys{}.roundKeys),
		"offRounds":    unsafe.Offsetof(keys{}.rounds),
		"offPowers":    unsafe.Offsetof(keys{}.powers),
		"powers":       powers,
		"offAcc":       unsafe.Offsetof(work{}.acc),
		"offBase":      unsafe.Offsetof(work{}.base),
		"offAAD":       unsafe.Offsetof(work{}.aad),
		"offTotal":     unsafe.Offsetof(work{}.total),
		"offCounter":   unsafe.Offsetof(work{}.counter),
		"offTag":       unsafe.Offsetof(work{}.tag),
		"offTail":      unsafe.Offsetof(work{}.tail),
		"offAADBlock":  unsafe.Offsetof(work{}.aadBlock),
	} {
		m := regexp.MustCompile(`(?m)^\s*` + name + `\s*=\s*(\d+)`).FindSubmatch(source)
		if m == nil {
			t.Errorf("%s is not there", name)
			continue
		}
		if got, _ := strconv.Atoi(string(m[1])); uintptr(got) != want {
			t.Errorf("%s is %d in the generator, %d in Go", name, got, want)
		}
	}
	if size := unsafe.Sizeof(keys{}); size != 1472 {
		t.Errorf("keys has %d bytes; the package's documentation says 1472", size)
	}
	if lowered := unsafe.Offsetof(keys{}.powers) + (powers+2)*blockSize; lowered != unsafe.Offsetof(keys{}.lowered) {
		t.Errorf("offLowered is %d in the generator, %d in Go", lowered, unsafe.Offsetof(keys{}.lowered))
	}
}

// TestNoStackFrame: no function has a frame, so none can leave anything on the stack: arguments are pointers and lengths.
func TestNoStackFrame(t *testing.T) {
	source, err := os.ReadFile("aesgcm_amd64.s")
	if err != nil {
		t.Fatal(err)
	}
	frames := regexp.MustCompile(`(?m)^TEXT ·(\w+)\(SB\), NOSPLIT(?:\|\w+)*, \$(\d+)-`).FindAllSubmatch(source, -1)
	if n := bytes.Count(source, []byte("\nTEXT ")); n < 9 || len(frames) != n {
		t.Fatalf("%d functions, %d of them understood", n, len(frames))
	}
	for _, f := range frames {
		if string(f[2]) != "0" {
			t.Errorf("%s has a frame of %s bytes", f[1], f[2])
		}
	}
	if spill := regexp.MustCompile(`\(SP\)`).Find(source); spill != nil {
		t.Error("something is stored on the stack")
	}
}

// TestRegistersWiped: nothing of keys or texts is left in a vector register, nor what was there before. The text has 4 bytes behind the
// last whole register: so few are copied through general registers. (Go's own copy may leave up to 31 bytes of a text in vector ones.)
func TestRegistersWiped(t *testing.T) {
	r := random(5)
	// The last 4 bytes of the text are behind whole registers of AVX2. With more than 15 there Go copies them with a vector register, and
	// leaves them in it: they are text, and no key.
	key, nonce, aad, text := take(r, 32), take(r, NonceSize), take(r, 13), take(r, 5*vecBatch+324)
	dst := make([]byte, 3000)
	sealed := reference(t, key).Seal(nil, nonce, text, aad)
	for _, i := range Available() {
		count, fill, save := 32*64, registers.Fill512, registers.Save512
		if i == AVX2 {
			count, fill, save = 16*32, registers.Fill256, registers.Save256
		} else if i == Go {
			continue
		}
		a := newAEAD(t, key, i)
		for name, f := range map[string]func(w *work){
			"more": func(w *work) { a.sealMore(w, nonce, aad, dst, text[:5*vecBatch]) },
			"seal": func(w *work) { a.sealFinal(w, nonce, aad, dst, text, len(text), 0) },
			"head": func(w *work) {
				if n := len(text) - 1; !a.sealHeaded(w, nonce, aad, dst, text[:20], text[20:n], 23) {
					a.sealFinal(w, nonce, aad, dst, text, len(text), 0) // AVX2 has no such function
				}
			},
			"open":   func(w *work) { a.openFinal(w, nonce, aad, dst[:len(text)], sealed[:len(text)]) },
			"expand": func(*work) { expand256(a.keys.pointer(), &key[0]) },
			"hash":   func(w *work) { hashBlocks(a.keys.pointer(), w.pointer(), &text[0], 5) },
			"none":   func(*work) {},
		} {
			old, now := bytes.Repeat([]byte{0x5a}, count), make([]byte, count)
			wiped := false
			// The runtime may use registers in between, when it switches goroutines. That does not happen every time.
			for range 50 {
				var w work
				fill(&old[0])
				f(&w)
				save(&now[0])
				wiped = wiped || bytes.Count(now, []byte{0}) == count
			}
			if i == AVX512 && (name == "expand" || name == "hash") {
				// Those are 256-bit functions, which leave registers 16-31 alone.
				wiped = bytes.Count(now[16*64:], []byte{0x5a}) == count/2 && bytes.Count(now[:16*64], []byte{0}) == count/2
			}
			if wiped != (name != "none") {
				t.Errorf("%v: %s: wiped is %v", i, name, wiped)
			}
		}
	}
}

// TestCounterWrap: the block counter has 32 bits and never carries into the nonce. A record cannot get there, the functions can.
func TestCounterWrap(t *testing.T) {
	r := random(6)
	for _, size := range []int{16, 32} {
		key, nonce, text := take(r, size), take(r, NonceSize), take(r, 6*vecBatch+211)
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range Available() {
			if i == Go {
				continue
			}
			a := newAEAD(t, key, i)
			for _, base := range []uint64{0, 224, 1<<16 - 32, 1<<16 - 128, 1<<24 - 64, 1<<24 - 96, 1<<32 - 32, 1<<32 - 64, 1<<32 - 96, 1<<32 - 128} {
				want := bytes.Clone(text)
				for n := range want {
					counter := append(bytes.Clone(nonce), 0, 0, 0, 0)
					binary.BigEndian.PutUint32(counter[NonceSize:], uint32(base)+2+uint32(n/blockSize))
					if n%blockSize == 0 {
						stream := make([]byte, blockSize)
						block.Encrypt(stream, counter)
						for k := range want[n:min(n+blockSize, len(want))] {
							want[n+k] ^= stream[k]
						}
					}
				}
				got := make([]byte, len(text))
				w := work{base: base}
				a.sealFinal(&w, nonce, nil, got, text, len(text), 0)
				if !bytes.Equal(got, want) {
					t.Errorf("%v: base %#x: sealed", i, base)
				}
				w = work{base: base}
				if a.openFinal(&w, nonce, nil, got, want); !bytes.Equal(got, text) {
					t.Errorf("%v: base %#x: opened", i, base)
				}
				w = work{base: base}
				if a.sealMore(&w, nonce, nil, got, text[:6*vecBatch]); !bytes.Equal(got[:6*vecBatch], want[:6*vecBatch]) || w.base != base+192 {
					t.Errorf("%v: base %#x: sealed in parts", i, base)
				}
				if w.tag != (element{}) || w.counter != 0 {
					t.Errorf("%v: base %#x: sealMore leaves what depends on the key", i, base)
				}
			}
		}
	}
}
