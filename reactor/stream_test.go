package reactor

import (
	"io"
	"net"
	"sync"
	"testing"
)

// memStream is one end of an in-memory stream: what the other end has written and this one has not read.
type memStream struct {
	mu     sync.Mutex
	in     []byte
	ended  bool
	broken error
	limit  int // bytes that the other end may have waiting here
	conn   *Conn
	other  *memStream
	resets []error
	closes int
}

func newMemPair(limit int) (a, b *memStream) {
	a, b = &memStream{limit: limit}, &memStream{limit: limit}
	a.other, b.other = b, a
	return a, b
}

func (s *memStream) ready(ev Readiness) {
	s.mu.Lock()
	c := s.conn
	s.mu.Unlock()
	if c != nil {
		c.Ready(ev)
	}
}

func (s *memStream) Read(p []byte) (int, error) {
	s.mu.Lock()
	n := copy(p, s.in)
	s.in = s.in[n:]
	err := s.broken
	if err == nil && len(s.in) == 0 && s.ended {
		err = io.EOF
	}
	s.mu.Unlock()
	if n > 0 {
		s.other.ready(WriteReady)
		return n, err
	}
	if err == nil {
		err = ErrWouldBlock
	}
	return 0, err
}

func (s *memStream) Write(p []byte) (int, error) {
	o := s.other
	o.mu.Lock()
	n := min(len(p), o.limit-len(o.in))
	o.in = append(o.in, p[:n]...)
	o.mu.Unlock()
	o.ready(ReadReady)
	if n == 0 {
		return 0, ErrWouldBlock
	}
	return n, nil
}

func (s *memStream) end(broken error) {
	s.mu.Lock()
	s.ended = true
	if s.broken == nil {
		s.broken = broken
	}
	s.mu.Unlock()
	s.ready(ReadReady | HangUp)
}

func (s *memStream) CloseWrite() { s.other.end(nil) }

func (s *memStream) Reset(cause error) {
	s.mu.Lock()
	s.resets = append(s.resets, cause)
	s.mu.Unlock()
	s.other.end(&Error{Why: reasonOf(cause), Msg: "peer reset"})
}

func (s *memStream) Close() {
	s.mu.Lock()
	s.closes++
	s.mu.Unlock()
	s.other.end(nil)
}

func (s *memStream) LocalAddr() net.Addr  { return &net.UDPAddr{Port: 1} }
func (s *memStream) RemoteAddr() net.Addr { return &net.UDPAddr{Port: 2} }

// attachPair makes two connections of the ends of a stream, on the first and the last loop.
func attachPair(t testing.TB, r *Reactor, limit int, a, b script) (ma, mb *memStream) {
	t.Helper()
	ma, mb = newMemPair(limit)
	for _, x := range []struct {
		m    *memStream
		s    script
		loop int
	}{{ma, a, 0}, {mb, b, r.Loops() - 1}} {
		_, err := r.Attach(AttachConfig{Loop: x.loop, Protocol: x.s.with, Stream: func(c *Conn) Stream {
			x.m.mu.Lock()
			defer x.m.mu.Unlock()
			x.m.conn = c
			return x.m
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	return ma, mb
}

// What one end writes comes back from an echo at the other, whatever fits in between, then both ends close cleanly, once.
func TestStreamEchoes(t *testing.T) {
	for _, limit := range []int{1, 7, 4096, 1 << 20} {
		r := start(t, Config{})
		total := min(100_000, 2000*limit)
		var ca, cb closes
		var got int
		sent := 0
		a := script{close: ca.add}
		send := func(c *Conn) {
			for c.Writable() && sent < total {
				n := min(10_000, total-sent)
				p := make([]byte, n)
				for i := range p {
					p[i] = byte(sent + i)
				}
				sent += n
				if err := c.Write(p); err != nil {
					t.Error(err)
				}
			}
		}
		a.open, a.drained = send, send
		a.data = func(c *Conn, p []byte) (int, int, error) {
			for i, x := range p {
				if x != byte(got+i) {
					t.Errorf("byte %d is %d", got+i, x)
					break
				}
			}
			if got += len(p); got == total {
				c.Close(nil)
			}
			return len(p), 0, nil
		}
		b := echo
		b.close = cb.add
		ma, mb := attachPair(t, r, limit, a, b)
		for _, k := range []*closes{&ca, &cb} {
			if err := k.one(t); err != nil {
				t.Errorf("limit %d: closed with %v", limit, err)
			}
		}
		for _, m := range []*memStream{ma, mb} {
			waitFor(t, "Close", func() bool { m.mu.Lock(); defer m.mu.Unlock(); return m.closes > 0 })
			if m.closes != 1 || len(m.resets) != 0 {
				t.Errorf("limit %d: %d closes, resets %v", limit, m.closes, m.resets)
			}
		}
	}
}

// A broken stream's reason is the close's.
func TestStreamBreaks(t *testing.T) {
	r := start(t, Config{})
	var ca, cb closes
	ma, mb := attachPair(t, r, 1000, script{close: ca.add, open: func(c *Conn) { c.Abort(ErrSlowPeer) }}, script{close: cb.add})
	if err := ca.one(t); err != ErrSlowPeer {
		t.Errorf("closed with %v", err)
	}
	if err := cb.one(t); reasonOf(err) != ReasonSlowPeer {
		t.Errorf("the other end closed with %v", err)
	}
	waitFor(t, "both ends", func() bool { return r.Stats().Conns == 0 })
	if len(ma.resets) != 1 || len(mb.resets) != 0 || ma.closes != 1 || mb.closes != 1 {
		t.Errorf("resets %v and %v, closes %d and %d", ma.resets, mb.resets, ma.closes, mb.closes)
	}
}
