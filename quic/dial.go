package quic

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/reactor"
)

// Dialer dials QUIC connections, many on one socket: one for each loop and address family that is used.
type Dialer struct {
	ep *endpoint
	dc DialerConfig

	mu    sync.Mutex
	ports map[portKey]*port
	shut  bool // no new sockets

	closing sync.Once
	down    chan struct{} // closed when the sockets are
}

// portKey names a socket of a dialer.
type portKey struct {
	loop int
	v6   bool
}

// NewDialer makes a Dialer. It opens no socket before the first Dial. r's Shutdown closes it. Any goroutine.
func NewDialer(r *reactor.Reactor, dc DialerConfig) (*Dialer, error) {
	dc, err := dc.check()
	if err != nil {
		return nil, err
	}
	d := &Dialer{dc: dc, ports: make(map[portKey]*port), down: make(chan struct{})}
	d.ep = newEndpoint(r, dc.Config, dc.Protocol != nil, false)
	d.ep.protocol, d.ep.handler = dc.Protocol, dc.Conns
	d.ep.qcfg.TokenStore = quicgo.NewLRUTokenStore(sessionCache, tokensEach)
	if err := r.AddService((*dialerService)(d)); err != nil {
		return nil, err
	}
	return d, nil
}

// Dial connects to addr ("host:port") on the loop that has the fewest connections of this dialer. It returns when the handshake
// is complete, with DialerConfig.Early possibly before. The error of a handshake carries its reason. Any goroutine except a
// loop's: it blocks.
func (d *Dialer) Dial(ctx context.Context, addr string) (*Conn, error) {
	return d.DialOn(ctx, d.ep.lightest(), addr)
}

// DialOn is Dial on the loop of a given number, 0 … Loops()-1. Any goroutine except a loop's.
func (d *Dialer) DialOn(ctx context.Context, loop int, addr string) (*Conn, error) {
	if loop < 0 || loop >= d.ep.r.Loops() {
		return nil, fmt.Errorf("quic: loop is %d, allowed are 0 to %d", loop, d.ep.r.Loops()-1)
	}
	to, host, err := lookup(ctx, addr)
	if err != nil {
		return nil, &Error{Why: reactor.ReasonIO, Msg: "dial " + addr, Err: err}
	}
	p, err := d.port(portKey{loop, to.Addr().Is6()})
	if err != nil {
		return nil, err
	}
	tc := d.dc.TLS
	if tc.ServerName == "" {
		tc = tc.Clone()
		tc.ServerName = host
	}
	t := &tag{ep: d.ep, began: time.Now()}
	qc, err := d.dial(context.WithValue(ctx, tagKey{}, t), p, net.UDPAddrFromAddrPort(to), tc)
	if err != nil {
		t.release()
		return nil, dialError(err)
	}
	c := newConn(d.ep, p, qc, t, false)
	if c == nil {
		_ = qc.CloseWithError(CodeShuttingDown.app(), CodeShuttingDown.Reason())
		t.release()
		return nil, ErrClosed
	}
	go c.run()
	return c, nil
}

func (d *Dialer) dial(ctx context.Context, p *port, to *net.UDPAddr, tc *stdtls.Config) (*quicgo.Conn, error) {
	if d.dc.Early {
		return p.tr.DialEarly(ctx, to, tc, d.ep.qcfg)
	}
	return p.tr.Dial(ctx, to, tc, d.ep.qcfg)
}

// dialError translates what a dial returned.
func dialError(err error) error {
	if errors.Is(err, context.Canceled) {
		return &Error{Why: reactor.ReasonIO, Msg: "dial given up", Err: err}
	}
	if cause := connCause(err, false); cause != nil {
		return cause
	}
	return &Error{Why: reactor.ReasonIO, Remote: true, Msg: "connection closed", Err: err}
}

// lookup finds the address to dial, and the name to ask for.
func lookup(ctx context.Context, addr string) (netip.AddrPort, string, error) {
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return netip.AddrPort{}, "", err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "udp", service)
	if err != nil {
		return netip.AddrPort{}, "", err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, "", err
	}
	return netip.AddrPortFrom(ips[0].Unmap(), uint16(port)), host, nil
}

// port returns a socket, opened on first use.
func (d *Dialer) port(k portKey) (*port, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		return nil, ErrClosed
	}
	if p := d.ports[k]; p != nil {
		return p, nil
	}
	p, err := d.open(k.loop, anyAddr(k.v6))
	if err == nil {
		d.ports[k] = p
	}
	return p, err
}

// anyAddr binds to any address of a family.
func anyAddr(v6 bool) string {
	if v6 {
		return "[::]:0"
	}
	return "0.0.0.0:0"
}

// open opens a socket on a loop.
func (d *Dialer) open(loop int, local string) (*port, error) {
	sock, err := openSocket(d.ep.r, loop, local, d.dc.Config)
	if err != nil {
		return nil, err
	}
	return newPort(loop, sock, steering{0, 1}, nil, nil), nil
}

// Stats returns a snapshot. Any goroutine.
func (d *Dialer) Stats() Stats {
	st := d.ep.stats()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.ports {
		st.add(p.sock.Stats())
	}
	return st
}

// Close closes all connections, when what they have sent is acknowledged or after two seconds, and the sockets. It returns when
// all are gone. Any goroutine except a loop's.
func (d *Dialer) Close() error {
	err := d.end(CodeNone, nil)
	d.ep.r.RemoveService((*dialerService)(d))
	return err
}

func (d *Dialer) end(code Code, cause error) error {
	d.closing.Do(func() {
		d.mu.Lock()
		d.shut = true
		ports := d.ports
		d.mu.Unlock()
		d.ep.closeConns(code, cause)
		var wg sync.WaitGroup
		for _, p := range ports {
			wg.Go(p.close)
		}
		wg.Wait()
		d.ep.wg.Wait()
		close(d.down)
	})
	<-d.down
	return nil
}

// dialerService is a Dialer as the reactor sees it at its end.
type dialerService Dialer

// StopAccepting implements reactor.Service.
func (s *dialerService) StopAccepting() { s.ep.drain() }

// Close implements reactor.Service.
func (s *dialerService) Close() error {
	return (*Dialer)(s).end(CodeShuttingDown, reactor.ErrShuttingDown)
}
