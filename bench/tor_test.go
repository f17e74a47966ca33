package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/tor/torlab"
)

// goodOnion is an address that passes for one; nothing connects to it.
const goodOnion = "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion:443"

// TestTor is the whole run on a private network, with a load that any machine bears.
func TestTor(t *testing.T) {
	if err := torlab.Available(); err != nil {
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "tor.json")
	status, stdout, stderr := run(t, report.Targets{}, "tor", "--conns", "6", "--rps", "60", "--payload", "700", "--depth", "2", "--hellos", "3", "--duration", "1s",
		"--warmup", "200ms", "--json", path)
	r, err := report.Read(path)
	if err != nil {
		t.Fatalf("status %d: %v\n%s", status, err, stderr)
	}
	if status != exitOK && (status != exitFailed || r.Pass) {
		t.Errorf("status %d\n%s", status, stderr)
	}
	if len(r.Phases) != 4 || r.Server == nil || r.Server.Kind != "tor" || r.Server.Failed > 0 || !strings.Contains(r.Server.Addr, ".onion:443") {
		t.Fatalf("%+v", r)
	}
	cpu := map[string]float64{}
	for i, want := range []report.Phase{
		{Mode: report.Hello, Circuits: 3}, {Mode: report.Hello, Circuits: 1}, {Mode: report.Open, Circuits: 6}, {Mode: report.Closed, Circuits: 6},
	} {
		p := &r.Phases[i]
		if p.Transport != "tor" || p.Mode != want.Mode || p.Circuits != want.Circuits || p.Frames == 0 || p.Latency.P50 <= 1 || p.Errors.Total() > 0 {
			t.Errorf("phase %d: %+v", i, p)
		}
		if len(p.Others) != 2+1+torlab.DefaultRelays || p.ServerUse == nil || p.ServerUse.CPUSeconds <= 0 {
			t.Errorf("phase %d: what was measured besides: %+v", i, p.Others)
		}
		if len(p.Curve) < 2 || (p.Series == nil) != (p.Mode == report.Hello) { // HELLO is no load
			t.Errorf("phase %d: series %+v, curve %v", i, p.Series, p.Curve)
		}
		if p.Series != nil {
			checkSeries(t, p)
		}
		for _, u := range p.Others {
			if u.CPUSeconds < 0 || u.Name == "" {
				t.Errorf("phase %d: %+v", i, u)
			}
			cpu[u.Name] += u.CPUSeconds
		}
	}
	for name, used := range cpu { // over all phases: a circuit of a few frames need not lead through every relay
		if used <= 0 {
			t.Errorf("%s has used no CPU in any phase", name)
		}
	}
	if k := knobOf(t, r.Server, "control"); !k.Given || k.Value == "" {
		t.Errorf("%+v", k)
	}
	ids := map[string]bool{}
	for _, row := range r.SLO {
		ids[row.ID] = true
	}
	for _, id := range []string{"tor_hello_p95", "tor_hello_p99", "tor_small_frames_fps", "tor_p95", "rate_kept", "errors"} {
		if !ids[id] {
			t.Errorf("no row %s in %+v", id, r.SLO)
		}
	}
	for _, want := range []string{"service's tor CPU/frame", "relay3 CPU/frame", "3 fresh conns on 1 circuits"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the table lacks %q:\n%s", want, stdout)
		}
	}
	if !strings.Contains(stderr, "private Tor network: ") || !strings.Contains(stderr, "tor: publishing ") {
		t.Errorf("no progress:\n%s", stderr)
	}
}

// torRefusals are command lines about Tor that must be refused.
func torRefusals() []refusal {
	return []refusal{
		{"tor --relays 2", []string{"--relays", "3 to 16"}},
		{"tor --hellos 0", []string{"--hellos", "1 to"}},
		{"tor --rps 0", []string{"--rps", "1 to"}},
		{"tor --conns 0", []string{"--conns"}},
		{"tor --depth 0", []string{"--depth"}},
		{"tor --circuits -1", []string{"--circuits"}},
		{"tor_echo_server", []string{"--control", "--public-network", "ronbench tor"}},
		{"tor_echo_server --control unix:/x --public-network", []string{"--control", "contradicts"}},
		{"tor_echo_server --control unix:/x --tor-dir /x", []string{"--control", "contradicts"}},
		{"tor_echo_server --public-network --cookie-file /x", []string{"--cookie-file", "--control"}},
		{"tor_echo_server --control nowhere", []string{"--control", "unix:/path"}},
		{"tor_echo_server --control unix:/x --bootstrap-timeout 1h", []string{"--bootstrap-timeout", "10m"}},
		{"tor_echo_server --public-network --tor-exe /nonexistent", []string{"--tor-exe"}},
		{"tor_echo_server --public-network --tor-exe /bin/true --tor-option SocksPort", []string{"--tor-option"}},
		{"tor_echo_server --control unix:/x --hs nowhere", []string{"--hs", "host:port"}},
		{"tor_echo_server --listen 127.0.0.1:0", []string{"--listen"}},
		{"tor_echo_client --control unix:/x", []string{"--onion", "X.onion:port"}},
		{"tor_echo_client --control unix:/x --onion example.com:443", []string{"--onion"}},
		{"tor_echo_client --onion " + goodOnion, []string{"--control"}},
		{"tor_echo_client --control unix:/x --onion " + goodOnion + " --circuits 1025", []string{"--circuits", "0 to 1024"}},
		{"tor_echo_client --control unix:/x --hello -1 --onion " + goodOnion, []string{"--hello"}},
		{"tor_echo_client --control unix:/x --hello 5 --rps 5 --onion " + goodOnion, []string{"--hello", "--rps"}},
		{"tor_echo_client --control unix:/x --target tcp://127.0.0.1:1 --onion " + goodOnion, []string{"--target"}},
		{"tcp_echo_client --measure x", []string{"--measure", "name=pid"}},
		{"tcp_echo_client --measure x=0", []string{"--measure", "0"}},
	}
}
