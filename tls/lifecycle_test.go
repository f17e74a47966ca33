package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// TestRelease ends handshakes in every state, and checks that no coroutine is left.
func TestRelease(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	server, client := defaults(t)
	hello := clientHello(t)
	for name, prepare := range map[string]func() *Conn{
		"new server":      server.Conn,
		"new client":      func() *Conn { return client.Conn("") },
		"half a hello":    func() *Conn { c := server.Conn(); c.Handshake(hello[:20]); return c },
		"hello, no step":  func() *Conn { c := server.Conn(); c.Handshake(hello); return c },
		"parked server":   func() *Conn { c := server.Conn(); c.Handshake(hello); c.Step(); return c },
		"parked client":   func() *Conn { c := client.Conn(""); c.Handshake(nil); c.Step(); return c },
		"refused":         func() *Conn { c := server.Conn(); c.Handshake([]byte("GET")); return c },
		"finished client": func() *Conn { s, c := server.Conn(), client.Conn(""); shake(s, c); s.Release(); return c },
	} {
		c := prepare()
		c.Finish(nil, nil)
		c.Release()
		c.Release()
		if _, err := c.Step(); err != ErrReleased {
			t.Errorf("%s: Step: %v", name, err)
		}
		if n, step, err := c.Handshake(hello); n != 0 || step || err != ErrReleased {
			t.Errorf("%s: Handshake: %d, %v, %v", name, n, step, err)
		}
		if _, _, err := c.Open(nil, hello); err != ErrReleased {
			t.Errorf("%s: Open: %v", name, err)
		}
		if _, err := c.Seal(nil, hello, false); err != ErrReleased {
			t.Errorf("%s: Seal: %v", name, err)
		}
		if c.EOF() != ErrReleased || len(c.Output(nil)) != 0 || len(c.Finish(nil, nil)) != 0 {
			t.Errorf("%s: not gone", name)
		}
	}
	if err := goleak.Find(ignore); err != nil {
		t.Error(err)
	}
}

// TestReleaseDuringStep: the loop may let go of a connection that a worker is busy with.
func TestReleaseDuringStep(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	entered, proceed := make(chan struct{}), make(chan struct{})
	cfg := serverTLS()
	cfg.GetCertificate = func(*stdtls.ClientHelloInfo) (*stdtls.Certificate, error) {
		close(entered)
		<-proceed
		return &pki().server, nil
	}
	cfg.Certificates = nil
	c := newServer(t, cfg).Conn()
	c.Handshake(clientHello(t))
	var done bool
	var err error
	var wg sync.WaitGroup
	wg.Go(func() { done, err = c.Step() })
	<-entered
	c.Release()
	c.Release()
	close(proceed)
	wg.Wait()
	if done || err != ErrReleased {
		t.Errorf("Step: %v, %v", done, err)
	}
	if c.hs != nil || c.state != stateReleased {
		t.Error("the worker did not clean up")
	}
	if err := goleak.Find(ignore); err != nil {
		t.Error(err)
	}
}

// TestNotReady: methods for an open connection refuse politely before the handshake is done.
func TestNotReady(t *testing.T) {
	server, client := defaults(t)
	for _, c := range []*Conn{server.Conn(), client.Conn("")} {
		if _, n, err := c.Open(nil, []byte{23, 3, 3, 0, 20}); n != 0 || err != ErrNotReady {
			t.Errorf("Open: %d, %v", n, err)
		}
		if _, err := c.Seal(nil, []byte("x"), true); err != ErrNotReady {
			t.Errorf("Seal: %v", err)
		}
		if err := c.UpdateKeys(true); err != ErrNotReady {
			t.Errorf("UpdateKeys: %v", err)
		}
		c.Release()
	}
	c := server.Conn()
	defer c.Release()
	if done, err := c.Step(); done || err != ErrNotReady {
		t.Errorf("Step before a hello: %v, %v", done, err)
	}
	if n := c.NextRecord([]byte{22, 3}); n != recordHeaderLen {
		t.Errorf("NextRecord of a piece: %d", n)
	}
	if n := c.NextRecord([]byte{22, 3, 3, 1, 2, 0}); n != 5+258 {
		t.Errorf("NextRecord: %d", n)
	}
	s, _ := keyed(t, testSuite, DefaultRecordsPerKey)
	for header, want := range map[string]int{
		"GET /": 5, "\x17\x03\x03\x41\x01": 5, "\x16\x03\x03\x00\x20": 5, "\x17\x03\x03\x00\x20": 37, "\x17\x03\x03\x41\x00": 16645,
	} {
		if n := s.NextRecord([]byte(header)); n != want {
			t.Errorf("NextRecord of %q: %d, want %d", header, n, want)
		}
	}
}

// TestSteps drives one handshake by steps on ever other goroutines, and checks that what follows the Finished is left alone.
func TestSteps(t *testing.T) {
	server, client := defaults(t)
	s, c := server.Conn(), client.Conn("")
	defer s.Release()
	defer c.Release()
	step := func(c *Conn) (done bool) {
		var wg sync.WaitGroup
		wg.Go(func() {
			var err error
			if done, err = c.Step(); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		return done
	}
	c.Handshake(nil)
	step(c)
	wire := c.Output(nil)
	n, _, _ := s.Handshake(wire)
	if n != len(wire) || step(s) {
		t.Fatal("server is done after the hello")
	}
	for wire = s.Output(nil); ; {
		n, again, err := c.Handshake(wire)
		if err != nil || !again {
			t.Fatal(again, err)
		}
		if again, more, _ := c.Handshake(wire); again != 0 || !more {
			t.Fatal("consumed while a step is due")
		}
		wire = wire[n:]
		if step(c) {
			break
		}
	}
	if n, again, err := c.Handshake(wire); n != 0 || again || err != nil {
		t.Fatalf("an open connection's Handshake: %d, %v, %v", n, again, err)
	}
	flight, err := c.Seal(nil, []byte("with the Finished"), false) // fetches Output by itself
	must(err)
	for {
		n, again, err := s.Handshake(flight)
		if err != nil || !again {
			t.Fatal(n, again, err)
		}
		flight = flight[n:]
		if step(s) {
			break
		}
	}
	if got := opened(t, s, flight); string(got) != "with the Finished" {
		t.Errorf("got %q", got)
	}
	if n := testing.AllocsPerRun(1, func() { s.Handshake(nil) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestPanics: a callback that panics fails its own connection, with an alert for the peer, and no other.
func TestPanics(t *testing.T) {
	boom := func() { panic("boom") }
	writer := writerFunc(func([]byte) (int, error) { panic(io.EOF) })
	cases := []struct {
		name           string
		server, client func(*stdtls.Config)
		text           string
	}{
		{"GetConfigForClient", func(c *stdtls.Config) {
			c.GetConfigForClient = func(*stdtls.ClientHelloInfo) (*stdtls.Config, error) { boom(); return nil, nil }
		}, nil, "boom"},
		{"GetCertificate", func(c *stdtls.Config) {
			c.Certificates = nil
			c.GetCertificate = func(*stdtls.ClientHelloInfo) (*stdtls.Certificate, error) { boom(); return nil, nil }
		}, nil, "boom"},
		{"VerifyConnection on the server", func(c *stdtls.Config) {
			c.VerifyConnection = func(stdtls.ConnectionState) error { boom(); return nil }
		}, nil, "boom"},
		{"client certificate on the server", func(c *stdtls.Config) {
			c.ClientAuth = stdtls.RequireAnyClientCert
			c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { boom(); return nil }
		}, func(c *stdtls.Config) { c.Certificates = []stdtls.Certificate{pki().small} }, "boom"},
		{"VerifyConnection on the client", nil, func(c *stdtls.Config) {
			c.VerifyConnection = func(stdtls.ConnectionState) error { boom(); return nil }
		}, "boom"},
		{"server KeyLogWriter", func(c *stdtls.Config) { c.KeyLogWriter = writer }, nil, "EOF"},
		{"client KeyLogWriter", nil, func(c *stdtls.Config) { c.KeyLogWriter = writer }, "EOF"},
		{"WrapSession", func(c *stdtls.Config) {
			c.WrapSession = func(stdtls.ConnectionState, *stdtls.SessionState) ([]byte, error) { return nil, io.EOF }
		}, func(c *stdtls.Config) { c.ClientSessionCache = stdtls.NewLRUClientSessionCache(1) }, ""},
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
			_, toClient, err := shake(s, c)
			var e *Error
			if tc.text != "" && (!errors.As(err, &e) || e.Alert != AlertInternalError || !strings.Contains(err.Error(), tc.text)) {
				t.Fatalf("got %v", err)
			}
			told := errors.Join(s.failure(), c.failure())
			if s.failure() == nil || c.failure() == nil { // one end was done before the other failed
				_, _, told = c.Open(make([]byte, 0, 20<<10), toClient)
			}
			if !strings.Contains(told.Error(), "peer: internal_error") {
				t.Errorf("other end was told %v", told)
			}
		})
	}
	s, c := newServer(t, serverTLS()).Conn(), newClient(t, clientTLS()).Conn("")
	if _, _, err := shake(s, c); err != nil {
		t.Errorf("a later handshake: %v", err)
	}
	s.Release()
	c.Release()
}

// TestCallbackEOF: an io.EOF of a callback is our failure, not the peer's close_notify.
func TestCallbackEOF(t *testing.T) {
	cases := map[string]func(sc, cc *stdtls.Config) (weFail string){
		"WrapSession": func(sc, cc *stdtls.Config) string {
			cc.ClientSessionCache = newCache()
			sc.WrapSession = func(stdtls.ConnectionState, *stdtls.SessionState) ([]byte, error) { return nil, io.EOF }
			return "server"
		},
		"UnwrapSession": func(sc, cc *stdtls.Config) string {
			cc.ClientSessionCache = newCache()
			pair(t, newServer(t, sc), newClient(t, cc))
			sc.UnwrapSession = func([]byte, stdtls.ConnectionState) (*stdtls.SessionState, error) { return nil, io.EOF }
			return "server"
		},
		"GetClientCertificate": func(sc, cc *stdtls.Config) string {
			sc.ClientAuth = stdtls.RequireAnyClientCert
			cc.GetClientCertificate = func(*stdtls.CertificateRequestInfo) (*stdtls.Certificate, error) { return nil, io.EOF }
			return "client"
		},
	}
	for name, set := range cases {
		t.Run(name, func(t *testing.T) {
			sc, cc := serverTLS(), clientTLS()
			side := set(sc, cc)
			s, c := newServer(t, sc).Conn(), newClient(t, cc).Conn("")
			defer s.Release()
			defer c.Release()
			shake(s, c)
			failed := s
			if side == "client" {
				failed = c
			}
			var e *Error
			if !errors.As(failed.failure(), &e) || e.Remote || e.Alert != AlertInternalError || !errors.Is(e, io.EOF) || !strings.Contains(e.Error(), name) {
				t.Errorf("got %v", failed.failure())
			}
		})
	}
}

// TestGoexit: a callback that ends its goroutine ends the step, and leaves a failed connection behind.
func TestGoexit(t *testing.T) {
	cfg := serverTLS()
	cfg.GetConfigForClient = func(*stdtls.ClientHelloInfo) (*stdtls.Config, error) { runtime.Goexit(); return nil, nil }
	c := newServer(t, cfg).Conn()
	c.Handshake(clientHello(t))
	var wg sync.WaitGroup
	wg.Go(func() { c.Step() })
	wg.Wait()
	if _, _, err := c.Handshake(nil); err == nil || len(c.Output(nil)) == 0 {
		t.Errorf("after Goexit: %v", err)
	}
	c.Release()
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestKeyLog: the user's key log gets the lines of every connection, whichever configuration it comes from.
func TestKeyLog(t *testing.T) {
	var base, other, theirs bytes.Buffer
	sc, cc := serverTLS(), clientTLS()
	sc.KeyLogWriter, cc.KeyLogWriter = &base, &theirs
	server, client := newServer(t, sc), newClient(t, cc)
	pair(t, server, client)
	if base.String() != theirs.String() || strings.Count(base.String(), "\n") != 4 {
		t.Errorf("server logged\n%s\nclient logged\n%s", &base, &theirs)
	}
	chosen := serverTLS()
	chosen.KeyLogWriter = &other
	chosen.MinVersion, chosen.NextProtos = stdtls.VersionTLS10, nil
	sc.GetConfigForClient = func(h *stdtls.ClientHelloInfo) (*stdtls.Config, error) {
		if h.Conn == nil || h.Conn.RemoteAddr() == nil || h.Conn.LocalAddr().Network() == "" {
			return nil, errors.New("no addresses")
		}
		return chosen, nil
	}
	s, _ := pair(t, newServer(t, sc), client)
	if strings.Count(other.String(), "\n") != 4 || s.State().ALPN != ALPN {
		t.Errorf("the chosen configuration: logged\n%s\nALPN %q", &other, s.State().ALPN)
	}
	chosen.MaxVersion = stdtls.VersionTLS12
	x, y := newServer(t, sc).Conn(), client.Conn("")
	defer x.Release()
	defer y.Release()
	if _, _, err := shake(x, y); err == nil || !strings.Contains(err.Error(), "MaxVersion") {
		t.Errorf("a callback that chooses TLS 1.2: %v", err)
	}
}
