// Package report is what ronbench says at the end: one JSON document for every command, and tables for people.
package report

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/gate"
	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/quic"
	"github.com/ron-transport/ron-transport/reactor"
)

// Schema names the layout of the document. It changes when a field changes its meaning or goes away.
const Schema = "ronbench/1"

// Kinds of report: which command wrote it and which parts are filled.
const (
	KindRun     = "run"     // ronbench: phases, server, slo
	KindClient  = "client"  // a load client: phases
	KindServer  = "server"  // an echo server: server
	KindCompare = "compare" // ronbench compare: compare
	KindIdle    = "idle"    // ronbench idle: idle
	KindStorm   = "storm"   // ronbench storm: storm, server
	KindLoris   = "loris"   // ronbench loris: loris, server
	KindRestart = "restart" // ronbench restart: restart
	KindTor     = "tor"     // ronbench tor: phases, server, slo
	KindSLO     = "slo"     // ronbench slo: phases, wan, slo
	KindCheck   = "check"   // ronbench check: check
	KindPaired  = "paired"  // ronbench check --base: paired
	KindPower   = "power"   // ronbench power: power
	KindSweep   = "sweep"   // ronbench sweep: sweep
	KindPeers   = "peers"   // ronbench peers: compare, left_out
	KindWAN     = "wan"     // ronbench wan: phases, server, quic_server, wan, slo
	KindSoak    = "soak"    // ronbench soak: soak, slo
	KindNodes   = "nodes"   // ronbench nodes: nodes, slo
	KindChaos   = "chaos"   // ronbench chaos: chaos, slo
)

// Report is the one document of all commands. Parts that a command does not have are absent.
type Report struct {
	Schema      string        `json:"schema"`
	Kind        string        `json:"kind"`
	Started     time.Time     `json:"started"`
	Command     []string      `json:"command"` // the command line, program name first
	MeasuredOn  proc.Machine  `json:"measured_on"`
	Settings    []Setting     `json:"settings,omitempty"`
	Interrupted bool          `json:"interrupted"` // ended by a signal: figures cover what was done until then
	Phases      []Phase       `json:"phases,omitempty"`
	Server      *Server       `json:"server,omitempty"`
	QUICServer  *Server       `json:"quic_server,omitempty"`  // of runs that have two
	ServerKnobs []ServerKnobs `json:"server_knobs,omitempty"` // of runs that have a server for each row
	Compare     []Pairing     `json:"compare,omitempty"`
	LeftOut     []LeftOutPeer `json:"left_out,omitempty"` // peers that were to be compared with and are not, or no longer
	Idle        []Idle        `json:"idle,omitempty"`
	Storm       *Storm        `json:"storm,omitempty"`
	Loris       *Loris        `json:"loris,omitempty"`
	Restart     *Restart      `json:"restart,omitempty"`
	Check       *Check        `json:"check,omitempty"`
	Paired      *Paired       `json:"paired,omitempty"`
	Power       *Power        `json:"power,omitempty"`
	Sweep       []Sweep       `json:"sweep,omitempty"`
	WAN         *WAN          `json:"wan,omitempty"`
	Soak        *Soak         `json:"soak,omitempty"`
	Nodes       *Nodes        `json:"nodes,omitempty"`
	Chaos       *Chaos        `json:"chaos,omitempty"`
	SLOTargets  string        `json:"slo_targets,omitempty"` // whose targets the rows use: Ref-A or Ref-B
	SLO         []SLORow      `json:"slo,omitempty"`
	Pass        bool          `json:"pass"` // no row failed
}

// Modes of a phase.
const (
	Open   = "open"
	Closed = "closed"
	OneWay = "one-way"
	Hello  = "hello"
)

// Phase is one measuring window of a load client.
type Phase struct {
	Name      string `json:"name"`
	Transport string `json:"transport"` // tls, tcp, quic, quic-go (the stock peer's client), tor
	Target    string `json:"target"`
	Mode      string `json:"mode"` // open (timetable), closed (a fixed number in flight), one-way (events without replies) or hello (a fresh connection each)
	Conns     int    `json:"conns"`
	Streams   int    `json:"streams,omitempty"` // of each connection, on QUIC
	// MaxInflight is how many requests may be in flight over all streams of a connection; 0: no limit.
	MaxInflight int `json:"max_inflight,omitempty"`
	Payload     int `json:"payload_bytes"`      // 0 in a mixed load: see BySize
	Circuits    int `json:"circuits,omitempty"` // over Tor: over how many the connections are spread
	RPS         int `json:"rps,omitempty"`      // open: requests due per second
	// RTTms is the emulated or measured round trip between client and server: the latency rows are those of the inter-region path then.
	RTTms float64 `json:"rtt_ms,omitempty"`
	Depth int     `json:"depth,omitempty"` // closed: requests in flight per connection, or per stream where there are streams

	WarmupS float64 `json:"warmup_s"`
	WindowS float64 `json:"window_s"`

	Sent        uint64       `json:"sent"`                  // requests written in the window
	Moved       uint64       `json:"moved_conns,omitempty"` // connections that were replaced because their server shut down
	Held        uint64       `json:"held,omitempty"`        // open: requests due in the window that waited because MaxInflight were in flight
	Confirmed   uint64       `json:"confirmed,omitempty"`   // one-way: events that have arrived in all, as the server says
	Frames      uint64       `json:"frames"`                // good replies in the window; one-way: events written in it
	FPS         float64      `json:"fps"`                   // good replies per second, the whole node
	FPSPerCore  float64      `json:"fps_core"`              // the same, divided by the machine's cores
	GbpsEachWay float64      `json:"gbps"`                  // payload bits per second in one direction, 10^9
	GbpsPerCore float64      `json:"gbps_core"`             // the same, divided by the machine's cores
	Latency     hist.Latency `json:"latency"`               // open: from the scheduled send time; closed: from the write
	Errors      Errors       `json:"errors"`
	Cold        *Cold        `json:"cold,omitempty"`    // each request was on a connection of its own, Conns of them at once at most
	BySize      []SizeUse    `json:"by_size,omitempty"` // of a mixed load

	Session   Session   `json:"session"`
	Client    ProcUse   `json:"client"`
	ServerUse *ProcUse  `json:"server,omitempty"`             // with --server-pid
	Others    []ProcUse `json:"others,omitempty"`             // with --measure, such as the tors on the way
	CoreBusy  []float64 `json:"machine_busy_pct_per_core"`    // each core, all processes
	PaceMS    float64   `json:"pacing_late_p99_ms,omitempty"` // open: how late the client itself wrote, 99th percentile
	LagMS     float64   `json:"client_lag_mean_ms,omitempty"` // how long a task waited for the client's loops, mean
	Limit     *Limit    `json:"limit,omitempty"`              // who held the figures back

	Series *Series    `json:"series,omitempty"` // the window, interval by interval
	Curve  []Quantile `json:"curve,omitempty"`  // the percentiles of Latency, evenly on a logarithmic scale of rarity
}

// Errors counts what went wrong in a window, requests unless said otherwise.
type Errors struct {
	DialFailed   uint64 `json:"dial_failed"`           // connections that were never ready
	ConnLost     uint64 `json:"conn_lost"`             // connections that ended before the load did
	Unanswered   uint64 `json:"unanswered"`            // due, and no reply by the end of the drain
	WrongPayload uint64 `json:"wrong_payload"`         // length or content differs from what was sent
	OutOfOrder   uint64 `json:"out_of_order"`          // replies duplicated, reordered or never asked for
	Rejected429  uint64 `json:"rejected_429"`          // quota
	Rejected503  uint64 `json:"rejected_503"`          // back-pressure
	Transport5xx uint64 `json:"transport_5xx"`         // 500-599 other than 503, and requests of lost connections
	OtherStatus  uint64 `json:"other_status"`          // any other code than 200
	NotCold      uint64 `json:"not_cold,omitempty"`    // of a cold load: handshakes that have resumed a session
	FirstError   string `json:"first_error,omitempty"` // the cause of the first lost connection or failed dial
}

// Total is every request that did not get its echo, and every connection that failed.
func (e *Errors) Total() uint64 {
	return e.DialFailed + e.ConnLost + e.Unanswered + e.WrongPayload + e.OutOfOrder + e.Rejected429 + e.Rejected503 +
		e.Transport5xx + e.OtherStatus + e.NotCold
}

// String is the total, and in brackets the counts it is made of.
func (e *Errors) String() string {
	var kinds []string
	for _, k := range []struct {
		n    uint64
		name string
	}{
		{e.DialFailed, "not connected"}, {e.ConnLost, "connections lost"}, {e.Unanswered, "unanswered"}, {e.WrongPayload, "wrong payload"},
		{e.OutOfOrder, "out of order"}, {e.Rejected429, "429"}, {e.Rejected503, "503"}, {e.Transport5xx, "5xx"}, {e.OtherStatus, "other status"},
		{e.NotCold, "resumed, not cold"},
	} {
		if k.n > 0 {
			kinds = append(kinds, fmt.Sprintf("%s %s", num(float64(k.n)), k.name))
		}
	}
	if len(kinds) == 0 {
		return "0"
	}
	return fmt.Sprintf("%s (%s)", num(float64(e.Total())), strings.Join(kinds, ", "))
}

// Add sums the counts of o up; FirstError stays.
func (e *Errors) Add(o *Errors) {
	e.DialFailed += o.DialFailed
	e.ConnLost += o.ConnLost
	e.Unanswered += o.Unanswered
	e.WrongPayload += o.WrongPayload
	e.OutOfOrder += o.OutOfOrder
	e.Rejected429 += o.Rejected429
	e.Rejected503 += o.Rejected503
	e.Transport5xx += o.Transport5xx
	e.OtherStatus += o.OtherStatus
	e.NotCold += o.NotCold
}

// Session says what the connections negotiated.
type Session struct {
	Established int    `json:"established"`
	Resumed     int    `json:"resumed"`
	Early       int    `json:"early,omitempty"` // QUIC connections whose first requests went in 0-RTT packets
	Suite       string `json:"suite,omitempty"`
	Group       string `json:"group,omitempty"`
	AESGCM      string `json:"aes_gcm,omitempty"`  // which implementation encrypted here, when it was our TLS with AES
	Verified    string `json:"verified,omitempty"` // how the server's certificate was checked
}

// ProcUse is what one process used in a window.
type ProcUse struct {
	Name          string  `json:"name,omitempty"` // of Phase.Others
	PID           int     `json:"pid"`
	CPUSeconds    float64 `json:"cpu_s"`
	CPUPerFrameUS float64 `json:"cpu_us_per_frame"`
	CPUPct        float64 `json:"cpu_pct_per_core"`       // of all cores of the machine
	Usable        int     `json:"usable_cores,omitempty"` // cores that it may use at once: by its affinity, and the client by its loops
	RSSStart      int64   `json:"rss_start_bytes"`
	RSSEnd        int64   `json:"rss_end_bytes"`
	RSSPeak       int64   `json:"rss_peak_bytes,omitempty"` // the largest of the process's life, up to the window's end
	FDs           int     `json:"fds"`
	FDLimit       int64   `json:"fd_soft_limit"`
	FDShare       float64 `json:"fd_share_pct"`
}

// Use computes what a process used between two samples, for frames good replies on a machine with that many cores.
func Use(pid int, from, to proc.Sample, limit int64, frames uint64, cores int) ProcUse {
	cpu, wall := (to.CPU - from.CPU).Seconds(), to.At.Sub(from.At).Seconds()
	u := ProcUse{PID: pid, CPUSeconds: cpu, RSSStart: from.RSS, RSSEnd: to.RSS, RSSPeak: to.Peak, FDs: max(from.FDs, to.FDs), FDLimit: limit}
	if frames > 0 {
		u.CPUPerFrameUS = cpu * 1e6 / float64(frames)
	}
	if wall > 0 && cores > 0 {
		u.CPUPct = 100 * cpu / wall / float64(cores)
	}
	if limit > 0 {
		u.FDShare = 100 * float64(u.FDs) / float64(limit)
	}
	return u
}

// Server is what an echo server counted over its life.
type Server struct {
	Kind      string            `json:"kind"` // tls, tcp, quic, tor, peer-nettls, peer-nbio, peer-gnet, peer-quicgo
	Addr      string            `json:"addr"`
	RanS      float64           `json:"ran_s"`
	Accepted  uint64            `json:"accepted"`
	Streams   uint64            `json:"streams,omitempty"` // QUIC: opened by peers
	Frames    uint64            `json:"frames"`
	Failed    uint64            `json:"failed_conns"`       // ended by an error, handshakes included
	Rejected  map[string]uint64 `json:"rejected,omitempty"` // by reason of the canon, rejections only
	CPUS      float64           `json:"cpu_s"`
	RSS       int64             `json:"rss_bytes"`
	FDs       int               `json:"fds"`
	FDLimit   int64             `json:"fd_soft_limit"`
	SndBuf    int               `json:"so_sndbuf_bytes,omitempty"` // granted by the kernel
	RcvBuf    int               `json:"so_rcvbuf_bytes,omitempty"`
	LoopCount int               `json:"loops,omitempty"`
	Knobs     []Knob            `json:"knobs,omitempty"`                  // what it ran with
	Control   string            `json:"tcp_congestion_control,omitempty"` // of the listening socket, as the kernel names it
	HeldPeak  int64             `json:"held_peak,omitempty"`              // with --reply-delay: frames in flight at once, all connections, at most
	Reactor   *reactor.Stats    `json:"reactor,omitempty"`                // the library's servers: the reactor's counters at the end
	QUIC      *quic.Stats       `json:"quic,omitempty"`                   // and those of package quic
	Offload   *quic.Offload     `json:"offload,omitempty"`                // what the kernel does for its sockets
}

// Idle is the cost of connections that do nothing.
type Idle struct {
	Server        string  `json:"server"`
	Conns         int     `json:"conns"`
	RSSBefore     int64   `json:"rss_before_bytes"` // both after free memory went back to the system
	RSSAfter      int64   `json:"rss_after_bytes"`
	BytesPerConn  float64 `json:"bytes_per_conn"`
	FDs           int     `json:"fds"`
	FDLimit       int64   `json:"fd_soft_limit"`
	HandshakeS    float64 `json:"handshakes_s"`
	EchoChecked   int     `json:"echo_checked"` // connections on which a frame was echoed afterwards
	EchoFailed    int     `json:"echo_failed"`
	HandshakeRate float64 `json:"handshakes_per_s"`
}

// New starts a report.
func New(kind string, command []string) (*Report, error) {
	m, err := proc.Describe()
	if err != nil {
		return nil, err
	}
	return &Report{Schema: Schema, Kind: kind, Started: time.Now().UTC().Truncate(time.Millisecond), Command: command, MeasuredOn: m, Pass: true}, nil
}

// Passed says whether nothing in the report has failed: no target, no gate, and no part that has to be there for a verdict is missing.
func (r *Report) Passed() bool {
	ok := AllPass(r.SLO) && (r.Paired == nil || r.Paired.OK()) && (r.Power == nil || r.Power.OK())
	if r.Check != nil {
		ok = ok && !slices.ContainsFunc(r.Check.Rows, func(row gate.Row) bool { return !row.OK })
	}
	return ok
}

// WriteFile writes the document to path, whole or not at all: a reader never sees half of it.
func (r *Report) WriteFile(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return WriteWhole(path, func(w io.Writer) error {
		_, err := w.Write(append(b, '\n'))
		return err
	})
}

// Read reads a document that WriteFile wrote.
func Read(path string) (*Report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := new(Report)
	return r, json.Unmarshal(b, r)
}
