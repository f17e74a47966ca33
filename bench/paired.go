package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/gate"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// Bounds of a paired check.
const (
	defaultPairs = 12
	maxPairs     = 1000
	// pairsPerRound are those of one round, A B B A; pairsStep those of two rounds, in the second of which all is the other way round.
	pairsPerRound = 2
	pairsStep     = 2 * pairsPerRound
	// defaultSlice is short so that what the machine does to base and change is the same; it holds some thousand frames.
	defaultSlice = 250 * time.Millisecond
	maxSlice     = time.Minute
	// sliceWarmup is enough for connections that are there: servers stay, and handshakes are over before it begins.
	sliceWarmup = 50 * time.Millisecond
	// pairedRPS leaves a small machine half idle: beyond that latency is about queues, which is noise.
	pairedRPS = 5000
	// maxLooks is how often pairs are added, the first ones included, as long as a figure is not settled.
	maxLooks = 3
	// sliceTries is how often a slice is measured in which a busy machine brought no reply at all, each time sliceLonger as long.
	sliceTries  = 4
	sliceLonger = 4
	// sliceCost is a first guess at what a slice takes besides its window.
	sliceCost = 150 * time.Millisecond
)

// Sides of a pair.
const (
	sideBase = iota
	sideChange
	sides
)

// pairedLoad is one load of a paired check.
type pairedLoad struct {
	name   string
	config load.Config
	keys   []string // the figures that it is for
}

// pairedLoads are the loads by transport, in the order in which a round has them.
func (o *pairedOptions) pairedLoads() []pairedLoad {
	with := func(name string, c load.Config, keys ...string) pairedLoad {
		c.Warmup, c.Window = sliceWarmup, o.slice
		return pairedLoad{name, c, keys}
	}
	return []pairedLoad{
		with("TLS, small frames, closed loop", load.Config{Conns: o.conns, Payload: defaultPayload, Depth: defaultDepth}, "tls_small_cpu_us", "tls_small_fps", "mem_gib"),
		with("TLS, small frames, open loop", load.Config{Conns: o.conns, Payload: defaultPayload, RPS: o.rps}, "tls_small_p95_ms", "tls_small_p99_ms"),
		with("TLS, 64 KiB, closed loop", load.Config{Conns: checkStreamConns, Payload: streamPayload, Depth: checkStreamDepth},
			"tls_stream_64k_cpu_us", "tls_stream_64k_gbps", "tls_stream_64k_p95_ms"),
		with("QUIC, 64 KiB, closed loop", load.Config{Conns: checkStreamConns, Streams: 1, Payload: streamPayload, Depth: checkStreamDepth},
			"quic_stream_64k_cpu_us", "quic_stream_64k_gbps"),
	}
}

func (l *pairedLoad) transport() string {
	if l.config.Streams > 0 {
		return load.QUIC
	}
	return load.TLS
}

// pairedRun alternates the servers of two builds under one client, which is this process, and judges the pairs.
type pairedRun struct {
	o        *pairedOptions
	exes     [sides]string
	files    *cert.Files
	progress *report.Progress
	label    string // of the progress line
	extra    float64
	only     []string // keys: just the loads that these figures need; nil: all, and looks as long as something is not settled

	out     *report.Paired
	pending []int // indices of the loads under way
	began   time.Time
	done    int // slices
	total   int
}

// run measures and judges. What was measured until an error or the end of ctx is in the result, too, which then has no rows.
func (p *pairedRun) run(ctx context.Context) (*report.Paired, error) {
	p.began = time.Now()
	p.out = &report.Paired{Gates: p.o.gates}
	defer func() { p.out.TookS = time.Since(p.began).Seconds() }()
	for i, l := range p.o.pairedLoads() {
		c := &l.config
		p.out.Loads = append(p.out.Loads, report.PairedLoad{Name: l.name, Transport: l.transport(), Conns: c.Conns, Streams: c.Streams,
			Payload: c.Payload, RPS: c.RPS, Depth: c.Depth, SliceS: c.Window.Seconds()})
		if p.only == nil || needs(&l, p.only) {
			p.pending = append(p.pending, i)
		}
	}
	for p.out.Looks < p.o.looks && len(p.pending) > 0 {
		p.out.Looks++
		p.total += 2 * p.o.pairs * len(p.pending)
		for round := range p.o.pairs / pairsPerRound {
			if err := p.round(ctx, round); err != nil {
				p.out.Rows = nil // those of an earlier look are of fewer pairs, and no verdict
				return p.out, err
			}
		}
		if p.only != nil {
			return p.out, nil
		}
		var err error
		if p.out.Rows, err = gate.JudgePairs(p.out.Pairs(), p.o.pairs, p.o.gates, p.extra); err != nil {
			p.out.Rows = nil
			return p.out, err
		}
		p.settle()
	}
	return p.out, nil
}

// settle leaves those loads pending that have a figure that is not settled.
func (p *pairedRun) settle() {
	var open []string
	for _, r := range p.out.Rows {
		if !r.Settled {
			open = append(open, r.Key)
		}
	}
	p.pending = p.pending[:0]
	for i, l := range p.o.pairedLoads() {
		if needs(&l, open) {
			p.pending = append(p.pending, i)
		}
	}
}

func needs(l *pairedLoad, keys []string) bool {
	return slices.ContainsFunc(l.keys, func(k string) bool { return slices.Contains(keys, k) })
}

// round measures two pairs of every pending load, on processes of its own: what stays with a process for its life, such as where its memory
// lies, is another thing in the next round.
func (p *pairedRun) round(ctx context.Context, round int) error {
	loads := p.o.pairedLoads()
	for _, transport := range []string{load.TLS, load.QUIC} {
		var mine []int
		for _, i := range p.pending {
			if loads[i].transport() == transport {
				mine = append(mine, i)
			}
		}
		if len(mine) == 0 {
			continue
		}
		if err := p.onServers(ctx, transport, round, func(servers [sides]*serverProcess) error {
			for _, i := range mine {
				pairs, err := p.pairs(ctx, servers, &loads[i], round)
				p.out.Loads[i].Pairs = append(p.out.Loads[i].Pairs, pairs...)
				if err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// startOrder is which side's server is started first, and which second: the one that is there first may find other memory, and other cores.
func startOrder(round int) [sides]int {
	if round%2 == 1 {
		return [sides]int{sideChange, sideBase}
	}
	return [sides]int{sideBase, sideChange}
}

// onServers runs fn with a server of each build.
func (p *pairedRun) onServers(ctx context.Context, transport string, round int, fn func([sides]*serverProcess) error) (err error) {
	var servers [sides]*serverProcess
	defer func() {
		for _, s := range servers {
			if s != nil {
				err = errors.Join(err, s.stop(nil))
			}
		}
	}()
	for _, side := range startOrder(round) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s := &serverProcess{transport: transport}
		if err := s.start(p.exes[side], ourCommand(transport), "--listen", "127.0.0.1:0", "--with-parent", "--cert", p.files.Cert, "--key", p.files.Key); err != nil {
			return fmt.Errorf("the server of the %s: %w", sideName(side), err)
		}
		servers[side] = s
	}
	return fn(servers)
}

func sideName(side int) string { return [sides]string{"base", "change"}[side] }

// pairs measures A B B A, in the next round B A A B: drift of the machine within a round is as good for one as for the other.
func (p *pairedRun) pairs(ctx context.Context, servers [sides]*serverProcess, l *pairedLoad, round int) ([]gate.Pair, error) {
	var out []gate.Pair
	for i := range pairsPerRound {
		var v [sides]gate.Values
		for turn := range sides {
			side := p.side(round, i, turn)
			p.progress.Line(time.Now(), p.line(l, side))
			var err error
			if v[side], err = p.slice(ctx, servers[side], &l.config); err != nil {
				return out, fmt.Errorf("%s, %s: %w", l.name, sideName(side), err)
			}
			p.done++
		}
		out = append(out, gate.Pair{Base: v[sideBase], Change: v[sideChange]})
	}
	return out, nil
}

// side is whose turn it is within pair i of a round.
func (p *pairedRun) side(round, i, turn int) int { return (turn + i + round) % sides }

func (p *pairedRun) line(l *pairedLoad, side int) string {
	each := sliceWarmup + p.o.slice + sliceCost
	if p.done > 0 {
		each = time.Since(p.began) / time.Duration(p.done)
	}
	more := ""
	if p.out.Looks > 1 {
		more = ", more pairs for what is not settled"
	}
	return fmt.Sprintf("%s: %s, %s (slice %d of %d, about %s left%s)", p.label, l.name, sideName(side), p.done+1, p.total,
		(each * time.Duration(p.total-p.done)).Round(time.Second), more)
}

// slice is one short load on fresh connections: which loop has which of them is another thing every time, so it does not stay with one side.
func (p *pairedRun) slice(ctx context.Context, srv *serverProcess, c *load.Config) (gate.Values, error) {
	longer := *c
	for try := 1; ; try++ {
		m := &sliceMeter{pid: srv.PID()}
		ph, err := p.load(ctx, srv, &longer, m)
		if err == nil && ctx.Err() != nil {
			err = ctx.Err() // half a slice is not comparable
		}
		if err = errors.Join(err, m.err); err != nil {
			return nil, err
		}
		if n := ph.Errors.Total(); n > 0 {
			return nil, fmt.Errorf("%s errors: a slice with errors is no measurement (%s)", &ph.Errors, ph.Errors.FirstError)
		}
		if ph.Frames > 0 && ph.Latency.Count > 0 && m.frames > 0 && m.to.CPU > m.from.CPU {
			return m.values(ph, c), nil
		}
		if try == sliceTries {
			return nil, fmt.Errorf("no reply within %s, %d times: this machine is too busy to measure", longer.Window, try)
		}
		longer.Window *= sliceLonger
	}
}

// load runs one load on the server, from this process.
func (p *pairedRun) load(ctx context.Context, srv *serverProcess, c *load.Config, m *sliceMeter) (*report.Phase, error) {
	nc, err := srv.netConfig(p.files, true, *c)
	if err != nil {
		return nil, err
	}
	fleet, err := openFleet(ctx, nc, *c)
	if err != nil {
		return nil, err
	}
	m.take(&m.from)
	m.frames = fleet.Answered()
	ph, err := fleet.Measure(ctx, load.Hooks{Begin: func() {}, End: func() {}})
	m.take(&m.to)
	m.frames = fleet.Answered() - m.frames
	return ph, err
}

// sliceMeter samples the server before its load begins and after it has ended, its connections included: in the midst of a load the kernel's
// count of the CPU time of threads that run on other cores is some milliseconds old, and on a busy machine the sample comes late.
type sliceMeter struct {
	pid      int
	from, to proc.Sample
	frames   uint64 // answered meanwhile
	err      error
}

func (m *sliceMeter) take(s *proc.Sample) {
	var err error
	*s, err = proc.Take(m.pid)
	m.err = errors.Join(m.err, err)
}

// values are all figures that a slice of the load c has.
func (m *sliceMeter) values(p *report.Phase, c *load.Config) gate.Values {
	cpu := float64(m.to.CPU-m.from.CPU) / 1e3 / float64(m.frames)
	switch {
	case c.Streams > 0:
		return gate.Values{"quic_stream_64k_cpu_us": cpu, "quic_stream_64k_gbps": p.GbpsEachWay}
	case c.Payload == streamPayload:
		return gate.Values{"tls_stream_64k_cpu_us": cpu, "tls_stream_64k_gbps": p.GbpsEachWay, "tls_stream_64k_p95_ms": p.Latency.P95}
	case c.RPS > 0:
		return gate.Values{"tls_small_p95_ms": p.Latency.P95, "tls_small_p99_ms": p.Latency.P99}
	}
	return gate.Values{"tls_small_cpu_us": cpu, "tls_small_fps": p.FPS, "mem_gib": float64(max(m.from.RSS, m.to.RSS)) / (1 << 30)}
}
