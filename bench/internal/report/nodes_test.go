package report

import (
	"slices"
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
)

// goodNodes is a run in which nothing went wrong.
func goodNodes() *Nodes {
	restarts := []NodeRestart{{Node: 1, Conns: 3, Moved: 3, Clean: true}, {Node: 2, Conns: 4, Moved: 4, Clean: true}, {Node: 3, Conns: 6, Moved: 7, Clean: true}}
	return &Nodes{Nodes: 3, Resumption: &NodesResumption{Conns: 300, Elsewhere: 300, Resumed: 298, ByNode: []int{100, 100, 100}, Rotations: 1, Complete: true},
		Rolling: &NodesRolling{Quiet: hist.Latency{Count: 100, P99: 10}, Restarts: restarts, Load: NodesLoad{Frames: 1000}, Complete: true},
		Kill: &NodesKill{Node: 2, Conns: 5, Lost: 5, Failed: 2, Healed: true, Before: hist.Latency{Count: 100, P99: 30}, After: hist.Latency{Count: 100, P99: 89},
			Load: NodesLoad{NodesShare: NodesShare{Lost: 5, Failed: 2}, FirstError: "reset"}, Complete: true}}
}

// Every verdict can fail, for what it is about and nothing else.
func TestJudgeNodes(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Nodes)
		want   []string // "phase id" of what fails
	}{
		{"good", func(*Nodes) {}, nil},
		{"tickets of no use", func(n *Nodes) { n.Resumption.Resumed = 296 }, []string{"resumption resumed"}},
		{"always the same node", func(n *Nodes) { n.Resumption.Elsewhere, n.Resumption.Resumed = 0, 0 }, []string{"resumption elsewhere", "resumption resumed"}},
		{"no connection", func(n *Nodes) { n.Resumption.Failed = 1 }, []string{"resumption failed"}},
		{"a frame failed", func(n *Nodes) { n.Rolling.Load.Failed = 1 }, []string{"rolling restart failed"}},
		{"a connection was lost", func(n *Nodes) { n.Rolling.Load.Lost = 1 }, []string{"rolling restart lost"}},
		{"nobody to connect to", func(n *Nodes) { n.Rolling.Load.DialFailed = 1 }, []string{"rolling restart lost"}},
		{"one did not move", func(n *Nodes) { n.Rolling.Restarts[0].Moved = 1 }, []string{"rolling restart moved"}},
		{"cut off", func(n *Nodes) { n.Rolling.Restarts[1].Clean = false }, []string{"rolling restart clean"}},
		{"nobody was harmed", func(n *Nodes) { n.Kill.Lost = 0 }, []string{"kill victims"}},
		{"others were harmed", func(n *Nodes) { n.Kill.OthersFailed = 1 }, []string{"kill others"}},
		{"others were lost", func(n *Nodes) { n.Kill.OthersLost = 1 }, []string{"kill others"}},
		{"not healed", func(n *Nodes) { n.Kill.Healed = false }, []string{"kill healed"}},
		{"others stood still", func(n *Nodes) { n.Kill.After = hist.Latency{} }, []string{"kill answered"}},
		{"others were slow", func(n *Nodes) { n.Kill.After.P99 = 91 }, []string{"kill p99_ratio"}},
	} {
		n := goodNodes()
		c.change(n)
		var got []string
		for _, row := range JudgeNodes(n, "") {
			if row.Verdict == Failed {
				got = append(got, row.Phase+" "+row.ID)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

// What was interrupted is left out, however good it was until then: what had not been counted yet looks like nothing that failed.
func TestJudgeNodesInterrupted(t *testing.T) {
	n := goodNodes()
	n.Resumption.Complete, n.Rolling.Complete, n.Rolling.Load, n.Kill = false, false, NodesLoad{}, nil
	rows := JudgeNodes(n, "interrupted")
	for _, row := range rows {
		if row.Verdict != LeftOut || row.Why != "interrupted" {
			t.Errorf("%+v", row)
		}
	}
	if len(rows) != 3 {
		t.Errorf("%d rows", len(rows))
	}
}

// The table has the counts.
func TestNodesText(t *testing.T) {
	var b strings.Builder
	goodNodes().text(&b)
	for _, want := range []string{"300 came to another node than their ticket, 298 of them resumed", "node 3", "5 lost, 2 frames failed", "first error: reset"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, b.String())
		}
	}
}
