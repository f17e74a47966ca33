package udp

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sentMessage is a message as the kernel would take it apart.
type sentMessage struct {
	port      int
	oob       []byte // without UDP_SEGMENT
	segment   int
	datagrams [][]byte
}

// readMessage takes apart what compose has made.
func readMessage(t testing.TB, h *unix.Msghdr) (m sentMessage) {
	t.Helper()
	sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(h.Name))
	m.port = int(binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&sa.Port))[:]))
	var control, data []byte
	if h.Controllen > 0 {
		control = unsafe.Slice(h.Control, h.Controllen)
	}
	out := make([]byte, passedSpace)
	m.oob = out[:withoutSegment(out, control)]
	m.segment = segmentSize(control)
	for _, v := range iovecs(h) {
		data = append(data, unsafe.Slice(v.Base, v.Len)...)
	}
	if m.segment == 0 {
		m.datagrams = [][]byte{data}
		return m
	}
	if n := (len(data) + m.segment - 1) / m.segment; len(data) > maxMessage || n > maxSegments || n < 2 {
		t.Errorf("a message of %d bytes in %d datagrams", len(data), n)
	}
	m.datagrams = slices.Collect(slices.Chunk(data, m.segment))
	return m
}

// flowDatagram is a datagram of one connection, with its number in it. Its first bytes are a short header.
func flowDatagram(flow, seq, size int) []byte {
	b := make([]byte, size)
	b[0], b[1], b[2] = 0x40, byte(flow*7), byte(flow)
	binary.BigEndian.PutUint32(b[3:], uint32(seq))
	return b
}

// fillBatch puts datagrams of several connections to several ports into a batch. It returns them by port, control messages and connection.
func fillBatch(t testing.TB, s *Socket, b *batch, rnd *rand.Rand) map[string][]string {
	t.Helper()
	ecn := appendControl(nil, unix.IPPROTO_IP, unix.IP_TOS, 2, 0, 0, 0)
	sizes := []int{1452, 1452, 1255, 40, 41, 1200}
	ports, flows, seq := 1+rnd.IntN(3), 1+rnd.IntN(6), 0
	model := make(map[string][]string)
	for range 1 + rnd.IntN(60) {
		flow, port, oob := rnd.IntN(flows), 1+rnd.IntN(ports), []byte(nil)
		if rnd.IntN(4) == 0 {
			oob = ecn
		}
		size, count, tail := sizes[rnd.IntN(len(sizes))], 1+rnd.IntN(14), 0
		if rnd.IntN(2) == 0 {
			tail = 8 + rnd.IntN(size-8)
		}
		var p []byte
		var ds []string
		for i := range count + 1 {
			n := size
			if i == count {
				n = tail
			}
			if n > 0 {
				d := flowDatagram(flow, seq, n)
				seq++
				p = append(p, d...)
				ds = append(ds, string(d))
			}
		}
		if !b.fits(p) {
			break
		}
		key := fmt.Sprint(port, oob, flow)
		model[key] = append(model[key], ds...)
		to := target{addr: (&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}).AddrPort()}
		i := b.find(to, oob)
		if i < 0 {
			d := b.newDest(to, oob)
			i = int32(len(b.dests) - 1)
			d.nameLen, _ = s.encode(&d.name, net.UDPAddrFromAddrPort(to.addr))
		}
		b.add(i, p, size, byte(flow))
	}
	return model
}

// TestCompose: whatever is put in comes out once, unchanged, to its destination with its control messages; each connection's
// datagrams in order. A naive sender, a message for each datagram, is the model.
func TestCompose(t *testing.T) {
	s := mustOpen(t, loopback, Options{})[0]
	b := newBatch()
	for seed := range uint64(400) {
		model := fillBatch(t, s, b, rand.New(rand.NewPCG(seed, 1)))
		join := seed%4 != 0
		b.compose(join)
		got := make(map[string][]string)
		for i := range b.vec {
			m := readMessage(t, &b.vec[i].Hdr)
			if !join && len(m.datagrams) != 1 || int(b.made[i].datagrams) != len(m.datagrams) {
				t.Errorf("seed %d: message of %d datagrams, noted %d", seed, len(m.datagrams), b.made[i].datagrams)
			}
			for _, d := range m.datagrams {
				key := fmt.Sprint(m.port, m.oob, int(d[2]))
				got[key] = append(got[key], string(d))
			}
		}
		for key, want := range model {
			if !slices.Equal(got[key], want) {
				t.Fatalf("seed %d: %s: %d datagrams, want %d in order", seed, key, len(got[key]), len(want))
			}
		}
		if len(got) != len(model) {
			t.Fatalf("seed %d: %d flows, want %d", seed, len(got), len(model))
		}
		b.reset()
		if len(b.parts)+len(b.dests)+len(b.index)+len(b.data) != 0 {
			t.Fatal("not empty after reset")
		}
	}
}

// TestComposeJoins: what this is for. Replies of 4 KiB on ten connections of one peer, each two datagrams of full length and one that
// is shorter, leave in two messages; without order to keep, acknowledgements of any length go at their ends.
func TestComposeJoins(t *testing.T) {
	s := mustOpen(t, loopback, Options{})[0]
	b := newBatch()
	to := target{addr: somewhere.AddrPort()}
	d := b.newDest(to, nil)
	d.nameLen, _ = s.encode(&d.name, somewhere)
	for flow := range 10 {
		b.add(0, bytes.Repeat([]byte{1}, 2*1452+1255), 1452, byte(flow))
	}
	b.add(0, make([]byte, 35), 0, 99)
	b.compose(true)
	var shape []string
	for i := range b.vec {
		m := readMessage(t, &b.vec[i].Hdr)
		shape = append(shape, fmt.Sprintf("%d×%d+%d", len(m.datagrams)-1, m.segment, len(m.datagrams[len(m.datagrams)-1])))
	}
	if got := fmt.Sprint(shape); got != "[20×1452+1255 9×1255+35]" {
		t.Error(got)
	}
}

// TestBatchMemory: what a burst has made large is let go when it is not needed any more.
func TestBatchMemory(t *testing.T) {
	b := newBatch()
	fill := func(n int) {
		b.reset()
		b.newDest(target{}, nil)
		b.add(0, make([]byte, n), 0, 0)
		b.compose(true)
	}
	fill(outboxBytes)
	for range trimRounds + 1 {
		fill(100)
	}
	if cap(b.data) > keepOutbox {
		t.Errorf("%d bytes kept", cap(b.data))
	}
	fill(outboxBytes)
	for i := range 2 * trimRounds {
		fill(100 + i%3/2*outboxBytes/2)
	}
	if cap(b.data) < outboxBytes/2 {
		t.Errorf("%d bytes kept while half as much again is needed now and then", cap(b.data))
	}
}
