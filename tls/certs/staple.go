package certs

import (
	"bytes"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"slices"
	"time"

	"golang.org/x/crypto/ocsp"
)

// staple is an OCSP answer that has been checked.
type staple struct {
	raw        []byte
	thisUpdate time.Time
	until      time.Time // nextUpdate, or the end of the responder's certificate when that is earlier
	revoked    bool
}

// drop is when the staple is no longer sent.
func (st *staple) drop() time.Time { return st.until.Add(-clockSkew) }

// event is what is told when the staple of pair i comes into use.
func (st *staple) event(i int, p Pair) Event {
	if st.revoked {
		return Event{Kind: EventRevoked, Pair: i, Err: fmt.Errorf("certs: Pairs[%d] (%s): the certificate has been revoked", i, p.CertFile)}
	}
	return Event{Kind: EventStapled, Pair: i}
}

// jitter is d with a random tenth more or less: nodes that start together must not ask together for ever.
func jitter(d time.Duration) time.Duration {
	return d - d/10 + rand.N(d/5+1)
}

// judgeAnswer checks an answer for leaf as RFC 6960, 3.2 demands.
func judgeAnswer(raw []byte, leaf, issuer *x509.Certificate, now time.Time) (*staple, error) {
	// Without the issuer ParseResponseForCert leaves the signer to us: it would take any certificate of the issuer for a
	// responder's, and not the issuer's own when it is no root.
	r, err := ocsp.ParseResponseForCert(raw, leaf, nil)
	if err != nil {
		return nil, fmt.Errorf("the answer: %w", err)
	}
	if err := judgeSigner(r, issuer, now); err != nil {
		return nil, err
	}
	if err := judgeIssuer(r, issuer); err != nil {
		return nil, err
	}
	if r.ThisUpdate.After(now.Add(clockSkew)) {
		return nil, fmt.Errorf("the answer is of %s, in the future", stamp(r.ThisUpdate))
	}
	if r.NextUpdate.IsZero() {
		return nil, errors.New("the answer has no nextUpdate, so nobody knows how long it holds")
	}
	st := &staple{raw: raw, thisUpdate: r.ThisUpdate, until: r.NextUpdate, revoked: r.Status == ocsp.Revoked}
	if d := r.Certificate; d != nil && d.NotAfter.Before(st.until) {
		st.until = d.NotAfter
	}
	if !now.Before(st.drop()) {
		return nil, fmt.Errorf("the answer expires on %s; allowed: more than %v from now", stamp(st.until), clockSkew)
	}
	if r.Status != ocsp.Good && r.Status != ocsp.Revoked {
		return nil, errors.New("the responder does not know the certificate")
	}
	return st, nil
}

// judgeSigner checks that the issuer has signed, or someone it has authorised to (RFC 6960, 4.2.2.2).
func judgeSigner(r *ocsp.Response, issuer *x509.Certificate, now time.Time) error {
	if weak(r.SignatureAlgorithm) {
		return fmt.Errorf("the answer is signed with %v; allowed: SHA-256 and better", r.SignatureAlgorithm)
	}
	d := r.Certificate // its signature over the answer has been checked
	if d == nil || d.Equal(issuer) {
		if !named(r, issuer) {
			return errors.New("the answer names another responder than the issuer, and brings no certificate of it")
		}
		if err := r.CheckSignatureFrom(issuer); err != nil {
			return fmt.Errorf("the answer's signature is not the issuer's: %w", err)
		}
		return nil
	}
	if !named(r, d) {
		return errors.New("the answer names another responder than its certificate does")
	}
	if !bytes.Equal(d.RawIssuer, issuer.RawSubject) {
		return errors.New("the responder's certificate names another issuer")
	}
	if weak(d.SignatureAlgorithm) {
		return fmt.Errorf("the responder's certificate is signed with %v; allowed: SHA-256 and better", d.SignatureAlgorithm)
	}
	if err := issuer.CheckSignature(d.SignatureAlgorithm, d.RawTBSCertificate, d.Signature); err != nil {
		return fmt.Errorf("the responder's certificate is not signed by the issuer: %w", err)
	}
	if !slices.Contains(d.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) {
		return errors.New("the responder's certificate is not for OCSP signing")
	}
	if len(d.UnhandledCriticalExtensions) > 0 {
		return errors.New("the responder's certificate has a critical extension that is not understood")
	}
	if now.Before(d.NotBefore) || now.After(d.NotAfter) {
		return fmt.Errorf("the responder's certificate is valid from %s to %s only", stamp(d.NotBefore), stamp(d.NotAfter))
	}
	return nil
}

// weak says whether a collision of the hash could have been signed. Certificate.CheckSignature lets SHA-1 pass.
func weak(a x509.SignatureAlgorithm) bool {
	switch a {
	case x509.MD2WithRSA, x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1, x509.DSAWithSHA256:
		return true
	}
	return false
}

// named says whether the answer names signer as its responder, by name or by key (RFC 6960, 4.2.1). Clients that look the signer up
// that way, as OpenSSL's do, would not find another.
func named(r *ocsp.Response, signer *x509.Certificate) bool {
	if r.ResponderKeyHash == nil {
		return bytes.Equal(r.RawResponderName, signer.RawSubject)
	}
	key, err := publicKey(signer)
	hash := sha1.Sum(key) // names the key, protects nothing
	return err == nil && bytes.Equal(r.ResponderKeyHash, hash[:])
}

// publicKey is the content of the BIT STRING that holds c's key.
func publicKey(c *x509.Certificate) ([]byte, error) {
	var spki struct {
		Algorithm pkix.AlgorithmIdentifier
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(c.RawSubjectPublicKeyInfo, &spki); err != nil {
		return nil, fmt.Errorf("the issuer's key: %w", err)
	}
	return spki.Key.RightAlign(), nil
}

// Parts of the answer that package ocsp keeps to itself (RFC 6960, 4.2.1).
type (
	certID struct {
		Hash              pkix.AlgorithmIdentifier
		NameHash, KeyHash []byte
		Serial            *big.Int
	}
	answerData struct {
		Version   int `asn1:"optional,default:0,explicit,tag:0"`
		Responder asn1.RawValue
		Produced  time.Time `asn1:"generalized"`
		Answers   []asn1.RawValue
	}
)

// judgeIssuer checks that the answer is about a certificate of this issuer: serial numbers alone repeat between issuers, and a
// responder may speak for several.
func judgeIssuer(r *ocsp.Response, issuer *x509.Certificate) error {
	var data answerData
	if _, err := asn1.Unmarshal(r.TBSResponseData, &data); err != nil {
		return fmt.Errorf("the answer: %w", err)
	}
	key, err := publicKey(issuer)
	if err != nil {
		return err
	}
	for _, a := range data.Answers {
		var id certID
		if _, err := asn1.Unmarshal(a.Bytes, &id); err != nil {
			return fmt.Errorf("the answer: %w", err)
		}
		if id.Serial.Cmp(r.SerialNumber) != 0 {
			continue // package ocsp, too, takes the first with the serial number
		}
		if !r.IssuerHash.Available() {
			return errors.New("the answer names the issuer by an unknown hash")
		}
		if !bytes.Equal(id.NameHash, sum(r, issuer.RawSubject)) || !bytes.Equal(id.KeyHash, sum(r, key)) {
			return errors.New("the answer is about a certificate of another issuer")
		}
		return nil
	}
	return errors.New("the answer is about another certificate")
}

func sum(r *ocsp.Response, b []byte) []byte {
	h := r.IssuerHash.New()
	h.Write(b)
	return h.Sum(nil)
}
