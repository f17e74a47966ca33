package reactor

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// Service is what brings connections besides the reactor's listeners, such as a QUIC endpoint. Shutdown calls its methods, on
// its own goroutine: StopAccepting first; Close when every connection is closed, and while the loops still turn, so that it can
// end its watches. What Shutdown has called may have been called before.
type Service interface {
	// StopAccepting has no new connections come. It must not wait for those that exist.
	StopAccepting()
	// Close gives up whatever is left and ends the service's watches.
	Close() error
}

// AddService has Shutdown end s. ErrShuttingDown when it has begun. Any goroutine.
func (r *Reactor) AddService(s Service) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return ErrShuttingDown
	}
	r.services = append(r.services, s)
	return nil
}

// RemoveService forgets s, which has ended by itself. Any goroutine.
func (r *Reactor) RemoveService(s Service) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.services, s); i >= 0 {
		r.services = slices.Delete(r.services, i, i+1)
	}
}

// Post has fn run on a loop, 0 … Loops() - 1, in order with other posts to it. If it returns nil, fn will run. ErrShuttingDown
// when the loop has stopped, ErrQueueFull when it cannot keep up. Any goroutine.
func (r *Reactor) Post(loop int, fn func()) error {
	if loop < 0 || loop >= len(r.loops) {
		return rangeError("loop", loop, 0, len(r.loops)-1)
	}
	err := r.loops[loop].push(task{kind: taskFunc, fn: fn})
	if err == ErrClosed {
		return ErrShuttingDown
	}
	return err
}

// Admission counts a connection of a service's in the limits that hold for accepted connections.
type Admission struct {
	r     *Reactor
	addr  netip.Addr
	peer  *peer        // nil: no limits per peer
	state atomic.Int32 // an admissionState
}

// admissionState is what an Admission counts for; it only moves downwards.
type admissionState = int32

const (
	// admittedHalf: a connection whose handshake is not complete.
	admittedHalf admissionState = iota
	// admittedOpen: one whose handshake is.
	admittedOpen
	// admittedGone: nothing any more.
	admittedGone
)

// Admit counts a connection from remote whose handshake begins, in Config.MaxConns, MaxConnsPerPeer, MaxHandshakesPerPeer and
// PeerConnRate, together with the connections on sockets. ErrOverCapacity, ErrPeerLimit, ErrPeerHandshakes or ErrPeerRate when
// a limit forbids it; that is counted (Stats.Refused). Any goroutine.
func (r *Reactor) Admit(remote netip.AddrPort) (*Admission, error) {
	a := &Admission{r: r, addr: remote.Addr()}
	if n, most := r.admitted.Add(1), r.maxConns.Load(); most > 0 && n > most {
		r.admitted.Add(-1)
		r.refusals.Add(1)
		r.tellRefusal(ErrOverCapacity)
		return nil, ErrOverCapacity
	}
	if r.peers != nil && remote.IsValid() {
		p, err := r.peers.add(a.addr, true, r.clock())
		if err != nil {
			r.admitted.Add(-1)
			r.refusals.Add(1)
			r.tellRefusal(err)
			return nil, err
		}
		a.peer = p
	}
	return a, nil
}

// Opened tells that the handshake is complete. Calls after the first, or after Release, do nothing. Any goroutine.
func (a *Admission) Opened() {
	if a.state.CompareAndSwap(admittedHalf, admittedOpen) && a.peer != nil {
		a.r.peers.opened(a.peer)
	}
}

// Release tells that the connection is gone. Calls after the first do nothing. Any goroutine.
func (a *Admission) Release() {
	before := a.state.Swap(admittedGone)
	if before == admittedGone {
		return
	}
	a.r.admitted.Add(-1)
	if a.peer != nil {
		a.r.peers.remove(a.addr, a.peer, before == admittedHalf, a.r.clock())
	}
}

// clock is the time as the token buckets want it, for goroutines that have no loop.
func (r *Reactor) clock() time.Time { return time.Unix(0, r.sys.now()) }

// shutdown is Shutdown, once.
func (r *Reactor) shutdown(ctx context.Context) error {
	began := time.Now()
	r.tell(eventShutdown, slog.Int64("conns", r.conns()))
	r.mu.Lock()
	r.stopped = true
	open, services := slices.Clone(r.listeners), slices.Clone(r.services)
	r.mu.Unlock()
	var err error
	for _, s := range services {
		s.StopAccepting()
	}
	for _, lis := range open {
		err = errors.Join(err, lis.Close())
	}
	for _, l := range r.loops {
		_ = l.push(task{kind: taskDrain})
	}
	err = errors.Join(err, r.awaitIdle(ctx))
	for _, s := range services {
		err = errors.Join(err, s.Close())
	}
	for _, l := range r.loops {
		<-l.done
	}
	r.workers.wait()
	r.tellStopped(ctx, began, err)
	return err
}

// conns is how many connections exist. Any goroutine.
func (r *Reactor) conns() (n int64) {
	for _, l := range r.loops {
		n += l.stats.conns.Load()
	}
	return n
}

// awaitIdle waits until no loop has connections left. When ctx ends first, they are aborted, and its error is returned.
func (r *Reactor) awaitIdle(ctx context.Context) error {
	for _, l := range r.loops {
		select {
		case <-l.idle:
			continue
		case <-ctx.Done():
		}
		for _, l := range r.loops {
			_ = l.push(task{kind: taskAbort}) // fails where the loop has stopped already
		}
		for _, l := range r.loops {
			<-l.idle
		}
		return ctx.Err()
	}
	return nil
}

// tellIdle tells a shutdown that no connection is left.
func (l *loop) tellIdle() {
	if !l.stopping || l.conns > 0 || l.tasks != nil {
		return
	}
	select {
	case <-l.idle: // told before
	default:
		close(l.idle)
	}
}
