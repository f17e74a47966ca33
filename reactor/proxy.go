package reactor

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/pires/go-proxyproto"
)

// ReasonBadFrame is the canon's word for bytes that break the rules of their format; here, for a PROXY header.
const ReasonBadFrame = "bad_frame"

// ProxyConfig is for listeners behind a load balancer that passes on TCP connections and announces their origin with a
// PROXY header, version 1 or 2 (the protocol is HAProxy's, doc/proxy-protocol.txt).
//
// A connection from a trusted source must begin with the header, complete within Config.HandshakeTimeout: whether there
// is one is never guessed, or a client could bring its own. RemoteAddr and LocalAddr then show what it says; what follows
// it goes to the filter or the protocol. Version 2's LOCAL, and headers without addresses that TCP has (UNKNOWN, UNSPEC,
// unix sockets), leave the socket's own. TLVs are skipped.
type ProxyConfig struct {
	// Trusted are the balancers' addresses, and no address that a client can have: who is trusted says who he is. Required on
	// TCP. On a unix socket it must be empty: who may connect there is a matter of UnixMode and AllowUIDs, and all who may are
	// trusted.
	Trusted []netip.Prefix
	// Direct serves connections from other sources as what they are, without looking for a header. By default they are
	// closed at once and counted (Stats.RefusedPeers), which is safe when all traffic is to come through the balancer.
	Direct bool
}

// Causes of a close before a connection's origin is known.
var (
	ErrProxyHeader     error = &Error{Why: ReasonBadFrame, Msg: "no valid PROXY header"}
	errProxyIncomplete error = &Error{Why: ReasonIO, Msg: "peer closed inside the PROXY header"}
)

// What headers of either version begin with.
const (
	proxyV1 = "PROXY "
	proxyV2 = "\r\n\r\n\x00\r\nQUIT\n"
)

// beginsLike says whether b, as far as it goes, agrees with signature.
func beginsLike(b []byte, signature string) bool {
	n := min(len(b), len(signature))
	return string(b[:n]) == signature[:n]
}

// validate checks the configuration for a listener.
func (p *ProxyConfig) validate(isUnix bool) error {
	switch {
	case p == nil:
		return nil
	case isUnix && len(p.Trusted) > 0:
		return errors.New("reactor: Proxy.Trusted is set, allowed only for TCP: on a unix socket AllowUIDs says who is trusted")
	case !isUnix && (len(p.Trusted) == 0 || len(p.Trusted) > maxTrusted):
		return fmt.Errorf("reactor: Proxy.Trusted has %d prefixes, allowed are 1 to %d", len(p.Trusted), maxTrusted)
	}
	for i, t := range p.Trusted {
		if !t.IsValid() || t.Addr().Is4In6() {
			return fmt.Errorf("reactor: Proxy.Trusted[%d] is %v, allowed are IPv4 and IPv6 prefixes (IPv4 not mapped into IPv6)", i, t)
		}
		if t.Bits() == 0 { // everybody could say who he is
			return fmt.Errorf("reactor: Proxy.Trusted[%d] is %v, allowed are prefixes of one bit at least: those of balancers, and of nobody else", i, t)
		}
	}
	return nil
}

// clone is a copy that the caller of Listen cannot change.
func (p *ProxyConfig) clone() *ProxyConfig {
	if p == nil {
		return nil
	}
	return &ProxyConfig{Trusted: slices.Clone(p.Trusted), Direct: p.Direct}
}

// trusts says whether the header of a peer is to be read. An invalid address is a unix socket's.
func (p *ProxyConfig) trusts(peer netip.Addr) bool {
	return !peer.IsValid() || slices.ContainsFunc(p.Trusted, func(t netip.Prefix) bool { return t.Contains(peer.WithZone("")) })
}

// proxied is what a header says of a connection. Invalid addresses: the socket's own hold.
type proxied struct {
	src, dst netip.AddrPort
}

// parseProxy reads the PROXY header at the start of b. n is its length; 0: incomplete so far. The verdict does not depend
// on how the stream was split: what is judged early is judged in the order of the bytes, the rest when all of it is there.
//
// The addresses are go-proxyproto's work. It reads from a bufio.Reader, takes what is split for an attack, and rejects
// version 2 headers without an address that HAProxy sends, so where the header ends and what it is for is found out here.
func parseProxy(b []byte) (h proxied, n int, err error) {
	switch {
	case beginsLike(b, proxyV1):
		return parseProxyV1(b)
	case beginsLike(b, proxyV2):
		return parseProxyV2(b)
	}
	return h, 0, ErrProxyHeader
}

func parseProxyV1(b []byte) (h proxied, n int, err error) {
	n = bytes.IndexByte(b[:min(len(b), maxProxyV1)], '\n') + 1
	switch {
	case n == 0 && len(b) < maxProxyV1:
		return h, 0, nil
	case n == 0:
		return h, 0, ErrProxyHeader
	}
	h, err = proxyAddrs(b[:n])
	return h, n, err
}

// Bytes 13 to 16 of a version 2 header: version and command, family and protocol, length of the rest.
const (
	proxyLocal  = 0x20
	proxyProxy  = 0x21
	proxyUnspec = 0x00
	proxyTCP4   = 0x11
	proxyUDP4   = 0x12
	proxyTCP6   = 0x21
	proxyUDP6   = 0x22
	proxyUnix   = 0x31
	proxyUnixDG = 0x32
)

func parseProxyV2(b []byte) (h proxied, n int, err error) {
	if len(b) > 12 && b[12] != proxyLocal && b[12] != proxyProxy {
		return h, 0, ErrProxyHeader
	}
	if len(b) > 13 {
		switch b[13] {
		case proxyUnspec, proxyTCP4, proxyTCP6, proxyUnix:
		case proxyUDP4, proxyUDP6, proxyUnixDG:
			if b[12] != proxyLocal {
				return h, 0, ErrProxyHeader // datagrams on a stream
			}
		default:
			return h, 0, ErrProxyHeader
		}
	}
	if len(b) < 16 {
		return h, 0, nil
	}
	n = int(binary.BigEndian.Uint16(b[14:]))
	if n > maxProxyV2 {
		return h, 0, ErrProxyHeader
	}
	if n += 16; len(b) < n {
		return h, 0, nil
	}
	if b[12] == proxyLocal || b[13] == proxyUnspec {
		return h, n, nil
	}
	h, err = proxyAddrs(b[:n])
	return h, n, err
}

// proxyAddrs takes the addresses out of a complete header.
func proxyAddrs(b []byte) (h proxied, err error) {
	p, err := proxyproto.Read(bufio.NewReaderSize(bytes.NewReader(b), len(b)))
	if err != nil {
		return h, fmt.Errorf("%w: %w", ErrProxyHeader, err)
	}
	src, dst, ok := p.TCPAddrs()
	if !ok || p.Command.IsLocal() {
		return h, nil
	}
	return proxied{src: addrPortOf(src), dst: addrPortOf(dst)}, nil
}

func addrPortOf(a *net.TCPAddr) netip.AddrPort {
	ap := a.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// readProxy takes the header from the start of src and lets the connection in. It returns what is left of src and whether
// to go on with it.
func (l *loop) readProxy(c *Conn, src []byte) ([]byte, bool) {
	h, n, err := parseProxy(src)
	switch {
	case err != nil:
		l.proxyFailed(c, err)
		return nil, false
	case n == 0:
		return src, false
	}
	if h.src.IsValid() {
		c.remote, c.local = h.src, h.dst
	}
	src = src[n:]
	l.enter(c)
	if c.filter == nil && c.state == stateOpen {
		w := &l.work
		l.room(c, len(src))
		w.end += copy(w.buf.B[w.end:], src)
		src = nil
		l.deliver(c)
	}
	return src, len(src) > 0 && c.state <= stateOpen
}

// proxyFailed ends a connection whose origin stays unknown.
func (l *loop) proxyFailed(c *Conn, err error) {
	l.count[counterProxyFailed]++
	l.kill(c, err)
}
