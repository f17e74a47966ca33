package tls

import (
	"crypto/fips140"
	stdtls "crypto/tls"
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestConfig(t *testing.T) {
	cert := pki().server
	cases := []struct {
		name   string
		config Config
		text   []string // parts of the message; none: valid
	}{
		{"nil", Config{}, []string{"Config.TLS is nil"}},
		{"no certificate", Config{TLS: &stdtls.Config{}}, []string{"Certificates", "GetCertificate"}},
		{"old minimum", Config{TLS: &stdtls.Config{MinVersion: stdtls.VersionTLS12}}, []string{"MinVersion", "TLS 1.2", "0 or VersionTLS13"}},
		{"old maximum", Config{TLS: &stdtls.Config{MaxVersion: stdtls.VersionTLS12}}, []string{"MaxVersion", "TLS 1.2", "0 or VersionTLS13"}},
		{"empty protocol", Config{TLS: &stdtls.Config{NextProtos: []string{"a", ""}}}, []string{"NextProtos[1]", "0 bytes", "1 to 255"}},
		{"long protocol", Config{TLS: &stdtls.Config{NextProtos: []string{strings.Repeat("x", 256)}}}, []string{"NextProtos[0]", "256"}},
		{"empty certificate", Config{TLS: &stdtls.Config{Certificates: []stdtls.Certificate{{}}}}, []string{"Certificates[0]"}},
		{"no key", Config{TLS: &stdtls.Config{Certificates: []stdtls.Certificate{{Certificate: cert.Certificate}}}}, []string{"PrivateKey"}},
		{"client auth without a pool", Config{TLS: &stdtls.Config{Certificates: []stdtls.Certificate{cert}, ClientAuth: stdtls.RequireAndVerifyClientCert}},
			[]string{"ClientCAs", "RequireAndVerifyClientCert"}},
		{"small hello", Config{TLS: serverTLS(), MaxClientHello: 511}, []string{"MaxClientHello is 511", "512 to 65536"}},
		{"large hello", Config{TLS: serverTLS(), MaxClientHello: 1 << 20}, []string{"MaxClientHello is 1048576"}},
		{"negative hello", Config{TLS: serverTLS(), MaxClientHello: -1}, []string{"MaxClientHello is -1"}},
		{"many records", Config{TLS: serverTLS(), RecordsPerKey: 1<<24 + 1}, []string{"RecordsPerKey is 16777217", "16777216"}},
		{"defaults", Config{TLS: serverTLS()}, nil},
		{"limits", Config{TLS: serverTLS(), RecordsPerKey: 1 << 24, MaxClientHello: 512}, nil},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			_, err := NewServer(tc.config)
			if (err == nil) != (len(tc.text) == 0) {
				t.Fatal(err)
			}
			for _, text := range tc.text {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not mention %q", err, text)
				}
			}
		})
	}
	if _, err := NewClient(Config{TLS: &stdtls.Config{MinVersion: stdtls.VersionTLS12}}); err == nil {
		t.Error("a client of TLS 1.2")
	}
}

// TestConfigDefaults: what the documentation promises reaches the connection, and the caller's configuration is left alone.
func TestConfigDefaults(t *testing.T) {
	mine := serverTLS()
	s := newServer(t, mine)
	if mine.NextProtos != nil || mine.MinVersion != 0 || mine.GetConfigForClient != nil {
		t.Error("the caller's configuration was changed")
	}
	if s.config.MaxClientHello != 65536 || s.config.RecordsPerKey != 1<<24 {
		t.Errorf("defaults: %+v", s.config)
	}
	client := clientTLS()
	client.NextProtos = nil
	_, c := pair(t, s, newClient(t, client))
	st := c.State()
	if st.ALPN != "oap/1" || st.Group != stdtls.X25519MLKEM768 || st.CipherSuite != stdtls.TLS_AES_128_GCM_SHA256 || len(st.PeerCertificates) != 1 {
		t.Errorf("%+v", st)
	}
	mine.NextProtos = []string{"a", "b"}
	client.NextProtos = []string{"b"}
	x, y := pair(t, newServer(t, mine), newClient(t, client))
	if x.State().ALPN != "b" || y.State().ALPN != "b" {
		t.Errorf("server %q, client %q", x.State().ALPN, y.State().ALPN)
	}
}

// TestMaxClientHello: the limit is the configured one.
func TestMaxClientHello(t *testing.T) {
	s, err := NewServer(Config{TLS: serverTLS(), MaxClientHello: 600})
	must(err)
	c := s.Conn()
	defer c.Release()
	hello := clientHello(t) // over 1.2 KB with its post-quantum key share
	if _, _, err := c.Handshake(hello[:9]); err == nil || !strings.Contains(err.Error(), "size limit") {
		t.Errorf("a hello of %d bytes: %v", len(hello), err)
	}
}

// TestTicketKeys: keys that the user rotates are used for new connections, and a server that does not know them does not resume.
func TestTicketKeys(t *testing.T) {
	cc := clientTLS()
	cc.ClientSessionCache = stdtls.NewLRUClientSessionCache(1)
	client := newClient(t, cc)
	one, two := newServer(t, serverTLS()), newServer(t, serverTLS())
	resumed := func(s *Server) bool { x, _ := pair(t, s, client); return x.State().Resumed }
	if resumed(one) || !resumed(one) || resumed(two) {
		t.Error("automatic keys")
	}
	key := [32]byte{1}
	must(one.SetSessionTicketKeys([][32]byte{key}))
	must(two.SetSessionTicketKeys([][32]byte{{2}, key}))
	if resumed(one) || !resumed(two) || resumed(one) {
		t.Error("keys of the user")
	}
	mine := serverTLS() // keys that the configuration brought along are replaced, too
	mine.SetSessionTicketKeys([][32]byte{{3}})
	three := newServer(t, mine)
	if resumed(three) || !resumed(three) {
		t.Error("keys of the configuration")
	}
	must(three.SetSessionTicketKeys([][32]byte{{4}}))
	if resumed(three) || !resumed(three) {
		t.Error("keys of the configuration, replaced")
	}
	if err := one.SetSessionTicketKeys(nil); err == nil {
		t.Error("no keys were accepted")
	}
}

// TestFIPS: with fips140=only this package cannot work, and says so at the start. The mode is one of the whole process.
func TestFIPS(t *testing.T) {
	if fips140.Enforced() {
		if _, err := NewServer(Config{TLS: &stdtls.Config{}}); err == nil || !strings.Contains(err.Error(), "fips140=only") {
			t.Errorf("NewServer: %v", err)
		}
		if _, err := NewClient(Config{TLS: &stdtls.Config{}}); err == nil || !strings.Contains(err.Error(), "fips140=only") {
			t.Errorf("NewClient: %v", err)
		}
		return
	}
	for mode, test := range map[string]string{"only": "^TestFIPS$", "on": "^(TestSteps|TestEchoLarge|TestTickets|TestKeyUpdateWithCryptoTLS)$"} {
		cmd := exec.Command(os.Args[0], "-test.run="+test, "-test.v")
		cmd.Env = append(os.Environ(), "GODEBUG=fips140="+mode)
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
			t.Errorf("fips140=%s: %v\n%s", mode, err, out)
		}
	}
}

// TestChosenClientAuth: GetConfigForClient cannot choose what NewServer refuses: client certificates of any public authority.
func TestChosenClientAuth(t *testing.T) {
	chosen := serverTLS()
	chosen.ClientAuth = stdtls.RequireAndVerifyClientCert
	sc := serverTLS()
	sc.GetConfigForClient = func(*stdtls.ClientHelloInfo) (*stdtls.Config, error) { return chosen, nil }
	server := newServer(t, sc)
	cc := clientTLS()
	cc.Certificates = []stdtls.Certificate{pki().small}
	s, c := server.Conn(), newClient(t, cc).Conn("")
	_, _, err := shake(s, c)
	if err == nil || !strings.Contains(err.Error(), "ClientCAs") {
		t.Errorf("without authorities: %v", err)
	}
	s.Release()
	c.Release()
	chosen.ClientCAs = pki().pool
	if s, _ := pair(t, server, newClient(t, cc)); len(s.State().PeerCertificates) != 1 {
		t.Error("no certificate")
	}
}

// TestConfigCopied: what the caller does to its configuration afterwards changes nothing, and we change nothing in it.
func TestConfigCopied(t *testing.T) {
	sc := serverTLS()
	sc.NextProtos = []string{ALPN}
	sc.CurvePreferences = []stdtls.CurveID{stdtls.X25519}
	server := newServer(t, sc)
	if sc.MinVersion != 0 || sc.MaxVersion != 0 || sc.GetConfigForClient != nil || sc.KeyLogWriter != nil {
		t.Error("the caller's configuration was changed")
	}
	sc.Certificates[0] = stdtls.Certificate{}
	sc.NextProtos[0] = "other"
	sc.CurvePreferences[0] = stdtls.CurveP521
	s, _ := pair(t, server, newClient(t, clientTLS()))
	if st := s.State(); st.ALPN != ALPN || st.Group != stdtls.X25519 {
		t.Errorf("%q, %v", st.ALPN, st.Group)
	}
}
