package quic

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"net"
	"time"
)

// State is what is known about a connection.
type State struct {
	// ALPN is the protocol agreed on, ServerName what the client asked for.
	ALPN, ServerName string
	// Suite and Group are the cipher suite and the key exchange, by the names of crypto/tls.
	Suite, Group string
	// Resumed: the handshake made use of an earlier connection. UsedEarly: 0-RTT was sent, and accepted.
	Resumed, UsedEarly bool
	// Peer is the peer's certificate chain, the leaf first; empty when it has shown none.
	Peer []*x509.Certificate
	// RTT is the smoothed round trip time, MinRTT the least that was measured on the present path.
	RTT, MinRTT time.Duration
	// CongestionWindow is how many bytes may be under way to the peer.
	CongestionWindow uint64
	// BytesIn, BytesOut, PacketsIn, PacketsOut and PacketsLost count what the connection has sent and received.
	BytesIn, BytesOut, PacketsIn, PacketsOut, PacketsLost uint64
	// GSO says whether the kernel cuts the datagrams sent.
	GSO bool
}

// State is a snapshot. What the handshake decides is complete when Early is false. Any goroutine.
func (c *Conn) State() State {
	h := c.agreement()
	st := c.qc.ConnectionStats()
	return State{
		ALPN: h.tls.NegotiatedProtocol, ServerName: h.tls.ServerName,
		Suite: stdtls.CipherSuiteName(h.tls.CipherSuite), Group: h.tls.CurveID.String(),
		Resumed: h.tls.DidResume, UsedEarly: h.early, Peer: h.tls.PeerCertificates,
		RTT: st.SmoothedRTT, MinRTT: st.MinRTT, CongestionWindow: st.CongestionWindow,
		BytesIn: st.BytesReceived, BytesOut: st.BytesSent, PacketsIn: st.PacketsReceived, PacketsOut: st.PacketsSent, PacketsLost: st.PacketsLost,
		GSO: h.gso,
	}
}

// agreement is what the handshake has decided so far.
func (c *Conn) agreement() *agreement {
	early := c.Early()
	h := c.agreed.Load()
	if h == nil {
		cs := c.qc.ConnectionState()
		h = &agreement{tls: cs.TLS, early: cs.Used0RTT, gso: cs.GSO}
		if !early {
			c.agreed.Store(h) // for good: quic-go's own is not to be read while the connection migrates
		}
	}
	return h
}

// groupName names a key exchange as TLS over TCP does in its counters: as its standard does, not as crypto/tls's constant.
func groupName(id stdtls.CurveID) string {
	switch id {
	case stdtls.CurveP256:
		return "P-256"
	case stdtls.CurveP384:
		return "P-384"
	case stdtls.CurveP521:
		return "P-521"
	}
	return id.String()
}

// agreement is what the handshake has decided.
type agreement struct {
	tls   stdtls.ConnectionState
	early bool
	gso   bool
}

// Early says whether the handshake is not complete: what the peer has sent until now may be a replay, and what is sent may be
// replayed. It is false before anything that was sent behind the handshake can be read. Any goroutine.
func (c *Conn) Early() bool {
	if !c.early.Load() {
		return false
	}
	select {
	case <-c.qc.HandshakeComplete():
		return false
	default:
		return true
	}
}

// Loop is the number of the loop that the connection and its streams are on. Any goroutine.
func (c *Conn) Loop() int { return c.loop }

// RemoteAddr is the peer's address, a *net.UDPAddr; after a migration of the peer its new one. Any goroutine.
func (c *Conn) RemoteAddr() net.Addr {
	if c.accepted {
		return c.qc.RemoteAddr()
	}
	return c.remote
}

// LocalAddr is the address of the socket that the connection uses, a *net.UDPAddr. Any goroutine.
func (c *Conn) LocalAddr() net.Addr {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.paths); n > 0 {
		return c.paths[n-1].addr()
	}
	return c.port.addr()
}

// Done is closed when the connection has ended, before its streams have. Any goroutine.
func (c *Conn) Done() <-chan struct{} { return c.qc.Context().Done() }
