package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/peers/tokiorustls"
)

// Every round measures each side once, and over 2n rounds each side has had each place twice; with two sides the order is
// swapped every round.
func TestTurn(t *testing.T) {
	for n := 1; n <= 5; n++ {
		places := make([][]int, n) // how often a side was at a place
		for i := range places {
			places[i] = make([]int, n)
		}
		for round := range 2 * n {
			order := turn(n, round)
			for place, side := range order {
				places[side][place]++
			}
			if sorted := slices.Sorted(slices.Values(order)); len(slices.Compact(sorted)) != n || sorted[0] != 0 || sorted[n-1] != n-1 {
				t.Fatalf("%d sides, round %d: %v", n, round, order)
			}
		}
		for side := range places {
			for place, count := range places[side] {
				if count != 2 {
					t.Errorf("%d sides: side %d was at place %d %d times in %d rounds, want 2", n, side, place, count, 2*n)
				}
			}
		}
	}
	for round, want := range [][]int{{0, 1}, {1, 0}, {0, 1}, {1, 0}} {
		if got := turn(2, round); !slices.Equal(got, want) {
			t.Errorf("round %d: %v, want %v", round, got, want)
		}
	}
	if a, b := turn(4, 0), turn(4, 1); !slices.Equal(a, []int{0, 1, 2, 3}) || !slices.Equal(b, []int{1, 0, 3, 2}) {
		t.Errorf("four sides: %v, then %v", a, b) // neighbours change, too
	}
}

// All pairings of a workload share our phases, each knows whether ours was first, and a peer without a phase gets no round.
func TestPair(t *testing.T) {
	w := workload{name: "w", load: load.Config{Payload: 7, Conns: 3, Depth: 2}, cpuLimit: 0.5, rate: &report.Rate{RatioTarget: 2}}
	ps := []report.Pairing{newPairing(load.TLS, w, peerKind{name: "a", judged: true}), newPairing(load.TLS, w, peerKind{name: "b"})}
	phase := func(fps float64) *report.Phase { return &report.Phase{FPS: fps} }
	pair(ps, []*report.Phase{phase(1), phase(2), phase(3)}, []int{1, 0, 2})
	pair(ps, []*report.Phase{phase(4), nil, phase(5)}, []int{0, 2, 1})
	if a := ps[0].Rounds; len(a) != 1 || a[0].Ours.FPS != 1 || a[0].Peer.FPS != 2 || a[0].OursFirst {
		t.Errorf("%+v", a)
	}
	if b := ps[1].Rounds; len(b) != 2 || b[0].Ours.FPS != 1 || b[0].Peer.FPS != 3 || !b[0].OursFirst || b[1].Ours.FPS != 4 || b[1].Peer.FPS != 5 {
		t.Errorf("%+v", b)
	}
	if ps[0].Rate == nil || ps[0].Rate == w.rate || ps[1].Rate != nil || ps[0].Transport != load.TLS || ps[0].Payload != 7 || ps[0].PeerName != "a" {
		t.Errorf("%+v", ps) // each has results of its own, and who is not judged has no targets
	}
}

// tokioAvailable builds the peer in another language beforehand, or says why it is not there.
func tokioAvailable(t *testing.T) error {
	t.Helper()
	_, err := tokiorustls.Build(t.Context(), tokiorustls.DefaultCache(), func(string) {})
	if _, ok := errors.AsType[*tokiorustls.Unavailable](err); err != nil && !ok {
		t.Fatal(err)
	}
	return err
}

// runPeers runs the command, again with longer windows as long as a busy machine brings nothing at all in one of them, or not even
// all connections.
func runPeers(t *testing.T) (r *report.Report, stdout, stderr string) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "peers.json")
	for window := 100 * time.Millisecond; ; window *= 4 {
		status, stdout, stderr := run(t, easy(), "peers", "--workloads", "64k-8x4,64k-one-way", "--rounds", "1", "--duration", window.String(), "--json", out)
		if status != exitOK {
			t.Fatalf("exit status %d without --gate\n%s%s", status, stdout, stderr)
		}
		r, err := report.Read(out)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.Compare { // no load is an excuse for these
			for _, e := range []report.Errors{p.Rounds[0].Ours.Errors, p.Rounds[0].Peer.Errors} {
				if e.WrongPayload+e.OutOfOrder+e.OtherStatus > 0 {
					t.Fatalf("%s %s against %s: %s", p.Transport, p.Workload, p.PeerName, e.String())
				}
			}
		}
		starved := func(s *report.Side) bool { return s.FPS == 0 || s.Errors > 0 }
		if !slices.ContainsFunc(r.Compare, func(p report.Pairing) bool { return starved(&p.Ours) || starved(&p.Peer) }) {
			return r, stdout, stderr
		}
		if window > 10*time.Second {
			t.Fatalf("errors, or nothing at all, in windows of %s:\n%s", window, stdout)
		}
	}
}

// One run has every peer of every transport, each with ours' very same rounds.
func TestPeers(t *testing.T) {
	want := []string{"tls 64k-8x4 net + crypto/tls", "tls 64k-8x4 nbio TLS", "tls 64k-8x4 tokio-rustls", "tls 64k-8x4 ours without TLS", "tcp 64k-8x4 gnet", "quic 64k-one-way quic-go"}
	missing := tokioAvailable(t)
	if missing != nil {
		want = slices.Delete(want, 2, 3)
	}
	r, stdout, stderr := runPeers(t)
	var got []string
	for _, p := range r.Compare {
		got = append(got, p.Transport+" "+p.Workload+" "+p.PeerName)
		if len(p.Rounds) != 1 || p.Ours.FPSPerCore <= 0 || p.Peer.FPSPerCore <= 0 || p.Peer.Session.Established == 0 {
			t.Errorf("%+v", p)
		}
		if s := p.Peer.Session; p.PeerName == "ours without TLS" {
			if s.Suite != "" || p.Target != plainCPULimit {
				t.Errorf("without TLS: negotiated %+v, target %v", s, p.Target)
			}
		} else if p.Transport == load.TLS && (s.Suite != p.Ours.Session.Suite || s.Resumed != s.Established || s.Group == "") {
			t.Errorf("%s negotiated %+v, ours %+v", p.PeerName, s, p.Ours.Session)
		}
		if p.Transport == load.TLS && p.Rounds[0].Ours.Target != r.Compare[0].Rounds[0].Ours.Target {
			t.Errorf("%s is compared with another measurement of ours", p.PeerName)
		}
	}
	if !slices.Equal(got, want) || r.Kind != report.KindPeers {
		t.Errorf("a report of kind %s with %q, want %q", r.Kind, got, want)
	}
	if (missing == nil) != (len(r.LeftOut) == 0) {
		t.Errorf("left out: %+v; tokio-rustls: %v", r.LeftOut, missing)
	}
	for _, row := range r.SLO { // who is only shown is not judged
		if strings.Contains(row.What, "nbio") || strings.Contains(row.What, "tokio") {
			t.Errorf("%+v", row)
		}
	}
	for _, text := range []string{"per core", "not judged", "negotiated on tls, nbio TLS: TLS_AES_128_GCM_SHA256"} {
		if !strings.Contains(stdout, text) {
			t.Errorf("the table lacks %q:\n%s", text, stdout)
		}
	}
	if !strings.Contains(stderr, "left)") {
		t.Errorf("no progress with an estimate: %s", stderr)
	}
}

// A peer that is not there is named, with the reason; without any other there is nothing to measure.
func TestPeersLeftOut(t *testing.T) {
	t.Setenv("PATH", t.TempDir()) // no cargo
	out := filepath.Join(t.TempDir(), "peers.json")
	status, stdout, stderr := run(t, easy(), "peers", "--peers", "tokio-rustls,nettls", "--workloads", "4k-50x1", "--rounds", "1", "--duration", "100ms", "--json", out)
	r, err := report.Read(out)
	if status != exitOK || err != nil {
		t.Fatalf("exit status %d, %v\n%s%s", status, err, stdout, stderr)
	}
	if len(r.Compare) != 1 || len(r.LeftOut) != 1 || r.LeftOut[0].Peer != "tokio-rustls" || r.LeftOut[0].Transport != load.TLS || r.LeftOut[0].Reason == "" {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(stdout, "left out on tls, tokio-rustls: not available: ") {
		t.Errorf("the report does not say what is left out:\n%s", stdout)
	}
	status, stdout, stderr = run(t, easy(), "peers", "--peers", "tokio-rustls")
	if status != exitFailed || stdout != "" || !strings.Contains(stderr, "tokio-rustls: not available: ") {
		t.Errorf("exit status %d\n%s%s", status, stdout, stderr)
	}
}

// A peer that breaks is left out from there on, and the run goes on without it; compare, which has only that one, fails.
func TestPeerThatBreaks(t *testing.T) {
	t.Setenv(asMain, "1")
	broken := peerKind{flag: "broken", name: "a broken one", transport: load.TCP, build: func(context.Context, func(string)) (string, error) {
		return os.Executable() // which does not know the flags of a server without a command
	}}
	gnet := peerKinds()[slices.IndexFunc(peerKinds(), func(p peerKind) bool { return p.flag == "gnet" })]
	var stdout strings.Builder
	a := &app{stdout: &stdout, stderr: os.Stderr, argv: []string{"ronbench"}}
	c := &comparison{
		comparisonOptions: comparisonOptions{rounds: 2, duration: 100 * time.Millisecond, json: filepath.Join(t.TempDir(), "r.json")},
		a:                 a, kind: report.KindPeers, skips: true,
		matches: []match{{load.TCP, []workload{{name: "small", load: load.Config{Payload: 64, Conns: 2, Depth: 1}, cpuLimit: 1e9}}, []peerKind{broken, gnet}}},
	}
	if err := c.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	withoutSeries(t, c.json)
	r, err := report.Read(c.json)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Compare) != 1 || r.Compare[0].PeerName != "gnet" || len(r.Compare[0].Rounds) != 2 || c.done != 5 || c.total != 5 {
		t.Errorf("%d of %d measurements, %+v", c.done, c.total, r.Compare)
	}
	if len(r.LeftOut) != 1 || !strings.Contains(r.LeftOut[0].Reason, "from here on: small, round 1, a broken one: ") {
		t.Errorf("%+v", r.LeftOut)
	}
	// A judged peer that fails has met no target.
	broken.judged, c.failed, c.leftOut, c.gate, c.total, c.done = true, nil, nil, true, 0, 0
	c.matches = []match{{load.TCP, c.matches[0].workloads, []peerKind{broken, gnet}}}
	if err := c.run(t.Context()); !errors.Is(err, errMissed) {
		t.Errorf("a judged peer could not be measured: %v", err)
	}
	if r, err := report.Read(c.json); err != nil || r.Pass || !slices.ContainsFunc(r.SLO, func(row report.SLORow) bool {
		return row.ID == "rounds" && row.Verdict == report.Failed && strings.Contains(row.What, "a broken one")
	}) {
		t.Errorf("%v, %+v", err, r)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.matches = []match{{load.TCP, c.matches[0].workloads, []peerKind{gnet}}}
	if err := c.run(ctx); err == nil {
		t.Error("an interrupted comparison with a gate has passed")
	}
	c.gate = false
	c.matches, c.skips, c.leftOut = []match{{load.TCP, c.matches[0].workloads, []peerKind{broken}}}, false, nil
	if err := c.run(t.Context()); err == nil || !strings.Contains(err.Error(), "a broken one") {
		t.Errorf("%v", err)
	}
}

// peersRefusals are those of ronbench peers.
func peersRefusals() []refusal {
	return []refusal{
		{"peers --peers nettls,nobody", []string{"--peers", "nobody", "nettls, nbio, tokio-rustls, plain, gnet, quic-go"}},
		{"peers --gate --peers nbio,tokio-rustls", []string{"--gate", "nettls, plain, gnet or quic-go"}},
		{"peers --peers=", []string{"--peers", "none"}},
		{"peers --peers gnet --workloads 64k-8x16", []string{"--workloads", "64k-8x16", "4k-50x1, 4k-50x16, 1k-200x4, 64k-8x4"}},
		{"peers --workloads 16k-open", []string{"--workloads", "16k-open", "64k-one-way"}},
		{"peers --workloads=", []string{"--workloads", "none"}},
		{"peers --rounds 101", []string{"--rounds", "101", "1 to 100"}},
		{"peers --duration 1ms", []string{"--duration", "1ms"}},
	}
}
