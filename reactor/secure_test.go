package reactor

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	crand "crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/tls"
)

// certificate makes a throw-away certificate for 127.0.0.1 and a pool that trusts it.
func certificate(t testing.TB) (stdtls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), crand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(crand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return stdtls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// secure is a TLS listener for a template, and a client configuration that trusts it.
func secure(t testing.TB, r *Reactor, s script, onError func(net.Addr, error)) (*Listener, *stdtls.Config) {
	t.Helper()
	cert, pool := certificate(t)
	srv, err := tls.NewServer(tls.Config{TLS: &stdtls.Config{Certificates: []stdtls.Certificate{cert}}})
	if err != nil {
		t.Fatal(err)
	}
	lis, err := r.Listen("tcp", "127.0.0.1:0", ListenConfig{Protocol: s.with, Filter: func() Filter { return srv.Conn() }, OnError: onError})
	if err != nil {
		t.Fatal(err)
	}
	return lis, &stdtls.Config{RootCAs: pool, ServerName: "127.0.0.1", NextProtos: []string{"oap/1"}, ClientSessionCache: stdtls.NewLRUClientSessionCache(8)}
}

func TestTLSEcho(t *testing.T) {
	r := start(t, Config{})
	lis, cfg := secure(t, r, echo, nil)
	for i, size := range []int{1, 5_000, 64 << 10, 9 << 20} {
		c := stdtls.Client(dialNet(t, lis), cfg)
		sent := make([]byte, size)
		for i := range sent {
			sent[i] = byte(rand.Uint32())
		}
		go func() {
			_, _ = c.Write(sent)
			_ = c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("size %d: %d bytes came back, equal %v, %v", size, len(got), bytes.Equal(got, sent), err)
		}
		if c.ConnectionState().DidResume != (i > 0) {
			t.Errorf("connection %d: resumed %v", i, i == 0)
		}
	}
}

func TestTLSBlocksSplitAtRandom(t *testing.T) {
	r := start(t, Config{HighWater: 100_000, LowWater: 20_000})
	lis, cfg := secure(t, r, script{data: blocks(func(c *Conn, b []byte) {
		if len(b)%2 == 0 {
			_ = c.WriteInPlace(b)
		} else {
			_ = c.Write(b)
		}
	})}, nil)
	for seed := uint64(0); seed < 4; seed++ {
		rng := rand.New(rand.NewPCG(seed, 3))
		c := stdtls.Client(dialNet(t, lis), cfg)
		checkBlocksComeBack(t, c, rng, 150, 21, 80_000)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func TestTLSCloseDeliversEverythingAndSaysGoodbye(t *testing.T) {
	const size = 8 << 20
	r := start(t, Config{})
	lis, cfg := secure(t, r, script{open: func(c *Conn) {
		_ = c.Write(make([]byte, size))
		c.Close(nil)
	}}, nil)
	c := stdtls.Client(dialNet(t, lis), cfg)
	n, err := io.Copy(io.Discard, c) // without a close_notify this is an unexpected EOF
	if n != size || err != nil {
		t.Fatalf("%d bytes arrived, %v", n, err)
	}
}

func TestTLSTruncationIsSeen(t *testing.T) {
	r := start(t, Config{})
	var k closes
	lis, cfg := secure(t, r, script{close: k.add}, nil)
	tcp := dialNet(t, lis)
	c := stdtls.Client(tcp, cfg)
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "open", func() bool { return r.Stats().Opened == 1 })
	_ = tcp.CloseWrite()
	if err := k.one(t); reasonOf(err) != "tls" {
		t.Fatalf("cause %v", err)
	}
}

func TestTLSHandshakeFailures(t *testing.T) {
	for _, tc := range []struct {
		name string
		peer func(c *net.TCPConn, cfg *stdtls.Config)
		want string
	}{
		{"silence", func(*net.TCPConn, *stdtls.Config) {}, ReasonHandshakeTimeout},
		{"garbage", func(c *net.TCPConn, _ *stdtls.Config) { _, _ = c.Write([]byte("GET / HTTP/1.1\r\n\r\n")) }, "tls"},
		{"other ALPN", func(c *net.TCPConn, cfg *stdtls.Config) {
			cfg.NextProtos = []string{"h2"}
			_ = stdtls.Client(c, cfg).Handshake()
		}, "tls"},
		{"gone", func(c *net.TCPConn, _ *stdtls.Config) { _ = c.Close() }, ReasonIO},
	} {
		t.Run(tc.name, func(t *testing.T) {
			timeout := 20 * time.Second
			if tc.want == ReasonHandshakeTimeout {
				timeout = 100 * time.Millisecond
			}
			r := start(t, Config{HandshakeTimeout: timeout})
			failed := make(chan error, 1)
			lis, cfg := secure(t, r, script{open: func(*Conn) { t.Error("opened") }}, func(_ net.Addr, err error) { failed <- err })
			c := dialNet(t, lis)
			tc.peer(c, cfg)
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
			if err := <-failed; reasonOf(err) != tc.want {
				t.Fatalf("cause %v", err)
			}
		})
	}
}

func TestTLSDialBothEndsOurs(t *testing.T) {
	r := start(t, Config{})
	lis, cfg := secure(t, r, echo, nil)
	cl, err := tls.NewClient(tls.Config{TLS: cfg})
	if err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, 3<<20)
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	for range 3 {
		done := make(chan error, 1)
		var got []byte
		_, err := r.Dial("tcp", lis.Addr().String(), DialConfig{
			Filter: func() Filter { return cl.Conn("127.0.0.1") },
			Protocol: script{
				open: func(c *Conn) { _ = c.Write(sent) },
				data: func(c *Conn, p []byte) (int, int, error) {
					got = append(got, p...)
					if len(got) == len(sent) {
						c.Close(nil)
					}
					return len(p), 0, nil
				},
				close: func(_ *Conn, err error) { done <- err }}.with})
		if err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("%d bytes, equal %v, %v", len(got), bytes.Equal(got, sent), err)
		}
	}
}

func TestTLSDialRejectsAnUntrustedServer(t *testing.T) {
	r := start(t, Config{})
	lis, cfg := secure(t, r, echo, nil)
	cfg.RootCAs = x509.NewCertPool()
	cl, err := tls.NewClient(tls.Config{TLS: cfg})
	if err != nil {
		t.Fatal(err)
	}
	var k closes
	if _, err := r.Dial("tcp", lis.Addr().String(), DialConfig{Filter: func() Filter { return cl.Conn("127.0.0.1") }, Protocol: script{close: k.add}.with}); err != nil {
		t.Fatal(err)
	}
	var ua x509.UnknownAuthorityError
	if err := k.one(t); !errors.As(err, &ua) {
		t.Fatalf("cause %v", err)
	}
}
