package certs

import (
	"bufio"
	"context"
	stdtls "crypto/tls"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/tls"
)

// started is a server of ours with a certificate for a.test.
func started(t *testing.T) (addr string) {
	t.Helper()
	s, _, _ := open(t, Config{Pairs: []Pair{theCA().issue(single).write(t.TempDir(), "a")}})
	addr, r := serve(serverOf(s))
	t.Cleanup(func() { _ = r.Close() })
	return addr
}

// TestDowngradeIsRefused: a client that speaks TLS 1.2 at most is told protocol_version, whatever it offers.
func TestDowngradeIsRefused(t *testing.T) {
	addr := started(t)
	for _, version := range []uint16{stdtls.VersionTLS10, stdtls.VersionTLS11, stdtls.VersionTLS12} {
		cfg := clientOf(nil)
		cfg.MinVersion, cfg.MaxVersion = version, version
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		c, err := (&stdtls.Dialer{Config: cfg}).DialContext(ctx, "tcp", addr)
		cancel()
		if err == nil {
			_ = c.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "remote error: tls: protocol version not supported") {
			t.Errorf("%s: %v", stdtls.VersionName(version), err)
		}
	}
}

// TestKeyExchangeIsPostQuantum: with nothing configured on either side, new and resumed connections agree on keys with X25519MLKEM768. A resumed
// one has a key exchange of its own, so the ticket key alone opens nothing.
func TestKeyExchangeIsPostQuantum(t *testing.T) {
	addr := started(t)
	cache := stdtls.NewLRUClientSessionCache(1)
	for i := range 2 {
		st := visit(t, addr, clientOf(cache)).ConnectionState()
		if st.DidResume != (i == 1) || st.CurveID != stdtls.X25519MLKEM768 {
			t.Errorf("visit %d: resumed %v, group %v", i, st.DidResume, st.CurveID)
		}
	}
}

// TestNoEarlyData: our tickets allow none, so there is no 0-RTT data that could be replayed.
func TestNoEarlyData(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	session := filepath.Join(t.TempDir(), "session.pem")
	cmd := exec.CommandContext(ctx, opensslPath(t), "s_client", "-connect", started(t), "-tls1_3", "-servername", "a.test", "-alpn", tls.ALPN,
		"-sess_out", session)
	in, err := cmd.StdinPipe() // open until the echo is there, and with it the ticket
	must(err)
	out, err := cmd.StdoutPipe()
	must(err)
	must(cmd.Start())
	_, err = io.WriteString(in, "an echo\n")
	must(err)
	for lines := bufio.NewScanner(out); lines.Scan() && lines.Text() != "an echo"; {
	}
	must(in.Close())
	_, _ = io.Copy(io.Discard, out)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	text, err := exec.CommandContext(ctx, opensslPath(t), "sess_id", "-in", session, "-noout", "-text").CombinedOutput()
	if err != nil || !strings.Contains(string(text), "TLS session ticket:") || !strings.Contains(string(text), "Max Early Data: 0\n") {
		t.Errorf("openssl sess_id: %v; it must show a ticket with Max Early Data: 0:\n%s", err, text)
	}
}
