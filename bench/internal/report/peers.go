package report

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// compareText is a comparison with one peer, or with all of them.
func (r *Report) compareText(w io.Writer) {
	if r.Kind == KindPeers {
		peersTable(r.Compare).write(w)
		peersNotes(w, r.Compare, r.LeftOut)
		return
	}
	compareTable(r.Compare).write(w)
	rateTable(r.Compare).write(w)
}

// peersTable is a comparison with several peers over several transports: a row for each workload and peer.
func peersTable(ps []Pairing) *table {
	t := &table{left: map[int]bool{0: true, 1: true, 2: true, 16: true}}
	t.add("transport", "workload", "peer", "CPU/frame ours", "peer", "ratio", "spread", "limit",
		"frames/s ours", "per core", "peer", "per core", "p99 ours", "peer", "errors ours", "peer", "")
	for i := range ps {
		p := &ps[i]
		verdict := Verdict("not judged")
		switch {
		case p.judged() && p.Pass:
			verdict = Passed
		case p.judged():
			verdict = Failed
		}
		t.add(p.Transport, p.Workload, p.PeerName, num(p.Ours.CPUPerFrameUS)+" µs", num(p.Peer.CPUPerFrameUS)+" µs", num(p.Ratio),
			num(p.RatioMin)+"–"+num(p.RatioMax), orDash(p.Target), num(p.Ours.FPS), num(p.Ours.FPSPerCore), num(p.Peer.FPS), num(p.Peer.FPSPerCore),
			p.latency(p.Ours.P99), p.latency(p.Peer.P99), num(float64(p.Ours.Errors)), num(float64(p.Peer.Errors)), string(verdict))
	}
	return t
}

// latency is a dash for a load without replies.
func (p *Pairing) latency(ms float64) string {
	if p.OneWay {
		return "-"
	}
	return num(ms) + " ms"
}

// peersNotes say what each side has negotiated, what went wrong, and which peers are not there.
func peersNotes(w io.Writer, ps []Pairing, left []LeftOutPeer) {
	negotiatedNotes(w, ps)
	for i := range ps {
		for j := range ps[i].Rounds {
			if e := &ps[i].Rounds[j].Peer.Errors; e.Total() > 0 {
				fmt.Fprintf(w, "  errors of %s, %s, round %d: %s, first %q\n", ps[i].PeerName, ps[i].Phase(), j+1, e, e.FirstError)
			}
		}
	}
	for _, l := range left {
		fmt.Fprintf(w, "  left out on %s, %s: %s\n", l.Transport, l.Peer, strings.TrimSpace(l.Reason))
	}
}

func negotiatedNotes(w io.Writer, ps []Pairing) {
	type party struct{ transport, name string }
	var order []party
	sums := make(map[party]*Session)
	add := func(transport, name string, s *Session) {
		k := party{transport, name}
		if sums[k] == nil {
			order, sums[k] = append(order, k), new(Session)
		}
		sums[k].Add(s)
	}
	var seen []string // workloads whose rounds of ours are counted: all pairings of a workload have the same
	for i := range ps {
		p := &ps[i]
		if !slices.Contains(seen, p.Phase()) {
			seen = append(seen, p.Phase())
			add(p.Transport, "ours", &p.Ours.Session)
		}
		add(p.Transport, p.PeerName, &p.Peer.Session)
	}
	for _, k := range order {
		s := sums[k]
		if s.Suite == "" {
			continue // nothing is negotiated on plain TCP
		}
		fmt.Fprintf(w, "  negotiated on %s, %s: %s, %s, %s of %s connections resumed\n",
			k.transport, k.name, s.Suite, s.Group, num(float64(s.Resumed)), num(float64(s.Established)))
	}
}
