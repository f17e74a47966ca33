package reactor

import (
	"fmt"

	"github.com/ron-transport/ron-transport/pool/readiness"
)

// Readiness says how far the reactor can be relied on: NotReady (shutting_down) from the start of Shutdown on; Degraded
// (over_capacity) while MaxConns is reached, so that new connections are refused, or while the connections hold as many bytes of
// buffers as BufferBudget allows, so that slow readers are stopped early. Any goroutine.
func (r *Reactor) Readiness() readiness.Status {
	s := readiness.OK()
	r.mu.Lock()
	stopped := r.stopped
	r.mu.Unlock()
	if stopped {
		return s.Lower(readiness.NotReady, ReasonShuttingDown, "the reactor is shutting down")
	}
	if n, most := r.admitted.Load(), r.maxConns.Load(); most > 0 && n >= most {
		s = s.Lower(readiness.Degraded, ReasonOverCapacity, fmt.Sprintf("%d connections, allowed are %d (MaxConns)", n, most))
	}
	var held int64
	for _, l := range r.loops {
		held += l.pool.Stats().OutstandingBytes
	}
	if budget := int64(r.cfg.BufferBudget); budget > 0 && held >= budget {
		s = s.Lower(readiness.Degraded, ReasonOverCapacity, fmt.Sprintf("%d bytes of buffers are held, the budget is %d (BufferBudget)", held, budget))
	}
	return s
}

// Readiness is the reactor's, and further: NotReady (shutting_down) when the listener is closed or handed over to another process;
// Degraded (over_capacity) while a loop does not accept because the process has no descriptors or the kernel no memory. Any
// goroutine.
func (lis *Listener) Readiness() readiness.Status {
	s := lis.r.Readiness()
	lis.mu.Lock()
	closed := lis.closed
	lis.mu.Unlock()
	switch n := lis.paused.Load(); {
	case lis.left.Load():
		return s.Lower(readiness.NotReady, ReasonShuttingDown, "the listener has been handed over to another process")
	case closed:
		return s.Lower(readiness.NotReady, ReasonShuttingDown, "the listener is closed")
	case n > 0:
		return s.Lower(readiness.Degraded, ReasonOverCapacity, fmt.Sprintf("accepting is paused on %d loops: no descriptor or no memory was left", n))
	}
	return s
}

// SetMaxConns changes Config.MaxConns while connections come and go. n as there; the error names the value and what is allowed.
// Connections that exist stay, even if they are more. Any goroutine.
func (r *Reactor) SetMaxConns(n int) error {
	if n == 0 {
		n = defaultMaxConns()
	}
	if n > maxPeerLimit {
		return fmt.Errorf("reactor: MaxConns is %d, allowed are 1 to %d%s", n, maxPeerLimit, offNegative)
	}
	r.maxConns.Store(int64(n))
	return nil
}

// pauseTo has the acceptor pause until at, in the loops' time; 0 ends a pause. Loop only.
func (a *acceptor) pauseTo(at int64) {
	switch {
	case a.rearmAt == 0 && at != 0:
		a.lis.paused.Add(1)
	case a.rearmAt != 0 && at == 0:
		a.lis.paused.Add(-1)
	}
	a.rearmAt = at
}
