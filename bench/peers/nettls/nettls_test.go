package nettls

import (
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/peertest"
	"github.com/ron-transport/ron-transport/bench/internal/wire"
)

func listen(t *testing.T) (*Server, *tls.Config) {
	t.Helper()
	_, pair, roots := peertest.Certificate(t)
	s, err := Listen("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	return s, &tls.Config{RootCAs: roots, NextProtos: []string{"oap/1"}}
}

func TestEchoesAllSizesInOrder(t *testing.T) {
	s, cfg := listen(t)
	c, err := tls.Dial("tcp", s.Addr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	st := c.ConnectionState()
	if st.Version != tls.VersionTLS13 || st.NegotiatedProtocol != "oap/1" {
		t.Errorf("version %#x, ALPN %q", st.Version, st.NegotiatedProtocol)
	}
	sizes := []int{0, 1, 4096, 16384, bufferSize - wire.HeaderLen, bufferSize - wire.HeaderLen + 1, 65536, wire.MaxFrame - wire.HeaderLen, 3}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	peertest.Echo(t, c, sizes)
	peertest.Ends(t, c)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := s.Stats.Frames.Load(); n != uint64(len(sizes)) || s.Stats.Accepted.Load() != 1 || s.Stats.Failed.Load() != 0 {
		t.Errorf("counted %d frames, %d accepted, %d failed", n, s.Stats.Accepted.Load(), s.Stats.Failed.Load())
	}
}

func TestClosesOnBadFramesAndOnClose(t *testing.T) {
	s, cfg := listen(t)
	c, err := tls.Dial("tcp", s.Addr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write(peertest.Spoilt(5, 9)); err != nil {
		t.Fatal(err)
	}
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a bad frame was answered")
	}
	idle, err := net.Dial("tcp", s.Addr().String()) // never shakes hands
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if s.Stats.Failed.Load() == 0 {
		t.Error("no failed connection was counted")
	}
}
