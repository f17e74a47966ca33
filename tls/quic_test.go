package tls

import (
	"bytes"
	"context"
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"
)

// quicEcho is a stock quic-go server on loopback: it sends back what comes on a stream. Its addr is returned.
func quicEcho(t *testing.T, c *stdtls.Config) string {
	t.Helper()
	sock, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(err)
	tr := &quicgo.Transport{Conn: sock}
	lis, err := tr.ListenEarly(c, &quicgo.Config{Allow0RTT: true})
	must(err)
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := lis.Accept(context.Background())
			if err != nil {
				return
			}
			conns.Go(func() {
				for {
					s, err := conn.AcceptStream(context.Background())
					if err != nil {
						return
					}
					var b [1]byte
					if _, err := s.Read(b[:]); err == nil {
						_, _ = s.Write(b[:]) // the client reports what is missing
					}
				}
			})
		}
	})
	t.Cleanup(func() { // the clients are gone by now
		must(errors.Join(lis.Close(), tr.Close(), sock.Close()))
		conns.Wait()
	})
	return lis.Addr().String()
}

// gate is a socket on which nothing arrives before it is opened. quic-go 0.65 has a data race between opening a stream for 0-RTT
// and the arrival of the server's transport parameters.
type gate struct {
	net.PacketConn
	opened chan struct{}
}

func (g *gate) ReadFrom(p []byte) (int, net.Addr, error) {
	<-g.opened
	return g.PacketConn.ReadFrom(p)
}

// quicVisit connects with stock quic-go, has a byte echoed, waits for the ticket, and returns the connection's state.
func quicVisit(t *testing.T, addr string, c *stdtls.Config) (quicgo.ConnectionState, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := quicgo.DialAddr(ctx, addr, c, &quicgo.Config{})
	if err != nil {
		return quicgo.ConnectionState{}, err
	}
	defer func() { _ = conn.CloseWithError(0, "") }()
	return conn.ConnectionState(), quicEchoed(ctx, conn, nil)
}

// quicVisitEarly is quicVisit with 0-RTT data. There must be a session to resume.
func quicVisitEarly(t *testing.T, addr string, c *stdtls.Config) (quicgo.ConnectionState, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	sock, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(err)
	to, err := net.ResolveUDPAddr("udp", addr)
	must(err)
	g := &gate{PacketConn: sock, opened: make(chan struct{})}
	tr := &quicgo.Transport{Conn: g}
	defer func() { _, _ = tr.Close(), sock.Close() }()
	conn, err := tr.DialEarly(ctx, to, c, &quicgo.Config{})
	if err != nil {
		close(g.opened)
		return quicgo.ConnectionState{}, err
	}
	defer func() { _ = conn.CloseWithError(0, "") }()
	err = quicEchoed(ctx, conn, g.opened)
	if errors.Is(err, quicgo.Err0RTTRejected) {
		conn, err = conn.NextConnection(ctx)
	}
	if err == nil {
		<-conn.HandshakeComplete()
		err = quicEchoed(ctx, conn, nil)
	}
	return conn.ConnectionState(), err
}

// quicEchoed has a byte echoed; sent is closed when it is on its way. Behind the handshake, the ticket comes before the answer.
func quicEchoed(ctx context.Context, conn *quicgo.Conn, sent chan struct{}) error {
	s, err := conn.OpenStreamSync(ctx)
	b := []byte{7}
	if err == nil {
		_ = s.SetDeadline(time.Now().Add(20 * time.Second)) // a stream takes any
		_, err = s.Write(b)
	}
	if sent != nil {
		close(sent)
	}
	if err == nil {
		_, err = s.Read(b)
	}
	return err
}

// TestQUICKeyExchange: the policy holds over QUIC, against stock peers.
func TestQUICKeyExchange(t *testing.T) {
	for _, tc := range keyExchangeCases {
		check := func(end string, st quicgo.ConnectionState, err error) {
			if got := groupLabel(st.TLS.CurveID); (err == nil) != (tc.want != "") || err == nil && got != tc.want {
				t.Errorf("%s, %s: group %s, %v; want %q", tc.name, end, got, err, tc.want)
			}
		}
		server, err := NewServer(Config{TLS: serverTLS(), KeyExchange: tc.policy})
		must(err)
		cc := clientTLS()
		cc.CurvePreferences = tc.peer
		st, err := quicVisit(t, quicEcho(t, server.QUIC()), cc)
		check("server", st, err)

		client, err := NewClient(Config{TLS: clientTLS(), KeyExchange: tc.policy})
		must(err)
		sc := serverTLS()
		sc.NextProtos, sc.CurvePreferences = []string{ALPN}, tc.peer
		st, err = quicVisit(t, quicEcho(t, sc), client.QUIC())
		check("client", st, err)
	}
}

// TestQUICTickets: the server's ticket keys are those of its QUIC configuration, and of copies of it, also when they are set later.
func TestQUICTickets(t *testing.T) {
	server := newServer(t, serverTLS())
	a, b := quicEcho(t, server.QUIC()), quicEcho(t, server.QUIC().Clone())
	cc := clientTLS()
	visit := func(addr string, resumed bool) {
		t.Helper()
		st, err := quicVisit(t, addr, cc)
		if err != nil || st.TLS.DidResume != resumed || st.TLS.CurveID != stdtls.X25519MLKEM768 {
			t.Errorf("resumed %v, group %v, %v; want resumed: %v", st.TLS.DidResume, st.TLS.CurveID, err, resumed)
		}
	}
	cc.ClientSessionCache = stdtls.NewLRUClientSessionCache(1)
	visit(a, false) // with the keys that crypto/tls makes
	visit(b, true)
	one, two := [32]byte{1}, [32]byte{2}
	must(server.SetSessionTicketKeys([][32]byte{one}))
	visit(a, false)
	visit(b, true)
	must(server.SetSessionTicketKeys([][32]byte{two, one}))
	visit(a, true) // decrypted with the old key
	must(server.SetSessionTicketKeys([][32]byte{two}))
	visit(b, true)

	other := newServer(t, serverTLS())
	must(other.SetSessionTicketKeys([][32]byte{two}))
	visit(quicEcho(t, other.QUIC()), true) // another node
	must(other.SetSessionTicketKeys([][32]byte{one}))
	visit(quicEcho(t, other.QUIC()), false)

	sc := serverTLS()
	sc.SessionTicketsDisabled = true
	none := quicEcho(t, newServer(t, sc).QUIC())
	cc.ClientSessionCache = stdtls.NewLRUClientSessionCache(1)
	visit(none, false)
	visit(none, false)
}

// TestQUICEarlyData: what quic-go keeps in tickets for 0-RTT passes through them; without the key, 0-RTT is rejected and what
// was sent is sent again.
func TestQUICEarlyData(t *testing.T) {
	server := newServer(t, serverTLS())
	must(server.SetSessionTicketKeys([][32]byte{{1}}))
	addr := quicEcho(t, server.QUIC())
	client := clientTLS()
	client.ClientSessionCache = stdtls.NewLRUClientSessionCache(1)
	cc := newClient(t, client).QUIC()
	_, err := quicVisit(t, addr, cc)
	must(err)
	for _, want := range []bool{true, true, false, true} {
		if !want {
			must(server.SetSessionTicketKeys([][32]byte{{2}}))
		}
		if st, err := quicVisitEarly(t, addr, cc); err != nil || st.Used0RTT != want {
			t.Errorf("0-RTT %v, %v; want %v", st.Used0RTT, err, want)
		}
	}
}

// TestQUICOwnConfig: what GetConfigForClient returns is held to the rules, and has its own ticket keys.
func TestQUICOwnConfig(t *testing.T) {
	own := serverTLS()
	own.NextProtos = []string{"mine"}
	type says struct {
		c   *stdtls.Config
		err error
	}
	var answer atomic.Pointer[says]
	answer.Store(&says{})
	sc := serverTLS()
	sc.GetConfigForClient = func(hello *stdtls.ClientHelloInfo) (*stdtls.Config, error) {
		if hello.Conn.RemoteAddr().Network() != "udp" {
			t.Errorf("the client is at %v", hello.Conn.RemoteAddr())
		}
		a := answer.Load()
		return a.c, a.err
	}
	server := newServer(t, sc)
	must(server.SetSessionTicketKeys([][32]byte{{1}}))
	own.SetSessionTicketKeys([][32]byte{{2}})
	addr := quicEcho(t, server.QUIC())
	cc := clientTLS()
	cc.ClientSessionCache = stdtls.NewLRUClientSessionCache(1)
	cc.NextProtos = []string{"mine", ALPN}
	visit := func(proto string, resumed bool) {
		t.Helper()
		st, err := quicVisit(t, addr, cc)
		if err != nil || st.TLS.NegotiatedProtocol != proto || st.TLS.DidResume != resumed {
			t.Errorf("protocol %q, resumed %v, %v; want %q, %v", st.TLS.NegotiatedProtocol, st.TLS.DidResume, err, proto, resumed)
		}
	}
	visit(ALPN, false)
	answer.Store(&says{c: own})
	visit("mine", false)
	visit("mine", true)
	refused := func(what string) {
		t.Helper()
		if _, err := quicVisit(t, addr, cc); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	for what, c := range map[string]*stdtls.Config{
		"TLS 1.2":            {Certificates: own.Certificates, MaxVersion: stdtls.VersionTLS12},
		"any client's CA":    {Certificates: own.Certificates, ClientAuth: stdtls.RequireAndVerifyClientCert},
		"an unknown group":   {Certificates: own.Certificates, CurvePreferences: []stdtls.CurveID{9999}},
		"no common protocol": {Certificates: own.Certificates, NextProtos: []string{"theirs"}},
		"no common group":    {Certificates: own.Certificates, CurvePreferences: []stdtls.CurveID{stdtls.CurveP521}},
	} {
		answer.Store(&says{c: c})
		cc.CurvePreferences = nil
		if what == "no common group" {
			cc.CurvePreferences = []stdtls.CurveID{stdtls.X25519}
		}
		refused(what)
	}
	cc.CurvePreferences = nil
	answer.Store(&says{err: errors.New("no")})
	refused("an error")
	answer.Store(&says{})
	cc.ServerName, cc.InsecureSkipVerify = strings.Repeat("a.", 130)+"b", true
	refused("a long name")
}

// TestQUICClientAuth: client certificates are asked for and verified, the key log is written, by both ends.
func TestQUICClientAuth(t *testing.T) {
	sc, cc := serverTLS(), clientTLS()
	sc.ClientAuth, sc.ClientCAs = stdtls.RequireAndVerifyClientCert, pki().pool
	var logs [2]lockedBuffer
	sc.KeyLogWriter, cc.KeyLogWriter = &logs[0], &logs[1]
	seen := make(chan string, 1)
	sc.VerifyConnection = func(st stdtls.ConnectionState) error {
		seen <- st.PeerCertificates[0].Subject.CommonName
		return nil
	}
	addr := quicEcho(t, newServer(t, sc).QUIC())
	if _, err := quicVisit(t, addr, newClient(t, cc).QUIC()); err == nil {
		t.Error("a client without a certificate was let in")
	}
	cc.Certificates = []stdtls.Certificate{pki().small}
	leaf, err := x509.ParseCertificate(pki().small.Certificate[0])
	must(err)
	if _, err := quicVisit(t, addr, newClient(t, cc).QUIC()); err != nil {
		t.Error(err)
	}
	if got := <-seen; got != leaf.Subject.CommonName {
		t.Errorf("the server has seen %q", got)
	}
	for i := range logs {
		if !bytes.Contains(logs[i].bytes(), []byte("CLIENT_TRAFFIC_SECRET_0 ")) {
			t.Errorf("key log %d: %q", i, logs[i].bytes())
		}
	}
}

// lockedBuffer is a KeyLogWriter.
type lockedBuffer struct {
	mu sync.Mutex
	b  []byte
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b = append(l.b, p...)
	return len(p), nil
}

func (l *lockedBuffer) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.b)
}

// TestQUICPanics: a panic in a callback ends that connection only.
func TestQUICPanics(t *testing.T) {
	for name, change := range map[string]func(sc, cc *stdtls.Config){
		"GetConfigForClient": func(sc, _ *stdtls.Config) {
			sc.GetConfigForClient = func(*stdtls.ClientHelloInfo) (*stdtls.Config, error) { panic("test") }
		},
		"GetCertificate": func(sc, _ *stdtls.Config) {
			sc.Certificates = nil
			sc.GetCertificate = func(*stdtls.ClientHelloInfo) (*stdtls.Certificate, error) { panic("test") }
		},
		"KeyLogWriter":             func(sc, _ *stdtls.Config) { sc.KeyLogWriter = panicWriter{} },
		"VerifyConnection":         func(sc, _ *stdtls.Config) { sc.VerifyConnection = func(stdtls.ConnectionState) error { panic("test") } },
		"VerifyConnection, client": func(_, cc *stdtls.Config) { cc.VerifyConnection = func(stdtls.ConnectionState) error { panic("test") } },
		"VerifyPeerCertificate": func(_, cc *stdtls.Config) {
			cc.VerifyPeerCertificate = func([][]byte, [][]*x509.Certificate) error { panic("test") }
		},
		"KeyLogWriter, client":         func(_, cc *stdtls.Config) { cc.KeyLogWriter = panicWriter{} },
		"GetEncryptedClientHelloKeys ": nil,
	} {
		t.Run(name, func(t *testing.T) {
			if change == nil { // not called without ECH: the wrapper by itself
				c := &stdtls.Config{GetEncryptedClientHelloKeys: func(*stdtls.ClientHelloInfo) ([]stdtls.EncryptedClientHelloKey, error) { panic("test") }}
				guard(c)
				if _, err := c.GetEncryptedClientHelloKeys(nil); err == nil || !strings.Contains(err.Error(), "panic in a callback: test") {
					t.Error(err)
				}
				return
			}
			sc, cc := serverTLS(), clientTLS()
			change(sc, cc)
			if _, err := quicVisit(t, quicEcho(t, newServer(t, sc).QUIC()), newClient(t, cc).QUIC()); err == nil {
				t.Error("nothing has failed")
			}
		})
	}
}

type panicWriter struct{}

func (panicWriter) Write([]byte) (int, error) { panic("test") }
