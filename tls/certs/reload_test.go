package certs

import (
	"context"
	"crypto"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var single = []string{"a.test"}

// TestReload: every way in which files are replaced is noticed at the next interval, and not before.
func TestReload(t *testing.T) {
	for _, tc := range []struct {
		name    string
		install func(dir string) Pair            // makes version 1 available
		replace func(dir string, p Pair, l leaf) // makes l available
	}{
		{"written in place", nil, func(dir string, _ Pair, l leaf) { l.write(dir, "a") }},
		{"renamed", nil, func(dir string, p Pair, l leaf) {
			n := l.write(dir, "new")
			must(os.Rename(n.CertFile, p.CertFile))
			must(os.Rename(n.KeyFile, p.KeyFile))
		}},
		{"directory link swapped", func(dir string) Pair { // as Kubernetes mounts secrets
			must(os.Symlink("v1", dir+"/..data"))
			must(os.Symlink("..data/a.crt", dir+"/tls.crt"))
			must(os.Symlink("..data/a.key", dir+"/tls.key"))
			return Pair{CertFile: dir + "/tls.crt", KeyFile: dir + "/tls.key"}
		}, func(dir string, _ Pair, l leaf) {
			must(os.Mkdir(dir+"/v2", 0o700))
			l.write(dir+"/v2", "a")
			must(os.Symlink("v2", dir+"/..data_tmp"))
			must(os.Rename(dir+"/..data_tmp", dir+"/..data"))
		}},
		{"same times and size", nil, func(dir string, p Pair, l leaf) {
			info, err := os.Stat(p.CertFile)
			must(err)
			l.write(dir, "a")
			must(os.Chtimes(p.CertFile, info.ModTime(), info.ModTime()))
			must(os.Chtimes(p.KeyFile, info.ModTime(), info.ModTime()))
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			first, second := theCA().issue(single), theCA().issue(single)
			var p Pair
			if tc.install == nil {
				p = first.write(dir, "a")
			} else {
				must(os.Mkdir(dir+"/v1", 0o700))
				first.write(dir+"/v1", "a")
				p = tc.install(dir)
			}
			s, k, l := open(t, Config{Pairs: []Pair{p}})
			tc.replace(dir, p, second)
			if wait := s.turn(context.Background()); wait != DefaultInterval {
				t.Errorf("the next look is in %v", wait)
			}
			expectServed(t, s, first)
			k.advance(DefaultInterval)
			s.turn(context.Background())
			expectServed(t, s, second)
			expectEvents(t, l, "reloaded")
			k.advance(DefaultInterval)
			s.turn(context.Background())
			expectEvents(t, l, "")
			if st := s.Stats(); st.Reloads != 1 || st.ReloadFailures != 0 || st.Pairs[0].Serial != second.SerialNumber.Text(16) {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

// TestReloadKeepsTheOld: whatever is wrong with the new files, the old certificate stays, the cause is told once, and health says it
// until it is mended.
func TestReloadKeepsTheOld(t *testing.T) {
	later := time.Now().Add(time.Hour)
	for _, tc := range []struct {
		name string
		harm func(p Pair, next leaf)
		want string
	}{
		{"certificate without its key", func(p Pair, next leaf) {
			cert, _ := next.pems(theCA())
			must(os.WriteFile(p.CertFile, cert, 0o644))
		}, "does not match"},
		{"key without its certificate", func(p Pair, next leaf) {
			_, key := next.pems(theCA())
			must(os.WriteFile(p.KeyFile, key, 0o600))
		}, "does not match"},
		{"half a file", func(p Pair, next leaf) {
			cert, _ := next.pems(theCA())
			must(os.WriteFile(p.CertFile, cert[:100], 0o644))
		}, "certificate"},
		{"gone", func(p Pair, _ leaf) { must(os.Remove(p.KeyFile)) }, "no such file"},
		{"readable by all", func(p Pair, _ leaf) { must(os.Chmod(p.KeyFile, 0o644)) }, "has mode 0644"},
		{"expired", func(p Pair, _ leaf) {
			l := theCA().issue(single, func(c *x509.Certificate) crypto.Signer { c.NotAfter = time.Now().Add(-time.Minute); return nil })
			l.write(filepath.Dir(p.CertFile), "a")
		}, "has expired"},
		{"not valid yet", func(p Pair, _ leaf) {
			l := theCA().issue(single, func(c *x509.Certificate) crypto.Signer { c.NotBefore = later; return nil })
			l.write(filepath.Dir(p.CertFile), "a")
		}, "not valid before"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			first, other, next := theCA().issue(single), theCA().issue([]string{"b.test"}), theCA().issue(single)
			pair, otherPair := first.write(dir, "a"), other.write(dir, "b")
			s, k, l := open(t, Config{Pairs: []Pair{pair, otherPair}})
			tc.harm(pair, next)
			renewed := theCA().issue([]string{"b.test"})
			renewed.write(dir, "b")
			for range 3 {
				k.advance(DefaultInterval)
				s.turn(context.Background())
			}
			expectServed(t, s, first)
			expectServed(t, s, renewed) // one bad pair does not hold up the others
			expectEvents(t, l, "reload_failed reloaded")
			st := s.Stats()
			if st.ReloadFailures != 1 || st.Pairs[0].LoadError == nil || !strings.Contains(st.Pairs[0].LoadError.Error(), tc.want) {
				t.Errorf("failures %d, error %v; it must contain %q", st.ReloadFailures, st.Pairs[0].LoadError, tc.want)
			}
			if err := s.Health(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("health: %v", err)
			}
			if err := s.Reload(); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Reload: %v", err)
			}
			next.write(dir, "a")
			must(os.Chmod(pair.KeyFile, 0o600))
			if err := s.Reload(); err != nil {
				t.Error(err)
			}
			expectServed(t, s, next)
			if err := s.Health(); err != nil {
				t.Errorf("health after mending: %v", err)
			}
		})
	}
}

// TestReloadOldContentBack: an undone change leaves no complaint behind.
func TestReloadOldContentBack(t *testing.T) {
	dir := t.TempDir()
	l := theCA().issue(single)
	p := l.write(dir, "a")
	s, _, _ := open(t, Config{Pairs: []Pair{p}})
	must(os.WriteFile(p.CertFile, []byte("oops"), 0o644))
	if s.Reload() == nil || s.Health() == nil {
		t.Fatal("garbage accepted")
	}
	l.write(dir, "a")
	if err := s.Reload(); err != nil || s.Health() != nil {
		t.Errorf("%v, %v", err, s.Health())
	}
}

// TestNotYetValid: a certificate put in place early comes into use by itself when its time comes.
func TestNotYetValid(t *testing.T) {
	dir := t.TempDir()
	s, k, _ := open(t, Config{Pairs: []Pair{theCA().issue(single).write(dir, "a")}})
	next := theCA().issue(single, func(c *x509.Certificate) crypto.Signer { c.NotBefore = time.Now().Add(time.Hour); return nil })
	next.write(dir, "a")
	if s.Reload() == nil {
		t.Fatal("accepted an hour early")
	}
	k.advance(time.Hour + time.Minute)
	s.turn(context.Background())
	expectServed(t, s, next)
}

func TestExpiryWarning(t *testing.T) {
	dir := t.TempDir()
	old := theCA().issue(single, func(c *x509.Certificate) crypto.Signer { c.NotAfter = time.Now().AddDate(0, 0, 20); return nil })
	s, k, l := open(t, Config{Pairs: []Pair{old.write(dir, "a")}, Interval: -1})
	if wait := s.turn(context.Background()); wait > maxIdle {
		t.Errorf("sleeps for %v", wait)
	}
	if err := s.Health(); err != nil {
		t.Errorf("20 days before the end: %v", err)
	}
	k.advance(7 * 24 * time.Hour)
	s.turn(context.Background())
	s.turn(context.Background())
	if got := l.take(); strings.Count(got, "expiring") != 1 {
		t.Errorf("events %q", got)
	}
	if err := s.Health(); err == nil || !strings.Contains(err.Error(), "has not been renewed") {
		t.Errorf("health: %v", err)
	}
	k.advance(14 * 24 * time.Hour)
	if err := s.Health(); err == nil || !strings.Contains(err.Error(), "has expired") {
		t.Errorf("health: %v", err)
	}
	expectServed(t, s, old) // still: the client says best what is wrong
	theCA().issue(single).write(dir, "a")
	if err := s.Reload(); err != nil || s.Health() != nil {
		t.Errorf("%v, %v", err, s.Health())
	}
}
