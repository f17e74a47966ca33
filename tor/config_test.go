package tor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/tor/control"
)

// TestConfig: the message names the field, and nothing is started or made.
func TestConfig(t *testing.T) {
	noLeaks(t)
	dir := t.TempDir()
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o755); err != nil { // whatever the umask is
		t.Fatal(err)
	}
	exe, err := os.Executable() // any program will do: it is not to be run
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name string
		cfg  Config
	}{
		{"BootstrapTimeout", Config{BootstrapTimeout: time.Millisecond}},
		{"BootstrapTimeout", Config{BootstrapTimeout: time.Hour}},
		{"Control", Config{Control: "nowhere"}},
		{"Control", Config{Control: "unix:"}},
		{"SOCKS", Config{Control: "unix:/a", SOCKS: "1234"}},
		{"SOCKS", Config{SOCKS: "unix:/a"}},
		{"Auth", Config{Auth: control.Auth{Password: "x"}}},
		{"Process", Config{Control: "unix:/a", Process: Process{DataDir: "/a"}}},
		{"Process.Exe", Config{Process: Process{Exe: "no-such-program"}}},
		{"Process.DataDir", Config{Process: Process{Exe: exe, DataDir: strings.Repeat("x", 78)}}},
		{"Process.DataDir", Config{Process: Process{Exe: exe, DataDir: open}}},
		{"Process.DataDir", Config{Process: Process{Exe: exe, DataDir: filepath.Join(dir, "no", "such")}}},
		{"Process.Options[1]", Config{Process: Process{Exe: exe, Options: []string{"Bridge x", "SocksPort 9050"}}}},
		{"Process.Options[0]", Config{Process: Process{Exe: exe, Options: []string{"+ControlPort 1"}}}},
		{"Process.Options[0]", Config{Process: Process{Exe: exe, Options: []string{"Bridge x\nControlPort 1"}}}},
		{"Process.Options[0]", Config{Process: Process{Exe: exe, Options: []string{`Bridge x\`}}}},
		{"Process.Options[0]", Config{Process: Process{Exe: exe, Options: []string{" "}}}},
		{"Process.Options[0]", Config{Process: Process{Exe: exe, Options: []string{"SocksPort\t9050"}}}},
		{"Process.Options[0]", Config{Process: Process{Exe: exe, Options: []string{"__ControlPort 9051"}}}},
		{"Process.Options[0]", Config{Process: Process{Exe: exe, Options: []string{"controlpor 9051"}}}},
		{"Process.DataDir", Config{Process: Process{Exe: exe, DataDir: dir + "/a b"}}},
	} {
		got, err := Open(v.cfg)
		if got != nil || err == nil || !strings.Contains(err.Error(), v.name+" ") && !strings.Contains(err.Error(), v.name+":") && !strings.Contains(err.Error(), v.name+" or") {
			t.Errorf("%s: %v", v.name, err)
		}
		if got != nil {
			_ = got.Close()
		}
	}
}

// TestSweep: the directories of processes that were killed are removed, those that somebody owns, or is just making, are not.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	make := func(name string) string {
		d := filepath.Join(dir, name)
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
		return d
	}
	left, owned, young, old, other := make(temporaryPrefix+"left"), make(temporaryPrefix+"owned"), make(temporaryPrefix+"young"), make(temporaryPrefix+"old"), make("other")
	f, err := lockOwner(left, os.O_CREATE)
	if err != nil || f.Close() != nil {
		t.Fatal(err)
	}
	if f, err = lockOwner(owned, os.O_CREATE); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	long := time.Now().Add(-time.Hour)
	for _, d := range []string{left, owned, old, other} {
		if err := os.Chtimes(d, long, long); err != nil {
			t.Fatal(err)
		}
	}
	sweep(dir)
	for d, want := range map[string]bool{left: false, owned: true, young: true, old: false, other: true} {
		if _, err := os.Stat(d); (err == nil) != want {
			t.Errorf("%s: %v", d, err)
		}
	}
}

// TestBootstrapTimeoutDefault: the seed's 60 to 120 s (§3), and what is given instead.
func TestBootstrapTimeoutDefault(t *testing.T) {
	for given, want := range map[time.Duration]time.Duration{0: 90 * time.Second, 75 * time.Second: 75 * time.Second} {
		c, err := Config{Control: "unix:/a", BootstrapTimeout: given}.withDefaults()
		if err != nil || c.BootstrapTimeout != want {
			t.Errorf("%v: %v, %v", given, c.BootstrapTimeout, err)
		}
	}
}
