package certs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"slices"
	"time"
)

// material is what the files of a pair hold. It does not change.
type material struct {
	cert       stdtls.Certificate // without a staple
	leaf       *x509.Certificate
	issuer     *x509.Certificate // nil: not in the file
	responder  string            // URL; "": the leaf names none
	mustStaple bool
	hash       [32]byte // of both files
	loaded     time.Time
}

// readPair reads the files of pair i and checks them against each other. An unchanged content gives old back, so what is known about
// it stays.
func readPair(i int, p Pair, old *material, now time.Time) (*material, error) {
	certPEM, err := readFile(p.CertFile, maxPEM, false)
	if err != nil {
		return nil, fmt.Errorf("certs: Config.Pairs[%d].CertFile: %w", i, err)
	}
	keyPEM, err := readFile(p.KeyFile, maxPEM, true)
	if err != nil {
		return nil, fmt.Errorf("certs: Config.Pairs[%d].KeyFile: %w", i, err)
	}
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%d\n", len(certPEM)) // where one file ends counts
	h.Write(certPEM)
	h.Write(keyPEM)
	sum := [32]byte(h.Sum(nil))
	if old != nil && old.hash == sum {
		return old, nil
	}
	m, err := newMaterial(certPEM, keyPEM, p, now)
	if err != nil {
		return nil, fmt.Errorf("certs: Config.Pairs[%d] (%s, %s): %w", i, p.CertFile, p.KeyFile, err)
	}
	m.hash = sum
	return m, nil
}

// judgeWhole refuses a file that ends in the middle of a block. X509KeyPair would take what is whole of it, so while a chain is being
// written, clients would get a part of it.
func judgeWhole(b []byte) error {
	blocks, marks := 0, 0
	for p, rest := pem.Decode(b); p != nil; p, rest = pem.Decode(rest) {
		blocks++
	}
	var last []byte
	for last = range bytes.Lines(b) {
		if bytes.HasPrefix(last, []byte("-----")) {
			marks++
		}
	}
	const mark = "-----BEGIN CERTIFICATE-----"
	if begun := len(last) > 0 && len(last) < 5 && bytes.HasPrefix([]byte(mark), last); begun || marks != 2*blocks {
		return fmt.Errorf("a PEM block of the certificate file is not whole; allowed: whole blocks")
	}
	return nil
}

func newMaterial(certPEM, keyPEM []byte, p Pair, now time.Time) (*material, error) {
	if err := judgeWhole(certPEM); err != nil {
		return nil, err
	}
	cert, err := stdtls.X509KeyPair(certPEM, keyPEM) // also compares the keys
	if err != nil {
		return nil, err
	}
	m := &material{cert: cert, leaf: cert.Leaf, loaded: now, responder: p.Responder}
	if err := judgeLeaf(m.leaf, now); err != nil {
		return nil, err
	}
	for _, der := range cert.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("a certificate of the chain: %w", err)
		}
		if m.issuer == nil && m.leaf.CheckSignatureFrom(c) == nil && !c.Equal(m.leaf) {
			m.issuer = c
		}
	}
	m.mustStaple = mustStaple(m.leaf)
	if m.responder == "" {
		for _, u := range m.leaf.OCSPServer {
			if judgeURL(u) == nil {
				m.responder = u
				break
			}
		}
	}
	return m, nil
}

// judgeLeaf refuses a leaf that no client could accept. The errors do not tell the time: they are compared, so as to be told once.
func judgeLeaf(leaf *x509.Certificate, now time.Time) error {
	if now.Before(leaf.NotBefore) {
		return fmt.Errorf("the certificate is not valid before %s; allowed: one that is valid now", stamp(leaf.NotBefore))
	}
	if now.After(leaf.NotAfter) {
		return fmt.Errorf("the certificate has expired on %s; allowed: one that is valid now", stamp(leaf.NotAfter))
	}
	anyUse := len(leaf.ExtKeyUsage) == 0 && len(leaf.UnknownExtKeyUsage) == 0
	if !anyUse && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny) {
		return fmt.Errorf("the certificate's extended key usage lacks serverAuth; allowed: one for servers")
	}
	switch k := leaf.PublicKey.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits {
			return fmt.Errorf("the RSA key has %d bits; allowed: at least %d", n, minRSABits)
		}
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P224() {
			return fmt.Errorf("the key is on P-224; allowed: P-256, P-384, P-521 (RFC 8446, 4.2.3)")
		}
	case ed25519.PublicKey:
	default:
		return fmt.Errorf("the key is a %T; allowed: RSA, ECDSA, Ed25519", k)
	}
	return nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// mustStaple says whether the leaf demands a staple: the TLS feature status_request (RFC 7633).
func mustStaple(leaf *x509.Certificate) bool {
	for _, e := range leaf.Extensions {
		if !e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 24}) {
			continue
		}
		var features []int
		if _, err := asn1.Unmarshal(e.Value, &features); err == nil && slices.Contains(features, 5) {
			return true
		}
	}
	return false
}
