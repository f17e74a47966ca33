package report

import (
	"fmt"
	"slices"
)

// Silver is the seed's milestone under chaos (§4): the losses and the round trip at which the matrix has to pass.
const (
	silverLossLow, silverLossHigh = 1, 3 // per cent
	silverRTT                     = 100  // ms
)

// JudgeChaos makes the rows of a chaos run. A row passes when no frame was lost, doubled, damaged or refused, and the seed's figures hold
// that its path allows.
func JudgeChaos(c *Chaos, t Targets) []SLORow {
	var rows []SLORow
	for i := range c.Cells {
		e := &c.Cells[i]
		why := e.Fault()
		r := row("chaos_cell", e.Name(), "frames lost, doubled, corrupt or refused, connections lost", "<=", 0, float64(e.Books.Counts.Wrong()+e.Books.Ended()), "count")
		rows = append(rows, blame(r, why))
		if (e.Transport == ChaosTLS || e.Transport == ChaosTLSTuned) && why == "" {
			rows = append(rows, c.interRegion(e, t)...)
		}
	}
	rows = append(rows, c.budget(t)...)
	rows = append(rows, c.silver()...)
	for i := range c.Faults {
		f := &c.Faults[i]
		r := row("chaos_"+f.Row, f.Name(), f.What, "<=", 0, float64(f.Books.Counts.Wrong()), "frames")
		rows = append(rows, blame(r, f.Fault()))
		if x := f.Recovery; x != nil && x.CaughtUpS >= 0 {
			s := row("chaos_recovery", f.Name(), "from the heal until nothing is held up any more", "", 0, x.CaughtUpS, "s")
			s.Verdict = Info
			rows = append(rows, s)
		}
	}
	for i := range c.Streams {
		s := &c.Streams[i]
		r := row("chaos_streams", fmt.Sprintf("streams, %d", s.Streams), "frames lost, doubled, corrupt or refused, connections lost", "<=", 0, float64(s.Books.Counts.Wrong()+s.Books.Ended()), "count")
		rows = append(rows, blame(r, s.Fault()))
	}
	for _, l := range c.LeftOut {
		rows = append(rows, SLORow{ID: "chaos_" + l.Row, Phase: l.Row, What: "not run", Verdict: LeftOut, Why: l.Why})
	}
	return rows
}

// blame fails a row for a reason; "" leaves it as it is.
func blame(r SLORow, why string) SLORow {
	if why != "" {
		r.Verdict, r.Why = Failed, why
	}
	return r
}

// interRegion rows are the seed's for a path with a round trip, at the round trip of the cell. One is judged wherever a round trip is below its
// figure. The seed has no latency for a path that loses: there the rows are shown beside the least that the path allows. Where the same path was
// run between hosts that are set for it, their rows are judged, and those of the others are shown.
func (c *Chaos) interRegion(e *ChaosCell, t Targets) []SLORow {
	what := fmt.Sprintf("TLS inter-region, %s, round trip %s ms", Size(c.Payload), num(e.RTTms))
	rows := []SLORow{
		row("interregion_p95", e.Name(), "p95, "+what, "<=", t.InterP95MS, e.Open.P95, "ms"),
		row("interregion_p99", e.Name(), "p99, "+what, "<=", t.InterP99MS, e.Open.P99, "ms"),
	}
	for i, pct := range []float64{95, 99} {
		switch r := &rows[i]; {
		case e.LossPct > 0:
			unjudged(rows[i : i+1])
			r.Why = fmt.Sprintf("the seed has no figure with loss; the path allows %s ms at the least", num(e.Floor(pct, c.Payload)))
		case e.RTTms >= r.Target:
			r.Why = fmt.Sprintf("one round trip is not below the %s ms of the seed", num(r.Target))
			unjudged(rows[i : i+1])
		case c.Payload > sloSize:
			r.Why = "the seed's figure is for " + Size(sloSize)
			unjudged(rows[i : i+1])
		case e.Transport == ChaosTLS && c.tuned(e):
			r.Why = "judged between hosts that are set for such paths, " + ChaosTLSTuned
			unjudged(rows[i : i+1])
		}
	}
	return rows
}

// tuned says whether the path of a cell was run between hosts that are set for it, too.
func (c *Chaos) tuned(e *ChaosCell) bool {
	return slices.ContainsFunc(c.Cells, func(o ChaosCell) bool {
		return o.Transport == ChaosTLSTuned && o.RTTms == e.RTTms && o.LossPct == e.LossPct && o.Open.Count > 0 && o.Fault() == ""
	})
}

// sloSize is the payload of the seed's latency rows.
const sloSize = 16 << 10

// budget rows are the seed's error budget and ceilings (§1.4), over the whole matrix.
func (c *Chaos) budget(t Targets) []SLORow {
	if len(c.Cells) == 0 {
		return nil
	}
	var sent, failed, refused, rss, fds float64
	for i := range c.Cells {
		b := &c.Cells[i].Books.Counts
		sent += float64(b.Sent)
		failed += float64(b.Lost + b.Corrupt)
		refused += float64(b.Refused)
		rss, fds = max(rss, float64(c.Cells[i].ServerRSS)), max(fds, c.Cells[i].FDShare)
	}
	return []SLORow{
		row("transport_5xx", "matrix", "transport failures", "<", t.Failures, pct(failed, sent), "%"),
		row("rejected", "matrix", "429, 503 and other refusals", "<", t.Rejections, pct(refused, sent), "%"),
		row("memory", "matrix", "server memory (RSS), the most of all cells", "<", t.MemoryBytes/gib, rss/gib, "GiB"),
		row("descriptors", "matrix", "server descriptors of soft limit, the most of all cells", "<", t.FDPct, fds, "%"),
	}
}

// silver is the row of the milestone. It needs the cells that the milestone speaks of: the least and the most loss at least.
func (c *Chaos) silver() []SLORow {
	failed, losses := 0, []float64{}
	for i := range c.Cells {
		e := &c.Cells[i]
		if e.RTTms != silverRTT || e.LossPct < silverLossLow || e.LossPct > silverLossHigh {
			continue
		}
		losses = append(losses, e.LossPct)
		if e.Fault() != "" {
			failed++
		}
	}
	if !slices.Contains(losses, silverLossLow) || !slices.Contains(losses, silverLossHigh) {
		return nil
	}
	return []SLORow{row("chaos_silver", "matrix", "cells of the Silver milestone (loss 1 to 3 %, 100 ms) that failed", "<=", 0, float64(failed), "count")}
}
