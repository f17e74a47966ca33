package hostile

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/klauspost/compress/zstd"
)

// bombSize is what a bomb inflates to: eight times the bound of the protocol (8 MiB), and of the order of the memory that a server under a limit has.
const bombSize = 64 << 20

// flagComp says that a payload is compressed.
const flagComp = 0x40

// Bomb is a payload that inflates to more than the protocol allows.
type Bomb struct {
	Name    string
	Payload []byte
}

// Bombs are the kinds of bombs: those whose header says what they inflate to, those that do not, and those that lie.
func Bombs() ([]Bomb, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithWindowSize(8<<20))
	if err != nil {
		return nil, err
	}
	defer enc.Close()
	known := enc.EncodeAll(make([]byte, bombSize), nil)
	var unknown bytes.Buffer
	enc.Reset(&unknown)
	for range bombSize >> 20 {
		if _, err := enc.Write(make([]byte, 1<<20)); err != nil {
			return nil, err
		}
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	return []Bomb{{"size known", known}, {"size unknown", unknown.Bytes()}, {"runs", runs(bombSize)}, {"claims 8 MiB", claim(known, 8<<20)}}, nil
}

// runs is a frame of run-length blocks, which need three bytes and one for 128 KiB (RFC 8878, §3.1.1.2): nothing is smaller.
func runs(size int) []byte {
	const block = 128 << 10
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 13 << 3} // no content size; a window of 8 MiB
	for n := size / block; n > 0; n-- {
		v := block<<3 | 1<<1
		if n == 1 {
			v |= 1 // the last
		}
		b = append(b, byte(v), byte(v>>8), byte(v>>16), 0)
	}
	return b
}

// claim has a frame say that it inflates to size bytes only. The frame's own content size, four bytes, is where the encoder has put it.
func claim(frame []byte, size uint32) []byte {
	b := bytes.Clone(frame)
	at := bytes.Index(b, binary.LittleEndian.AppendUint32(nil, bombSize))
	if at > 0 && at < 16 {
		binary.LittleEndian.PutUint32(b[at:], size)
	}
	return b
}

// BombCounts is what came of them: answers by their code, 0 for none.
type BombCounts struct {
	Sent   uint64            `json:"sent"`
	Codes  map[uint16]uint64 `json:"answers_by_code"`
	First  string            `json:"first_error,omitempty"`
	Ratio  float64           `json:"inflates_to_times"` // the largest of all
	AtOnce int               `json:"at_once"`
}

// Bombardment sends bombs over TLS on many connections at once.
type Bombardment struct {
	Addr    string
	Conns   int           // at once
	Each    int           // rounds of all bombs on each connection
	Timeout time.Duration // for one answer
	TLS     *tls.Config
}

// Run sends all, and returns when all are answered, or ctx ends.
func (b *Bombardment) Run(ctx context.Context) (BombCounts, error) {
	bombs, err := Bombs()
	out := BombCounts{Codes: map[uint16]uint64{}, AtOnce: b.Conns}
	if err != nil {
		return out, err
	}
	for _, k := range bombs {
		out.Ratio = max(out.Ratio, bombSize/float64(len(k.Payload)))
	}
	var mu sync.Mutex // guards out
	var wg sync.WaitGroup
	for range b.Conns {
		wg.Go(func() {
			err := b.one(ctx, bombs, func(code uint16) {
				mu.Lock()
				defer mu.Unlock()
				out.Sent++
				out.Codes[code]++
			})
			mu.Lock()
			defer mu.Unlock()
			if err != nil && out.First == "" {
				out.First = err.Error()
			}
		})
	}
	wg.Wait()
	return out, ctx.Err()
}

// one is what one connection sends: the next bomb when the last is answered.
func (b *Bombardment) one(ctx context.Context, bombs []Bomb, count func(code uint16)) error {
	d := net.Dialer{Timeout: b.Timeout}
	raw, err := d.DialContext(ctx, "tcp", b.Addr)
	if err != nil {
		return err
	}
	conn := tls.Client(raw, b.TLS)
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	for i := range b.Each * len(bombs) {
		k := bombs[i%len(bombs)]
		f := Request(0, k.Payload)
		binary.BigEndian.PutUint16(f[6:], flagReq|flagComp)
		binary.BigEndian.PutUint64(f[30:], uint64(i+1))
		_ = conn.SetDeadline(time.Now().Add(b.Timeout))
		if _, err := conn.Write(f); err != nil {
			count(0)
			return fmt.Errorf("bomb %q: %w", k.Name, err)
		}
		code, err := answer(conn, uint64(i+1))
		count(code)
		if err != nil {
			return fmt.Errorf("the answer to bomb %q: %w", k.Name, err)
		}
	}
	return nil
}

// answer reads one frame, which is to be about the request of a number, and returns its code.
func answer(r io.Reader, corr uint64) (uint16, error) {
	head := make([]byte, HeaderLen)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, err
	}
	n := binary.BigEndian.Uint32(head)
	if n < HeaderLen || n > 1<<20 {
		return 0, fmt.Errorf("a frame of %d bytes", n)
	}
	if _, err := io.CopyN(io.Discard, r, int64(n)-HeaderLen); err != nil {
		return 0, err
	}
	if got := binary.BigEndian.Uint64(head[30:]); got != corr {
		return 0, fmt.Errorf("it is about request %d, not %d", got, corr)
	}
	return binary.BigEndian.Uint16(head[8:]), nil
}
