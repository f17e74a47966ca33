package tls

import (
	stdtls "crypto/tls"
	"errors"
	"testing"
)

// advance gives one end the bytes in *in and appends what it says to *out. It reports whether the handshake is done.
func advance(c *Conn, in, out *[]byte) (done bool, err error) {
	for {
		n, step, err := c.Handshake(*in)
		*in = (*in)[n:]
		if err != nil {
			*out = c.Output(*out)
			return false, err
		}
		if !step {
			return c.state >= stateOpen, nil
		}
		_, err = c.Step()
		*out = c.Output(*out)
		if err != nil {
			return false, err
		}
	}
}

var errStuck = errors.New("both ends wait for each other")

// shake runs the handshake of two ends of ours against each other, in this goroutine. toServer and toClient are what is left over:
// ciphertext of the peer behind its handshake.
func shake(server, client *Conn) (toServer, toClient []byte, err error) {
	return shakeOn(server, client, nil, nil)
}

// shakeOn is shake with bytes under way.
func shakeOn(server, client *Conn, toServer, toClient []byte) ([]byte, []byte, error) {
	for {
		before := len(toServer) + len(toClient)
		cd, err := advance(client, &toClient, &toServer)
		if err != nil {
			advance(server, &toServer, &toClient)
			return toServer, toClient, err
		}
		sd, err := advance(server, &toServer, &toClient)
		if err != nil {
			advance(client, &toClient, &toServer)
			return toServer, toClient, err
		}
		if cd && sd {
			return toServer, toClient, nil
		}
		if before == 0 && len(toServer)+len(toClient) == 0 {
			return toServer, toClient, errStuck
		}
	}
}

// pair is two connected ends of ours. What the server said behind its handshake (tickets) has been opened by the client.
func pair(t testing.TB, server *Server, client *Client) (s, c *Conn) {
	t.Helper()
	s, c = server.Conn(), client.Conn("")
	t.Cleanup(s.Release)
	t.Cleanup(c.Release)
	toServer, toClient, err := shake(s, c)
	if err != nil {
		t.Fatal(err)
	}
	if len(toServer) != 0 {
		t.Fatalf("%d bytes left for the server", len(toServer))
	}
	if got := opened(t, c, toClient); len(got) != 0 {
		t.Fatalf("server sent %q by itself", got)
	}
	return s, c
}

// opened decrypts all of wire.
func opened(t testing.TB, c *Conn, wire []byte) []byte {
	t.Helper()
	out, n, err := c.Open(make([]byte, 0, len(wire)+maxCiphertext), wire)
	if err != nil || n != len(wire) {
		t.Fatalf("Open consumed %d of %d: %v", n, len(wire), err)
	}
	return out
}

// sealed encrypts text.
func sealed(t testing.TB, c *Conn, text string) []byte {
	t.Helper()
	out, err := c.Seal(nil, []byte(text), false)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// defaults are a server and a client with nothing special.
func defaults(t testing.TB) (*Server, *Client) {
	return newServer(t, serverTLS()), newClient(t, clientTLS())
}

// suites are the configurations that lead to each suite. TLS 1.3 suites cannot be chosen in crypto/tls: AES-256 and ChaCha20 are
// reached with openssl only, so the record layer of those is tested on keyed halves.
func keyed(t testing.TB, id uint16, limit uint64) (s, c *Conn) {
	return keyedAs(t, id, limit, AESGCMAuto)
}

// keyedAs is keyed with an implementation of AES-GCM.
func keyedAs(t testing.TB, id uint16, limit uint64, aes AESGCM) (s, c *Conn) {
	t.Helper()
	server, err := NewServer(Config{TLS: serverTLS(), RecordsPerKey: limit, AESGCM: aes})
	must(err)
	client, err := NewClient(Config{TLS: clientTLS(), RecordsPerKey: limit, AESGCM: aes})
	must(err)
	a := &agreement{suite: suite{id, server.AESGCM().implementation()}}
	s = &Conn{end: &server.endpoint, state: stateOpen, agreed: a}
	c = &Conn{end: &client.endpoint, state: stateOpen, agreed: a}
	up, down := make([]byte, a.suite.secretLen()), make([]byte, a.suite.secretLen())
	up[0], down[0] = 1, 2
	must(s.in.install(a.suite, up))
	must(c.out.install(a.suite, up))
	must(s.out.install(a.suite, down))
	must(c.in.install(a.suite, down))
	return s, c
}

func allSuites() map[string]uint16 {
	return map[string]uint16{
		"AES-128-GCM":       stdtls.TLS_AES_128_GCM_SHA256,
		"AES-256-GCM":       stdtls.TLS_AES_256_GCM_SHA384,
		"ChaCha20-Poly1305": stdtls.TLS_CHACHA20_POLY1305_SHA256,
	}
}
