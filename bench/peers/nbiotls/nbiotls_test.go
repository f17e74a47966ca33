package nbiotls

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/peertest"
	"github.com/ron-transport/ron-transport/bench/internal/wire"
)

func listen(t *testing.T) (*Server, *tls.Config) {
	t.Helper()
	_, pair, roots := peertest.Certificate(t)
	s, err := Listen("127.0.0.1:0", &pair)
	if err != nil {
		t.Fatal(err)
	}
	return s, &tls.Config{RootCAs: roots, NextProtos: []string{"oap/1"}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
}

func dial(t *testing.T, s *Server, cfg *tls.Config) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", s.Addr().String(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// eventually waits for what nbio does on goroutines of its own.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func TestEchoesAllSizesInOrderAndResumes(t *testing.T) {
	s, cfg := listen(t)
	sizes := []int{0, 1, 4096, 16384, 65536, bufferSize - wire.HeaderLen, bufferSize - wire.HeaderLen + 1, wire.MaxFrame - wire.HeaderLen, 3}
	for round := range 2 {
		c := dial(t, s, cfg)
		st := c.ConnectionState()
		if st.Version != tls.VersionTLS13 || st.CipherSuite != tls.TLS_AES_128_GCM_SHA256 || st.NegotiatedProtocol != "oap/1" || st.CurveID != tls.X25519MLKEM768 || st.DidResume != (round == 1) {
			t.Errorf("round %d: version %#x, suite %#x, ALPN %q, %v, resumed %v", round, st.Version, st.CipherSuite, st.NegotiatedProtocol, st.CurveID, st.DidResume)
		}
		peertest.Echo(t, c, sizes)
		peertest.Ends(t, c)
	}
	eventually(t, "the connections' frames were not counted", func() bool { return s.Stats.Frames.Load() == uint64(2*len(sizes)) })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if s.Stats.Accepted.Load() != 2 || s.Stats.Failed.Load() != 0 {
		t.Errorf("counted %d accepted, %d failed", s.Stats.Accepted.Load(), s.Stats.Failed.Load())
	}
}

// A client that asks for megabytes before it reads gets all of them: what the socket does not take waits, and is not lost.
func TestRepliesWaitForASlowReader(t *testing.T) {
	s, cfg := listen(t)
	defer s.Close()
	c := dial(t, s, cfg)
	const frames, size = 200, 65536
	go func() {
		for i := range uint64(frames) {
			if _, err := c.Write(peertest.Request(size, i)); err != nil {
				return
			}
		}
	}()
	time.Sleep(100 * time.Millisecond) // the sockets' buffers fill; the test holds without it
	got := make([]byte, wire.HeaderLen+size)
	for i := range uint64(frames) {
		if _, err := io.ReadFull(c, got); err != nil {
			t.Fatalf("reply %d: %v", i, err)
		}
		want := peertest.Request(size, i)
		wire.MakeReply(want)
		if !bytes.Equal(got, want) {
			t.Fatalf("reply %d differs from its request", i)
		}
	}
}

func TestClosesOnBadFramesAndOnClose(t *testing.T) {
	s, cfg := listen(t)
	c := dial(t, s, cfg)
	peertest.Refuses(t, c, append(peertest.Request(3, 1), peertest.Spoilt(5, 9)...))
	idle, err := net.Dial("tcp", s.Addr().String()) // never shakes hands
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	eventually(t, "the connection was not accepted", func() bool { return s.Stats.Accepted.Load() == 2 })
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := s.Stats.Failed.Load(); n != 1 {
		t.Errorf("%d failed connections were counted, want 1", n)
	}
	if _, err := Listen("127.0.0.1:99999", &tls.Certificate{}); err == nil {
		t.Error("a port beyond the largest was accepted")
	}
}
