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

// slowKernel has a clock that moves by more than a jump whenever it is read.
type slowKernel struct {
	feed
	at int64
}

func (k *slowKernel) now() int64 {
	k.at += int64(clockJump) + 1
	return k.at
}

// A loop each of whose turns takes longer than what counts as a jump of the clock judges its deadlines all the same, at least in every second
// turn: otherwise a peer that keeps it so busy would have no deadline, and nobody else either. And it does not stay awake for that for ever.
func TestDeadlinesInLongTurns(t *testing.T) {
	for _, watching := range []int{0, 1} {
		k := &slowKernel{feed: feed{linux: linux{base: time.Now()}}}
		l, _ := still(t, &k.feed, Config{}, nil, func(*Conn) Protocol { return nil })
		l.r.sys, k.at = k, l.now
		l.watching = watching
		began := l.wheel.tick
		judged := 0
		for turn := range 20 {
			l.backBy = l.now // as after a turn with work
			l.clockTurn(true, 0)
			before := l.wheel.tick
			l.turn()
			if l.wheel.tick != before {
				judged++
			}
			if turn%2 == 1 && judged < (turn+1)/2 {
				t.Fatalf("%d watches: deadlines were judged in %d of %d turns", watching, judged, turn+1)
			}
		}
		if l.wheel.tick == began || l.unseen > 1 {
			t.Errorf("%d watches: tick %d, %d turns unseen", watching, l.wheel.tick, l.unseen)
		}
	}
}
