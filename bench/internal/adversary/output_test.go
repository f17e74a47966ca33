package adversary

import (
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ron-transport/ron-transport/bench/internal/hostile"
	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
)

// A peer that asks for a lot and reads nothing is ended by the write deadline, and what waits for it is bounded.
func TestSlowReader(t *testing.T) {
	const high = 128 << 10
	g := newRig(t, func(c *reactor.Config) { brief(c); c.HighWater = high })
	conn := g.dialTLS(nil)
	raw := conn.NetConn().(*net.TCPConn)
	if err := raw.SetReadBuffer(4 << 10); err != nil {
		t.Fatal(err)
	}
	f := hostile.Request(0, make([]byte, 32<<10))
	most := int64(0)
	done := make(chan struct{})
	go func() { // ends with the connection
		defer close(done)
		for {
			if _, err := conn.Write(f); err != nil {
				return
			}
		}
	}()
	for stop := false; !stop; time.Sleep(time.Millisecond) {
		most = max(most, g.r.Stats().PoolOutstandingBytes)
		select {
		case <-done:
			stop = true
		default:
		}
	}
	g.want("write_timeout", 1)
	g.counted("write_timeout", 1)
	if limit := int64(8*high + 1<<20); most > limit { // output above the mark, the loop's scratch, a frame under way
		t.Errorf("%d bytes of buffers were out at once, want at most %d", most, limit)
	}
}

// A peer that reads too slowly to keep up, but reads, is served.
func TestReluctantReader(t *testing.T) {
	g := newRig(t, brief)
	conn := g.dialTLS(nil)
	const frames = 40
	f := hostile.Request(0, make([]byte, 16<<10))
	go func() {
		for range frames {
			if _, err := conn.Write(f); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	for range frames {
		if code, _, err := readFrame(conn); err != nil || code != statusOK {
			t.Fatalf("code %d, %v", code, err)
		}
		time.Sleep(deadline / 20)
	}
}

// A reset while output is queued and frames are half read gives everything back.
func TestResetUnderLoad(t *testing.T) {
	g := newRig(t, nil)
	const conns = 20
	f := hostile.Request(0, make([]byte, 64<<10))
	for i := range conns {
		conn := g.dialTLS(nil)
		raw := conn.NetConn().(*net.TCPConn)
		if err := raw.SetWriteDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		for range 8 {
			if _, err := conn.Write(f[:len(f)-i]); err != nil {
				break // the server takes no more: its output waits for us
			}
		}
		reset(t, raw)
	}
	g.eventually("all ends have a cause", func() bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		n := 0
		for _, k := range g.ends {
			n += k
		}
		return n == conns
	})
}

// Sixty-four frames in flight are all a connection gets: more are left in the socket until permits come back, then every
// one is answered.
func TestInflightIsBounded(t *testing.T) {
	g := newRig(t, func(c *reactor.Config) { c.FrameTimeout, c.WriteTimeout = -1, -1 })
	g.mu.Lock()
	g.holding = true
	g.mu.Unlock()
	conn := g.dialTLS(nil)
	const frames = 1000
	go func() {
		f := hostile.Request(0, make([]byte, healthySize-1))
		for range frames {
			if _, err := conn.Write(f); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	held := func() int {
		g.mu.Lock()
		defer g.mu.Unlock()
		return len(g.held)
	}
	g.eventually("64 frames are in flight", func() bool { return held() >= 64 })
	time.Sleep(50 * time.Millisecond)
	if n := held(); n != 64 {
		t.Errorf("%d frames in flight, want 64", n)
	}
	quit := make(chan struct{})
	go func() {
		for {
			g.mu.Lock()
			batch := g.held
			g.held = nil
			g.mu.Unlock()
			for _, f := range batch {
				_ = f.Reply(statusOK, nil) // fails when the test has failed already
			}
			select {
			case <-quit:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	defer close(quit)
	for i := range frames {
		if code, _, err := readFrame(conn); err != nil || code != statusOK {
			t.Fatalf("reply %d: code %d, %v", i, code, err)
		}
	}
}

// bomb is a frame whose payload inflates to n bytes.
func bomb(t *testing.T, n int, sized bool) []byte {
	t.Helper()
	var b strings.Builder
	w, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	if err != nil {
		t.Fatal(err)
	}
	var p []byte
	if sized {
		p = w.EncodeAll(make([]byte, n), nil)
	} else {
		if _, err := io.Copy(w, io.LimitReader(zeros{}, int64(n))); err != nil {
			t.Fatal(err)
		}
		p = []byte(b.String())
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !sized {
		p = []byte(b.String())
	}
	f := hostile.Request(0, p)
	f[7] |= 0x40 // COMP
	return f
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// Compression bombs get 413 and cost no more memory than the bound on what may be inflated.
func TestCompressionBombs(t *testing.T) {
	for name, sized := range map[string]bool{"size declared": true, "size not declared": false} {
		t.Run(name, func(t *testing.T) {
			f := bomb(t, 256<<20, sized)
			g := newRig(t, nil)
			runtime.GC()
			defer debug.SetMemoryLimit(debug.SetMemoryLimit(64 << 20))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			const bombs = 6
			for range bombs {
				conn := g.dialTLS(nil)
				if _, err := conn.Write(f); err != nil {
					t.Fatal(err)
				}
				errorFrame(t, conn, 413, "decompress_overflow")
				conn.Close()
			}
			runtime.ReadMemStats(&after)
			if grown := int64(after.Sys) - int64(before.Sys); grown > 64<<20 {
				t.Errorf("memory has grown by %d bytes", grown)
			}
			g.eventually("all are counted", func() bool { return g.e.Stats().Rejected(framer.DecompressOverflow) == bombs })
		})
	}
}
