package reactor

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestDeadlines(t *testing.T) {
	const short = 60 * time.Millisecond
	drip := func(t *testing.T, c *net.TCPConn) {
		_, _ = c.Write([]byte{0, 0, 100, 0})
		for range 100 {
			if _, err := c.Write([]byte{1}); err != nil {
				return
			}
			time.Sleep(short / 10)
		}
	}
	for _, tc := range []struct {
		name  string
		cfg   Config
		peer  func(t *testing.T, c *net.TCPConn)
		cause error
	}{
		{"idle", Config{IdleTimeout: short}, func(*testing.T, *net.TCPConn) {}, ErrIdleTimeout},
		{"a drip does not extend a frame", Config{FrameTimeout: short}, drip, ErrFrameTimeout},
		{"header drip", Config{FrameTimeout: short}, func(t *testing.T, c *net.TCPConn) { _, _ = c.Write([]byte{0}) }, ErrFrameTimeout},
		{"nothing is taken", Config{WriteTimeout: short}, func(t *testing.T, c *net.TCPConn) {
			_, _ = c.Write([]byte{0x10, 0, 0, 0})
			_, _ = c.Write(make([]byte, 1<<20)) // echoed many times below, never read
		}, ErrWriteTimeout},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := start(t, tc.cfg)
			var k closes
			goodbye := make(chan error, 1)
			c := dialNet(t, listen(t, r, script{
				data: blocks(func(c *Conn, b []byte) {
					for range 3 {
						_ = c.Write(b)
					}
				}),
				goodbye: func(c *Conn, err error) { goodbye <- err; _ = c.Write([]byte("bye")) },
				close:   k.add}))
			go tc.peer(t, c)
			if tc.cause != ErrWriteTimeout {
				if err := <-goodbye; err != tc.cause {
					t.Errorf("OnGoodbye(%v)", err)
				}
				got, _ := io.ReadAll(c)
				if string(got) != "bye" {
					t.Errorf("got %q", got)
				}
				_ = c.Close()
			}
			if err := k.one(t); err != tc.cause {
				t.Fatalf("cause %v, want %v", err, tc.cause)
			}
			var re interface{ Reason() string }
			if !errors.As(tc.cause, &re) {
				t.Fatalf("%v has no reason", tc.cause)
			}
			waitFor(t, "the counter", func() bool { return r.Stats().ClosedBy[re.Reason()] == 1 })
		})
	}
}

// skewedClock is the kernel with a clock that a test moves on.
type skewedClock struct {
	linux
	skew *atomic.Int64
}

func (k skewedClock) now() int64 { return k.linux.now() + k.skew.Load() }

func TestTrafficKeepsAConnectionAlive(t *testing.T) {
	const idle = time.Hour // the steps are far longer than the test itself takes
	skew := new(atomic.Int64)
	r := startOn(t, Config{Loops: 1, IdleTimeout: idle}, skewedClock{linux: linux{base: time.Now()}, skew: skew})
	var k closes
	s := echo
	s.close = k.add
	c := dialNet(t, listen(t, r, s))
	for range 15 {
		roundTrip(t, c)
		skew.Add(int64(idle / 2))
	}
	roundTrip(t, c)
	skew.Add(int64(idle))
	if err := r.loops[0].push(task{kind: taskFunc, fn: func() {}}); err != nil { // the loop waits by the real clock
		t.Fatal(err)
	}
	if err := k.one(t); err != ErrIdleTimeout {
		t.Errorf("cause %v without traffic, want %v", err, ErrIdleTimeout)
	}
}

func TestShutdownDrains(t *testing.T) {
	r := start(t, Config{})
	var k closes
	c := dialNet(t, listen(t, r, script{
		data:    func(c *Conn, p []byte) (int, int, error) { return len(p), 0, c.Write(make([]byte, 4<<20)) },
		goodbye: func(c *Conn, err error) { _ = c.Write([]byte("bye")) },
		close:   k.add}))
	_, _ = c.Write([]byte{1})
	time.Sleep(30 * time.Millisecond)
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(context.Background()) }()
	time.Sleep(30 * time.Millisecond)
	got, err := io.ReadAll(c)
	if len(got) != 4<<20+3 || err != nil || string(got[4<<20:]) != "bye" {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	_ = c.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := k.one(t); err != ErrShuttingDown {
		t.Fatalf("cause %v", err)
	}
	if _, err := r.Listen("tcp", "127.0.0.1:0", ListenConfig{Protocol: echo.with}); !errors.Is(err, ErrShuttingDown) {
		t.Fatalf("Listen after Shutdown: %v", err)
	}
}

func TestShutdownAbortsWhenTheContextEnds(t *testing.T) {
	r := start(t, Config{})
	var k closes
	c := dialNet(t, listen(t, r, script{open: func(c *Conn) { _ = c.Write(make([]byte, 16<<20)) }, close: k.add}))
	_, _ = c.Read(make([]byte, 1))
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := r.shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("Shutdown: %v", err)
	}
	if err := k.one(t); err != ErrShuttingDown {
		t.Fatalf("cause %v", err)
	}
}

func TestListenerCloseLeavesConnections(t *testing.T) {
	r := start(t, Config{})
	lis := listen(t, r, echo)
	c := dialNet(t, lis)
	_, _ = c.Write([]byte{1})
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := lis.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", lis.Addr().String()); err == nil {
		t.Fatal("still accepting")
	}
	_, _ = c.Write([]byte{1})
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestRunsOutOfDescriptorsAndRecovers(t *testing.T) {
	r := start(t, Config{Loops: 1})
	lis := listen(t, r, echo)
	held := dialNet(t, lis)
	if err := echoes(held); err != nil { // it is accepted: the kernel connects before the loop accepts
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	// Also where the test ends early: the others need descriptors.
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &old) })
	peers := make([]int, 8) // sockets of the clients, made while there are descriptors
	for i := range peers {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		peers[i] = fd
		defer func() { _ = unix.Close(fd) }()
	}
	low := old
	low.Cur = firstFree(t)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &low); err != nil {
		t.Fatal(err)
	}
	sa, _, err := resolve("tcp4", lis.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range peers {
		_ = unix.Connect(fd, sa)
	}
	waitFor(t, "a refusal", func() bool { return r.Stats().Refused > 0 })
	spins := r.Stats().AcceptErrors
	if err := echoes(held); err != nil {
		t.Errorf("an established connection suffers: %v", err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := echoes(dialNet(t, lis)); err != nil {
		t.Fatalf("no recovery: %v", err)
	}
	if spins > 100 {
		t.Errorf("%d failed accepts: the loop spins", spins)
	}
}

// firstFree tells the lowest number that a new descriptor could have: a limit at it leaves none, whatever this process
// has been given at its start.
func firstFree(t *testing.T) uint64 {
	t.Helper()
	fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(fd)
	return uint64(fd)
}

func TestConfigIsValidated(t *testing.T) {
	for _, tc := range []struct {
		cfg  Config
		want string
	}{
		{Config{Loops: -1}, "reactor: Loops is -1, allowed are 1 to 256"},
		{Config{ReadBuffer: 100}, "reactor: ReadBuffer is 100, allowed are 16384 to 1048576"},
		{Config{LowWater: 10, HighWater: 5}, "reactor: LowWater is 10, allowed are 1 to 5"},
		{Config{HighWater: 10, HardCap: 10}, "reactor: HighWater is 10, allowed are 1 to 9"},
		{Config{SendBuffer: -2}, "reactor: SendBuffer is -2, allowed are 4096 to 67108864, -1 for the kernel's own"},
		{Config{IdleTimeout: time.Millisecond}, "reactor: IdleTimeout is 1ms, allowed are 10ms to 24h0m0s, 0 for the default and negative for none"},
		{Config{PoolBytes: -1}, "reactor: PoolBytes: pool: CacheBytes is -1, allowed are 0 (default 33554432) and 1 to 1099511627776"},
	} {
		if _, err := New(tc.cfg); err == nil || err.Error() != tc.want {
			t.Errorf("New(%+v):\n got %v\nwant %s", tc.cfg, err, tc.want)
		}
	}
	if _, err := (&Reactor{}).Listen("tcp", "x", ListenConfig{}); err == nil {
		t.Error("Listen without Protocol was accepted")
	}
}

// Config tells what a reactor runs with: what was given, and the defaults in place of zeros.
func TestConfigInForce(t *testing.T) {
	c := start(t, Config{Loops: 1, HighWater: 4 << 20, IdleTimeout: -1, MaxConnsPerPeer: 3}).Config()
	if c.Loops != 1 || c.HighWater != 4<<20 || c.HardCap != 8<<20 || c.LowWater != DefaultLowWater || c.IdleTimeout != -1 || c.MaxConnsPerPeer != 3 ||
		c.MaxConns <= 0 || c.ReadBuffer != DefaultReadBuffer {
		t.Errorf("%+v", c)
	}
}

func TestKnobsReachTheSocket(t *testing.T) {
	r := start(t, Config{SendBuffer: 64 << 10, RecvBuffer: 32 << 10})
	fds := make(chan int, 2)
	lis := listen(t, r, script{open: func(c *Conn) { fds <- int(c.fd) }})
	if s, v := lis.Granted(); s != 128<<10 || v != 64<<10 {
		t.Errorf("granted %d, %d", s, v)
	}
	if _, err := r.Dial("tcp", lis.Addr().String(), DialConfig{Protocol: script{open: func(c *Conn) { fds <- int(c.fd) }}.with}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		fd := <-fds
		for opt, want := range map[[2]int]int{{unix.SOL_SOCKET, unix.SO_SNDBUF}: 128 << 10, {unix.SOL_SOCKET, unix.SO_RCVBUF}: 64 << 10, {unix.IPPROTO_TCP, unix.TCP_NODELAY}: 1} {
			if got, err := unix.GetsockoptInt(fd, opt[0], opt[1]); got != want || err != nil {
				t.Errorf("option %v is %d, %v, want %d", opt, got, err, want)
			}
		}
	}
}

func TestUnixAndIPv6(t *testing.T) {
	r := start(t, Config{})
	for network, addr := range map[string]string{"unix": t.TempDir() + "/s", "tcp6": "[::1]:0"} {
		lis, err := r.Listen(network, addr, ListenConfig{Protocol: echo.with})
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial(lis.Addr().Network(), lis.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("hi"))
		if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
			t.Fatal(network, err)
		}
		_ = c.Close()
	}
}
