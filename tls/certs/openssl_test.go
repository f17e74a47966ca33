package certs

import (
	"bufio"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	stdtls "crypto/tls"

	"golang.org/x/crypto/ocsp"

	"github.com/ron-transport/ron-transport/tls"
)

// freePort is a port of the loopback address that nobody listens on: openssl ocsp does not tell which one port 0 became.
func freePort() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	defer l.Close()
	return fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
}

func opensslPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("SKIPPED: openssl is not installed, so stapling is not tested against its responder and its client")
	}
	return path
}

// opensslResponder runs "openssl ocsp" for the leaves in index. It signs with a delegated certificate, or as the CA.
func opensslResponder(t *testing.T, port, index string, signer *authority, more ...string) {
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		must(os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	key, err := x509.MarshalPKCS8PrivateKey(signer.key)
	must(err)
	indexFile := filepath.Join(dir, "index.txt")
	must(os.WriteFile(indexFile, []byte(index), 0o600))
	cmd := exec.Command(opensslPath(t), "ocsp", "-port", port, "-index", indexFile, "-nmin", "60", "-CA", write("ca.pem", "CERTIFICATE", theCA().cert.Raw),
		"-rsigner", write("signer.pem", "CERTIFICATE", signer.cert.Raw), "-rkey", write("signer.key", "PRIVATE KEY", key))
	cmd.Args = append(cmd.Args, more...)
	out, err := cmd.StdoutPipe()
	must(err)
	cmd.Stderr = cmd.Stdout
	must(cmd.Start())
	said := make(chan string, 1)
	go func() {
		in := bufio.NewReader(out)
		line, _ := in.ReadString('\n')
		said <- line
		_, _ = io.Copy(io.Discard, in)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	// It says ACCEPT or "waiting for OCSP client connections" when it listens, depending on its version.
	if line := <-said; !strings.Contains(line, "ACCEPT") && !strings.Contains(strings.ToLower(line), "waiting") {
		t.Fatalf("openssl ocsp said %q", line)
	}
}

// indexLine is a leaf's line in a CA's database.
func indexLine(l leaf, revoked bool) string {
	const form = "060102150405Z"
	serial := l.SerialNumber.Text(16)
	if len(serial)%2 == 1 {
		serial = "0" + serial
	}
	end := l.NotAfter.UTC().Format(form)
	if revoked {
		return fmt.Sprintf("R\t%s\t%s\t%s\tunknown\t/CN=leaf\n", end, time.Now().Add(-time.Hour).UTC().Format(form), strings.ToUpper(serial))
	}
	return fmt.Sprintf("V\t%s\t\t%s\tunknown\t/CN=leaf\n", end, strings.ToUpper(serial))
}

// TestOpenSSLStaple: openssl's responder answers, our server staples, and both Go's and openssl's client get to see it.
func TestOpenSSLStaple(t *testing.T) {
	opensslPath(t)
	for _, tc := range []struct {
		name    string
		signer  *authority
		revoked bool
		status  int
		more    []string
	}{
		{"signed by the CA", theCA(), false, ocsp.Good, nil},
		{"signed by a delegate", theCA().delegate(nil), false, ocsp.Good, nil},
		{"signed by a delegate, which its key names", theCA().delegate(nil), false, ocsp.Good, []string{"-resp_key_id"}},
		{"signed by the CA alone, which its key names", theCA(), false, ocsp.Good, []string{"-resp_key_id", "-resp_no_certs"}},
		{"revoked", theCA(), true, ocsp.Revoked, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			port := freePort()
			l := theCA().issue(single, ofResponder("http://127.0.0.1:"+port))
			opensslResponder(t, port, indexLine(l, tc.revoked), tc.signer, tc.more...)
			pair := l.write(t.TempDir(), "a")
			s, err := New(Config{Pairs: []Pair{pair}})
			must(err)
			if err := s.Staple(context.Background()); err != nil {
				t.Fatal(err)
			}
			if st := s.Stats().Pairs[0]; st.Revoked != tc.revoked || (s.Health() == nil) == tc.revoked {
				t.Errorf("stats %+v, health %v", st, s.Health())
			}
			addr, r := serve(serverOf(s))
			t.Cleanup(func() { _ = r.Close() })

			state := visit(t, addr, clientOf(nil)).ConnectionState()
			got, err := ocsp.ParseResponseForCert(state.OCSPResponse, state.PeerCertificates[0], theCA().cert)
			if err != nil || got.Status != tc.status {
				t.Errorf("the Go client got %+v, %v", got, err)
			}
			checkSClient(t, addr, map[bool]string{false: "Cert Status: good", true: "Cert Status: revoked"}[tc.revoked])
		})
	}
}

// checkSClient has openssl s_client ask for the status and looks for want in what it prints.
func checkSClient(t *testing.T, addr, want string) {
	t.Helper()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	must(os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: theCA().cert.Raw}), 0o600))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, opensslPath(t), "s_client", "-connect", addr, "-tls1_3", "-status", "-CAfile", ca, "-verify_return_error",
		"-servername", "a.test", "-alpn", tls.ALPN)
	cmd.Stdin = strings.NewReader("Q\n")
	out, err := cmd.CombinedOutput()
	if text := string(out); err != nil || !strings.Contains(text, "OCSP Response Status: successful") || !strings.Contains(text, want) {
		t.Errorf("openssl s_client: %v; it must say %q:\n%s", err, want, text)
	}
}

// TestOpenSSLUnknown: openssl's responder does not know the leaf, so nothing is stapled, and clients connect all the same.
func TestOpenSSLUnknown(t *testing.T) {
	port := freePort()
	l := theCA().issue(single, ofResponder("http://127.0.0.1:"+port))
	opensslResponder(t, port, indexLine(theCA().issue(single), false), theCA())
	s, err := New(Config{Pairs: []Pair{l.write(t.TempDir(), "a")}})
	must(err)
	if err := s.Staple(context.Background()); err == nil || !strings.Contains(err.Error(), "does not know") {
		t.Errorf("error %v", err)
	}
	addr, r := serve(serverOf(s))
	t.Cleanup(func() { _ = r.Close() })
	if st := visit(t, addr, &stdtls.Config{RootCAs: theCA().pool, ServerName: "a.test"}).ConnectionState(); st.OCSPResponse != nil {
		t.Error("an unknown status was stapled")
	}
}
