package quic

import (
	"context"
	"sync"
	"testing"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls"
)

// TestOneHandlerOnAllTransports: the same echo handler, unchanged, over TCP, TLS and QUIC.
func TestOneHandlerOnAllTransports(t *testing.T) {
	srv, cli := certificate(t)
	for name, connect := range map[string]func(*testing.T, *reactor.Reactor, framer.Handler) *framer.Session{
		"tcp": func(t *testing.T, r *reactor.Reactor, h framer.Handler) *framer.Session {
			return overTCP(t, r, h, nil, nil)
		},
		"tls": func(t *testing.T, r *reactor.Reactor, h framer.Handler) *framer.Session {
			server, err := tls.NewServer(tls.Config{TLS: srv})
			if err != nil {
				t.Fatal(err)
			}
			client, err := tls.NewClient(tls.Config{TLS: cli})
			if err != nil {
				t.Fatal(err)
			}
			return overTCP(t, r, h, func() reactor.Filter { return server.Conn() }, func() reactor.Filter { return client.Conn("localhost") })
		},
		"quic": func(t *testing.T, r *reactor.Reactor, h framer.Handler) *framer.Session {
			p := newPair(t, r, ListenConfig{TLS: srv, Protocol: sessions(t, h)}, DialerConfig{TLS: cli})
			return open(t, p.dial(t), &echoHandler{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := &echoHandler{}
			r := start(t, reactor.Config{})
			s := connect(t, r, h)
			for _, n := range []int{0, 1, 1000, 1400, 4096, 16 << 10, 64 << 10, 300 << 10, framer.MaxPayload} {
				mustAsk(t, s, n)
			}
			if reply, err := s.Hello(context.Background(), "test"); err != nil || reply.MaxFrame != framer.MaxFrame {
				t.Errorf("HELLO: %+v, %v", reply, err)
			}
			_ = s.Post(func(s *framer.Session) { s.Close(nil) })
			if cause := h.causes(t, 1)[0]; cause != nil {
				t.Errorf("closed with %v", cause)
			}
		})
	}
}

// overTCP connects over a socket, with filters or without.
func overTCP(t *testing.T, r *reactor.Reactor, h framer.Handler, server, client func() reactor.Filter) *framer.Session {
	t.Helper()
	lis, err := r.Listen("tcp", "127.0.0.1:0", reactor.ListenConfig{Protocol: sessions(t, h), Filter: server})
	if err != nil {
		t.Fatal(err)
	}
	end, err := framer.NewEndpoint(&echoHandler{}, framer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	var s *framer.Session
	if _, err := r.Dial("tcp", lis.Addr().String(), reactor.DialConfig{Filter: client, Protocol: func(c *reactor.Conn) reactor.Protocol {
		s = end.Session(c)
		return s
	}}); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestManyConnsAndStreams: every stream gets its own bytes back, on all connections and loops, several times.
func TestManyConnsAndStreams(t *testing.T) {
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{}, DialerConfig{})
	var wg sync.WaitGroup
	for range 10 {
		c := p.dial(t)
		for i := range 20 {
			s := open(t, c, &echoHandler{})
			wg.Go(func() {
				for _, n := range []int{10, 5000, 100 << 10} {
					if err := ask(s, n+i); err != nil {
						t.Errorf("ask: %v", err)
					}
				}
				_ = s.Post(func(s *framer.Session) { s.Close(nil) })
			})
		}
	}
	wg.Wait()
	st := p.lis.Stats()
	if st.Conns != 10 || st.Opened != 10 || st.Streams != 200 || st.HandshakesFailed+st.Refused+st.StreamsRefused != 0 {
		t.Errorf("stats %+v", st)
	}
	waitFor(t, "the streams' end", func() bool { return r.Stats().Conns == 0 })
}

// TestStreamsComeAndGo: far more streams than may be open at once, one after the other: each end gives its place back.
func TestStreamsComeAndGo(t *testing.T) {
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{Config: Config{MaxStreams: 4}}, DialerConfig{})
	c := p.dial(t)
	end, err := framer.NewEndpoint(&echoHandler{}, framer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		made := make(chan *framer.Session, 1)
		waitFor(t, "room for a stream", func() bool {
			_, err := c.OpenStream(OpenConfig{Protocol: func(rc *reactor.Conn) reactor.Protocol {
				s := end.Session(rc)
				made <- s
				return s
			}})
			if err != nil && err != ErrStreamLimit {
				t.Fatalf("open: %v", err)
			}
			return err == nil
		})
		s := <-made
		mustAsk(t, s, 100)
		_ = s.Post(func(s *framer.Session) { s.Close(nil) })
	}
	if n := p.lis.Stats().Streams; n != 50 {
		t.Errorf("%d streams", n)
	}
}
