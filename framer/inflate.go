package framer

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Inflater decompresses COMP payloads within the bound of the seed (§3): at most MaxInflated bytes, or a smaller
// bound of the endpoint's (Options.MaxInflated), refused before any memory is taken where the frame says how large it is. Make it with NewInflater. One goroutine at a time.
type Inflater struct {
	dec *zstd.Decoder
	out []byte
	max int // bytes
}

// NewInflater makes a decompressor. Release must be called in the end.
func NewInflater() (*Inflater, error) { return newInflater(MaxInflated) }

// newInflater is NewInflater with a bound in bytes.
func newInflater(bound int) (*Inflater, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(uint64(bound)), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, fmt.Errorf("oap: zstd: %w", err)
	}
	return &Inflater{dec: dec, max: bound}, nil
}

// Release frees the decompressor.
func (z *Inflater) Release() { z.dec.Close() }

// Inflate decompresses one zstd frame. The result is valid until the next call. Errors are *Error: DecompressOverflow
// (413) above the bound, BadCompression (400) for anything else than exactly one sound frame with a window of at most
// 8 MiB; no bytes at all are an empty payload. At most the bound and a small constant are allocated, and nothing where the
// frame's headers tell that it will be refused. The buffer of the largest result is kept.
func (z *Inflater) Inflate(src []byte) ([]byte, error) {
	if len(src) == 0 {
		return nil, nil
	}
	size, err := inflatedBound(src, z.max)
	if err != nil {
		return nil, err
	}
	if cap(z.out) < size+inflateSlack {
		z.out = nil // let it go before the new one is made
		z.out = make([]byte, 0, size+inflateSlack)
	}
	out, err := z.dec.DecodeAll(src, z.out[:0])
	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), size == z.max && errors.Is(err, zstd.ErrFrameSizeExceeded):
		return nil, overflow(z.max)
	}
	return nil, badZstd(err.Error())
}

func overflow(bound int) *Error {
	return &Error{Why: DecompressOverflow, Detail: fmt.Sprintf("payload inflates to more than %d bytes", bound)}
}

// Constants of the zstd format (RFC 8878 §3.1.1.2).
const (
	zstdBlockHeader = 3
	zstdBlockMax    = 128 << 10
	zstdRaw         = 0
	zstdRLE         = 1
	zstdCompressed  = 2
	zstdChecksum    = 4
)

// badZstd is the error for a payload that is not one sound zstd frame.
func badZstd(what string) *Error { return &Error{Why: BadCompression, Detail: "zstd: " + what} }

// inflatedBound looks at the frame's header and walks its blocks without decoding them. It returns an upper bound of the
// size, at most bound, exact where the frame says it.
func inflatedBound(src []byte, bound int) (int, error) {
	var h zstd.Header
	if err := h.Decode(src); err != nil {
		return 0, badZstd(err.Error())
	}
	switch {
	case h.Skippable:
		return 0, badZstd("skippable frame")
	case h.HasFCS && h.FrameContentSize > uint64(bound):
		return 0, overflow(bound)
	case h.WindowSize > maxWindow:
		return 0, badZstd(fmt.Sprintf("window of %d bytes, at most %d are allowed", h.WindowSize, maxWindow))
	case h.DictionaryID != 0:
		return 0, badZstd("dictionary")
	}
	rest, least, most, err := walkBlocks(src[h.HeaderSize:], bound)
	if err != nil {
		return 0, err
	}
	tail := 0
	if h.HasCheckSum {
		tail = zstdChecksum
	}
	switch size := int64(h.FrameContentSize); {
	case len(rest) != tail:
		return 0, badZstd("not exactly one frame")
	case h.HasFCS && (size < least || size > most):
		return 0, badZstd("content size contradicts the blocks")
	case h.HasFCS:
		return int(size), nil
	}
	return int(min(most, int64(bound))), nil
}

// walkBlocks steps over the blocks at the start of src, up to the last one, and returns what follows it and bounds of
// what they decode to: raw and run-length blocks tell their size, compressed ones do not.
func walkBlocks(src []byte, bound int) (rest []byte, least, most int64, err error) {
	for last := false; !last; {
		if len(src) < zstdBlockHeader {
			return nil, 0, 0, badZstd("truncated")
		}
		v := int(src[0]) | int(src[1])<<8 | int(src[2])<<16
		last = v&1 != 0
		kind, size := v>>1&3, v>>3
		take := size
		if size > zstdBlockMax {
			return nil, 0, 0, badZstd("block above 128 KiB")
		}
		switch kind {
		case zstdRaw:
			least, most = least+int64(size), most+int64(size)
		case zstdRLE:
			least, most = least+int64(size), most+int64(size)
			take = 1
		case zstdCompressed:
			most += zstdBlockMax
		default:
			return nil, 0, 0, badZstd("reserved block type")
		}
		if len(src) < zstdBlockHeader+take {
			return nil, 0, 0, badZstd("truncated")
		}
		src = src[zstdBlockHeader+take:]
		if least > int64(bound) {
			return nil, 0, 0, overflow(bound)
		}
	}
	return src, least, most, nil
}

// inflaters is a small free list shared by the sessions of an endpoint. Its lock is taken for compressed frames only.
type inflaters struct {
	max  int // bytes; see Options.MaxInflated
	mu   sync.Mutex
	free []*Inflater
}

func (p *inflaters) get() (*Inflater, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		z := p.free[n-1]
		p.free = p.free[:n-1]
		return z, nil
	}
	return newInflater(p.max)
}

// put takes an inflater back; one that has grown large, or one too many, is freed.
func (p *inflaters) put(z *Inflater) {
	if cap(z.out) > keepInflated {
		z.out = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) == maxInflaters {
		z.Release()
		return
	}
	p.free = append(p.free, z)
}
