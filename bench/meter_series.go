package main

import (
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// reading is one sample of a process within the window.
type reading struct {
	at time.Duration // since the window's begin
	proc.Sample
}

// sample reads the client and the server; what cannot be read is left out here, because begin and end will tell.
func (m *meter) sample(at time.Duration) {
	now := time.Now()
	for i, pid := range m.pids {
		if s, err := proc.Take(pid); err == nil {
			m.readings[i] = append(m.readings[i], reading{at + s.At.Sub(now), s})
		}
	}
}

// fillSeries adds what the processes used to the points of a series.
func (m *meter) fillSeries(s *report.Series) {
	if s == nil {
		return
	}
	from := 0.0
	for i := range s.Points {
		p := &s.Points[i]
		for j := range m.pids {
			cpu, last := used(m.readings[j], from, p.AtS)
			if j == 0 {
				p.ClientCPU, p.ClientRSS = cpu, last.RSS
			} else {
				p.ServerCPU, p.ServerRSS, p.ServerFDs = cpu, last.RSS, last.FDs
			}
		}
		from = p.AtS
	}
}

// used is how many cores a process kept busy between two times, in seconds since the window's begin, and the first sample since then. Samples
// come when there is time for them: between two of them the CPU time counts as spent evenly, so that each interval has its own.
func used(rs []reading, from, to float64) (cores float64, last proc.Sample) {
	if len(rs) == 0 {
		return 0, proc.Sample{}
	}
	last = rs[len(rs)-1].Sample
	for _, r := range rs {
		if r.at.Seconds() >= to {
			last = r.Sample
			break
		}
	}
	return max(0, cpuBy(rs, to)-cpuBy(rs, from)) / (to - from), last
}

// cpuBy is the CPU time that a process had used by then, in seconds. Before the first sample it counts as spent as it was after that; after
// the last one it is not known, and counts as none.
func cpuBy(rs []reading, at float64) float64 {
	last := rs[len(rs)-1]
	if len(rs) == 1 || at >= last.at.Seconds() {
		return last.CPU.Seconds()
	}
	i := 1
	for i < len(rs)-1 && rs[i].at.Seconds() < at {
		i++
	}
	a, b := rs[i-1], rs[i]
	took := (b.at - a.at).Seconds()
	if took <= 0 {
		return b.CPU.Seconds()
	}
	return a.CPU.Seconds() + (b.CPU-a.CPU).Seconds()*(at-a.at.Seconds())/took
}
