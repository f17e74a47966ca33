package main

import (
	"context"
	stdtls "crypto/tls"
	"strings"
	"syscall"
	"testing"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/quic"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tor"
	"github.com/ron-transport/ron-transport/tor/torlab"
)

// streamTo dials a gateway over QUIC and opens a stream.
func (c *clients) streamTo(s *site, addr string) *framer.Session {
	c.t.Helper()
	d, err := quic.NewDialer(c.loops, quic.DialerConfig{TLS: &stdtls.Config{RootCAs: s.ca.roots, ServerName: "gateway.test"}})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := d.Dial(ctx, addr)
	if err != nil {
		c.t.Fatal(err)
	}
	made := make(chan *framer.Session, 1)
	if _, err := conn.OpenStream(quic.OpenConfig{Protocol: func(rc *reactor.Conn) reactor.Protocol {
		x := c.end.Session(rc)
		made <- x
		return x
	}}); err != nil {
		c.t.Fatal(err)
	}
	return <-made
}

// TestQUICForward: frames come over QUIC, go on over TLS, and the drain tells streams goodbye.
func TestQUICForward(t *testing.T) {
	s := newSite(t)
	back := launch(t, s.config(""))
	front := s.front("tls://"+back.addr("tls"), "--quic-listen=127.0.0.1:0", "--tls-listen=")
	c := s.clients()
	x := c.streamTo(s, front.addr("quic"))
	for _, n := range []int{1, 100_000, 1_000_000} {
		want := strings.Repeat("q", n)
		if f, err := ask(x, 7, want); err != nil || string(f.Payload) != want {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	front.signal(syscall.SIGTERM)
	eventually(t, "the goodbye", func() bool { _, err := ask(x, 7, "x"); return err == framer.ErrLeaving })
	_ = x.Post(func(x *framer.Session) { x.Close(nil) })
	_ = c.loops.Close()
	front.ends(0)
}

// TestOnion: the gateway offers an onion service on a private Tor network, which is not ready until it can be found, and then answers.
func TestOnion(t *testing.T) {
	if err := torlab.Available(); err != nil {
		t.Skip(err)
	}
	if testing.Short() {
		t.Skip("a private Tor network takes too long for -short")
	}
	lab, err := torlab.Start(t.Context(), torlab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	s := newSite(t)
	socket := "unix:" + lab.Client(0).ControlSocket()
	p := launch(t, s.config(""), "--tor-enabled", "--tor-control="+socket, "--tls-listen=", "--tor-key-file="+s.dir+"/onion.key")
	onion := p.addr("tor")
	p.log("readiness", map[string]string{"transport": "tor", "state": "not_ready", "reason": "not_ready"})
	p.ready("?transport=tor", "ready", 200)

	c := s.clients()
	client, err := tor.Open(tor.Config{Control: socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.loops.Close(); _ = client.Close() })
	if err := client.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an answer over Tor", func() bool { // a first connection may come before the descriptor is everywhere
		var x *framer.Session
		_, err := client.Dial(c.loops, onion, tor.DialConfig{Protocol: func(rc *reactor.Conn) reactor.Protocol { x = c.end.Session(rc); return x }})
		if err != nil {
			return false
		}
		f, err := ask(x, 7, "hello")
		return err == nil && string(f.Payload) == "hello"
	})
	_ = c.loops.Close()
	p.signal(syscall.SIGTERM)
	p.ends(0)
}
