package quic

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
)

// twoReactors makes a pair whose ends have reactors of their own.
func twoReactors(t testing.TB, lc ListenConfig, dc DialerConfig) (server *reactor.Reactor, p *pair) {
	t.Helper()
	both := startAll(t, 2, reactor.Config{})
	server, client := both[0], both[1]
	srv, cli := certificate(t)
	lc.TLS, dc.TLS = srv, cli
	if lc.Protocol == nil {
		lc.Protocol = sessions(t, &echoHandler{})
	}
	p = &pair{r: client, srv: srv, cli: cli}
	var err error
	if p.lis, err = Listen(server, "127.0.0.1:0", lc); err != nil {
		t.Fatal(err)
	}
	if p.d, err = NewDialer(client, dc); err != nil {
		t.Fatal(err)
	}
	return server, p
}

// TestShutdownUnderLoad: a server that shuts down in the middle of traffic answers what it has taken, and every request that
// gets no reply gets a reason that says it may be sent elsewhere; connections end with the code for it.
func TestShutdownUnderLoad(t *testing.T) {
	var server, client connEvents
	r, p := twoReactors(t, ListenConfig{Conns: &server}, DialerConfig{Conns: &client})
	var wg sync.WaitGroup
	var replies atomic.Int64
	for range 4 {
		c := p.dial(t)
		for range 8 {
			s := open(t, c, &echoHandler{})
			wg.Go(func() {
				for {
					err := ask(s, 20000)
					if err == nil {
						replies.Add(1)
						continue
					}
					var fe *framer.Error
					if why := reasonOf(err); why != "shutting_down" && !errors.Is(err, framer.ErrClosed) && !errors.As(err, &fe) {
						t.Errorf("after the shutdown: %v", err)
					}
					return
				}
			})
		}
	}
	waitFor(t, "traffic", func() bool { return replies.Load() > 200 })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	wg.Wait()
	for i := range 4 {
		if got := server.end(t, i); got.code != CodeShuttingDown {
			t.Errorf("server: %d, %v", got.code, got.cause)
		}
		if got := client.end(t, i); got.code != CodeShuttingDown || reasonOf(got.cause) != "shutting_down" {
			t.Errorf("client: %d, %v", got.code, got.cause)
		}
	}
	if _, err := p.d.Dial(ctx, p.lis.Addr().String()); err == nil {
		t.Error("a connection to a server that has shut down")
	}
}

// TestShutdownWithoutPatience: Close aborts what is there, and leaves nothing behind.
func TestShutdownWithoutPatience(t *testing.T) {
	var server connEvents
	h := &echoHandler{}
	r, p := twoReactors(t, ListenConfig{Conns: &server, Protocol: sessions(t, h)}, DialerConfig{})
	for range 3 {
		mustAsk(t, open(t, p.dial(t), &echoHandler{}), 10)
	}
	if err := r.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	for _, cause := range h.causes(t, 3) {
		if reasonOf(cause) != "shutting_down" {
			t.Errorf("stream closed with %v", cause)
		}
	}
	for i := range 3 {
		server.end(t, i)
	}
}

// TestCloseListener: established connections go on, new ones are refused, and the sockets go with the last connection.
func TestCloseListener(t *testing.T) {
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{}, DialerConfig{Config: Config{HandshakeTimeout: time.Second}})
	c := p.dial(t)
	s := open(t, c, &echoHandler{})
	mustAsk(t, s, 10)
	if err := p.lis.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	mustAsk(t, s, 1000)
	mustAsk(t, open(t, c, &echoHandler{}), 1000)
	if _, err := p.d.Dial(context.Background(), p.lis.Addr().String()); err == nil {
		t.Error("a connection to a closed listener")
	}
	select {
	case <-p.lis.down:
		t.Error("the sockets are closed before the last connection")
	default:
	}
	c.Close(CodeNone, nil)
	select {
	case <-p.lis.down:
	case <-time.After(patience):
		t.Error("the sockets stay open")
	}
	if err := p.lis.Close(); err != nil {
		t.Errorf("the second Close: %v", err)
	}
}

// TestCloseDialer: the server sees clean ends.
func TestCloseDialer(t *testing.T) {
	var server connEvents
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{Conns: &server}, DialerConfig{})
	for range 3 {
		mustAsk(t, open(t, p.dial(t), &echoHandler{}), 10)
	}
	if err := p.d.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	for i := range 3 {
		if got := server.end(t, i); got.code != CodeNone || got.cause != nil {
			t.Errorf("closed with %d, %v", got.code, got.cause)
		}
	}
	if _, err := p.d.Dial(context.Background(), p.lis.Addr().String()); err != ErrClosed {
		t.Errorf("dial: %v", err)
	}
}

// TestRepliesAreDeliveredBeforeTheClose: the last bytes of streams that end right before a shutdown arrive, although the
// connection is closed with the last of them.
func TestRepliesAreDeliveredBeforeTheClose(t *testing.T) {
	const size = 900 << 10
	r, p := twoReactors(t, ListenConfig{Protocol: script{
		eof: func(c *reactor.Conn) bool {
			_ = c.Write(make([]byte, size))
			c.Close(nil)
			return true
		},
	}.with}, DialerConfig{})
	var wg sync.WaitGroup
	c := p.dial(t)
	for range 4 {
		n, ended := 0, make(closes, 1)
		openScript(t, c, script{
			open:  func(c *reactor.Conn) { _ = c.Write([]byte("x")); _ = c.Post(func() { c.Stream().CloseWrite() }) },
			data:  func(_ *reactor.Conn, b []byte) (int, int, error) { n += len(b); return len(b), 0, nil },
			close: ended.add,
		})
		wg.Go(func() {
			if err := <-ended; err != nil || n != size {
				t.Errorf("%d of %d bytes, closed with %v", n, size, err)
			}
		})
	}
	waitFor(t, "the streams", func() bool { return p.lis.Stats().Streams == 4 && p.lis.Stats().BytesOut > 1<<20 })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.Shutdown(ctx); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	wg.Wait()
}
