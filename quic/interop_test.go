package quic_test

import (
	"bytes"
	"context"
	stdtls "crypto/tls"
	"encoding/pem"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	xquic "golang.org/x/net/quic"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/quic"
)

// batch is what the interop clients send: frames of all sizes on one stream, and the answers that must come back.
func batch() (wire []byte, payloads [][]byte) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{0, 1, 1000, 4096, 65536, 300_000, framer.MaxPayload, 7} {
		p := make([]byte, n)
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		wire = append(wire, request(other, p)...)
		payloads = append(payloads, p)
	}
	return wire, payloads
}

// expectBatch checks the answers.
func expectBatch(t *testing.T, r io.Reader, payloads [][]byte) {
	t.Helper()
	for i, p := range payloads {
		f, err := readFrame(r)
		if err != nil || f.Code != 200 || !bytes.Equal(f.Payload, p) {
			t.Fatalf("answer %d: %+v, %v", i, f, err)
		}
	}
	if n, err := io.Copy(io.Discard, r); n != 0 || err != nil {
		t.Errorf("behind the answers: %d bytes, %v", n, err)
	}
}

// serverTLS is for servers of others.
func serverTLS() *stdtls.Config {
	return &stdtls.Config{Certificates: []stdtls.Certificate{pki().cert}, NextProtos: []string{quic.ALPN}, MinVersion: stdtls.VersionTLS13}
}

// flusher is a stream that keeps small writes until they are flushed.
type flusher interface{ Flush() error }

// echoFrames answers frames as a site does, without a line of its code, until the peer's end. Its errors are the client's to see.
func echoFrames(s io.ReadWriteCloser) {
	for {
		f, err := readFrame(s)
		if err != nil {
			break
		}
		f.Flags, f.Code = framer.FlagResp|framer.FlagEnd, 200
		b, err := framer.AppendFrame(nil, f)
		if err == nil {
			_, err = s.Write(b)
		}
		if fl, ok := s.(flusher); ok && err == nil {
			err = fl.Flush()
		}
		if err != nil {
			break
		}
	}
	_ = s.Close()
}

// expectServed has our own client ask a server of another make.
func expectServed(t *testing.T, s *site, addr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	d := dialer(t, s, quic.DialerConfig{})
	c, err := d.Dial(ctx, addr)
	if err != nil {
		t.Fatal(err)
	}
	ss := session(t, c, framer.Options{})
	_, payloads := batch()
	for i, p := range payloads {
		if f, err := askOf(ss, other, p); err != nil || !bytes.Equal(f.Payload, p) {
			t.Fatalf("answer %d: %v", i, err)
		}
	}
	if st := c.State(); st.ALPN != quic.ALPN || len(st.Peer) != 1 {
		t.Errorf("state %+v", st)
	}
	c.Close(quic.CodeNone, nil)
}

// TestInteropGo: the QUIC of Go's own x/net, which shares no code with quic-go, as client and as server.
func TestInteropGo(t *testing.T) {
	s := newSite(t, nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client, err := xquic.Listen("udp", "127.0.0.1:0", nil)
	must(err)
	defer func() { must(client.Close(ctx)) }()
	tc := clientTLS()
	tc.MinVersion = stdtls.VersionTLS13
	c, err := client.Dial(ctx, "udp", s.addr, &xquic.Config{TLSConfig: tc})
	if err != nil {
		t.Fatal(err)
	}
	wire, payloads := batch()
	stream, err := c.NewStream(ctx)
	must(err)
	go func() { // the reader finds out what is missing
		_, _ = stream.Write(wire)
		stream.CloseWrite()
	}()
	expectBatch(t, stream, payloads)
	s.ended("", 1)
	_ = c.Close() // it wants its CONNECTION_CLOSE answered, which nobody must do (RFC 9000, 10.2.2)
	s.eventually("the connection ends without a fault", func() bool { return s.number(func() int { return s.codes[quic.CodeNone] }) == 1 })

	server, err := xquic.Listen("udp", "127.0.0.1:0", &xquic.Config{TLSConfig: serverTLS()})
	must(err)
	defer func() { must(server.Close(ctx)) }()
	go func() {
		if conn, err := server.Accept(ctx); err == nil {
			if stream, err := conn.AcceptStream(ctx); err == nil {
				echoFrames(stream)
			}
		}
	}()
	expectServed(t, s, net.JoinHostPort("127.0.0.1", strings.Split(server.LocalAddr().String(), ":")[1]))
}

// ngtcp2Client builds a client from Debian's ngtcp2 and GnuTLS, and skips the test where they are not installed.
func ngtcp2Client(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc is not installed")
	}
	if _, err := os.Stat("/usr/include/ngtcp2/ngtcp2_crypto_gnutls.h"); err != nil {
		t.Skip("ngtcp2 is not installed (Debian: libngtcp2-dev, libngtcp2-crypto-gnutls-dev, libgnutls28-dev)")
	}
	exe := filepath.Join(t.TempDir(), "ngtcp2_client")
	build := exec.Command("gcc", "-Wall", "-O1", "-o", exe, "testdata/ngtcp2_client.c", "-lngtcp2_crypto_gnutls", "-lngtcp2", "-lgnutls")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return exe
}

// TestInteropNgtcp2: a client in C, of ngtcp2 and GnuTLS; once with an address token, as a server under load asks for one.
func TestInteropNgtcp2(t *testing.T) {
	exe := ngtcp2Client(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	must(os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pki().der}), 0o600))
	wire, payloads := batch()
	for _, retry := range []int{0, -1} {
		s := newSite(t, func(p *plan) { p.listen.RetryAbove = retry })
		_, port, err := net.SplitHostPort(s.addr)
		must(err)
		run := func(alpn string, in []byte) ([]byte, string, error) {
			ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, exe, port, alpn, ca)
			cmd.Stdin = bytes.NewReader(in)
			var out, errs bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errs
			err := cmd.Run()
			return out.Bytes(), errs.String(), err
		}
		out, errs, err := run(quic.ALPN, wire)
		if err != nil {
			t.Fatalf("%v: %s", err, errs)
		}
		expectBatch(t, bytes.NewReader(out), payloads)
		if n := s.lis.Stats().Retries; (n > 0) != (retry < 0) {
			t.Errorf("%d retries", n)
		}
		if _, errs, err := run("h3", wire); err == nil || !strings.Contains(errs, "ngtcp2_client: ") {
			t.Errorf("another protocol: %v, %s", err, errs)
		}
		s.eventually("the other protocol is refused as tls", func() bool { return s.number(func() int { return s.failed["tls"] }) == 1 })
		out, errs, err = run(quic.ALPN, []byte("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"))
		if err != nil {
			t.Fatalf("%v: %s", err, errs)
		}
		if f, err := readFrame(bytes.NewReader(out)); err != nil || f.Code < 400 || reasonIn(f) == "" {
			t.Errorf("no frame: %+v, %v", f, err)
		}
	}
}
