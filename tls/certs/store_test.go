package certs

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	stdtls "crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestConfigRefused(t *testing.T) {
	dir := t.TempDir()
	good := theCA().issue([]string{"a.test"}).write(dir, "a")
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   []string // all of these
	}{
		{"no pairs", func(c *Config) { c.Pairs = nil }, []string{"Config.Pairs has 0", "1 to 1024"}},
		{"no certificate", func(c *Config) { c.Pairs[0].CertFile = "" }, []string{"Pairs[0].CertFile", "path"}},
		{"no key", func(c *Config) { c.Pairs[0].KeyFile = "" }, []string{"Pairs[0].KeyFile", "path"}},
		{"missing", func(c *Config) { c.Pairs[0].CertFile = dir + "/none" }, []string{"Pairs[0].CertFile", "/none", "no such file"}},
		{"scheme", func(c *Config) { c.Pairs[0].Responder = "file:///etc/passwd" }, []string{"Responder", "file:///etc/passwd", "http or https"}},
		{"user", func(c *Config) { c.Pairs[0].Responder = "http://u:p@h/" }, []string{"Responder", "without a user"}},
		{"not a URL", func(c *Config) { c.Pairs[0].Responder = "http://%zz" }, []string{"Responder", "http or https"}},
		{"interval", func(c *Config) { c.Interval = time.Millisecond }, []string{"Config.Interval is 1ms", "100ms to 24h"}},
		{"timeout", func(c *Config) { c.OCSP.Timeout = time.Hour }, []string{"Config.OCSP.Timeout is 1h", "100ms to 1m"}},
		{"owner of nothing", func(c *Config) { c.Tickets.Owner = true }, []string{"Tickets.Owner is true", "with a File"}},
		{"rotate", func(c *Config) { c.Tickets.Rotate = 8 * 24 * time.Hour }, []string{"Tickets.Rotate is 192h", "1m0s to 168h"}},
		{"negative rotate", func(c *Config) { c.Tickets.Rotate = -1 }, []string{"Tickets.Rotate is -1ns"}},
		{"keep", func(c *Config) { c.Tickets.Keep = 16 }, []string{"Tickets.Keep is 16", "1 to 15"}},
		{"keep too long", func(c *Config) { c.Tickets.Keep = 8 }, []string{"Tickets.Keep is 8", "up to 7", "RFC 8446"}},
		{"ticket file", func(c *Config) { c.Tickets.File = dir + "/none" }, []string{"Tickets.File", "no such file"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := Config{Pairs: []Pair{good}}
			tc.change(&c)
			_, err := New(c)
			for _, w := range tc.want {
				if err == nil || !strings.Contains(err.Error(), w) {
					t.Errorf("error %v; it must contain %q", err, w)
				}
			}
		})
	}
	if _, err := New(Config{Pairs: []Pair{good}}); err != nil {
		t.Error(err)
	}
}

func TestPairRefused(t *testing.T) {
	ca := theCA()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	must(err)
	change := func(f func(*x509.Certificate)) func(*x509.Certificate) crypto.Signer {
		return func(c *x509.Certificate) crypto.Signer { f(c); return nil }
	}
	one := []string{"a.test"}
	for _, tc := range []struct {
		name string
		l    leaf
		want string
	}{
		{"expired", ca.issue(one, change(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })), "has expired"},
		{"not yet valid", ca.issue(one, change(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) })), "not valid before"},
		{"for clients", ca.issue(one, change(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })), "lacks serverAuth"},
		{"small RSA key", ca.issue(one, func(*x509.Certificate) crypto.Signer { return small }), "1024 bits"},
		{"P-224", ca.issue(one, func(*x509.Certificate) crypto.Signer { return newKey(elliptic.P224()) }), "P-224"},
		{"other key", leaf{ca.issue(one).Certificate, newKey(elliptic.P256())}, "does not match"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := New(Config{Pairs: []Pair{tc.l.write(t.TempDir(), "a")}})
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "Pairs[0]") {
				t.Errorf("error %v; it must contain %q", err, tc.want)
			}
		})
	}
	for name, content := range map[string][]byte{"empty": nil, "garbage": []byte("garbage"), "too large": make([]byte, maxPEM+1)} {
		p := ca.issue(one).write(t.TempDir(), "a")
		must(os.WriteFile(p.CertFile, content, 0o600))
		if _, err := New(Config{Pairs: []Pair{p}}); err == nil || !strings.Contains(err.Error(), p.CertFile) {
			t.Errorf("%s certificate file: error %v", name, err)
		}
	}
}

// TestKeyFilePermissions: the rule for secrets, on the file that a path leads to and on the directories that hold it.
func TestKeyFilePermissions(t *testing.T) {
	for _, tc := range []struct {
		name  string
		setup func(dir, key string) string // returns the path to configure
		want  string                       // "": accepted
	}{
		{"owner only", func(_, key string) string { return key }, ""},
		{"read-only", func(_, key string) string { must(os.Chmod(key, 0o400)); return key }, ""},
		{"group reads", func(_, key string) string { must(os.Chmod(key, 0o640)); return key }, "has mode 0640"},
		{"group writes", func(_, key string) string { must(os.Chmod(key, 0o620)); return key }, "has mode 0620"},
		{"others read", func(_, key string) string { must(os.Chmod(key, 0o604)); return key }, "has mode 0604"},
		{"others write", func(_, key string) string { must(os.Chmod(key, 0o602)); return key }, "has mode 0602"},
		{"link to a good one", func(dir, key string) string { must(os.Symlink(key, dir+"/link")); return dir + "/link" }, ""},
		{"link to a readable one", func(dir, key string) string {
			must(os.Chmod(key, 0o644))
			must(os.Symlink(key, dir+"/link"))
			return dir + "/link"
		}, "has mode 0644"},
		{"directory for all", func(dir, key string) string { must(os.Chmod(dir, 0o777)); return key }, "not writable by others"},
		{"sticky directory", func(dir, key string) string { must(os.Chmod(dir, 0o777|os.ModeSticky)); return key }, ""},
		{"link from a directory for all", func(dir, key string) string {
			must(os.Mkdir(dir+"/open", 0o700))
			must(os.Chmod(dir+"/open", 0o777))
			must(os.Symlink(key, dir+"/open/link"))
			return dir + "/open/link"
		}, "not writable by others"},
		{"directory", func(dir, _ string) string { return dir }, "no regular file"},
		{"FIFO", func(dir, _ string) string { must(syscall.Mkfifo(dir+"/fifo", 0o600)); return dir + "/fifo" }, "no regular file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := theCA().issue([]string{"a.test"}).write(t.TempDir(), "a")
			p.KeyFile = tc.setup(filepath.Dir(p.KeyFile), p.KeyFile)
			_, err := New(Config{Pairs: []Pair{p}})
			if tc.want == "" && err != nil {
				t.Error(err)
			}
			if tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error %v; it must contain %q", err, tc.want)
			}
		})
	}
}

func TestPick(t *testing.T) {
	ca, dir := theCA(), t.TempDir()
	withRSA := func(*x509.Certificate) crypto.Signer { return rsaKey() }
	leaves := []leaf{
		ca.issue([]string{"Default.test", "www.default.test"}),
		ca.issue([]string{"www.default.test", "default.test"}, withRSA),
		ca.issue([]string{"*.wild.test"}),
		ca.issue([]string{"exact.wild.test"}),
		ca.issue([]string{"rsa.test"}, withRSA),
	}
	var pairs []Pair
	for i, l := range leaves {
		pairs = append(pairs, l.write(dir, fmt.Sprint(i)))
	}
	s, _, _ := open(t, Config{Pairs: pairs})
	ecdsaOnly, rsaOnly := stdtls.ECDSAWithP256AndSHA256, stdtls.PSSWithSHA256
	for _, tc := range []struct {
		name   string
		scheme []stdtls.SignatureScheme
		want   int
	}{
		{"", nil, 0},
		{"unknown.test", nil, 0},
		{"default.test", nil, 0},
		{"DEFAULT.test", nil, 0},
		{"www.default.test.", nil, 0},
		{"www.default.test", []stdtls.SignatureScheme{rsaOnly}, 1},
		{"unknown.test", []stdtls.SignatureScheme{rsaOnly}, 1},
		{"", []stdtls.SignatureScheme{ecdsaOnly}, 0},
		{"", []stdtls.SignatureScheme{stdtls.Ed25519}, 0}, // none fits
		{"a.wild.test", nil, 2},
		{"exact.wild.test", nil, 3},
		{"a.b.wild.test", nil, 0},
		{"wild.test", nil, 0},
		{"rsa.test", nil, 4},
		{"rsa.test", []stdtls.SignatureScheme{ecdsaOnly}, 0}, // the name's only certificate is of no use to the client
		{".", nil, 0},
	} {
		c, err := s.GetCertificate(hello(tc.name, tc.scheme...))
		if err != nil || !leaves[tc.want].Equal(c.Leaf) {
			t.Errorf("%q %v: serial %v, want pair %d (%v); %v", tc.name, tc.scheme, c.Leaf.SerialNumber, tc.want, leaves[tc.want].SerialNumber, err)
		}
	}
}

// TestCombinedFile: certificate and key in one file.
func TestCombinedFile(t *testing.T) {
	l := theCA().issue([]string{"a.test"})
	cert, key := l.pems(theCA())
	path := filepath.Join(t.TempDir(), "both.pem")
	must(os.WriteFile(path, append(cert, key...), 0o600))
	s, _, _ := open(t, Config{Pairs: []Pair{{CertFile: path, KeyFile: path}}})
	expectServed(t, s, l)
	if err := s.Health(); err != nil {
		t.Error(err)
	}
}
