package udp

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"golang.org/x/sys/unix"
)

func TestOptions(t *testing.T) {
	for name, c := range map[string]struct {
		o    Options
		want string
	}{
		"sockets":          {Options{Sockets: -1}, "Sockets is -1, allowed are 0 to 256"},
		"too many sockets": {Options{Sockets: 257}, "Sockets is 257, allowed are 0 to 256"},
		"send buffer":      {Options{SendBuffer: 1}, "SendBuffer is 1, allowed are -1, 0 and 65536 to 1073741824 bytes"},
		"receive buffer":   {Options{RecvBuffer: -2}, "RecvBuffer is -2, allowed are -1, 0 and 65536 to 1073741824 bytes"},
	} {
		if _, err := Open(loopback, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func TestOpenFailsCleanly(t *testing.T) {
	checkLeaks(t)
	// An address of the documentation's block is not this machine's.
	if _, err := Open(netip.MustParseAddrPort("192.0.2.1:0"), Options{Sockets: 3, Logger: silent}); err == nil {
		t.Error("opened a socket on an address that is not ours")
	}
	s := mustOpen(t, loopback, Options{})[0]
	defer func() { _ = s.Close() }()
	if _, err := Open(s.local.AddrPort(), Options{Sockets: 2, Logger: silent}); err == nil {
		t.Error("opened sockets on an address in use")
	}
}

func getsockopt(t *testing.T, s *Socket, level, option int) int {
	t.Helper()
	v, err := unix.GetsockoptInt(s.FD(), level, option)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestBuffers: the sizes that are configured are those of the socket, also after quic-go has set up its transport, which would
// have them otherwise.
func TestBuffers(t *testing.T) {
	checkLeaks(t)
	s := mustOpen(t, loopback, Options{SendBuffer: 100 << 10, RecvBuffer: 150 << 10})[0]
	defer watch(t, s).close()
	if send, recv := s.Granted(); send != 200<<10 || recv != 300<<10 {
		t.Errorf("granted %d and %d", send, recv)
	}
	tr := &quic.Transport{Conn: s}
	ln, err := tr.Listen(certificate(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tr.Close() }()
	defer func() { _ = ln.Close() }()
	if n := getsockopt(t, s, unix.SOL_SOCKET, unix.SO_SNDBUF); n != 200<<10 {
		t.Errorf("the send buffer has %d bytes", n)
	}
	if n := getsockopt(t, s, unix.SOL_SOCKET, unix.SO_RCVBUF); n != 300<<10 {
		t.Errorf("the receive buffer has %d bytes", n)
	}
	if n := getsockopt(t, s, unix.IPPROTO_IP, unix.IP_RECVTOS); n != 1 {
		t.Error("quic-go's own options did not reach the socket")
	}
}

func TestBuffersLeftAlone(t *testing.T) {
	s := mustOpen(t, loopback, Options{SendBuffer: -1, RecvBuffer: -1})[0]
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	plain := &Socket{fd: fd}
	send, recv := s.Granted()
	if send != getsockopt(t, plain, unix.SOL_SOCKET, unix.SO_SNDBUF) || recv != getsockopt(t, plain, unix.SOL_SOCKET, unix.SO_RCVBUF) {
		t.Errorf("granted %d and %d, not the kernel's defaults", send, recv)
	}
}

// TestClampReported: whoever asked for more than the kernel grants finds a line in the log.
func TestClampReported(t *testing.T) {
	var log bytes.Buffer
	o := Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	s := &Socket{local: mustOpen(t, loopback, Options{})[0].local, offload: Offload{true, true, true}}
	s.sent, s.rcvd = buffer{asked: 1 << 20, granted: 2 << 20}, buffer{asked: 1 << 20, granted: 2 << 20}
	if s.report(&o); log.Len() != 0 {
		t.Errorf("logged without a cause: %s", log.String())
	}
	s.rcvd.granted = 425984
	if s.report(&o); !strings.Contains(log.String(), "recv=1048576 recv_granted=212992") || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("logged %s", log.String())
	}
}

// TestOffloadReported: one line names what the kernel lacks, and none what has been disabled.
func TestOffloadReported(t *testing.T) {
	var log bytes.Buffer
	o := Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	s := &Socket{local: mustOpen(t, loopback, Options{})[0].local}
	s.report(&o)
	for _, want := range []string{"UDP_GRO", "UDP_SEGMENT", "SO_ATTACH_REUSEPORT_CBPF"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("%s is not in %s", want, log.String())
		}
	}
	if strings.Count(log.String(), "\n") != 1 {
		t.Errorf("logged %s", log.String())
	}
	log.Reset()
	o.DisableGRO, o.DisableGSO, s.offload.Steering = true, true, true
	if s.report(&o); log.Len() != 0 {
		t.Errorf("logged what was asked for: %s", log.String())
	}
}

func TestRelease(t *testing.T) {
	for release, want := range map[string]bool{"5.12.0": true, "5.11.22-generic": false, "6.1.0-18-amd64": true, "4.19.0": false, "10.0": true, "": false, "x.y": false} {
		if got := releaseAtLeast(release, 5, 12); got != want {
			t.Errorf("%q: %v", release, got)
		}
	}
}

func TestDisabledOffload(t *testing.T) {
	s := mustOpen(t, loopback, Options{DisableGRO: true, DisableGSO: true})[0]
	if s.Offload() != (Offload{Steering: true}) || s.depot.size != plainSlabSize {
		t.Errorf("offload %+v, slabs of %d bytes", s.Offload(), s.depot.size)
	}
	if n := getsockopt(t, s, unix.IPPROTO_UDP, unix.UDP_GRO); n != 0 {
		t.Error("the kernel coalesces")
	}
}
