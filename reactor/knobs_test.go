package reactor

import (
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestKnobDefaults: the zero Config is the seed's §3.
func TestKnobDefaults(t *testing.T) {
	c := start(t, Config{}).Config()
	if c.HandshakeWorkers != 2*runtime.GOMAXPROCS(0) || c.WriteCoalesce != 64<<10 || c.ReadBuffer != 128<<10 || c.Nagle ||
		c.SendBuffer != 512<<10 || c.RecvBuffer != 512<<10 {
		t.Errorf("%+v", c)
	}
}

// TestNagleReachesTheSocket: TCP_NODELAY is on by default, and off with Nagle, on accepted and on dialled sockets.
func TestNagleReachesTheSocket(t *testing.T) {
	for nagle, want := range map[bool]int{false: 1, true: 0} {
		r := start(t, Config{Nagle: nagle})
		got := make(chan int, 2)
		tell := script{open: func(c *Conn) {
			v, err := unix.GetsockoptInt(int(c.fd), unix.IPPROTO_TCP, unix.TCP_NODELAY)
			if err != nil {
				v = -1
			}
			got <- v
		}}
		lis := listen(t, r, tell)
		if _, err := r.Dial("tcp", lis.Addr().String(), DialConfig{Protocol: tell.with}); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if v := <-got; v != want {
				t.Errorf("Nagle %v: TCP_NODELAY is %d, want %d", nagle, v, want)
			}
		}
	}
}

// TestReadBufferReachesTheRead: of what the kernel holds, one read takes no more than ReadBuffer, and more than the least when it may.
func TestReadBufferReachesTheRead(t *testing.T) {
	const sent = 200 << 10
	for _, size := range []int{minReadBuffer, 0} {
		r := start(t, Config{Loops: 1, ReadBuffer: size})
		queued, first, all := make(chan int, 1), make(chan int, 1), 0
		done := make(chan struct{})
		lis := listen(t, r, script{
			open: func(c *Conn) { // on the loop, which so does not read yet
				n := 0
				for end := time.Now().Add(time.Minute); n <= minReadBuffer && time.Now().Before(end); time.Sleep(time.Millisecond) {
					n, _ = unix.IoctlGetInt(int(c.fd), unix.TIOCINQ)
				}
				queued <- n
			},
			data: func(_ *Conn, p []byte) (int, int, error) {
				if all == 0 {
					first <- len(p)
				}
				if all += len(p); all == sent {
					close(done)
				}
				return len(p), 0, nil
			},
		})
		c := dialNet(t, lis)
		if _, err := c.Write(make([]byte, sent)); err != nil {
			t.Fatal(err)
		}
		n, got := <-queued, <-first
		<-done
		if size == minReadBuffer && got != minReadBuffer || size == 0 && (got <= minReadBuffer || got > DefaultReadBuffer) {
			t.Errorf("ReadBuffer %d: the first read took %d of at least %d bytes", size, got, n)
		}
		if st := r.Stats(); st.Reads < uint64(sent/r.Config().ReadBuffer) {
			t.Errorf("ReadBuffer %d: %d bytes in %d reads", size, sent, st.Reads)
		}
	}
}
