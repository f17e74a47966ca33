package main

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/pool"
	"github.com/ron-transport/ron-transport/tls"
)

// serverReport starts a server with flags, ends it, and returns its report.
func serverReport(t *testing.T, command string, flags ...string) *report.Server {
	t.Helper()
	t.Setenv(asMain, "1")
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	srv, err := a.startServer(command, makeCert(t), flags...)
	if err != nil {
		t.Fatal(err)
	}
	s := new(report.Server)
	if err := srv.stop(s); err != nil {
		t.Fatal(err)
	}
	return s
}

func knobOf(t *testing.T, s *report.Server, name string) report.Knob {
	t.Helper()
	for _, k := range s.Knobs {
		if k.Name == name {
			return k
		}
	}
	t.Errorf("%s: no knob %s among %+v", s.Kind, name, s.Knobs)
	return report.Knob{}
}

// A server says what it ran with: what was given and what was not, with units, and with what the machine or the library has made of a value.
func TestServerTellsItsKnobs(t *testing.T) {
	s := serverReport(t, "tls_echo_server", "--read-buffer", "32768", "--loops", "0", "--idle-timeout", "7s", "--session-tickets=false", "--write-coalesce", "0")
	for _, want := range []report.Knob{
		{Name: "read-buffer", Value: "32768", Unit: "bytes", Given: true},
		{Name: "write-coalesce", Value: "65536", Unit: "bytes", Given: true}, // a zero is the library's default
		{Name: "loops", Value: strconv.Itoa(runtime.GOMAXPROCS(0)), Given: true},
		{Name: "idle-timeout", Value: "7s", Given: true},
		{Name: "session-tickets", Value: "false", Given: true},
		{Name: "nodelay", Value: "true"}, {Name: "inflight", Value: "64"},
		{Name: "pool-bytes", Value: strconv.Itoa(pool.DefaultCacheBytes), Unit: "bytes"},
		{Name: "peer-read-rate", Value: "0", Unit: "bytes/s"},
		{Name: "congestion", Value: s.Control},
		{Name: "max-conns", Value: strconv.FormatInt(s.FDLimit*9/10, 10)},
		{Name: "ocsp", Value: "true"},
	} {
		if want.Name == "max-conns" && s.FDLimit > 1<<24 {
			continue // more than the library admits
		}
		if got := knobOf(t, s, want.Name); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
	for _, k := range s.Knobs {
		switch k.Name {
		case "listen", "json", "duration", "with-parent", "cert", "key", "cpu-profile", "help":
			t.Errorf("%s is no knob", k.Name)
		}
	}
}

// What encrypts is the flag's choice at both ends; what does not exist is refused before anything starts.
func TestAESGCMReachesBothEnds(t *testing.T) {
	if got := knobOf(t, serverReport(t, "tls_echo_server", "--aes-gcm", "go"), "aes-gcm"); got != (report.Knob{Name: "aes-gcm", Value: "go", Given: true}) {
		t.Errorf("%+v", got)
	}
	best, err := tls.AESGCMAuto.Resolve()
	if err != nil {
		t.Fatal(err)
	}
	if got := knobOf(t, serverReport(t, "tls_echo_server", "--aes-gcm", "auto"), "aes-gcm"); got.Value != best.String() {
		t.Errorf("%+v, want %v", got, best)
	}
	o := &clientOptions{transport: load.TLS, host: "localhost", aesGCM: "go"}
	if n, err := o.netConfig(); err != nil || n.AESGCM != tls.AESGCMGo {
		t.Errorf("%v, %v", n.AESGCM, err)
	}
	for _, command := range []string{"tls_echo_server", "tls_echo_client"} {
		status, stdout, stderr := run(t, easy(), command, "--aes-gcm", "sse")
		if status != exitUsage || stdout != "" || !strings.Contains(stderr, "--aes-gcm") || !strings.Contains(stderr, `"sse"`) || !strings.Contains(stderr, "auto, ") {
			t.Errorf("%s: exit status %d, %s", command, status, stderr)
		}
	}
}

// On QUIC the names that both packages have are those of package quic.
func TestQUICServerTellsItsKnobs(t *testing.T) {
	s := serverReport(t, "quic_echo_server", "--max-streams", "77", "--sndbuf", "131072")
	for _, want := range []report.Knob{
		{Name: "max-streams", Value: "77", Given: true}, {Name: "sndbuf", Value: "131072", Unit: "bytes", Given: true},
		{Name: "rcvbuf", Value: findDefault(t, "quic_echo_server", "rcvbuf"), Unit: "bytes"},
		{Name: "handshake-timeout", Value: findDefault(t, "quic_echo_server", "handshake-timeout")},
		{Name: "keep-alive", Value: time.Duration(0).String()}, {Name: "session-tickets", Value: "true"},
	} {
		if got := knobOf(t, s, want.Name); got != want {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}

func findDefault(t *testing.T, command, flag string) string {
	t.Helper()
	cmd, _, err := new(app).root().Find([]string{command})
	if err != nil {
		t.Fatal(err)
	}
	return cmd.Flags().Lookup(flag).DefValue
}

// The knobs that a report tells are the flags that --help has: those of the kind, and none of peers.
func TestKnobsAreFlags(t *testing.T) {
	root := new(app).root()
	for _, kind := range serverKinds() {
		cmd, _, err := root.Find([]string{kind.command})
		if err != nil {
			t.Fatal(err)
		}
		o := &serverOptions{kind: kind, flags: pflag.NewFlagSet("", pflag.ContinueOnError)}
		o.registerKnobs(o.flags)
		knobs := ranWith(o.flags, nil)
		if (len(knobs) > 0) != kind.knobs {
			t.Errorf("%s: %d knobs", kind.command, len(knobs))
		}
		for _, k := range knobs {
			if f := cmd.Flags().Lookup(k.Name); f == nil || f.DefValue != k.Value || k.Given {
				t.Errorf("%s: knob %+v, flag %+v", kind.command, k, f)
			}
		}
	}
}
