package cert

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestFilesAreForTheOwnerOnlyAndVerify(t *testing.T) {
	f, err := Make("bench.example", "192.0.2.7")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{f.Dir: fs.ModeDir | 0o700, f.Key: 0o600} {
		st, err := os.Stat(path)
		if err != nil || st.Mode() != want {
			t.Errorf("%s: mode %v, %v; want %v", path, st.Mode(), err, want)
		}
	}
	pair, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool, err := Pool(f.Cert)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"localhost", "127.0.0.1", "::1", "bench.example", "192.0.2.7"} {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := leaf.VerifyHostname("elsewhere.example"); err == nil {
		t.Error("the certificate holds for a name it was not made for")
	}
	out := filepath.Join(t.TempDir(), "ca.pem")
	if err := f.CopyCert(out); err != nil {
		t.Fatal(err)
	}
	if err := f.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(f.Dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory with the key is still there: %v", err)
	}
	handshake(t, pair, out)
}

// handshake checks that the copied certificate is all a client needs.
func handshake(t *testing.T, pair tls.Certificate, ca string) {
	t.Helper()
	pool, err := Pool(ca)
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	defer a.Close()
	go func() {
		s := tls.Server(b, &tls.Config{Certificates: []tls.Certificate{pair}})
		_, _ = io.WriteString(s, "x")
		b.Close()
	}()
	c := tls.Client(a, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"})
	if err := c.Handshake(); err != nil {
		t.Error(err)
	}
}

func TestPoolRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pem")
	if _, err := Pool(path); err == nil {
		t.Error("a missing file was accepted")
	}
	if err := os.WriteFile(path, []byte("no PEM here"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Pool(path); err == nil {
		t.Error("a file without certificate was accepted")
	}
}

// A pair that is put in the place of another is what is loaded, and its own root alone vouches for it.
func TestInstall(t *testing.T) {
	f, err := Make()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Remove() }()
	old, err := Pool(f.Cert)
	if err != nil {
		t.Fatal(err)
	}
	p, err := NewPair("example.org")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Install(p); err != nil {
		t.Fatal(err)
	}
	c, err := f.Load()
	if err != nil {
		t.Fatal(err)
	}
	own := x509.NewCertPool()
	if !p.Trust(own) {
		t.Fatal("not taken for a root")
	}
	if _, err := c.Leaf.Verify(x509.VerifyOptions{DNSName: "example.org", Roots: own}); err != nil {
		t.Error(err)
	}
	if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: old}); err == nil {
		t.Error("the root of the certificate before vouches for it")
	}
	if st, err := os.Stat(f.Key); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}
