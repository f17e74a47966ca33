package dashboards

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// authority issues certificates for the loopback, and says by OCSP that they are revoked.
type authority struct {
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	roots  *x509.CertPool
	serial atomic.Int64
	ocsp   *httptest.Server
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{roots: x509.NewCertPool()}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1000), Subject: pkix.Name{CommonName: "test CA"}, NotAfter: time.Now().AddDate(1, 0, 0), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.roots.AddCert(a.cert)
	a.ocsp = httptest.NewServer(http.HandlerFunc(a.revoked))
	t.Cleanup(a.ocsp.Close)
	return a
}

// revoked answers a GET or POST for any certificate; the store asks with POST first.
func (a *authority) revoked(w http.ResponseWriter, r *http.Request) {
	query := make([]byte, 4096)
	n, _ := r.Body.Read(query)
	asked, err := ocsp.ParseRequest(query[:n])
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	now := time.Now()
	b, err := ocsp.CreateResponse(a.cert, a.cert, ocsp.Response{Status: ocsp.Revoked, SerialNumber: asked.SerialNumber, RevokedAt: now.Add(-time.Hour),
		ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(time.Hour)}, a.key)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(b)
}

// issue puts a certificate and its key into a directory, by rename; change edits it.
func (a *authority) issue(dir string, life time.Duration, change func(*x509.Certificate)) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(a.serial.Add(1)), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(life),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if change != nil {
		change(tmpl)
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		return err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	block := func(kind string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}) }
	for name, b := range map[string][]byte{"tls.key": block("PRIVATE KEY", raw),
		"tls.crt": append(block("CERTIFICATE", der), block("CERTIFICATE", a.cert.Raw)...)} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path+".new", b, 0o600); err != nil {
			return err
		}
		if err := os.Rename(path+".new", path); err != nil {
			return err
		}
	}
	return nil
}

// asking makes the certificate name a responder.
func asking(url string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.OCSPServer = []string{url} }
}

// demanding makes the certificate demand a staple (RFC 7633), and name a responder that nobody reaches.
func demanding(c *x509.Certificate) {
	c.OCSPServer = []string{"http://127.0.0.1:1/"}
	c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}}}
}
