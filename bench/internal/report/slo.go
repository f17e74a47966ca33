package report

import (
	"fmt"
	"strings"

	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/framer"
)

// Verdict of a row.
type Verdict string

const (
	Passed Verdict = "pass" // the measured value is within the target
	Failed Verdict = "FAIL" // it is not
	Info   Verdict = "info" // shown for orientation; has no target in this run
	// LeftOut is a target that this run could not, or was told not to, measure. The row says why.
	LeftOut Verdict = "left out"
)

// SLORow is one target and what was measured against it.
type SLORow struct {
	ID       string  `json:"id"`
	What     string  `json:"what"`
	Op       string  `json:"op,omitempty"` // <=, <, >=
	Target   float64 `json:"target"`
	Measured float64 `json:"measured"`
	Unit     string  `json:"unit"`
	Verdict  Verdict `json:"verdict"`
	Phase    string  `json:"phase"`

	PerCore    float64 `json:"per_core,omitempty"`    // rates: Measured, which is the node's, divided by the machine's cores
	LowerBound bool    `json:"lower_bound,omitempty"` // rates: the server was not what limited them
	Why        string  `json:"why,omitempty"`         // of a row that is left out, or of a lower bound
}

// Targets are the seed's figures for one reference node (seed sections 1.2 to 1.4).
type Targets struct {
	Ref          string
	ResumedP95MS float64
	ResumedP99MS float64
	ColdP95MS    float64 // TLS, a connection of its own for the request
	ColdP99MS    float64
	InterP95MS   float64 // TLS, 16 KiB, between regions: at an emulated or measured round trip
	InterP99MS   float64
	SmallFPS     float64
	StreamGbps   float64
	QUICP95MS    float64 // 1-RTT, 16 KiB
	QUICP99MS    float64
	QUICGbps     float64 // 64 KiB, one way
	TorP95MS     float64 // HELLO over a fresh onion connection
	TorP99MS     float64
	TorFPS       float64 // small frames over Tor
	Failures     float64 // per cent of requests, 5xx of the transport
	Rejections   float64 // per cent of requests, 429 and 503
	Overflow     float64 // per cent of frames, refused by the server for a full queue
	CPUPct       float64 // per core
	MemoryBytes  float64
	FDPct        float64 // of the soft limit
	RateKept     float64 // share of the timetable that must have been answered, per cent
	Errors       float64 // any request without its echo
}

const gib = 1 << 30

// Targets of QUIC. The p95 is the seed's for Ref-B, which the project holds itself to everywhere; the rate is Ref-A's.
const (
	QUICP95MS = 7
	QUICP99MS = 20
	QUICGbps  = 2.2
)

// TargetsFor are the targets that a machine is held to: Ref-B's with 16 vCPU, Ref-A's everywhere else.
func TargetsFor(m proc.Machine) Targets {
	t := Targets{
		Ref: "Ref-A", ResumedP95MS: 12, ResumedP99MS: 25, SmallFPS: 15000, StreamGbps: 2.0,
		ColdP95MS: 80, ColdP99MS: 150, InterP95MS: 120, InterP99MS: 200,
		QUICP95MS: QUICP95MS, QUICP99MS: QUICP99MS, QUICGbps: QUICGbps,
		TorP95MS: 900, TorP99MS: 1500, TorFPS: 1200,
		Failures: 0.1, Rejections: 1, Overflow: 0.01, CPUPct: 75, MemoryBytes: 1.5 * gib, FDPct: 60, RateKept: 99,
	}
	if m.Ref == "Ref-B" {
		t.Ref, t.ResumedP95MS, t.SmallFPS, t.StreamGbps, t.QUICGbps = "Ref-B", 8, 30000, 3.5, 3.8
		t.ColdP95MS = 60
		t.InterP95MS, t.TorP95MS, t.TorFPS = 90, 700, 2000
	}
	return t
}

// Payload sizes the seed's throughput rows speak of.
const (
	smallMin   = 1 << 10
	smallMax   = 4 << 10
	streamSize = 64 << 10
)

// Judge makes the rows that apply to the phases of a run over TLS, QUIC and Tor.
func Judge(phases []Phase, t Targets) []SLORow {
	var rows []SLORow
	for i := range phases {
		p, from := &phases[i], len(rows)
		switch {
		case p.Cold != nil && p.Mode == Closed:
			rows = append(rows, t.latency(p)...)
		case p.Mode == Hello:
			rows = append(rows, t.hello(p)...)
		case p.Mode == Open:
			rows = append(rows, t.open(p)...)
		case p.Mode == OneWay:
			rows = append(rows, t.oneWay(p)...)
		default:
			rows = append(rows, t.closed(p)...)
		}
		rows = append(rows, row("errors", p.Name, "requests without a right echo", "<=", t.Errors, float64(p.Errors.Total()), "count"))
		excuse(rows[from:], p)
	}
	return rows
}

// JudgeServers makes the rows about what servers have counted in the whole of a run: the seed's overflow of the queues towards the host (§1.4). A frame that
// finds the handlers' permits, or the node's room, used up is such a one. Servers that count no frames, and nil ones, have no row. Any goroutine.
func JudgeServers(t Targets, servers ...*Server) []SLORow {
	var rows []SLORow
	for _, s := range servers {
		if s == nil || s.Frames == 0 {
			continue
		}
		full := s.Rejected[framer.InflightExceeded.String()] + s.Rejected[framer.OverCapacity.String()]
		rows = append(rows, row("bus_overflow", s.Kind+" server", "frames that found a queue towards the host full", "<", t.Overflow, pct(float64(full), float64(s.Frames+full)), "%"))
	}
	return rows
}

// excuse says of rows that have failed when it was not the server that was the limit. They have failed all the same: the target is not shown.
func excuse(rows []SLORow, p *Phase) {
	if p.Limit == nil || p.Limit.Who != LimitClient && p.Limit.Who != LimitMachine {
		return
	}
	for i := range rows {
		if r := &rows[i]; r.Verdict == Failed && r.Why == "" && r.ID != "errors" {
			r.Why = "the " + p.Limit.Who + " was the limit"
		}
	}
}

// open rows hold at the target load: latency, error budget, resource ceilings.
func (t Targets) open(p *Phase) []SLORow {
	due := float64(p.RPS) * p.WindowS
	name := p.Name
	e := &p.Errors
	rows := append(t.latency(p),
		row("rate_kept", name, "replies per request due", ">=", t.RateKept, pct(float64(p.Frames), due), "%"),
		row("transport_5xx", name, "transport failures (5xx)", "<", t.Failures, pct(float64(e.Transport5xx), due), "%"),
		row("rejected", name, "429 and 503", "<", t.Rejections, pct(float64(e.Rejected429+e.Rejected503), due), "%"))
	if u := p.ServerUse; u != nil {
		rows = append(rows,
			row("cpu_at_target", name, "server CPU per core", "<", t.CPUPct, u.CPUPct, "%"),
			row("memory", name, "server memory (RSS)", "<", t.MemoryBytes/gib, float64(max(u.RSSStart, u.RSSEnd, u.RSSPeak))/gib, "GiB"),
			row("descriptors", name, "server descriptors of soft limit", "<", t.FDPct, u.FDShare, "%"))
	}
	return rows
}

// latency rows of an open loop.
func (t Targets) latency(p *Phase) []SLORow {
	if p.Cold != nil {
		return t.cold(p)
	}
	if len(p.BySize) > 0 {
		return mixed(p)
	}
	if p.Transport == "tor" { // the seed has no latency of frames over Tor
		r := row("tor_p95", p.Name, "p95, Tor, "+Size(p.Payload), "", 0, p.Latency.P95, "ms")
		r.Verdict = Info
		return []SLORow{r}
	}
	if p.RTTms > 0 {
		return t.interRegion(p)
	}
	if overQUIC(p) {
		what := "QUIC 1-RTT, " + Size(p.Payload)
		return []SLORow{
			row("quic_1rtt_p95", p.Name, "p95, "+what, "<=", t.QUICP95MS, p.Latency.P95, "ms"),
			row("quic_1rtt_p99", p.Name, "p99, "+what, "<=", t.QUICP99MS, p.Latency.P99, "ms"),
		}
	}
	kind := "TLS resumed"
	if p.Session.Resumed < p.Session.Established {
		kind = fmt.Sprintf("TLS, %d of %d resumed", p.Session.Resumed, p.Session.Established)
	}
	what := fmt.Sprintf("%s, %s", kind, Size(p.Payload))
	return []SLORow{
		row("tls_resumed_p95", p.Name, "p95, "+what, "<=", t.ResumedP95MS, p.Latency.P95, "ms"),
		row("tls_resumed_p99", p.Name, "p99, "+what, "<=", t.ResumedP99MS, p.Latency.P99, "ms"),
	}
}

// interRegion rows are those of a path with a round trip, which they name. The seed has figures for TLS; other transports are shown beside them and not judged.
func (t Targets) interRegion(p *Phase) []SLORow {
	what := fmt.Sprintf("%s inter-region, %s, round trip %s ms", strings.ToUpper(p.Transport), Size(p.Payload), num(p.RTTms))
	rows := []SLORow{
		row("interregion_p95", p.Name, "p95, "+what, "<=", t.InterP95MS, p.Latency.P95, "ms"),
		row("interregion_p99", p.Name, "p99, "+what, "<=", t.InterP99MS, p.Latency.P99, "ms"),
	}
	if p.Transport != "tls" {
		unjudged(rows)
	}
	return rows
}

// cold rows are about the first request of a fresh connection, its reply included; the handshake alone is shown. A closed loop begins a
// connection when it likes, so it is not judged; nor is a transport, or a path between regions, for which the seed has no figure.
func (t Targets) cold(p *Phase) []SLORow {
	what := fmt.Sprintf("%s cold, %s", strings.ToUpper(p.Transport), p.sizes())
	rows := []SLORow{
		row(p.Transport+"_cold_p95", p.Name, "p95, "+what, "<=", t.ColdP95MS, p.Latency.P95, "ms"),
		row(p.Transport+"_cold_p99", p.Name, "p99, "+what, "<=", t.ColdP99MS, p.Latency.P99, "ms"),
		row(p.Transport+"_handshake_p95", p.Name, "p95, the handshake alone", "", 0, p.Cold.Handshake.P95, "ms"),
		rate(p, row("fresh_conns", p.Name, "fresh connections per second", "", 0, p.FPS, "/s"), p.FPSPerCore),
	}
	unjudged(rows[2:])
	if p.Transport != "tls" || p.Mode != Open || p.RTTms > 0 {
		unjudged(rows[:2])
	}
	return rows
}

// mixed rows show the latency of each size: the seed has no figure for it.
func mixed(p *Phase) []SLORow {
	var rows []SLORow
	for _, s := range p.BySize {
		what := fmt.Sprintf("p95, %s of a mixed load", Size(s.Payload))
		rows = append(rows, row("mixed_p95", p.Name, what, "", 0, s.Latency.P95, "ms"))
	}
	unjudged(rows)
	return rows
}

// rate completes the row of a rate: what it is per core, and whether the server was what limited it.
func rate(p *Phase, r SLORow, perCore float64) SLORow {
	r.PerCore = perCore
	if p.lowerBound() {
		r.LowerBound, r.Why = true, "the "+p.Limit.Who+" was the limit"
	}
	return r
}

// unjudged makes rows that are shown for orientation.
func unjudged(rows []SLORow) {
	for i := range rows {
		rows[i].Op, rows[i].Target, rows[i].Verdict = "", 0, Info
	}
}

// hello rows are about fresh onion connections. Those that share a circuit are shown and not judged: the seed's figure is for connections that
// have everything before them.
func (t Targets) hello(p *Phase) []SLORow {
	rows := []SLORow{
		row("tor_hello_p95", p.Name, "p95, dial to HELLO's reply", "<=", t.TorP95MS, p.Latency.P95, "ms"),
		row("tor_hello_p99", p.Name, "p99, dial to HELLO's reply", "<=", t.TorP99MS, p.Latency.P99, "ms"),
	}
	if p.Circuits < p.Conns {
		unjudged(rows)
	}
	return rows
}

// overQUIC says whether a phase ran over QUIC.
func overQUIC(p *Phase) bool { return p.Transport == "quic" }

// oneWay rows are about streaming: Gb/s of payload that arrived. Other sizes than the seed's are shown and not judged.
func (t Targets) oneWay(p *Phase) []SLORow {
	id, target := "tls_stream_64k_gbps", t.StreamGbps
	if overQUIC(p) {
		id, target = "quic_stream_64k_gbps", t.QUICGbps
	}
	r := rate(p, row(id, p.Name, "payload one way, "+p.sizes(), ">=", target, p.GbpsEachWay, "Gb/s"), p.GbpsPerCore)
	if p.Payload != streamSize {
		r.ID, r.Op, r.Target, r.Verdict = "gbps", "", 0, Info
	}
	return []SLORow{r}
}

// closed rows are about the maximum: frames per second for small frames, Gb/s for streaming chunks.
func (t Targets) closed(p *Phase) []SLORow {
	var rows []SLORow
	if p.Transport == "tor" {
		return append(rows, rate(p, row("tor_small_frames_fps", p.Name, "small frames over Tor, "+p.sizes(), ">=", t.TorFPS, p.FPS, "fps"), p.FPSPerCore))
	}
	if p.Payload >= smallMin && p.Payload <= smallMax {
		rows = append(rows, rate(p, row("small_frames_fps", p.Name, "small frames, "+p.sizes(), ">=", t.SmallFPS, p.FPS, "fps"), p.FPSPerCore))
	}
	stream := rate(p, row("stream_64k_gbps", p.Name, "payload each way, "+p.sizes(), ">=", t.StreamGbps, p.GbpsEachWay, "Gb/s"), p.GbpsPerCore)
	if p.Payload != streamSize || overQUIC(p) { // what the seed has for QUIC is one way
		stream.ID, stream.Op, stream.Target, stream.Verdict = "gbps", "", 0, Info
	}
	return append(rows, stream)
}

func row(id, phase, what, op string, target, measured float64, unit string) SLORow {
	ok := false
	switch op {
	case "<=":
		ok = measured <= target
	case "<":
		ok = measured < target
	case ">=":
		ok = measured >= target
	}
	r := SLORow{ID: id, Phase: phase, What: what, Op: op, Target: target, Measured: measured, Unit: unit, Verdict: Failed}
	if ok { // NaN compares false with everything and therefore fails
		r.Verdict = Passed
	}
	return r
}

func pct(part, whole float64) float64 {
	if whole <= 0 {
		return 0
	}
	return 100 * part / whole
}

// AllPass says whether no row failed.
func AllPass(rows []SLORow) bool {
	for i := range rows {
		if rows[i].Verdict == Failed {
			return false
		}
	}
	return true
}

// JudgeIdle makes the rows of an idle measurement.
func JudgeIdle(i *Idle, limit float64) []SLORow {
	return []SLORow{
		row("idle_bytes_per_conn", "idle", "memory per idle TLS connection", "<=", limit, i.BytesPerConn, "B"),
		row("idle_echo", "idle", "connections without an echo afterwards", "<=", 0, float64(i.EchoFailed), "count"),
	}
}
