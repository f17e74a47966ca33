package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/examples/gateway/setting"
)

// commandsOf are the commands that have knobs, of a command line that is not used otherwise.
func commandsOf() []knobbed {
	a := new(app)
	a.root()
	return slices.DeleteFunc(a.commands, func(c knobbed) bool { return len(c.knobs) == 0 })
}

func configFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "knobs.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// another is a value that a flag does not have, and that differs with n.
func another(f *pflag.Flag, n int) string {
	switch kindOfFlag(f) {
	case setting.Integer:
		return strconv.Itoa(70000 + n)
	case setting.Boolean:
		return strconv.FormatBool((wordOf(f) == "true") != (n%2 == 1))
	case setting.Duration:
		return fmt.Sprintf("1m%ds", 10+n)
	}
	return strconv.Itoa(7 + n)
}

// printed are the lines of --print-config: value and origin by key.
func printed(t *testing.T, out string) map[string][2]string {
	t.Helper()
	all, section := map[string][2]string{}, ""
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "["); ok {
			section = strings.TrimSuffix(name, "]")
		} else if name, rest, ok := strings.Cut(line, " = "); ok {
			value, origin, _ := strings.Cut(rest, " # ")
			all[section+"."+name] = [2]string{value, origin}
		}
	}
	return all
}

// Every knob of every server and client can be set by the file, by its variable and by its flag, which count more in this order, and
// --print-config tells what is in force and where it comes from. (What is allowed is checked afterwards; here not all is.)
func TestEachKnobFromEachSource(t *testing.T) {
	for _, c := range commandsOf() {
		var file strings.Builder
		args := []string{c.command, "--print-config"}
		want := [3]map[string][2]string{{}, {}, {}}
		for _, key := range keysOf([]knobbed{c}) {
			f := c.knobs[key]
			k := kindOfFlag(f)
			file.WriteString(setting.Section(key) + setting.Line(key, k, another(f, 1), "") + "\n")
		}
		path := configFile(t, dedupSections(file.String()))
		for _, key := range keysOf([]knobbed{c}) {
			f := c.knobs[key]
			k := kindOfFlag(f)
			want[0][key] = [2]string{k.Literal(another(f, 1)), "file " + path}
			want[1][key] = [2]string{k.Literal(another(f, 2)), "environment " + setting.Env(key)}
			want[2][key] = [2]string{k.Literal(another(f, 3)), "flag --" + f.Name}
		}
		_, out, _ := run(t, easy(), append(args, "--config", path)...)
		if got := printed(t, out); !maps.Equal(got, want[0]) {
			t.Errorf("%s, from the file:\n got %v\nwant %v", c.command, got, want[0])
		}
		t.Run(c.command, func(t *testing.T) { // variables of its own
			t.Setenv(setting.ConfigEnv, path)
			for key, f := range c.knobs {
				t.Setenv(setting.Env(key), another(f, 2))
			}
			_, out, _ := run(t, easy(), args...)
			if got := printed(t, out); !maps.Equal(got, want[1]) {
				t.Errorf("from variables:\n got %v\nwant %v", got, want[1])
			}
			flags := slices.Clone(args)
			for key, f := range c.knobs {
				flags = append(flags, "--"+c.knobs[key].Name+"="+another(f, 3))
			}
			_, out, _ = run(t, easy(), flags...)
			if got := printed(t, out); !maps.Equal(got, want[2]) {
				t.Errorf("from flags:\n got %v\nwant %v", got, want[2])
			}
		})
	}
}

// dedupSections leaves of repeated section heads the first.
func dedupSections(text string) string {
	var b strings.Builder
	section := ""
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "[") {
			if line == section {
				continue
			}
			section = line
		}
		b.WriteString(line)
	}
	return b.String()
}

// What --print-config prints is a file that gives the same again.
func TestPrintConfigIsAFile(t *testing.T) {
	for _, args := range [][]string{{"tls_echo_server", "--read-buffer=32768", "--nodelay=false", "--idle-timeout=7s"}, {"quic_echo_server", "--early-apps=7,9"}, {}} {
		status, out, stderr := run(t, easy(), append(args, "--print-config")...)
		if status != exitOK || len(printed(t, out)) < 20 {
			t.Fatalf("%v: exit status %d, %s%s", args, status, out, stderr)
		}
		status, again, stderr := run(t, easy(), append(args[:min(1, len(args))], "--print-config", "--config", configFile(t, out))...)
		if status != exitOK {
			t.Fatalf("%v: exit status %d, %s", args, status, stderr)
		}
		before, after := printed(t, out), printed(t, again)
		for key, v := range before {
			if !byHand(key) && after[key][0] != v[0] {
				t.Errorf("%v: %s is %s, then %s", args, key, v[0], after[key][0])
			}
		}
	}
}

// What is wrong is refused before anything starts, with the setting, its value, where that comes from, and what is allowed.
func TestSettingsRefused(t *testing.T) {
	for _, c := range []struct {
		name, args, file, env string
		want                  []string
	}{
		{"unknown key", "tls_echo_server", "[reactor]\nfrob = 1", "", []string{"reactor.frob", "file ", "no such setting"}},
		{"unknown section", "", "frob = 1", "", []string{"frob", "no such setting"}},
		{"a setting of the gateway alone", "", "[admin]\nlisten = \"x\"", "", []string{"admin.listen", "no such setting"}},
		{"another kind", "tls_echo_server", "[reactor]\nread_buffer = \"x\"", "", []string{"reactor.read_buffer = x", "allowed is a integer"}},
		{"no TOML", "tls_echo_server", "[reactor", "", []string{"--config", "knobs.toml"}},
		{"unknown variable", "tls_echo_server", "", "FROB=1", []string{"RON_TRANSPORT_FROB", "\"1\"", "no such setting"}},
		{"no number", "tls_echo_server", "", "REACTOR_LOOPS=x", []string{"reactor.loops = \"x\"", "environment RON_TRANSPORT_REACTOR_LOOPS", "a whole number"}},
		{"no boolean", "", "", "REACTOR_NODELAY=1", []string{"reactor.nodelay = \"1\"", "true, false"}},
		{"no duration", "", "", "REACTOR_IDLE_TIMEOUT=7", []string{"reactor.idle_timeout = \"7\"", "a duration"}},
		{"no list", "", "", "QUIC_EARLY_APPS=a", []string{"quic.early_apps = \"a\"", "a list"}},
		{"also where the file has no say", "tls_echo_server --read-buffer 32768", "[reactor]\nread_buffer = true", "", []string{"reactor.read_buffer = true"}},
		{"out of bounds, of a server", "tls_echo_server", "", "REACTOR_READ_BUFFER=5", []string{"--read-buffer", "ReadBuffer is 5", "16384 to 1048576", "environment RON_TRANSPORT_REACTOR_READ_BUFFER"}},
		{"out of bounds, of children", "", "[reactor]\nread_buffer = 5", "", []string{"--read-buffer", "ReadBuffer is 5", "16384 to 1048576", "reactor.read_buffer", "file "}},
		{"of QUIC's children", "idle", "", "QUIC_MAX_STREAMS=70000", []string{"--max-streams", "70000", "QUIC_MAX_STREAMS"}},
		{"of the framer", "storm", "", "FRAMES_MAX_INFLATED=7", []string{"--max-inflated", "MaxInflated is 7", "1024 to 8388608", "FRAMES_MAX_INFLATED"}},
		{"of its streams", "quic_echo_server", "", "FRAMES_MAX_STREAMS=70000", []string{"--frame-streams", "70000", "FRAMES_MAX_STREAMS"}},
		{"of tickets", "slo", "", "TLS_TICKET_ROTATE=1s", []string{"--ticket-rotate", "1s", "1m0s", "TLS_TICKET_ROTATE"}},
		{"of tor", "sweep", "", "TOR_BOOTSTRAP_TIMEOUT=1ms", []string{"--bootstrap-timeout", "1ms", "TOR_BOOTSTRAP_TIMEOUT"}},
		{"of a client", "quic_echo_client", "", "QUIC_STREAM_WINDOW=1", []string{"--stream-window", "1", "QUIC_STREAM_WINDOW"}},
		{"more than one", "", "", "REACTOR_LOOPS=x FROB=1", []string{"reactor.loops", "FROB"}},
		{"a comparison of builds", "check --base HEAD", "", "REACTOR_LOOPS=1", []string{"reactor.loops = \"1\"", "check --base", "allowed is no setting"}},
		{"a power study", "power", "", "REACTOR_LOOPS=1", []string{"reactor.loops = \"1\"", "power", "allowed is no setting"}},
		{"a certificate is needed", "tls_echo_server", "", "TLS_TICKET_ROTATE=2h", []string{"--ticket-rotate", "--cert", "RON_TRANSPORT_TLS_TICKET_ROTATE"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := strings.Fields(c.args)
			if c.file != "" {
				args = append(args, "--config", configFile(t, c.file))
			}
			for _, v := range strings.Fields(c.env) {
				name, value, _ := strings.Cut(v, "=")
				t.Setenv(setting.Prefix+name, value)
			}
			status, stdout, stderr := run(t, easy(), args...)
			if status != exitUsage || stdout != "" {
				t.Errorf("exit status %d, %q", status, stdout)
			}
			for _, w := range c.want {
				if !strings.Contains(stderr, w) {
					t.Errorf("%q does not say %q", stderr, w)
				}
			}
		})
	}
}

// A run reads its file once: it is a pipe here, which a second reader would wait at for ever. What it says reaches the servers of the run, with
// variables before it, and the report tells. Afterwards the environment is what it was.
func TestSettingsReachChildren(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "knobs")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Skip(err)
	}
	go func() { // ends when the command has read it
		f, err := os.OpenFile(pipe, os.O_WRONLY, 0)
		if err == nil {
			_, _ = f.WriteString("[reactor]\nread_buffer = 32768\nwrite_coalesce = 16384\nsndbuf = 65536\n[frames]\nmax_inflight = 7\n[quic]\nmax_streams = 77\nearly_apps = [7]\n[tls]\nocsp = false\n")
			_ = f.Close()
		}
	}()
	t.Setenv(setting.ConfigEnv, pipe)
	t.Setenv(setting.Env("reactor.write_coalesce"), "8192")
	t.Setenv(setting.Env("client.loops"), "1")
	before := os.Environ()
	out := filepath.Join(t.TempDir(), "r.json")
	status, stdout, stderr := run(t, easy(), "--rps", "200", "--conns", "2", "--duration", "300ms", "--warmup", "100ms", "--json", out)
	r, err := report.Read(out)
	if err != nil {
		t.Fatalf("%v: exit status %d\n%s%s", err, status, stdout, stderr)
	}
	for _, s := range []*report.Server{r.Server, r.QUICServer} {
		for name, value := range map[string]string{"read-buffer": "32768", "write-coalesce": "8192", "inflight": "7", "ocsp": "false"} {
			if k := knobOf(t, s, name); k.Value != value || !k.Given {
				t.Errorf("%s: %+v, want %s", s.Kind, k, value)
			}
		}
	}
	if k := knobOf(t, r.QUICServer, "max-streams"); k.Value != "77" {
		t.Errorf("%+v", k)
	}
	if k := knobOf(t, r.QUICServer, "sndbuf"); k.Given {
		t.Errorf("QUIC has the buffer of TCP: %+v", k)
	}
	if k := knobOf(t, r.Server, "sndbuf"); k.Value != "65536" || r.Server.SndBuf != 128<<10 { // Linux doubles it
		t.Errorf("%+v, granted %d", k, r.Server.SndBuf)
	}
	want := report.Setting{Key: "reactor.read_buffer", Value: "32768", From: "file " + pipe}
	if len(r.Settings) != 8 || !slices.Contains(r.Settings, want) || !strings.Contains(stdout, `with reactor.write_coalesce = "8192" (environment RON_TRANSPORT_REACTOR_WRITE_COALESCE)`) {
		t.Errorf("%+v\n%s", r.Settings, stdout)
	}
	after := slices.DeleteFunc(os.Environ(), func(l string) bool { return strings.HasPrefix(l, asMain+"=") })
	before = slices.DeleteFunc(before, func(l string) bool { return strings.HasPrefix(l, asMain+"=") })
	slices.Sort(before)
	if slices.Sort(after); !slices.Equal(before, after) {
		t.Errorf("the environment has changed:\n%q\n%q", before, after)
	}
}

// What a command gives to a server of its own counts more than what is inherited: a sweep measures its values.
func TestOwnFlagsCountMore(t *testing.T) {
	t.Setenv(setting.Env("reactor.read_buffer"), "32768")
	t.Setenv(setting.Env("reactor.loops"), "1")
	s := serverReport(t, "tls_echo_server", "--read-buffer", "65536")
	if k := knobOf(t, s, "read-buffer"); k.Value != "65536" {
		t.Errorf("%+v", k)
	}
	if s.LoopCount != 1 {
		t.Errorf("%d loops", s.LoopCount)
	}
}

// Which tor is used is said to a server or client that is started by hand; what starts both has one of its own.
func TestTorByHand(t *testing.T) {
	t.Setenv(setting.Env("tor.exe"), "/nonexistent")
	t.Setenv(setting.Env("tor.bootstrap_timeout"), "77s")
	status, out, stderr := run(t, easy(), "tor", "--print-config")
	got := printed(t, out)
	if status != exitOK || got["tor.exe"][1] != "default" || got["tor.bootstrap_timeout"][0] != `"1m17s"` {
		t.Errorf("exit status %d, %v\n%s", status, got, stderr)
	}
	if _, out, _ = run(t, easy(), "tor_echo_server", "--print-config"); printed(t, out)["tor.exe"][0] != `"/nonexistent"` {
		t.Error(out)
	}
}

// Every knob of a server has a name, and no two of a command have the same.
func TestEveryKnobHasAName(t *testing.T) {
	for _, kind := range serverKinds() {
		o := &serverOptions{kind: kind, flags: pflag.NewFlagSet("", pflag.ContinueOnError)}
		o.registerKnobs(o.flags)
		n := 0
		o.flags.VisitAll(func(*pflag.Flag) { n++ })
		if c := knobbedServer(o); len(c.knobs) != n {
			t.Errorf("%s: %d names for %d knobs", kind.command, len(c.knobs), n)
		}
	}
}

// A name means the same as with the gateway, or is none there.
func TestGatewayNames(t *testing.T) {
	b, err := os.ReadFile("../docs/gateway.md")
	if err != nil {
		t.Fatal(err)
	}
	theirs := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+\\.[a-z_]+)` \\|").FindAllSubmatch(b, -1) {
		theirs[string(m[1])] = true
	}
	own := []string{"client.loops", "handler.reply_delay", "reactor.pool_bytes", "tls.ocsp_staple", "quic.packet_size", "quic.no_gro", "quic.no_gso",
		"tor.cookie_file", "tor.public_network", "tor.options", "tor.client_auth", "tor.pow", "tor.max_conns_per_circuit"}
	for _, key := range keysOf(commandsOf()) {
		if theirs[key] == slices.Contains(own, key) {
			t.Errorf("%s: of the gateway %v", key, theirs[key])
		}
	}
	if len(theirs) < 60 {
		t.Errorf("%d settings found", len(theirs))
	}
}

// The documentation's table has the flags, names and defaults that there are.
func TestDocumentedKnobs(t *testing.T) {
	b, err := os.ReadFile("../docs/knobs.md")
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]*pflag.Flag{}
	for _, c := range slices.Backward(commandsOf()) { // servers come first, and count
		maps.Copy(flags, c.knobs)
	}
	rows := 0
	for _, m := range regexp.MustCompile("(?m)^\\|[^|]*\\| `--([a-z-]+)`[^|]*\\| `([A-Z0-9_]+)` \\| `([a-z_.]+)` \\| ([^|]*) \\|").FindAllStringSubmatch(string(b), -1) {
		rows++
		flag, env, key, value := m[1], m[2], m[3], strings.Trim(m[4], "` ")
		f := flags[key]
		if f == nil || f.Name != flag || setting.Env(key) != env {
			t.Errorf("%s: --%s, %s", key, flag, env)
			continue
		}
		if def := wordOf(f); value != def && !(key == "reactor.accept_semaphore" && value == "2 × cores") && !(def == "" && value == "none") {
			t.Errorf("%s: the default is %q, documented %q", key, def, value)
		}
	}
	if rows < 20 {
		t.Errorf("%d rows found", rows)
	}
}

// The framer is given what the flags say.
func TestFramerOptions(t *testing.T) {
	o := &serverOptions{kind: kindOf(t, "quic_echo_server"), flags: pflag.NewFlagSet("", pflag.ContinueOnError)}
	o.registerKnobs(o.flags)
	if err := o.flags.Parse(strings.Fields("--max-frame 2048 --inflight 3 --frame-streams 9 --max-inflated 4096 --early-apps 7,8")); err != nil {
		t.Fatal(err)
	}
	got := o.framerOptions("quic")
	if got.MaxFrame != 2048 || got.MaxInflight != 3 || got.MaxStreams != 9 || got.MaxInflated != 4096 || !reflect.DeepEqual(got.EarlyApps, []uint16{7, 8}) {
		t.Errorf("%+v", got)
	}
}
