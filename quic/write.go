package quic

import (
	"errors"
	"io"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/reactor"
)

// writer is the output side of a stream. quic-go takes output in two ways: TryWriteAll never blocks, but copies it, into memory
// that it allocates beyond a packet's size; Write sends from where the bytes are, and blocks until they are in packets. So small output goes the first
// way, and what is larger, or finds the window full, waits in up to two chunks for the connection's sender, which writes them
// the second way. The loop calls the methods; mu guards what the sender's goroutines share.
type writer struct {
	mu      sync.Mutex
	queue   [2]*chunk // the first is being written while writing
	n       int       // chunks in queue
	queued  bool      // the sender has the stream, or a goroutine of it
	writing bool      // a goroutine is inside Write
	wanting bool      // the loop waits for WriteReady
	fin     bool      // our end of stream follows the last chunk
	err     error     // output has ended
}

// chunk is output or input on its way.
type chunk struct {
	b   []byte // of a fixed size
	n   int
	own *sync.Pool
}

// chunkPools are an endpoint's free chunks.
type chunkPools struct{ small, large sync.Pool }

// get returns an empty chunk with room for n bytes, or as many as one has.
func (p *chunkPools) get(n int) *chunk {
	own, size := &p.large, chunkSize
	if n <= smallChunk {
		own, size = &p.small, smallChunk
	}
	if c, ok := own.Get().(*chunk); ok {
		return c
	}
	return &chunk{b: make([]byte, size), own: own}
}

func (c *chunk) release() {
	c.n = 0
	c.own.Put(c)
}

// write takes what it can of p.
func (w *writer) write(s *stream, p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.err != nil:
		return 0, w.err
	case !w.queued && len(p) <= tryWrite:
		err := s.qs.TryWriteAll(p)
		if err == nil {
			return len(p), nil
		}
		if !errors.Is(err, quicgo.ErrWouldBlock) {
			w.err = s.c.writeError(err)
			return 0, w.err
		}
	}
	taken := 0
	for len(p) > 0 {
		k := w.room(s, len(p))
		if k == nil {
			w.wanting = true
			break
		}
		m := copy(k.b[k.n:], p)
		k.n += m
		p = p[m:]
		taken += m
	}
	if taken == 0 {
		return 0, reactor.ErrWouldBlock
	}
	if !w.queued {
		w.queued = true
		s.c.send.enqueue(s)
	}
	return taken, nil
}

// room is a chunk with room in it that is not being written; nil when there is none.
func (w *writer) room(s *stream, n int) *chunk {
	first := 0
	if w.writing {
		first = 1
	}
	if w.n > first {
		if k := w.queue[w.n-1]; k.n < len(k.b) {
			return k
		}
	}
	if w.n == len(w.queue) {
		return nil
	}
	k := s.c.ep.chunks.get(n)
	w.queue[w.n] = k
	w.n++
	return k
}

// writeNext writes the first chunk, on a goroutine of the sender's, and returns whether there is more.
func (s *stream) writeNext() (more bool) {
	w := &s.out
	w.mu.Lock()
	k := w.queue[0]
	w.writing = true
	w.mu.Unlock()
	_, err := s.qs.Write(k.b[:k.n])
	w.mu.Lock()
	k.release()
	w.queue[0], w.queue[1] = w.queue[1], nil
	w.n--
	w.writing = false
	if err != nil {
		w.err = s.c.writeError(err)
		w.drop()
	}
	wanting := w.wanting
	w.wanting = false
	more = w.n > 0
	w.queued = more
	fin := w.fin && !more && err == nil
	w.mu.Unlock()
	switch {
	case err != nil:
		s.qs.CancelWrite(CodeWriteTimeout.stream()) // does nothing unless the deadline of end has passed
	case fin:
		_ = s.qs.Close()
	}
	if wanting {
		s.rc.Ready(reactor.WriteReady)
	}
	return more
}

// drop forgets chunks that will not be written.
func (w *writer) drop() {
	for i := range w.n {
		w.queue[i].release()
		w.queue[i] = nil
	}
	w.n = 0
}

// finish sends our end of stream after everything taken.
func (w *writer) finish(s *stream) {
	w.mu.Lock()
	w.fin = true
	now := !w.queued && w.err == nil
	w.mu.Unlock()
	if now {
		_ = s.qs.Close()
	}
}

// end gives the direction up: at once, or, when the end of stream is due, after what was taken before it.
func (w *writer) end(s *stream) {
	w.mu.Lock()
	fin, wait, failed := w.fin, w.queued, w.err != nil
	w.mu.Unlock()
	switch {
	case !fin || failed:
		s.qs.CancelWrite(s.reset.stream())
	case wait:
		_ = s.qs.SetWriteDeadline(time.Now().Add(lateWrite))
	}
}

// writeError is streamError for output: there is no clean end of it that the peer decides on.
func (c *Conn) writeError(err error) error {
	if err = c.streamError(err); err == io.EOF {
		return errGone
	}
	return err
}
