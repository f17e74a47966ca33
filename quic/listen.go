package quic

import (
	"context"
	"crypto/rand"
	"net"
	"sync"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/reactor"
)

// Listener accepts QUIC connections, on a socket for each loop of the reactor.
type Listener struct {
	ep      *endpoint
	lc      ListenConfig
	ports   []*port
	accepts []acceptor

	closing sync.Once
	down    chan struct{} // closed when the sockets are
}

// acceptor is quic-go's listener, for 0-RTT or not.
type acceptor interface {
	Accept(context.Context) (*quicgo.Conn, error)
	Close() error
}

// Listen opens a UDP socket on addr ("host:port", port 0 for any) for each loop of r and accepts connections. A connection
// stays on the loop that its first packet came to: the first byte of its connection IDs names it (RFC 9000, §5.1), and the
// kernel goes by that. r's Shutdown closes the listener. Any goroutine.
func Listen(r *reactor.Reactor, addr string, lc ListenConfig) (*Listener, error) {
	lc, err := lc.check()
	if err != nil {
		return nil, err
	}
	if lc.ResetKey, err = keyOr(lc.ResetKey); err != nil {
		return nil, err
	}
	if lc.TokenKey, err = keyOr(lc.TokenKey); err != nil {
		return nil, err
	}
	ep := newEndpoint(r, lc.Config, true, lc.Early)
	ep.protocol, ep.refuse, ep.handler, ep.onError = lc.Protocol, lc.Refuse, lc.Conns, lc.OnError
	socks, err := openSockets(r, addr, r.Loops(), lc.Config)
	if err != nil {
		return nil, err
	}
	lis := &Listener{ep: ep, lc: lc, down: make(chan struct{})}
	for i, s := range socks {
		lis.ports = append(lis.ports, newPort(i, s, steering{i, len(socks)}, lc.ResetKey, lc.TokenKey))
	}
	if err := lis.start(); err != nil {
		lis.closePorts()
		return nil, err
	}
	return lis, nil
}

// keyOr returns a copy of key, or a random one.
func keyOr(key *[32]byte) (*[32]byte, error) {
	k := new([32]byte)
	if key != nil {
		*k = *key
		return k, nil
	}
	_, err := rand.Read(k[:])
	return k, err
}

// start has every port accept, and the reactor know.
func (lis *Listener) start() error {
	for _, p := range lis.ports {
		p.tr.ConnContext = lis.ep.connContext(p.loop, int64(lis.lc.MaxHandshakes))
		p.tr.VerifySourceAddress = lis.suspicious
		ln, err := lis.listen(p.tr)
		if err != nil {
			return err
		}
		lis.accepts = append(lis.accepts, ln)
	}
	if err := lis.ep.r.AddService((*listenerService)(lis)); err != nil {
		return err
	}
	for i, p := range lis.ports {
		lis.ep.wg.Add(1)
		go lis.accept(p, lis.accepts[i])
	}
	return nil
}

func (lis *Listener) listen(tr *quicgo.Transport) (acceptor, error) {
	if lis.lc.Early {
		return tr.ListenEarly(lis.lc.TLS, lis.ep.qcfg)
	}
	return tr.Listen(lis.lc.TLS, lis.ep.qcfg)
}

// suspicious says whether a client has to prove its address first.
func (lis *Listener) suspicious(net.Addr) bool {
	if above := lis.lc.RetryAbove; above >= 0 && lis.ep.half.Load() < int64(above) {
		return false
	}
	lis.ep.count.retries.Add(1)
	return true
}

// accept takes over the connections of a port.
func (lis *Listener) accept(p *port, ln acceptor) {
	defer lis.ep.wg.Done()
	for {
		qc, err := ln.Accept(context.Background())
		if err != nil {
			return
		}
		lis.ep.wg.Add(1)
		go lis.take(p, qc)
	}
}

// take runs a connection. One that is refused has its handshake completed first, even if it could begin with 0-RTT.
func (lis *Listener) take(p *port, qc *quicgo.Conn) {
	defer lis.ep.wg.Done()
	t := qc.Context().Value(tagKey{}).(*tag)
	if t.refusal != nil {
		select {
		case <-qc.HandshakeComplete():
		case <-qc.Context().Done(): // the tag's end reports it
			return
		}
	}
	c := newConn(lis.ep, p, qc, t, true)
	if c == nil { // it was under way when the listener was closed
		_ = qc.CloseWithError(CodeShuttingDown.app(), CodeShuttingDown.Reason())
		return
	}
	c.run()
}

// Addr is the address the listener is bound to, a *net.UDPAddr. Any goroutine.
func (lis *Listener) Addr() net.Addr { return lis.ports[0].addr() }

// Granted is what the kernel made of SendBuffer and RecvBuffer, in bytes for each socket. Linux doubles what was asked for,
// after clamping it to net.core.wmem_max and rmem_max. Any goroutine.
func (lis *Listener) Granted() (send, recv int) { return lis.ports[0].sock.Granted() }

// Offload is what the kernel does for the sockets. Any goroutine.
func (lis *Listener) Offload() Offload { return lis.ports[0].sock.offloads() }

// Stats returns a snapshot. Any goroutine.
func (lis *Listener) Stats() Stats {
	st := lis.ep.stats()
	for _, p := range lis.ports {
		st.add(p.sock.Stats())
	}
	return st
}

// Close stops accepting: handshakes under way are refused. Established connections go on, and the sockets are closed after
// the last of them. It returns when no connection is accepted any more. Any goroutine except a loop's.
func (lis *Listener) Close() error {
	if _, first := lis.ep.advance(endpointClosing); !first {
		return nil
	}
	for _, ln := range lis.accepts {
		_ = ln.Close()
	}
	go func() {
		<-lis.ep.empty
		lis.finish()
		lis.ep.r.RemoveService((*listenerService)(lis))
	}()
	return nil
}

// finish closes the sockets and waits until nothing of the listener is left.
func (lis *Listener) finish() {
	lis.closing.Do(func() {
		lis.closePorts()
		lis.ep.wg.Wait()
		close(lis.down)
	})
	<-lis.down
}

func (lis *Listener) closePorts() {
	var wg sync.WaitGroup
	for _, p := range lis.ports {
		wg.Go(p.close)
	}
	wg.Wait()
}

// listenerService is a Listener as the reactor sees it at its end.
type listenerService Listener

// StopAccepting implements reactor.Service.
func (s *listenerService) StopAccepting() { s.ep.drain() }

// Close implements reactor.Service.
func (s *listenerService) Close() error {
	s.ep.closeConns(CodeShuttingDown, reactor.ErrShuttingDown)
	(*Listener)(s).finish()
	return nil
}
