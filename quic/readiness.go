package quic

import (
	"fmt"

	"github.com/ron-transport/ron-transport/pool/readiness"
	"github.com/ron-transport/ron-transport/reactor"
)

// Readiness is the reactor's, and further: NotReady (shutting_down) when the listener is closed, or closes; Degraded (over_capacity)
// while MaxHandshakes connections are half-open, so that new ones are refused. Any goroutine.
func (lis *Listener) Readiness() readiness.Status {
	s := lis.ep.r.Readiness()
	if !lis.ep.open() {
		return s.Lower(readiness.NotReady, reactor.ReasonShuttingDown, "the listener is closed")
	}
	if half, most := lis.ep.half.Load(), int64(lis.lc.MaxHandshakes); half >= most {
		s = s.Lower(readiness.Degraded, reactor.ReasonOverCapacity, fmt.Sprintf("%d connections are half-open, allowed are %d (MaxHandshakes)", half, most))
	}
	return s
}
