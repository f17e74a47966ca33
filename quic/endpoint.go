package quic

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/pool/latency"
	"github.com/ron-transport/ron-transport/reactor"
)

// endpointState is the life of a listener or dialer; it only moves downwards.
type endpointState uint8

const (
	// endpointOpen: connections come and go.
	endpointOpen endpointState = iota
	// endpointClosing: no new connections; those that exist go on, and when the last is gone the sockets are closed.
	endpointClosing
	// endpointDraining: the reactor shuts down: likewise, and a connection is closed when its last stream has ended.
	endpointDraining
	// endpointClosed: what was left is closed or being closed, and the sockets with it.
	endpointClosed
)

// endpoint is what the connections of a listener or dialer have in common.
type endpoint struct {
	r        *reactor.Reactor
	cfg      Config
	qcfg     *quicgo.Config
	protocol func(*reactor.Conn) reactor.Protocol
	refuse   func(*reactor.Conn, error)
	handler  ConnHandler
	onError  func(net.Addr, error)
	chunks   chunkPools

	grown    atomic.Int64 // bytes by which connection windows have grown
	half     atomic.Int64 // half-open connections
	refusals atomic.Int64 // connections being told that they are refused
	count    counters

	mu    sync.Mutex
	state endpointState
	conns map[*Conn]struct{}
	load  []int         // connections by loop
	empty chan struct{} // closed when no connection is left after endpointOpen
	wg    sync.WaitGroup
}

// counters are an endpoint's, for Stats.
type counters struct {
	opened, failed, refused, retries, streams, refusedStreams atomic.Uint64
	full, resumed, early                                      latency.Histogram // handshakes
	groups                                                    map[string]uint64 // handshakes by key exchange; under endpoint.mu
}

func newEndpoint(r *reactor.Reactor, cfg Config, streams, early bool) *endpoint {
	ep := &endpoint{r: r, cfg: cfg, conns: make(map[*Conn]struct{}), load: make([]int, r.Loops()), empty: make(chan struct{})}
	ep.count.groups = make(map[string]uint64)
	ep.qcfg = cfg.quicgo(streams, early)
	ep.qcfg.AllowConnectionWindowIncrease = func(qc *quicgo.Conn, n uint64) bool {
		t, ok := qc.Context().Value(tagKey{}).(*tag)
		return ok && t.grow(int64(n))
	}
	return ep
}

// add registers a connection; false when none are taken any more.
func (ep *endpoint) add(c *Conn) bool {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.state != endpointOpen {
		return false
	}
	ep.conns[c] = struct{}{}
	ep.load[c.loop]++
	ep.wg.Add(1)
	ep.count.opened.Add(1)
	return true
}

// remove forgets a connection that has ended.
func (ep *endpoint) remove(c *Conn) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	delete(ep.conns, c)
	ep.load[c.loop]--
	if ep.state != endpointOpen && len(ep.conns) == 0 {
		close(ep.empty)
	}
}

// advance moves to a later state and returns the connections that exist; false when it was reached before.
func (ep *endpoint) advance(to endpointState) ([]*Conn, bool) {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.state >= to {
		return nil, false
	}
	if ep.state == endpointOpen && len(ep.conns) == 0 {
		close(ep.empty)
	}
	ep.state = to
	all := make([]*Conn, 0, len(ep.conns))
	for c := range ep.conns {
		all = append(all, c)
	}
	return all, true
}

// open says whether new connections are taken.
func (ep *endpoint) open() bool {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.state == endpointOpen
}

// drain has every connection closed once its streams have ended.
func (ep *endpoint) drain() {
	all, _ := ep.advance(endpointDraining)
	for _, c := range all {
		c.drain()
	}
}

// closeConns closes every connection and waits until all are gone.
func (ep *endpoint) closeConns(code Code, cause error) {
	all, _ := ep.advance(endpointClosed)
	for _, c := range all {
		c.settle(code, cause)
	}
	<-ep.empty
}

// lightest is the loop with the fewest connections of this endpoint.
func (ep *endpoint) lightest() int {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	best := 0
	for i, n := range ep.load {
		if n < ep.load[best] {
			best = i
		}
	}
	return best
}

// post has fn run on a loop. A full queue is waited for: an event of a connection must not get lost. false: the loop has ended.
func (ep *endpoint) post(loop int, fn func()) bool {
	for {
		switch err := ep.r.Post(loop, fn); err {
		case nil:
			return true
		case reactor.ErrQueueFull:
			time.Sleep(postPause)
		default:
			return false
		}
	}
}

// tagKey finds a connection's tag in its context.
type tagKey struct{}

// tag accompanies a connection from its first packet on, as the value of its context: before there is a Conn.
type tag struct {
	ep      *endpoint
	began   time.Time          // with the client's first packet, or the call of Dial
	adm     *reactor.Admission // nil when dialled or refused
	refusal error              // not to be served, only to be told why
	half    atomic.Bool        // counted among the half-open
	taken   atomic.Bool        // a Conn has been made
	grown   atomic.Int64
}

// grow asks for n more bytes of window.
func (t *tag) grow(n int64) bool {
	if t.ep.grown.Add(n) > int64(t.ep.cfg.WindowBudget) {
		t.ep.grown.Add(-n)
		return false
	}
	t.grown.Add(n)
	return true
}

// opened is called when the handshake is complete.
func (t *tag) opened() {
	if t.half.CompareAndSwap(true, false) {
		t.ep.half.Add(-1)
		if t.adm != nil {
			t.adm.Opened()
		}
	}
}

// release gives back what the connection was granted.
func (t *tag) release() {
	if t.half.CompareAndSwap(true, false) {
		t.ep.half.Add(-1)
	}
	t.ep.grown.Add(-t.grown.Swap(0))
	if t.adm != nil {
		t.adm.Release()
	}
}

// connContext is quic-go's question whether a connection may come, asked at its first packet.
func (ep *endpoint) connContext(loop int, maxHalf int64) func(context.Context, *quicgo.ClientInfo) (context.Context, error) {
	return func(ctx context.Context, info *quicgo.ClientInfo) (context.Context, error) {
		t := &tag{ep: ep, began: time.Now()}
		remote := info.RemoteAddr.(*net.UDPAddr).AddrPort()
		if err := ep.admit(t, netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port()), maxHalf); err != nil {
			ep.failed(loop, info.RemoteAddr, err)
			return nil, err
		}
		ep.wg.Add(1)
		ctx = context.WithValue(ctx, tagKey{}, t)
		context.AfterFunc(ctx, func() {
			defer ep.wg.Done()
			if t.taken.Load() {
				return // that sees to the rest
			}
			ep.count.failed.Add(1)
			ep.failed(loop, info.RemoteAddr, connCause(context.Cause(ctx), false))
			if t.refusal != nil {
				ep.refusals.Add(-1)
			}
			t.release()
		})
		return ctx, nil
	}
}

// admit decides on a new connection. An error refuses it at once; t.refusal is for one that is to be told why.
func (ep *endpoint) admit(t *tag, remote netip.AddrPort, maxHalf int64) error {
	if !ep.open() {
		return ErrClosed
	}
	if ep.half.Add(1) > maxHalf {
		ep.half.Add(-1)
		ep.count.refused.Add(1)
		return errHandshakes
	}
	t.half.Store(true)
	adm, err := ep.r.Admit(remote)
	if err == nil {
		t.adm = adm
		return nil
	}
	ep.count.refused.Add(1)
	if err == reactor.ErrPeerHandshakes || ep.refusals.Add(1) > maxRefusals {
		if err != reactor.ErrPeerHandshakes {
			ep.refusals.Add(-1)
		}
		t.release()
		return err
	}
	t.refusal = err
	return nil
}

// failed reports a connection that ended before it was open, unless the loop has more to do than it can.
func (ep *endpoint) failed(loop int, remote net.Addr, cause error) {
	if ep.onError != nil {
		_ = ep.r.Post(loop, func() { ep.onError(remote, cause) })
	}
}
