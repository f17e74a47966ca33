package udp

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var somewhere = &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9}

// TestSendWaits: a send that finds no room waits until the loop says that there is some.
func TestSendWaits(t *testing.T) {
	checkLeaks(t)
	s, k := faked(t, Options{})
	const senders = 5
	k.full = 3 * senders // for the first try, the one after the loop knows, and the one after false alarm
	var wg sync.WaitGroup
	for range senders {
		wg.Go(func() {
			if n, _, err := s.WriteMsgUDP([]byte("hello"), nil, somewhere); n != 5 || err != nil {
				t.Errorf("sent %d, %v", n, err)
			}
		})
	}
	sent := make(chan struct{})
	go func() {
		wg.Wait()
		close(sent)
	}()
	for done := false; !done; {
		s.OnReady(false, true)
		select {
		case <-sent:
			done = true
		case <-time.After(time.Millisecond):
		}
	}
	st := s.Stats()
	if len(k.sends) != senders || st.DatagramsOut != senders || st.SendWaits == 0 || st.Lost != 0 || s.room.waiters.Load() != 0 {
		t.Errorf("%d sent, %+v", len(k.sends), st)
	}
	_ = s.Close()
}

// TestSendWaitEnds: a wait for room ends with the deadline, with Close, and by itself; then the datagram counts as lost.
func TestSendWaitEnds(t *testing.T) {
	checkLeaks(t)
	for name, c := range map[string]struct {
		end  func(*Socket)
		want error
		lost uint64
	}{
		"deadline passed": {func(s *Socket) { _ = s.SetWriteDeadline(time.Now()) }, errDeadline, 0},
		"deadline comes":  {func(s *Socket) { _ = s.SetWriteDeadline(time.Now().Add(5 * time.Millisecond)) }, errDeadline, 0},
		"deadline moved": {func(s *Socket) {
			_ = s.SetDeadline(time.Now().Add(time.Hour))
			_ = s.SetDeadline(time.Now().Add(5 * time.Millisecond))
		}, errDeadline, 0},
		"closed":   {func(s *Socket) { _ = s.Close() }, net.ErrClosed, 0},
		"too long": {func(*Socket) {}, nil, 1},
	} {
		s, k := faked(t, Options{})
		k.full = 1 << 30
		result := make(chan error)
		go func() {
			_, _, err := s.WriteMsgUDP([]byte("hello"), nil, somewhere)
			result <- err
		}()
		waitFor(t, "the sender to wait", func() bool { return s.room.waiters.Load() == 1 })
		c.end(s)
		if err := <-result; err != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if st := s.Stats(); st.Lost != c.lost || st.DatagramsOut != 0 || s.room.waiters.Load() != 0 {
			t.Errorf("%s: %+v", name, st)
		}
		_ = s.Close()
	}
}

// TestSendErrors: what quic-go must know reaches it as the type that it looks for; what it need not know counts as lost.
func TestSendErrors(t *testing.T) {
	for errno, lost := range map[unix.Errno]bool{unix.EIO: false, unix.EMSGSIZE: false, unix.EPERM: false, unix.ENETUNREACH: false, unix.ENOBUFS: true, unix.ENOMEM: true} {
		s, k := faked(t, Options{})
		k.fail = errno
		n, _, err := s.WriteMsgUDP([]byte("hello"), nil, somewhere)
		var se *os.SyscallError
		switch st := s.Stats(); {
		case lost:
			if n != 5 || err != nil || st.Lost != 1 || st.SendErrors != 0 {
				t.Errorf("%v: %d, %v, %+v", errno, n, err, st)
			}
		case n != 0 || !errors.As(err, &se) || se.Syscall != "sendmsg" || se.Err != errno || st.SendErrors != 1 || st.Lost != 0:
			t.Errorf("%v: %d, %v, %+v", errno, n, err, st)
		}
	}
	s, _ := faked(t, Options{})
	if _, err := s.WriteTo(nil, &net.UnixAddr{}); !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Error(err)
	}
	if _, err := s.WriteTo(nil, &net.UDPAddr{IP: net.IPv6loopback}); !errors.Is(err, unix.EAFNOSUPPORT) {
		t.Error(err)
	}
}

// TestTooLong: the kernel's own refusal of a datagram above the MTU arrives as it is.
func TestTooLong(t *testing.T) {
	s := mustOpen(t, loopback, Options{})[0]
	_, err := s.WriteTo(make([]byte, 70_000), s.LocalAddr())
	var se *os.SyscallError
	if !errors.As(err, &se) || se.Err != unix.EMSGSIZE {
		t.Error(err)
	}
}

// TestSegmentation: UDP_SEGMENT sends several datagrams with one call; with DisableGSO the same datagrams leave one by one,
// with the other control messages.
func TestSegmentation(t *testing.T) {
	data := make([]byte, 2500)
	for i := range data {
		data[i] = byte(i)
	}
	ecn := appendControl(nil, unix.IPPROTO_IP, unix.IP_TOS, 2, 0, 0, 0)
	oob := appendControl(append([]byte(nil), ecn...), unix.IPPROTO_UDP, unix.UDP_SEGMENT, 0xe8, 3)
	for _, disable := range []bool{false, true} {
		s, k := faked(t, Options{DisableGSO: disable})
		if n, oobn, err := s.WriteMsgUDP(data, oob, somewhere); n != len(data) || oobn != len(oob) || err != nil {
			t.Fatal(n, oobn, err)
		}
		var all []byte
		for _, m := range k.sends {
			all = append(all, m.data...)
			if want := map[bool][]byte{true: ecn, false: oob}[disable]; !bytes.Equal(m.control, want) {
				t.Errorf("disabled %v: control messages %x, want %x", disable, m.control, want)
			}
		}
		if calls := map[bool]int{true: 3, false: 1}[disable]; len(k.sends) != calls || !bytes.Equal(all, data) {
			t.Errorf("disabled %v: %d calls", disable, len(k.sends))
		}
		if st := s.Stats(); st.DatagramsOut != 3 || st.BytesOut != 2500 {
			t.Errorf("disabled %v: %+v", disable, st)
		}
	}
}

// TestControlMessages: ECN and the destination address of received datagrams, and ECN of sent ones, in both families and over
// a socket that speaks both.
func TestControlMessages(t *testing.T) {
	for _, c := range []struct{ server, target, client string }{
		{"0.0.0.0:0", "127.0.0.1", "127.0.0.1:0"},
		{"[::]:0", "::1", "[::1]:0"},
		{"[::]:0", "127.0.0.1", "127.0.0.1:0"},
		{"[::]:0", "127.0.0.1", "[::]:0"},
	} {
		checkLeaks(t)
		server := mustOpen(t, netip.MustParseAddrPort(c.server), Options{})[0]
		client := mustOpen(t, netip.MustParseAddrPort(c.client), Options{})[0]
		rc, _ := server.SyscallConn()
		_ = rc.Control(func(fd uintptr) { // as quic-go does
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
		})
		p := watch(t, server)
		to := &net.UDPAddr{IP: net.ParseIP(c.target), Port: udpAddr(server).Port}
		ecn := appendControl(nil, unix.IPPROTO_IP, unix.IP_TOS, 2, 0, 0, 0)
		if to.IP.To4() == nil {
			ecn = appendControl(nil, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, 2, 0, 0, 0)
		}
		oob := appendControl(ecn, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 100, 0)
		if _, _, err := client.WriteMsgUDP(make([]byte, 250), oob, to); err != nil {
			t.Fatal(err)
		}
		for got := 0; got < 3; {
			ms := messages(8)
			n, err := server.ReadBatch(ms, 0)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range ms[:n] {
				checkControl(t, m.OOB[:m.NN], to.IP)
				if want := min(100, 250-100*got); m.N != want {
					t.Errorf("datagram of %d bytes, want %d", m.N, want)
				}
				got++
			}
		}
		p.close()
		_ = client.Close()
	}
}

// checkControl reads control messages as quic-go does.
func checkControl(t *testing.T, oob []byte, to net.IP) {
	t.Helper()
	tos, addr := -1, net.IP(nil)
	for len(oob) > 0 {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS, h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS:
			tos = int(data[0])
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO:
			addr = net.IP(data[8:12])
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO:
			addr = net.IP(data[:16])
		default:
			t.Errorf("level %d, type %d is passed on", h.Level, h.Type)
		}
		oob = rest
	}
	if tos != 2 || !addr.Equal(to) {
		t.Errorf("ECN %d, destination %v; want 2, %v", tos, addr, to)
	}
}
