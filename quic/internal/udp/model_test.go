package udp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// datagram is what the model says that the reader must get.
type datagram struct {
	port uint16
	tos  byte
	data []byte
}

// traffic makes messages at random, and says which datagrams a reader must get from them, in this order.
type traffic struct {
	*rand.Rand
	serial uint64
	want   []datagram

	truncated, oversized, in, coalesced uint64
}

// payload makes a datagram of a given length that differs from all others.
func (tr *traffic) payload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(tr.serial) + byte(i)
	}
	if n >= 8 {
		binary.BigEndian.PutUint64(b, tr.serial)
	}
	tr.serial++
	return b
}

// message makes one arrival.
func (tr *traffic) message(gro bool) any {
	if tr.IntN(20) == 0 {
		return []unix.Errno{unix.EINTR, unix.ENOMEM, unix.ECONNREFUSED}[tr.IntN(3)]
	}
	m := fakeMessage{port: uint16(tr.IntN(40))}
	port := m.port<<8 | m.port>>8
	tos := byte(tr.IntN(4))
	m.control = appendControl(nil, unix.IPPROTO_IP, unix.IP_TOS, tos)
	segments, size := 1, tr.IntN(1453)
	if gro && tr.IntN(2) == 0 {
		segments, size = 1+tr.IntN(44), 8+tr.IntN(1445)
	}
	if tr.IntN(30) == 0 {
		size += 1453 // for quic-go's buffers
	}
	if segments > 1 {
		m.control = appendControl(m.control, unix.IPPROTO_UDP, unix.UDP_GRO, int32Bytes(int32(size))...)
	}
	dropped := tr.IntN(30) == 0
	if dropped {
		m.flags = []int32{unix.MSG_TRUNC, unix.MSG_CTRUNC}[tr.IntN(2)]
	}
	for i := range segments {
		n := size
		if segments > 1 && i == segments-1 {
			n = 1 + tr.IntN(size) // the last may be shorter
		}
		if len(m.data)+n > slabSize {
			segments = i
			break
		}
		d := datagram{port, tos, tr.payload(n)}
		m.data = append(m.data, d.data...)
		switch {
		case dropped:
		case n > 1452:
			tr.oversized++
		default:
			tr.want = append(tr.want, d)
		}
	}
	switch {
	case dropped, !gro && size > plainSlabSize:
		if !dropped { // too long for a slab; it was counted as oversized
			tr.oversized--
		}
		tr.truncated++
	default:
		tr.in += uint64(segments)
		if segments > 1 {
			tr.coalesced += uint64(segments)
		}
	}
	return m
}

// last makes a datagram that is not dropped, so that everything before it has been looked at when it is read.
func (tr *traffic) last() any {
	d := datagram{port: 9, tos: 1, data: tr.payload(100)}
	tr.want, tr.in = append(tr.want, d), tr.in+1
	return fakeMessage{port: 9 << 8, data: d.data, control: appendControl(nil, unix.IPPROTO_IP, unix.IP_TOS, d.tos)}
}

// TestReadModel: whatever arrives in whatever portions, with errors between, and however slow the reader is, ReadBatch hands
// out exactly the datagrams that were sent, in order, with their peer's address and their control messages; and it never
// returns without one.
func TestReadModel(t *testing.T) {
	for _, gro := range []bool{true, false} {
		for seed := range uint64(12) {
			t.Run(fmt.Sprintf("gro=%v seed=%d", gro, seed), func(t *testing.T) {
				checkLeaks(t)
				s, k := faked(t, Options{DisableGRO: !gro})
				l := startFakeLoop(t, s)
				k.edge = func() { set(l.edges) }
				tr := &traffic{Rand: rand.New(rand.NewPCG(seed, 1))}
				var arrivals []any
				for range 1500 {
					arrivals = append(arrivals, tr.message(gro))
				}
				arrivals = append(arrivals, tr.last())
				pace := rand.New(rand.NewPCG(seed, 2))
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					for len(arrivals) > 0 {
						n := min(1+pace.IntN(100), len(arrivals))
						k.push(arrivals[:n]...)
						arrivals = arrivals[n:]
						set(l.edges)
						if pace.IntN(3) == 0 {
							runtime.Gosched()
						}
					}
				}()
				readModel(t, s, tr, rand.New(rand.NewPCG(seed, 3)))
				<-sent
				l.stop()
				_ = s.SetReadDeadline(time.Now())
				if n, err := s.ReadBatch(messages(8), 0); err != errDeadline {
					t.Fatalf("at the end: %d datagrams, %v", n, err)
				}
				checkDepot(t, s)
				st := s.Stats()
				if st.Oversized != tr.oversized || st.DatagramsIn != tr.in || st.Coalesced != tr.coalesced || st.Truncated != tr.truncated {
					t.Errorf("counted %+v; want in %d, coalesced %d, oversized %d, truncated %d", st, tr.in, tr.coalesced, tr.oversized, tr.truncated)
				}
			})
		}
	}
}

// readModel reads what the model says.
func readModel(t *testing.T, s *Socket, tr *traffic, pace *rand.Rand) {
	t.Helper()
	_ = s.SetReadDeadline(time.Now().Add(10 * time.Second))
	ms := messages(8)
	for i := 0; i < len(tr.want); {
		part := ms[:1+pace.IntN(8)]
		n, err := s.ReadBatch(part, 0)
		if n < 1 || err != nil {
			t.Fatalf("after %d of %d datagrams: %d, %v", i, len(tr.want), n, err)
		}
		for _, m := range part[:n] {
			checkDatagram(t, &tr.want[i], &m)
			i++
		}
		if pace.IntN(10) == 0 {
			runtime.Gosched()
		}
	}
}

func checkDatagram(t *testing.T, want *datagram, m *ipv4.Message) {
	t.Helper()
	if !bytes.Equal(m.Buffers[0][:m.N], want.data) {
		t.Fatalf("got %d bytes %.20x, want %d bytes %.20x", m.N, m.Buffers[0][:m.N], len(want.data), want.data)
	}
	if a := m.Addr.(*net.UDPAddr); a.Port != int(want.port) || !a.IP.Equal(net.IPv4(127, 0, 0, 1)) {
		t.Fatalf("from %v, want port %d", a, want.port)
	}
	if oob := appendControl(nil, unix.IPPROTO_IP, unix.IP_TOS, want.tos); !bytes.Equal(m.OOB[:m.NN], oob) {
		t.Fatalf("control messages %x, want %x", m.OOB[:m.NN], oob)
	}
}

// checkDepot: once all has been read, every slab is free.
func checkDepot(t *testing.T, s *Socket) {
	t.Helper()
	d := &s.depot
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.total > maxSlabs || d.free.n != d.total || d.queue.n != 0 {
		t.Errorf("%d slabs, %d free, %d queued", d.total, d.free.n, d.queue.n)
	}
}
