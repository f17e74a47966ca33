package gnetplain

import (
	"net"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/peertest"
	"github.com/ron-transport/ron-transport/bench/internal/wire"
)

func dial(t *testing.T, s *Server) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

func TestEchoesAllSizesInOrder(t *testing.T) {
	s, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := dial(t, s)
	sizes := []int{0, 1, 4096, 65536, wire.MaxFrame - wire.HeaderLen, 3, 16384, 200000}
	peertest.Echo(t, c, sizes)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := s.Stats.Frames.Load(); n != uint64(len(sizes)) || s.Stats.Accepted.Load() != 1 {
		t.Errorf("counted %d frames, %d accepted", n, s.Stats.Accepted.Load())
	}
}

func TestClosesOnBadFrames(t *testing.T) {
	s, err := Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, b := range [][]byte{
		peertest.Spoilt(5, 9),                                    // version
		peertest.Spoilt(0, 0xff),                                 // length
		append(peertest.Request(3, 1), peertest.Spoilt(6, 1)...), // a reserved flag, behind a good frame
	} {
		c := dial(t, s)
		peertest.Refuses(t, c, b)
	}
	if n := s.Stats.Failed.Load(); n != 3 {
		t.Errorf("%d failed connections counted, want 3", n)
	}
}

func TestListenRefuses(t *testing.T) {
	for _, addr := range []string{"", "nohost", "127.0.0.1:99999"} {
		if s, err := Listen(addr); err == nil {
			s.Close()
			t.Errorf("%q was accepted", addr)
		}
	}
}
