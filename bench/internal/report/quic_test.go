package report

import (
	"bytes"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/quic"
)

// quicPhases are an open loop and a one-way load over QUIC.
func quicPhases() []Phase {
	ps := phases()
	open, way := ps[0], ps[1]
	open.Name, open.Transport, open.Streams, open.Payload, open.RPS, open.Frames, open.FPS = "QUIC open loop", "quic", 4, 16<<10, 1500, 8999, 1499.8
	open.Latency.P95, open.Latency.P99, open.Session.AESGCM = 3.5, 9, "" // quic-go encrypts with crypto/cipher
	way.Name, way.Transport, way.Streams, way.Mode, way.Depth, way.Payload = "QUIC one way", "quic", 1, OneWay, 0, 64<<10
	way.Confirmed, way.GbpsEachWay, way.Errors, way.Latency = 27000, 2.345, Errors{}, hist.Latency{}
	way.ServerUse, way.Session.Early = use(105), 8
	return []Phase{open, way}
}

func quicPairings() []Pairing {
	pairing := func(name string, rate Rate, limit float64) Pairing {
		p := Pairing{Workload: name, Payload: 64 << 10, Conns: 8, Streams: 16, PeerName: "quic-go", Rate: &rate}
		for i, ours := range []float64{45, 50, 40} {
			a, b := phases()[1], phases()[1]
			a.Errors, b.Errors = Errors{}, Errors{}
			a.ServerUse, b.ServerUse = use(ours), use(100)
			a.FPS, b.FPS = 5000+float64(i), 2400
			a.GbpsEachWay, b.GbpsEachWay = 2.6, 1.25
			a.Latency.P95, a.Latency.P99 = 3, 21
			a.ServerUse.RSSPeak, a.Client.RSSPeak, b.ServerUse.RSSPeak = 100<<20, 200<<20, 150<<20
			p.Rounds = append(p.Rounds, Round{Ours: a, Peer: b, OursFirst: i%2 == 0})
		}
		p.Summarise(limit)
		return p
	}
	return []Pairing{
		pairing("64k-8x16", Rate{RatioTarget: 2}, 0.65),
		pairing("64k-1x32", Rate{RatioTarget: 2.1}, 0.65),
		pairing("16k-open", Rate{P95Target: 7, P99Target: 20}, 0),
		pairing("64k-one-way", Rate{GbpsTarget: 2.2}, 0),
	}
}

func TestTextOfQUIC(t *testing.T) {
	var b bytes.Buffer
	r := &Report{MeasuredOn: proc.Machine{CPUModel: "Some CPU", Cores: 2, MemoryBytes: 8 << 30, Kernel: "6.1.0", GoVersion: "go1.26"}, Phases: quicPhases(), Compare: quicPairings()}
	r.Server = &Server{Kind: "quic", Addr: "127.0.0.1:1", RanS: 15.2, Accepted: 102, Streams: 408, Frames: 1234567, CPUS: 11.25, RSS: 31 << 20, FDs: 12, FDLimit: 20000,
		SndBuf: 14 << 20, RcvBuf: 14 << 20, QUIC: &quic.Stats{}, Offload: &quic.Offload{GRO: true, GSO: true}}
	r.SLOTargets = "Ref-A"
	r.SLO = append(Judge(r.Phases, TargetsFor(r.MeasuredOn)), JudgeRatios(r.Compare)...)
	r.Text(&b)
	golden(t, "quic.txt", b.Bytes())

	path := filepath.Join(t.TempDir(), "r.json")
	if err := r.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	if got, err := Read(path); err != nil || !reflect.DeepEqual(got, r) {
		t.Errorf("%v; read %+v\nwrote %+v", err, got, r)
	}
}

// Each target over QUIC is judged for itself, and what has none is not.
func TestJudgeQUIC(t *testing.T) {
	verdicts := func(rows []SLORow) map[string]Verdict {
		out := map[string]Verdict{}
		for _, r := range rows {
			out[r.Phase+"/"+r.ID] = r.Verdict
		}
		return out
	}
	targets := TargetsFor(proc.Machine{Cores: 2})
	for id, v := range verdicts(Judge(quicPhases(), targets)) {
		if v != Passed {
			t.Errorf("%s: %s", id, v)
		}
	}
	for _, c := range []struct {
		id    string
		spoil func(ps []Phase)
	}{
		{"QUIC open loop/quic_1rtt_p95", func(ps []Phase) { ps[0].Latency.P95 = 7.1 }},
		{"QUIC open loop/quic_1rtt_p99", func(ps []Phase) { ps[0].Latency.P99 = 20.1 }},
		{"QUIC open loop/memory", func(ps []Phase) { ps[0].ServerUse.RSSPeak = 3 << 29 }},
		{"QUIC one way/quic_stream_64k_gbps", func(ps []Phase) { ps[1].GbpsEachWay = 2.19 }},
		{"QUIC one way/errors", func(ps []Phase) { ps[1].Errors.Unanswered = 1 }},
	} {
		ps := quicPhases()
		c.spoil(ps)
		if v := verdicts(Judge(ps, targets))[c.id]; v != Failed {
			t.Errorf("%s: %q where the limit was exceeded", c.id, v)
		}
	}
	tls := quicPhases()[1:]
	tls[0].Transport, tls[0].GbpsEachWay = "tls", 1.9
	if v := verdicts(Judge(tls, targets))["QUIC one way/tls_stream_64k_gbps"]; v != Failed {
		t.Errorf("1.9 Gb/s over TLS: %q", v)
	}
	got := verdicts(JudgeRatios(quicPairings()))
	want := map[string]Verdict{
		"64k-8x16/cpu_ratio": Passed, "64k-8x16/fps_ratio": Passed, "64k-1x32/cpu_ratio": Passed, "64k-1x32/fps_ratio": Failed,
		"16k-open/quic_1rtt_p95": Passed, "16k-open/quic_1rtt_p99": Failed, "64k-one-way/quic_stream_64k_gbps": Passed,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// A comparison passes only with all its rows, and without errors.
func TestSummariseBothEnds(t *testing.T) {
	ps := quicPairings()
	p := ps[0]
	if r := p.Rate; !p.Pass || p.Ratio != 0.45 || r.Ratio < 2.08 || r.RatioMin != 5000.0/2400 || r.RatioMax != 5002.0/2400 ||
		p.Ours.Gbps != 2.6 || p.Ours.ServerPeak != 100<<20 || p.Ours.ClientPeak != 200<<20 || p.Ours.ClientCPU != 4.25 {
		t.Errorf("%+v, %+v", p, p.Rate)
	}
	if ps[1].Pass || ps[2].Pass || !ps[3].Pass {
		t.Errorf("passed: %v, %v, %v", ps[1].Pass, ps[2].Pass, ps[3].Pass)
	}
	p.Rounds[0].Peer.Errors.OutOfOrder = 1
	if p.Summarise(0.65); p.Pass || JudgeRatios([]Pairing{p})[2].Verdict != Failed {
		t.Error("a comparison with errors passes")
	}
}
