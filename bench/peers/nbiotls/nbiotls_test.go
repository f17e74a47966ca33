package nbiotls

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/wire"
)

func listen(t *testing.T) (*Server, *tls.Config) {
	t.Helper()
	files, err := cert.Make()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Remove() })
	pair, err := files.Load()
	if err != nil {
		t.Fatal(err)
	}
	pool, err := cert.Pool(files.Cert)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Listen("127.0.0.1:0", &pair)
	if err != nil {
		t.Fatal(err)
	}
	return s, &tls.Config{RootCAs: pool, NextProtos: []string{"oap/1"}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
}

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
		if err := c.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(got); err != io.EOF {
			t.Errorf("after the end: %v, want EOF", err)
		}
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
			if _, err := c.Write(request(size, i)); err != nil {
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
		want := request(size, i)
		wire.MakeReply(want)
		if !bytes.Equal(got, want) {
			t.Fatalf("reply %d differs from its request", i)
		}
	}
}

func TestClosesOnBadFramesAndOnClose(t *testing.T) {
	s, cfg := listen(t)
	c := dial(t, s, cfg)
	bad := request(0, 0)
	bad[5] = 9
	if _, err := c.Write(append(request(3, 1), bad...)); err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(c); len(got) != wire.HeaderLen+3 {
		t.Errorf("%d bytes came back before the end, want %d", len(got), wire.HeaderLen+3)
	}
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
