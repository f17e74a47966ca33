package tls

import (
	stdtls "crypto/tls"
	"errors"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestKeyExchangeConfig: the policy and the preferences must agree.
func TestKeyExchangeConfig(t *testing.T) {
	hybrid, classical := stdtls.X25519MLKEM768, stdtls.CurveP256
	cases := []struct {
		policy      KeyExchange
		preferences []stdtls.CurveID
		text        []string // none: valid
	}{
		{HybridPreferred, nil, nil},
		{HybridPreferred, []stdtls.CurveID{hybrid, classical}, nil},
		{HybridPreferred, []stdtls.CurveID{classical}, nil},
		{HybridOff, nil, nil},
		{HybridOff, []stdtls.CurveID{classical}, nil},
		{HybridOff, []stdtls.CurveID{classical, hybrid}, []string{"Config.TLS.CurvePreferences[1] is X25519MLKEM768", "HybridOff: X25519, P-256, P-384, P-521"}},
		{HybridOnly, nil, nil},
		{HybridOnly, []stdtls.CurveID{hybrid}, nil},
		{HybridOnly, []stdtls.CurveID{classical}, []string{"Config.TLS.CurvePreferences[0] is P-256", "HybridOnly: X25519MLKEM768, SecP256r1MLKEM768, SecP384r1MLKEM1024"}},
		{HybridPreferred, []stdtls.CurveID{9999}, []string{"CurvePreferences[0] is group 0x270f", "HybridPreferred", "X25519"}},
		{3, nil, []string{"Config.KeyExchange is 3", "HybridPreferred, HybridOff, HybridOnly"}},
	}
	for _, tc := range cases {
		sc := serverTLS()
		sc.CurvePreferences = tc.preferences
		_, err := NewServer(Config{TLS: sc, KeyExchange: tc.policy})
		_, errClient := NewClient(Config{TLS: sc, KeyExchange: tc.policy})
		if (err == nil) != (len(tc.text) == 0) || text(err) != text(errClient) {
			t.Errorf("%v with %v: %v, client %v", tc.policy, tc.preferences, err, errClient)
			continue
		}
		for _, part := range tc.text {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%q does not mention %q", err, part)
			}
		}
		if !slices.Equal(sc.CurvePreferences, tc.preferences) {
			t.Error("the caller's configuration was changed")
		}
	}
	if s := KeyExchange(7).String(); s != "KeyExchange(7)" {
		t.Error(s)
	}
}

var keyExchangeCases = []struct {
	name   string
	policy KeyExchange
	peer   []stdtls.CurveID // what the other end, of crypto/tls, has; nil: its defaults
	want   string           // "" means that the handshake fails
	retry  bool             // when we serve
}{
	{"preferred, modern peer", HybridPreferred, nil, "X25519MLKEM768", false},
	{"preferred, classical peer", HybridPreferred, []stdtls.CurveID{stdtls.X25519}, "X25519", false},
	{"preferred, P-384 peer", HybridPreferred, []stdtls.CurveID{stdtls.CurveP384}, "P-384", false},
	{"off, modern peer", HybridOff, nil, "X25519", false},
	{"off, hybrid and P-521", HybridOff, []stdtls.CurveID{stdtls.X25519MLKEM768, stdtls.CurveP521}, "P-521", true},
	{"off, hybrid peer", HybridOff, []stdtls.CurveID{stdtls.X25519MLKEM768}, "", false},
	{"only, modern peer", HybridOnly, nil, "X25519MLKEM768", false},
	{"only, SecP256r1MLKEM768 peer", HybridOnly, []stdtls.CurveID{stdtls.SecP256r1MLKEM768}, "SecP256r1MLKEM768", false},
	{"only, SecP384r1MLKEM1024 peer", HybridOnly, []stdtls.CurveID{stdtls.SecP384r1MLKEM1024}, "SecP384r1MLKEM1024", false},
	{"only, classical peer", HybridOnly, []stdtls.CurveID{stdtls.X25519, stdtls.CurveP256}, "", false},
}

// TestKeyExchangeServer: our server's policy against crypto/tls's client.
func TestKeyExchangeServer(t *testing.T) {
	for _, tc := range keyExchangeCases {
		t.Run(tc.name, func(t *testing.T) {
			server, err := NewServer(Config{TLS: serverTLS(), KeyExchange: tc.policy})
			must(err)
			cc := clientTLS()
			cc.CurvePreferences = tc.peer
			if tc.want != "" {
				d, other := dial(t, server.Conn, func(n net.Conn) *stdtls.Conn { return stdtls.Client(n, cc) }, nil)
				if st := d.tls.State(); st.KeyExchange() != tc.want || st.HelloRetryRequest != tc.retry {
					t.Errorf("%s, retry %v", st.KeyExchange(), st.HelloRetryRequest)
				}
				echo(t, d, other, 1000)
				hangUp(t, d, other)
				return
			}
			refused(t, server.Conn(), func(n net.Conn) *stdtls.Conn { return stdtls.Client(n, cc) })
		})
	}
}

// TestKeyExchangeClient: our client's policy against crypto/tls's server.
func TestKeyExchangeClient(t *testing.T) {
	for _, tc := range keyExchangeCases {
		t.Run(tc.name, func(t *testing.T) {
			client, err := NewClient(Config{TLS: clientTLS(), KeyExchange: tc.policy})
			must(err)
			sc := serverTLS()
			sc.NextProtos, sc.CurvePreferences = []string{ALPN}, tc.peer
			theirs := func(n net.Conn) *stdtls.Conn { return stdtls.Server(n, sc) }
			if tc.want == "" {
				a, b := newWire()
				result := make(chan error, 1)
				go func() { result <- theirs(b).Handshake() }()
				_, err := drive(a, client.Conn(""), nil)
				var e *Error
				if !errors.As(err, &e) || !e.Remote || e.Alert != AlertHandshakeFailure {
					t.Errorf("we: %v", err)
				}
				if err := <-result; err == nil {
					t.Error("the server is content")
				}
				return
			}
			d, other := dial(t, func() *Conn { return client.Conn("") }, theirs, nil)
			if st := d.tls.State(); st.KeyExchange() != tc.want {
				t.Errorf("%s", st.KeyExchange())
			}
			echo(t, d, other, 1000)
			hangUp(t, d, other)
		})
	}
}

// refused checks that our server turns a client of crypto/tls away with handshake_failure, on both sides.
func refused(t *testing.T, ours *Conn, theirs func(net.Conn) *stdtls.Conn) {
	t.Helper()
	a, b := newWire()
	result := make(chan error, 1)
	go func() { result <- theirs(b).Handshake() }()
	_, err := drive(a, ours, nil)
	var e *Error
	if !errors.As(err, &e) || e.Remote || e.Alert != AlertHandshakeFailure {
		t.Errorf("we: %v", err)
	}
	if err := <-result; err == nil || err.Error() != "remote error: tls: handshake failure" {
		t.Errorf("the client: %v", err)
	}
}

// TestKeyExchangeChosen: what GetConfigForClient returns is bound by the policy as well.
func TestKeyExchangeChosen(t *testing.T) {
	chosen := serverTLS()
	sc := serverTLS()
	sc.GetConfigForClient = func(*stdtls.ClientHelloInfo) (*stdtls.Config, error) { return chosen, nil }
	server, err := NewServer(Config{TLS: sc, KeyExchange: HybridOnly})
	must(err)
	if s, c := pair(t, server, newClient(t, clientTLS())); s.State().KeyExchange() != "X25519MLKEM768" || c.State().Group != s.State().Group {
		t.Error(s.State().KeyExchange())
	}
	cc := clientTLS()
	cc.CurvePreferences = []stdtls.CurveID{stdtls.X25519}
	refused(t, server.Conn(), func(n net.Conn) *stdtls.Conn { return stdtls.Client(n, cc) })
	chosen.CurvePreferences = []stdtls.CurveID{stdtls.X25519}
	s, c := server.Conn(), newClient(t, cc).Conn("")
	defer s.Release()
	defer c.Release()
	if _, _, err := shake(s, c); err == nil || !strings.Contains(err.Error(), "GetConfigForClient returned CurvePreferences[0] is X25519; allowed with Config.KeyExchange HybridOnly") {
		t.Error(err)
	}
}

// TestKeyExchangeOpenSSL: classical clients of openssl against each policy, with a second round and without; and a hybrid one where
// openssl has ML-KEM (3.5 and later).
func TestKeyExchangeOpenSSL(t *testing.T) {
	dir := pki().files(t)
	list, _ := exec.Command("openssl", "list", "-kem-algorithms").Output()
	hybrid := strings.Contains(string(list), "X25519MLKEM768")
	for _, tc := range []struct {
		policy KeyExchange
		groups string
		want   string
		retry  bool
		hybrid bool
	}{
		{HybridPreferred, "X25519", "X25519", false, false},
		{HybridOff, "P-384:X25519", "P-384", false, false},
		{HybridOff, "X448:P-256", "P-256", true, false}, // the first one has the key share
		{HybridOnly, "X25519:P-256", "", false, false},
		{HybridPreferred, "X25519MLKEM768:X25519", "X25519MLKEM768", false, true},
		{HybridOnly, "X25519:X25519MLKEM768", "X25519MLKEM768", true, true},
		{HybridOff, "X25519MLKEM768:X25519", "X25519", true, true},
	} {
		t.Run(tc.policy.String()+"/"+tc.groups, func(t *testing.T) {
			if tc.hybrid && !hybrid {
				t.Skip("this openssl has no X25519MLKEM768 (3.5 and later have): hybrid key exchange is tested with crypto/tls only")
			}
			server, err := NewServer(Config{TLS: serverTLS(), KeyExchange: tc.policy})
			must(err)
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			must(err)
			defer listener.Close()
			o := startOpenSSL(t, "s_client", "-tls1_3", "-CAfile", filepath.Join(dir, "ca.pem"), "-alpn", ALPN, "-groups", tc.groups,
				"-connect", listener.Addr().String())
			defer o.stop()
			sock, err := listener.Accept()
			must(err)
			d, err := drive(sock, server.Conn(), nil)
			if tc.want == "" {
				var e *Error
				if !errors.As(err, &e) || e.Alert != AlertHandshakeFailure || e.Remote {
					t.Errorf("got %v", err)
				}
				o.expect("the alert", func(l string) bool { return strings.Contains(l, "alert handshake failure") })
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if st := d.tls.State(); st.KeyExchange() != tc.want || st.HelloRetryRequest != tc.retry {
				t.Errorf("%s, retry %v", st.KeyExchange(), st.HelloRetryRequest)
			}
		})
	}
}

// TestKeyExchangeRetry: the second round works between hybrid groups, whichever end has the policy.
func TestKeyExchangeRetry(t *testing.T) {
	sc := serverTLS()
	sc.CurvePreferences = []stdtls.CurveID{stdtls.SecP384r1MLKEM1024}
	server, err := NewServer(Config{TLS: sc, KeyExchange: HybridOnly})
	must(err)
	client, err := NewClient(Config{TLS: clientTLS(), KeyExchange: HybridOnly})
	must(err)
	s, c := pair(t, server, client)
	for _, st := range []ConnectionState{s.State(), c.State()} {
		if st.KeyExchange() != "SecP384r1MLKEM1024" || !st.HelloRetryRequest {
			t.Errorf("%s, retry %v", st.KeyExchange(), st.HelloRetryRequest)
		}
	}
}
