package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
)

// Who limited a phase, from samples as they were recorded on two cores, rounded, and on machines with more.
func TestLimitOf(t *testing.T) {
	open := Evidence{Mode: Open, Due: 10000, Frames: 10000, Cores: 2, BusyPct: 60, Client: 0.6, ClientMay: 2, Measured: true, Server: 0.4, ServerMay: 2, PaceMS: 0.3, LagMS: 0.1, Mean: 0.4, P99: 2}
	closed := Evidence{Mode: Closed, InFlight: 800, Cores: 8, BusyPct: 50, Client: 2, ClientMay: 8, Measured: true, Server: 2, ServerMay: 8, LagMS: 0.2, Mean: 5, P99: 9}
	oneWay := closed
	oneWay.Mode, oneWay.InFlight, oneWay.Mean, oneWay.P99 = OneWay, 0, 0, 0
	for _, c := range []struct {
		name string
		of   Evidence
		with func(e *Evidence)
		who  string
		why  string
	}{
		{"open, kept", open, func(*Evidence) {}, LimitTimetable, "100 %"},
		{"open, kept, full cores but in time", open, func(e *Evidence) { e.BusyPct = 99 }, LimitTimetable, ""},
		{"open, kept, late client", open, func(e *Evidence) { e.PaceMS = 1.5 }, LimitClient, "late by 1.50 ms itself"},
		{"open, kept, late client on full cores", open, func(e *Evidence) { e.PaceMS, e.BusyPct = 1.5, 97 }, LimitMachine, "97 % busy"},
		{"open, kept, lateness that is little of the latency", open, func(e *Evidence) { e.PaceMS, e.P99 = 5, 200 }, LimitTimetable, ""},
		{"open, kept, lateness of a wake-up", open, func(e *Evidence) { e.PaceMS, e.P99 = 0.9, 1 }, LimitTimetable, ""},
		{"open, missed, full cores", open, func(e *Evidence) { e.Frames, e.BusyPct, e.Client, e.Server = 7000, 98, 1, 0.9 }, LimitMachine, "2 cores were 98 % busy"},
		{"open, missed, client at its end", open, func(e *Evidence) { e.Frames, e.Client, e.ClientMay = 7000, 0.97, 1 }, LimitClient, "0.970 of the 1 cores"},
		{"open, missed, server at its end", open, func(e *Evidence) { e.Frames, e.Server, e.ServerMay = 7000, 0.97, 1 }, LimitServer, "0.970 of the 1 cores"},
		{"open, missed, written in time", open, func(e *Evidence) { e.Frames = 7000 }, LimitServer, "within 0.300 ms"},
		{"open, missed, written late", open, func(e *Evidence) { e.Frames, e.PaceMS, e.P99 = 7000, 800, 900 }, LimitClient, "late by 800 ms"},
		{"open, missed, held-up loops", open, func(e *Evidence) { e.Frames, e.LagMS, e.Mean = 7000, 300, 900 }, LimitClient, "waited 300 ms"},
		{"cold, missed, no connection left", open, func(e *Evidence) { e.Frames, e.Waited, e.Conns = 7000, 3000, 8 }, LimitUnknown, "all 8 connections"},
		{"open, missed, held by --max-inflight", open, func(e *Evidence) { e.Frames, e.Held, e.Permits = 7000, 2900, 16 }, LimitUnknown, "2,900 requests were due while all 16 of --max-inflight"},
		{"open, missed, a few held", open, func(e *Evidence) { e.Frames, e.Held, e.Permits = 7000, 5, 16 }, LimitServer, "within"},
		{"open, kept, held", open, func(e *Evidence) { e.Held, e.Permits = 5000, 16 }, LimitTimetable, "100 %"},
		{"open, nothing came back", open, func(e *Evidence) { e.Frames, e.Mean, e.P99, e.LagMS = 0, 0, 0, 0 }, LimitServer, "0 %"},

		{"closed, full cores", closed, func(e *Evidence) { e.BusyPct, e.Client, e.Server = 96, 4, 3.5 }, LimitMachine, "others and interrupts"},
		{"closed, full cores by others", closed, func(e *Evidence) { e.BusyPct, e.Client, e.Server = 96, 1, 0.5 }, LimitMachine, "others and interrupts 6.18"},
		{"closed, cores full of the client", closed, func(e *Evidence) { e.BusyPct, e.Client, e.Server = 96, 6, 1.2 }, LimitClient, "6 of 8 cores"},
		{"closed, full cores, server not measured", closed, func(e *Evidence) { e.BusyPct, e.Client, e.Measured, e.Server = 96, 6, false, 0 }, LimitMachine, "not measured"},
		{"closed, --loops 1", closed, func(e *Evidence) { e.Client, e.ClientMay = 0.9, 1 }, LimitClient, "0.900 of the 1 cores"},
		{"closed, client held up", closed, func(e *Evidence) { e.LagMS, e.Mean = 40, 80 }, LimitClient, "waited 40 ms"},
		{"closed, server with one loop", closed, func(e *Evidence) { e.Server, e.ServerMay = 0.95, 1 }, LimitServer, ""},
		{"closed, everybody at the end", closed, func(e *Evidence) { e.Client, e.ClientMay, e.Server, e.ServerMay = 1, 1, 1, 1 }, LimitClient, ""},
		{"closed, one in flight", closed, func(e *Evidence) {
			e.InFlight, e.Client, e.Server, e.BusyPct, e.Mean, e.LagMS = 1, 0.4, 0.4, 10, 0.05, 0.02
		}, LimitClient, "1 in flight at once"},
		{"closed, nobody busy", closed, func(*Evidence) {}, LimitUnknown, "2 of 8 cores"},
		{"one way, full cores", oneWay, func(e *Evidence) { e.BusyPct, e.Client, e.Server = 99, 4, 3 }, LimitMachine, ""},
		{"one way, a loop that writes without a break", oneWay, func(e *Evidence) { e.LagMS = 5 }, LimitUnknown, ""},
		{"one way, server at its end", oneWay, func(e *Evidence) { e.Server = 7.5 }, LimitServer, ""},
		{"hello", Evidence{Mode: Hello, Cores: 2, BusyPct: 99}, func(*Evidence) {}, LimitTimetable, "one fresh connection after the other"},
		{"empty", Evidence{Mode: Closed}, func(*Evidence) {}, LimitClient, ""},
	} {
		e := c.of
		c.with(&e)
		l := LimitOf(&e)
		if l.Who != c.who || !strings.Contains(l.Why, c.why) {
			t.Errorf("%s: %+v, not %s with %q", c.name, l, c.who, c.why)
		}
		if bounds := e.Mode != Open && (c.who == LimitClient || c.who == LimitMachine); strings.Contains(l.Why, "lower bounds") != bounds {
			t.Errorf("%s: %q", c.name, l.Why)
		}
		if strings.Contains(l.String(), "%!") || !strings.Contains(l.String(), l.Why) {
			t.Errorf("%s: %s", c.name, l.String())
		}
	}
}

// The evidence of a phase: what the processes may use is bounded by their loops and by the number of connections.
func TestEvidenceOfPhase(t *testing.T) {
	p := phases()[1]
	p.Client.Usable, p.ServerUse, p.Conns, p.Depth = 1, use(3), 3, 4
	e := p.Evidence(8)
	if e.InFlight != 12 || e.ClientMay != 1 || e.ServerMay != 3 || !e.Measured || e.Client != 8*0.3725 || e.BusyPct != 99.8 {
		t.Errorf("%+v", e)
	}
	p.Streams = 5
	if e := p.Evidence(8); e.InFlight != 60 {
		t.Errorf("%+v", e)
	}
	p.Cold, p.ServerUse = &Cold{Waited: 7}, nil
	if e := p.Evidence(8); e.ClientMay != 1 || e.Waited != 7 || e.Measured {
		t.Errorf("%+v", e)
	}
	p.Client.Usable = 0
	if e := p.Evidence(8); e.ClientMay != 8 {
		t.Errorf("fresh connections bound nothing: %+v", e)
	}
}

// Workloads with more than the usual: a cold and a mixed one, rates that are lower bounds, and rows that are left out.
func TestTextOfWorkloads(t *testing.T) {
	ps := phases()
	cold, mix, small := ps[0], ps[0], ps[1]
	cold.Name, cold.Cold, cold.Payload, cold.RPS, cold.Frames = "cold", &Cold{Waited: 12, Handshake: hist.Latency{Count: 9, P50: 1, P95: 2, P99: 3}}, 16<<10, 200, 1200
	mix.Name, mix.Payload = "mixed", 0
	mix.BySize = []SizeUse{{4096, 9, 81000, 13500, hist.Latency{P50: 1, P95: 2, P99: 3}}, {65536, 1, 9000, 1500, hist.Latency{P50: 4, P95: 5, P99: 6}}}
	mix.Limit = &Limit{LimitTimetable, "100 % of what was due was answered"}
	small.Name, small.Errors, small.Limit = "small", Errors{}, &Limit{LimitClient, "it was busy"}
	r := sample()
	r.Server, r.Phases = nil, []Phase{cold, mix, small}
	tg := TargetsFor(proc.Machine{Cores: 2})
	r.SLO = append(Judge(r.Phases, tg), SLORow{ID: "tor_hello_p95", Phase: "Tor", What: "p95, dial to HELLO's reply", Verdict: LeftOut, Why: "no tor is installed"})
	if !AllPass(r.SLO) {
		t.Error("a row that is left out has failed")
	}
	var b bytes.Buffer
	r.Text(&b)
	golden(t, "workloads.txt", b.Bytes())
}

// A row that has missed its target says when the server was not the limit; it has failed all the same.
func TestFailedRowsNameTheLimit(t *testing.T) {
	for _, c := range []struct{ who, why string }{{LimitMachine, "the machine was the limit"}, {LimitClient, "the client was the limit"}, {LimitServer, ""}, {LimitTimetable, ""}} {
		p := phases()[0]
		p.Limit, p.Latency.P95, p.Errors.WrongPayload = &Limit{Who: c.who}, 13, 1
		for _, r := range Judge([]Phase{p}, TargetsFor(proc.Machine{Cores: 2})) {
			want := ""
			if r.ID == "tls_resumed_p95" {
				want = c.why
			}
			if failed := r.ID == "tls_resumed_p95" || r.ID == "errors"; r.Why != want || (r.Verdict == Failed) != failed {
				t.Errorf("%s: %+v", c.who, r)
			}
		}
	}
}

// The cold rows are the seed's, and hold for TLS in an open loop only.
func TestColdRows(t *testing.T) {
	for _, c := range []struct {
		ref, transport, mode string
		p95, p99, rtt        float64
		want95, want99       Verdict
	}{
		{"", "tls", Open, 80, 150, 0, Passed, Passed},
		{"", "tls", Open, 80.1, 150, 0, Failed, Passed},
		{"Ref-B", "tls", Open, 60.1, 150, 0, Failed, Passed},
		{"Ref-B", "tls", Open, 60, 150.1, 0, Passed, Failed},
		{"", "tls", Closed, 500, 500, 0, Info, Info},
		{"", "quic", Open, 500, 500, 0, Info, Info},
		{"", "tls", Open, 500, 500, 100, Info, Info},
	} {
		p := phases()[0]
		p.Transport, p.Mode, p.RTTms, p.Latency.P95, p.Latency.P99, p.Cold = c.transport, c.mode, c.rtt, c.p95, c.p99, &Cold{}
		got := map[string]Verdict{}
		for _, r := range Judge([]Phase{p}, TargetsFor(proc.Machine{Cores: 16, Ref: c.ref})) {
			got[r.ID] = r.Verdict
		}
		if got[c.transport+"_cold_p95"] != c.want95 || got[c.transport+"_cold_p99"] != c.want99 || got["tls_resumed_p95"] != "" {
			t.Errorf("%+v: %v", c, got)
		}
		if _, there := got["small_frames_fps"]; there {
			t.Errorf("%+v: connections are judged as frames", c)
		}
	}
}

// What is in flight in a closed loop is bounded by --max-inflight.
func TestEvidenceHasTheBound(t *testing.T) {
	p := Phase{Mode: Closed, Conns: 3, Streams: 16, Depth: 4}
	if e := p.Evidence(2); e.InFlight != 3*64 {
		t.Errorf("%d in flight without a bound", e.InFlight)
	}
	p.MaxInflight = 2
	if e := p.Evidence(2); e.InFlight != 6 || e.Permits != 2 {
		t.Errorf("%d in flight, %d permits", e.InFlight, e.Permits)
	}
}
