package quic

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/net/ipv4"

	"github.com/ron-transport/ron-transport/quic/internal/udp"
	"github.com/ron-transport/ron-transport/reactor"
)

// Offload says what the kernel does for the sockets of a listener.
type Offload struct {
	GRO      bool // received datagrams come joined (UDP_GRO)
	GSO      bool // sent datagrams are cut by the kernel (UDP_SEGMENT)
	Steering bool // a connection's datagrams follow its ID to its loop; false: the hash of their addresses decides
}

// socket is a UDP socket that a loop of the reactor reads. quic-go finds its methods (ReadBatch among them) by embedding.
type socket struct {
	*udp.Socket
	watch *reactor.Watch
	once  sync.Once
	left  atomic.Bool   // see leave
	over  chan struct{} // closed when a reader that waits after leave is to return
}

// OnReady implements reactor.Watcher.
func (s *socketWatcher) OnReady(ev reactor.Readiness) (again bool) {
	return s.Socket.OnReady(ev&(reactor.ReadReady|reactor.HangUp) != 0, ev&reactor.WriteReady != 0)
}

// socketWatcher is a socket as the loop sees it.
type socketWatcher socket

// openSockets opens a socket on addr for each loop, from the first on.
func openSockets(r *reactor.Reactor, addr string, n int, cfg Config) ([]*socket, error) {
	to, err := resolve(addr)
	if err != nil {
		return nil, &Error{Why: reactor.ReasonIO, Msg: "listen " + addr, Err: err}
	}
	return watchSockets(r, 0, to, n, true, cfg)
}

// openSocket opens a socket on addr for one loop.
func openSocket(r *reactor.Reactor, loop int, addr string, cfg Config) (*socket, error) {
	to, err := resolve(addr)
	if err != nil {
		return nil, &Error{Why: reactor.ReasonIO, Msg: "bind " + addr, Err: err}
	}
	all, err := watchSockets(r, loop, to, 1, false, cfg)
	if err != nil {
		return nil, err
	}
	return all[0], nil
}

// watchSockets opens n sockets and has loops read them, one each. They accept connections, or dial them.
func watchSockets(r *reactor.Reactor, loop int, addr netip.AddrPort, n int, accept bool, cfg Config) ([]*socket, error) {
	socks, err := udp.Open(addr, udp.Options{
		Sockets: n, SendBuffer: cfg.SendBuffer, RecvBuffer: cfg.RecvBuffer,
		DisableGRO: cfg.DisableGRO, DisableGSO: cfg.DisableGSO, Logger: cfg.Logger, JoinPeers: accept,
	})
	if err != nil {
		return nil, &Error{Why: reactor.ReasonIO, Msg: "bind " + addr.String(), Err: err}
	}
	all := make([]*socket, n)
	for i, u := range socks {
		all[i] = &socket{Socket: u, over: make(chan struct{})}
	}
	for i, s := range all {
		s.watch, err = r.Watch(loop+i, s.FD(), (*socketWatcher)(s))
		if err != nil {
			for _, s := range all {
				s.stop()
			}
			return nil, err
		}
		s.SetWake(s.watch.Wake)
	}
	return all, nil
}

// resolve reads "host:port"; an empty host is every address. It may ask for a name.
func resolve(addr string) (netip.AddrPort, error) {
	a, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	ap := a.AddrPort()
	if a.IP == nil {
		return ap, nil
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), nil
}

// stop ends the watch and closes the socket. Not on a loop.
func (s *socket) stop() {
	s.once.Do(func() {
		if s.watch != nil {
			_ = s.watch.Close()
		}
		_ = s.Socket.Close()
	})
}

// leave closes the socket, and hides that from quic-go until release: it ends the connections of a transport whose socket fails, or
// that is closed, and has no way to take a connection off it. Not on a loop.
func (s *socket) leave() {
	s.left.Store(true)
	s.stop()
}

// release ends the wait of a reader after leave. It is called once.
func (s *socket) release() { close(s.over) }

// ReadBatch is the embedded one's; after leave it waits for release.
func (s *socket) ReadBatch(ms []ipv4.Message, flags int) (int, error) {
	n, err := s.Socket.ReadBatch(ms, flags)
	if err != nil && s.left.Load() {
		<-s.over
	}
	return n, err
}

// WriteMsgUDP is the embedded one's; after leave what is sent gets lost.
func (s *socket) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error) {
	n, oobn, err = s.Socket.WriteMsgUDP(b, oob, addr)
	if err != nil && s.left.Load() {
		return len(b), len(oob), nil
	}
	return n, oobn, err
}

// offloads is what the kernel does for the socket.
func (s *socket) offloads() Offload {
	o := s.Socket.Offload()
	return Offload{GRO: o.GRO, GSO: o.GSO, Steering: o.Steering}
}
