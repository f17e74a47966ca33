package framer

import (
	"errors"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestMaxInflated: a smaller bound holds to the byte, whether the frame tells its size or not.
func TestMaxInflated(t *testing.T) {
	for _, bound := range []int{1024, 100_000, MaxFrame} {
		z, err := newInflater(bound)
		if err != nil {
			t.Fatal(err)
		}
		defer z.Release()
		for _, n := range []int{bound, bound + 1} {
			for _, single := range []bool{true, false} {
				enc, err := zstd.NewWriter(nil, zstd.WithSingleSegment(single), zstd.WithWindowSize(1024))
				if err != nil {
					t.Fatal(err)
				}
				out, err := z.Inflate(enc.EncodeAll(make([]byte, n), nil))
				var e *Error
				switch {
				case n == bound && (err != nil || len(out) != n):
					t.Errorf("bound %d: %d bytes, %v", bound, len(out), err)
				case n > bound && (!errors.As(err, &e) || e.Why != DecompressOverflow):
					t.Errorf("bound %d, payload %d: %v, want decompress_overflow", bound, n, err)
				}
			}
		}
	}
	for _, n := range []int{-1, 1023, MaxInflated + 1} {
		if _, err := NewEndpoint(nullHandler{}, Options{MaxInflated: n}); err == nil {
			t.Errorf("MaxInflated %d is accepted", n)
		}
	}
	e, err := NewEndpoint(nullHandler{}, Options{MaxInflated: 4096})
	if err != nil {
		t.Fatal(err)
	}
	if z, err := e.z.get(); err != nil || z.max != 4096 {
		t.Errorf("the endpoint's decompressors have a bound of %d, %v", z.max, err)
	}
}

type nullHandler struct{}

func (nullHandler) OnOpen(*Session)          {}
func (nullHandler) OnFrame(*Session, *Frame) {}
func (nullHandler) OnClose(*Session, error)  {}
