package tls

import (
	stdtls "crypto/tls"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestRequestBeforeClose: a request for the peer's new key that is still waiting when the peer closes its side becomes a plain update.
func TestRequestBeforeClose(t *testing.T) {
	s, c := keyed(t, testSuite, DefaultRecordsPerKey)
	must(s.UpdateKeys(true))
	if _, _, err := s.Open(make([]byte, 0, 100), c.Finish(nil, nil)); err != io.EOF {
		t.Fatal(err)
	}
	opened(t, c, sealed(t, s, "late"))
	if c.update != updateNone {
		t.Error("the peer was asked after it had closed")
	}
}

// TestLongServerName: a client cannot make us keep a name that no host can have.
func TestLongServerName(t *testing.T) {
	server := newServer(t, serverTLS())
	cc := clientTLS()
	cc.InsecureSkipVerify = true
	for n, ok := range map[int]bool{253: true, 255: true, 256: false, 20_000: false} {
		name := strings.Repeat("a.", n)[:n-1] + "b"
		s, c := server.Conn(), newClient(t, cc).Conn(name)
		_, _, err := shake(s, c)
		var e *Error
		if ok != (err == nil) || err != nil && (!errors.As(err, &e) || e.Remote || !strings.Contains(err.Error(), "server name")) {
			t.Errorf("a name of %d bytes: %v", n, err)
		}
		if ok && s.State().ServerName != name {
			t.Errorf("a name of %d bytes became %q", n, s.State().ServerName)
		}
		s.Release()
		c.Release()
	}
}

// TestKeyExchangeUnavailable: groups that the process has switched off are found out at the start, not by the first peer.
func TestKeyExchangeUnavailable(t *testing.T) {
	if os.Getenv("GODEBUG") == "tlsmlkem=0" {
		for _, policy := range []KeyExchange{HybridOnly, HybridPreferred, HybridOff} {
			_, err := NewServer(Config{TLS: serverTLS(), KeyExchange: policy})
			_, errClient := NewClient(Config{TLS: clientTLS(), KeyExchange: policy})
			if (err != nil) != (policy == HybridOnly) || text(err) != text(errClient) {
				t.Errorf("%v: %v, client %v", policy, err, errClient)
			}
			if err != nil && !(strings.Contains(err.Error(), "Config.KeyExchange is HybridOnly") && strings.Contains(err.Error(), "GODEBUG")) {
				t.Errorf("message %q", err)
			}
		}
		sc := serverTLS()
		sc.CurvePreferences = []stdtls.CurveID{stdtls.X25519MLKEM768}
		if _, err := NewServer(Config{TLS: sc}); err == nil {
			t.Error("preferences that are all switched off")
		}
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKeyExchangeUnavailable$", "-test.v")
	cmd.Env = append(os.Environ(), "GODEBUG=tlsmlkem=0")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestFinishForeign: what the peer of another connection said is no reason to leave this one's without a goodbye (RFC 8446, 6.1).
func TestFinishForeign(t *testing.T) {
	s, c := keyed(t, testSuite, DefaultRecordsPerKey)
	foreign := &Error{Remote: true, Alert: AlertHandshakeFailure, Detail: "on another connection"}
	if _, _, err := c.Open(make([]byte, 0, 100), s.Finish(nil, foreign)); err != io.EOF {
		t.Errorf("got %v", err)
	}
	s, c = keyed(t, testSuite, DefaultRecordsPerKey)
	if _, _, err := c.Open(make([]byte, 0, 100), s.Finish(nil, &Error{Alert: AlertUserCanceled})); err != io.EOF {
		t.Errorf("user_canceled alone: %v", err)
	}
}
