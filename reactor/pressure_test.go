package reactor

import (
	"bytes"
	"context"
	stdtls "crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ron-transport/ron-transport/tls"
)

// clocked is a kernel whose clock the test moves, and whose writes end as it says.
type clocked struct {
	feed
	at    int64
	errno unix.Errno // of write
	room  int        // bytes that are taken per write
}

func (k *clocked) now() int64                                     { return k.at }
func (k *clocked) epollAdd(int, int, *unix.EpollEvent) unix.Errno { return 0 }

func (k *clocked) write(_ int, p []byte) (int, unix.Errno) {
	if k.errno != 0 {
		return -1, k.errno
	}
	n := min(len(p), k.room)
	k.writes++
	k.bytes += n
	return n, 0
}

func (k *clocked) read(_ int, p []byte) (int, unix.Errno) {
	b := k.next()
	if len(b) == 0 {
		return -1, unix.EAGAIN
	}
	return copy(p, b), 0
}

// clockedLoop is a still loop on a clock, with one registered connection.
func clockedLoop(t *testing.T, cfg Config, f Filter, s script) (*clocked, *loop, *Conn) {
	t.Helper()
	cfg.LingerTimeout = -1 // the peer never ends its stream
	k := &clocked{feed: feed{next: func() []byte { return nil }}, room: 1 << 30, at: 1}
	l, c := still(t, &k.feed, cfg, f, s.with)
	l.r.sys = k
	l.now = k.at
	l.wheel.tick, l.nextDecay = 1, 0
	l.register(c)
	if at := l.earliest(c); at != 0 {
		l.wheel.file(c, at)
	}
	return k, l, c
}

// pass lets d go by in turns of the loop, 5 ms apart, and returns when c was closed, in nanoseconds from the start; 0: not.
func pass(k *clocked, l *loop, c *Conn, d time.Duration, each func()) (closed time.Duration) {
	from := k.at
	for k.at-from < int64(d) {
		k.at += int64(5 * time.Millisecond)
		l.now = k.at
		if each != nil {
			each()
		}
		for !l.turn() {
		}
		if c.gone.Load() {
			return time.Duration(k.at - from)
		}
	}
	return 0
}

// Idle connections are closed within 5 % of the deadline, for short and long ones.
func TestIdleIsPunctual(t *testing.T) {
	for _, d := range []time.Duration{time.Second, 10 * time.Second, 150 * time.Second} {
		k, l, c := clockedLoop(t, Config{IdleTimeout: d}, nil, script{})
		if got := pass(k, l, c, 2*d, nil); got < d || got > d+d/20 {
			t.Errorf("closed after %v, want %v", got, d)
		}
	}
}

func TestMinRate(t *testing.T) {
	header := []byte{0, 0x10, 0, 0} // a block of 4096 bytes
	for _, tc := range []struct {
		name  string
		every time.Duration // between single bytes of the body
		cause error
	}{
		{"a drip", 500 * time.Millisecond, ErrMinReadRate},
		{"fast enough", 5 * time.Millisecond, nil},
	} {
		var cause error
		k, l, c := clockedLoop(t, Config{FrameTimeout: -1, IdleTimeout: -1}, nil,
			script{data: blocks(func(*Conn, []byte) {}), close: func(_ *Conn, err error) { cause = err }})
		data := bytes.Clone(header)
		k.next = func() []byte { b := data; data = nil; return b }
		next := k.at
		closed := pass(k, l, c, 15*time.Second, func() {
			if k.at >= next {
				next += int64(tc.every)
				data = append(data, 1)
			}
			c.readable = true
			l.enqueue(c)
		})
		if cause != tc.cause || tc.cause != nil && (closed < minRateWindow || closed > minRateWindow+time.Second) {
			t.Errorf("%s: closed after %v, cause %v", tc.name, closed, cause)
		}
	}
}

// A peer that takes a byte now and then resets the write deadline, but not the minimum rate, while open and while draining.
func TestMinWriteRate(t *testing.T) {
	for _, draining := range []bool{false, true} {
		var cause error
		k, l, c := clockedLoop(t, Config{IdleTimeout: -1}, nil, script{close: func(_ *Conn, err error) { cause = err }})
		k.room = 1
		_ = c.Write(make([]byte, 100_000))
		if draining {
			c.Close(nil)
		}
		next := k.at
		closed := pass(k, l, c, 30*time.Second, func() {
			if k.at >= next {
				next += int64(300 * time.Millisecond)
				c.blocked = false
				c.touch()
			}
		})
		if cause != ErrMinWriteRate || closed < minRateWindow || closed > minRateWindow+time.Second {
			t.Errorf("draining %v: closed after %v, cause %v", draining, closed, cause)
		}
	}
}

// A peer that is just fast enough for the minimum rate does not hold a closing connection for ever.
func TestDrainTimeout(t *testing.T) {
	var cause error
	k, l, c := clockedLoop(t, Config{DrainTimeout: 20 * time.Second}, nil, script{close: func(_ *Conn, err error) { cause = err }})
	k.room = 2
	_ = c.Write(make([]byte, 100_000))
	c.Close(nil)
	closed := pass(k, l, c, time.Minute, func() { c.blocked = false; c.touch() })
	if cause != ErrDrainTimeout || closed < 20*time.Second || closed > 21*time.Second {
		t.Errorf("closed after %v, cause %v", closed, cause)
	}
}

// The kernel has no memory for a write: no event tells when it has, so the loop tries again.
func TestNoBufferSpace(t *testing.T) {
	for _, errno := range []unix.Errno{unix.ENOBUFS, unix.ENOMEM} {
		k, l, c := clockedLoop(t, Config{}, nil, script{})
		k.errno = errno
		_ = c.Write([]byte("hello"))
		pass(k, l, c, time.Second, nil)
		k.errno = 0
		pass(k, l, c, time.Second, nil)
		if k.bytes != 5 {
			t.Errorf("%v: %d bytes written", errno, k.bytes)
		}
		k.errno = errno
		_ = c.Write([]byte("hello"))
		if closed := pass(k, l, c, time.Minute, nil); closed == 0 || c.cause != ErrWriteTimeout && c.cause != ErrMinWriteRate {
			t.Errorf("%v for ever: closed after %v, cause %v", errno, closed, c.cause)
		}
	}
}

// sleeper is a filter that counts its sleeps.
type sleeper struct {
	Filter
	sleeps int
}

func (s *sleeper) Sleep()                            { s.sleeps++ }
func (s *sleeper) Release()                          {}
func (s *sleeper) Finish(dst []byte, _ error) []byte { return dst }
func (s *sleeper) SealedSize(n int) int              { return n }
func (s *sleeper) EOF() error                        { return nil }
func (s *sleeper) NextRecord([]byte) int             { return 1 }
func (s *sleeper) Open(dst, src []byte) ([]byte, int, error) {
	return append(dst, src...), len(src), nil
}
func (s *sleeper) Seal(dst, src []byte, _ bool) ([]byte, error) {
	return append(dst, src...), nil
}

func TestQuietFiltersSleep(t *testing.T) {
	f := &sleeper{}
	k, l, c := clockedLoop(t, Config{}, f, echo)
	pass(k, l, c, sleepAfter-100*time.Millisecond, nil)
	if f.sleeps != 0 {
		t.Fatal("sleeps too early")
	}
	pass(k, l, c, 2*sleepAfter, nil)
	if f.sleeps != 1 {
		t.Fatalf("%d sleeps, want 1", f.sleeps)
	}
	once := []byte{1}
	k.next = func() []byte { b := once; once = nil; return b }
	c.readable = true
	l.enqueue(c)
	pass(k, l, c, sleepAfter-100*time.Millisecond, nil)
	if f.sleeps != 1 || k.bytes != 1 {
		t.Fatalf("after a byte: %d sleeps, %d bytes back", f.sleeps, k.bytes)
	}
	pass(k, l, c, time.Second, nil)
	if f.sleeps != 2 {
		t.Fatalf("quiet again: %d sleeps", f.sleeps)
	}
}

// Pipe: what one client sends goes to another that does not read. The sender is paused, memory stays bounded, and nothing
// is lost when the other reads at last.
func TestPipe(t *testing.T) {
	for _, loops := range []int{1, 2} {
		r := start(t, Config{Loops: loops, HighWater: 200_000, LowWater: 50_000, HardCap: 64 << 20, SendBuffer: 64 << 10, RecvBuffer: 64 << 10})
		var sink, source atomic.Pointer[Conn]
		most := 0 // queued; the sink's loop only
		out := listen(t, r, script{open: func(c *Conn) { sink.Store(c) }})
		in := listen(t, r, script{open: func(c *Conn) { source.Store(c) }, data: func(c *Conn, p []byte) (int, int, error) {
			to := sink.Load()
			if to.loop == c.loop {
				err := to.Write(p)
				most = max(most, to.Queued())
				return len(p), 0, err
			}
			b := bytes.Clone(p)
			return len(p), 0, to.Post(func() { _ = to.Write(b); most = max(most, to.Queued()) })
		}})
		reader := dialNet(t, out)
		waitFor(t, "the sink", func() bool { return sink.Load() != nil })
		writer := dialNet(t, in)
		waitFor(t, "the source", func() bool { return source.Load() != nil })
		if err := Pipe(source.Load(), sink.Load()); err != nil {
			t.Fatal(err)
		}
		const size = 8 << 20
		go func() { _, _ = writer.Write(make([]byte, size)) }()
		waitFor(t, "the pause", func() bool { return paused(source.Load()) })
		got, err := io.ReadFull(reader, make([]byte, size))
		if err != nil {
			t.Fatalf("%d loops: %d bytes, %v", loops, got, err)
		}
		waitFor(t, "the resumption", func() bool { return !paused(source.Load()) })
		result := make(chan int, 1)
		_ = sink.Load().Post(func() { result <- most })
		if n := <-result; loops == 1 && n > 200_000+DefaultReadBuffer {
			t.Errorf("%d loops: %d bytes queued", loops, n)
		}
		if err := Pipe(source.Load(), source.Load()); err == nil {
			t.Error("a connection piped to itself")
		}
		_ = reader.Close()
		waitFor(t, "the end of the sink", func() bool { return sink.Load().gone.Load() })
		waitFor(t, "the end of the link", func() bool { return !linked(source.Load()) })
		if err := Pipe(source.Load(), sink.Load()); err != ErrClosed {
			t.Errorf("Pipe with a closed connection: %v", err)
		}
	}
}

// onLoop asks something on c's loop.
func onLoop(c *Conn, ask func() bool) bool {
	answer := make(chan bool, 1)
	if c.Post(func() { answer <- ask() }) != nil {
		return false
	}
	return <-answer
}

func paused(c *Conn) bool { return onLoop(c, func() bool { return c.paused&pausePipe != 0 }) }

func linked(c *Conn) bool { return onLoop(c, func() bool { return c.ext != nil && c.ext.pipe != nil }) }

// stayer is a protocol that answers after the goodbye.
type stayer struct{ script }

func (s *stayer) OnShutdown() bool { return s.c.Write([]byte("bye")) == nil }

func stay(s script) func(*Conn) Protocol {
	return func(c *Conn) Protocol {
		p := s
		p.c = c
		return &stayer{p}
	}
}

// shutDown begins a shutdown and returns where its end will be told.
func shutDown(r *Reactor) chan error {
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(context.Background()) }()
	return done
}

func read(t *testing.T, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(c, b); string(b) != want {
		t.Fatalf("got %q, %v, want %q", b[:n], err, want)
	}
}

func TestShutdownStillAnswers(t *testing.T) {
	r := start(t, Config{ShutdownGrace: time.Hour})
	var k closes
	s := echo
	s.close = k.add
	lis, err := r.Listen("tcp", "127.0.0.1:0", ListenConfig{Protocol: stay(s)})
	if err != nil {
		t.Fatal(err)
	}
	c := dialNet(t, lis)
	roundTrip(t, c)
	done := shutDown(r)
	read(t, c, "bye")
	for range 3 {
		roundTrip(t, c)
	}
	_ = c.CloseWrite()
	if rest, err := io.ReadAll(c); len(rest) > 0 || err != nil {
		t.Errorf("%q, %v after our end", rest, err)
	}
	if err := <-done; err != nil || k.one(t) != nil {
		t.Errorf("Shutdown: %v; the connection's cause: %v", err, k.one(t))
	}
}

// When the grace is over a connection whose peer does not leave is ended; one that owes an answer may still give it.
func TestShutdownGraceEnds(t *testing.T) {
	r := start(t, Config{ShutdownGrace: 100 * time.Millisecond})
	var owing atomic.Pointer[Conn]
	lis, err := r.Listen("tcp", "127.0.0.1:0", ListenConfig{Protocol: stay(script{
		open: func(c *Conn) { owing.Store(c) },
		eof:  func(c *Conn) bool { return c == owing.Load() },
	})})
	if err != nil {
		t.Fatal(err)
	}
	leaves := dialNet(t, lis)
	waitFor(t, "the first", func() bool { return r.Stats().Opened == 1 })
	owed := dialNet(t, lis)
	waitFor(t, "the second", func() bool { return r.Stats().Opened == 2 })
	done := shutDown(r)
	if got, err := io.ReadAll(leaves); string(got) != "bye" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	_ = leaves.Close()
	read(t, owed, "bye")
	time.Sleep(50 * time.Millisecond)
	c := owing.Load()
	if err := c.Post(func() { _ = c.Write([]byte("answer")); c.Close(nil) }); err != nil {
		t.Fatal(err)
	}
	read(t, owed, "answer")
	_ = owed.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A handshake that is under way when the shutdown begins is completed; its peer is told then, and answered.
func TestShutdownLetsHandshakesFinish(t *testing.T) {
	r := start(t, Config{ShutdownGrace: 10 * time.Second})
	cert, pool := certificate(t)
	srv, err := tls.NewServer(tls.Config{TLS: &stdtls.Config{Certificates: []stdtls.Certificate{cert}}})
	if err != nil {
		t.Fatal(err)
	}
	lis, err := r.Listen("tcp", "127.0.0.1:0", ListenConfig{Protocol: stay(echo), Filter: func() Filter { return srv.Conn() }})
	if err != nil {
		t.Fatal(err)
	}
	tcp := dialNet(t, lis)
	waitFor(t, "the connection", func() bool { return r.Stats().Accepted == 1 })
	done := shutDown(r)
	waitFor(t, "the end of listening", func() bool {
		c, err := net.Dial("tcp", lis.Addr().String())
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	c := stdtls.Client(tcp, &stdtls.Config{RootCAs: pool, ServerName: "127.0.0.1", NextProtos: []string{"oap/1"}})
	read(t, c, "bye")
	roundTrip(t, c)
	_ = c.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// Posted functions that post again do not keep a loop from its sockets.
func TestPostsDoNotStarve(t *testing.T) {
	r := start(t, Config{Loops: 1})
	var busy atomic.Bool
	busy.Store(true)
	c := dialNet(t, listen(t, r, script{
		open: func(c *Conn) {
			for range 3 * tasksPerTurn {
				var again func()
				again = func() {
					if busy.Load() {
						_ = c.Post(again)
					}
				}
				_ = c.Post(again)
			}
		},
		data: func(c *Conn, p []byte) (int, int, error) { return len(p), 0, c.Write(p) },
	}))
	roundTrip(t, c)
	busy.Store(false)
}

// DialConfig.Near puts a connection on the loop of another.
func TestDialNear(t *testing.T) {
	r := start(t, Config{Loops: 3})
	other, err := New(Config{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	lis := listen(t, r, echo)
	var near []*Conn
	for range 6 {
		c, err := r.Dial("tcp", lis.Addr().String(), DialConfig{Protocol: script{}.with})
		if err != nil {
			t.Fatal(err)
		}
		d, err := r.Dial("tcp", lis.Addr().String(), DialConfig{Protocol: script{}.with, Near: c})
		if err != nil || d.loop != c.loop {
			t.Fatalf("not near: %v", err)
		}
		near = append(near, d)
	}
	if _, err := other.Dial("tcp", lis.Addr().String(), DialConfig{Protocol: script{}.with, Near: near[0]}); err == nil {
		t.Error("near a connection of another reactor")
	}
	for _, c := range near[1:] {
		if c.loop != near[0].loop {
			return
		}
	}
	t.Error("all on one loop")
}

// Many slow readers hold no more than the budget together and one pressed mark each; when they go, the marks come back.
func TestBufferBudget(t *testing.T) {
	const budget, peers = 4 << 20, 100
	r := start(t, Config{Loops: 1, BufferBudget: budget, SendBuffer: 16 << 10, RecvBuffer: 16 << 10})
	fill := func(c *Conn) {
		for c.Writable() {
			_ = c.Write(make([]byte, 10_000))
		}
	}
	lis := listen(t, r, script{open: fill, drained: fill})
	var slow []*net.TCPConn
	for range peers {
		slow = append(slow, dialNet(t, lis))
	}
	waitFor(t, "the slow readers", func() bool { return r.Stats().Opened == peers })
	if n := r.Stats().PoolOutstandingBytes; n < budget || n > budget+DefaultHighWater+peers*2*pressedMark {
		t.Errorf("%d slow readers hold %d bytes, the budget is %d", peers, n, budget)
	}
	for _, c := range slow {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
	waitFor(t, "their end", func() bool { return r.Stats().Conns == 0 })
	c := dialNet(t, lis)
	waitFor(t, "the old mark", func() bool { return r.Stats().PoolOutstandingBytes > 4*pressedMark })
	_ = c.Close()
}
