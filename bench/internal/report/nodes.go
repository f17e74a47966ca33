package report

import (
	"fmt"
	"io"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
)

// Nodes is a run of several gateways behind a balancer.
type Nodes struct {
	Nodes    int     `json:"nodes"`
	Network  string  `json:"network"`  // what they were in
	Balancer string  `json:"balancer"` // its version
	OwnKeys  bool    `json:"own_keys"` // each node had ticket keys of its own
	Conns    int     `json:"conns"`
	RPS      int     `json:"rps"`
	Payload  int     `json:"payload_bytes"`
	DelayS   float64 `json:"drain_delay_s"`

	Resumption *NodesResumption `json:"resumption,omitempty"` // these three are absent when they were not reached
	Rolling    *NodesRolling    `json:"rolling_restart,omitempty"`
	Kill       *NodesKill       `json:"kill,omitempty"`
}

// NodesResumption is about connections that came with a ticket.
type NodesResumption struct {
	Conns      int    `json:"conns"`
	Elsewhere  int    `json:"at_another_node"`  // than the one whose ticket they had
	Resumed    int    `json:"resumed_there"`    // of these
	Failed     int    `json:"failed"`           // got no connection, or no right answer
	ByNode     []int  `json:"conns_by_node"`    // where they came to
	Rotations  int    `json:"ticket_rotations"` // meanwhile
	Complete   bool   `json:"complete"`         // all that were asked for; false after an interruption
	FirstError string `json:"first_error,omitempty"`
}

// NodesShare is what happened on connections to one node.
type NodesShare struct {
	Failed uint64 `json:"failed"` // requests that were sent and not answered rightly
	Lost   uint64 `json:"lost"`   // connections that ended without a goodbye
	Moved  uint64 `json:"moved"`  // connections that were given up because of a goodbye
}

// Since is what was added to an earlier count.
func (s NodesShare) Since(o *NodesShare) NodesShare {
	return NodesShare{s.Failed - o.Failed, s.Lost - o.Lost, s.Moved - o.Moved}
}

// NodesLoad is what a load has seen.
type NodesLoad struct {
	Frames     uint64 `json:"frames"` // answered rightly
	NodesShare        // over all nodes
	DialFailed uint64 `json:"dial_failed"`   // attempts to connect
	Conns      uint64 `json:"conns_made"`    // that succeeded
	Resumed    uint64 `json:"conns_resumed"` // of these
	FirstError string `json:"first_error,omitempty"`
}

// Since is what was added to an earlier count.
func (l NodesLoad) Since(o *NodesLoad) NodesLoad {
	d := NodesLoad{Frames: l.Frames - o.Frames, NodesShare: l.NodesShare.Since(&o.NodesShare), DialFailed: l.DialFailed - o.DialFailed,
		Conns: l.Conns - o.Conns, Resumed: l.Resumed - o.Resumed}
	if d.Failed+d.Lost+d.DialFailed > 0 {
		d.FirstError = l.FirstError
	}
	return d
}

// Note keeps the first error.
func (l *NodesLoad) Note(err error) {
	if l.FirstError == "" {
		l.FirstError = err.Error()
	}
}

// Note keeps the first error.
func (r *NodesResumption) Note(err error) {
	if r.FirstError == "" {
		r.FirstError = err.Error()
	}
}

// NodesRolling is a restart of all nodes, one after the other, under load.
type NodesRolling struct {
	Quiet    hist.Latency  `json:"quiet"` // before
	Restarts []NodeRestart `json:"restarts"`
	Load     NodesLoad     `json:"load"`     // from the first restart on
	Complete bool          `json:"complete"` // all nodes, and Load is what was seen to the end; false after an interruption
}

// NodeRestart is one of them.
type NodeRestart struct {
	Node    int          `json:"node"`
	Conns   int          `json:"conns"`  // to the node when it was told to end
	Moved   uint64       `json:"moved"`  // connections that left it for its goodbye
	Failed  uint64       `json:"failed"` // requests on connections to it
	Clean   bool         `json:"clean"`  // it ended by itself, and cut nothing off
	DrainS  float64      `json:"drain_s"`
	TookS   float64      `json:"took_s"`  // until its successor was in the balancer
	Latency hist.Latency `json:"latency"` // of all requests meanwhile
}

// NodesKill is about a node that was killed under load.
type NodesKill struct {
	Node         int          `json:"node"`
	Conns        int          `json:"conns"`         // to it at that time
	Lost         uint64       `json:"lost"`          // of its connections
	Failed       uint64       `json:"failed"`        // requests on them; they were asked again
	OthersLost   uint64       `json:"others_lost"`   // connections of the other nodes
	OthersFailed uint64       `json:"others_failed"` // requests on those
	Healed       bool         `json:"healed"`        // every connection has a successor, and every request that failed its answer
	LongestS     float64      `json:"longest_s"`     // from a loss or failure that a client noticed to the answer on a new connection, at most
	NoticedS     float64      `json:"noticed_s"`     // until the balancer knew
	Redispatched uint64       `json:"redispatched"`  // connections that the balancer sent to another node, as this one refused them
	Before       hist.Latency `json:"others_before"` // of requests to the other nodes
	After        hist.Latency `json:"others_after"`  // from the kill on
	Load         NodesLoad    `json:"load"`
	Complete     bool         `json:"complete"` // all of this was seen to the end; false after an interruption
}

func (n *Nodes) text(w io.Writer) {
	keys := "shared ticket keys"
	if n.OwnKeys {
		keys = "ticket keys of their own"
	}
	fmt.Fprintf(w, "  %d gateways with %s in %s, behind %s; drain.delay %s s\n", n.Nodes, keys, n.Network, n.Balancer, num(n.DelayS))
	if r := n.Resumption; r != nil {
		fmt.Fprintf(w, "  resumption: %d connections with a ticket, by node %v; %d came to another node than their ticket, %d of them resumed; %d failed; rotations of the ticket keys: %d\n",
			r.Conns, r.ByNode, r.Elsewhere, r.Resumed, r.Failed, r.Rotations)
		first(w, r.FirstError)
	}
	if r := n.Rolling; r != nil {
		r.text(w, n)
	}
	if r := n.Kill; r != nil {
		fmt.Fprintf(w, "  node %d of %d connections was killed: %d lost, %d frames failed and were asked again; of the other nodes %d lost, %d failed\n",
			r.Node, r.Conns, r.Lost, r.Failed, r.OthersLost, r.OthersFailed)
		fmt.Fprintf(w, "  made up for after %s s at most; the balancer knew after %s s, and sent %d connections elsewhere before; p99 of the other nodes %s ms, before %s ms\n",
			num(r.LongestS), num(r.NoticedS), r.Redispatched, num(r.After.P99), num(r.Before.P99))
		first(w, r.Load.FirstError)
	}
}

func (r *NodesRolling) text(w io.Writer, n *Nodes) {
	fmt.Fprintf(w, "\n  rolling restart under load: %d connections, %d rps, %d bytes\n", n.Conns, n.RPS, n.Payload)
	t := &table{left: map[int]bool{0: true}}
	t.add("", "p50", "p99", "largest", "connections", "moved", "frames failed", "drained in", "took")
	l := &r.Quiet
	t.add("before", num(l.P50)+" ms", num(l.P99)+" ms", num(l.MaxMS)+" ms", "", "", "", "", "")
	for i := range r.Restarts {
		o := &r.Restarts[i]
		l := &o.Latency
		t.add(fmt.Sprintf("node %d", o.Node), num(l.P50)+" ms", num(l.P99)+" ms", num(l.MaxMS)+" ms", num(float64(o.Conns)), num(float64(o.Moved)),
			num(float64(o.Failed)), num(o.DrainS)+" s", num(o.TookS)+" s")
	}
	t.write(w)
	s := &r.Load
	fmt.Fprintf(w, "  %s frames answered, %d failed; %d connections moved, %d lost; %d of %d new connections resumed, %d could not be made\n",
		num(float64(s.Frames)), s.Failed, s.Moved, s.Lost, s.Resumed, s.Conns, s.DialFailed)
	first(w, s.FirstError)
}

func first(w io.Writer, err string) {
	if err != "" {
		fmt.Fprintf(w, "  first error: %s\n", err)
	}
}

// Targets of several nodes.
const (
	nodesResumedPct = 99 // per cent of the connections that come to another node than their ticket
	// nodesP99Times is by how much the other nodes' 99th percentile may grow when one is killed: they have half as many connections again,
	// and the new ones' handshakes.
	nodesP99Times = 3.0
	// nodesP99Floor, in ms: below, a multiple says more about the scheduler than about the nodes. It is the scale of what a balancer adds when it
	// is short of a processor.
	nodesP99Floor = 25.0
)

// JudgeNodes makes the rows of several nodes; what was not reached is left out, for a reason.
func JudgeNodes(n *Nodes, why string) []SLORow {
	var rows []SLORow
	if r := n.Resumption; r != nil && r.Complete {
		rows = append(rows, row("elsewhere", "resumption", "connections at another node than their ticket's", ">=", float64(r.Conns)/2, float64(r.Elsewhere), "count"),
			row("resumed", "resumption", "of these, resumed", ">=", nodesResumedPct, pct(float64(r.Resumed), float64(r.Elsewhere)), "%"),
			row("failed", "resumption", "connections failed", "<=", 0, float64(r.Failed), "count"))
	} else {
		rows = append(rows, leftOut("resumed", "resumption", "connections resumed at another node", why))
	}
	if r := n.Rolling; r != nil && r.Complete {
		var clean, had, moved float64
		for i := range r.Restarts {
			had, moved = had+float64(r.Restarts[i].Conns), moved+float64(r.Restarts[i].Moved)
			if r.Restarts[i].Clean {
				clean++
			}
		}
		rows = append(rows, row("failed", "rolling restart", "frames failed", "<=", 0, float64(r.Load.Failed), "count"),
			row("lost", "rolling restart", "connections lost, or not to be had", "<=", 0, float64(r.Load.Lost+r.Load.DialFailed), "count"),
			row("moved", "rolling restart", "connections moved by a goodbye", ">=", max(had, 1), moved, "count"),
			row("clean", "rolling restart", "nodes that drained in time", ">=", float64(n.Nodes), clean, "count"))
	} else {
		rows = append(rows, leftOut("failed", "rolling restart", "frames failed", why))
	}
	if n.Kill == nil || !n.Kill.Complete {
		return append(rows, leftOut("others", "kill", "failures of the other nodes", why))
	}
	quiet := n.Kill.Before.P99
	if n.Rolling != nil {
		quiet = max(quiet, n.Rolling.Quiet.P99)
	}
	return append(rows, n.Kill.judge(quiet)...)
}

// leftOut is a row of what was not measured.
func leftOut(id, phase, what, why string) SLORow {
	return SLORow{ID: id, Phase: phase, What: what, Verdict: LeftOut, Why: why}
}

// judge makes the rows of a kill; quiet is the 99th percentile when nothing happened, in ms.
func (r *NodesKill) judge(quiet float64) []SLORow {
	open := 0.0
	if !r.Healed {
		open = 1
	}
	return []SLORow{
		row("victims", "kill", "connections of the killed node that were lost", ">=", max(float64(r.Conns), 1), float64(r.Lost), "count"),
		row("others", "kill", "connections lost and frames failed of the other nodes", "<=", 0, float64(r.OthersLost+r.OthersFailed), "count"),
		row("answered", "kill", "frames that the other nodes answered meanwhile", ">=", 1, float64(r.After.Count), "count"),
		row("healed", "kill", "not made up for", "<=", 0, open, "count"),
		row("p99_ratio", "kill", fmt.Sprintf("p99 of the other nodes, times that before (%g ms at least)", nodesP99Floor), "<=", nodesP99Times,
			max(r.After.P99, nodesP99Floor)/max(quiet, nodesP99Floor), "x"),
	}
}
