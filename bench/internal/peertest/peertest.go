// Package peertest is what the tests of all peers share: requests, a certificate, and the check that an echo server answers frames of all
// sizes in order. It does not use the library that the peers are compared with. Only tests import it.
package peertest

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/wire"
)

// Request is a frame with n bytes of payload that depend on id. It is the caller's. Any goroutine.
func Request(n int, id uint64) []byte {
	b := make([]byte, wire.HeaderLen+n)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	b[5], b[7] = 1, 1
	binary.BigEndian.PutUint64(b[30:], id)
	for i := range n {
		b[wire.HeaderLen+i] = byte(uint64(i)*7 + id)
	}
	return b
}

// Spoilt is a request without a payload whose byte at is v. Any goroutine.
func Spoilt(at int, v byte) []byte {
	b := Request(0, 0)
	b[at] = v
	return b
}

// Certificate makes a throw-away certificate: its files, which are gone at the test's end, the pair in them, and the roots that a client checks
// it by. The test's goroutine.
func Certificate(t *testing.T) (*cert.Files, tls.Certificate, *x509.CertPool) {
	t.Helper()
	files, err := cert.Make()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Remove() })
	pair, err := files.Load()
	if err != nil {
		t.Fatal(err)
	}
	roots, err := cert.Pool(files.Cert)
	if err != nil {
		t.Fatal(err)
	}
	return files, pair, roots
}

// piece is how much is written at once: an odd number of bytes, so that frames begin and end anywhere in a read.
const piece = 30011

// Echo writes requests with payloads of all sizes to c, and fails the test unless their replies come back in order. c has a deadline. The test's
// goroutine.
func Echo(t *testing.T, c io.ReadWriter, sizes []int) {
	t.Helper()
	var out, want []byte
	for i, n := range sizes {
		f := Request(n, uint64(i))
		out = append(out, f...)
		wire.MakeReply(f)
		want = append(want, f...)
	}
	go func() {
		for len(out) > 0 {
			n := min(len(out), piece)
			if _, err := c.Write(out[:n]); err != nil {
				return
			}
			out = out[n:]
		}
	}()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the replies differ from the requests")
	}
}

// Ends closes c's way out and fails the test unless the server then ends it cleanly. The test's goroutine.
func Ends(t *testing.T, c *tls.Conn) {
	t.Helper()
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the end: %v, want EOF", err)
	}
}

// Refuses writes b, which ends with a header that is refused, and fails the test unless what is before it is answered and the connection ends.
// The test's goroutine.
func Refuses(t *testing.T, c io.ReadWriter, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(c)
	if want := len(b) - wire.HeaderLen; len(got) != want {
		t.Errorf("%d bytes came back before the end, want %d", len(got), want)
	}
}
