package udp

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// sendJoined sends datagrams of one length, the last perhaps shorter, as one message, as a device or a path that has coalesced them delivers it.
func sendJoined(t *testing.T, from, to *Socket, size int, datagrams [][]byte) {
	t.Helper()
	var b []byte
	for _, d := range datagrams {
		b = append(b, d...)
	}
	oob := make([]byte, controlHeader+controlAlign)
	putSegment(oob, uint16(size))
	if _, _, err := from.WriteMsgUDP(b, oob, udpAddr(to)); err != nil {
		t.Fatal(err)
	}
}

// TestMovedDatagrams: the kernel steers a coalesced message by its first datagram. The others reach the socket that their own
// connection ID says all the same, in order, with address and control messages, and each counts once.
func TestMovedDatagrams(t *testing.T) {
	checkLeaks(t)
	const n, rounds, each = 3, 20, 7
	socks := mustOpen(t, loopback, Options{Sockets: n})
	from := mustOpen(t, loopback, Options{})[0]
	if !socks[0].Offload().GRO || !from.Offload().GSO {
		t.Skip("the kernel does not coalesce")
	}
	p := watch(t, socks...)
	defer p.close()
	want := make([]int, n)
	for r := range rounds {
		var ds [][]byte
		for i := range each {
			d := packet(i%2 == 0, byte(r+i))
			d = append(d, make([]byte, 100-len(d))...)
			d[99] = byte(r*each + i)
			want[(r+i)%n]++
			ds = append(ds, d)
		}
		sendJoined(t, from, socks[0], 100, ds)
	}
	var wg sync.WaitGroup
	for i, s := range socks {
		wg.Go(func() {
			_ = s.SetReadDeadline(time.Now().Add(time.Minute))
			ms := messages(8)
			var last [rounds]int // beside a message's round, one more than the place of the last of its datagrams
			for got := 0; got < want[i]; {
				k, err := s.ReadBatch(ms, 0)
				if err != nil {
					t.Errorf("socket %d has %d of %d: %v", i, got, want[i], err)
					return
				}
				for _, m := range ms[:k] {
					b := m.Buffers[0][:m.N]
					if len(b) != 100 || steer(b, n) != i || m.Addr.String() != from.LocalAddr().String() {
						t.Errorf("socket %d got %x from %v", i, b, m.Addr)
						continue
					}
					if r, at := int(b[99])/each, int(b[99])%each; at < last[r] {
						t.Errorf("socket %d got datagram %d of message %d late", i, at, r)
					} else {
						last[r] = at + 1
					}
				}
				got += k
			}
		})
	}
	wg.Wait()
	var in, moved uint64
	for _, s := range socks {
		st := s.Stats()
		in, moved = in+st.DatagramsIn, moved+st.Moved
	}
	if in != rounds*each || moved == 0 {
		t.Errorf("%d datagrams counted, %d of them moved; %d were sent", in, moved, rounds*each)
	}
}

// TestMovedIsBounded: a socket that nobody reads takes as much from another as from the kernel; then datagrams are dropped and counted.
func TestMovedIsBounded(t *testing.T) {
	checkLeaks(t)
	d := new(depot)
	d.init(1000)
	sl := newSlab(1000)
	sl.segment = 100
	taken := 0
	for d.move(sl, make([]byte, 100)) {
		taken++
	}
	if taken != 10*maxSlabs || d.total != maxSlabs {
		t.Errorf("%d datagrams in %d slabs", taken, d.total)
	}
	d.end(unix.EBADF)
	if d.move(sl, make([]byte, 100)) {
		t.Error("taken after the end")
	}
}

// TestMovedApart: only what follows itself in every respect shares a slab.
func TestMovedApart(t *testing.T) {
	for name, change := range map[string]func(*slab){
		"port":    func(sl *slab) { sl.name.Port++ },
		"control": func(sl *slab) { sl.control[3]++ },
		"segment": func(sl *slab) { sl.segment = 50 },
	} {
		d := new(depot)
		d.init(1000)
		sl := newSlab(1000)
		sl.segment, sl.controlLen = 100, 24
		d.move(sl, make([]byte, 100))
		change(sl)
		d.move(sl, make([]byte, min(100, sl.segment)))
		if got := fmt.Sprint(d.queue.n); got != "2" {
			t.Errorf("%s: %s slabs", name, got)
		}
	}
	d := new(depot)
	d.init(1000)
	sl := newSlab(1000)
	sl.segment = 100
	d.move(sl, make([]byte, 100))
	d.move(sl, make([]byte, 30))
	d.move(sl, make([]byte, 100)) // behind a shorter one, which ends a message
	if d.queue.n != 2 || d.queue.head.n != 130 {
		t.Errorf("%d slabs, the first with %d bytes", d.queue.n, d.queue.head.n)
	}
}
