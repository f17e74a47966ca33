package nodes

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/sched"
)

// sessionsKept is how many sessions the load keeps: all connections have the same, the latest.
const sessionsKept = 1

// underLoad is the part of the run with a load.
func (s *site) underLoad(ctx context.Context, r *report.Nodes) error {
	c, err := newClient(s.net, s.balancer, sessionsKept)
	if err != nil {
		return err
	}
	defer c.close()
	if err := c.trust(s.files); err != nil {
		return err
	}
	w, err := startCrowd(ctx, c, &s.cfg)
	if err != nil {
		return err
	}
	defer w.stop()
	if r.Rolling, err = s.rolling(ctx, w); err != nil {
		return errors.Join(err, s.broken())
	}
	r.Kill, err = s.kill(ctx, w)
	return errors.Join(err, s.broken())
}

// wait lets the load run for a while.
func (s *site) wait(ctx context.Context, w *crowd, d time.Duration, what string) error {
	for end := time.Now().Add(d); ; {
		s.say(w, what)
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		if err := sched.Sleep(ctx, min(left, 200*time.Millisecond)); err != nil {
			return err
		}
	}
}

// say shows what is being done, and how the load fares.
func (s *site) say(w *crowd, what string) {
	w.mu.Lock()
	c := w.counts
	w.mu.Unlock()
	s.cfg.Progress(fmt.Sprintf("%s: %d frames answered, %d failed; connections: %v, %d moved, %d lost", what, c.Frames, c.Failed, w.at(), c.Moved, c.Lost))
}

// rolling restarts every node in turn: it is told to end, drains, and its successor is in the balancer before the next one's turn.
func (s *site) rolling(ctx context.Context, w *crowd) (*report.NodesRolling, error) {
	r := new(report.NodesRolling)
	w.window(-1) // what was before everybody was there is not measured
	if err := s.wait(ctx, w, s.cfg.Window, "load on all nodes"); err != nil {
		return nil, err
	}
	var before report.NodesLoad
	r.Quiet, before, _ = w.window(-1)
	for i, n := range s.nodes {
		// Those there were and those that come while it is ready still, all have to move.
		one := report.NodeRestart{Node: i + 1, Conns: w.at()[i]}
		_, _, was := w.window(-1)
		began := time.Now()
		watch, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() { // shows the drain; ends below
			defer close(done)
			_ = s.wait(watch, w, time.Hour, fmt.Sprintf("restarting node %d of %d", i+1, Nodes))
		}()
		clean, err := n.drain(ctx)
		drained := time.Since(began)
		if err == nil {
			err = n.start(ctx, s.balancer)
		}
		cancel()
		<-done
		if err != nil {
			return r, err
		}
		var is []report.NodesShare
		one.Latency, _, is = w.window(-1)
		one.Clean, one.DrainS, one.TookS = clean, drained.Seconds(), time.Since(began).Seconds()
		one.Moved, one.Failed = is[i].Moved-was[i].Moved, is[i].Failed-was[i].Failed
		r.Restarts = append(r.Restarts, one)
		if err := s.wait(ctx, w, s.cfg.Window, fmt.Sprintf("after the restart of node %d", i+1)); err != nil {
			return r, err
		}
	}
	_, after, _ := w.window(-1)
	r.Load, r.Complete = after.Since(&before), true
	return r, nil
}

// kill ends the node with the most connections without a warning.
func (s *site) kill(ctx context.Context, w *crowd) (*report.NodesKill, error) {
	victim := 0
	for i, n := range w.at() {
		if n > w.at()[victim] {
			victim = i
		}
	}
	w.window(-1)
	if err := s.wait(ctx, w, s.cfg.Window, "before a node is killed"); err != nil {
		return nil, err
	}
	r := &report.NodesKill{Node: victim + 1, Conns: w.at()[victim]}
	var before report.NodesLoad
	var was []report.NodesShare
	r.Before, before, was = w.window(victim)
	redispatched := s.balancer.redispatched()
	w.forget()
	began := time.Now()
	s.nodes[victim].kill()
	if err := s.heal(ctx, w, victim, r); err != nil {
		return r, err
	}
	// The other nodes' requests for as long as before, the time in which the balancer notices included.
	err := s.wait(ctx, w, s.cfg.Window-time.Since(began), fmt.Sprintf("node %d was killed", victim+1))
	after, load, is := w.window(victim)
	r.After, r.Load = after, load.Since(&before)
	for i := range is {
		if share := is[i].Since(&was[i]); i == victim {
			r.Lost, r.Failed = share.Lost, share.Failed
		} else {
			r.OthersLost += share.Lost
			r.OthersFailed += share.Failed
		}
	}
	r.Redispatched = s.balancer.redispatched() - redispatched
	r.Complete = err == nil
	return r, err
}

// heal waits until all connections of a killed node are made up for, and the balancer has noticed.
func (s *site) heal(ctx context.Context, w *crowd, victim int, r *report.NodesKill) error {
	began := time.Now()
	for end := began.Add(patience); time.Now().Before(end); {
		all, longest := w.healed()
		up, err := s.balancer.up(victim)
		if err != nil {
			return err
		}
		if !up && r.NoticedS == 0 {
			r.NoticedS = time.Since(began).Seconds()
		}
		if all && !up && w.at()[victim] == 0 {
			r.Healed, r.LongestS = true, longest.Seconds()
			return nil
		}
		s.say(w, fmt.Sprintf("node %d was killed", victim+1))
		if err := sched.Sleep(ctx, poll); err != nil {
			return err
		}
	}
	return nil // Healed is false: that is the verdict
}
