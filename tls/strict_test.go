package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"errors"
	"strings"
	"testing"
)

// split cuts a record into records of n bytes of content each.
func split(record []byte, n int) (wire []byte) {
	for body := record[recordHeaderLen:]; len(body) > 0; {
		k := min(n, len(body))
		wire = append(wire, record[0], record[1], record[2], byte(k>>8), byte(k))
		wire = append(wire, body[:k]...)
		body = body[k:]
	}
	return wire
}

// firstRecord is the record at the start of b, and what follows it.
func firstRecord(b []byte) (record, rest []byte) {
	n := recordHeaderLen + bodyLen(b)
	return b[:n], b[n:]
}

// flights starts a handshake and returns the ends, and the server's first flight.
func flights(t *testing.T, sc, cc *stdtls.Config) (s, c *Conn, flight []byte) {
	t.Helper()
	s, c = newServer(t, sc).Conn(), newClient(t, cc).Conn("")
	t.Cleanup(s.Release)
	t.Cleanup(c.Release)
	var none, up []byte
	_, err := advance(c, &none, &up)
	must(err)
	_, err = advance(s, &up, &flight)
	must(err)
	return s, c, flight
}

// ended checks that err is our own error with the alert want, or the peer's when remote is set.
func ended(t *testing.T, err error, want Alert, remote bool) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Alert != want || e.Remote != remote {
		t.Fatalf("got %v, want %v, remote %v", err, want, remote)
	}
}

// TestPlaintextWhenProtected: once the peer must protect its records, an unprotected one is unexpected (RFC 8446, 5), not merely
// one that does not authenticate.
func TestPlaintextWhenProtected(t *testing.T) {
	for name, record := range map[string][]byte{
		"Finished":            append([]byte{22, 3, 3, 0, 36, 20, 0, 0, 32}, make([]byte, 32)...),
		"empty":               {22, 3, 3, 0, 0},
		"unknown type":        {99, 3, 3, 0, 1, 0},
		"another ClientHello": clientHello(t),
		"alert of one byte":   {21, 3, 3, 0, 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s, c, flight := flights(t, serverTLS(), clientTLS())
			in, out := bytes.Clone(record), []byte(nil)
			_, err := advance(s, &in, &out)
			ended(t, err, AlertUnexpectedMessage, false)
			hello, _ := firstRecord(flight)
			in, out = append(bytes.Clone(hello), record...), nil
			_, err = advance(c, &in, &out)
			ended(t, err, AlertUnexpectedMessage, false)
		})
	}
}

// TestPlaintextAlert: a client that could make nothing of our ServerHello has no keys to protect its alert with. It is believed, since
// all it can do is end the handshake, and not answered.
func TestPlaintextAlert(t *testing.T) {
	s, _, _ := flights(t, serverTLS(), clientTLS())
	in, out := []byte{21, 3, 3, 0, 2, 2, byte(AlertIllegalParameter)}, []byte(nil)
	_, err := advance(s, &in, &out)
	ended(t, err, AlertIllegalParameter, true)
	if len(out) != 0 || len(s.Finish(nil, err)) != 0 {
		t.Errorf("answered with %x", out)
	}
}

// TestSplitServerHello: a ServerHello in small records changes nothing, neither for a good handshake nor for the alert of a bad one.
func TestSplitServerHello(t *testing.T) {
	for _, piece := range []int{1, 30, 60} {
		s, c, flight := flights(t, serverTLS(), clientTLS())
		hello, rest := firstRecord(flight)
		if _, _, err := shakeOn(s, c, nil, append(split(hello, piece), rest...)); err != nil {
			t.Fatalf("pieces of %d: %v", piece, err)
		}
		cc := clientTLS()
		cc.ServerName = "other.test"
		s, c, flight = flights(t, serverTLS(), cc)
		hello, rest = firstRecord(flight)
		toClient, toServer := append(split(hello, piece), rest...), []byte(nil)
		_, err := advance(c, &toClient, &toServer)
		ended(t, err, AlertBadCertificate, false)
		_, err = advance(s, &toServer, &toClient)
		ended(t, err, AlertBadCertificate, true)
		if len(toServer) != 0 {
			t.Errorf("pieces of %d: %x behind the alert", piece, toServer)
		}
	}
}

// TestSplitServerHelloCCS: the rule that a change_cipher_spec is never protected holds then, too, and the alert for it is protected.
func TestSplitServerHelloCCS(t *testing.T) {
	s, c, flight := flights(t, serverTLS(), clientTLS())
	hello, _ := firstRecord(flight)
	var h half
	p := &s.hs.engine.pipe
	must(h.install(p.suite, p.secrets[secretServerHandshake].bytes()))
	toClient, toServer := h.seal(split(hello, 30), typeChangeCipherSpec, []byte{1}), []byte(nil)
	_, err := advance(c, &toClient, &toServer)
	ended(t, err, AlertUnexpectedMessage, false)
	_, err = advance(s, &toServer, &toClient)
	ended(t, err, AlertUnexpectedMessage, true)
}

// TestEarlyCCS: a client drops change_cipher_spec records from its hello on (RFC 8446, 5), but not inside a message, and not for ever.
func TestEarlyCCS(t *testing.T) {
	ccs := []byte{20, 3, 3, 0, 1, 1}
	s, c, flight := flights(t, serverTLS(), clientTLS())
	if _, _, err := shakeOn(s, c, nil, append(bytes.Repeat(ccs, 3), flight...)); err != nil {
		t.Errorf("three before the ServerHello: %v", err)
	}
	hello, rest := firstRecord(flight)
	for name, wire := range map[string][]byte{
		"inside the ServerHello": bytes.Join([][]byte{split(hello, 50)[:55], ccs, split(hello, 50)[55:], rest}, nil),
		"for ever":               bytes.Repeat(ccs, maxBatchedCCS),
		"wrong value":            {20, 3, 3, 0, 1, 2},
	} {
		_, c, _ := flights(t, serverTLS(), clientTLS())
		var out []byte
		_, err := advance(c, &wire, &out)
		var e *Error
		if !errors.As(err, &e) || e.Alert != AlertUnexpectedMessage || e.Remote {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSpanKeyChange: a record may not hold messages of two keys (RFC 8446, 5.1).
func TestSpanKeyChange(t *testing.T) {
	longer := func(record []byte, more ...byte) []byte {
		b := append(bytes.Clone(record), more...)
		n := len(b) - recordHeaderLen
		b[3], b[4] = byte(n>>8), byte(n)
		return b
	}
	s := newServer(t, serverTLS()).Conn()
	defer s.Release()
	in, out := longer(clientHello(t), 20, 0, 0, 1), []byte(nil)
	_, err := advance(s, &in, &out)
	ended(t, err, AlertUnexpectedMessage, false)

	_, c, flight := flights(t, serverTLS(), clientTLS())
	hello, _ := firstRecord(flight)
	in, out = longer(hello, 8, 0, 0, 2, 0, 0), nil
	_, err = advance(c, &in, &out)
	ended(t, err, AlertUnexpectedMessage, false)

	s, c, flight = flights(t, serverTLS(), clientTLS())
	p := &s.hs.engine.pipe
	var h half
	must(h.install(p.suite, p.secrets[secretClientHandshake].bytes()))
	out = nil
	_, err = advance(c, &flight, &out)
	must(err)
	_, finished := firstRecord(out) // behind the change_cipher_spec
	plain, err := h.open(make([]byte, 0, 100), finished)
	must(err)
	message, _, _ := trim(plain)
	in, out = h.seal(nil, typeHandshake, append(bytes.Clone(message), messageKeyUpdate, 0, 0, 1, 0)), nil
	_, err = advance(s, &in, &out)
	ended(t, err, AlertUnexpectedMessage, false)
	if _, _, err := c.Open(make([]byte, 0, 1000), out); err == nil || !strings.Contains(err.Error(), "peer: unexpected_message") {
		t.Errorf("the client was told %v", err)
	}
}

// TestSecondHelloSize: Config.MaxClientHello holds for the answer to a HelloRetryRequest, too.
func TestSecondHelloSize(t *testing.T) {
	sc := serverTLS()
	sc.CurvePreferences = []stdtls.CurveID{stdtls.CurveP384}
	server, err := NewServer(Config{TLS: sc, MaxClientHello: 2048})
	must(err)
	s := server.Conn()
	defer s.Release()
	in, out := clientHello(t), []byte(nil)
	_, err = advance(s, &in, &out)
	must(err)
	in, out = append([]byte{22, 3, 3, 0x08, 0x05, messageClientHello, 0, 0x40, 0}, make([]byte, 2049)...), nil
	_, err = advance(s, &in, &out)
	want, _ := faultHelloSize.alert()
	ended(t, err, want, false)
	if !bytes.Equal(out, []byte{21, 3, 3, 0, 2, 2, byte(want)}) {
		t.Errorf("the client was told %x", out)
	}
}

// TestUnaskedCertificate: a server that asked for no certificate does not collect one.
func TestUnaskedCertificate(t *testing.T) {
	for _, auth := range []stdtls.ClientAuthType{stdtls.NoClientCert, stdtls.RequestClientCert} {
		sc := serverTLS()
		sc.ClientAuth = auth
		s, _, _ := flights(t, sc, clientTLS())
		p := &s.hs.engine.pipe
		var h half
		must(h.install(p.suite, p.secrets[secretClientHandshake].bytes()))
		message := append([]byte{11, 3, 0, 0, 0, 2, 0xff, 0xfc}, make([]byte, 190<<10)...) // most of 192 KB
		taken, err := 0, error(nil)
		for len(message) > 0 && err == nil {
			n := min(len(message), maxPlaintext)
			in, out := h.seal(nil, typeHandshake, message[:n]), []byte(nil)
			message = message[n:]
			taken += n
			_, err = advance(s, &in, &out)
		}
		if auth == stdtls.RequestClientCert {
			if err != nil {
				t.Errorf("asked for, after %d bytes: %v", taken, err)
			}
			continue
		}
		ended(t, err, AlertUnexpectedMessage, false)
		if taken > 3*maxPlaintext {
			t.Errorf("%d bytes were collected", taken)
		}
	}
}

// TestProtectedHandshakeRecords: what is wrong about a client's protected records before its Finished, and the alert for it.
func TestProtectedHandshakeRecords(t *testing.T) {
	finished := append([]byte{20, 0, 0, 32}, make([]byte, 32)...)
	for name, tc := range map[string]struct {
		inner []byte
		want  Alert
	}{
		"nothing inside":         {nil, AlertUnexpectedMessage},
		"only zeros":             {make([]byte, 50), AlertUnexpectedMessage},
		"unknown type":           {inner(99, 1), AlertUnexpectedMessage},
		"data":                   {inner(typeApplicationData, 'x'), AlertUnexpectedMessage},
		"empty handshake record": {inner(typeHandshake), AlertUnexpectedMessage},
		"empty alert":            {inner(typeAlert), AlertUnexpectedMessage},
		"too long":               {append(inner(typeHandshake, finished...), make([]byte, maxPlaintext)...), AlertRecordOverflow},
		"KeyUpdate":              {inner(typeHandshake, messageKeyUpdate, 0, 0, 1, 0), AlertUnexpectedMessage},
		"EndOfEarlyData":         {inner(typeHandshake, 5, 0, 0, 0), AlertUnexpectedMessage},
		"certificate not due":    {inner(typeHandshake, 11, 0, 0, 4, 0, 0, 0, 0), AlertUnexpectedMessage},
		"wrong Finished":         {inner(typeHandshake, finished...), AlertDecryptError},
	} {
		t.Run(name, func(t *testing.T) {
			s, c, flight := flights(t, serverTLS(), clientTLS())
			var h half
			p := &s.hs.engine.pipe
			must(h.install(p.suite, p.secrets[secretClientHandshake].bytes()))
			in, out := forge(&h, tc.inner), []byte(nil)
			_, err := advance(s, &in, &out)
			ended(t, err, tc.want, false)
			_, err = advance(c, &flight, &in)
			must(err)
			_, _, told := c.Open(make([]byte, 0, 1000), append(flight, out...))
			ended(t, told, tc.want, true)
		})
	}
}

// TestSpanSecondHello: as TestSpanKeyChange, with the answer to a HelloRetryRequest.
func TestSpanSecondHello(t *testing.T) {
	sc := serverTLS()
	sc.CurvePreferences = []stdtls.CurveID{stdtls.CurveP384}
	s, c, retry := flights(t, sc, clientTLS())
	var up, out []byte
	_, err := advance(c, &retry, &up)
	must(err)
	ccs, hello := firstRecord(up)
	n := bodyLen(hello) + 1
	hello = append(bytes.Clone(hello), 20)
	hello[3], hello[4] = byte(n>>8), byte(n)
	in := append(bytes.Clone(ccs), hello...)
	_, err = advance(s, &in, &out)
	ended(t, err, AlertUnexpectedMessage, false)
	_, err = advance(c, &out, &in)
	ended(t, err, AlertUnexpectedMessage, true)
	if len(out) != 0 {
		t.Errorf("%x behind the alert", out)
	}
}
