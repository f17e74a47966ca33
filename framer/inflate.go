package framer

import (
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// Inflater decompresses COMP payloads within the bound of the seed (§3): at most MaxInflated bytes, refused before any
// memory is taken where the frame says how large it is. Make it with NewInflater. One goroutine at a time.
type Inflater struct {
	dec *zstd.Decoder
	out []byte
}

// NewInflater makes a decompressor. Release must be called in the end.
func NewInflater() (*Inflater, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxInflated), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("oap: zstd: %w", err)
	}
	return &Inflater{dec: dec}, nil
}

// Release frees the decompressor.
func (z *Inflater) Release() { z.dec.Close() }

// Inflate decompresses one zstd frame. The result is valid until the next call. Errors are *Error: DecompressOverflow
// (413) above the bound, BadCompression (400) for anything else than exactly one sound frame with a window of at most
// 8 MiB. At most the bound and a small constant are allocated.
func (z *Inflater) Inflate(src []byte) ([]byte, error) {
	if len(src) == 0 {
		return nil, nil
	}
	size, err := inflatedBound(src)
	if err != nil {
		return nil, err
	}
	if cap(z.out) < size {
		z.out = nil // let it go before the new one is made
		z.out = make([]byte, 0, size)
	}
	out, err := z.dec.DecodeAll(src, z.out[:0:size])
	switch {
	case err == nil:
		return out, nil
	case errors.Is(err, zstd.ErrDecoderSizeExceeded) && size >= MaxInflated:
		return nil, overflow(-1)
	}
	return nil, &Error{Why: BadCompression, Detail: "zstd: " + err.Error()}
}

func overflow(size int64) *Error {
	if size < 0 {
		return &Error{Why: DecompressOverflow, Detail: fmt.Sprintf("payload inflates to more than %d bytes", MaxInflated)}
	}
	return &Error{Why: DecompressOverflow, Detail: fmt.Sprintf("payload inflates to %d bytes, at most %d are allowed", size, MaxInflated)}
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

// inflatedBound looks at the frame's header and walks its blocks without decoding them. It returns an upper bound of the
// size, at most MaxInflated, exact where the frame says it.
func inflatedBound(src []byte) (int, error) {
	bad := func(what string) (int, error) { return 0, &Error{Why: BadCompression, Detail: "zstd: " + what} }
	var h zstd.Header
	if err := h.Decode(src); err != nil {
		return bad(err.Error())
	}
	switch {
	case h.Skippable:
		return bad("skippable frame")
	case h.HasFCS && h.FrameContentSize > MaxInflated:
		return 0, overflow(int64(min(h.FrameContentSize, 1<<62)))
	case h.WindowSize > maxWindow:
		return bad(fmt.Sprintf("window of %d bytes, at most %d are allowed", h.WindowSize, maxWindow))
	case h.DictionaryID != 0:
		return bad("dictionary")
	}
	rest := src[h.HeaderSize:]
	var exact, most int64
	for last := false; !last; {
		if len(rest) < zstdBlockHeader {
			return bad("truncated")
		}
		v := int(rest[0]) | int(rest[1])<<8 | int(rest[2])<<16
		last = v&1 != 0
		kind, size := v>>1&3, v>>3
		take := size
		switch kind {
		case zstdRaw:
			exact += int64(size)
		case zstdRLE:
			exact += int64(size)
			take = 1
		case zstdCompressed:
			most += zstdBlockMax
		default:
			return bad("reserved block type")
		}
		if size > zstdBlockMax {
			return bad("block above 128 KiB")
		}
		if len(rest) < zstdBlockHeader+take {
			return bad("truncated")
		}
		rest = rest[zstdBlockHeader+take:]
		if exact > MaxInflated {
			return 0, overflow(-1)
		}
	}
	tail := 0
	if h.HasCheckSum {
		tail = zstdChecksum
	}
	if len(rest) != tail {
		return bad("not exactly one frame")
	}
	if h.HasFCS {
		return int(h.FrameContentSize), nil
	}
	return int(min(exact+most, MaxInflated)), nil
}

// inflaters is a small free list shared by the sessions of an endpoint. Its lock is taken for compressed frames only.
type inflaters struct {
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
	return NewInflater()
}

// put takes an inflater back; one that has grown large, or one too many, is freed.
func (p *inflaters) put(z *Inflater) {
	if cap(z.out) > MaxFrame {
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
