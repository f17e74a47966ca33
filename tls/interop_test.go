package tls

import (
	"bytes"
	"crypto/rand"
	stdtls "crypto/tls"
	"fmt"
	"io"
	"net"
	"testing"
)

// connection is what the interop tests need of an end, ours or crypto/tls's.
type connection interface {
	net.Conn
	CloseWrite() error
}

// dial shakes hands between an end of ours and one of crypto/tls's, whichever way round, and returns ours and the other.
func dial(t *testing.T, ours func() *Conn, theirs func(net.Conn) *stdtls.Conn, cut func(int) int) (*driver, *stdtls.Conn) {
	t.Helper()
	a, b := newWire()
	other := theirs(b)
	result := make(chan error, 1)
	go func() {
		err := other.Handshake()
		if err != nil {
			b.Close()
		}
		result <- err
	}()
	d, err := drive(a, ours(), cut)
	if e := <-result; err != nil || e != nil {
		t.Fatalf("handshake: ours %v, crypto/tls %v", err, e)
	}
	return d, other
}

// echo sends size bytes from a, lets b send them back, and compares.
func echo(t *testing.T, a, b connection, size int) {
	t.Helper()
	want := make([]byte, size)
	rand.Read(want)
	go a.Write(want)
	copied := make(chan error, 1)
	go func() {
		_, err := io.CopyN(b, b, int64(size))
		copied <- err
	}()
	got := make([]byte, size)
	if _, err := io.ReadFull(a, got); err != nil {
		t.Fatalf("echo: %v", err)
	}
	if err := <-copied; err != nil {
		t.Fatalf("echo: %v", err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("echo: other bytes came back")
	}
}

// hangUp closes both directions in turn and checks that both sides see a clean end.
func hangUp(t *testing.T, d *driver, other *stdtls.Conn) {
	t.Helper()
	if err := d.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(other); err != nil || len(b) != 0 {
		t.Fatalf("crypto/tls read %q, %v at the end", b, err)
	}
	if err := other.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(d); err != nil || len(b) != 0 {
		t.Fatalf("we read %q, %v at the end", b, err)
	}
	if err := d.tls.EOF(); err != nil {
		t.Fatalf("EOF after close_notify: %v", err)
	}
	d.Close()
	other.Close()
}

func TestInterop(t *testing.T) {
	cuts := map[string]func(int) int{
		"byte": one, "pieces": func(n int) int { return min(n, 700) }, "whole": nil,
	}
	certs := map[string]*stdtls.Certificate{"none": nil, "small": &pki().small, "large": &pki().large}
	for cutName, cut := range cuts {
		for certName, cert := range certs {
			for _, retry := range []bool{false, true} {
				for _, server := range []bool{true, false} {
					t.Run(fmt.Sprintf("%s/%s/retry=%v/server=%v", cutName, certName, retry, server), func(t *testing.T) {
						t.Parallel()
						testInterop(t, cut, cert, retry, server)
					})
				}
			}
		}
	}
}

func testInterop(t *testing.T, cut func(int) int, cert *stdtls.Certificate, retry, server bool) {
	sc, cc := serverTLS(), clientTLS()
	sc.NextProtos = []string{ALPN}
	cc.ClientSessionCache = stdtls.NewLRUClientSessionCache(4)
	if cert != nil {
		sc.ClientAuth, sc.ClientCAs = stdtls.RequireAndVerifyClientCert, pki().pool
		cc.Certificates = []stdtls.Certificate{*cert}
	}
	if retry {
		sc.CurvePreferences = []stdtls.CurveID{stdtls.CurveP384}
		cc.CurvePreferences = []stdtls.CurveID{stdtls.X25519, stdtls.CurveP384}
	}
	ours := func() *Conn { return nil }
	theirs := func(c net.Conn) *stdtls.Conn { return stdtls.Client(c, cc) }
	if server {
		s := newServer(t, sc)
		ours = s.Conn
	} else {
		c := newClient(t, cc)
		ours = func() *Conn { return c.Conn("") }
		theirs = func(c net.Conn) *stdtls.Conn { return stdtls.Server(c, sc) }
	}
	for i := range 3 {
		d, other := dial(t, ours, theirs, cut)
		st := d.tls.State()
		if st.Resumed != (i > 0) || st.HelloRetryRequest != retry || st.ALPN != ALPN || st.ServerName != "server.test" {
			t.Fatalf("connection %d: %+v", i, st)
		}
		if server && (len(st.PeerCertificates) > 0) != (cert != nil) {
			t.Fatalf("connection %d: %d client certificates", i, len(st.PeerCertificates))
		}
		if other.ConnectionState().DidResume != st.Resumed {
			t.Fatalf("connection %d: the two ends disagree about resumption", i)
		}
		echo(t, d, other, 10_000)
		echo(t, other, d, 10_000)
		hangUp(t, d, other)
	}
}
