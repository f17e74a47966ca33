package report

import (
	"bytes"
	"flag"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func use(cpu float64) *ProcUse {
	return &ProcUse{PID: 42, CPUSeconds: 3, CPUPerFrameUS: cpu, CPUPct: 37.25, RSSStart: 20 << 20, RSSEnd: 31 << 20, FDs: 63, FDLimit: 20000, FDShare: 0.315}
}

func phases() []Phase {
	lat := hist.Latency{Count: 90000, MinMS: 0.03, AvgMS: 0.2, P50: 0.151, P95: 0.9, P99: 2.345, P999: 11.9, MaxMS: 25.61}
	return []Phase{
		{
			Name: "open loop", Transport: "tls", Target: "127.0.0.1:1", Mode: "open", Conns: 50, Payload: 4096, RPS: 15000, WarmupS: 1, WindowS: 6,
			Sent: 90000, Frames: 89990, FPS: 14998.3, FPSPerCore: 7499.2, GbpsEachWay: 0.491, GbpsPerCore: 0.2455, Latency: lat,
			Session: Session{Established: 50, Resumed: 50, Suite: "TLS_AES_128_GCM_SHA256", Group: "X25519MLKEM768", AESGCM: "avx2", Verified: "verified against --ca"},
			Client:  *use(12.5), ServerUse: use(9.31), CoreBusy: []float64{71.2, 68.9}, PaceMS: 0.31,
		},
		{
			Name: "closed loop", Transport: "tls", Target: "127.0.0.1:1", Mode: "closed", Conns: 50, Payload: 4096, Depth: 16, WarmupS: 1, WindowS: 6,
			Sent: 900010, Frames: 899990, FPS: 149998.3, FPSPerCore: 74999.2, GbpsEachWay: 4.91, GbpsPerCore: 2.455, Latency: lat,
			Errors:  Errors{Unanswered: 3, FirstError: "the server closed the connection"},
			Session: Session{Established: 50, Suite: "TLS_AES_128_GCM_SHA256", Group: "X25519MLKEM768", Verified: "verified against --ca"},
			Client:  *use(4.25), CoreBusy: []float64{100, 99.6},
		},
	}
}

func sample() *Report {
	r := &Report{
		Schema: Schema, Kind: KindRun, Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Command: []string{"ronbench"}, Phases: phases(),
		MeasuredOn: proc.Machine{CPUModel: "Some CPU", Cores: 2, MemoryBytes: 8 << 30, Kernel: "6.1.0", GoVersion: "go1.26"},
		Server: &Server{
			Kind: "tls", Addr: "127.0.0.1:1", RanS: 15.2, Accepted: 102, Frames: 1234567, Failed: 1, CPUS: 11.25, RSS: 31 << 20, FDs: 63,
			FDLimit: 20000, SndBuf: 1 << 20, RcvBuf: 1 << 20, Rejected: map[string]uint64{"slow_peer": 2, "bad_frame": 1},
		},
	}
	t := TargetsFor(r.MeasuredOn)
	r.SLOTargets, r.SLO = t.Ref, Judge(r.Phases, t)
	return r
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update rewrites it); got:\n%s", path, got)
	}
}

func TestTextOfRun(t *testing.T) {
	var b bytes.Buffer
	sample().Text(&b)
	golden(t, "run.txt", b.Bytes())
}

func TestTextOfCompareAndIdle(t *testing.T) {
	var b bytes.Buffer
	p := Pairing{Workload: "4k-50x16", PeerName: "net + crypto/tls"}
	for _, ours := range []float64{3.5, 3.7, 3.3} {
		ph := phases()
		ph[0].ServerUse, ph[1].ServerUse = use(ours), use(5)
		ph[1].Errors = Errors{}
		p.Rounds = append(p.Rounds, Round{Ours: ph[0], Peer: ph[1]})
	}
	p.Summarise(0.70)
	bad := p
	bad.Workload, bad.Target, bad.Pass = "1k-200x4", 0.6, false
	r := &Report{Interrupted: true, MeasuredOn: proc.Machine{CPUModel: "unknown", Cores: 16, MemoryBytes: 32 << 30, Kernel: "6.1.0", GoVersion: "go1.26", Ref: "Ref-B"}, Compare: []Pairing{p, bad}}
	r.Idle = []Idle{{Server: "tls_echo_server", Conns: 5000, RSSBefore: 9 << 20, RSSAfter: 27 << 20, BytesPerConn: 3774.9, FDs: 5012, FDLimit: 20000, HandshakeRate: 1234.5, EchoChecked: 64}}
	r.SLO = append(JudgeRatios(r.Compare), JudgeIdle(&r.Idle[0], 4096)...)
	r.Text(&b)
	golden(t, "compare_idle.txt", b.Bytes())
}

func TestFileRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.json")
	r := sample()
	if err := r.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, r) {
		t.Errorf("read %+v\nwrote %+v", got, r)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
	r.SLO[0].Measured = math.NaN()
	if err := r.WriteFile(path); err == nil {
		t.Error("NaN was written as JSON")
	}
	if err := sample().WriteFile(filepath.Join(t.TempDir(), "no", "dir.json")); err == nil {
		t.Error("a directory that is not there was accepted")
	}
}

// TestJudgeServers: a frame in ten thousand that found a queue full is too many; other refusals, and servers without a count, are none.
func TestJudgeServers(t *testing.T) {
	of := func(full uint64) *Server {
		return &Server{Kind: "tls", Frames: 99_995, Rejected: map[string]uint64{"over_capacity": full / 2, "inflight_exceeded": full - full/2, "bad_frame": 500}}
	}
	rows := JudgeServers(refA(), of(5), nil, &Server{Kind: "quic"}, of(11), &Server{Kind: "tor", Frames: 1})
	if len(rows) != 3 || rows[0].Verdict != Passed || rows[1].Verdict != Failed || rows[1].ID != "bus_overflow" || rows[1].Phase != "tls server" || rows[2].Verdict != Passed {
		t.Errorf("%+v", rows)
	}
}

func TestJudge(t *testing.T) {
	verdicts := func(ps ...Phase) map[string]Verdict {
		out := map[string]Verdict{}
		for _, r := range Judge(ps, TargetsFor(proc.Machine{Cores: 2})) {
			out[r.Phase+"/"+r.ID] = r.Verdict
		}
		return out
	}
	good := phases()[0]
	for id, v := range verdicts(good) {
		if v != Passed {
			t.Errorf("%s: %s", id, v)
		}
	}
	for _, c := range []struct {
		id    string
		spoil func(p *Phase)
	}{
		{"tls_resumed_p95", func(p *Phase) { p.Latency.P95 = 12.1 }},
		{"tls_resumed_p99", func(p *Phase) { p.Latency.P99 = 25.1 }},
		{"tls_resumed_p99", func(p *Phase) { p.Latency.P99 = math.NaN() }},
		{"rate_kept", func(p *Phase) { p.Frames = 89000 }},
		{"transport_5xx", func(p *Phase) { p.Errors.Transport5xx = 90 }},
		{"rejected", func(p *Phase) { p.Errors.Rejected429, p.Errors.Rejected503 = 450, 450 }},
		{"errors", func(p *Phase) { p.Errors.WrongPayload = 1 }},
		{"cpu_at_target", func(p *Phase) { p.ServerUse.CPUPct = 75 }},
		{"memory", func(p *Phase) { p.ServerUse.RSSStart = 3 << 29 }},
		{"descriptors", func(p *Phase) { p.ServerUse.FDShare = 60 }},
	} {
		p := phases()[0]
		c.spoil(&p)
		if v := verdicts(p)["open loop/"+c.id]; v != Failed {
			t.Errorf("%s: %q where the limit was exceeded", c.id, v)
		}
	}
	p := phases()[1]
	p.FPS = 14999
	if v := verdicts(p)["closed loop/small_frames_fps"]; v != Failed {
		t.Errorf("14,999 fps: %q", v)
	}
	p.Payload, p.GbpsEachWay = 64<<10, 1.99
	got := verdicts(p)
	if _, there := got["closed loop/small_frames_fps"]; there || got["closed loop/stream_64k_gbps"] != Failed {
		t.Errorf("64 KiB frames: %v", got)
	}
}

func TestTargetsForRefB(t *testing.T) {
	a, b := TargetsFor(proc.Machine{Cores: 2}), TargetsFor(proc.Machine{Cores: 16, Ref: "Ref-B"})
	if a.Ref != "Ref-A" || a.ResumedP95MS != 12 || a.SmallFPS != 15000 || a.StreamGbps != 2 {
		t.Errorf("%+v", a)
	}
	if b.Ref != "Ref-B" || b.ResumedP95MS != 8 || b.ResumedP99MS != 25 || b.SmallFPS != 30000 || b.StreamGbps != 3.5 {
		t.Errorf("%+v", b)
	}
}

func TestSummarise(t *testing.T) {
	var p Pairing
	for _, c := range []struct{ ours, peer float64 }{{4, 10}, {9, 10}, {5, 8}, {6, 12}} {
		p.Rounds = append(p.Rounds, Round{
			Ours: Phase{Frames: 1, FPS: c.ours, ServerUse: use(c.ours)}, Peer: Phase{Frames: 1, FPS: 1, ServerUse: use(c.peer)},
		})
	}
	p.Summarise(0.55)
	if p.Ours.CPUPerFrameUS != 5.5 || p.Peer.CPUPerFrameUS != 10 || p.Ratio != 0.55 || p.RatioMin != 0.4 || p.RatioMax != 0.9 || !p.Pass {
		t.Errorf("%+v", p)
	}
	if p.Summarise(0.54); p.Pass {
		t.Error("0.55 passes a limit of 0.54")
	}
	p.Rounds[0].Peer.Errors.OutOfOrder = 1
	if p.Summarise(1); p.Pass {
		t.Error("a comparison with errors passes")
	}
	var none Pairing
	if none.Summarise(1); none.Pass || none.Ratio != 0 {
		t.Errorf("no round: %+v", none)
	}
}

func TestUse(t *testing.T) {
	at := time.Unix(100, 0)
	u := Use(7, proc.Sample{At: at, CPU: time.Second, RSS: 5, FDs: 10}, proc.Sample{At: at.Add(4 * time.Second), CPU: 3 * time.Second, RSS: 9, FDs: 8}, 20, 1000, 2)
	want := ProcUse{PID: 7, CPUSeconds: 2, CPUPerFrameUS: 2000, CPUPct: 25, RSSStart: 5, RSSEnd: 9, FDs: 10, FDLimit: 20, FDShare: 50}
	if u != want {
		t.Errorf("got %+v, want %+v", u, want)
	}
	if u := Use(7, proc.Sample{At: at}, proc.Sample{At: at}, proc.Unlimited, 0, 2); u != (ProcUse{PID: 7, FDLimit: proc.Unlimited}) {
		t.Errorf("an empty window: %+v", u)
	}
}

func TestFormat(t *testing.T) {
	for in, want := range map[float64]string{
		0: "0", 3: "3", 0.7: "0.700", 0.0001: "0.0001", 0.0123456: "0.0123", 1.2345: "1.23", 9.999: "10.0", 12.345: "12.3", 123.45: "123", 999.6: "1,000", 15000: "15,000", 1234567.8: "1,234,568", -2500: "-2,500",
	} {
		if got := num(in); got != want {
			t.Errorf("num(%v) = %q, want %q", in, got, want)
		}
	}
	if num(math.NaN()) != "none" || num(math.Inf(1)) != "none" {
		t.Error("no number is shown as one")
	}
	for in, want := range map[int]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 64 << 10: "64 KiB", 3 << 29: "1.5 GiB"} {
		if got := Size(in); got != want {
			t.Errorf("Size(%d) = %q, want %q", in, got, want)
		}
	}
}

func TestProgress(t *testing.T) {
	var b strings.Builder
	at := time.Unix(0, 0)
	p := Progress{w: &b}
	for i := range 25 {
		p.Line(at.Add(time.Duration(i)*100*time.Millisecond), "x")
	}
	p.Done()
	if b.String() != "x\nx\nx\n" {
		t.Errorf("a log got %q, want one line a second", b.String())
	}
	b.Reset()
	p = Progress{w: &b, tty: true}
	p.Line(at, "longer")
	p.Line(at, "x")
	p.Done()
	if want := "\rlonger\rx     \r \r"; b.String() != want {
		t.Errorf("a terminal got %q, want %q", b.String(), want)
	}
}
