package udp

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// packet makes a datagram whose destination connection ID begins with id.
func packet(long bool, id byte) []byte {
	if long {
		return []byte{0xc3, 0, 0, 0, 1, 8, id, 1, 2, 3, 4, 5, 6, 7, 0, 0}
	}
	return []byte{0x43, id, 1, 2, 3, 4, 5, 6, 7, 9, 9}
}

// TestSteering: real datagrams from many ports reach the socket that their connection ID says, in both families, for every
// number of sockets tried.
func TestSteering(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		for _, n := range []int{2, 3, 8} {
			checkLeaks(t)
			socks := mustOpen(t, netip.MustParseAddrPort(addr), Options{Sockets: n})
			if !socks[0].Offload().Steering {
				t.Fatal("the steering program could not be attached")
			}
			sent := make([]int, n)
			for from := range 8 {
				c, err := net.DialUDP("udp", nil, udpAddr(socks[0]))
				if err != nil {
					t.Fatal(err)
				}
				for i := range 40 {
					id := byte(37*i + from)
					if _, err := c.Write(packet(i%2 == 0, id)); err != nil {
						t.Fatal(err)
					}
					sent[int(id)%n]++
				}
				_ = c.Close()
			}
			for i, s := range socks {
				p := watch(t, s)
				ms := messages(8)
				for got := 0; got < sent[i]; {
					k, err := s.ReadBatch(ms, 0)
					if err != nil {
						t.Fatal(err)
					}
					for _, m := range ms[:k] {
						id := m.Buffers[0][1]
						if m.Buffers[0][0]&0x80 != 0 {
							id = m.Buffers[0][6]
						}
						if int(id)%n != i {
							t.Errorf("%s: socket %d of %d got connection ID %d", addr, i, n, id)
						}
					}
					got += k
				}
				p.close()
			}
		}
	}
}

// TestSteeringOfShortDatagrams: what is too short to have a connection ID reaches a socket all the same.
func TestSteeringOfShortDatagrams(t *testing.T) {
	checkLeaks(t)
	socks := mustOpen(t, loopback, Options{Sockets: 4})
	c, err := net.DialUDP("udp", nil, udpAddr(socks[0]))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	for _, b := range [][]byte{{0x40}, {0xc0, 0, 0, 0, 1, 8}, {0xc0}} {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	defer watch(t, socks...).close()
	for range 3 {
		if n, _, err := socks[0].ReadFrom(make([]byte, 10)); err != nil || n == 0 {
			t.Fatal(n, err)
		}
	}
}

// TestSharedAddress: all sockets have the port that the kernel chose for the first.
func TestSharedAddress(t *testing.T) {
	socks := mustOpen(t, loopback, Options{Sockets: 3})
	for _, s := range socks {
		if s.local.Port == 0 || s.local.Port != socks[0].local.Port {
			t.Errorf("port %d beside %d", s.local.Port, socks[0].local.Port)
		}
	}
}

// TestWithoutSteering: where the program cannot be attached, datagrams are spread by their addresses, so that one flow reaches
// one socket whatever its connection IDs are, and the log says so.
func TestWithoutSteering(t *testing.T) {
	checkLeaks(t)
	var log bytes.Buffer
	socks, err := openSteered(loopback, Options{Sockets: 3, Logger: slog.New(slog.NewTextHandler(&log, nil))},
		func(int, int) error { return unix.EPERM })
	if err != nil {
		t.Fatal(err)
	}
	if socks[0].Offload().Steering || strings.Count(log.String(), "SO_ATTACH_REUSEPORT_CBPF") != 1 {
		t.Errorf("offload %+v, logged %q", socks[0].Offload(), log.String())
	}
	const flows, each = 10, 6 // fewer than a socket has slabs
	for range flows {
		c, err := net.DialUDP("udp", nil, udpAddr(socks[0]))
		if err != nil {
			t.Fatal(err)
		}
		for id := range each {
			if _, err := c.Write(packet(false, byte(id))); err != nil {
				t.Fatal(err)
			}
		}
		_ = c.Close()
	}
	got, used := 0, 0
	for _, s := range socks {
		for s.OnReady(true, false) {
		}
		n := s.depot.queue.n
		_ = s.Close()
		if got += n; n > 0 {
			used++
		}
		if n%each != 0 {
			t.Errorf("a flow is spread over sockets: one has %d datagrams", n)
		}
	}
	if got != flows*each || used < 2 {
		t.Errorf("%d of %d datagrams arrived, at %d sockets", got, flows*each, used)
	}
}
