package html

import (
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/chaos"
	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

func sampleChaos() *report.Report {
	r := blank(report.KindChaos)
	c := &report.Chaos{Payload: 16 << 10, Conns: 16, Tuning: []string{"net.a=1", "net.b=0"}}
	books := report.ChaosBooks{Counts: chaos.Counts{Sent: 10, Answered: 10}}
	for _, transport := range []string{report.ChaosTLS, report.ChaosQUIC} {
		for _, loss := range []float64{0, 3} {
			c.Cells = append(c.Cells, report.ChaosCell{Transport: transport, LossPct: loss, RTTms: 50, Open: hist.Latency{P99: 100 + 50*loss}, Gbps: 0.25 / (1 + loss), Books: books})
		}
	}
	c.Cells[3].Books.Counts.Lost = 1
	c.Faults = []report.ChaosFault{
		{Row: "partition", Transport: "tls", What: "nothing arrives", Books: books, Recovery: &chaos.Recovery{FirstReplyS: 0.5, CaughtUpS: 0.75}},
		{Row: "mtu", Transport: "tls", What: "large packets vanish", Books: books, Recovery: &chaos.Recovery{FirstReplyS: -1, CaughtUpS: -1}},
	}
	for i, n := range []int{1, 4, 16} {
		s := report.ChaosStreams{Streams: n, LossPct: 3, RTTms: 50, Flight: 64}
		for j := range 3 {
			s.Rounds = append(s.Rounds, report.ChaosStreamsRound{Gbps: 0.01 * float64(i+j+1), P50: 5, P95: 10, P99: float64(20 - i)})
		}
		s.Summarise()
		c.Streams = append(c.Streams, s)
	}
	c.LeftOut = []report.ChaosLeftOut{{Row: "bandwidth", Why: "there is no path"}}
	r.Chaos = c
	return r
}

// The matrix is heat maps, the recoveries are bars, the ablation is charts; what failed is marked, and everything is there in words.
func TestChaosPage(t *testing.T) {
	r := sampleChaos()
	p, err := build(r)
	if err != nil {
		t.Fatal(err)
	}
	c := p.Chaos
	if len(c.Maps) != 4 || len(c.Charts) != 2 || c.Recovery == nil || len(c.Recovery.Rows) != 2 || p.Plain {
		t.Fatalf("%+v", c)
	}
	first := c.Maps[0]
	if first.Title != "tls: p99 of an open loop, ms" || !first.Worse || len(first.Rows) != 1 || len(first.Head) != 2 || first.Rows[0].Cells[0].Shade >= first.Rows[0].Cells[1].Shade ||
		!strings.Contains(first.Words, "250 at RTT 50 ms and loss 3 %") {
		t.Errorf("%+v", first)
	}
	if bad := c.Maps[1].Rows[0].Cells; bad[0].Bad || !bad[1].Bad {
		t.Errorf("%+v", bad)
	}
	if rows := c.Recovery.Rows; rows[0].Len != 100 || rows[1].Value != "never" || rows[1].Ours {
		t.Errorf("%+v", rows)
	}
	if l := c.Charts[0].Lines; len(l) != 1 || l[0].Y[1] != 30 || l[0].Low[1] != 20 || l[0].High[1] != 40 {
		t.Errorf("%+v", l)
	}
	page := render(t, r)
	for _, want := range []string{`id="chaos"`, "--shade:80%", "✗ FAIL", "there is no path", "large packets vanish", "loss 3 %", "from the heal", "tls-tuned: net.a=1, net.b=0 on the hosts"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if page := render(t, blank(report.KindRun)); strings.Contains(page, `id="chaos"`) {
		t.Error("a report without chaos has a section of it")
	}
}
