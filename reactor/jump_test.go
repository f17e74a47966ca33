package reactor

import (
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// jumpingKernel has a clock that jumps when it is told to.
type jumpingKernel struct {
	linux
	ahead *atomic.Int64
}

func (k jumpingKernel) now() int64 { return k.linux.now() + k.ahead.Load() }

// A loop whose clock jumps beyond its deadlines, as that of a process that was stopped, ends no connection that has something waiting for it:
// all of them are looked at first, also when they are more than one epoll_wait tells of. Those that have been silent are ended.
func TestClockJump(t *testing.T) {
	const conns, silent = eventsPerWait + 100, 3
	k := jumpingKernel{linux: linux{base: time.Now()}, ahead: new(atomic.Int64)}
	r := startOn(t, Config{Loops: 1, IdleTimeout: time.Minute, FrameTimeout: time.Minute}, k)
	var ended closes
	s := echo
	s.close = ended.add
	lis := listen(t, r, s)
	var all []*net.TCPConn
	for range conns + silent {
		all = append(all, dialNet(t, lis))
	}
	waitFor(t, "all connections", func() bool { return r.Stats().Conns == conns+silent })
	gate := make(chan struct{})
	stopped := make(chan struct{})
	if err := r.Post(0, func() { close(stopped); <-gate }); err != nil {
		t.Fatal(err)
	}
	<-stopped
	for _, c := range all[:conns] {
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
	}
	k.ahead.Store(int64(2 * time.Hour))
	close(gate)
	for i, c := range all[:conns] {
		got := make([]byte, 5)
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		if _, err := io.ReadFull(c, got); err != nil || string(got) != "hello" {
			t.Fatalf("connection %d of %d: %q, %v", i, conns, got, err)
		}
	}
	waitFor(t, "the end of the silent ones", func() bool { return r.Stats().Conns == conns })
	for _, err := range ended.all() {
		if err != ErrIdleTimeout {
			t.Errorf("a connection ended with %v", err)
		}
	}
}
