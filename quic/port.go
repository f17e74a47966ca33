package quic

import (
	"net"

	quicgo "github.com/quic-go/quic-go"
)

// port is a UDP socket of a loop, and quic-go's transport on it.
type port struct {
	loop int
	sock *socket
	tr   *quicgo.Transport
}

// newPort puts a transport on a socket.
func newPort(loop int, sock *socket, ids steering, reset, token *[32]byte) *port {
	tr := &quicgo.Transport{Conn: sock, ConnectionIDGenerator: ids}
	if reset != nil {
		k := quicgo.StatelessResetKey(*reset)
		tr.StatelessResetKey = &k
	}
	if token != nil {
		k := quicgo.TokenGeneratorKey(*token)
		tr.TokenGeneratorKey = &k
	}
	return &port{loop: loop, sock: sock, tr: tr}
}

// addr is the address that the socket is bound to.
func (p *port) addr() net.Addr { return p.sock.LocalAddr() }

// close ends the transport, and with it what connections are left, and the socket. Not on a loop.
func (p *port) close() {
	p.sock.release()
	_ = p.tr.Close() // its goroutines read the socket until here
	p.sock.stop()
}
