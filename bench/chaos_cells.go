package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/chaos"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/scripts/netem/impair"
)

// Stages of the load in a cell and in the rows about faults.
const (
	stageWarm   = "warm"
	stageOpen   = "open"
	stageClosed = "closed"
	stageBefore = "before"
	stageEdge   = "edge"
	stageDuring = "during"
	stageAfter  = "after"
)

// cells are the steps of the matrix. The seed of a path depends on its loss and round trip alone: every transport meets the same losses.
func (c *chaosRun) cells() []step {
	if !c.o.has(rowMatrix) {
		return nil
	}
	var out []step
	for i, rtt := range c.o.rtt {
		for j, loss := range c.o.loss {
			for _, t := range c.o.transports {
				e := report.ChaosCell{Transport: t, Streams: 1, LossPct: loss, RTTms: rtt.Seconds() * 1e3, WindowS: c.o.duration.Seconds(), Depth: chaosDepth}
				seed := c.o.seed + uint64(i*len(c.o.loss)+j)<<8
				out = append(out, step{name: rowMatrix, label: e.Name(), path: true, do: func(ctx context.Context) error { return c.cell(ctx, e, rtt, seed) }})
			}
		}
	}
	return out
}

// cellLoad is the load of a transport: the same number of requests in flight on each connection.
func (c *chaosRun) cellLoad(transport string) chaos.Config {
	l := chaos.Config{Conns: c.o.conns, Streams: 1, Depth: chaosDepth, RPS: c.o.rps, Payload: c.o.payload}
	if transport == report.ChaosQUICMany {
		l.Streams, l.Depth = chaosDepth, 1
	}
	return l
}

// cell runs one cell. One whose load cannot be run has failed; the others go on.
func (c *chaosRun) cell(ctx context.Context, e report.ChaosCell, rtt time.Duration, seed uint64) error {
	l := c.cellLoad(e.Transport)
	e.Streams = l.Streams
	s, err := c.build(ctx, standSpec{transport: e.Transport, path: &impair.Params{Delay: rtt / 2, Loss: e.LossPct / 100}, seed: seed, client: l})
	if err == nil {
		if err = c.cellStages(ctx, s, rtt); err == nil {
			err = c.cellEnd(s, &e)
		} else {
			err = errors.Join(err, s.abandon())
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		e.Broken = err.Error()
	}
	c.into.Cells = append(c.into.Cells, e)
	return nil
}

// cellStages is the load of a cell.
func (c *chaosRun) cellStages(ctx context.Context, s *stand, rtt time.Duration) error {
	for _, st := range []struct {
		name string
		mode chaos.Mode
		d    time.Duration
	}{
		{stageWarm, chaos.Open, max(c.o.duration/4, 2*rtt)}, {stageOpen, chaos.Open, c.o.duration},
		{stageWarm, chaos.Closed, max(c.o.duration/4, 2*rtt)}, {stageClosed, chaos.Closed, c.o.duration},
	} {
		if err := s.load.stage(st.name, st.mode); err != nil {
			return err
		}
		if _, err := s.watch(ctx, fmt.Sprintf("%s (%s loop)", st.name, st.mode), st.d, st.d, nil); err != nil {
			return err
		}
	}
	return nil
}

// cellEnd takes the figures.
func (c *chaosRun) cellEnd(s *stand, e *report.ChaosCell) error {
	r, srv, path, err := s.end()
	if err != nil {
		return err
	}
	e.Books, e.ServerRSS = books(r), srv.RSS
	if srv.FDLimit > 0 {
		e.FDShare = 100 * float64(srv.FDs) / float64(srv.FDLimit)
	}
	closed := stageOf(r, stageClosed)
	e.Open, e.Closed = stageOf(r, stageOpen).Latency, closed.Latency
	if d := closed.LastS - closed.AtS; d > 0 {
		e.FPS = float64(closed.Good) / d
		e.Gbps = e.FPS * float64(s.spec.client.Payload) * 8 / 1e9
	}
	var in, lost, late uint64
	for _, d := range []*impair.Counters{&path.ToServer, &path.ToClient} {
		in, lost, late = in+d.In, lost+d.Lost, late+d.Late
		e.Missed += d.DeviceDropped + d.Unsent
	}
	e.PathPackets = in
	if in > 0 {
		e.PathLost, e.PathLate = 100*float64(lost)/float64(in), 100*float64(late)/float64(in)
	}
	return nil
}

// The ablation of more QUIC streams under loss.
const (
	ablationLoss   = 3
	ablationRTT    = 50 * time.Millisecond
	ablationFlight = 64 // requests in flight, over however many streams
	ablationRounds = 3
	// ablationPayload makes what is in flight about one congestion window at that loss (Mathis 1997: seven packets). Were it more, requests would
	// wait for the window, on however many streams; what the ablation is about is waiting for a lost packet of somebody else.
	ablationPayload = 128
)

// ablation are its steps: every round has all numbers of streams, over paths with the same losses.
func (c *chaosRun) ablation() []step {
	if !c.o.has(rowStreams) {
		return nil
	}
	counts := []int{1, 4, 16, ablationFlight}
	var out []step
	for round := range ablationRounds {
		for i, n := range counts {
			label := fmt.Sprintf("%d streams, loss %d %%, round %d of %d", n, ablationLoss, round+1, ablationRounds)
			out = append(out, step{name: rowStreams, label: label, path: true, do: func(ctx context.Context) error {
				if round == 0 {
					c.into.Streams = append(c.into.Streams, report.ChaosStreams{Streams: n, LossPct: ablationLoss, RTTms: ablationRTT.Seconds() * 1e3, Flight: ablationFlight, Payload: ablationPayload})
				}
				return c.ablate(ctx, &c.into.Streams[i], c.o.seed+uint64(round))
			}})
		}
	}
	return out
}

// ablate is one measurement. One that cannot be made has failed; the others go on.
func (c *chaosRun) ablate(ctx context.Context, into *report.ChaosStreams, seed uint64) error {
	l := chaos.Config{Conns: 1, Streams: into.Streams, Depth: ablationFlight / into.Streams, RPS: 1, Payload: ablationPayload}
	s, err := c.build(ctx, standSpec{transport: report.ChaosQUICMany, path: &impair.Params{Delay: ablationRTT / 2, Loss: ablationLoss / 100.0}, seed: seed, client: l})
	if err == nil {
		if err = c.ablationStages(ctx, s); err == nil {
			err = c.ablationEnd(s, into)
		} else {
			err = errors.Join(err, s.abandon())
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		into.Broken = err.Error()
	}
	return nil
}

// ablationStages is the load of one measurement.
func (c *chaosRun) ablationStages(ctx context.Context, s *stand) error {
	for _, name := range []string{stageWarm, stageClosed} {
		if err := s.load.stage(name, chaos.Closed); err != nil {
			return err
		}
		if _, err := s.watch(ctx, name, c.o.duration, c.o.duration, nil); err != nil {
			return err
		}
	}
	return nil
}

// ablationEnd takes its figures.
func (c *chaosRun) ablationEnd(s *stand, into *report.ChaosStreams) error {
	r, _, _, err := s.end()
	if err != nil {
		return err
	}
	b := books(r)
	into.Books.Add(&b)
	closed := stageOf(r, stageClosed)
	into.Rounds = append(into.Rounds, report.ChaosStreamsRound{
		Gbps: float64(closed.Good) / (closed.LastS - closed.AtS) * float64(s.spec.client.Payload) * 8 / 1e9,
		P50:  closed.Latency.P50, P95: closed.Latency.P95, P99: closed.Latency.P99,
	})
	into.Summarise()
	return nil
}
