package nettls

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
	s, err := Listen("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	return s, &tls.Config{RootCAs: pool, NextProtos: []string{"oap/1"}}
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
	var out, want []byte
	for i, n := range sizes {
		f := request(n, uint64(i))
		out = append(out, f...)
		wire.MakeReply(f)
		want = append(want, f...)
	}
	go func() { _, _ = c.Write(out) }()
	got := make([]byte, len(want))
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
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
	bad := request(0, 0)
	bad[5] = 9
	if _, err := c.Write(bad); err != nil {
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
