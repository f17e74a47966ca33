package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
)

// reader is crypto/tls's server behind a handshake with a client of ours, whose write half it listens to.
func reader(t *testing.T, sc *stdtls.Config, client *Client) (theirs *stdtls.Conn, sock *wire, c *Conn) {
	t.Helper()
	a, b := newWire()
	theirs = stdtls.Server(b, sc)
	result := make(chan error, 1)
	go func() { result <- theirs.Handshake() }()
	d, err := drive(a, client.Conn(""), nil)
	must(err)
	must(<-result)
	return theirs, a, d.tls
}

// lax reports whether crypto/tls is known to be more tolerant than RFC 8446 or this package. It drops any change_cipher_spec, takes a
// record with nothing at all inside, and does not look at the level of an alert.
func lax(e *Error) bool {
	switch faultOf(e) {
	case faultOuterType, faultNoContentType, faultAlertLevel:
		return true
	}
	return e.Remote && e.Alert == AlertUserCanceled
}

// faultOf finds the fault behind an error by its words.
func faultOf(e *Error) fault {
	if e == nil {
		return 0
	}
	for f := fault(1); f < lastFault; f++ {
		if a, text := f.alert(); a == e.Alert && text == e.Detail {
			return f
		}
	}
	return 0
}

// FuzzOpenDifferential: a peer that holds the keys sends anything: data, padding, fragments, alerts, key updates and garbage.
// What we accept crypto/tls accepts, with the same plaintext; what we refuse it refuses, but for the rules it is lax about, and then
// our plaintext is the start of its.
func FuzzOpenDifferential(f *testing.F) {
	f.Add([]byte("\x07\x05hello\x04\x02\x01\x00"))
	f.Add([]byte("\x05\x00\x07\x01x\x85\x00\x07\x01y\x04\x02\x01\x00\x07\x01z"))
	f.Add([]byte("\x02\x02\x18\x00\x02\x03\x00\x01\x00"))
	f.Add([]byte("\x0a\x05\x18\x00\x00\x01\x02"))
	f.Add([]byte("\x01\x07abc\x17\x00\x00\x00\x07\x02ok"))
	f.Add([]byte("\x04\x02\x01\x5a\x07\x01a\x04\x02\x02\x28"))
	f.Add([]byte("\x04\x02\x01\x64\x06\xff" + strings.Repeat("z", 255)))
	f.Add([]byte("\x00\x06\x14\x03\x03\x00\x01\x01\x07\x01a"))
	f.Add([]byte("\x03\x04\x0e\x00\x00\x00"))
	server, cc := newServer(f, serverTLS()), clientTLS()
	sc := serverTLS()
	sc.NextProtos, cc.CurvePreferences = []string{ALPN}, []stdtls.CurveID{stdtls.X25519}
	client := newClient(f, cc)
	f.Fuzz(func(t *testing.T, data []byte) {
		theirs, sock, c := reader(t, sc, client)
		defer c.Release()
		victim := &Conn{end: &server.endpoint, state: stateOpen, agreed: c.agreed}
		n := c.agreed.suite.secretLen()
		must(victim.in.install(c.agreed.suite, c.out.secret[:n]))
		must(victim.out.install(c.agreed.suite, c.in.secret[:n]))
		stream := script(&c.out, c.agreed.suite, data)
		// An end that settles what still hangs: crypto/tls judges messages when they are whole, we at their first byte.
		stream = append(stream, forge(&c.out, inner(typeApplicationData, 'e', 'n', 'd'))...)
		stream = append(stream, forge(&c.out, inner(typeAlert, alertLevelWarning, byte(AlertCloseNotify)))...)
		sock.Write(stream)
		sock.out.end()
		plainTheirs, errTheirs := io.ReadAll(theirs)
		plain, err := openPieces(victim, stream, 0)
		if errTheirs != nil && strings.Contains(errTheirs.Error(), "too many") {
			return // its bound on useless records is half of ours
		}
		if !bytes.HasPrefix(plainTheirs, plain) {
			t.Fatalf("we read %x, crypto/tls %x", plain, plainTheirs)
		}
		var e *Error
		accepted := !errors.As(err, &e)
		acceptedTheirs := errTheirs == nil || errTheirs == io.ErrUnexpectedEOF && faultOf(e) != faultBadMAC // too short for a tag: it waits
		switch {
		case accepted && (!acceptedTheirs || len(plain) != len(plainTheirs)):
			t.Fatalf("we accept %x, crypto/tls says %v after %x", plain, errTheirs, plainTheirs)
		case !accepted && acceptedTheirs && !lax(e):
			t.Fatalf("crypto/tls accepts %x, we say %v after %x", plainTheirs, err, plain)
		}
	})
}
