package report

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/chaos"
	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
)

// chaosOf is a run in which everything went well.
func chaosOf() *Chaos {
	c := &Chaos{Seed: 7, Payload: 16 << 10, Conns: 16, RPS: 32}
	good := ChaosBooks{Counts: chaos.Counts{Sent: 100, Answered: 100}, Dialled: 16}
	for _, rtt := range []float64{50, 100, 150} {
		for _, loss := range []float64{0, 1, 3} {
			c.Cells = append(c.Cells, ChaosCell{Transport: ChaosTLS, Streams: 1, LossPct: loss, RTTms: rtt, Open: hist.Latency{Count: 100, P50: rtt, P95: rtt + 5, P99: rtt + 9}, Gbps: 0.25, Books: good})
		}
	}
	c.Faults = []ChaosFault{{Row: "partition", Transport: ChaosTLS, What: "nothing arrives", Books: good, Recovery: &chaos.Recovery{FirstReplyS: 0.5, RateS: 0.2, CaughtUpS: 0.75}}}
	c.Faults[0].Fact("bombs", 256, "")
	c.LeftOut = []ChaosLeftOut{{Row: "mtu", Why: "no path here"}}
	c.Streams = []ChaosStreams{{Streams: 4, LossPct: 3, RTTms: 50, Flight: 64, Rounds: []ChaosStreamsRound{{Gbps: 0.01, P50: 5}, {Gbps: 0.03, P50: 9}, {Gbps: 0.02, P50: 7}}, Books: good}}
	c.Streams[0].Summarise()
	return c
}

func refA() Targets { return TargetsFor(proc.Machine{}) }

// rowsBy finds rows by their id and phase.
func rowsBy(rows []SLORow) map[string]*SLORow {
	out := map[string]*SLORow{}
	for i := range rows {
		out[rows[i].ID+"/"+rows[i].Phase] = &rows[i]
	}
	return out
}

func TestJudgeChaos(t *testing.T) {
	rows := JudgeChaos(chaosOf(), refA())
	if !AllPass(rows) {
		t.Errorf("a good run fails: %+v", rows)
	}
	by := rowsBy(rows)
	for id, want := range map[string]Verdict{
		"chaos_cell/tls, loss 3 %, RTT 100 ms": Passed, "chaos_silver/matrix": Passed, "chaos_partition/partition, tls": Passed, "chaos_mtu/mtu": LeftOut,
		"interregion_p95/tls, loss 0 %, RTT 100 ms": Passed, // a round trip is below the figure
		"interregion_p95/tls, loss 0 %, RTT 150 ms": Info,   // and above it
		"interregion_p99/tls, loss 0 %, RTT 150 ms": Passed,
		"interregion_p99/tls, loss 1 %, RTT 50 ms":  Info, // the seed has none for a path that loses
		"transport_5xx/matrix":                      Passed, "memory/matrix": Passed, "chaos_recovery/partition, tls": Info,
	} {
		if r := by[id]; r == nil || r.Verdict != want {
			t.Errorf("%s: %+v, want %s", id, r, want)
		}
	}
}

// TestChaosVerdictsFail: whatever goes wrong fails its row, and the row says what it was.
func TestChaosVerdictsFail(t *testing.T) {
	for _, tc := range []struct {
		name string
		harm func(*Chaos)
		row  string
		why  string
	}{
		{"lost", func(c *Chaos) { c.Cells[4].Books.Counts.Lost = 1 }, "chaos_cell/tls, loss 1 %, RTT 100 ms", "1 lost"},
		{"doubled", func(c *Chaos) { c.Cells[4].Books.Counts.Doubled = 2 }, "chaos_cell/tls, loss 1 %, RTT 100 ms", "2 doubled"},
		{"corrupt", func(c *Chaos) { c.Cells[4].Books.Counts.Corrupt = 3 }, "chaos_silver/matrix", ""},
		{"unasked", func(c *Chaos) { c.Faults[0].Books.Counts.Unasked = 1 }, "chaos_partition/partition, tls", "1 never asked"},
		{"refused", func(c *Chaos) { c.Cells[0].Books.Counts.Refused = 50 }, "rejected/matrix", ""},
		{"too many failures", func(c *Chaos) { c.Cells[0].Books.Counts.Lost = 1 }, "transport_5xx/matrix", ""},
		{"connections ended", func(c *Chaos) { c.Cells[4].Books.Ends = map[string]uint64{"io": 2} }, "chaos_cell/tls, loss 1 %, RTT 100 ms", "connections ended: 2 io"},
		{"no figures", func(c *Chaos) { c.Cells[4].Broken = "it broke" }, "chaos_cell/tls, loss 1 %, RTT 100 ms", "it broke"},
		{"no answers", func(c *Chaos) { c.Cells[4].Books = ChaosBooks{} }, "chaos_cell/tls, loss 1 %, RTT 100 ms", "nothing was answered"},
		{"no recovery", func(c *Chaos) { c.Faults[0].Recovery.CaughtUpS = -1 }, "chaos_partition/partition, tls", "not served as before"},
		{"wrong end", func(c *Chaos) { c.Faults[0].Wrong = []string{"for the wrong reason"} }, "chaos_partition/partition, tls", "for the wrong reason"},
		{"slow without loss, at 100 ms", func(c *Chaos) { c.Cells[3].Open.P99 = 201 }, "interregion_p99/tls, loss 0 %, RTT 100 ms", ""},
		{"slow without loss", func(c *Chaos) { c.Cells[0].Open.P95 = 121 }, "interregion_p95/tls, loss 0 %, RTT 50 ms", ""},
		{"a stream's frame lost", func(c *Chaos) { c.Streams[0].Books.Add(&ChaosBooks{Counts: chaos.Counts{Lost: 1}}) }, "chaos_streams/streams, 4", "1 lost"},
		{"a stream's connection ended", func(c *Chaos) { c.Streams[0].Books.Add(&ChaosBooks{Ends: map[string]uint64{"io": 1}}) }, "chaos_streams/streams, 4", "1 io"},
		{"a round without figures", func(c *Chaos) { c.Streams[0].Broken = "it broke" }, "chaos_streams/streams, 4", "it broke"},
		{"a stream that nothing was answered on", func(c *Chaos) { c.Streams[0].Books = ChaosBooks{} }, "chaos_streams/streams, 4", "nothing was answered"},
		{"quicker than its path", func(c *Chaos) { c.Cells[4].Open.P50 = 90 }, "chaos_cell/tls, loss 1 %, RTT 100 ms", "less than one round trip"},
		{"a path that loses nothing", func(c *Chaos) { c.Cells[4].PathPackets, c.Cells[4].PathLost = 10_000, 0 }, "chaos_cell/tls, loss 1 %, RTT 100 ms", "none of 10,000 packets"},
		{"a dial without loss", func(c *Chaos) { c.Cells[3].Books.DialFailed = 1 }, "chaos_cell/tls, loss 0 %, RTT 100 ms", "1 dials"},
		{"memory", func(c *Chaos) { c.Cells[0].ServerRSS = 2 << 30 }, "memory/matrix", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := chaosOf()
			tc.harm(c)
			rows := JudgeChaos(c, refA())
			r := rowsBy(rows)[tc.row]
			if AllPass(rows) || r == nil || r.Verdict != Failed || !strings.Contains(r.Why, tc.why) {
				t.Errorf("%+v", r)
			}
		})
	}
}

// Where a path was run between hosts that are set for it, the seed's latency is asked there, and fails there. A cell that broke judges nobody.
func TestChaosJudgesTheTunedHosts(t *testing.T) {
	tuned := func(c *Chaos) {
		e := c.Cells[3] // no loss, 100 ms
		e.Transport = ChaosTLSTuned
		c.Cells = append(c.Cells, e)
		c.Cells[3].Open.P95 = 121
	}
	const plain, judged = "interregion_p95/tls, loss 0 %, RTT 100 ms", "interregion_p95/tls-tuned, loss 0 %, RTT 100 ms"
	for _, tc := range []struct {
		name          string
		harm          func(*Chaos)
		plain, judged Verdict
		pass          bool
	}{
		{"met", func(*Chaos) {}, Info, Passed, true},
		{"missed", func(c *Chaos) { c.Cells[9].Open.P95 = 121 }, Info, Failed, false},
		{"another path", func(c *Chaos) { c.Cells[9].LossPct = 1 }, Failed, "", false},
		{"broken", func(c *Chaos) { c.Cells[9].Broken = "it broke" }, Failed, "", false},
		{"nothing measured", func(c *Chaos) { c.Cells[9].Open = hist.Latency{} }, Failed, Passed, false},
	} {
		c := chaosOf()
		tuned(c)
		tc.harm(c)
		rows := JudgeChaos(c, refA())
		by := rowsBy(rows)
		got := by[judged]
		if got == nil {
			got = &SLORow{}
		}
		if by[plain].Verdict != tc.plain || got.Verdict != tc.judged || AllPass(rows) != tc.pass || by[plain].Measured != 121 {
			t.Errorf("%s: %+v, %+v", tc.name, by[plain], got)
		}
	}
}

// What says why a row is not judged is the path or the size, where they are the reason, with tuned hosts as without.
func TestChaosUnjudgedRowsSayWhy(t *testing.T) {
	c := chaosOf()
	for _, e := range c.Cells[:9] {
		e.Transport = ChaosTLSTuned
		c.Cells = append(c.Cells, e)
	}
	by := rowsBy(JudgeChaos(c, refA()))
	for _, transport := range []string{ChaosTLS, ChaosTLSTuned} {
		for row, want := range map[string]string{"interregion_p99/%s, loss 1 %%, RTT 50 ms": "the path allows", "interregion_p95/%s, loss 0 %%, RTT 150 ms": "not below the 120 ms"} {
			if r := by[fmt.Sprintf(row, transport)]; r == nil || r.Verdict != Info || !strings.Contains(r.Why, want) {
				t.Errorf("%s: %+v", transport, r)
			}
		}
	}
	if r := by["interregion_p95/tls, loss 0 %, RTT 100 ms"]; !strings.Contains(r.Why, ChaosTLSTuned) {
		t.Errorf("%+v", r)
	}
}

// The milestone has no row without the cells that it speaks of.
func TestChaosSilverNeedsItsCells(t *testing.T) {
	c := chaosOf()
	c.Cells = c.Cells[:3]
	if r := rowsBy(JudgeChaos(c, refA()))["chaos_silver/matrix"]; r != nil {
		t.Errorf("%+v", r)
	}
}

func TestChaosFloor(t *testing.T) {
	for _, tc := range []struct {
		loss, rtt, pct float64
		payload        int
		want           float64
	}{
		{0, 100, 99, 16 << 10, 100}, {0, 0, 99, 16 << 10, 0}, {1, 100, 95, 16 << 10, 200}, {3, 50, 95, 16 << 10, 100}, {3, 50, 99, 16 << 10, 150},
		{1, 100, 95, 100, 100}, {99.999, 1, 99, 16 << 10, 100}, // bounded
	} {
		c := ChaosCell{LossPct: tc.loss, RTTms: tc.rtt}
		if got := c.Floor(tc.pct, tc.payload); math.Abs(got-tc.want) > 1e-9 {
			t.Errorf("%+v: %v", tc, got)
		}
	}
}

func TestChaosText(t *testing.T) {
	c := chaosOf()
	if m := c.Streams[0].Median; m.Gbps != 0.02 || m.P50 != 7 {
		t.Errorf("%+v", m)
	}
	c.Faults[0].Books.Ends = map[string]uint64{"": 1, "io": 2}
	var b strings.Builder
	(&Report{Chaos: c}).Text(&b)
	for _, want := range []string{"seed 7", "loss 3 %, RTT 50 ms", "partition, tls: nothing arrives (bombs 256)", "0.750 s", "1 clean, 2 io", "20 Mb/s", "medians of 3 rounds"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
