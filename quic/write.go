package quic

import (
	"errors"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/reactor"
)

// writer is the output side of a stream. quic-go takes output in two ways: TryWriteAll never blocks, but copies it, into memory
// of its own that grows with the size; Write sends from where the bytes are, and blocks until they are in packets. So small
// output goes the first way, and what is larger, or finds the window full, waits in up to two chunks, which a goroutine writes
// the second way. It exists only while there are chunks. The loop calls the methods; mu guards what the goroutine shares.
type writer struct {
	mu      sync.Mutex
	queue   [2]*chunk // [0] is being written when running
	n       int       // chunks in queue
	running bool      // the goroutine exists
	wanting bool      // the loop waits for WriteReady
	fin     bool      // our end of stream follows the last chunk
	err     error     // output has ended
	fn      func()    // the goroutine's function, made once
}

// chunk is output on its way.
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
	case w.n == 0 && !w.running && len(p) <= tryWrite:
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
	if !w.running {
		w.start(s)
	}
	return taken, nil
}

// room is a chunk with room in it that is not being written; nil when there is none.
func (w *writer) room(s *stream, n int) *chunk {
	first := 0
	if w.running {
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

// start has the goroutine write.
func (w *writer) start(s *stream) {
	w.running = true
	if w.fn == nil {
		w.fn = s.writeOut
	}
	s.c.ep.wg.Add(1)
	go w.fn()
}

// writeOut is the goroutine.
func (s *stream) writeOut() {
	defer s.c.ep.wg.Done()
	w := &s.out
	w.mu.Lock()
	for w.n > 0 && w.err == nil {
		k := w.queue[0]
		w.mu.Unlock()
		_, err := s.qs.Write(k.b[:k.n])
		w.mu.Lock()
		k.release()
		w.queue[0], w.queue[1] = w.queue[1], nil
		w.n--
		if err != nil {
			w.err = s.c.writeError(err)
		}
		if w.wanting {
			w.wanting = false
			w.mu.Unlock()
			s.rc.Ready(reactor.WriteReady)
			w.mu.Lock()
		}
	}
	w.drop()
	w.running = false
	failed := w.err != nil
	fin := w.fin && !failed
	w.mu.Unlock()
	switch {
	case failed:
		s.qs.CancelWrite(CodeWriteTimeout.stream()) // does nothing unless the deadline of end has passed
	case fin:
		_ = s.qs.Close()
	}
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
	wait := w.running
	failed := w.err != nil
	w.mu.Unlock()
	if !wait && !failed {
		_ = s.qs.Close()
	}
}

// end gives the direction up: at once, or, when the end of stream is due, after what was taken before it.
func (w *writer) end(s *stream) {
	w.mu.Lock()
	fin, wait, failed := w.fin, w.running, w.err != nil
	w.mu.Unlock()
	switch {
	case !fin || failed:
		s.qs.CancelWrite(s.reset.stream())
	case wait:
		_ = s.qs.SetWriteDeadline(time.Now().Add(lateWrite))
	}
}
