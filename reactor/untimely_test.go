package reactor

import (
	"context"
	stdtls "crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/tls"
)

// A connection that was dialled on its own loop may be closed before the loop has begun to connect it: nothing of another
// connection is touched, and it is told once.
func TestCloseBeforeConnect(t *testing.T) {
	for _, way := range []struct {
		name string
		end  func(*Conn)
	}{
		{"Close", func(c *Conn) { c.Close(nil) }},
		{"Abort", func(c *Conn) { c.Abort(nil) }},
	} {
		r := start(t, Config{Loops: 1})
		var k, outer closes
		result := make(chan error, 1)
		s := echo
		s.close = outer.add
		s.open = func(c *Conn) {
			up, err := r.Dial("tcp", c.LocalAddr().String(), DialConfig{Protocol: script{close: k.add}.with, Near: c})
			if err == nil {
				way.end(up)
			}
			result <- err
		}
		lis := listen(t, r, s)
		c := dialNet(t, lis)
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		_ = k.one(t)
		roundTrip(t, c)
		waitFor(t, way.name, func() bool { return r.Stats().Closed == 1 && r.Stats().Conns == 1 })
		_ = c.Close()
		_ = outer.one(t)
		waitFor(t, "the end", func() bool { return r.Stats().Conns == 0 })
		if got := k.all(); len(got) != 1 || r.loops[0].load.Load() != 0 {
			t.Errorf("%s: OnClose %d times, load %d", way.name, len(got), r.loops[0].load.Load())
		}
	}
}

// What was posted runs, and what was dialled is told of its end, also when the loop ends with more in its queue than one
// turn performs.
func TestTasksLeftWhenTheLoopEnds(t *testing.T) {
	r := start(t, Config{Loops: 1})
	var c *Conn
	opened := make(chan struct{})
	lis := listen(t, r, script{open: func(o *Conn) { c = o; close(opened) }})
	dialNet(t, lis)
	<-opened
	release := make(chan struct{})
	if err := c.Post(func() { <-release }); err != nil {
		t.Fatal(err)
	}
	const posts = 3 * tasksPerTurn
	ran := 0
	l := r.loops[0]
	_ = l.push(task{kind: taskDrain})
	_ = l.push(task{kind: taskAbort})
	for range posts {
		if err := c.Post(func() { ran++ }); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	<-l.done
	if ran != posts {
		t.Errorf("%d of %d posted functions ran", ran, posts)
	}
}

// panicking is a protocol whose OnShutdown panics.
type panicking struct{ script }

func (*panicking) OnShutdown() bool { panic("for the test") }

// A panic in one connection's OnShutdown does not take the grace from the others.
func TestPanicInOnShutdown(t *testing.T) {
	r := start(t, Config{Loops: 1, ShutdownGrace: time.Hour})
	n := 0
	lis, err := r.Listen("tcp", "127.0.0.1:0", ListenConfig{Protocol: func(c *Conn) Protocol {
		if n++; n == 2 {
			return &panicking{}
		}
		return stay(echo)(c)
	}})
	if err != nil {
		t.Fatal(err)
	}
	first := dialNet(t, lis)
	waitFor(t, "the first", func() bool { return r.Stats().Opened == 1 })
	_ = dialNet(t, lis)
	waitFor(t, "the second", func() bool { return r.Stats().Opened == 2 })
	last := dialNet(t, lis)
	waitFor(t, "the last", func() bool { return r.Stats().Opened == 3 })
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(context.Background()) }()
	read(t, first, "bye")
	read(t, last, "bye")
	roundTrip(t, first)
	roundTrip(t, last)
	_, _ = first.Close(), last.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A connection counts for MaxConns while its PROXY header is awaited, too, and one beyond is told so after its header.
func TestProxyHeadersCountForMaxConns(t *testing.T) {
	cert, pool := certificate(t)
	srv, err := tls.NewServer(tls.Config{TLS: &stdtls.Config{Certificates: []stdtls.Certificate{cert}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, secured := range []bool{false, true} {
		r := start(t, Config{MaxConns: 1, MaxConnsPerPeer: 1})
		var k closes
		lc := ListenConfig{Protocol: echo.with, OnError: func(_ net.Addr, err error) { k.add(nil, err) },
			Refuse: func(c *Conn, cause error) { _ = c.Write([]byte(reasonOf(cause))) }}
		if secured {
			lc.Filter = func() Filter { return srv.Conn() }
		}
		lis := proxyListener(t, r, lc)
		dial := func(from string) net.Conn {
			w := &joined{TCPConn: dialNet(t, lis), head: []byte("PROXY TCP4 " + from + " 10.0.0.1 1000 443\r\n"), split: 1 << 20}
			if secured {
				return stdtls.Client(w, &stdtls.Config{RootCAs: pool, ServerName: "127.0.0.1", NextProtos: []string{"oap/1"}})
			}
			return w
		}
		silent := dialNet(t, lis)
		waitFor(t, "the silent one", func() bool { return r.Stats().Accepted == 1 })
		over := dial("1.2.3.4")
		_, _ = over.Write([]byte{1})
		read(t, over, ReasonOverCapacity)
		_ = over.Close()
		if err := k.one(t); err != ErrOverCapacity {
			t.Errorf("TLS %v: cause %v", secured, err)
		}
		_ = silent.Close()
		waitFor(t, "room", func() bool { return r.Stats().Conns == 0 })
		c := dial("1.2.3.4")
		roundTrip(t, c)
		_ = c.Close()
		waitFor(t, "the end", func() bool { return r.Stats().Conns == 0 })
		if n := r.admitted.Load(); n != 0 || len(r.peers.m) != 0 || r.Stats().Refused != 1 {
			t.Errorf("TLS %v: %d admitted, %d peers, %d refused", secured, n, len(r.peers.m), r.Stats().Refused)
		}
	}
}

// A loop does not hold on to connections that have ended.
func TestBuriedConnectionsAreForgotten(t *testing.T) {
	_, l, c := clockedLoop(t, Config{}, nil, script{})
	c.Abort(nil)
	l.bury()
	if d := l.dead[:cap(l.dead)]; len(d) == 0 || d[0] != nil {
		t.Errorf("%d kept", len(d))
	}
}
