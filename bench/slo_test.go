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
)

// Every refusal of the cold and mixed loads, and of ronbench slo, names the flag, its value and what is allowed, and starts nothing.
func TestWorkloadFlagsAreRefused(t *testing.T) {
	for _, c := range []refusal{
		{"tls_echo_client --cold --resume", []string{"--resume", "--cold"}},
		{"tls_echo_client --cold --one-way", []string{"--cold", "--one-way"}},
		{"tls_echo_client --cold --depth 3", []string{"--depth", "--cold"}},
		{"tls_echo_client --cold --conns 0", []string{"--conns", "0", "1 to"}},
		{"quic_echo_client --cold --streams 3", []string{"--streams", "--cold"}},
		{"quic_echo_client --cold --max-inflight 3", []string{"--max-inflight", "--cold"}},
		{"quic_echo_client --cold --early --resume", []string{"--cold", "--early"}},
		{"tcp_echo_client --cold", []string{"cold"}},
		{"tls_echo_client --mix 4096", []string{"--mix", "4096", "payload:weight"}},
		{"tls_echo_client --mix 4096:1,1048539:1", []string{"--mix", "1048539", "1048538"}},
		{"tls_echo_client --mix 1:1,2:0", []string{"--mix", "1:1,2:0", "1 to 1000"}},
		{"tls_echo_client --mix 1:1,2:1 --payload 5", []string{"--payload", "--mix"}},
		{"tor_echo_client --control unix:/x --hello 5 --mix 1:1,2:1 --onion " + goodOnion, []string{"--hello", "--mix"}},
		{"slo --rows resumed,nothing", []string{"--rows", "nothing", "cold"}},
		{"slo --rows=", []string{"--rows", "none", "cold"}},
		{"slo --tor perhaps", []string{"--tor", "perhaps", "auto, on, off"}},
		{"slo --wan perhaps", []string{"--wan", "perhaps", "auto, on, off"}},
		{"slo --duration 1ms", []string{"--duration", "1ms", "100ms"}},
		{"slo --warmup -1s", []string{"--warmup", "-1s"}},
		{"slo --hellos 0", []string{"--hellos", "1 to"}},
		{"slo argument", []string{"argument"}},
	} {
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

// rowsOf are the identifiers of a report's rows, by phase.
func rowsOf(r *report.Report) map[string]*report.SLORow {
	out := make(map[string]*report.SLORow)
	for i := range r.SLO {
		out[r.SLO[i].Phase+"/"+r.SLO[i].ID] = &r.SLO[i]
	}
	return out
}

// sloRun runs the command with longer and longer windows until every load has had a frame: how many fit in 400 ms is the machine's affair.
func sloRun(t *testing.T) (r *report.Report, status int, stdout string) {
	t.Helper()
	for _, window := range []string{"400ms", "2s", "10s"} {
		out := filepath.Join(t.TempDir(), "slo.json")
		var stderr string
		status, stdout, stderr = run(t, easy(), "slo", "--duration", window, "--warmup", "100ms", "--tor", "off", "--wan", "off", "--json", out)
		var err error
		if r, err = report.Read(out); err != nil {
			t.Fatalf("exit status %d, %v\n%s%s", status, err, stdout, stderr)
		}
		if !slices.ContainsFunc(r.Phases, func(p report.Phase) bool { return p.Frames == 0 }) {
			break
		}
	}
	return r, status, stdout
}

// The whole command: every row on this machine has its figures, per node and per core, and what is left out says why.
func TestSLO(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	r, status, stdout := sloRun(t)
	if r.Kind != report.KindSLO || (status == exitOK) != r.Pass { // whether the targets hold under whatever else runs here is not asked
		t.Errorf("exit status %d, %+v", status, r)
	}
	rows := rowsOf(r)
	for _, id := range []string{
		"resumed/tls_resumed_p95", "resumed/tls_resumed_p99", "resumed/rate_kept", "resumed/transport_5xx", "resumed/rejected", "resumed/descriptors",
		"cold/tls_cold_p95", "cold/tls_cold_p99", "cold/tls_handshake_p95", "cold/fresh_conns", "quic/quic_1rtt_p95", "quic/quic_1rtt_p99", "small-target/cpu_at_target",
		"small-target/memory", "small/small_frames_fps", "stream/tls_stream_64k_gbps", "quic-stream/quic_stream_64k_gbps", "quic-streams/gbps", "mixed/mixed_p95",
	} {
		if row := rows[id]; row == nil || row.Verdict == report.LeftOut {
			t.Errorf("no figure for %s", id)
		}
	}
	for _, id := range []string{"tor/tor_hello", "inter-region/interregion"} {
		if row := rows[id]; row == nil || row.Verdict != report.LeftOut || !strings.Contains(row.Why, "off") {
			t.Errorf("%s is not left out: %+v", id, row)
		}
	}
	for _, id := range []string{"small/small_frames_fps", "stream/tls_stream_64k_gbps", "quic-stream/quic_stream_64k_gbps"} {
		if row := rows[id]; row != nil && row.Measured > 0 && (row.PerCore <= 0 || row.PerCore > row.Measured) {
			t.Errorf("per core: %+v", row)
		}
	}
	var kinds []string
	for _, k := range r.ServerKnobs {
		if kinds = append(kinds, k.Kind); len(k.Knobs) < 20 {
			t.Errorf("knobs %+v", k)
		}
	}
	if !slices.Equal(kinds, []string{"tls", "quic"}) {
		t.Errorf("knobs of %v", kinds)
	}
	for i := range r.Phases {
		p := &r.Phases[i]
		if p.Limit == nil || p.Limit.Who == "" || p.Limit.Why == "" || p.Client.Usable < 1 || p.ServerUse == nil || p.ServerUse.Usable < 1 {
			t.Errorf("%s: limit %+v, client %+v", p.Name, p.Limit, p.Client)
		}
		checkSeries(t, p)
	}
	for _, want := range []string{"per core", "left out: --tor off", "limited by", "handshake p50 / p95 / p99", "64 KiB frames/s, p50", "Gb/s, core"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the table lacks %q:\n%s", want, stdout)
		}
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Rows that another command measures: its phases and its server's knobs are taken over; where it has no report, though it is possible here, the
// row has failed, with the command's last words, whether it was asked for or not.
func TestSLORowOfAnotherCommand(t *testing.T) {
	t.Setenv(asMain, "1")
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	row := func(command string) sloRow {
		return sloRow{name: "x", what: "something", id: "x_p95", flag: "tor", choice: func(o *sloOptions) string { return o.tor }, able: func(*app) error { return nil },
			command: func(*sloOptions) ([]string, time.Duration) { return strings.Fields(command), time.Minute }}
	}
	good := row("--rps 100 --conns 2 --duration 300ms --warmup 0s --quic=false")
	bad := row("tcp_echo_client --target tcp://127.0.0.1:1 --conns 1")
	r := new(report.Report)
	err := a.sloRow(t.Context(), &sloOptions{tor: choiceAuto}, good, makeCert(t), r)
	if err != nil || len(r.Phases) != 1 || r.Phases[0].Name != "x, open loop" || len(r.ServerKnobs) != 1 || r.ServerKnobs[0].Kind != "tls" {
		t.Errorf("%v, %+v, %+v", err, r.Phases, r.ServerKnobs)
	}
	for _, choice := range []string{choiceAuto, choiceOn} {
		o := &sloOptions{tor: choice, chosen: []sloRow{bad}, json: filepath.Join(t.TempDir(), "slo.json")}
		var out strings.Builder
		b := &app{stdout: &out, stderr: os.Stderr, judge: easy()}
		if err := b.slo(t.Context(), o); !errors.Is(err, errMissed) {
			t.Errorf("%s: %v", choice, err)
		}
		got, err := report.Read(o.json)
		if err != nil || got.Pass || len(got.SLO) != 1 || got.SLO[0].Verdict != report.Failed || got.SLO[0].ID != "x_p95" ||
			!strings.Contains(got.SLO[0].Why, "no connection to 127.0.0.1:1") || !strings.Contains(out.String(), "no connection to 127.0.0.1:1") {
			t.Errorf("%s: %v, %+v\n%s", choice, err, got, out.String())
		}
	}
	unable := good
	unable.able = func(*app) error { return errors.New("no") }
	for choice, want := range map[string]string{choiceAuto: "no", choiceOn: "no", choiceOff: "--tor off"} {
		if why := unable.leftOut(a, &sloOptions{tor: choice}); why == nil || why.Error() != want {
			t.Errorf("%s: %v", choice, why)
		}
	}
}

// A run that is interrupted leaves the rest out, and says so.
func TestSLOInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := &sloOptions{duration: time.Second, hellos: 1, tor: choiceAuto, wan: choiceAuto, json: filepath.Join(t.TempDir(), "slo.json")}
	a := &app{stdout: new(strings.Builder), stderr: os.Stderr, judge: easy()}
	if err := o.validate(a, false); err != nil {
		t.Fatal(err)
	}
	if err := a.slo(ctx, o); err != nil {
		t.Fatal(err)
	}
	r, err := report.Read(o.json)
	if err != nil || !r.Interrupted || len(r.SLO) != len(sloRows()) {
		t.Fatalf("%v, %+v", err, r)
	}
	for _, row := range r.SLO {
		if row.Verdict != report.LeftOut || !strings.Contains(row.Why, "interrupted") {
			t.Errorf("%+v", row)
		}
	}
}

// Names are unique, and everything that is told of the command comes from one list.
func TestSLORows(t *testing.T) {
	names := sloNames()
	for i, r := range sloRows() {
		if slices.Index(names, r.name) != i || r.what == "" || (r.command == nil) != (r.server != "") || !strings.Contains(sloHelp(), r.what) {
			t.Errorf("%+v", r)
		}
	}
	// The inter-region row is left out where there can be no path, with the reason; it is an error where it must be.
	a := &app{probeWAN: func() error { return errors.New("no devices today") }}
	o := &sloOptions{duration: time.Second, hellos: 1, tor: choiceOff, wan: choiceAuto}
	if err := o.validate(a, false); err != nil {
		t.Error(err)
	}
	row := o.chosen[slices.IndexFunc(o.chosen, func(r sloRow) bool { return r.flag == "wan" })]
	if why := row.leftOut(a, o); why == nil || why.Error() != "no devices today" {
		t.Error(why)
	}
	if o.wan = choiceOn; o.validate(a, false) == nil {
		t.Error("--wan on was taken")
	}
	if a.probeWAN = func() error { return nil }; row.leftOut(a, o) != nil || o.validate(a, false) != nil {
		t.Error("the row is left out where there can be a path")
	}
}

func TestLastLine(t *testing.T) {
	for in, want := range map[string]string{"": "", "a\nb\n": "b", "a\r  b  \rlast\n\n": "last", "one": "one"} {
		l := new(lastLine)
		for i := range in { // in pieces
			if n, err := l.Write([]byte(in[i : i+1])); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		if l.String() != want {
			t.Errorf("%q: %q", in, l.String())
		}
	}
	l := new(lastLine)
	if _, err := l.Write([]byte(strings.Repeat("x", 3*lineKept))); err != nil || len(l.text) != lineKept {
		t.Errorf("%d bytes kept, %v", len(l.text), err)
	}
}

// A client that has one connection with one request in flight keeps no server busy, and says so; the cold and mixed loads work end to end.
func TestWorkloadsEndToEnd(t *testing.T) {
	t.Setenv(asMain, "1")
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	files := makeCert(t)
	srv, err := a.startServer("tls_echo_server", files)
	if err != nil {
		t.Fatal(err)
	}
	phase := func(c load.Config) *report.Phase {
		p, err := a.phase(t, srv, files, c)
		if err != nil {
			t.Fatal(err)
		}
		if p.Errors.Total() != 0 || p.Frames == 0 || p.Limit == nil || p.GbpsPerCore <= 0 {
			t.Errorf("%+v", p)
		}
		return p
	}
	p := phase(load.Config{Conns: 1, Payload: 100, Depth: 1, Window: 500 * time.Millisecond})
	if e := p.Evidence(2); p.ServerUse != nil {
		e.BusyPct, e.Client, e.Server, e.LagMS = 50, 0.4, 0.4, 0 // whatever else runs on this machine
		if l := report.LimitOf(&e); l.Who != report.LimitClient || !strings.Contains(l.Why, "1 in flight") {
			t.Errorf("%+v", l)
		}
	}
	if p.Client.Usable < 1 || p.Limit.Who == report.LimitTimetable {
		t.Errorf("%+v, %+v", p.Client, p.Limit)
	}
	p = phase(load.Config{Cold: true, Conns: 4, Payload: 2000, Window: 500 * time.Millisecond})
	if p.Cold == nil || p.Cold.Handshake.Count == 0 || p.Session.Resumed != 0 || p.Name != "cold" {
		t.Errorf("%+v, %+v", p, p.Cold)
	}
	p = phase(load.Config{Conns: 4, Mix: []load.Part{{Payload: 100, Weight: 3}, {Payload: 20000, Weight: 1}}, Depth: 2, Window: 500 * time.Millisecond})
	if len(p.BySize) != 2 || p.BySize[0].Frames < p.BySize[1].Frames || p.BySize[1].Latency.Count == 0 || p.Name != "mixed" || p.Session.Resumed != 4 {
		t.Errorf("%+v", p)
	}
	if err := srv.stop(nil); err != nil {
		t.Error(err)
	}
}
