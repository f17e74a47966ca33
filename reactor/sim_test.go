package reactor

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// simKernel is one socket with seeded faults: short reads and writes, EAGAIN, EINTR, ENOBUFS, late and spurious events.
// It follows edge-triggered epoll: an event comes when a state changes, not while it lasts.
type simKernel struct {
	linux
	rng    *rand.Rand
	peer   []byte // what the peer has still to send
	recv   []byte // arrived, not read
	fin    bool   // the peer's end has arrived
	got    []byte // what the peer has received
	room   int    // what the socket takes before EAGAIN
	edges  uint32 // events that the loop has not been told of
	closed int
	ended  bool // our end of stream was sent
	// spurious events would wake a loop that has missed a real one: only every other schedule has them.
	spurious bool
}

func (k *simKernel) read(_ int, p []byte) (int, unix.Errno) {
	if k.rng.IntN(20) == 0 {
		return -1, unix.EINTR
	}
	if len(k.recv) == 0 {
		if k.fin {
			return 0, 0
		}
		return -1, unix.EAGAIN
	}
	n := copy(p, k.recv)
	k.recv = k.recv[n:]
	return n, 0
}

func (k *simKernel) take(n int) (int, unix.Errno) {
	switch {
	case k.rng.IntN(20) == 0:
		return -1, unix.EINTR
	case k.room == 0:
		return -1, unix.EAGAIN
	}
	n = min(n, k.room)
	if k.rng.IntN(3) == 0 {
		n = 1 + k.rng.IntN(n)
		k.room = n // a short write means full
	}
	k.room -= n
	return n, 0
}

func (k *simKernel) write(_ int, p []byte) (int, unix.Errno) {
	n, errno := k.take(len(p))
	if errno == 0 {
		k.got = append(k.got, p[:n]...)
	}
	return n, errno
}

func (k *simKernel) writev(_ int, iov []unix.Iovec) (int, unix.Errno) {
	total := 0
	for _, v := range iov {
		total += int(v.Len)
	}
	n, errno := k.take(total)
	for left, i := n, 0; errno == 0 && left > 0; i++ {
		m := min(left, int(iov[i].Len))
		k.got = append(k.got, sliceOf(iov[i])[:m]...)
		left -= m
	}
	return n, errno
}

func (k *simKernel) shutdownWrite(int)                                       { k.ended = true }
func (k *simKernel) reset(int)                                               {}
func (k *simKernel) close(int)                                               { k.closed++ }
func (k *simKernel) socketError(int) unix.Errno                              { return 0 }
func (k *simKernel) epollAdd(int, int, *unix.EpollEvent) unix.Errno          { return 0 }
func (k *simKernel) epollPoll(int, []unix.EpollEvent) (int, unix.Errno)      { return 0, 0 }
func (k *simKernel) epollWait(int, []unix.EpollEvent, int) (int, unix.Errno) { return 0, 0 }

// step lets the world go on: bytes arrive, the peer reads, the peer ends.
func (k *simKernel) step() {
	if n := len(k.peer); n > 0 && k.rng.IntN(2) == 0 {
		n = min(n, 1+k.rng.IntN(1<<k.rng.IntN(18)))
		k.recv = append(k.recv, k.peer[:n]...)
		k.peer = k.peer[n:]
		k.edges |= unix.EPOLLIN
	}
	if len(k.peer) == 0 && !k.fin && k.rng.IntN(4) == 0 {
		k.fin = true
		k.edges |= unix.EPOLLIN | unix.EPOLLRDHUP
	}
	if k.rng.IntN(2) == 0 {
		k.room += k.rng.IntN(200_000)
		k.edges |= unix.EPOLLOUT
	}
	if k.spurious && k.rng.IntN(10) == 0 {
		k.edges |= unix.EPOLLOUT | unix.EPOLLIN // spurious
	}
}

// TestSimulatedKernel runs the code of the loop against schedules of faults; each is reproduced by its seed. Nothing may
// be lost, doubled or reordered, the connection closes once and cleanly, and every buffer comes back.
func TestSimulatedKernel(t *testing.T) {
	for seed := uint64(0); seed < 1500; seed++ {
		simulate(t, seed)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}

func simulate(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 11))
	k := &simKernel{rng: rng, room: rng.IntN(100_000), spurious: seed%2 == 0}
	for range 1 + rng.IntN(12) {
		n := rng.IntN(1 << rng.IntN(18))
		k.peer = append(k.peer, byte(n>>16), byte(n>>8), byte(n), 0)
		for i := range n {
			k.peer = append(k.peer, byte(i)^byte(seed))
		}
	}
	want := bytes.Clone(k.peer)
	closes := 0
	var cause error
	var held *Conn
	s := script{
		data: blocks(func(c *Conn, b []byte) {
			switch rng.IntN(4) {
			case 0:
				_ = c.Write(b)
			case 1:
				buf := c.RetainInput()
				_ = c.WriteBuf(buf, len(buf.B)-cap(b), len(b))
			default:
				_ = c.WriteInPlace(b)
			}
			if rng.IntN(8) == 0 {
				c.PauseRead()
				held = c
			}
		}),
		close: func(_ *Conn, err error) { closes++; cause = err },
	}
	l, c := still(t, &feed{}, Config{HighWater: 100_000, LowWater: 20_000, Poison: true}, nil, s.with)
	l.r.sys = k
	l.register(c)
	for turn := 0; closes == 0; turn++ {
		if turn > 100_000 {
			t.Fatalf("seed %d: stuck: state %d, %d of %d bytes back", seed, c.state, len(k.got), len(want))
		}
		k.step()
		if k.edges != 0 && rng.IntN(3) > 0 {
			l.events[0] = unix.EpollEvent{Events: k.edges, Fd: c.slot, Pad: c.gen}
			k.edges = 0
			l.evNext, l.evCount = 0, 1
		}
		if held != nil && rng.IntN(3) == 0 {
			held.ResumeRead()
			held = nil
		}
		for !l.turn() {
		}
		l.evNext, l.evCount = 0, 0
	}
	if !bytes.Equal(k.got, want) || cause != nil || closes != 1 || k.closed != 1 {
		t.Errorf("%d of %d bytes back, equal %v; closed %d times, cause %v", len(k.got), len(want), bytes.Equal(k.got, want), closes, cause)
	}
	if l.in != nil {
		l.in.Release()
	}
	for _, leak := range l.pool.Leaks() {
		t.Errorf("leak: %s", leak)
	}
}

// sliceOf is the memory behind an iovec.
func sliceOf(v unix.Iovec) []byte { return unsafe.Slice(v.Base, v.Len) }
