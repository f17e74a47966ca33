package quic

import (
	"crypto/rand"

	quicgo "github.com/quic-go/quic-go"
)

// steering makes connection IDs whose first byte names the socket: it is congruent to it modulo the number of sockets, which is
// what the sockets' filter goes by. So a connection's packets come to its loop from wherever the peer sends them.
type steering struct{ socket, sockets int }

// GenerateConnectionID implements quicgo.ConnectionIDGenerator. Any goroutine.
func (g steering) GenerateConnectionID() (quicgo.ConnectionID, error) {
	var b [connIDLen]byte
	if _, err := rand.Read(b[:]); err != nil {
		return quicgo.ConnectionID{}, err
	}
	first := int(b[0]) - int(b[0])%g.sockets + g.socket
	if first > 255 {
		first -= g.sockets
	}
	b[0] = byte(first)
	return quicgo.ConnectionIDFromBytes(b[:]), nil
}

// ConnectionIDLen implements quicgo.ConnectionIDGenerator. Any goroutine.
func (g steering) ConnectionIDLen() int { return connIDLen }
