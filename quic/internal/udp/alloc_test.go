package udp

import (
	"testing"

	"golang.org/x/sys/unix"
)

// endless is a kernel that always has a full vector of coalesced messages, and takes all that is sent.
type endless struct {
	control []byte
}

func (k *endless) recvmmsg(_ int, vec []unix.Mmsghdr) (int, unix.Errno) {
	for i := range vec {
		writeMessage(&vec[i], uint16(i), slabSize/2, k.control)
	}
	return len(vec), 0
}

func (k *endless) sendmsg(_ int, m *unix.Msghdr) (int, unix.Errno) { return int(m.Iov.Len), 0 }

func (k *endless) sendmmsg(_ int, vec []unix.Mmsghdr) (int, unix.Errno) { return len(vec), 0 }

// newEndless makes a socket in front of one, that the caller's goroutine reads as the loop would.
func newEndless(t testing.TB) (*Socket, func(int)) {
	t.Helper()
	s := mustOpen(t, loopback, Options{})[0]
	k := &endless{control: appendControl(nil, unix.IPPROTO_IP, unix.IP_TOS, 2)}
	k.control = appendControl(k.control, unix.IPPROTO_UDP, unix.UDP_GRO, int32Bytes(1252)...)
	s.sys = k
	s.SetWake(func() {})
	ms := messages(8)
	return s, func(datagrams int) {
		for got := 0; got < datagrams; {
			if s.depot.queue.n == 0 && s.reader.slabs.n == 0 {
				s.OnReady(true, true)
			}
			n, err := s.ReadBatch(ms, 0)
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
	}
}

// sendArgs are what quic-go gives for a batch with ECN.
func sendArgs() (b, oob []byte) {
	oob = appendControl(nil, unix.IPPROTO_IP, unix.IP_TOS, 2, 0, 0, 0)
	return make([]byte, 14*1252), appendControl(oob, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0xe4, 4)
}

// TestNoAllocation: once a socket has its slabs, neither reading nor sending allocates.
func TestNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("a sync.Pool allocates at random under the race detector")
	}
	s, read := newEndless(t)
	read(50_000)
	if n := testing.AllocsPerRun(50, func() { read(1000) }); n != 0 {
		t.Errorf("reading 1000 datagrams allocates %v times", n)
	}
	b, oob := sendArgs()
	if n := testing.AllocsPerRun(1000, func() {
		if _, _, err := s.WriteMsgUDP(b, oob, somewhere); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("sending allocates %v times", n)
	}
}

func BenchmarkReadBatch(b *testing.B) {
	_, read := newEndless(b)
	read(10_000)
	b.ReportAllocs()
	b.ResetTimer()
	read(b.N)
}

func BenchmarkWriteMsgUDP(b *testing.B) {
	s, _ := newEndless(b)
	data, oob := sendArgs()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.WriteMsgUDP(data, oob, somewhere); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkLoopback sends and receives real batches of 14 datagrams.
func BenchmarkLoopback(b *testing.B) {
	s := mustOpen(b, loopback, Options{})[0]
	data, oob := sendArgs()
	ms := messages(8)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := s.WriteMsgUDP(data, oob, udpAddr(s)); err != nil {
			b.Fatal(err)
		}
		s.OnReady(true, true)
		for got := 0; got < 14; {
			n, err := s.ReadBatch(ms, 0)
			if err != nil {
				b.Fatal(err)
			}
			got += n
		}
	}
}
