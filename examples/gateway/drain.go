package main

import (
	"context"
	"errors"
	"time"
)

// drain ends the gateway: first readiness alone, for drain.delay, so that balancers send nothing new; then no new connections come,
// clients are told (a frame with shutting_down) and answered what they are owed, upstreams after them; after drain.timeout the rest is
// cut off. What was cut off is logged.
func (a *app) drain(delay bool) {
	a.leaving.Store(true)
	a.mu.Lock()
	c := *a.now.Config
	a.mu.Unlock()
	if !delay {
		c.DrainDelay = 0
	}
	a.log.Info("draining", "delay", c.DrainDelay.String(), "timeout", c.DrainTimeout.String(), "conns", a.loops.Stats().Conns)
	time.Sleep(c.DrainDelay) // a second signal ends the process meanwhile
	ctx, cancel := context.WithTimeout(context.Background(), c.DrainTimeout)
	defer cancel()
	began := time.Now()
	err := a.close(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		a.log.Warn("drained", "reason", "shutting_down", "err", "drain.timeout is over: what was left has been cut off", "took", time.Since(began).String())
		return
	}
	if err != nil {
		a.log.Error("drained", "reason", reasonOf(err), "err", err)
		return
	}
	a.log.Info("drained", "took", time.Since(began).String())
}

// close ends all parts, in the order that loses nothing: certificates and the tor outlive the connections that use them, and probes are
// answered until the end.
func (a *app) close(ctx context.Context) error {
	a.leaving.Store(true)
	var err error
	if a.loops != nil {
		err = a.loops.Shutdown(ctx)
	}
	if a.tor != nil {
		err = errors.Join(err, a.tor.Close())
	}
	a.admin.close()
	a.stop()
	a.work.Wait()
	return err
}
