package tls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"
)

// selfSigned is a certificate that no authority of the tests vouches for.
func selfSigned(names ...string) stdtls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: "stranger"}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	must(err)
	return stdtls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

var errUnwanted = errors.New("unwanted")

// TestClientCertificates: required, optional, and judged by callbacks; a refusal has its alert on the wire, a typed error here and the
// callback's error inside it.
func TestClientCertificates(t *testing.T) {
	stranger := selfSigned()
	refusePeer := func([][]byte, [][]*x509.Certificate) error { return errUnwanted }
	refuseConnection := func(stdtls.ConnectionState) error { return errUnwanted }
	cases := []struct {
		name   string
		auth   stdtls.ClientAuthType
		cert   *stdtls.Certificate
		set    func(*stdtls.Config)
		alert  Alert // 0: accepted
		chains int
	}{
		{"required, shown", stdtls.RequireAndVerifyClientCert, &pki().small, nil, 0, 1},
		{"required, large", stdtls.RequireAndVerifyClientCert, &pki().large, nil, 0, 1},
		{"required, missing", stdtls.RequireAndVerifyClientCert, nil, nil, AlertCertificateRequired, 0},
		{"required, of a stranger", stdtls.RequireAndVerifyClientCert, &stranger, nil, AlertUnknownCA, 0},
		{"any required, of a stranger", stdtls.RequireAnyClientCert, &stranger, nil, 0, 0},
		{"any required, missing", stdtls.RequireAnyClientCert, nil, nil, AlertCertificateRequired, 0},
		{"optional, missing", stdtls.VerifyClientCertIfGiven, nil, nil, 0, 0},
		{"optional, shown", stdtls.VerifyClientCertIfGiven, &pki().small, nil, 0, 1},
		{"optional, of a stranger", stdtls.VerifyClientCertIfGiven, &stranger, nil, AlertUnknownCA, 0},
		{"VerifyPeerCertificate refuses", stdtls.RequireAnyClientCert, &pki().small,
			func(c *stdtls.Config) { c.VerifyPeerCertificate = refusePeer }, AlertBadCertificate, 0},
		{"VerifyConnection refuses", stdtls.RequireAndVerifyClientCert, &pki().small,
			func(c *stdtls.Config) { c.VerifyConnection = refuseConnection }, AlertBadCertificate, 0},
		{"VerifyConnection refuses without a certificate", stdtls.NoClientCert, nil,
			func(c *stdtls.Config) { c.VerifyConnection = refuseConnection }, AlertBadCertificate, 0},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			sc, cc := serverTLS(), clientTLS()
			sc.ClientAuth, sc.ClientCAs = tc.auth, pki().pool
			if tc.set != nil {
				tc.set(sc)
			}
			if tc.cert != nil { // whatever authorities the server names
				cc.GetClientCertificate = func(*stdtls.CertificateRequestInfo) (*stdtls.Certificate, error) { return tc.cert, nil }
			}
			s, c := newServer(t, sc).Conn(), newClient(t, cc).Conn("")
			defer s.Release()
			defer c.Release()
			_, toClient, err := shake(s, c)
			if tc.alert == 0 {
				if err != nil {
					t.Fatal(err)
				}
				opened(t, s, sealed(t, c, "x"))
				st := s.State()
				if (len(st.PeerCertificates) == 1) != (tc.cert != nil) || len(st.VerifiedChains) != tc.chains {
					t.Errorf("%d certificates, %d chains", len(st.PeerCertificates), len(st.VerifiedChains))
				}
				if tc.cert != nil && !bytes.Equal(st.PeerCertificates[0].Raw, tc.cert.Certificate[0]) {
					t.Error("another certificate")
				}
				return
			}
			var e *Error
			if !errors.As(err, &e) || e.Remote || e.Alert != tc.alert || (tc.set != nil) != errors.Is(err, errUnwanted) {
				t.Fatalf("got %v, want %v", err, tc.alert)
			}
			// The client was done before its certificate was judged.
			_, _, told := c.Open(make([]byte, 0, maxCiphertext), toClient)
			if !errors.As(told, &e) || !e.Remote || e.Alert != tc.alert {
				t.Errorf("the client was told %v", told)
			}
		})
	}
}

// TestServerRefused: the same on a client, whose callbacks judge the server.
func TestServerRefused(t *testing.T) {
	cases := map[string]struct {
		set   func(*stdtls.Config)
		alert Alert
	}{
		"VerifyPeerCertificate": {func(c *stdtls.Config) {
			c.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { return errUnwanted }
		}, AlertBadCertificate},
		"VerifyConnection": {func(c *stdtls.Config) {
			c.VerifyConnection = func(stdtls.ConnectionState) error { return errUnwanted }
		}, AlertBadCertificate},
		"another name": {func(c *stdtls.Config) { c.ServerName = "other.test" }, AlertBadCertificate},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cc := clientTLS()
			tc.set(cc)
			s, c := newServer(t, serverTLS()).Conn(), newClient(t, cc).Conn("")
			defer s.Release()
			defer c.Release()
			_, _, err := shake(s, c)
			var e *Error
			if !errors.As(err, &e) || e.Remote || e.Alert != tc.alert || (name != "another name") != errors.Is(err, errUnwanted) {
				t.Errorf("client: %v", err)
			}
			if !errors.As(s.failure(), &e) || !e.Remote || e.Alert != tc.alert {
				t.Errorf("server: %v", s.failure())
			}
		})
	}
}

// TestServerNames: the certificate follows the name asked for, from a list and from a callback; State has the name.
func TestServerNames(t *testing.T) {
	one, two := selfSigned("one.test"), selfSigned("two.test", "*.two.test")
	list := &stdtls.Config{Certificates: []stdtls.Certificate{one, two}}
	callback := &stdtls.Config{GetCertificate: func(h *stdtls.ClientHelloInfo) (*stdtls.Certificate, error) {
		switch h.ServerName {
		case "one.test":
			return &one, nil
		case "two.test", "a.two.test":
			return &two, nil
		}
		return nil, fmt.Errorf("no certificate for %q", h.ServerName)
	}}
	cc := &stdtls.Config{InsecureSkipVerify: true}
	for kind, sc := range map[string]*stdtls.Config{"list": list, "callback": callback} {
		server, client := newServer(t, sc), newClient(t, cc)
		for name, want := range map[string]*stdtls.Certificate{"one.test": &one, "two.test": &two, "a.two.test": &two, "three.test": nil} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				s, c := server.Conn(), client.Conn(name)
				defer s.Release()
				defer c.Release()
				_, _, err := shake(s, c)
				if want == nil && kind == "callback" {
					var e *Error
					if !errors.As(err, &e) || e.Remote || e.Alert != AlertInternalError || !strings.Contains(err.Error(), `no certificate for "three.test"`) {
						t.Errorf("got %v", err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				if want == nil {
					want = &one // the first is for names that none has
				}
				if s.State().ServerName != name || !bytes.Equal(c.State().PeerCertificates[0].Raw, want.Certificate[0]) {
					t.Errorf("%q got the certificate of %v", s.State().ServerName, c.State().PeerCertificates[0].DNSNames)
				}
			})
		}
	}
}

// TestKeyLogSecrets: the lines in the user's log are the secrets that the connection works with, on either side.
func TestKeyLogSecrets(t *testing.T) {
	var log [2]bytes.Buffer
	sc, cc := serverTLS(), clientTLS()
	sc.KeyLogWriter, cc.KeyLogWriter = &log[0], &log[1]
	s, c := pair(t, newServer(t, sc), newClient(t, cc))
	n := suite{id: testSuite}.secretLen()
	for i := range log {
		lines := map[string]string{}
		for line := range strings.Lines(log[i].String()) {
			f := strings.Fields(line)
			if len(f) != 3 || len(f[1]) != 64 {
				t.Fatalf("line %q", line)
			}
			lines[f[0]] = f[2]
		}
		up, down := hex.EncodeToString(s.in.secret[:n]), hex.EncodeToString(c.in.secret[:n])
		if lines["CLIENT_TRAFFIC_SECRET_0"] != up || lines["SERVER_TRAFFIC_SECRET_0"] != down || len(lines) != 4 {
			t.Errorf("log %d has\n%s\nthe connection %s, %s", i, &log[i], up, down)
		}
	}
}
