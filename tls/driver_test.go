package tls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority is a throw-away CA with a server and client certificates of several sizes.
type authority struct {
	pool   *x509.CertPool
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	server stdtls.Certificate
	small  stdtls.Certificate // client
	large  stdtls.Certificate // client, 20 KB
}

// pki returns the process's authority. It is made once: keys are slow under the race detector.
var pki = sync.OnceValue(func() *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	a := &authority{key: key, pool: x509.NewCertPool()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(err)
	a.cert, err = x509.ParseCertificate(der)
	must(err)
	a.pool.AddCert(a.cert)
	a.server = a.issue(2, 0)
	a.small = a.issue(3, 0)
	a.large = a.issue(4, 20<<10)
	return a
})

// issue makes a leaf with padding bytes of a private extension.
func (a *authority) issue(serial int64, padding int) stdtls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "leaf"}, DNSNames: []string{"server.test"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if padding > 0 {
		template.ExtraExtensions = []pkix.Extension{{Id: []int{1, 3, 6, 1, 4, 1, 99999, 1}, Value: make([]byte, padding)}}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	must(err)
	return stdtls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// files writes ca.pem, cert.pem and key.pem for openssl.
func (a *authority) files(t testing.TB) (dir string) {
	dir = t.TempDir()
	write := func(name, kind string, der []byte) {
		must(os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	}
	write("ca.pem", "CERTIFICATE", a.cert.Raw)
	write("cert.pem", "CERTIFICATE", a.server.Certificate[0])
	der, err := x509.MarshalPKCS8PrivateKey(a.server.PrivateKey)
	must(err)
	write("key.pem", "PRIVATE KEY", der)
	return dir
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func serverTLS() *stdtls.Config {
	return &stdtls.Config{Certificates: []stdtls.Certificate{pki().server}}
}

func clientTLS() *stdtls.Config {
	return &stdtls.Config{RootCAs: pki().pool, ServerName: "server.test", NextProtos: []string{ALPN}}
}

func newServer(t testing.TB, c *stdtls.Config) *Server {
	t.Helper()
	s, err := NewServer(Config{TLS: c})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newClient(t testing.TB, c *stdtls.Config) *Client {
	t.Helper()
	s, err := NewClient(Config{TLS: c})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// driver is a blocking net.Conn over a Conn and a socket: what the reactor does with loops, done with goroutines. One goroutine
// may read while another writes.
type driver struct {
	net.Conn // the socket
	mu       sync.Mutex
	tls      *Conn
	cut      func(n int) int // how many of n waiting bytes to hand over; nil: all
	raw      []byte          // ciphertext not consumed
	plain    []byte          // plaintext not read
	readErr  error
}

// drive shakes hands over sock.
func drive(sock net.Conn, c *Conn, cut func(int) int) (*driver, error) {
	d := &driver{Conn: sock, tls: c, cut: cut}
	err := d.handshake()
	if err != nil {
		sock.Close()
		c.Release()
	}
	return d, err
}

func (d *driver) handshake() error {
	var held []byte // not shown to the Conn yet
	for {
		n, step, err := d.tls.Handshake(d.raw)
		d.raw = d.raw[n:]
		if err != nil {
			d.flush()
			return err
		}
		if step {
			done, err := d.tls.Step()
			d.flush()
			if done {
				d.raw = append(d.raw, held...)
			}
			if done || err != nil {
				return err
			}
			continue
		}
		if len(held) == 0 {
			b := make([]byte, 4096)
			n, err := d.Conn.Read(b)
			if err != nil {
				return errors.Join(d.tls.EOF(), err)
			}
			held = b[:n]
		}
		n = len(held)
		if d.cut != nil {
			n = d.cut(n)
		}
		d.raw = append(bytes.Clone(d.raw), held[:n]...)
		held = held[n:]
	}
}

func (d *driver) flush() {
	if out := d.tls.Output(nil); len(out) > 0 {
		d.Conn.Write(out)
	}
}

// Read implements net.Conn.
func (d *driver) Read(b []byte) (int, error) {
	for {
		if len(d.plain) > 0 {
			n := copy(b, d.plain)
			d.plain = d.plain[n:]
			return n, nil
		}
		if d.readErr != nil {
			return 0, d.readErr
		}
		if err := d.open(); err != nil || len(d.plain) > 0 {
			continue
		}
		buf := make([]byte, 32<<10)
		n, err := d.Conn.Read(buf)
		d.raw = append(d.raw, buf[:n]...)
		if err != nil && n == 0 {
			d.mu.Lock()
			if d.readErr = d.tls.EOF(); d.readErr == nil {
				d.readErr = err
			}
			d.mu.Unlock()
		}
	}
}

// open decrypts what has arrived.
func (d *driver) open() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		show := len(d.raw)
		if d.cut != nil && show > 0 {
			show = max(d.cut(show), min(show, d.tls.NextRecord(d.raw)))
		}
		dst := make([]byte, 0, show+maxCiphertext)
		out, n, err := d.tls.Open(dst, d.raw[:show])
		d.plain = append(d.plain, out...)
		d.raw = d.raw[n:]
		if err != nil {
			d.readErr = err
			if err != io.EOF {
				d.Conn.Write(d.tls.Finish(nil, err))
			}
			return err
		}
		if n == 0 {
			return nil
		}
	}
}

// Write implements net.Conn.
func (d *driver) Write(b []byte) (int, error) {
	d.mu.Lock()
	out, err := d.tls.Seal(nil, b, false)
	d.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if _, err := d.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}

// CloseWrite sends close_notify.
func (d *driver) CloseWrite() error {
	d.mu.Lock()
	out := d.tls.Finish(nil, nil)
	d.mu.Unlock()
	_, err := d.Conn.Write(out)
	return err
}

// Close implements net.Conn.
func (d *driver) Close() error {
	d.CloseWrite()
	d.tls.Release()
	return d.Conn.Close()
}

// duct is one direction of an in-memory connection: an unbounded buffer.
type duct struct {
	mu     sync.Mutex
	filled *sync.Cond
	buf    []byte
	ended  bool
}

func newDuct() *duct {
	d := &duct{}
	d.filled = sync.NewCond(&d.mu)
	return d
}

func (d *duct) Read(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.buf) == 0 && !d.ended {
		d.filled.Wait()
	}
	if len(d.buf) == 0 {
		return 0, io.EOF
	}
	n := copy(b, d.buf)
	d.buf = d.buf[n:]
	return n, nil
}

func (d *duct) Write(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return 0, io.ErrClosedPipe
	}
	d.buf = append(d.buf, b...)
	d.filled.Broadcast()
	return len(b), nil
}

func (d *duct) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	d.filled.Broadcast()
}

// wire is one end of an in-memory connection. Unlike net.Pipe its writes do not wait for the reader.
type wire struct {
	net.Conn // nil: the methods below are all that is used
	in, out  *duct
}

func newWire() (a, b *wire) {
	x, y := newDuct(), newDuct()
	return &wire{in: x, out: y}, &wire{in: y, out: x}
}

func (w *wire) Read(b []byte) (int, error)       { return w.in.Read(b) }
func (w *wire) Write(b []byte) (int, error)      { return w.out.Write(b) }
func (w *wire) Close() error                     { w.in.end(); w.out.end(); return nil }
func (w *wire) LocalAddr() net.Addr              { return pipeAddr{} }
func (w *wire) RemoteAddr() net.Addr             { return pipeAddr{} }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// one is a cut that hands over single bytes.
func one(int) int { return 1 }
