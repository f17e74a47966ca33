package quic

import (
	"runtime"
	"sync"

	"github.com/ron-transport/ron-transport/reactor"
)

// reader is the input side of a stream. quic-go has no way to ask whether a read would block, so a goroutine waits for the first
// byte with Peek, which needs no buffer. What to do then depends on how much comes at once. A little, it reads into a chunk of
// its own, gives that to the loop and waits for more, so that it runs once for each frame. Much, it only tells the loop, which
// reads as much as is there to where it belongs, and then has the goroutine wait again. mu guards what both use.
type reader struct {
	mu     sync.Mutex
	ahead  *chunk        // what the goroutine has read; nil when there is nothing
	off    int           // how much of it the loop has taken
	direct bool          // quic-go has a byte at least, and the goroutine waits for again: the loop may read
	much   bool          // what comes is much
	few    int           // reads of the loop's in a row that brought little
	end    error         // follows ahead, and stays
	closed bool          // nobody reads any more
	again  chan struct{} // the loop has read; buffered, so that it never waits
}

// wait is the goroutine. It ends with the input.
func (s *stream) wait() {
	defer s.c.ep.wg.Done()
	var first [1]byte
	for more := true; more; {
		_, err := s.qs.Peek(first[:])
		more = s.arrived(err)
	}
}

// arrived gives the loop what Peek has found. It returns whether to wait for more. It lets others run first: quic-go has woken it for
// the first of several packets, and goes through the others meanwhile (12 % less CPU for 4 KiB frames, 25 % for 64 KiB).
func (s *stream) arrived(err error) (more bool) {
	r := &s.in
	r.mu.Lock()
	switch {
	case err != nil:
		r.end = s.c.streamError(err)
		r.mu.Unlock()
	case r.ahead != nil || r.much:
		r.direct = true
		r.mu.Unlock()
		runtime.Gosched()
		s.rc.Ready(reactor.ReadReady)
		<-r.again
		return true
	default:
		r.mu.Unlock()
		runtime.Gosched()
		err = r.readAhead(s)
	}
	s.rc.Ready(reactor.ReadReady)
	return err == nil
}

// readAhead reads what is there, or a chunk's worth of it.
func (r *reader) readAhead(s *stream) error {
	k := s.c.ep.chunks.get(smallChunk)
	n, err := s.qs.Read(k.b)
	k.n = n
	r.mu.Lock()
	defer r.mu.Unlock()
	if n > 0 && !r.closed {
		r.ahead, r.off = k, 0
	} else {
		k.release()
	}
	if err != nil {
		r.end = s.c.streamError(err)
	}
	return err
}

// read is the loop's.
func (r *reader) read(s *stream, p []byte) (int, error) {
	r.mu.Lock()
	n := r.take(p)
	if n == len(p) || !r.direct {
		end := r.end
		r.mu.Unlock()
		switch {
		case end == nil && n == 0:
			return 0, reactor.ErrWouldBlock
		case end == nil || n == len(p):
			return n, nil
		case n > 0:
			s.rc.Ready(reactor.ReadReady) // the end is still to be told
			return n, nil
		}
		return 0, end
	}
	r.mu.Unlock()
	m, err := s.qs.Read(p[n:])
	n += m
	r.mu.Lock()
	r.direct = false
	r.judge(n)
	if err != nil {
		err = s.c.streamError(err)
		r.end = err
	}
	r.mu.Unlock()
	r.again <- struct{}{}
	if err != nil && n > 0 {
		s.rc.Ready(reactor.ReadReady)
		err = nil
	}
	return n, err
}

// judge says by the size of a read whether much comes at once. A large frame, too, begins with a few packets: it takes several
// small reads in a row to change its mind.
func (r *reader) judge(n int) {
	switch {
	case n >= smallChunk:
		r.much, r.few = true, 0
	case r.few < fewReads:
		r.few++
	default:
		r.much = false
	}
}

// take copies from what was read ahead.
func (r *reader) take(p []byte) int {
	if r.ahead == nil {
		return 0
	}
	n := copy(p, r.ahead.b[r.off:r.ahead.n])
	if r.off += n; r.off == r.ahead.n {
		r.ahead.release()
		r.ahead = nil
	}
	return n
}

// close lets the goroutine end. The stream's input has been given up before.
func (r *reader) close() {
	r.mu.Lock()
	r.closed = true
	if r.ahead != nil {
		r.ahead.release()
		r.ahead = nil
	}
	r.mu.Unlock()
	select {
	case r.again <- struct{}{}:
	default:
	}
}
