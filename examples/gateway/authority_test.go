package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// authority issues certificates for gateway.test and the loopback.
type authority struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	roots *x509.CertPool
	pem   []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{roots: x509.NewCertPool()}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1000), NotAfter: time.Now().Add(1000 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign}
	der, key := sign(t, tmpl, nil)
	a.key = key
	var err error
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.roots.AddCert(a.cert)
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return a
}

// sign makes a certificate with a new key; without an issuer it signs itself.
func sign(t *testing.T, tmpl *x509.Certificate, by *authority) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := tmpl, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return der, key
}

// issue makes a certificate that is not about to end, and its key, in PEM.
func (a *authority) issue(t *testing.T, serial int64) (cert, key []byte) {
	return a.issueFor(t, serial, 800*time.Hour)
}

func (a *authority) issueFor(t *testing.T, serial int64, life time.Duration) (cert, key []byte) {
	t.Helper()
	der, k := sign(t, &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(life), DNSNames: []string{"gateway.test"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, a)
	raw, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})
}

// client is how crypto/tls connects to what the authority has certified.
func (a *authority) client() *stdtls.Config {
	return &stdtls.Config{RootCAs: a.roots, ServerName: "gateway.test", NextProtos: []string{"oap/1"}}
}

// served is the serial number of the certificate that is shown at addr.
func (a *authority) served(t *testing.T, addr string) int64 {
	t.Helper()
	c, err := stdtls.Dial("tcp", addr, a.client())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}
