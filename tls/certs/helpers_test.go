package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	stdtls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(nodeEnv); dir != "" {
		node(dir) // a child of TestTicketsAcrossProcesses
		return
	}
	goleak.VerifyTestMain(m)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// clock is a clock that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Now().Truncate(time.Second)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// log records events.
type log struct {
	mu  sync.Mutex
	all []Event
}

func (l *log) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
}

// take returns the kinds recorded since the last call, as words.
func (l *log) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var words []string
	for _, e := range l.all {
		words = append(words, e.Kind.String())
	}
	l.all = nil
	return strings.Join(words, " ")
}

func expectEvents(t *testing.T, l *log, want string) {
	t.Helper()
	if got := l.take(); got != want {
		t.Errorf("events %q, want %q", got, want)
	}
}

// authority is a throw-away CA.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pool *x509.CertPool
}

var serials struct {
	sync.Mutex
	n int64
}

func nextSerial() *big.Int {
	serials.Lock()
	defer serials.Unlock()
	serials.n++
	return big.NewInt(0x1000 + serials.n)
}

func newAuthority(name string) *authority {
	key := newKey(elliptic.P256())
	tmpl := &x509.Certificate{
		SerialNumber: nextSerial(), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(2, 0, 0), KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	a := &authority{key: key, pool: x509.NewCertPool()}
	a.cert = sign(tmpl, tmpl, key.Public(), key)
	a.pool.AddCert(a.cert)
	return a
}

// theCA is the process's authority.
var theCA = sync.OnceValue(func() *authority { return newAuthority("test CA") })

func newKey(c elliptic.Curve) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(c, rand.Reader)
	must(err)
	return key
}

var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	must(err)
	return key
})

func sign(tmpl, parent *x509.Certificate, pub crypto.PublicKey, by crypto.Signer) *x509.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, by)
	must(err)
	c, err := x509.ParseCertificate(der)
	must(err)
	return c
}

// leaf is a certificate with its key.
type leaf struct {
	*x509.Certificate
	key crypto.Signer
}

// issue makes a leaf for names; change, if any, edits its template and may return another key.
func (a *authority) issue(names []string, change ...func(*x509.Certificate) crypto.Signer) leaf {
	tmpl := &x509.Certificate{
		SerialNumber: nextSerial(), Subject: pkix.Name{CommonName: "leaf"}, DNSNames: names, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().AddDate(1, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	var key crypto.Signer
	for _, f := range change {
		if k := f(tmpl); k != nil {
			key = k
		}
	}
	if key == nil {
		key = newKey(elliptic.P256())
	}
	return leaf{sign(tmpl, a.cert, key.Public(), a.key), key}
}

// pems returns the leaf's certificate file, with the issuer's behind it, and its key file.
func (l leaf) pems(issuer *authority) (cert, key []byte) {
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: l.Raw})
	cert = append(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer.cert.Raw})...)
	der, err := x509.MarshalPKCS8PrivateKey(l.key)
	must(err)
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// write puts the leaf's files into dir under name.
func (l leaf) write(dir, name string) Pair {
	cert, key := l.pems(theCA())
	p := Pair{CertFile: filepath.Join(dir, name+".crt"), KeyFile: filepath.Join(dir, name+".key")}
	must(os.WriteFile(p.CertFile, cert, 0o644))
	must(os.WriteFile(p.KeyFile, key, 0o600))
	return p
}

// hello is what a client of TLS 1.3 asks for.
func hello(name string, schemes ...stdtls.SignatureScheme) *stdtls.ClientHelloInfo {
	if len(schemes) == 0 {
		schemes = []stdtls.SignatureScheme{stdtls.ECDSAWithP256AndSHA256, stdtls.PSSWithSHA256}
	}
	return &stdtls.ClientHelloInfo{ServerName: name, SupportedVersions: []uint16{stdtls.VersionTLS13}, SignatureSchemes: schemes,
		SupportedCurves: []stdtls.CurveID{stdtls.X25519}, CipherSuites: []uint16{stdtls.TLS_AES_128_GCM_SHA256}}
}

// served is the certificate that a client of name gets.
func served(t *testing.T, s *Store, name string) *stdtls.Certificate {
	t.Helper()
	c, err := s.GetCertificate(hello(name))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func expectServed(t *testing.T, s *Store, want leaf) {
	t.Helper()
	if c := served(t, s, want.DNSNames[0]); !slices.Equal(c.Certificate[0], want.Raw) {
		t.Errorf("served is serial %v, want %v", c.Leaf.SerialNumber, want.SerialNumber)
	}
}

// open makes a Store on a clock of the test.
func open(t *testing.T, c Config) (*Store, *clock, *log) {
	t.Helper()
	k, l := newClock(), &log{}
	c.OnEvent = l.add
	s, err := newStore(c, k.now)
	if err != nil {
		t.Fatal(err)
	}
	return s, k, l
}

// replaceFile writes parts, one behind the other, to an existing file.
func replaceFile(path string, parts ...[]byte) {
	must(os.WriteFile(path, slices.Concat(parts...), 0o600))
}

// samePublic says whether key belongs to l.
func samePublic(l leaf, key any) bool {
	return l.key.Public().(*ecdsa.PublicKey).Equal(key.(crypto.Signer).Public())
}
