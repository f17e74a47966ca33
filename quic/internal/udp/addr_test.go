package udp

import (
	"net"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestAddresses: an address encoded for the kernel reads back as itself.
func TestAddresses(t *testing.T) {
	for _, c := range []struct {
		family int
		addr   string
		want   string
	}{
		{unix.AF_INET, "127.0.0.1:1", "127.0.0.1:1"},
		{unix.AF_INET, "255.254.253.252:65535", "255.254.253.252:65535"},
		{unix.AF_INET6, "[2001:db8::1]:443", "[2001:db8::1]:443"},
		{unix.AF_INET6, "[fe80::1%7]:443", "[fe80::1%7]:443"},
		{unix.AF_INET6, "[fe80::1%lo]:443", "[fe80::1%1]:443"},
		{unix.AF_INET6, "192.0.2.1:9", "192.0.2.1:9"},
	} {
		s := &Socket{family: c.family}
		var sa unix.RawSockaddrInet6
		n, errno := s.encode(&sa, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(c.addr)))
		if errno != 0 {
			t.Errorf("%s: %v", c.addr, errno)
			continue
		}
		k, ok := keyOf(&sa, n)
		if !ok || k.udpAddr().String() != c.want {
			t.Errorf("%s reads back as %v, %v", c.addr, k.udpAddr(), ok)
		}
		if wantLen := map[bool]int{true: 4, false: 16}[c.family == unix.AF_INET]; len(k.udpAddr().IP) != wantLen {
			t.Errorf("%s has an IP of %d bytes, package net's has %d", c.addr, len(k.udpAddr().IP), wantLen)
		}
		if _, ok := keyOf(&sa, n-1); ok {
			t.Errorf("%s: an address that is cut off is taken", c.addr)
		}
	}
	for _, c := range []struct {
		family int
		addr   *net.UDPAddr
		want   unix.Errno
	}{
		{unix.AF_INET, nil, unix.EINVAL},
		{unix.AF_INET, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 65536}, unix.EINVAL},
		{unix.AF_INET6, &net.UDPAddr{IP: net.IPv6loopback, Port: -1}, unix.EINVAL},
		{unix.AF_INET, &net.UDPAddr{IP: net.IPv6loopback, Port: 1}, unix.EAFNOSUPPORT},
		{unix.AF_INET6, &net.UDPAddr{IP: net.IP{1, 2, 3}, Port: 1}, unix.EAFNOSUPPORT},
	} {
		var sa unix.RawSockaddrInet6
		if _, errno := (&Socket{family: c.family}).encode(&sa, c.addr); errno != c.want {
			t.Errorf("%v in family %d: %v, want %v", c.addr, c.family, errno, c.want)
		}
	}
	other := unix.RawSockaddrUnix{Family: unix.AF_UNIX}
	if _, ok := keyOf((*unix.RawSockaddrInet6)(unsafe.Pointer(&other)), unix.SizeofSockaddrInet6); ok {
		t.Error("a unix address is taken")
	}
}

// TestPeersBounded: an active peer keeps its address, however many others come by, and the table stays bounded.
func TestPeersBounded(t *testing.T) {
	var p peers
	key := func(n int) peerKey {
		return peerKey{ip: [16]byte{0: 0x20, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}, port: 7}
	}
	active := p.intern(key(0))
	for n := 1; n < 5*maxPeers; n++ {
		if a := p.intern(key(n)); a == active || a.Port != 7 || a.IP[15] != byte(n) {
			t.Fatalf("peer %d got %v", n, a)
		}
		if n%(maxPeers/2) == 0 && p.intern(key(0)) != active {
			t.Fatalf("after %d others an active peer has another address", n)
		}
		if len(p.young)+len(p.old) > 2*maxPeers {
			t.Fatalf("%d addresses kept", len(p.young)+len(p.old))
		}
	}
	if p.intern(key(1)) == nil || len(p.old) == 0 {
		t.Error("no generation was ever retired")
	}
}

func TestZonesBounded(t *testing.T) {
	var z zones
	if z.index("lo") != 1 || z.index("12") != 12 || z.index("no such interface") != 0 {
		t.Error("wrong number of a zone")
	}
	for i := range 3 * maxZones {
		z.index("zone" + string(rune('a'+i)))
		if len(z.m) > maxZones {
			t.Fatalf("%d zones kept", len(z.m))
		}
	}
	if z.index("lo") != 1 {
		t.Error("lo is forgotten")
	}
}
