package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"errors"
	"net"
	"testing"
)

// TestRefuse: a refused peer reads internal_error; afterwards the connection has failed, and nothing more is written.
func TestRefuse(t *testing.T) {
	server, client := defaults(t)
	hello := clientHello(t)
	fragment := append([]byte{22, 3, 1, 0, 50}, hello[5:55]...)
	for name, prepare := range map[string]func() *Conn{
		"server":             server.Conn,
		"server, half hello": func() *Conn { c := server.Conn(); c.Handshake(fragment); return c },
		"client":             func() *Conn { return client.Conn("") },
	} {
		c := prepare()
		out := c.Refuse([]byte("before"))
		if !bytes.Equal(out, []byte("before\x15\x03\x03\x00\x02\x02\x50")) {
			t.Errorf("%s: wrote %x", name, out)
		}
		_, step, err := c.Handshake(hello)
		var e *Error
		if !errors.As(err, &e) || e.Alert != AlertInternalError || e.Remote || step || c.EOF() != err {
			t.Errorf("%s: Handshake: %v, %v", name, step, err)
		}
		if more := c.Refuse(nil); len(more)+len(c.Output(nil))+len(c.Finish(nil, err)) != 0 {
			t.Errorf("%s: written twice", name)
		}
		c.Release()
	}
	for name, prepare := range map[string]func() *Conn{
		"hello, no step": func() *Conn { c := server.Conn(); c.Handshake(hello); return c },
		"parked":         func() *Conn { c := server.Conn(); c.Handshake(hello); c.Step(); return c },
		"open":           func() *Conn { s, _ := keyed(t, testSuite, DefaultRecordsPerKey); return s },
		"released":       func() *Conn { c := server.Conn(); c.Release(); return c },
	} {
		c := prepare()
		before := c.state
		if out := c.Refuse(nil); len(out) != 0 || c.state != before {
			t.Errorf("%s: wrote %x, state %d", name, out, c.state)
		}
		c.Release()
	}
	a, b := newWire()
	sock := stdtls.Client(a, clientTLS())
	b.Write(server.Conn().Refuse(nil))
	if err := sock.Handshake(); err == nil || err.Error() != "remote error: tls: internal error" {
		t.Errorf("crypto/tls reads %v", err)
	}
}

// socket has addresses.
type socket struct{ local, remote net.TCPAddr }

func (s *socket) LocalAddr() net.Addr  { return &s.local }
func (s *socket) RemoteAddr() net.Addr { return &s.remote }

// TestBind: callbacks see the addresses, and nothing refers to the socket when the handshake is done.
func TestBind(t *testing.T) {
	sock := &socket{net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}, net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 9}}
	var seen []string
	look := func(h *stdtls.ClientHelloInfo) {
		seen = append(seen, h.Conn.LocalAddr().String(), h.Conn.RemoteAddr().String())
	}
	sc := serverTLS()
	sc.GetConfigForClient = func(h *stdtls.ClientHelloInfo) (*stdtls.Config, error) { look(h); return nil, nil }
	sc.GetCertificate = func(h *stdtls.ClientHelloInfo) (*stdtls.Certificate, error) { look(h); return &pki().server, nil }
	cc := clientTLS()
	cc.ClientSessionCache = newCache()
	s, c := newServer(t, sc).Conn(), newClient(t, cc).Conn("")
	defer s.Release()
	defer c.Release()
	s.Bind(sock)
	c.Bind(sock)
	if _, _, err := shake(s, c); err != nil {
		t.Fatal(err)
	}
	if len(seen) != 4 || seen[0] != "192.0.2.1:443" || seen[1] != "192.0.2.2:9" || seen[2] != seen[0] || seen[3] != seen[1] {
		t.Errorf("callbacks saw %q", seen)
	}
	if s.addrs != nil || c.addrs != nil || c.extra.tickets.pipe.addrs != nil {
		t.Error("the socket is still referred to")
	}
	if p := (&pipe{}); p.LocalAddr().String() != "in-memory" || p.RemoteAddr().Network() != "tls" {
		t.Error("placeholders")
	}
}

// What an embedding event loop looks for.
var _ interface {
	Bind(c interface {
		LocalAddr() net.Addr
		RemoteAddr() net.Addr
	})
	Refuse(dst []byte) []byte
	Sleep()
} = (*Conn)(nil)
