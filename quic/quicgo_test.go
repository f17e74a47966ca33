package quic

import (
	"bytes"
	"context"
	stdtls "crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
)

// stockDial connects quic-go's own client to the pair's listener.
func stockDial(t testing.TB, p *pair, alpn string) (*quicgo.Conn, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cfg := p.cli.Clone()
	cfg.NextProtos, cfg.ServerName = []string{alpn}, "localhost"
	return stockTransport(t).Dial(ctx, p.lis.Addr(), cfg, nil)
}

// stockTransport is quic-go on a plain socket, until the test ends.
func stockTransport(t testing.TB) *quicgo.Transport {
	t.Helper()
	sock, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	tr := &quicgo.Transport{Conn: sock}
	t.Cleanup(func() { _, _ = tr.Close(), sock.Close() })
	return tr
}

// stockStream opens a stream of a connection that ends with the test.
func stockStream(t testing.TB, p *pair) *quicgo.Stream {
	t.Helper()
	c, err := stockDial(t, p, ALPN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseWithError(0, "") })
	s, err := c.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	_ = s.SetDeadline(time.Now().Add(3 * patience))
	return s
}

// TestStockClient: quic-go's own client gets frames back from our server, on several streams of several connections.
func TestStockClient(t *testing.T) {
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{}, DialerConfig{})
	var wg sync.WaitGroup
	for range 3 {
		c, err := stockDial(t, p, ALPN)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			wg.Go(func() { stockAsk(t, c, 1000+20000*i) })
		}
		defer func() { _ = c.CloseWithError(0, "") }()
	}
	wg.Wait()
}

// stockAsk sends a request and compares the reply, on a stream of its own.
func stockAsk(t testing.TB, c *quicgo.Conn, n int) {
	s, err := c.OpenStream()
	if err != nil {
		t.Errorf("open: %v", err)
		return
	}
	_ = s.SetDeadline(time.Now().Add(patience))
	payload := bytes.Repeat([]byte{'p'}, n)
	wire, err := framer.AppendFrame(nil, &framer.Frame{Header: framer.Header{Flags: framer.FlagReq, AppProtoID: 7, CorrID: 3}, Payload: payload})
	if err != nil {
		t.Errorf("encode: %v", err)
		return
	}
	if _, err := s.Write(wire); err != nil {
		t.Errorf("write: %v", err)
	}
	_ = s.Close()
	reply, err := io.ReadAll(s)
	if err != nil || len(reply) != len(wire) || !bytes.Equal(reply[framer.HeaderLen:], payload) {
		t.Errorf("%d bytes came back for %d: %v", len(reply), len(wire), err)
	}
}

// TestStockServer: our dialer, with many streams, against quic-go's own server.
func TestStockServer(t *testing.T) {
	srv, cli := certificate(t)
	srv.NextProtos = []string{ALPN}
	r := start(t, reactor.Config{})
	ln, err := stockTransport(t).Listen(srv, nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { stockEcho(ln, &wg) })
	defer wg.Wait()
	defer func() { _ = ln.Close() }()
	d, err := NewDialer(r, DialerConfig{TLS: cli})
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Dial(context.Background(), ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	var asks sync.WaitGroup
	for i := range 20 {
		// The echo sends the request back as it is: only the flag makes it a request.
		got := make(chan int, 1)
		s := open(t, c, replies(func(f *framer.Frame) { got <- len(f.Payload) }))
		asks.Go(func() {
			n := 100 + 10000*i
			_ = s.Post(func(s *framer.Session) {
				_ = s.Send(&framer.Frame{Header: framer.Header{Flags: framer.FlagEvent, AppProtoID: 7}, Payload: make([]byte, n)})
			})
			select {
			case m := <-got:
				if m != n {
					t.Errorf("%d bytes came back for %d", m, n)
				}
			case <-time.After(patience):
				t.Errorf("nothing came back for %d bytes", n)
			}
		})
	}
	asks.Wait()
	if err := d.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// stockEcho sends back what comes on the streams of a quic-go listener.
func stockEcho(ln *quicgo.Listener, wg *sync.WaitGroup) {
	for {
		c, err := ln.Accept(context.Background())
		if err != nil {
			return
		}
		wg.Go(func() {
			for {
				s, err := c.AcceptStream(context.Background())
				if err != nil {
					return
				}
				wg.Go(func() { _, _ = io.Copy(s, s); _ = s.Close() })
			}
		})
	}
}

// replies is a framer.Handler that hands frames on.
type replies func(*framer.Frame)

func (replies) OnOpen(*framer.Session)                       {}
func (h replies) OnFrame(_ *framer.Session, f *framer.Frame) { h(f) }
func (replies) OnClose(*framer.Session, error)               {}

// TestStockPeerReadsOurReasons: what ends a stream or connection of ours reaches a peer of another make as a code.
func TestStockPeerReadsOurReasons(t *testing.T) {
	var events connEvents
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{Conns: &events, Protocol: script{
		data: func(c *reactor.Conn, b []byte) (int, int, error) {
			c.Abort(&Error{Why: "decompress_overflow", Msg: "test"})
			return len(b), 0, nil
		},
	}.with}, DialerConfig{})
	c, err := stockDial(t, p, ALPN)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	_, _ = s.Write([]byte("hello"))
	_, err = io.ReadAll(s)
	var se *quicgo.StreamError
	if !errors.As(err, &se) || !se.Remote || Code(se.ErrorCode) != CodeDecompressOverflow {
		t.Errorf("stream: %v", err)
	}
	events.conn(t, 0).Close(CodeNotReady, nil)
	var ae *quicgo.ApplicationError
	waitFor(t, "the connection's end", func() bool {
		s, err := c.OpenStream()
		if err == nil {
			_ = s.Close()
		}
		return errors.As(err, &ae)
	})
	if !ae.Remote || Code(ae.ErrorCode) != CodeNotReady {
		t.Errorf("connection: %v", ae)
	}
}

// TestStockClientWithAnotherProtocol is refused in the handshake.
func TestStockClientWithAnotherProtocol(t *testing.T) {
	failed := make(chan error, 8)
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{OnError: func(_ net.Addr, err error) { failed <- err }}, DialerConfig{})
	_, err := stockDial(t, p, "h3")
	var te *quicgo.TransportError
	if !errors.As(err, &te) || te.ErrorCode != 0x100+quicgo.TransportErrorCode(stdtls.AlertError(120)) {
		t.Errorf("dial: %v", err)
	}
	if err := <-failed; reasonOf(err) != "tls" {
		t.Errorf("the server's error: %v", err)
	}
}
