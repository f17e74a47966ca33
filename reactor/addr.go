package reactor

import (
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// isUnix says whether a network is that of unix sockets, or of TCP. There is no other.
func isUnix(network string) (bool, error) {
	switch network {
	case "unix":
		return true, nil
	case "tcp", "tcp4", "tcp6":
		return false, nil
	}
	return false, fmt.Errorf("reactor: network is %q, allowed are tcp, tcp4, tcp6 and unix", network)
}

// resolve turns a network and address into what bind and connect want. Host names are looked up, which may block.
func resolve(network, addr string) (sa unix.Sockaddr, family int, err error) {
	local, err := isUnix(network)
	if err != nil {
		return nil, 0, err
	}
	if local {
		if addr == "" {
			return nil, 0, fmt.Errorf("reactor: address is %q, allowed is a path for network unix", addr)
		}
		return &unix.SockaddrUnix{Name: addr}, unix.AF_UNIX, nil
	}
	t, err := net.ResolveTCPAddr(network, addr)
	if err != nil {
		return nil, 0, fmt.Errorf("reactor: address is %q, allowed is host:port: %w", addr, err)
	}
	ip, _ := netip.AddrFromSlice(t.IP)
	if network == "tcp6" || ip.IsValid() && !ip.Is4() && !ip.Is4In6() || !ip.IsValid() && network == "tcp" {
		s := &unix.SockaddrInet6{Port: t.Port}
		if ip.IsValid() {
			s.Addr = ip.As16()
		}
		if t.Zone != "" {
			ifi, err := net.InterfaceByName(t.Zone)
			if err != nil {
				return nil, 0, fmt.Errorf("reactor: address is %q: zone: %w", addr, err)
			}
			s.ZoneId = uint32(ifi.Index)
		}
		return s, unix.AF_INET6, nil
	}
	s := &unix.SockaddrInet4{Port: t.Port}
	if ip.IsValid() {
		s.Addr = ip.Unmap().As4()
	}
	return s, unix.AF_INET, nil
}

// addrPort is the IP address of a socket address; invalid for others.
func addrPort(sa unix.Sockaddr) netip.AddrPort {
	switch s := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(s.Addr), uint16(s.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(s.Addr).Unmap(), uint16(s.Port))
	}
	return netip.AddrPort{}
}

// setPeer notes the addresses of an accepted connection.
func (c *Conn) setPeer(sa unix.Sockaddr, lis *Listener) {
	c.remote = addrPort(sa)
	if lis.unspec {
		if sa, err := unix.Getsockname(int(c.fd)); err == nil {
			c.local = addrPort(sa)
		}
	}
	if lis.unix {
		c.cred = peerCred(int(c.fd))
	}
	c.known.Store(true)
}

// learn notes what a dialled connection knows only once it is connected.
func (c *Conn) learn() {
	switch sa, err := unix.Getsockname(int(c.fd)); sa.(type) {
	case *unix.SockaddrUnix:
		c.cred = peerCred(int(c.fd))
	default:
		if err == nil {
			c.local = addrPort(sa)
		}
	}
	c.known.Store(true)
}

// unconnected is what LocalAddr shows of a socket without an address of its own.
func unconnected(family int) net.Addr {
	if family == unix.AF_UNIX {
		return &net.UnixAddr{Net: "unix"}
	}
	return &net.TCPAddr{}
}
