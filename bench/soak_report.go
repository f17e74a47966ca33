package main

import (
	"maps"
	"slices"
	"strings"

	"github.com/ron-transport/ron-transport/bench/internal/drift"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/soak"
)

const mib = 1 << 20

// allowances are what series may grow, by the last word of their names. Floor and share are what settles once and is no leak; per
// day is what a server could grow and still be restarted for other reasons first.
func allowances() map[string]struct {
	kind string
	drift.Allowance
} {
	type a = struct {
		kind string
		drift.Allowance
	}
	return map[string]a{
		// The collector lets a heap double before it runs, spans fragment, and the scavenger works for minutes: a tenth, or 16 MiB.
		"rss": {report.Leak, drift.Allowance{Floor: 16 * mib, Share: 0.1, PerDay: 32 * mib}},
		// Live objects as of the last collection: what is in flight then, and tables, which grow by doubling.
		"heap": {report.Leak, drift.Allowance{Floor: 4 * mib, Share: 0.1, PerDay: 16 * mib}},
		// Buffers in use are those of slow readers, up to 1 MiB each, and of frames under way.
		"buffers": {report.Leak, drift.Allowance{Floor: 4 * mib, Share: 0.1, PerDay: 4 * mib}},
		// As many connections come as go; a fifth of them may be between the two, or wait for the peer's end.
		"fds":        {report.Leak, drift.Allowance{Floor: 16, Share: 0.2, PerDay: 16}},
		"goroutines": {report.Leak, drift.Allowance{Floor: 16, Share: 0.2, PerDay: 16}},
		// A latency depends on what else the machine does: half as much again, or 5 ms.
		"p99": {report.Drift, drift.Allowance{Floor: 5, Share: 0.5}},
	}
}

// shortSeries bounds the points of a series in the report.
const shortSeries = 240

// judged are the series with their verdicts. The lock is held.
func (s *soakRun) judged() []report.SoakSeries {
	var out []report.SoakSeries
	all, machine := allowances(), s.machine()
	for _, o := range s.state.Series {
		a, ok := all[o.Name[strings.LastIndexByte(o.Name, ' ')+1:]]
		if !ok {
			continue
		}
		j := report.SoakSeries{Name: o.Name, Unit: o.Unit, Kind: a.kind, Allowance: a.Allowance, Result: s.state.Judge(o, a.Allowance)}
		j.Excuse(machine)
		out = append(out, j)
	}
	slices.SortStableFunc(out, func(a, b report.SoakSeries) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// machine is what the machine has done until now. The lock is held.
func (s *soakRun) machine() report.Machine {
	m := report.Machine{Others: afterWarmup(s.state, s.state.Get(report.SoakOthers, unitPct))}
	if s.state.Periods > 0 {
		m.InBand = 100 * float64(s.state.InBand) / float64(s.state.Periods)
	}
	return m
}

// soFar is the verdict of all series in a few words. The lock is held.
func (s *soakRun) soFar() string {
	var bad []string
	unclear := 0
	for _, j := range s.judged() {
		switch j.Result.Verdict {
		case drift.Growing:
			bad = append(bad, j.Kind+" of "+j.Name)
		case drift.Unclear:
			unclear++
		}
	}
	switch {
	case len(bad) > 0:
		return strings.Join(bad, ", ")
	case unclear > 0:
		return "nothing shown"
	}
	return string(drift.Steady)
}

// report sums the run up.
func (s *soakRun) report() *report.Soak {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.state
	r := &report.Soak{
		DurationS: s.o.Duration.Seconds(), ElapsedS: st.ElapsedS, WarmupS: st.Warmup().Seconds(), Segments: st.Starts, Seed: s.o.Seed, Mix: s.o.Mix,
		CPULow: s.o.CPULow, CPUHigh: s.o.CPUHigh, Rate: st.Rate, NoTor: s.o.noTor, Judge: s.judged(),
		Chaos: report.SoakChaos{Certificates: st.Rotated, Reloads: st.Reloads, TicketKeys: st.Tickets, Resets: st.Resets, Crowd: st.Crowd, CrowdEnded: st.CrowdEnd},
	}
	for i := range r.Judge {
		j := &r.Judge[i]
		j.T, j.V = st.Get(j.Name, j.Unit).Short(shortSeries, st.Starts)
	}
	for _, name := range slices.Sorted(maps.Keys(st.Loads)) {
		r.Loads = append(r.Loads, *st.Loads[name])
	}
	for _, of := range [][2]string{{report.SoakRate, unitRate}, {report.SoakCPU, unitPct}, {report.SoakOthers, unitPct}} {
		o := st.Get(of[0], of[1])
		j := report.SoakSeries{Name: o.Name, Unit: o.Unit}
		j.T, j.V = o.Short(shortSeries, st.Starts)
		r.Shown = append(r.Shown, j)
	}
	m := s.machine()
	r.InBand, r.Others = m.InBand, m.Others
	r.CPUMean = afterWarmup(st, st.Get(report.SoakCPU, unitPct))
	return r
}

// afterWarmup is the mean of a series, the beginnings of the segments left out.
func afterWarmup(st *soak.State, o *soak.Series) float64 {
	sum, n := 0.0, 0
	for i, seg := range o.Segments(st.Starts) {
		for _, p := range seg {
			if p.T >= st.Starts[i]+st.Warmup().Seconds() {
				sum += p.V
				n++
			}
		}
	}
	return sum / float64(max(n, 1))
}
