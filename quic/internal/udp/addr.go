package udp

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// peerKey is a peer's address as the kernel gives it.
type peerKey struct {
	ip   [16]byte // an IPv4 address is mapped
	zone uint32
	port uint16 // in host order
	v4   bool   // the socket speaks IPv4
}

// keyOf reads a socket address; ok is false for one that is neither IPv4 nor IPv6, or cut off.
func keyOf(sa *unix.RawSockaddrInet6, length uint32) (k peerKey, ok bool) {
	// The port is the third and fourth byte in both families, in network order.
	port := (*[2]byte)(unsafe.Pointer(&sa.Port))
	k.port = binary.BigEndian.Uint16(port[:])
	switch {
	case sa.Family == unix.AF_INET6 && length >= unix.SizeofSockaddrInet6:
		k.ip, k.zone = sa.Addr, sa.Scope_id
		return k, true
	case sa.Family == unix.AF_INET && length >= unix.SizeofSockaddrInet4:
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		k.ip[10], k.ip[11], k.v4 = 0xff, 0xff, true
		copy(k.ip[12:], sa4.Addr[:])
		return k, true
	}
	return k, false
}

// udpAddr makes the address that is handed out. An IPv4 peer has 16 bytes on a socket that speaks both, as in package net.
func (k *peerKey) udpAddr() *net.UDPAddr {
	a := &net.UDPAddr{Port: int(k.port)}
	if k.v4 {
		a.IP = append(net.IP(nil), k.ip[12:]...)
	} else {
		a.IP = append(net.IP(nil), k.ip[:]...)
	}
	if k.zone != 0 {
		a.Zone = strconv.FormatUint(uint64(k.zone), 10)
	}
	return a
}

// peers gives each peer one *net.UDPAddr, for quic-go keeps it and never changes it. There are two generations: when the
// young one is full it becomes the old one, and the old one is forgotten. So active peers keep their address and the table is
// bounded, whoever makes up source addresses. Only the reading goroutine uses it.
type peers struct {
	last       peerKey
	lastAddr   *net.UDPAddr
	young, old map[peerKey]*net.UDPAddr
}

// intern returns the peer's address.
func (p *peers) intern(k peerKey) *net.UDPAddr {
	if p.lastAddr != nil && k == p.last {
		return p.lastAddr
	}
	a := p.young[k]
	if a == nil {
		if a = p.old[k]; a == nil {
			a = k.udpAddr()
		}
		if len(p.young) >= maxPeers || p.young == nil {
			p.old, p.young = p.young, make(map[peerKey]*net.UDPAddr)
		}
		p.young[k] = a
	}
	p.last, p.lastAddr = k, a
	return a
}

// encode writes a's socket address for a socket of the given family. It returns the length, or EAFNOSUPPORT or EINVAL.
func (s *Socket) encode(sa *unix.RawSockaddrInet6, a *net.UDPAddr) (uint32, unix.Errno) {
	if a == nil || a.Port < 0 || a.Port > 0xffff {
		return 0, unix.EINVAL
	}
	port := (*[2]byte)(unsafe.Pointer(&sa.Port))
	binary.BigEndian.PutUint16(port[:], uint16(a.Port))
	ip4 := a.IP.To4()
	if s.family == unix.AF_INET {
		if ip4 == nil && len(a.IP) != 0 {
			return 0, unix.EAFNOSUPPORT
		}
		sa4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		sa4.Family = unix.AF_INET
		sa4.Addr, sa4.Zero = [4]byte{}, [8]byte{}
		copy(sa4.Addr[:], ip4)
		return unix.SizeofSockaddrInet4, 0
	}
	sa.Family, sa.Flowinfo, sa.Scope_id, sa.Addr = unix.AF_INET6, 0, 0, [16]byte{}
	switch {
	case ip4 != nil:
		sa.Addr[10], sa.Addr[11] = 0xff, 0xff
		copy(sa.Addr[12:], ip4)
	case len(a.IP) == 16:
		copy(sa.Addr[:], a.IP)
	case len(a.IP) != 0:
		return 0, unix.EAFNOSUPPORT
	}
	if a.Zone != "" {
		sa.Scope_id = s.zones.index(a.Zone)
	}
	return unix.SizeofSockaddrInet6, 0
}

// zones knows the numbers of interfaces by name, for addresses that a user has written with a zone.
type zones struct {
	mu sync.Mutex
	m  map[string]uint32
}

// index returns the number of a zone, which is a number or an interface's name; 0 for an unknown name.
func (z *zones) index(zone string) uint32 {
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	n, ok := z.m[zone]
	if !ok {
		if ifi, err := net.InterfaceByName(zone); err == nil {
			n = uint32(ifi.Index)
		}
		if z.m == nil || len(z.m) >= maxZones {
			z.m = make(map[string]uint32)
		}
		z.m[zone] = n
	}
	return n
}

// localAddr reads the address that a socket is bound to.
func localAddr(fd int) (*net.UDPAddr, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return nil, err
	}
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return &net.UDPAddr{IP: sa.Addr[:], Port: sa.Port}, nil
	case *unix.SockaddrInet6:
		a := &net.UDPAddr{IP: sa.Addr[:], Port: sa.Port}
		if sa.ZoneId != 0 {
			a.Zone = strconv.FormatUint(uint64(sa.ZoneId), 10)
		}
		return a, nil
	}
	return nil, unix.EAFNOSUPPORT
}

// sockaddr makes the address to bind to; an invalid one stands for all.
func (s *Socket) sockaddr(a netip.AddrPort) unix.Sockaddr {
	ip := a.Addr().Unmap()
	if s.family == unix.AF_INET {
		sa := &unix.SockaddrInet4{Port: int(a.Port())}
		if ip.IsValid() {
			sa.Addr = ip.As4()
		}
		return sa
	}
	sa := &unix.SockaddrInet6{Port: int(a.Port())}
	if ip.IsValid() {
		sa.Addr = ip.As16()
		if ip.Zone() != "" {
			sa.ZoneId = s.zones.index(ip.Zone())
		}
	}
	return sa
}
