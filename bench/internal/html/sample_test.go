package html

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/drift"
	"github.com/ron-transport/ron-transport/bench/internal/gate"
	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// The reports of the tests are made up from a seed: nothing in them was measured.

func blank(kind string) *report.Report {
	return &report.Report{
		Schema: report.Schema, Kind: kind, Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Command: []string{"ronbench", "--json", "run.json"}, Pass: true,
		MeasuredOn: proc.Machine{CPUModel: "Example CPU, made up for a test", Cores: 8, MemoryBytes: 16 << 30, Kernel: "6.1.0", GoVersion: "go1.26.1", Ref: "Ref-A"},
	}
}

func sampleSeries(rng *rand.Rand, fps float64, n int) *report.Series {
	s := &report.Series{IntervalMS: 250}
	for i := range n {
		jitter := 1 + 0.04*rng.NormFloat64()
		stall := 1.0
		if i == n*2/3 {
			stall = 9
		}
		p50 := 0.15 * (1 + 0.1*rng.Float64()) * math.Sqrt(stall)
		s.Points = append(s.Points, report.Point{
			AtS: float64(i+1) / 4, FPS: fps * jitter / math.Sqrt(stall), Replies: int64(fps / 4),
			P50: p50, P99: p50 * (9 + 4*rng.Float64()) * math.Sqrt(stall), MaxMS: p50 * (60 + 50*rng.Float64()),
			ClientCPU: 1.4 * jitter, ServerCPU: 0.9 * jitter, ClientRSS: 30<<20 + int64(i)<<17, ServerRSS: 21<<20 + int64(i)<<14, ServerFDs: 61 + i%3,
		})
	}
	return s
}

func sampleCurve() []report.Quantile {
	var out []report.Quantile
	for x := 1.0; x < 9e4; x *= 1.35 {
		out = append(out, report.Quantile{Percentile: 100 - 100/x, MS: 0.08 + 0.07*math.Pow(x, 0.45)})
	}
	return append(out, report.Quantile{Percentile: 100, MS: 25.6})
}

func samplePhase(rng *rand.Rand, name, mode string, fps float64) report.Phase {
	use := func(cpu float64) *report.ProcUse {
		return &report.ProcUse{PID: 42, CPUSeconds: 3, CPUPerFrameUS: cpu, CPUPct: 37.25, RSSStart: 20 << 20, RSSEnd: 31 << 20, RSSPeak: 33 << 20, FDs: 63, FDLimit: 20000, FDShare: 0.315}
	}
	p := report.Phase{
		Name: name, Transport: "tls", Target: "127.0.0.1:1", Mode: mode, Conns: 50, Payload: 4096, WarmupS: 1, WindowS: 10,
		Sent: uint64(10 * fps), Frames: uint64(10 * fps), FPS: fps, FPSPerCore: fps / 8, GbpsEachWay: fps * 4096 * 8 / 1e9, GbpsPerCore: fps * 4096 / 1e9,
		Latency: hist.Latency{Count: 100000, MinMS: 0.08, AvgMS: 0.2, P50: 0.151, P95: 0.9, P99: 2.345, P999: 11.9, MaxMS: 25.61},
		Client:  *use(12.5), ServerUse: use(9.31), CoreBusy: []float64{71, 68, 70, 66, 71, 65, 60, 69},
		Session: report.Session{Established: 50, Resumed: 50, Suite: "TLS_AES_128_GCM_SHA256", Group: "X25519MLKEM768", Verified: "verified against --ca"},
		Series:  sampleSeries(rng, fps, 40), Curve: sampleCurve(),
	}
	if mode == report.Open {
		p.RPS, p.PaceMS = int(fps), 0.31
		p.Limit = &report.Limit{Who: report.LimitTimetable, Why: "100 % of what was due was answered"}
	} else {
		p.Depth = 16
		p.Limit = &report.Limit{Who: report.LimitClient, Why: "it used 7.1 of the 8 cores that its loops can use; the server used 3.2. The rates are lower bounds of what the server can do"}
	}
	return p
}

// sampleRun is a run with two phases, of which one misses a target.
func sampleRun() *report.Report {
	rng := rand.New(rand.NewPCG(1, 2))
	r := blank(report.KindRun)
	r.Phases = []report.Phase{samplePhase(rng, "open loop", report.Open, 15000), samplePhase(rng, "closed loop", report.Closed, 150000)}
	r.Phases[1].Errors = report.Errors{Unanswered: 3, FirstError: "the server closed the connection"}
	r.Server = &report.Server{
		Kind: "tls", Addr: "127.0.0.1:1", RanS: 25, Accepted: 102, Frames: 1234567, Failed: 1, CPUS: 11.25, RSS: 31 << 20, FDs: 63, FDLimit: 20000,
		SndBuf: 1 << 20, RcvBuf: 1 << 20, Rejected: map[string]uint64{"slow_peer": 2, "bad_frame": 1},
		Knobs: []report.Knob{
			{Name: "loops", Value: "4", Given: true}, {Name: "sndbuf", Value: "1048576", Unit: "bytes", Given: true}, {Name: "max-conns", Value: "65536"},
			{Name: "idle-timeout", Value: "60s"}, {Name: "ktls", Value: "false"}, {Name: "budget", Value: "64", Unit: "frames"},
		},
	}
	t := report.TargetsFor(r.MeasuredOn)
	r.SLOTargets, r.SLO = t.Ref, report.Judge(r.Phases, t)
	r.Pass = report.AllPass(r.SLO)
	return r
}

func samplePeers() *report.Report {
	rng := rand.New(rand.NewPCG(3, 4))
	r := blank(report.KindPeers)
	add := func(transport, workload, peer string, ours, theirs, limit float64) {
		p := report.Pairing{Transport: transport, Workload: workload, Payload: 4096, Conns: 50, Depth: 16, PeerName: peer}
		for range 5 {
			side := func(cpu float64) report.Phase {
				cpu *= 1 + 0.05*rng.NormFloat64()
				return report.Phase{Mode: report.Closed, Frames: 1000, FPS: 6e5 / cpu, ServerUse: &report.ProcUse{CPUPerFrameUS: cpu}, Latency: hist.Latency{P50: cpu / 10, P99: cpu / 2}}
			}
			p.Rounds = append(p.Rounds, report.Round{Ours: side(ours), Peer: side(theirs)})
		}
		if transport == "quic" {
			p.Rate = &report.Rate{RatioTarget: 1}
		}
		p.Summarise(limit)
		r.Compare = append(r.Compare, p)
	}
	add("tls", "4k-50x16", "net + crypto/tls", 3, 5, 0.7)
	add("tls", "4k-50x16", "nbio TLS", 3, 6, 0)
	add("tls", "4k-50x16", "tokio-rustls", 3, 3.1, 0)
	add("tcp", "4k-50x16", "gnet", 3, 2.5, 1.05)
	add("quic", "64k-stream", "quic-go", 9, 11, 0)
	r.LeftOut = []report.LeftOutPeer{{Transport: "tls", Peer: "example", Reason: "not available"}}
	r.SLO = report.JudgeRatios(r.Compare)
	r.Pass = report.AllPass(r.SLO)
	return r
}

func sampleSweep() *report.Report {
	rng := rand.New(rand.NewPCG(5, 6))
	r := blank(report.KindSweep)
	for _, knob := range []struct {
		name   string
		values []string
		gain   float64
	}{{"loops", []string{"1", "2", "4", "8"}, 0.5}, {"congestion-control", []string{"cubic, the system's", "bbr", "reno"}, 0.02}} {
		s := report.Sweep{Knob: knob.name, Load: "4 KiB frames, closed loop: the knob shows in the rate", Unit: "frame", Figure: "rate", Reference: knob.values[1], Why: "the default"}
		for i, name := range knob.values {
			v := report.SweepValue{Name: name, Proof: "the server says so"}
			for range 5 {
				rate := 60000 * (1 + knob.gain*float64(i)) * (1 + 0.03*rng.NormFloat64())
				v.Rounds = append(v.Rounds, report.SweepPoint{Rate: rate, CPU: 5e5 / rate, Writes: 0.5, Reads: 0.25, P50: 1, P99: 2e5 / rate, Memory: 20 << 20})
			}
			s.Values = append(s.Values, v)
		}
		s.Summarise()
		r.Sweep = append(r.Sweep, s)
	}
	return r
}

// sampleSoak is a soak of an hour and a half that was resumed once, in which one server leaks.
func sampleSoak() *report.Report {
	rng := rand.New(rand.NewPCG(7, 8))
	r := blank(report.KindSoak)
	s := &report.Soak{DurationS: 5400, ElapsedS: 5400, WarmupS: 900, Segments: []float64{0, 2000}, Mix: "4096:90,65536:10", Seed: 1,
		CPULow: 60, CPUHigh: 70, CPUMean: 64.5, InBand: 81, Others: 2, Rate: 2000,
		Loads: []report.SoakLoad{{Transport: "quic", Frames: 1000, Conns: 20, Asked: 10, Resumed: 10}, {Transport: "tls", Frames: 2000, Conns: 30, Asked: 15, Resumed: 15}},
		Chaos: report.SoakChaos{Certificates: 11, Reloads: 22, TicketKeys: 4, Resets: 5000, Crowd: 60, CrowdEnded: 48},
	}
	add := func(name, unit, kind string, a drift.Allowance, step float64, v func(t float64) float64) {
		o := report.SoakSeries{Name: name, Unit: unit, Kind: kind, Allowance: a}
		var points [2][]drift.Point
		for t := step; t < s.ElapsedS; t += step {
			y := v(t) * (1 + 0.01*rng.NormFloat64())
			o.T, o.V = append(o.T, t), append(o.V, y)
			k := 0
			if t >= s.Segments[1] {
				k = 1
			}
			points[k] = append(points[k], drift.Point{T: t, V: y})
		}
		if kind == "" {
			s.Shown = append(s.Shown, o)
			return
		}
		o.Result = drift.Judge(points[:], s.WarmupS, a)
		s.Judge = append(s.Judge, o)
	}
	flat := func(v float64) func(float64) float64 { return func(float64) float64 { return v } }
	memory, few := drift.Allowance{Floor: 16 << 20, Share: 0.1}, drift.Allowance{Floor: 16, Share: 0.2}
	for i, who := range []string{"load", "quic server", "tls server", "tor server"} {
		rate, level := 0.0, float64((100-20*i)<<20)
		if who == "tls server" {
			rate = 40 << 10
		}
		add(who+" rss", "B", report.Leak, memory, 30, func(t float64) float64 { return level + rate*t })
		add(who+" fds", "count", report.Leak, few, 30, flat(float64(100-20*i)))
	}
	add("tls p99", "ms", report.Drift, drift.Allowance{Floor: 5, Share: 0.5}, 37, flat(4))
	add("quic p99", "ms", report.Drift, drift.Allowance{Floor: 5, Share: 0.5}, 41, flat(9))
	add("tor p99", "ms", report.Drift, drift.Allowance{Floor: 5, Share: 0.5}, 500, flat(200))
	add(report.SoakCPU, "%", "", drift.Allowance{}, 30, flat(65))
	add(report.SoakOthers, "%", "", drift.Allowance{}, 30, flat(2))
	add(report.SoakRate, "requests/s", "", drift.Allowance{}, 30, flat(2000))
	slices.SortFunc(s.Judge, func(a, b report.SoakSeries) int { return strings.Compare(a.Name, b.Name) })
	r.Soak, r.SLO = s, report.JudgeSoak(s, report.TargetsFor(r.MeasuredOn))
	r.Pass = report.AllPass(r.SLO)
	return r
}

// sampleRest has the kinds that are shown as tables.
func sampleRest() *report.Report {
	r := blank(report.KindStorm)
	contrast := report.Contrast{
		Rounds: []report.ContrastRound{{Quiet: hist.Latency{Count: 100, P50: 0.2, P99: 1}, Loud: hist.Latency{Count: 100, P50: 0.3, P99: 1.5},
			QuietCPU: []report.CPUShare{{Process: "server", Pct: 38}}, LoudCPU: []report.CPUShare{{Process: "server", Pct: 97}}}},
		Load: report.Phase{Name: "steady", Mode: report.Open, RPS: 2000, Conns: 10, Payload: 1024, WindowS: 3, Frames: 6000, FPS: 2000},
	}
	contrast.Summarise()
	r.Storm = &report.Storm{Contrast: contrast, Rate: 200, Group: "X25519MLKEM768"}
	r.Loris = &report.Loris{Contrast: contrast, Hostile: 500, Memory: []report.LorisState{{AtS: 1, What: "with the crowd", RSS: 55 << 20, FDs: 560, Conns: 500}}, Ends: map[string]uint64{"slow_peer": 500}}
	r.Restart = &report.Restart{Servers: 2, Quiet: hist.Latency{Count: 10, P50: 0.2}, Windows: []hist.Latency{{Count: 10, P50: 0.4}}, TookS: []float64{0.3}, Frames: 20}
	r.Idle = []report.Idle{{Server: "tls", Conns: 10000, RSSBefore: 10 << 20, RSSAfter: 60 << 20, BytesPerConn: 5242, FDs: 10012, FDLimit: 20000, HandshakeRate: 2500, EchoChecked: 100}}
	r.Check = &report.Check{Crate: "ron-transport", Machine: "Ref-A", Stat: "median", Runs: []gate.Values{{"tls_small_p95_ms": 1}}, Medians: gate.Values{"tls_small_p95_ms": 1},
		Rows: []gate.Row{{Key: "tls_small_p95_ms", Unit: "ms", Baseline: 0.8, Measured: 1, Limit: 0.88, Change: 25}}}
	return r
}
