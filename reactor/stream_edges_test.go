package reactor

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"unsafe"
)

// fnStream is a Stream made of functions, and counts the calls that end it.
type fnStream struct {
	read, write    func(p []byte) (int, error)
	ends, closes   atomic.Int64
	resets, writes atomic.Int64
}

func (s *fnStream) Read(p []byte) (int, error) {
	if s.read == nil {
		return 0, ErrWouldBlock
	}
	return s.read(p)
}

func (s *fnStream) Write(p []byte) (int, error) {
	s.writes.Add(1)
	return s.write(p)
}

func (s *fnStream) CloseWrite()          { s.ends.Add(1) }
func (s *fnStream) Reset(error)          { s.resets.Add(1) }
func (s *fnStream) Close()               { s.closes.Add(1) }
func (s *fnStream) LocalAddr() net.Addr  { return nil }
func (s *fnStream) RemoteAddr() net.Addr { return nil }

// of is an AttachConfig.Stream.
func (s *fnStream) of(*Conn) Stream { return s }

// What Ready has told before the loop has begun with the stream is not forgotten: after HangUp it is read to its end.
func TestStreamHangsUpEarly(t *testing.T) {
	r := start(t, Config{Loops: 1, LingerTimeout: -1})
	var reads atomic.Int64
	s := &fnStream{read: func(p []byte) (int, error) {
		if reads.Add(1) == 1 {
			return copy(p, "bye"), nil
		}
		return 0, io.EOF
	}}
	var k closes
	held, let := make(chan struct{}), make(chan struct{})
	if err := r.Post(0, func() { close(held); <-let }); err != nil {
		t.Fatal(err)
	}
	<-held
	_, err := r.Attach(AttachConfig{Protocol: script{close: k.add}.with, Stream: func(c *Conn) Stream {
		c.Ready(ReadReady | HangUp)
		return s
	}})
	close(let)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.one(t); err != nil {
		t.Errorf("closed with %v", err)
	}
}

// A callback may close the stream that it has attached to its own loop before the loop has begun with it.
func TestStreamClosedBeforeItsTurn(t *testing.T) {
	for _, end := range []func(*Conn){func(c *Conn) { c.Close(ErrSlowPeer) }, func(c *Conn) { c.Abort(ErrSlowPeer) }} {
		r := start(t, Config{Loops: 1})
		s := &fnStream{}
		var got atomic.Pointer[error]
		done := make(chan struct{})
		_ = r.Post(0, func() {
			defer close(done)
			c, err := r.Attach(AttachConfig{Stream: s.of, OnError: func(_ net.Addr, err error) { got.Store(&err) },
				Protocol: func(*Conn) Protocol { t.Error("a protocol was made"); return script{}.with(nil) }})
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Write(make([]byte, 100))
			end(c)
		})
		<-done
		waitFor(t, "OnError", func() bool { return got.Load() != nil })
		if err := r.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if *got.Load() != ErrSlowPeer || s.closes.Load() != 1 || s.writes.Load() != 0 || len(r.Leaks()) > 0 {
			t.Errorf("ended with %v, Close %d times, %d writes, %v", *got.Load(), s.closes.Load(), s.writes.Load(), r.Leaks())
		}
		if st := r.Stats(); st.Conns != 0 || r.loops[0].load.Load() != 0 {
			t.Errorf("%d connections, load %d", st.Conns, r.loops[0].load.Load())
		}
	}
}

// A stream or a dial that the loop does not take any more gives back what was written to it, and ends its pipe.
func TestNewcomersOfAStoppedLoop(t *testing.T) {
	r, err := makeReactor(Config{Loops: 1, Poison: true}, linux{})
	if err != nil {
		t.Fatal(err)
	}
	l := r.loops[0]
	s := &fnStream{}
	var ks, kd closes
	_ = l.push(task{kind: taskDrain})
	_ = l.push(task{kind: taskFunc, fn: func() {
		a, err := r.Attach(AttachConfig{Dialled: true, Stream: s.of, Protocol: script{close: ks.add}.with})
		if err != nil {
			t.Error(err)
			return
		}
		_ = a.Write(make([]byte, 100))
		fd, _ := datagrams(t)
		b := &Conn{loop: l, fd: int32(fd), slot: -1, opts: &connOptions{}, wtick: -1, dialled: true}
		b.proto = script{close: kd.add}.with(b)
		l.load.Add(1)
		_ = l.push(task{kind: taskDial, c: b})
		_ = b.Write(make([]byte, 100))
	}})
	l.run()
	if len(ks.all()) != 1 || ks.all()[0] != ErrShuttingDown || len(kd.all()) != 1 || kd.all()[0] != ErrShuttingDown {
		t.Errorf("closed with %v and %v", ks.all(), kd.all())
	}
	if s.resets.Load() != 1 || s.closes.Load() != 1 || len(r.Leaks()) > 0 || l.load.Load() != 0 {
		t.Errorf("%d resets, %d closes, load %d, %v", s.resets.Load(), s.closes.Load(), l.load.Load(), r.Leaks())
	}
}

// A connection is of the allocator's class of 448 bytes, as it was without streams.
func TestConnSize(t *testing.T) {
	if n := unsafe.Sizeof(Conn{}); n > 448 {
		t.Errorf("%d bytes", n)
	}
}

// An empty reservation at the front of the output is no reason to wait for the stream.
func TestStreamEmptyReserve(t *testing.T) {
	r := start(t, Config{Loops: 1, LingerTimeout: -1})
	var got atomic.Int64
	s := &fnStream{write: func(p []byte) (int, error) { got.Add(int64(len(p))); return len(p), nil }}
	var k closes
	_, err := r.Attach(AttachConfig{Stream: s.of, Protocol: script{close: k.add, open: func(c *Conn) {
		c.Reserve(0)
		_ = c.WriteBuf(c.loop.pool.Get(10), 0, 10)
		c.Close(nil)
	}}.with})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.one(t); err != nil || got.Load() != 10 {
		t.Errorf("closed with %v, %d bytes written", err, got.Load())
	}
}
