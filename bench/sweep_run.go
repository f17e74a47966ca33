package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/hostile"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/sched"
)

// Figures of the loads that are no echo.
const (
	sweepWarmup     = 300 * time.Millisecond // before each window, unless that is shorter itself
	sweepHandshakes = 1000                   // per second of the window's length: about as many as one core can do in full
	sweepStorm      = 1500                   // full handshakes due per second
	sweepRPS        = 1000                   // requests of the load beside them due per second
	sweepSources    = 250                    // addresses of the storm
	sweepAtOnce     = 400                    // connections of it under way at most
)

// sweepJob is one measurement: one value of one knob.
type sweepJob struct {
	a        *app
	files    *cert.Files
	knob     *sweepKnob
	value    *sweepValue
	duration time.Duration
}

// flags are those of the server.
func (m *sweepJob) flags() []string {
	return slices.Concat(m.knob.args, m.value.args)
}

// config is the load of the value.
func (m *sweepJob) config() load.Config {
	c := m.knob.load
	if m.value.set != nil {
		m.value.set(&c)
	}
	c.Warmup, c.Window = min(sweepWarmup, m.duration), m.duration
	return c
}

// measureLoad is an echo load on a fresh server, from a client process.
func measureLoad(ctx context.Context, m *sweepJob) (pt report.SweepPoint, proof string, err error) {
	srv, err := m.a.startServer(m.knob.command, m.files, m.flags()...)
	if err != nil {
		return pt, "", err
	}
	var s report.Server
	p, err := m.a.runPhase(ctx, srv, m.files, m.config(), nil)
	if err = errors.Join(err, srv.stop(&s)); err != nil {
		return pt, "", err
	}
	if p.ServerUse == nil {
		return pt, "", errors.New("the server's process could not be measured: " + p.Errors.FirstError)
	}
	pt = report.SweepPoint{Rate: p.FPS, CPU: p.ServerUse.CPUPerFrameUS, P50: p.Latency.P50, P99: p.Latency.P99,
		Memory: float64(p.ServerUse.RSSPeak), Errors: p.Errors.Total()}
	if s.Frames > 0 { // over the server's whole life: warm-up and drain have the same load
		pt.Writes, pt.Reads = calls(&s, float64(s.Frames))
	}
	return pt, m.knob.proof(p, &s), nil
}

// calls are a server's system calls on its sockets, for each of n.
func calls(s *report.Server, n float64) (writes, reads float64) {
	if s.QUIC != nil { // there the reactor counts calls on streams
		return float64(s.QUIC.WriteCalls) / n, float64(s.QUIC.ReadCalls) / n
	}
	return float64(s.Reactor.Writes) / n, float64(s.Reactor.Reads) / n
}

// measureHandshakes makes connections to a fresh server as fast as it goes, from this process.
func measureHandshakes(ctx context.Context, m *sweepJob) (pt report.SweepPoint, proof string, err error) {
	srv, err := m.a.startServer(m.knob.command, m.files, m.flags()...)
	if err != nil {
		return pt, "", err
	}
	var s report.Server
	p := new(report.Phase)
	err = m.connect(ctx, srv, p, &pt)
	if err = errors.Join(err, srv.stop(&s)); err != nil {
		return pt, "", err
	}
	pt.Writes, pt.Reads = calls(&s, float64(max(s.Accepted, 1)))
	return pt, m.knob.proof(p, &s), nil
}

// connect opens the connections of measureHandshakes and measures that.
func (m *sweepJob) connect(ctx context.Context, srv *serverProcess, p *report.Phase, pt *report.SweepPoint) (err error) {
	nc, err := srv.netConfig(m.files, true, load.Config{})
	if err != nil {
		return err
	}
	lc := m.config()
	lc.Conns = max(1, int(m.duration.Seconds()*sweepHandshakes))
	if _, err := proc.RaiseFDLimit(lc.Conns + spareFDs); err != nil {
		return err
	}
	n, err := load.NewNet(nc)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	fleet, err := load.NewFleet(lc, n)
	if err != nil {
		return err
	}
	if err := fleet.Warm(ctx); err != nil {
		return err
	}
	from, err := proc.CPUTime(srv.PID())
	if err != nil {
		return err
	}
	began := time.Now()
	if err := fleet.Open(ctx, false, nil); err != nil {
		return err
	}
	took := time.Since(began)
	to, err := proc.Take(srv.PID())
	if err != nil {
		return err
	}
	ready := float64(fleet.Ready())
	pt.Rate, pt.CPU, pt.Memory = ready/took.Seconds(), float64((to.CPU-from).Microseconds())/ready, float64(to.Peak)
	pt.Errors, p.Session = uint64(lc.Conns-fleet.Ready()), fleet.Session()
	return nil
}

// measureStorm is a storm of handshakes on a fresh server with a steady load, whose latency it measures.
func measureStorm(ctx context.Context, m *sweepJob) (pt report.SweepPoint, proof string, err error) {
	c := m.config()
	o := &contrastOptions{conns: c.Conns, rps: c.RPS, payload: c.Payload, warmup: c.Warmup}
	for _, f := range m.flags() {
		o.server = append(o.server, strings.TrimPrefix(f, "--"))
	}
	s, err := m.a.startSteady(ctx, o, m.files)
	if err != nil {
		return pt, "", err
	}
	var counts hostile.StormCounts
	err = m.storm(ctx, s, &pt, &counts)
	var r report.Server
	p, ferr := s.finish(&r)
	if err = errors.Join(err, ferr); err != nil {
		return pt, "", err
	}
	pt.Errors = p.Errors.Total()
	return pt, m.knob.proof(p, &r) + fmt.Sprintf("; %d of %d handshakes complete, %d shed", counts.Completed, counts.Offered, counts.Shed), nil
}

// storm measures one window of the load within a storm.
func (m *sweepJob) storm(ctx context.Context, s *steady, pt *report.SweepPoint, counts *hostile.StormCounts) (err error) {
	gen, err := m.a.startHostile("hostile_storm", "--target", s.srv.addr, "--rate", strconv.Itoa(m.knob.storm), "--sources", strconv.Itoa(sweepSources),
		"--at-once", strconv.Itoa(sweepAtOnce))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, gen.Stop(stopWait)) }()
	if err := gen.Tell(orderOn); err != nil {
		return err
	}
	if err := sched.Sleep(ctx, sweepWarmup); err != nil {
		return err
	}
	l, cpu, err := s.window(ctx, m.duration)
	if err = errors.Join(err, ask(gen, orderOff, counts)); err != nil {
		return err
	}
	if counts.Seconds > 0 {
		pt.Rate = float64(counts.Completed) / counts.Seconds
	}
	if pt.Rate > 0 {
		pt.CPU = cpu[0].Pct / 100 * 1e6 / pt.Rate // of the server, the load's part included
	}
	pt.P50, pt.P99 = l.P50, l.P99
	use, err := proc.Take(s.srv.PID())
	pt.Memory = float64(use.Peak)
	return err
}
