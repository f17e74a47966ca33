package reactor

import (
	"context"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// watcher is a Watcher made of a function, and counts its calls.
type watcher struct {
	calls atomic.Int64
	ready func(Readiness) bool
}

func (w *watcher) OnReady(ev Readiness) bool {
	w.calls.Add(1)
	return w.ready(ev)
}

// datagrams makes a connected pair of datagram sockets.
func datagrams(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return fds[0], fds[1]
}

// A watch is told of every datagram, at first with an event, then without while it says again, and never after Close.
func TestWatch(t *testing.T) {
	r := start(t, Config{})
	a, b := datagrams(t)
	defer closeBoth(a, b)
	var got, turns atomic.Int64
	w := &watcher{}
	w.ready = func(ev Readiness) bool {
		turns.Add(1)
		var p [16]byte
		n, err := unix.Read(a, p[:]) // one per call: the rest is read because of again
		if err != nil {
			return false
		}
		got.Add(int64(n))
		return true
	}
	watch, err := r.Watch(1, a, w)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		for range 3 {
			if _, err := unix.Write(b, []byte("ping")); err != nil {
				t.Fatal(err)
			}
		}
		waitFor(t, "datagrams", func() bool { return got.Load() == int64(i+1)*3*4 })
	}
	n := w.calls.Load()
	watch.Wake()
	waitFor(t, "a call without an event", func() bool { return w.calls.Load() > n })
	if err := watch.Close(); err != nil {
		t.Fatal(err)
	}
	n = w.calls.Load()
	if _, err := unix.Write(b, []byte("late")); err != nil {
		t.Fatal(err)
	}
	watch.Wake()
	done := make(chan struct{})
	if err := r.Post(1, func() { close(done) }); err != nil {
		t.Fatal(err)
	}
	<-done
	if w.calls.Load() != n {
		t.Error("called after Close")
	}
	again, err := r.Watch(1, a, w) // the descriptor can be watched again, and what waits is told
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the late datagram", func() bool { return got.Load() == 5*3*4+4 })
	_ = again.Close()
	_ = again.Close()
}

// Two watches that always have more to do, and a connection, all have their turns.
func TestWatchesShareTheLoop(t *testing.T) {
	r := start(t, Config{Loops: 1})
	ma, _ := attachPair(t, r, 100, script{}, echo)
	var watches []*Watch
	var busy []*watcher
	for range 2 {
		a, b := datagrams(t)
		defer closeBoth(a, b)
		w := &watcher{ready: func(Readiness) bool { return true }}
		x, err := r.Watch(0, a, w)
		if err != nil {
			t.Fatal(err)
		}
		watches, busy = append(watches, x), append(busy, w)
	}
	n := busy[0].calls.Load()
	waitFor(t, "both watches", func() bool { return busy[0].calls.Load() > n+100 && busy[1].calls.Load() > 100 })
	done := make(chan struct{})
	_ = ma.conn.Post(func() { _ = ma.conn.Write([]byte("x")); close(done) })
	<-done
	waitFor(t, "the echo", func() bool { return r.Stats().BytesIn >= 2 })
	for _, w := range watches {
		_ = w.Close()
	}
	_ = ma.conn.Post(func() { ma.conn.Close(nil) })
}

func TestWatchArguments(t *testing.T) {
	r := start(t, Config{Loops: 2})
	for _, tc := range []struct {
		loop, fd int
		w        Watcher
	}{{-1, 0, &watcher{}}, {2, 0, &watcher{}}, {0, 0, nil}, {0, -1, &watcher{}}} {
		if _, err := r.Watch(tc.loop, tc.fd, tc.w); err == nil {
			t.Errorf("Watch(%d, %d, %v) was accepted", tc.loop, tc.fd, tc.w)
		}
	}
	if err := r.Post(2, func() {}); err == nil {
		t.Error("Post to a loop that is not there was accepted")
	}
	for _, ac := range []AttachConfig{{}, {Loop: 2, Protocol: echo.with, Stream: func(*Conn) Stream { return nil }}} {
		if _, err := r.Attach(ac); err == nil {
			t.Errorf("Attach(%+v) was accepted", ac)
		}
	}
}

// service is a Service with a watch, which notes what it is told.
type service struct {
	r       *Reactor
	watch   *Watch
	stopped atomic.Bool
	conns   atomic.Int64 // that existed at Close
	closed  atomic.Bool
}

func (s *service) StopAccepting() { s.stopped.Store(true) }

func (s *service) Close() error {
	done := make(chan struct{})
	if err := s.r.Post(0, func() { s.conns.Store(int64(s.r.loops[0].conns)); close(done) }); err != nil {
		return err
	}
	<-done
	s.closed.Store(true)
	return s.watch.Close()
}

// Shutdown tells a service first, drains the connections, and closes the service while the loops still turn; with and
// without patience, and with peers that go on opening streams.
func TestShutdownOfServices(t *testing.T) {
	for _, patient := range []bool{true, false} {
		r, err := New(Config{Loops: 2, Poison: true, LingerTimeout: 100 * time.Millisecond, ShutdownGrace: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		a, b := datagrams(t)
		s := &service{r: r}
		if s.watch, err = r.Watch(0, a, &watcher{ready: func(Readiness) bool { return false }}); err != nil {
			t.Fatal(err)
		}
		if err := r.AddService(s); err != nil {
			t.Fatal(err)
		}
		var ka, kb closes
		attachPair(t, r, 100, script{close: ka.add}, script{close: kb.add, eof: func(*Conn) bool { return !patient }})
		var late atomic.Int64
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		if !patient {
			cancel()
		}
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			for {
				m, _ := newMemPair(10)
				_, err := r.Attach(AttachConfig{Protocol: echo.with, Stream: func(c *Conn) Stream { m.conn = c; return m }})
				if err != nil {
					return
				}
				late.Add(1)
				time.Sleep(time.Millisecond)
			}
		}()
		waitFor(t, "streams", func() bool { return late.Load() > 3 })
		err = r.Shutdown(ctx)
		cancel()
		<-stopped
		if patient != (err == nil) {
			t.Errorf("patient %v: Shutdown: %v", patient, err)
		}
		if !s.stopped.Load() || !s.closed.Load() {
			t.Errorf("patient %v: the service was not told", patient)
		}
		if len(ka.all()) != 1 || len(kb.all()) != 1 {
			t.Errorf("patient %v: OnClose called %d and %d times", patient, len(ka.all()), len(kb.all()))
		}
		if err := r.AddService(s); err != ErrShuttingDown {
			t.Errorf("AddService after Shutdown: %v", err)
		}
		if _, err := r.Watch(0, a, &watcher{}); err != ErrShuttingDown {
			t.Errorf("Watch after Shutdown: %v", err)
		}
		if n := len(r.Leaks()) + int(r.Stats().Conns); n != 0 {
			t.Errorf("patient %v: %d buffers or connections left", patient, n)
		}
		closeBoth(a, b)
	}
}

// A removed service is not told.
func TestRemoveService(t *testing.T) {
	r := start(t, Config{})
	s := &service{r: r}
	if err := r.AddService(s); err != nil {
		t.Fatal(err)
	}
	r.RemoveService(s)
	if err := r.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.stopped.Load() || s.closed.Load() {
		t.Error("told all the same")
	}
}

// Admissions count with the connections on sockets, and what is released can be had again.
func TestAdmit(t *testing.T) {
	peer := netip.MustParseAddrPort("192.0.2.1:9")
	other := netip.MustParseAddrPort("192.0.2.2:9")
	for _, tc := range []struct {
		name string
		cfg  Config
		want error
	}{
		{"node", Config{MaxConns: 2}, ErrOverCapacity},
		{"peer", Config{MaxConnsPerPeer: 2}, ErrPeerLimit},
		{"half-open", Config{MaxHandshakesPerPeer: 2}, ErrPeerHandshakes},
		{"rate", Config{PeerConnRate: 2}, ErrPeerRate},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := start(t, tc.cfg)
			var got []*Admission
			for range 2 {
				a, err := r.Admit(peer)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, a)
			}
			if _, err := r.Admit(peer); err != tc.want {
				t.Fatalf("the third: %v", err)
			}
			if r.Stats().Refused != 1 {
				t.Errorf("%d refused", r.Stats().Refused)
			}
			if _, err := r.Admit(other); (err == nil) != (tc.cfg.MaxConns == 0) {
				t.Errorf("another peer: %v", err)
			}
			got[0].Opened()
			got[0].Opened()
			if _, err := r.Admit(peer); (err == nil) != (tc.name == "half-open") {
				t.Errorf("after a handshake: %v", err)
			}
			got[1].Release()
			got[1].Release()
			got[1].Opened()
			if _, err := r.Admit(peer); (err == nil) != (tc.name != "rate") {
				t.Errorf("after a release: %v", err)
			}
		})
	}
}

// A refused stream's peer is told why, and no protocol is made.
func TestStreamRefused(t *testing.T) {
	r := start(t, Config{})
	m, peer := newMemPair(100)
	var told, got atomic.Pointer[error]
	var text atomic.Pointer[string]
	_, err := r.Attach(AttachConfig{Protocol: func(*Conn) Protocol { t.Error("a protocol was made"); return &script{} },
		Stream:  func(c *Conn) Stream { m.mu.Lock(); defer m.mu.Unlock(); m.conn = c; return m },
		Refusal: ErrPeerLimit, Refuse: func(c *Conn, cause error) { told.Store(&cause); _ = c.Write([]byte("no")) },
		OnError: func(_ net.Addr, err error) { got.Store(&err) }})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			var p [16]byte
			n, err := peer.Read(p[:])
			if n > 0 {
				s := string(p[:n])
				text.Store(&s)
			}
			if err == io.EOF {
				peer.CloseWrite()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	waitFor(t, "OnError", func() bool { return got.Load() != nil })
	if *told.Load() != ErrPeerLimit || *got.Load() != ErrPeerLimit || *text.Load() != "no" {
		t.Errorf("refused with %v, ended with %v, the peer read %q", *told.Load(), *got.Load(), *text.Load())
	}
	if s := r.Stats(); s.Refused != 1 || s.Opened != 0 {
		t.Errorf("%+v", s)
	}
}

// A stream and a socket can be partners: what one end does not take holds up the other.
func TestStreamPipe(t *testing.T) {
	r := start(t, Config{Loops: 1, HighWater: 10_000, LowWater: 1000})
	m, peer := newMemPair(1 << 20)
	var up atomic.Pointer[Conn]
	lis := listen(t, r, script{open: func(c *Conn) { up.Store(c) }, data: func(c *Conn, p []byte) (int, int, error) {
		return len(p), 0, m.conn.Write(p)
	}})
	if _, err := r.Attach(AttachConfig{Protocol: script{}.with, Stream: func(c *Conn) Stream { m.conn = c; return m }}); err != nil {
		t.Fatal(err)
	}
	peer.limit = 100 // takes little, until it is read
	client := dialNet(t, lis)
	waitFor(t, "the socket", func() bool { return up.Load() != nil })
	if err := Pipe(up.Load(), m.conn); err != nil {
		t.Fatal(err)
	}
	const total = 8 << 20
	go func() { _, _ = client.Write(make([]byte, total)) }()
	waitFor(t, "the socket's pause", func() bool {
		paused := make(chan bool)
		_ = up.Load().Post(func() { paused <- up.Load().paused&pausePipe != 0 })
		return <-paused
	})
	n := 0
	for p := make([]byte, 100_000); n < total; {
		k, _ := peer.Read(p)
		n += k
		if n > total/10 {
			peer.mu.Lock()
			peer.limit = 1 << 20
			peer.mu.Unlock()
		}
	}
	for _, c := range []*Conn{up.Load(), m.conn} {
		_ = c.Post(func() { c.Abort(nil) })
	}
}

func closeBoth(a, b int) { _, _ = unix.Close(a), unix.Close(b) }

// sendTo puts a datagram into the socket's peer, as long as there is room.
func sendTo(fd int) { _, _ = unix.Write(fd, []byte("ping")) }
