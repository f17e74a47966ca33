package udp

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// loopback is an address of the machine itself with a port that the kernel chooses.
var loopback = netip.MustParseAddrPort("127.0.0.1:0")

// silent is a logger for tests that do not look at the log.
var silent = slog.New(slog.NewTextHandler(io.Discard, nil))

// checkLeaks fails the test if it leaves goroutines or descriptors behind. To be called before anything else.
func checkLeaks(t testing.TB) {
	t.Helper()
	before, fds := goleak.IgnoreCurrent(), countFDs(t)
	t.Cleanup(func() {
		goleak.VerifyNone(t, before)
		waitFor(t, "descriptors to be closed", func() bool { return countFDs(t) <= fds })
	})
}

func countFDs(t testing.TB) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// waitFor waits for a condition that must come true.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("gave up waiting for %s", what)
		}
	}
}

// poller is the least loop that a socket can have.
type poller struct {
	ep, wake int
	socks    map[int32]*Socket
	done     chan struct{}
	stop     sync.Once
}

// watch starts a loop for sockets. Close of the returned poller ends it, and then the sockets.
func watch(t testing.TB, socks ...*Socket) *poller {
	t.Helper()
	p := &poller{socks: make(map[int32]*Socket), done: make(chan struct{})}
	var err error
	if p.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	p.add(t, p.wake, unix.EPOLLIN)
	for _, s := range socks {
		p.socks[int32(s.FD())] = s
		s.SetWake(p.poke)
		p.add(t, s.FD(), unix.EPOLLIN|unix.EPOLLOUT)
	}
	go p.run()
	t.Cleanup(p.close)
	return p
}

func (p *poller) add(t testing.TB, fd int, events uint32) {
	t.Helper()
	ev := unix.EpollEvent{Events: events | unix.EPOLLET&0xffffffff, Fd: int32(fd)}
	if err := unix.EpollCtl(p.ep, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		t.Fatal(err)
	}
}

func (p *poller) poke() { _, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (p *poller) run() {
	defer close(p.done)
	evs := make([]unix.EpollEvent, 16)
	busy := false
	for {
		timeout := -1
		if busy {
			timeout = 0
		}
		n, _ := unix.EpollWait(p.ep, evs, timeout)
		ready := make(map[int32]uint32)
		for _, e := range evs[:max(n, 0)] {
			ready[e.Fd] |= e.Events
		}
		busy = false
		for fd, s := range p.socks {
			if s.OnReady(ready[fd]&unix.EPOLLIN != 0, ready[fd]&unix.EPOLLOUT != 0) {
				busy = true
			}
			if s.closedError() != nil {
				return
			}
		}
	}
}

// close ends the sockets and the loop.
func (p *poller) close() {
	p.stop.Do(func() {
		for _, s := range p.socks {
			_ = s.Close()
		}
		p.poke()
		<-p.done
		_ = unix.Close(p.ep)
		_ = unix.Close(p.wake)
	})
}

// mustOpen opens sockets, which the test's end closes if nobody else does.
func mustOpen(t testing.TB, addr netip.AddrPort, o Options) []*Socket {
	t.Helper()
	if o.Logger == nil {
		o.Logger = silent
	}
	socks, err := Open(addr, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range socks {
			_ = s.Close()
		}
	})
	return socks
}

// messages makes messages as quic-go does.
func messages(n int) []ipv4.Message {
	ms := make([]ipv4.Message, n)
	for i := range ms {
		ms[i].Buffers = [][]byte{make([]byte, 1452)}
		ms[i].OOB = make([]byte, 128)
	}
	return ms
}

func udpAddr(s *Socket) *net.UDPAddr { return s.LocalAddr().(*net.UDPAddr) }

// certificate makes a server's TLS configuration.
func certificate(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{"test"}}
}
