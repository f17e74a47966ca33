package certs

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestHalfAChain: a certificate file that is still being written never comes into use, wherever the writer has got to, unless what is
// there ends with a certificate.
func TestHalfAChain(t *testing.T) {
	dir := t.TempDir()
	first, next := theCA().issue(single), theCA().issue(single)
	s, _, _ := open(t, Config{Pairs: []Pair{first.write(dir, "a")}})
	p := next.write(dir, "a")
	chain, err := os.ReadFile(p.CertFile)
	must(err)
	second := strings.LastIndex(string(chain), "-----BEGIN")
	for n := range len(chain) - 1 {
		if n >= second-1 && n <= second {
			continue // the leaf alone is a sound file
		}
		if err := judgeWhole(chain[:n]); err == nil && n > 0 {
			t.Errorf("%d of %d bytes were taken for a whole file", n, len(chain))
		}
	}
	for _, n := range []int{second + 1, second + 20, second + 100, len(chain) - 5} {
		must(os.WriteFile(p.CertFile, chain[:n], 0o644))
		if err := s.Reload(); err == nil || !strings.Contains(err.Error(), "not whole") {
			t.Errorf("%d of %d bytes: %v", n, len(chain), err)
		}
		expectServed(t, s, first)
	}
	// What tools write around the blocks is no harm.
	must(os.WriteFile(p.CertFile, append([]byte("---\nCertificate chain\n 0 s:CN = leaf\n"), chain[:len(chain)-1]...), 0o644))
	must(s.Reload())
	expectServed(t, s, next)
}

// owned is a file of another user.
type owned struct {
	fs.FileInfo
	uid, gid uint32
}

func (o owned) Sys() any { return &syscall.Stat_t{Uid: o.uid, Gid: o.gid} }

// TestLentKey: a group may read root's key, if it is one of a process that is not root.
func TestLentKey(t *testing.T) {
	for _, c := range []struct {
		name     string
		uid, gid uint32
		euid     int
		groups   []int
		want     bool
	}{
		{"a Secret in a pod with fsGroup", 0, 65532, 65532, []int{65532}, true},
		{"by a supplementary group", 0, 7, 1000, []int{1000, 7}, true},
		{"another group's", 0, 7, 1000, []int{1000}, false},
		{"our own user's: it could take the group's right away", 1000, 1000, 1000, []int{1000}, false},
		{"another user's", 1001, 1000, 1000, []int{1000}, false},
		{"root needs no group", 0, 0, 0, []int{0}, false},
	} {
		if got := lent(owned{nil, c.uid, c.gid}, c.euid, c.groups); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// nobodyEnv makes the test binary read the file it names, with as many bytes as it has, and say what came of it.
const nobodyEnv = "CERTS_TEST_NOBODY"

// TestLentKeyFile: the rule by a process of another user, with the layout in which Kubernetes mounts a Secret.
func TestLentKeyFile(t *testing.T) {
	if path := os.Getenv(nobodyEnv); path != "" {
		_, err := ReadSecret(path, 3)
		fmt.Printf("read: %v\n", err)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("it needs root, to start a process of another user")
	}
	dir, err := os.MkdirTemp("", "certs-lent-") // t.TempDir is below a directory that is root's alone
	must(err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	exe := dir + "/test"
	b, err := os.ReadFile(os.Args[0])
	must(err)
	must(os.WriteFile(exe, b, 0o755))
	must(os.Chmod(dir, 0o777|os.ModeSticky))
	must(os.Mkdir(dir+"/..1", 0o755))
	must(os.Symlink("..1", dir+"/..data"))
	must(os.Symlink("..data/key", dir+"/key"))
	must(os.WriteFile(dir+"/..1/key", []byte("key"), 0o600))
	if err := os.Chown(dir+"/..1/key", 0, 65532); err != nil {
		t.Skipf("there is no other user: %v", err) // in a user namespace that maps root alone
	}
	for mode, want := range map[fs.FileMode]string{0o440: "<nil>", 0o640: "<nil>", 0o660: "mode 0660", 0o444: "mode 0444", 0o600: "permission denied"} {
		must(os.Chmod(dir+"/..1/key", mode))
		cmd := exec.Command(exe, "-test.run=^TestLentKeyFile$", "-test.v")
		cmd.Dir, cmd.Env = dir, append(os.Environ(), nobodyEnv+"="+dir+"/key")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("mode %#o: %v\n%s", mode, err, out)
		}
	}
}

// TestKeyOfAnotherUser: whoever owns a key file can read and replace it, whatever its mode; only a process with root's powers gets to
// see that.
func TestKeyOfAnotherUser(t *testing.T) {
	p := theCA().issue(single).write(t.TempDir(), "a")
	info, err := os.Stat(p.KeyFile)
	must(err)
	for uid, want := range map[uint32]bool{0: true, uint32(os.Geteuid()): true, 54321: false} {
		err := judgeSecret(p.KeyFile, owned{info, uid, 0})
		if (err == nil) != want || !want && !strings.Contains(err.Error(), "belongs to user 54321; allowed: 0") {
			t.Errorf("user %d: %v", uid, err)
		}
	}
	if judgeDir(filepath.Dir(p.KeyFile), owned{info, 54321, 0}) != nil {
		t.Error("a directory of ours is refused")
	}
	must(os.Chmod(filepath.Dir(p.KeyFile), 0o777|os.ModeSticky))
	if judgeDir(filepath.Dir(p.KeyFile), owned{info, 54321, 0}) == nil {
		t.Error("another user's entry in a directory for all is trusted")
	}
}

// TestEveryLinkIsJudged: a key behind several links is as safe as the worst of their directories.
func TestEveryLinkIsJudged(t *testing.T) {
	dir := t.TempDir()
	p := theCA().issue(single).write(dir, "a")
	must(os.Mkdir(dir+"/between", 0o700))
	must(os.Symlink("between/link", dir+"/outer"))
	must(os.Symlink(p.KeyFile, dir+"/between/link"))
	p.KeyFile = dir + "/outer"
	if _, err := New(Config{Pairs: []Pair{p}}); err != nil {
		t.Error(err)
	}
	must(os.Chmod(dir+"/between", 0o777))
	if _, err := New(Config{Pairs: []Pair{p}}); err == nil || !strings.Contains(err.Error(), "/between has mode 0777") {
		t.Errorf("the link in the middle can be replaced by all: %v", err)
	}
}

// TestLeftovers: the keys of a writer that was killed are deleted by the next one, and nothing else is.
func TestLeftovers(t *testing.T) {
	dir := t.TempDir()
	put := func(name string, age time.Duration) string {
		path := filepath.Join(dir, name)
		must(os.WriteFile(path, []byte("x"), 0o600))
		must(os.Chtimes(path, time.Time{}, time.Now().Add(-age)))
		return path
	}
	killed := put(".tickets.123.new", 2*leftoverAge)
	for _, path := range []string{put(".tickets.456.new", 0), put(".tickets.swp", time.Hour), put(".tickets2.1.new", time.Hour), put("tickets.1.new", time.Hour)} {
		must(RotateTicketFile(dir+"/tickets", time.Now(), 1))
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(killed); !isMissing(err) {
		t.Errorf("%s is still there (%v)", killed, err)
	}
}
