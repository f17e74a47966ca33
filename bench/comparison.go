package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/peers/tokiorustls"
)

// compareWarmup is the load before each window of a comparison, unless the window is shorter itself: long enough for the
// handshakes' cost and the first growth of buffers to be over.
const compareWarmup = 500 * time.Millisecond

// maxRounds bounds a comparison: beyond it only time is spent, the median no longer moves.
const maxRounds = 100

// plainCPULimit is what our server's CPU per frame on TLS may be, as a multiple of what it is without: encryption, both ways, is to
// cost less than two thirds of what the kernel and the frames do.
const plainCPULimit = 1.6

// peerKind is one server that ours is compared with.
type peerKind struct {
	flag      string // as --peers takes it
	name      string // as the report has it
	transport string
	command   string  // of ours that starts it; empty: a program of its own, which build makes
	judged    bool    // its ratios have limits; otherwise they are shown
	cpuLimit  float64 // of the ratio of server CPU per frame, where it is not the workload's
	build     func(ctx context.Context, progress func(string)) (exe string, err error)
}

// peerKinds are all peers. The first of each transport is the one that compare takes.
func peerKinds() []peerKind {
	tokio := func(ctx context.Context, progress func(string)) (string, error) {
		return tokiorustls.Build(ctx, tokiorustls.DefaultCache(), progress)
	}
	return []peerKind{
		{flag: "nettls", name: "net + crypto/tls", transport: load.TLS, command: "peer_nettls_echo_server", judged: true},
		{flag: "nbio", name: "nbio TLS", transport: load.TLS, command: "peer_nbio_echo_server"},
		{flag: "tokio-rustls", name: "tokio-rustls", transport: load.TLS, build: tokio},
		{flag: "plain", name: "ours without TLS", transport: load.TLS, command: ourCommand(load.TCP), judged: true, cpuLimit: plainCPULimit},
		{flag: "gnet", name: "gnet", transport: load.TCP, command: "peer_gnet_echo_server", judged: true},
		{flag: "quic-go", name: "quic-go", transport: load.QUIC, command: "peer_quicgo_echo_server", judged: true},
	}
}

// ours is our side among the peers.
const ours = "ours"

// ourCommand starts our server of a transport.
func ourCommand(transport string) string {
	switch transport {
	case load.TLS:
		return "tls_echo_server"
	case load.QUIC:
		return "quic_echo_server"
	}
	return "tcp_echo_server"
}

// targets says whether a comparison with p under w has a target: what has none is shown.
func (p *peerKind) targets(w *workload) bool { return p.limit(w) > 0 || p.judged && w.rate != nil }

// limit is what the ratio of server CPU per frame may be under w; 0: it is shown.
func (p *peerKind) limit(w *workload) float64 {
	switch {
	case !p.judged:
		return 0
	case p.cpuLimit > 0:
		return p.cpuLimit
	}
	return w.cpuLimit
}

// comparisonOptions are the flags of every comparison.
type comparisonOptions struct {
	names    []string // of workloads
	rounds   int
	duration time.Duration
	json     string
	gate     bool
}

// register declares the flags; the texts say what they are about.
func (o *comparisonOptions) register(f *pflag.FlagSet, duration time.Duration, names, rounds, gate string) {
	f.StringSliceVar(&o.names, "workloads", nil, names)
	f.IntVar(&o.rounds, "rounds", 5, rounds)
	f.DurationVar(&o.duration, "duration", duration, "measuring window of each measurement")
	f.StringVar(&o.json, "json", "", "write the report to this file")
	f.BoolVar(&o.gate, "gate", false, gate)
}

// validate checks all but the names.
func (o *comparisonOptions) validate() error {
	return errors.Join(load.CheckRange("rounds", o.rounds, 1, maxRounds), load.CheckDuration("duration", o.duration, load.MinWindow, load.MaxWindow))
}

// match is ours against the peers of one transport, under its workloads.
type match struct {
	transport string
	workloads []workload
	peers     []peerKind
}

// comparison measures matches: in each round of a workload ours and every peer, alternately, with fresh processes.
type comparison struct {
	comparisonOptions
	a       *app
	kind    string // of the report
	matches []match
	skips   bool // a peer that cannot be measured is left out, and the rest goes on

	files    *cert.Files
	progress *report.Progress
	exes     map[string]string // of peers that are programs of their own, by flag
	failed   map[string]bool   // peers that could not be measured any more, by flag
	leftOut  []report.LeftOutPeer
	began    time.Time
	done     int // measurements
	total    int
}

// run is the whole comparison, report included. An interrupt ends it with the rounds that are complete.
func (c *comparison) run(ctx context.Context) (err error) {
	if c.files, err = cert.Make(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.files.Remove()) }()
	r, err := report.New(c.kind, c.a.argv)
	if err != nil {
		return err
	}
	c.progress = report.NewProgress(c.a.stderr)
	if err := c.build(ctx); err != nil {
		c.progress.Done()
		return err
	}
	c.began = time.Now()
	for i := range c.matches {
		c.total += c.matches[i].measurements(c.rounds)
	}
	r.Compare, err = c.all(ctx)
	c.progress.Done()
	if r.Interrupted = ctx.Err() != nil; err != nil && !r.Interrupted {
		return err
	}
	r.LeftOut = c.leftOut
	r.SLO = append(report.JudgeRatios(r.Compare), c.missing(r.Compare)...)
	if err := c.a.finish(r, c.json); err != nil && (c.gate || !errors.Is(err, errMissed)) {
		return err
	}
	if c.gate && r.Interrupted {
		return errors.New("interrupted: not every target was judged")
	}
	return nil
}

// missing is a failed row for every workload with a target that some rounds are missing of: what was not measured has not been met.
func (c *comparison) missing(ps []report.Pairing) []report.SLORow {
	var rows []report.SLORow
	for i := range c.matches {
		m := &c.matches[i]
		for _, w := range m.workloads {
			for _, peer := range m.peers {
				if !peer.targets(&w) {
					continue
				}
				have := 0
				if i := slices.IndexFunc(ps, func(p report.Pairing) bool {
					return p.Transport == m.transport && p.Workload == w.name && p.PeerName == peer.name
				}); i >= 0 {
					have = len(ps[i].Rounds)
				}
				if have < c.rounds {
					rows = append(rows, report.RoundsRow(m.transport, w.name, peer.name, have, c.rounds))
				}
			}
		}
	}
	return rows
}

// build makes the peers that are programs of their own, and leaves out those that cannot be made here.
func (c *comparison) build(ctx context.Context) error {
	c.exes, c.failed = make(map[string]string), make(map[string]bool)
	left := 0
	for i := range c.matches {
		m := &c.matches[i]
		m.peers = slices.Clone(m.peers) // the caller's stay
		m.peers = slices.DeleteFunc(m.peers, func(p peerKind) bool { return p.build != nil && c.buildOne(ctx, p) != nil })
		left += len(m.peers)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if left == 0 {
		var why []string
		for _, l := range c.leftOut {
			why = append(why, l.Peer+": "+l.Reason)
		}
		return fmt.Errorf("no peer is there to compare with: %s", strings.Join(why, "; "))
	}
	c.matches = slices.DeleteFunc(c.matches, func(m match) bool { return len(m.peers) == 0 })
	return nil
}

func (c *comparison) buildOne(ctx context.Context, p peerKind) error {
	exe, err := p.build(ctx, func(line string) {
		c.progress.Line(time.Now(), fmt.Sprintf("%s: building %s: %s", c.kind, p.name, line))
	})
	if err != nil {
		c.leaveOut(p, err)
		return err
	}
	c.exes[p.flag] = exe
	return nil
}

func (c *comparison) leaveOut(p peerKind, why error) {
	c.leftOut = append(c.leftOut, report.LeftOutPeer{Transport: p.transport, Peer: p.name, Reason: why.Error()})
}

func (m *match) measurements(rounds int) int { return len(m.workloads) * rounds * (1 + len(m.peers)) }

// all measures every workload of every match. What is complete is returned with an error, too.
func (c *comparison) all(ctx context.Context) ([]report.Pairing, error) {
	var out []report.Pairing
	for i := range c.matches {
		for _, w := range c.matches[i].workloads {
			ps, err := c.workload(ctx, &c.matches[i], w)
			for _, p := range ps {
				if len(p.Rounds) > 0 {
					out = append(out, p)
				}
			}
			if err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

// workload measures ours and the peers under one load, and returns a pairing for each peer: they share ours.
func (c *comparison) workload(ctx context.Context, m *match, w workload) ([]report.Pairing, error) {
	ps := make([]report.Pairing, len(m.peers))
	for i, p := range m.peers {
		ps[i] = newPairing(m.transport, w, p)
	}
	var err error
	for i := 0; i < c.rounds && err == nil; i++ {
		var phases []*report.Phase
		if phases, err = c.round(ctx, m, w, i); err == nil {
			pair(ps, phases, turn(len(phases), i))
		}
	}
	for i, p := range m.peers {
		ps[i].Summarise(p.limit(&w))
	}
	return ps, err
}

func newPairing(transport string, w workload, p peerKind) report.Pairing {
	out := report.Pairing{
		Transport: transport, Workload: w.name, PeerName: p.name,
		Payload: w.load.Payload, Conns: w.load.Conns, Streams: w.load.Streams, Depth: w.load.Depth, RPS: w.load.RPS, OneWay: w.load.OneWay,
	}
	if w.rate != nil && p.judged {
		rate := *w.rate // each pairing has results of its own
		out.Rate = &rate
	}
	return out
}

// pair adds a round to each pairing: phases are ours and then the peers', nil for one that was not measured; order is the one
// in which they were.
func pair(ps []report.Pairing, phases []*report.Phase, order []int) {
	for i := range ps {
		if peer := phases[1+i]; peer != nil {
			first := slices.Index(order, 0) < slices.Index(order, 1+i)
			ps[i].Rounds = append(ps[i].Rounds, report.Round{Ours: *phases[0], Peer: *peer, OursFirst: first})
		}
	}
}

// turn is the order in which n sides are measured in a round: it begins one side further every round, and goes the other way
// every other round. With two sides it is swapped every round. With an even number each side has had each place once after n
// rounds; with an odd one, twice after 2n.
func turn(n, round int) []int {
	out := make([]int, n)
	for i := range out {
		step := i
		if round%2 == 1 {
			step = n - i
		}
		out[i] = (round + step) % n
	}
	return out
}

// round measures every side once. Peers that have failed are left out: their phase is nil.
func (c *comparison) round(ctx context.Context, m *match, w workload, round int) ([]*report.Phase, error) {
	phases := make([]*report.Phase, 1+len(m.peers))
	for _, side := range turn(len(phases), round) {
		p := peerKind{flag: ours, name: ours, command: ourCommand(m.transport)}
		if side > 0 {
			p = m.peers[side-1]
		}
		if c.failed[p.flag] {
			c.total--
			continue
		}
		c.progress.Line(time.Now(), c.line(m, w, round, p))
		ph, err := c.one(ctx, p, m.transport, w)
		if ctx.Err() != nil {
			return nil, ctx.Err() // half a window is not comparable
		}
		c.done++
		if err != nil {
			err = fmt.Errorf("%s, round %d, %s: %w", w.name, round+1, p.name, err)
			if side == 0 || !c.skips {
				return nil, err
			}
			c.failed[p.flag] = true
			c.leaveOut(p, fmt.Errorf("from here on: %w", err))
			continue
		}
		phases[side] = ph
	}
	return phases, nil
}

// one is one measurement: a fresh server, a client, both gone at the end.
func (c *comparison) one(ctx context.Context, p peerKind, transport string, w workload) (*report.Phase, error) {
	var srv *serverProcess
	var err error
	if exe := c.exes[p.flag]; exe != "" {
		srv, err = startProgram(exe, transport, c.files)
	} else {
		srv, err = c.a.startServer(p.command, c.files)
	}
	if err != nil {
		return nil, err
	}
	l := w.load
	l.Warmup, l.Window = min(compareWarmup, c.duration), c.duration
	ph, err := c.a.runPhase(ctx, srv, c.files, l, nil)
	if err = errors.Join(err, srv.stop(new(report.Server))); err != nil {
		return nil, err
	}
	if ph.ServerUse == nil {
		return nil, errors.New("the server's process could not be measured: " + ph.Errors.FirstError)
	}
	return ph, nil
}

func (c *comparison) line(m *match, w workload, round int, p peerKind) string {
	each := compareWarmup + c.duration + 500*time.Millisecond // a first guess at what starting and stopping takes
	if c.done > 0 {
		each = time.Since(c.began) / time.Duration(c.done)
	}
	left := each * time.Duration(c.total-c.done)
	return fmt.Sprintf("%s: %s %s, round %d of %d, %s (%d of %d, about %s left)",
		c.kind, m.transport, w.name, round+1, c.rounds, p.name, c.done+1, c.total, left.Round(time.Second))
}
