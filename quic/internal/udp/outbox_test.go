package udp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// short is a datagram of an established connection.
func short(n int) []byte { return append([]byte{0x40, 7}, make([]byte, n-2)...) }

// longTo is a packet of a handshake with a peer whose connection ID is so long.
func longTo(idLen byte) []byte { return []byte{0xc0, 0, 0, 0, 1, idLen, 7, 7, 7, 7, 7} }

// queued makes a socket whose sends wait for OnReady, which the test calls.
func queued(t *testing.T, o Options) (s *Socket, k *fakeKernel, wakes *atomic.Int32) {
	t.Helper()
	s, k = faked(t, o)
	wakes = new(atomic.Int32)
	s.SetWake(func() { wakes.Add(1) })
	return s, k, wakes
}

func mustSend(t *testing.T, s *Socket, b []byte, to *net.UDPAddr) {
	t.Helper()
	if n, _, err := s.WriteMsgUDP(b, nil, to); n != len(b) || err != nil {
		t.Fatalf("sent %d of %d, %v", n, len(b), err)
	}
}

// TestOutbox: what is sent waits for the loop, which is woken once for all of it; a handshake's packets do not wait.
func TestOutbox(t *testing.T) {
	checkLeaks(t)
	s, k, wakes := queued(t, Options{JoinPeers: true})
	mustSend(t, s, longTo(8), somewhere)
	if len(k.sends) != 1 || wakes.Load() != 0 {
		t.Fatalf("%d messages, %d wakes after a packet of a handshake", len(k.sends), wakes.Load())
	}
	for range 5 {
		mustSend(t, s, short(100), somewhere)
	}
	if len(k.sends) != 1 || wakes.Load() != 1 {
		t.Fatalf("%d messages, %d wakes before the loop came", len(k.sends), wakes.Load())
	}
	s.OnReady(false, false)
	st := s.Stats()
	if len(k.sends) != 2 || len(k.sends[1].data) != 500 || st.DatagramsOut != 6 || st.BytesOut != 500+uint64(len(longTo(8))) || st.WriteCalls != 2 {
		t.Errorf("%d messages, %+v", len(k.sends), st)
	}
	mustSend(t, s, short(100), somewhere)
	if wakes.Load() != 2 {
		t.Errorf("%d wakes", wakes.Load())
	}
	_ = s.Close()
	if len(k.sends) != 3 {
		t.Error("what a connection said at its end was not sent by Close")
	}
}

// TestOutboxOrder: datagrams of connections to one address change places only where the peer tells them apart by connection IDs, and
// where connections are dialled they never share a message.
func TestOutboxOrder(t *testing.T) {
	for name, c := range map[string]struct {
		join  bool
		idLen int // -1: no handshake seen
		other bool
		want  string
	}{
		"IDs":              {true, 8, false, "[250 50]"}, // the long ones and one that is shorter
		"no IDs":           {true, 0, false, "[150 150]"},
		"unknown":          {true, -1, false, "[150 150]"},
		"dialled together": {false, 8, false, "[150 150]"},
		"dialled apart":    {false, 8, true, "[150 150]"},
	} {
		s, k, _ := queued(t, Options{JoinPeers: c.join})
		if c.idLen >= 0 {
			mustSend(t, s, longTo(byte(c.idLen)), somewhere)
			k.sends = nil
		}
		send := func(key byte, n int, to *net.UDPAddr) {
			b := short(n)
			b[1] = key
			mustSend(t, s, b, to)
		}
		b := somewhere
		if c.other {
			b = &net.UDPAddr{IP: somewhere.IP, Port: somewhere.Port}
		}
		send('a', 100, somewhere)
		send('a', 50, somewhere)
		send('b', 100, b)
		send('b', 50, b)
		s.OnReady(false, false)
		var got []int
		for _, m := range k.sends {
			got = append(got, len(m.data))
		}
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: messages of %v bytes, want %s", name, got, c.want)
		}
	}
}

// TestOutboxNoRoom: what finds no room waits for some without the loop waiting, and nothing is sent twice.
func TestOutboxNoRoom(t *testing.T) {
	s, k, _ := queued(t, Options{})
	k.atMost = 1
	var to []*net.UDPAddr
	for i := range 6 {
		to = append(to, &net.UDPAddr{IP: somewhere.IP, Port: 100 + i})
	}
	for i := range 4 {
		mustSend(t, s, short(100+i), to[i])
	}
	k.full = 1
	s.OnReady(false, false)
	if len(k.sends) != 0 || s.Stats().SendWaits != 1 {
		t.Fatalf("%d messages without room, %+v", len(k.sends), s.Stats())
	}
	mustSend(t, s, short(200), to[4])
	s.OnReady(false, true)
	if len(k.sends) != 5 {
		t.Fatalf("%d messages, want 5", len(k.sends))
	}
	for i, m := range k.sends {
		if want := []int{100, 101, 102, 103, 200}[i]; len(m.data) != want {
			t.Errorf("message %d has %d bytes, want %d", i, len(m.data), want)
		}
	}
}

// TestOutboxFull: who finds the outbox full sends what is there himself, and waits for room if need be; when there is none for too
// long, what waits is lost, and counted.
func TestOutboxFull(t *testing.T) {
	checkLeaks(t)
	s, k, _ := queued(t, Options{})
	n := 0
	for ; len(k.sends) == 0; n++ {
		mustSend(t, s, short(1000), somewhere)
		if n > outboxBytes/1000+1 {
			t.Fatal("it takes more than it should")
		}
	}
	if st := s.Stats(); st.DatagramsOut != uint64(n-1) {
		t.Errorf("%d datagrams out, %d were sent before", st.DatagramsOut, n-1)
	}
	k.full = 1 << 30
	for s.outbox.fill.fits(short(1000)) {
		mustSend(t, s, short(1000), somewhere)
	}
	mustSend(t, s, short(1000), somewhere) // after a second
	if st := s.Stats(); st.Lost == 0 || s.room.waiters.Load() != 0 {
		t.Errorf("%+v", st)
	}
	for s.outbox.fill.fits(short(1000)) {
		mustSend(t, s, short(1000), somewhere)
	}
	result := make(chan error)
	go func() {
		_, _, err := s.WriteMsgUDP(short(1000), nil, somewhere)
		result <- err
	}()
	waitFor(t, "the sender to wait", func() bool { return s.room.waiters.Load() == 1 })
	s.OnReady(false, false) // does not wait for the one who sends
	_ = s.Close()
	if err := <-result; err != net.ErrClosed {
		t.Error(err)
	}
}

// TestOutboxErrors: an error that concerns an address is told with the next send there; what cannot be sent as one message is sent apart.
func TestOutboxErrors(t *testing.T) {
	for errno, told := range map[unix.Errno]bool{unix.ENETUNREACH: true, unix.EACCES: true, unix.EMSGSIZE: false, unix.EPERM: false, unix.ENOBUFS: false} {
		s, k, _ := queued(t, Options{})
		mustSend(t, s, short(100), somewhere)
		k.fail = errno
		s.OnReady(false, false)
		st := s.Stats()
		if st.DatagramsOut != 0 || (st.Lost == 1) != (errno == unix.ENOBUFS) || (st.SendErrors == 1) == (errno == unix.ENOBUFS) {
			t.Errorf("%v: %+v", errno, st)
		}
		_, _, err := s.WriteMsgUDP(short(100), nil, somewhere)
		var se *os.SyscallError
		if told != (errors.As(err, &se) && se.Err == errno) || !told && err != nil {
			t.Errorf("%v: the next send says %v", errno, err)
		}
		if _, _, err = s.WriteMsgUDP(short(100), nil, somewhere); err != nil {
			t.Errorf("%v: told twice: %v", errno, err)
		}
	}
	s, k, _ := queued(t, Options{JoinPeers: true})
	k.noSegments = true
	for range 3 {
		mustSend(t, s, short(100), somewhere)
	}
	mustSend(t, s, short(60), somewhere)
	s.OnReady(false, false)
	for range 2 {
		mustSend(t, s, short(100), somewhere)
	}
	before := k.calls
	s.OnReady(false, false)
	if len(k.sends) != 6 || len(k.sends[3].data) != 60 || s.Stats().DatagramsOut != 6 || k.calls-before != 2 {
		t.Errorf("%d messages, %d calls for the last two, %+v", len(k.sends), k.calls-before, s.Stats())
	}
	if _, _, err := s.WriteMsgUDP(short(100), nil, &net.UDPAddr{Port: 1 << 17}); !errors.Is(err, unix.EINVAL) {
		t.Error(err)
	}
	s.OnReady(false, false) // with a destination that nothing goes to
}

// TestOutboxBounded: addresses that come and go do not add up.
func TestOutboxBounded(t *testing.T) {
	s, k, _ := queued(t, Options{JoinPeers: true})
	for i := range 2 * maxPeers {
		mustSend(t, s, longTo(4), &net.UDPAddr{IP: net.IPv4(127, 0, byte(i>>8), byte(i)), Port: 9})
	}
	if n := len(s.outbox.idLen); n > maxPeers {
		t.Errorf("%d addresses with the lengths of their IDs", n)
	}
	k.fail = unix.ENETUNREACH
	for i := range 2 * maxFailed {
		mustSend(t, s, short(50), &net.UDPAddr{IP: net.IPv4(127, 0, byte(i>>8), byte(i)), Port: 9})
		s.OnReady(false, false)
	}
	if n := len(s.outbox.failed); n > maxFailed || n == 0 {
		t.Errorf("%d addresses with errors", n)
	}
}

// TestOutboxRace: many who send, a loop, and real datagrams: each arrives once.
func TestOutboxRace(t *testing.T) {
	checkLeaks(t)
	to := mustOpen(t, loopback, Options{})[0]
	from := mustOpen(t, loopback, Options{JoinPeers: true})[0]
	p, q := watch(t, to), watch(t, from)
	const senders, each = 8, 300
	var wg sync.WaitGroup
	for i := range senders {
		wg.Go(func() {
			for n := range each {
				b := short(100 + i)
				b[2], b[3], b[4] = byte(i), byte(n>>8), byte(n)
				if _, _, err := from.WriteMsgUDP(b, nil, udpAddr(to)); err != nil {
					t.Error(err)
				}
				if n%50 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
	}
	_ = to.SetReadDeadline(time.Now().Add(time.Minute))
	var next [senders]int
	ms := messages(8)
	for got := 0; got < senders*each; {
		n, err := to.ReadBatch(ms, 0)
		if err != nil {
			t.Fatalf("%d of %d: %v", got, senders*each, err)
		}
		for _, m := range ms[:n] {
			b := m.Buffers[0]
			i, seq := int(b[2]), int(b[3])<<8|int(b[4])
			if m.N != 100+i || seq != next[i] {
				t.Fatalf("datagram %d of sender %d with %d bytes, want %d", seq, i, m.N, next[i])
			}
			next[i]++
		}
		got += n
	}
	wg.Wait()
	p.close()
	q.close()
}
