package main

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// asMain makes the test binary behave as ronbench: the commands under test start os.Executable, which is this binary.
const asMain = "RONBENCH_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asMain) != "" {
		ailing()
		main()
		return
	}
	// The race detector sleeps a second before each process ends, unless told otherwise; we end dozens.
	if err := os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0"); err != nil {
		panic(err)
	}
	code := m.Run()
	if gatewayDir != "" {
		_ = os.RemoveAll(gatewayDir)
	}
	os.Exit(code)
}

// easy targets hold on any machine, in any state.
func easy() report.Targets {
	return report.Targets{
		Ref: "test", ResumedP95MS: 1e9, ResumedP99MS: 1e9, ColdP95MS: 1e9, ColdP99MS: 1e9, QUICP95MS: 1e9, QUICP99MS: 1e9, InterP95MS: 1e9, InterP99MS: 1e9, Failures: 101, Rejections: 101, Overflow: 101, CPUPct: 1e6, MemoryBytes: 1e15, FDPct: 101,
	}
}

// run runs a command line in this process and returns its exit status and output.
func run(t *testing.T, judge report.Targets, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	t.Setenv(asMain, "1")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan string)
	go func() {
		var b bytes.Buffer
		_, _ = b.ReadFrom(r)
		errs <- b.String()
	}()
	var out bytes.Buffer
	a := &app{stdout: &out, stderr: w, argv: append([]string{"ronbench"}, args...), judge: judge}
	status = a.main(args)
	w.Close()
	return status, out.String(), <-errs
}

// refusal is a command line that must be refused, and what the message must name.
type refusal struct {
	args string
	want []string
}

func refusals() []refusal {
	return append(slices.Concat(attackRefusals(), quicRefusals(), torRefusals(), profileRefusals(), peersRefusals(), checkRefusals(), pairedRefusals(), sweepRefusals(), wanRefusals(), soakRefusals(), nodesRefusals(), chaosRefusals()), []refusal{
		{"nonsense", []string{"nonsense"}},
		{"--no-such-flag", []string{"no-such-flag"}},
		{"--payload x", []string{"--payload", "\"x\""}},
		{"--payload 1048539", []string{"--payload", "1048539", "0 to 1048538"}},
		{"--payload -1", []string{"--payload", "-1"}},
		{"--conns 0", []string{"--conns", "0", "1 to"}},
		{"--rps 0", []string{"--rps", "0"}},
		{"--rps -7", []string{"--rps", "-7"}},
		{"--rps 10000001", []string{"--rps", "10000001"}},
		{"--depth 0", []string{"--depth", "0", "1 to 1024"}},
		{"--duration 1ms", []string{"--duration", "1ms", "100ms to"}},
		{"--warmup -1s", []string{"--warmup", "-1s"}},
		{"tls_echo_server --listen nowhere", []string{"--listen", "nowhere", "host:port"}},
		{"tls_echo_server --listen 127.0.0.1:99999", []string{"--listen", "99999"}},
		{"tls_echo_server --duration -1s", []string{"--duration", "-1s"}},
		{"tls_echo_server --cert x", []string{"--cert", "--key"}},
		{"tls_echo_server --cert x --key y --ca-out z", []string{"--ca-out"}},
		{"tls_echo_server --listen 127.0.0.1:0 --cert /nonexistent --key /nonexistent", []string{"--cert"}},
		{"tls_echo_server --listen 127.0.0.1:0 --ocsp-staple /nonexistent", []string{"--ocsp-staple"}},
		{"tls_echo_server --ticket-file x", []string{"--ticket-file", "--cert"}},
		{"tls_echo_server --ocsp=false", []string{"--ocsp", "--cert"}},
		{"tls_echo_server --ocsp=maybe", []string{"ocsp", "true, false"}},
		{"tls_echo_server --cert x --key y --ticket-file z --session-tickets=false", []string{"--session-tickets", "--ticket"}},
		{"tls_echo_server --listen 127.0.0.1:0 --cert x --key y --ticket-rotate 1s", []string{"--ticket-rotate", "1s", "1m0s"}},
		{"tls_echo_server --listen 127.0.0.1:0 --cert x --key y --ticket-owner", []string{"--ticket-owner", "File"}},
		{"tcp_echo_server --ticket-file x", []string{"ticket-file"}},
		{"tcp_echo_server --cert x --key y", []string{"--cert"}},
		{"tcp_echo_server --session-tickets=false", []string{"session-tickets"}},
		{"tls_echo_server argument", []string{"argument"}},
		{"tls_echo_server --inflight 0", []string{"--inflight", "0"}},
		{"tls_echo_server --listen 127.0.0.1:0 --inflight 65", []string{"--inflight", "65", "64"}},
		{"tls_echo_server --listen 127.0.0.1:0 --max-frame 100", []string{"--max-frame", "100"}},
		{"tls_echo_server --listen 127.0.0.1:0 --loops 1000", []string{"--loops", "1000", "256"}},
		{"tls_echo_server --listen 127.0.0.1:0 --read-buffer 5", []string{"--read-buffer", "5", "16384"}},
		{"tls_echo_server --listen 127.0.0.1:0 --write-coalesce 5", []string{"--write-coalesce", "5"}},
		{"tls_echo_server --listen 127.0.0.1:0 --high-water 5000000", []string{"--high-water"}},
		{"tls_echo_server --listen 127.0.0.1:0 --low-water 500000", []string{"--low-water"}},
		{"tls_echo_server --listen 127.0.0.1:0 --sndbuf 1", []string{"--sndbuf", "1"}},
		{"tls_echo_server --listen 127.0.0.1:0 --rcvbuf -2", []string{"--rcvbuf", "-2"}},
		{"tls_echo_server --listen 127.0.0.1:0 --accept-semaphore -1", []string{"--accept-semaphore", "-1"}},
		{"tls_echo_server --listen 127.0.0.1:0 --idle-timeout 1ms", []string{"--idle-timeout", "1ms"}},
		{"peer_nettls_echo_server --loops 2", []string{"loops"}},
		{"peer_gnet_echo_server --cert x", []string{"cert"}},
		{"tls_echo_client --target tcp://127.0.0.1:1", []string{"--target", "https://host:port"}},
		{"tls_echo_client --target https://127.0.0.1", []string{"--target"}},
		{"tls_echo_client --target https://127.0.0.1:1/path", []string{"--target"}},
		{"tcp_echo_client --target https://127.0.0.1:1", []string{"--target", "tcp://host:port"}},
		{"tcp_echo_client --resume", []string{"resume"}},
		{"tls_echo_client --rps 100 --depth 2", []string{"--depth", "--rps"}},
		{"tls_echo_client --ca x --insecure", []string{"--ca", "--insecure"}},
		{"tls_echo_client --ca /nonexistent", []string{"--ca"}},
		{"tls_echo_client --loops 300", []string{"--loops", "300"}},
		{"tls_echo_client --server-pid -1", []string{"--server-pid", "-1"}},
		{"tls_echo_client --server-pid 4194304", []string{"--server-pid", "4194304"}},
		{"compare --transport tor", []string{"--transport", "tor", "tls, tcp, quic"}},
		{"compare --transport quic --workloads 4k-50x1", []string{"--workloads", "4k-50x1", "64k-8x16"}},
		{"compare --workloads 4k-50x1,huge", []string{"--workloads", "huge", "64k-8x4"}},
		{"compare --workloads=", []string{"--workloads"}},
		{"compare --rounds 0", []string{"--rounds", "0", "1 to 100"}},
		{"compare --duration 1ms", []string{"--duration", "1ms"}},
		{"idle --conns 0", []string{"--conns", "0"}},
		{"idle --conns 1000000000", []string{"--conns", "1000000000"}},
		{"idle --settle -1s", []string{"--settle", "-1s"}},
	}...)
}

// quicRefusals are those of the commands over QUIC.
func quicRefusals() []refusal {
	return []refusal{
		{"quic_echo_client --target https://127.0.0.1:1", []string{"--target", "quic://host:port"}},
		{"quic_echo_client --streams 0", []string{"--streams", "0", "1 to 65536"}},
		{"quic_echo_client --conns 200000 --streams 10", []string{"--streams", "200000", "1000000"}},
		{"quic_echo_client --max-inflight -1", []string{"--max-inflight", "-1"}},
		{"quic_echo_client --early", []string{"--early", "--resume"}},
		{"quic_echo_client --one-way --rps 5", []string{"--one-way", "--rps"}},
		{"quic_echo_client --one-way --depth 5", []string{"--depth", "--one-way"}},
		{"quic_echo_client --one-way --max-inflight 5", []string{"--max-inflight", "--one-way"}},
		{"quic_echo_client --one-way --early --resume", []string{"--early", "--one-way"}},
		{"quic_echo_server --listen 127.0.0.1:0 --conn-idle-timeout 1ns", []string{"ronbench: --conn-idle-timeout: quic: ", "1ns"}},
		{"quic_echo_server --listen 127.0.0.1:0 --handshake-timeout 1ns", []string{"ronbench: --handshake-timeout: quic: ", "1ns"}},
		{"quic_echo_client --sndbuf 1", []string{"--sndbuf", "1", "allowed"}},
		{"quic_echo_client --stream-window 1", []string{"--stream-window", "1", "16384"}},
		{"quic_echo_client --max-streams 5", []string{"max-streams"}},
		{"tcp_echo_client --streams 5", []string{"streams"}},
		{"peer_quicgo_echo_client --loops 2", []string{"loops"}},
		{"peer_quicgo_echo_server --max-streams 2", []string{"max-streams"}},
		{"quic_echo_server --listen nowhere", []string{"--listen", "nowhere", "host:port"}},
		{"quic_echo_server --nodelay=false", []string{"nodelay"}},
		{"quic_echo_server --max-streams 0", []string{"--max-streams", "0"}},
		{"quic_echo_server --listen 127.0.0.1:0 --max-streams 70000", []string{"--max-streams", "70000", "65536"}},
		{"quic_echo_server --listen 127.0.0.1:0 --conn-window 1", []string{"--conn-window", "1"}},
		{"quic_echo_server --listen 127.0.0.1:0 --packet-size 100", []string{"--packet-size", "100", "1200"}},
		{"quic_echo_server --listen 127.0.0.1:0 --retry-above 5000", []string{"--retry-above", "5000", "1024"}},
		{"quic_echo_server --listen 127.0.0.1:0 --rcvbuf 5", []string{"--rcvbuf", "5"}},
		{"quic_echo_server --early-apps 70000", []string{"--early-apps", "70000", "65535"}},
		{"quic_echo_server --early-apps 7,0", []string{"--early-apps", "1 to"}},
		{"quic_echo_server --reset-key /nonexistent", []string{"--reset-key", "/nonexistent"}},
		{"quic_echo_server --token-key /dev/null", []string{"--token-key", "64 hexadecimal"}},
		{"quic_echo_server --listen 127.0.0.1:0 --loops 1000", []string{"--loops", "1000", "256"}},
	}
}

// attackRefusals are those of storm, loris, restart and their processes.
func attackRefusals() []refusal {
	return []refusal{
		{"storm --rate 0", []string{"--rate", "1 to 100000"}},
		{"storm --sources -1", []string{"--sources", "-1"}},
		{"storm --at-once 0", []string{"--at-once"}},
		{"storm --nice 20", []string{"--nice", "20", "0 to 19"}},
		{"storm --server --loops=1", []string{"--server", "name=value"}},
		{"storm --load-conns 0", []string{"--load-conns"}},
		{"loris --conns 0", []string{"--conns", "1 to"}},
		{"loris --drip 0s", []string{"--drip", "1ms"}},
		{"loris --cycles 0", []string{"--cycles", "1 to 100"}},
		{"loris --patience 1ms", []string{"--patience", "1s"}},
		{"loris --settle -1s", []string{"--settle"}},
		{"loris --again 0s", []string{"--again"}},
		{"restart --restarts 0", []string{"--restarts", "1 to 1000"}},
		{"restart --every -1s", []string{"--every"}},
		{"restart --server x", []string{"--server", "name=value"}},
		{"hostile_storm --rate 0", []string{"--rate"}},
		{"hostile_crowd --conns 0", []string{"--conns"}},
	}
}

// Every refusal names the flag, its value and what is allowed, and starts nothing.
func TestCommandLineIsRefused(t *testing.T) {
	for _, c := range refusals() {
		status, stdout, stderr := run(t, easy(), strings.Fields(c.args)...)
		if status != exitUsage || stdout != "" {
			t.Errorf("%s: exit status %d, output %q", c.args, status, stdout)
		}
		for _, w := range c.want {
			if !strings.Contains(stderr, w) {
				t.Errorf("%s: the message does not name %q: %s", c.args, w, stderr)
			}
		}
	}
}

// The seed's command lines are understood as they stand.
func TestSeedCommandLines(t *testing.T) {
	for _, line := range []string{
		"tls_echo_server --listen 0.0.0.0:8443",
		"tls_echo_client --target https://127.0.0.1:8443 --conns 200 --rps 15000 --payload 4096",
		"quic_echo_server --listen 0.0.0.0:8443",
		"quic_echo_client --target quic://127.0.0.1:8443 --conns 200 --streams 512 --payload 65536",
		"--payload 16384 --rps 1000",
	} {
		a := &app{stderr: os.Stderr}
		root := a.root()
		cmd, rest, err := root.Find(strings.Fields(line))
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if err := cmd.ParseFlags(rest); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// Each default that --help prints is the library's, and --help names every knob of the seed that concerns TCP and TLS.
func TestHelpShowsDefaults(t *testing.T) {
	status, out, _ := run(t, easy(), "tls_echo_server", "--help")
	if status != exitOK {
		t.Fatalf("exit status %d", status)
	}
	for _, want := range []string{
		"--accept-semaphore", "--loops", "--nodelay", "(default true)", "--read-buffer bytes", "(default 131072)",
		"--write-coalesce", "(default 65536)", "--sndbuf", "--rcvbuf", "(default 524288)", "--inflight", "(default 64)",
		"--max-frame", "(default 1048576)", "--session-tickets", "--ocsp-staple", "--ocsp ", "--ticket-file", "(default 24h0m0s)", "SIGHUP", "--idle-timeout", "(default 2m30s)",
		"--handshake-timeout", "(default 10s)", "--hard-cap", "(default 4194304)",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("--help does not say %q", want)
		}
	}
}

// Which phases run follows from which of --rps and --depth are given.
func TestPhasesOfTheBareRun(t *testing.T) {
	for _, c := range []struct {
		open, closed bool
		want         string
	}{{true, true, "rps 7, depth 3"}, {true, false, "rps 7"}, {false, true, "depth 3"}} {
		o := runOptions{payload: 1, conns: 1, rps: 7, depth: 3, openLoop: c.open, closedLoop: c.closed}
		var got []string
		for _, l := range o.loads() {
			if l.RPS > 0 {
				got = append(got, "rps 7")
			} else {
				got = append(got, "depth 3")
			}
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%+v: phases %s", c, s)
		}
	}
}

func TestLoopbackHosts(t *testing.T) {
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9": true, "::1": true, "localhost": true, "192.0.2.1": false, "example.org": false, "localhost.example.org": false, "": false,
	} {
		if got := isLoopback(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}

func TestField(t *testing.T) {
	if v, err := field("listening addr=127.0.0.1:9 transport=tls pid=7", "addr"); err != nil || v != "127.0.0.1:9" {
		t.Errorf("%q, %v", v, err)
	}
	if _, err := field("listening address=1", "addr"); err == nil {
		t.Error("a field that is not there was found")
	}
}
