package main

import (
	"bytes"
	"math"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// Samples that come late, or not at all, put each interval's CPU time where it belongs; the intervals have all of it.
func TestSeriesUse(t *testing.T) {
	sample := func(at, cpu time.Duration, rss int64) reading {
		return reading{at * time.Millisecond, proc.Sample{CPU: cpu * time.Millisecond, RSS: rss, FDs: int(rss) + 1}}
	}
	m := &meter{pids: []int{os.Getpid(), 1}, readings: [][]reading{
		{sample(10, 1000, 1), sample(210, 1100, 2), sample(610, 1500, 4), sample(700, 1500, 5)}, // none for the end at 400 ms
		{sample(10, 0, 10), sample(210, 200, 20)},                                               // it died
	}}
	s := &report.Series{IntervalMS: 200, Points: []report.Point{{AtS: 0.2}, {AtS: 0.4}, {AtS: 0.6}, {AtS: 0.7}}}
	m.fillSeries(s)
	for i, want := range []report.Point{
		{ClientCPU: 0.5, ClientRSS: 2, ServerCPU: 1, ServerRSS: 20, ServerFDs: 21},
		{ClientCPU: 0.975, ClientRSS: 4, ServerCPU: 0.05, ServerRSS: 20, ServerFDs: 21}, // 10 ms at 0.5, 190 ms at 1
		{ClientCPU: 1, ClientRSS: 4, ServerRSS: 20, ServerFDs: 21},
		{ClientCPU: 0.1, ClientRSS: 5, ServerRSS: 20, ServerFDs: 21}, // 10 ms at 1
	} {
		got := s.Points[i]
		if math.Abs(got.ClientCPU-want.ClientCPU) > 1e-6 || math.Abs(got.ServerCPU-want.ServerCPU) > 1e-6 || got.ClientRSS != want.ClientRSS ||
			got.ServerRSS != want.ServerRSS || got.ServerFDs != want.ServerFDs {
			t.Errorf("interval %d: %+v, want %+v", i, got, want)
		}
	}
	(&meter{pids: []int{os.Getpid()}, readings: make([][]reading, 1)}).fillSeries(s) // nothing could be read
	if s.Points[0].ClientCPU != 0 {
		t.Errorf("%+v", s.Points[0])
	}
	m.fillSeries(nil)
}

// The phase of a real run has its window interval by interval, with what both processes used, after the way through the JSON of the client.
func TestRunHasSeriesAndCurve(t *testing.T) {
	t.Setenv(asMain, "1")
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	var client, server float64 // CPU time of all loads: in a single one on a busy machine it may be too little to see
	for _, c := range []struct {
		server string
		load   load.Config
	}{
		{"tls_echo_server", load.Config{Conns: 5, Payload: 1024, RPS: 400}},
		{"tls_echo_server", load.Config{Conns: 5, Payload: 1024, RPS: 50, Cold: true}},
		{"tcp_echo_server", load.Config{Conns: 3, Mix: []load.Part{{Payload: 64, Weight: 1}, {Payload: 4096, Weight: 1}}, Depth: 2}},
		{"quic_echo_server", load.Config{Conns: 2, Streams: 2, Payload: 4096, OneWay: true}},
		{"peer_quicgo_echo_server", load.Config{Conns: 2, Streams: 2, Payload: 4096, Depth: 1}},
	} {
		files := makeCert(t)
		srv, err := a.startServer(c.server, files)
		if err != nil {
			t.Fatal(err)
		}
		c.load.Warmup, c.load.Window = 100*time.Millisecond, 900*time.Millisecond
		p, err := a.phase(t, srv, files, c.load)
		var s report.Server
		if serr := srv.stop(&s); err != nil || serr != nil {
			t.Fatal(c.server, err, serr)
		}
		own, served := checkSeries(t, p)
		client, server = client+own, server+served
		if ours := c.server != "peer_quicgo_echo_server"; (len(s.Knobs) > 0) != ours {
			t.Errorf("%s: knobs %v", c.server, s.Knobs)
		}
	}
	if client <= 0 || server <= 0 {
		t.Errorf("CPU %v s and %v s", client, server)
	}
}

// checkSeries holds the series of a phase against its sums, and returns the CPU time of both processes, in seconds.
func checkSeries(t *testing.T, p *report.Phase) (client, server float64) {
	t.Helper()
	if p.Series == nil || p.Series.IntervalMS < 200 || len(p.Series.Points) != int(math.Ceil(p.WindowS*1e3/p.Series.IntervalMS)) {
		t.Fatalf("%s %s: series %+v of a window of %v s", p.Transport, p.Mode, p.Series, p.WindowS)
	}
	var replies int64
	var frames, from float64
	for _, pt := range p.Series.Points {
		took := pt.AtS - from
		replies, frames, client, server, from = replies+pt.Replies, frames+pt.FPS*took, client+pt.ClientCPU*took, server+pt.ServerCPU*took, pt.AtS
		if pt.ClientRSS <= 0 || pt.ServerRSS <= 0 || pt.ServerFDs <= 0 {
			t.Errorf("%s %s: %+v", p.Transport, p.Mode, pt)
		}
	}
	if replies != p.Latency.Count || math.Abs(frames-float64(p.Frames)) > 1e-3 || frames == 0 {
		t.Errorf("%s %s: the series has %d latencies and %v frames, the phase %d and %d", p.Transport, p.Mode, replies, frames, p.Latency.Count, p.Frames)
	}
	// A first sample that comes late counts for what was before it: that is never more than all cores.
	if most := p.WindowS * float64(runtime.NumCPU()); client > p.Client.CPUSeconds+most || server > p.ServerUse.CPUSeconds+most {
		t.Errorf("%s %s: CPU %v s and %v s, the phase has %v s and %v s", p.Transport, p.Mode, client, server, p.Client.CPUSeconds, p.ServerUse.CPUSeconds)
	}
	if n := len(p.Curve); (n > 0) != (p.Latency.Count > 0) || n > 0 && (p.Curve[n-1].Percentile != 100 || p.Curve[n-1].MS != p.Latency.MaxMS) {
		t.Errorf("%s %s: curve %v of %+v", p.Transport, p.Mode, p.Curve, p.Latency)
	}
	return client, server
}

// withoutSeries holds that a report of many rounds leaves out what is of single intervals.
func withoutSeries(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"series"`, `"curve"`} {
		if bytes.Contains(b, []byte(part)) {
			t.Errorf("%s has %s", path, part)
		}
	}
}
