package main

import (
	"errors"
	"os"
	"runtime"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// meter samples the client's own process, the server's and the cores at both ends of a window, and the first two within it.
type meter struct {
	loops    int   // of the client
	pids     []int // own first, then the server's if there is one
	others   []namedPID
	from, to []proc.Sample
	readings [][]reading // of pids, in the window
	cores    [2][]proc.CoreTime
	err      error
}

// namedPID is a process that is measured besides.
type namedPID struct {
	name string
	pid  int
}

func (o *clientOptions) newMeter() (*meter, error) {
	m := &meter{pids: []int{os.Getpid()}, loops: o.loops}
	if o.serverPID > 0 {
		m.pids = append(m.pids, o.serverPID)
	}
	var err error
	m.readings = make([][]reading, len(m.pids))
	m.others, err = o.others()
	return m, err
}

// all are the numbers of all processes.
func (m *meter) all() []int {
	all := slices.Clone(m.pids)
	for _, p := range m.others {
		all = append(all, p.pid)
	}
	return all
}

func (m *meter) begin() { m.from, m.cores[0] = m.take() }
func (m *meter) end()   { m.to, m.cores[1] = m.take() }

func (m *meter) take() ([]proc.Sample, []proc.CoreTime) {
	var out []proc.Sample
	for _, pid := range m.all() {
		s, err := proc.Take(pid)
		m.err = errors.Join(m.err, err)
		out = append(out, s)
	}
	cores, err := proc.CoreTimes()
	m.err = errors.Join(m.err, err)
	return out, cores
}

// fill puts the usage into the phase.
func (m *meter) fill(p *report.Phase) error {
	m.fillSeries(p.Series)
	if m.err != nil {
		return m.err
	}
	desc, err := proc.Describe()
	if err != nil {
		return err
	}
	p.FPSPerCore, p.GbpsPerCore = p.FPS/float64(desc.Cores), p.GbpsEachWay/float64(desc.Cores)
	p.CoreBusy = proc.BusyPct(m.cores[0], m.cores[1])
	for i, pid := range m.all() {
		limit, err := proc.FDLimit(pid)
		if err != nil {
			return err
		}
		u := report.Use(pid, m.from[i], m.to[i], limit, p.Frames, desc.Cores)
		u.Usable = usable(pid)
		switch {
		case i == 0:
			u.Usable = min(u.Usable, runtime.GOMAXPROCS(0))
			if m.loops > 0 && p.Transport != load.StockQUIC {
				u.Usable = min(u.Usable, m.loops)
			}
			p.Client = u
		case i < len(m.pids):
			p.ServerUse = &u
		default:
			u.Name = m.others[i-len(m.pids)].name
			p.Others = append(p.Others, u)
		}
	}
	e := p.Evidence(desc.Cores)
	l := report.LimitOf(&e)
	p.Limit = &l
	return nil
}

// usable is how many cores a process may run on; all of them where the kernel does not tell.
func usable(pid int) int {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(pid, &set); err != nil || set.Count() == 0 {
		return runtime.NumCPU()
	}
	return set.Count()
}
