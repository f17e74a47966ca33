// Package cert makes throw-away certificates for a run on one machine.
package cert

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime of a throw-away certificate: longer than the longest soak (24 h) with room for a clock that is off.
const lifetime = 7 * 24 * time.Hour

// Files are the PEM files of one certificate in a directory of their own.
type Files struct {
	Dir  string // mode 0700
	Cert string // certificate; it is its own root, so clients use it as their --ca
	Key  string // PKCS #8 private key, mode 0600
}

// Make creates a self-signed ECDSA P-256 certificate for this machine's loopback names and addresses plus hosts, in a new
// private directory. The caller calls Remove.
func Make(hosts ...string) (*Files, error) {
	certPEM, keyPEM, err := generate(hosts)
	if err != nil {
		return nil, fmt.Errorf("make a throw-away certificate: %w", err)
	}
	dir, err := os.MkdirTemp("", "ronbench-")
	if err != nil {
		return nil, err
	}
	f := &Files{Dir: dir, Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	err = errors.Join(os.Chmod(dir, 0o700), os.WriteFile(f.Cert, certPEM, 0o644), os.WriteFile(f.Key, keyPEM, 0o600))
	if err != nil {
		return nil, errors.Join(err, f.Remove())
	}
	return f, nil
}

// Pair is a certificate that is in no file yet.
type Pair struct{ cert, key []byte }

// NewPair makes one as Make does.
func NewPair(hosts ...string) (*Pair, error) {
	certPEM, keyPEM, err := generate(hosts)
	if err != nil {
		return nil, fmt.Errorf("make a throw-away certificate: %w", err)
	}
	return &Pair{certPEM, keyPEM}, nil
}

// Trust adds the certificate to the roots of a pool.
func (p *Pair) Trust(pool *x509.CertPool) bool { return pool.AppendCertsFromPEM(p.cert) }

// Install puts the pair in the place of the one in the files, each of which is exchanged whole. Who reads both in between finds that
// they do not belong together.
func (f *Files) Install(p *Pair) error {
	return errors.Join(exchange(f.Key, p.key, 0o600), exchange(f.Cert, p.cert, 0o644))
}

func exchange(path string, b []byte, mode os.FileMode) error {
	next := path + ".next"
	if err := os.WriteFile(next, b, mode); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// Remove deletes the directory with the key.
func (f *Files) Remove() error { return os.RemoveAll(f.Dir) }

// Load reads the pair.
func (f *Files) Load() (tls.Certificate, error) { return tls.LoadX509KeyPair(f.Cert, f.Key) }

func generate(hosts []string) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	t := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "ronbench throw-away"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, IsCA: true, DNSNames: []string{"localhost"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if h != "" {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}

// Pool reads the roots of a PEM file.
func Pool(path string) (*x509.CertPool, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s: no certificate in PEM found", path)
	}
	return p, nil
}

// CopyCert writes the certificate, which is no secret, to path.
func (f *Files) CopyCert(path string) error {
	b, err := os.ReadFile(f.Cert)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}
