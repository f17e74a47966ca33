package gnetplain

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/wire"
)

// request is a frame with n bytes of payload that depend on id.
func request(n int, id uint64) []byte {
	b := make([]byte, wire.HeaderLen+n)
	binary.BigEndian.PutUint32(b, uint32(len(b)))
	b[5], b[7] = 1, 1
	binary.BigEndian.PutUint64(b[30:], id)
	for i := range n {
		b[wire.HeaderLen+i] = byte(uint64(i)*7 + id)
	}
	return b
}

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
	var out, want []byte
	for i, n := range sizes {
		f := request(n, uint64(i))
		out = append(out, f...)
		wire.MakeReply(f)
		want = append(want, f...)
	}
	go func() {
		for len(out) > 0 { // odd pieces, so that frames begin and end anywhere in a read
			n := min(len(out), 30011)
			if _, err := c.Write(out[:n]); err != nil {
				return
			}
			out = out[n:]
		}
	}()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("the replies differ from the requests")
	}
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
	spoilt := func(at int, v byte) []byte {
		b := request(0, 0)
		b[at] = v
		return b
	}
	for _, b := range [][]byte{
		spoilt(5, 9),                           // version
		spoilt(0, 0xff),                        // length
		append(request(3, 1), spoilt(6, 1)...), // a reserved flag, behind a good frame
	} {
		c := dial(t, s)
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(c)
		if want := len(b) - wire.HeaderLen; len(got) != want {
			t.Errorf("%d bytes came back before the end, want %d", len(got), want)
		}
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
