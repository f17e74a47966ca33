package udp

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestManyFlows: what many sockets send at once with segmentation, over the real kernel, arrives complete and in order per
// flow at one that coalesces, whatever the sizes.
func TestManyFlows(t *testing.T) {
	checkLeaks(t)
	const flows, batches = 20, 60
	server := mustOpen(t, loopback, Options{})[0]
	p := watch(t, server)
	var wg sync.WaitGroup
	total := make(chan int, flows)
	for flow := range flows {
		client := mustOpen(t, loopback, Options{})[0]
		wg.Go(func() {
			rnd, serial := rand.New(rand.NewPCG(uint64(flow), 9)), uint64(0)
			for range batches {
				size, count := 16+rnd.IntN(1300), 1+rnd.IntN(14)
				var b []byte
				for range count {
					d := make([]byte, size)
					binary.BigEndian.PutUint64(d, serial)
					binary.BigEndian.PutUint64(d[8:], uint64(udpAddr(client).Port))
					b, serial = append(b, d...), serial+1
				}
				oob := appendControl(nil, unix.IPPROTO_UDP, unix.UDP_SEGMENT, byte(size), byte(size>>8))
				if _, _, err := client.WriteMsgUDP(b, oob, udpAddr(server)); err != nil {
					t.Error(err)
				}
			}
			total <- int(serial)
			_ = client.Close()
		})
	}
	_ = server.SetReadDeadline(time.Now().Add(10 * time.Second))
	next := make(map[int]uint64)
	due, ms := 0, messages(8)
	read := func(datagrams int) {
		for due += datagrams; due > 0; {
			n, err := server.ReadBatch(ms, 0)
			if err != nil {
				t.Fatalf("%d datagrams are missing: %v, %+v", due, err, server.Stats())
			}
			for _, m := range ms[:n] {
				port := m.Addr.(*net.UDPAddr).Port
				if serial := binary.BigEndian.Uint64(m.Buffers[0]); serial != next[port] || binary.BigEndian.Uint64(m.Buffers[0][8:]) != uint64(port) {
					t.Fatalf("port %d: datagram %d of port %d, want %d", port, serial, binary.BigEndian.Uint64(m.Buffers[0][8:]), next[port])
				}
				next[port]++
			}
			due -= n
		}
	}
	for range flows {
		read(<-total)
	}
	wg.Wait()
	if st := server.Stats(); st.Overflows != 0 || st.Coalesced == 0 || st.Truncated != 0 {
		t.Errorf("%+v", st)
	}
	p.close()
}

// TestTruncated: a datagram that is too long for a slab is dropped and counted, one that is too long for the reader likewise,
// and the next one arrives.
func TestTruncated(t *testing.T) {
	checkLeaks(t)
	s := mustOpen(t, loopback, Options{DisableGRO: true})[0]
	p := watch(t, s)
	for _, n := range []int{plainSlabSize + 1, 1453, 1452} {
		if _, err := s.WriteTo(make([]byte, n), s.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	ms := messages(8)
	if n, err := s.ReadBatch(ms, 0); n != 1 || err != nil || ms[0].N != 1452 {
		t.Fatal(n, ms[0].N, err)
	}
	if st := s.Stats(); st.Truncated != 1 || st.Oversized != 1 || st.DatagramsIn != 2 {
		t.Errorf("%+v", st)
	}
	p.close()
}

// TestOverflows: what the kernel drops because the receive buffer is full is counted.
func TestOverflows(t *testing.T) {
	s := mustOpen(t, loopback, Options{RecvBuffer: minSocketBuffer})[0]
	const sent = 500
	for range sent {
		if _, err := s.WriteTo(make([]byte, 1000), s.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	lost := s.Stats().Overflows
	for s.OnReady(true, false) {
	}
	if got := uint64(s.depot.queue.n); lost == 0 || got == 0 {
		t.Errorf("%d of %d datagrams lost, %d arrived", lost, sent, got)
	}
}

// TestCloseRaces: closing while datagrams are sent and read from several goroutines ends them all, and the descriptor is closed
// once, after its last use.
func TestCloseRaces(t *testing.T) {
	checkLeaks(t)
	for range 10 {
		s := mustOpen(t, loopback, Options{})[0]
		p := watch(t, s)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					if _, err := s.WriteTo([]byte("hello"), s.local); err != nil {
						if err != net.ErrClosed {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		wg.Go(func() {
			for ms := messages(8); ; {
				if n, err := s.ReadBatch(ms, 0); err != nil {
					if n != 0 || err != net.ErrClosed {
						t.Error(n, err)
					}
					return
				}
			}
		})
		waitFor(t, "traffic", func() bool { return s.Stats().DatagramsIn >= 20 })
		p.close()
		wg.Wait()
		if s.depot.total != 0 {
			t.Fatalf("%d slabs left", s.depot.total)
		}
	}
}
