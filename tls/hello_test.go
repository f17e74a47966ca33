package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
)

// clientHello returns the first flight of a client.
func clientHello(t testing.TB) []byte {
	t.Helper()
	c := newClient(t, clientTLS()).Conn("")
	defer c.Release()
	if _, step, err := c.Handshake(nil); !step || err != nil {
		t.Fatal(step, err)
	}
	if done, err := c.Step(); done || err != nil {
		t.Fatal(done, err)
	}
	return c.Output(nil)
}

// TestHelloGarbage: what cannot be TLS fails at the first byte that shows it, with an alert, and without an engine.
func TestHelloGarbage(t *testing.T) {
	head := func(n int, body ...byte) []byte { return append([]byte{22, 3, 1, byte(n >> 8), byte(n)}, body...) }
	cases := []struct {
		name  string
		bytes []byte
		need  int // bytes until the verdict
		fault fault
	}{
		{"HTTP", []byte("GET / HTTP/1.1\r\n\r\n"), 1, faultNotTLS},
		{"SSLv2", []byte{0x80, 0x2e, 1, 0, 2}, 1, faultSSL2},
		{"application data", []byte{23, 3, 3, 0, 5}, 1, faultNotTLS},
		{"change_cipher_spec first", []byte{20, 3, 3, 0, 1, 1}, 1, faultNotTLS},
		{"version 2", []byte{22, 2, 0, 0, 5}, 2, faultHelloVersion},
		{"alert of version 2", []byte{21, 2, 0, 0, 2}, 2, faultHelloVersion},
		{"empty record", head(0), 5, faultHelloEmpty},
		{"record over 2^14", head(maxPlaintext + 1), 5, faultHelloRecordSize},
		{"ServerHello", head(50, 2), 6, faultHelloType},
		{"hello over the limit", head(50, 1, 1, 0, 1), 9, faultHelloSize},
		{"hello over the limit, in pieces", bytes.Join([][]byte{head(1, 1), head(1, 1), head(1, 0), head(1, 1)}, nil), 24, faultHelloSize},
		{"data between the pieces", append(head(1, 1), 23), 7, faultNotTLS},
		{"alert between the pieces", append(head(1, 1), 21), 7, faultNotTLS},
		{"empty alert", []byte{21, 3, 3, 0, 0}, 5, faultEmptyAlert},
		{"alert of three bytes", []byte{21, 3, 3, 0, 3}, 5, faultAlertSize},
	}
	seen := map[fault]bool{ // see the tests below, and strict_test.go
		faultHandshakeRecord: true, faultCCSValue: true, faultUnprotected: true, faultUnaskedFlight: true,
	}
	for _, tc := range cases {
		seen[tc.fault] = true
		t.Run(tc.name, func(t *testing.T) {
			c := newServer(t, serverTLS()).Conn()
			defer c.Release()
			var held []byte
			for i, b := range tc.bytes {
				held = append(held, b)
				n, step, err := c.Handshake(held)
				held = held[n:]
				if (err != nil) != (i+1 >= tc.need) || step {
					t.Fatalf("after %d bytes: step %v, error %v", i+1, step, err)
				}
				if err == nil {
					continue
				}
				want, _ := tc.fault.alert()
				var e *Error
				if !errors.As(err, &e) || e.Alert != want {
					t.Fatalf("got %v, want %v", err, want)
				}
				if out := c.Output(nil); !bytes.Equal(out, []byte{21, 3, 3, 0, 2, 2, byte(want)}) {
					t.Fatalf("told the peer %x", out)
				}
				if more := c.Finish(nil, err); len(more) != 0 {
					t.Fatalf("Finish added %x", more)
				}
				return
			}
		})
	}
	for f := fault(1); f < lastFault; f++ {
		if !postHandshake(f) && !seen[f] {
			t.Errorf("no case for fault %d", f)
		}
	}
}

// TestHelloAlert: a client that gives up before its hello is not told anything.
func TestHelloAlert(t *testing.T) {
	c := newServer(t, serverTLS()).Conn()
	defer c.Release()
	_, _, err := c.Handshake([]byte{21, 3, 1, 0, 2, 2, 80})
	var e *Error
	if !errors.As(err, &e) || !e.Remote || e.Alert != AlertInternalError || len(c.Output(nil)) != 0 {
		t.Fatal(err)
	}
}

// TestHelloFragments: a ClientHello in records of any size works, and costs its own length.
func TestHelloFragments(t *testing.T) {
	server := newServer(t, serverTLS())
	for _, piece := range []int{1, 3, 100, 1000} {
		client := newClient(t, clientTLS()).Conn("")
		defer client.Release()
		client.Handshake(nil)
		client.Step()
		hello := client.Output(nil)
		var wire []byte
		for body := hello[recordHeaderLen:]; len(body) > 0; {
			n := min(piece, len(body))
			wire = append(wire, 22, 3, 1, byte(n>>8), byte(n))
			wire = append(wire, body[:n]...)
			body = body[n:]
		}
		c := server.Conn()
		defer c.Release()
		n, step, err := c.Handshake(wire)
		if n != len(wire) || !step || err != nil {
			t.Fatalf("pieces of %d: consumed %d of %d, step %v, %v", piece, n, len(wire), step, err)
		}
		if c.hs.engine != nil {
			t.Error("an engine exists before Step")
		}
		if len(c.hs.input) > len(hello)+recordHeaderLen {
			t.Errorf("pieces of %d: %d bytes kept for a hello of %d", piece, len(c.hs.input), len(hello))
		}
		if done, err := c.Step(); done || err != nil {
			t.Fatal(done, err)
		}
		toClient, toServer := c.Output(nil), []byte(nil)
		if done, err := advance(client, &toClient, &toServer); !done || err != nil {
			t.Fatal(done, err)
		}
		if done, err := advance(c, &toServer, &toClient); !done || err != nil {
			t.Fatal(done, err)
		}
	}
}

// TestHelloPending: until the hello is whole there is nothing but its bytes.
func TestHelloPending(t *testing.T) {
	hello := clientHello(t)
	c := newServer(t, serverTLS()).Conn()
	defer c.Release()
	for i := range hello {
		n, step, err := c.Handshake(hello[:i])
		if n != 0 || step || err != nil || c.hs != nil {
			t.Fatalf("after %d bytes: %d, %v, %v, %v", i, n, step, err, c.hs)
		}
	}
	if err := c.EOF(); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "handshake") {
		t.Errorf("EOF: %v", err)
	}
}

// TestHandshakeOversized: an oversized record is refused by its header, in every phase.
func TestHandshakeOversized(t *testing.T) {
	huge := []byte{23, 3, 3, 0xff, 0xff}
	check := func(c *Conn) {
		t.Helper()
		n, step, err := c.Handshake(huge)
		if n != recordHeaderLen || !step || err != nil {
			t.Fatal(n, step, err)
		}
		_, err = c.Step()
		var e *Error
		if !errors.As(err, &e) || e.Alert != AlertRecordOverflow {
			t.Fatal(err)
		}
		if len(c.Output(nil)) == 0 {
			t.Error("no alert for the peer")
		}
	}
	server, client := defaults(t)
	s, c := server.Conn(), client.Conn("")
	defer s.Release()
	defer c.Release()
	c.Handshake(nil)
	c.Step()
	hello := c.Output(nil)
	s.Handshake(hello)
	s.Step()
	check(s)
	// crypto/tls allows a client's first record 2^14+2048 bytes; the rest of it would be waited for.
	huge = []byte{22, 3, 3, 0x41, 1}
	check(c)
}

// TestHandshakeCCS: change_cipher_spec inside the handshake, right and wrong.
func TestHandshakeCCS(t *testing.T) {
	good := []byte{20, 3, 3, 0, 1, 1}
	protected := func(s, c *Conn) []byte { // by the client's handshake key
		var h half
		p := &s.hs.engine.pipe
		must(h.install(p.suite, p.secrets[secretClientHandshake].bytes()))
		return h.seal(nil, typeChangeCipherSpec, []byte{1})
	}
	plain := func(b ...byte) func(_, _ *Conn) []byte { return func(_, _ *Conn) []byte { return b } }
	for name, tc := range map[string]struct {
		wire  func(s, c *Conn) []byte
		fault fault
	}{
		"16 good ones": {plain(bytes.Repeat(good, 15)...), 0}, // and the client's own
		"value 2":      {plain(20, 3, 3, 0, 1, 2), faultCCSValue},
		"two bytes":    {plain(20, 3, 3, 0, 2, 1, 1), faultCCSValue},
		"empty":        {plain(20, 3, 3, 0, 0), faultCCSValue},
		"protected":    {protected, faultCCS},
	} {
		t.Run(name, func(t *testing.T) {
			server, client := defaults(t)
			s, c := server.Conn(), client.Conn("")
			defer s.Release()
			defer c.Release()
			var toServer, toClient []byte
			advance(c, &toClient, &toServer)
			advance(s, &toServer, &toClient)
			toServer = tc.wire(s, c)
			_, err := advance(s, &toServer, &toClient)
			if tc.fault == 0 {
				if err == nil {
					_, _, err = shakeOn(s, c, toServer, toClient)
				}
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			want, detail := tc.fault.alert()
			var e *Error
			if !errors.As(err, &e) || e.Alert != want || e.Detail != detail {
				t.Fatalf("got %v, want %v", err, detail)
			}
			if done, err := advance(c, &toClient, &toServer); !done || err != nil {
				t.Fatal(done, err)
			}
			if _, _, err := c.Open(make([]byte, 0, 1000), toClient); !errors.As(err, &e) || !e.Remote || e.Alert != want {
				t.Errorf("the client was told %v", err)
			}
		})
	}
	server, client := defaults(t) // one more than crypto/tls drops
	s, c := server.Conn(), client.Conn("")
	defer s.Release()
	defer c.Release()
	var toServer, toClient []byte
	advance(c, &toClient, &toServer)
	advance(s, &toServer, &toClient)
	toServer = bytes.Repeat(good, maxBatchedCCS)
	var e *Error
	if _, err := advance(s, &toServer, &toClient); !errors.As(err, &e) || e.Alert != AlertUnexpectedMessage {
		t.Errorf("%d in a row: %v", maxBatchedCCS, err)
	}
}

// TestHandshakeAlerts: failures inside crypto/tls reach both ends as typed errors with the alert's number.
func TestHandshakeAlerts(t *testing.T) {
	cases := []struct {
		name           string
		server, client func(*stdtls.Config)
		server13       bool // the server is the one that finds out
		want           Alert
	}{
		{"no common ALPN", nil, func(c *stdtls.Config) { c.NextProtos = []string{"h2"} }, true, AlertNoApplicationProtocol},
		{"no common group", func(c *stdtls.Config) { c.CurvePreferences = []stdtls.CurveID{stdtls.CurveP384} },
			func(c *stdtls.Config) { c.CurvePreferences = []stdtls.CurveID{stdtls.CurveP521} }, true, AlertHandshakeFailure},
		{"unknown authority", nil, func(c *stdtls.Config) { c.RootCAs = nil }, false, AlertBadCertificate},
		{"wrong name", nil, func(c *stdtls.Config) { c.ServerName = "other.test" }, false, AlertBadCertificate},
		{"no client certificate", func(c *stdtls.Config) {
			c.ClientAuth, c.ClientCAs = stdtls.RequireAndVerifyClientCert, pki().pool
		}, nil, true, AlertCertificateRequired},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			sc, cc := serverTLS(), clientTLS()
			if tc.server != nil {
				tc.server(sc)
			}
			if tc.client != nil {
				tc.client(cc)
			}
			s, c := newServer(t, sc).Conn(), newClient(t, cc).Conn("")
			defer s.Release()
			defer c.Release()
			finder, other := c, s
			if tc.server13 {
				finder, other = s, c
			}
			toServer, toClient, err := shake(s, c)
			var e *Error
			if !errors.As(err, &e) || e.Alert != tc.want || finder.failure() != err {
				t.Fatalf("shake: %v (alert %v), want %v", err, e, tc.want)
			}
			told := other.failure()
			if told == nil { // a client that is done already reads the alert with Open
				if s == other {
					t.Fatalf("server saw nothing; %d bytes left", len(toServer))
				}
				_, _, told = c.Open(make([]byte, 0, 20<<10), toClient)
			}
			if !errors.As(told, &e) || !e.Remote || e.Alert != tc.want {
				t.Fatalf("other end: %v", told)
			}
		})
	}
}
