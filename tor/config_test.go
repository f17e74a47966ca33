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

// TestQuoteConf: paths with odd characters become values of tor's configuration.
func TestQuoteConf(t *testing.T) {
	for in, want := range map[string]string{"/a/b": "/a/b", "/a b": `"/a b"`, `/a"b\c`: `"/a\"b\\c"`, "/a#b": `"/a#b"`} {
		if got := quoteConf(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
