package report

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Pairing is one workload of a comparison with one peer.
type Pairing struct {
	Transport string  `json:"transport,omitempty"` // tls, tcp, quic
	Workload  string  `json:"workload"`
	Payload   int     `json:"payload_bytes"`
	Conns     int     `json:"conns"`
	Streams   int     `json:"streams,omitempty"` // of each connection, on QUIC
	Depth     int     `json:"depth"`
	RPS       int     `json:"rps,omitempty"`     // open loop
	OneWay    bool    `json:"one_way,omitempty"` // events without replies: there is no latency
	Rounds    []Round `json:"rounds"`
	Ours      Side    `json:"ours"` // of several peers in one run: the same rounds for all of them
	Peer      Side    `json:"peer"`
	PeerName  string  `json:"peer_name"`

	Ratio    float64 `json:"ratio"`       // of the medians of server CPU per frame, ours / peer
	RatioMin float64 `json:"ratio_min"`   // of the rounds' pairwise ratios
	RatioMax float64 `json:"ratio_max"`   //
	Target   float64 `json:"ratio_limit"` // the ratio must not exceed this; 0: it is not judged
	Pass     bool    `json:"pass"`

	// Where both ends are compared, as on QUIC: the rates as well.
	Rate *Rate `json:"rate,omitempty"`
}

// Rate compares how much both sides carry, and how fast.
type Rate struct {
	Ratio    float64 `json:"fps_ratio"` // of the medians of frames per second, ours / peer
	RatioMin float64 `json:"fps_ratio_min"`
	RatioMax float64 `json:"fps_ratio_max"`

	// What ours must reach; 0: not judged.
	RatioTarget float64 `json:"fps_ratio_target,omitempty"`
	GbpsTarget  float64 `json:"gbps_target,omitempty"`
	P95Target   float64 `json:"p95_ms_target,omitempty"`
	P99Target   float64 `json:"p99_ms_target,omitempty"`
}

// Round is one pair of measurements.
type Round struct {
	Ours      Phase `json:"ours"`
	Peer      Phase `json:"peer"`
	OursFirst bool  `json:"ours_first"`
}

// MarshalJSON writes the round without what is of single intervals. A comparison has hundreds of phases, which are looked at by their sums: with
// their series its document would be some hundred times as long.
func (r Round) MarshalJSON() ([]byte, error) {
	type plain Round // without this method
	r.Ours, r.Peer = r.Ours.brief(), r.Peer.brief()
	return json.Marshal(plain(r))
}

// brief is the phase without its series and its curve.
func (p Phase) brief() Phase {
	p.Series, p.Curve = nil, nil
	return p
}

// Side is the medians of one side over all rounds.
type Side struct {
	CPUPerFrameUS float64 `json:"server_cpu_us_per_frame"`
	CPUMin        float64 `json:"server_cpu_us_per_frame_min,omitempty"` // of the rounds
	CPUMax        float64 `json:"server_cpu_us_per_frame_max,omitempty"`
	FPS           float64 `json:"fps"`
	FPSPerCore    float64 `json:"fps_core,omitempty"`
	P50           float64 `json:"p50_ms"`
	P95           float64 `json:"p95_ms,omitempty"`
	P99           float64 `json:"p99_ms"`
	ClientCPU     float64 `json:"client_cpu_us_per_frame,omitempty"`
	Gbps          float64 `json:"gbps,omitempty"`
	GbpsPerCore   float64 `json:"gbps_core,omitempty"`
	ServerPeak    int64   `json:"server_rss_peak_bytes,omitempty"` // the largest of all rounds
	ClientPeak    int64   `json:"client_rss_peak_bytes,omitempty"`
	Errors        uint64  `json:"errors"`           // sum
	Session       Session `json:"session,omitzero"` // what all rounds negotiated; established and resumed are sums
}

// LeftOutPeer is a peer that is not, or not wholly, in a comparison.
type LeftOutPeer struct {
	Transport string `json:"transport"`
	Peer      string `json:"peer_name"`
	Reason    string `json:"reason"`
}

// Summarise computes the medians, the ratio and its spread from the rounds, and judges the ratio by limit.
func (p *Pairing) Summarise(limit float64) {
	p.Target = limit
	var ratios []float64
	ours, peer := make([]Phase, 0, len(p.Rounds)), make([]Phase, 0, len(p.Rounds))
	for i := range p.Rounds {
		r := &p.Rounds[i]
		ours, peer = append(ours, r.Ours), append(peer, r.Peer)
		if r.Ours.ServerUse != nil && r.Peer.ServerUse != nil {
			ratios = append(ratios, ratio(r.Ours.ServerUse.CPUPerFrameUS, r.Peer.ServerUse.CPUPerFrameUS))
		}
	}
	p.Ours, p.Peer = sideOf(ours), sideOf(peer)
	p.Ratio = ratio(p.Ours.CPUPerFrameUS, p.Peer.CPUPerFrameUS)
	if len(ratios) > 0 {
		p.RatioMin, p.RatioMax = slices.Min(ratios), slices.Max(ratios)
	}
	if p.Rate != nil {
		p.Rate.summarise(p)
	}
	p.Pass = p.Ratio > 0 && p.errors() == 0 && AllPass(p.rows())
}

func (t *Rate) summarise(p *Pairing) {
	var ratios []float64
	for i := range p.Rounds {
		ratios = append(ratios, ratio(p.Rounds[i].Ours.FPS, p.Rounds[i].Peer.FPS))
	}
	t.Ratio = ratio(p.Ours.FPS, p.Peer.FPS)
	if len(ratios) > 0 {
		t.RatioMin, t.RatioMax = slices.Min(ratios), slices.Max(ratios)
	}
}

// ratio is 0, which no measurement gives, when there is nothing to compare with.
func ratio(a, b float64) float64 {
	if b <= 0 || a <= 0 {
		return 0
	}
	return a / b
}

func sideOf(ps []Phase) Side {
	var cpu, client, fps, gbps, fpsCore, gbpsCore, p50, p95, p99 []float64
	var s Side
	for i := range ps {
		p := &ps[i]
		if p.ServerUse != nil && p.Frames > 0 {
			cpu = append(cpu, p.ServerUse.CPUPerFrameUS)
		}
		if p.ServerUse != nil {
			s.ServerPeak = max(s.ServerPeak, p.ServerUse.RSSPeak)
		}
		s.ClientPeak = max(s.ClientPeak, p.Client.RSSPeak)
		fps, gbps, client = append(fps, p.FPS), append(gbps, p.GbpsEachWay), append(client, p.Client.CPUPerFrameUS)
		fpsCore, gbpsCore = append(fpsCore, p.FPSPerCore), append(gbpsCore, p.GbpsPerCore)
		s.Session.Add(&p.Session)
		p50, p95, p99 = append(p50, p.Latency.P50), append(p95, p.Latency.P95), append(p99, p.Latency.P99)
		s.Errors += p.Errors.Total()
	}
	s.CPUPerFrameUS, s.FPS, s.P50, s.P95, s.P99 = Median(cpu), Median(fps), Median(p50), Median(p95), Median(p99)
	s.ClientCPU, s.Gbps = Median(client), Median(gbps)
	s.FPSPerCore, s.GbpsPerCore = Median(fpsCore), Median(gbpsCore)
	if len(cpu) > 0 {
		s.CPUMin, s.CPUMax = slices.Min(cpu), slices.Max(cpu)
	}
	return s
}

// Add counts the connections of o, and keeps each suite, group, implementation and way of verification that occurs.
func (s *Session) Add(o *Session) {
	s.Established, s.Resumed, s.Early = s.Established+o.Established, s.Resumed+o.Resumed, s.Early+o.Early
	for _, f := range []struct {
		all *string
		one string
	}{{&s.Suite, o.Suite}, {&s.Group, o.Group}, {&s.AESGCM, o.AESGCM}, {&s.Verified, o.Verified}} {
		if f.one != "" && !slices.Contains(strings.Split(*f.all, " or "), f.one) {
			*f.all = strings.TrimPrefix(*f.all+" or "+f.one, " or ")
		}
	}
}

// Median of v; 0 when v is empty. v is left as it was.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	m := len(s) / 2
	if len(s)%2 == 1 {
		return s[m]
	}
	return (s[m-1] + s[m]) / 2
}

// judged says whether anything in the pairing has a limit. Where nothing has, the peer is shown, and its faults are its own.
func (p *Pairing) judged() bool { return p.Target != 0 || p.Rate != nil }

// errors are those that ours is held to.
func (p *Pairing) errors() uint64 {
	if !p.judged() {
		return p.Ours.Errors
	}
	return p.Ours.Errors + p.Peer.Errors
}

// Phase names the pairing in the table of targets: its transport and its workload.
func (p *Pairing) Phase() string { return strings.TrimSpace(p.Transport + " " + p.Workload) }

// RoundsRow is the row of a comparison with one peer that was to have so many rounds.
func RoundsRow(transport, workload, peer string, have, want int) SLORow {
	p := Pairing{Transport: transport, Workload: workload}
	return row("rounds", p.Phase(), "rounds against "+peer, ">=", float64(want), float64(have), "count")
}

// JudgeRatios makes the rows of a comparison.
func JudgeRatios(ps []Pairing) []SLORow {
	var rows []SLORow
	for i := range ps {
		p := &ps[i]
		rows = append(rows, p.rows()...)
		if n := p.errors(); n > 0 {
			what := "requests without a right echo, both sides"
			if !p.judged() {
				what = "requests without a right echo, ours"
			}
			rows = append(rows, row("errors", p.Phase(), what, "<=", 0, float64(n), "count"))
		}
	}
	return rows
}

// rows judges what has a target.
func (p *Pairing) rows() []SLORow {
	var rows []SLORow
	add := func(id, what, op string, target, measured float64, unit string) {
		if target == 0 {
			return
		}
		r := row(id, p.Phase(), what, op, target, measured, unit)
		if measured <= 0 {
			r.Verdict = Failed // no measurement gives that
		}
		r.Measured = math.Round(measured*1000) / 1000
		rows = append(rows, r)
	}
	add("cpu_ratio", "server CPU per frame, ours / "+p.PeerName, "<=", p.Target, p.Ratio, "")
	if t := p.Rate; t != nil {
		add("fps_ratio", "frames per second, ours / "+p.PeerName, ">=", t.RatioTarget, t.Ratio, "")
		add("quic_stream_64k_gbps", "payload one way, "+Size(p.Payload), ">=", t.GbpsTarget, p.Ours.Gbps, "Gb/s")
		add("quic_1rtt_p95", "p95, QUIC 1-RTT, "+Size(p.Payload), "<=", t.P95Target, p.Ours.P95, "ms")
		add("quic_1rtt_p99", "p99, QUIC 1-RTT, "+Size(p.Payload), "<=", t.P99Target, p.Ours.P99, "ms")
	}
	return rows
}

func compareTable(ps []Pairing) *table {
	t := &table{left: map[int]bool{0: true, 10: true}}
	t.add("workload", "CPU/frame ours", "peer", "ratio", "spread", "limit", "fps ours", "peer", "p50/p99 ours", "peer", "")
	for i := range ps {
		p := &ps[i]
		verdict := Failed
		if p.Pass {
			verdict = Passed
		}
		if n := p.Ours.Errors + p.Peer.Errors; n > 0 {
			verdict += Verdict(fmt.Sprintf(" (%d errors)", n))
		}
		t.add(p.Workload, num(p.Ours.CPUPerFrameUS)+" µs", num(p.Peer.CPUPerFrameUS)+" µs", num(p.Ratio),
			num(p.RatioMin)+"–"+num(p.RatioMax), orDash(p.Target), num(p.Ours.FPS), num(p.Peer.FPS),
			num(p.Ours.P50)+"/"+num(p.Ours.P99)+" ms", num(p.Peer.P50)+"/"+num(p.Peer.P99)+" ms", string(verdict))
	}
	return t
}

// orDash is a limit, where there is one.
func orDash(v float64) string {
	if v == 0 {
		return "-"
	}
	return num(v)
}

// rateTable is the second half of the table where both ends are compared.
func rateTable(ps []Pairing) *table {
	t := &table{left: map[int]bool{0: true}}
	for i := range ps {
		p := &ps[i]
		if p.Rate == nil {
			continue
		}
		if len(t.rows) == 0 {
			t.add("")
			t.add("workload", "Gb/s ours", "peer", "fps ratio", "spread", "target", "client CPU/frame ours", "peer", "p95 ours", "peer",
				"peak memory, server/client ours", "peer")
		}
		t.add(p.Workload, num(p.Ours.Gbps), num(p.Peer.Gbps), num(p.Rate.Ratio), num(p.Rate.RatioMin)+"–"+num(p.Rate.RatioMax),
			orDash(p.Rate.RatioTarget), num(p.Ours.ClientCPU)+" µs", num(p.Peer.ClientCPU)+" µs", num(p.Ours.P95)+" ms", num(p.Peer.P95)+" ms",
			p.Ours.peaks(), p.Peer.peaks())
	}
	return t
}

func (s *Side) peaks() string {
	return fmt.Sprintf("%s/%s", Size(int(s.ServerPeak)), Size(int(s.ClientPeak)))
}
