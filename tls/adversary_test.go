package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
)

// TestOldClients: a client without TLS 1.3 is told protocol_version, which lets it say so to its user.
func TestOldClients(t *testing.T) {
	server := newServer(t, serverTLS())
	for _, version := range []uint16{stdtls.VersionTLS10, stdtls.VersionTLS11, stdtls.VersionTLS12} {
		t.Run(stdtls.VersionName(version), func(t *testing.T) {
			cc := clientTLS()
			cc.MinVersion, cc.MaxVersion = stdtls.VersionTLS10, version
			a, b := newWire()
			result := make(chan error, 1)
			go func() { result <- stdtls.Client(b, cc).Handshake() }()
			_, err := drive(a, server.Conn(), nil)
			var e *Error
			if !errors.As(err, &e) || e.Remote || e.Alert != AlertProtocolVersion {
				t.Errorf("we: %v", err)
			}
			if err := <-result; err == nil || err.Error() != "remote error: tls: protocol version not supported" {
				t.Errorf("the client: %v", err)
			}
		})
	}
}

// TestOldServer: our client offers TLS 1.3 only, and does not follow a server to an older version.
func TestOldServer(t *testing.T) {
	sc := serverTLS()
	sc.MaxVersion, sc.NextProtos = stdtls.VersionTLS12, []string{ALPN}
	a, b := newWire()
	result := make(chan error, 1)
	go func() { result <- stdtls.Server(b, sc).Handshake() }()
	_, err := drive(a, newClient(t, clientTLS()).Conn(""), nil)
	var e *Error
	if !errors.As(err, &e) || !e.Remote || e.Alert != AlertProtocolVersion {
		t.Errorf("an honest server: %v", err)
	}
	if err := <-result; err == nil {
		t.Error("the server is content")
	}
	// One that chooses TLS 1.2 all the same.
	c := newClient(t, clientTLS()).Conn("")
	defer c.Release()
	c.Handshake(nil)
	c.Step()
	c.Output(nil)
	hello := append([]byte{22, 3, 3, 0, 44, messageServerHello, 0, 0, 40, 3, 3}, make([]byte, 38)...)
	hello[len(hello)-5], hello[len(hello)-4] = 0xc0, 0x2f
	toClient, toServer := hello, []byte(nil)
	if _, err := advance(c, &toClient, &toServer); !errors.As(err, &e) || e.Remote || e.Alert != AlertProtocolVersion {
		t.Errorf("a forced TLS 1.2: %v", err)
	}
	if !bytes.Equal(toServer, []byte{21, 3, 1, 0, 2, 2, byte(AlertProtocolVersion)}) {
		t.Errorf("the server was told %x", toServer)
	}
}

// withExtension adds an empty extension to a ClientHello in one record.
func withExtension(hello []byte, typ uint16) []byte {
	b := bytes.Clone(hello)
	at := recordHeaderLen + messageHeaderLen + 2 + 32
	at += 1 + int(b[at])                   // session ID
	at += 2 + int(b[at])<<8 + int(b[at+1]) // suites
	at += 1 + int(b[at])                   // compression
	n := int(b[at])<<8 + int(b[at+1]) + 4  // extensions
	b[at], b[at+1] = byte(n>>8), byte(n)
	b = append(b, byte(typ>>8), byte(typ), 0, 0)
	body := len(b) - recordHeaderLen
	b[3], b[4] = byte(body>>8), byte(body)
	body -= messageHeaderLen
	b[6], b[7], b[8] = byte(body>>16), byte(body>>8), byte(body)
	return b
}

// TestEarlyData: a client that says it sends early data is refused, as crypto/tls refuses it: our tickets never allowed any
// (RFC 8446, 4.2.10). What it sends behind the hello is not looked at.
func TestEarlyData(t *testing.T) {
	c := newServer(t, serverTLS()).Conn()
	defer c.Release()
	hello := withExtension(clientHello(t), 42)
	wire := append(hello, append([]byte{23, 3, 3, 0, 40}, make([]byte, 40)...)...)
	n, step, err := c.Handshake(wire)
	if n != len(hello) || !step || err != nil {
		t.Fatal(n, step, err)
	}
	_, err = c.Step()
	var e *Error
	if !errors.As(err, &e) || e.Remote || e.Alert != AlertUnsupportedExtension || !strings.Contains(err.Error(), "early data") {
		t.Fatalf("got %v", err)
	}
	if out := c.Output(nil); !bytes.Equal(out, []byte{21, 3, 3, 0, 2, 2, byte(AlertUnsupportedExtension)}) {
		t.Errorf("the client was told %x", out)
	}
	if n, _, again := c.Handshake(wire[n:]); n != 0 || again != err {
		t.Errorf("the early data: %d, %v", n, again)
	}
	// Records of early data without the extension are records that do not authenticate.
	s := newServer(t, serverTLS()).Conn()
	defer s.Release()
	toServer, toClient := append(clientHello(t), wire[len(hello):]...), []byte(nil)
	if _, err := advance(s, &toServer, &toClient); !errors.As(err, &e) || e.Remote || e.Alert != AlertBadRecordMAC {
		t.Errorf("unannounced: %v", err)
	}
}

// TestHandshakeFloods: whatever a peer without keys repeats between its hello and its Finished ends the handshake soon, with an alert.
func TestHandshakeFloods(t *testing.T) {
	for name, record := range map[string][]byte{
		"empty handshake records":       {22, 3, 3, 0, 0},
		"empty application data":        {23, 3, 3, 0, 0},
		"application data":              {23, 3, 3, 0, 1, 0},
		"garbage under no key":          append([]byte{23, 3, 3, 0, 100}, make([]byte, 100)...),
		"change_cipher_spec":            {20, 3, 3, 0, 1, 1},
		"user_canceled":                 {21, 3, 3, 0, 2, 1, 90},
		"another ClientHello":           {22, 3, 3, 0, 4, 1, 0, 0, 0},
		"plaintext Finished":            append([]byte{22, 3, 3, 0, 36, 20, 0, 0, 32}, make([]byte, 32)...),
		"one byte of a message":         {22, 3, 3, 0, 1, 20},
		"unknown record type":           {99, 3, 3, 0, 1, 0},
		"application data of version 2": {23, 2, 0, 0, 40},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, serverTLS()).Conn()
			defer s.Release()
			s.Handshake(clientHello(t))
			must2(s.Step())
			s.Output(nil)
			const most = maxBatchedCCS + 1
			toServer, toClient := bytes.Repeat(record, most+1), []byte(nil)
			_, err := advance(s, &toServer, &toClient)
			var e *Error
			if !errors.As(err, &e) || e.Alert == AlertInternalError || !e.Remote && len(toClient) == 0 {
				t.Errorf("%v, told %x, %d bytes left", err, toClient, len(toServer))
			}
		})
	}
}

func must2(_ bool, err error) { must(err) }

// TestHandshakeTruncated: a socket that ends anywhere in the handshake is an error that says so, on either side.
func TestHandshakeTruncated(t *testing.T) {
	server, client := defaults(t)
	s, c := server.Conn(), client.Conn("")
	defer s.Release()
	defer c.Release()
	ended := func(who string, c *Conn, n int) {
		if err := c.EOF(); !errors.Is(err, io.ErrUnexpectedEOF) || !strings.Contains(err.Error(), "during the handshake") {
			t.Fatalf("%s, after %d bytes: %v", who, n, err)
		}
	}
	feed := func(who string, c *Conn, wire []byte) (said []byte) {
		var held []byte
		for i := range wire {
			ended(who, c, i)
			held = append(held, wire[i])
			done, err := advance(c, &held, &said)
			if err != nil {
				t.Fatal(err)
			}
			if done {
				return said
			}
		}
		ended(who, c, len(wire))
		return said
	}
	var none, up []byte
	advance(c, &none, &up)
	feed("server", s, feed("client", c, feed("server", s, up)))
	if s.state != stateOpen || c.state != stateOpen {
		t.Error(s.state, c.state)
	}
}

// TestRenegotiation: TLS 1.3 has none (RFC 8446, 4.1.2): handshake messages that would start one are refused on either side.
func TestRenegotiation(t *testing.T) {
	for name, tc := range map[string]struct {
		client  bool
		message []byte
	}{
		"HelloRequest to a client": {true, []byte{0, 0, 0, 0}},
		"HelloRequest to a server": {false, []byte{0, 0, 0, 0}},
		"ServerHello to a client":  {true, []byte{messageServerHello, 0, 0, 0}},
		"Finished to a server":     {false, []byte{20, 0, 0, 0}},
		"ClientHello to a server":  {false, clientHello(t)[recordHeaderLen:]},
	} {
		t.Run(name, func(t *testing.T) {
			victim, peer := keyed(t, testSuite, DefaultRecordsPerKey)
			if tc.client {
				victim, peer = peer, victim
			}
			_, err := openPieces(victim, forge(&peer.out, inner(typeHandshake, tc.message...)), 0)
			var e *Error
			if !errors.As(err, &e) || e.Remote || e.Alert != AlertUnexpectedMessage {
				t.Errorf("got %v", err)
			}
		})
	}
}
