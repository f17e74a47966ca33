package report

import (
	"fmt"
	"strings"
)

// goldS is how long a soak must last at the least for its processors and its latency to be judged, in seconds. A shorter one is mostly warm-up, and in CI other tests
// run beside it.
const goldS = 30 * 60

// gold rows are the seed's Gold milestone (§4): "stable CPU/memory, p99 within SLO", beside the drift and leak that have rows of their own. The p99 is the median of
// those of the run's samples. The seed has none for frames over Tor.
func (s *Soak) gold(t Targets) []SLORow {
	op, bound := ">=", s.CPULow
	if s.CPUMean > s.CPUHigh {
		op, bound = "<=", s.CPUHigh
	}
	what := fmt.Sprintf("all cores busy, mean; %s to %s wanted, and kept for %s %% of the time", num(s.CPULow), num(s.CPUHigh), num(s.InBand))
	rows := []SLORow{row("soak_cpu", "all", what, op, bound, s.CPUMean, "%")}
	slo := map[string]float64{"tls p99": t.ResumedP99MS, "quic p99": t.QUICP99MS}
	for i := range s.Judge {
		if j := &s.Judge[i]; slo[j.Name] > 0 && j.Result.Samples > 0 {
			rows = append(rows, row("soak_p99", j.Name, "p99, the median of the samples", "<=", slo[j.Name], j.Result.Level, j.Unit))
		}
	}
	if s.ElapsedS < goldS {
		unjudged(rows)
		for i := range rows {
			rows[i].Why = "judged in a soak of " + spell(goldS) + " or more"
		}
	}
	for i := range s.Judge {
		if j := &s.Judge[i]; strings.HasSuffix(j.Name, " server rss") && j.Result.Samples > 0 {
			rows = append(rows, row("soak_memory", j.Name, "resident memory, the median of the samples", "<=", t.MemoryBytes/gib, j.Result.Level/gib, "GiB"))
		}
	}
	return rows
}
