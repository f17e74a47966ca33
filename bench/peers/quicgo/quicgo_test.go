package quicgo

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"go.uber.org/goleak"

	"github.com/ron-transport/ron-transport/bench/internal/peertest"
	"github.com/ron-transport/ron-transport/bench/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair starts a server and dials it.
func pair(t *testing.T, maxStreams int) (*Server, *quic.Conn) {
	t.Helper()
	_, crt, roots := peertest.Certificate(t)
	s, err := Listen("127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{crt}}, maxStreams)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c, err := NewClient(&tls.Config{RootCAs: roots, ServerName: "localhost"}).Dial(ctx, s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func TestEchoesAllSizesOnManyStreams(t *testing.T) {
	s, c := pair(t, 8)
	if st := c.ConnectionState().TLS; st.Version != tls.VersionTLS13 || st.NegotiatedProtocol != "oap/1" {
		t.Errorf("version %#x, ALPN %q", st.Version, st.NegotiatedProtocol)
	}
	sizes := []int{0, 1, 4096, firstFrame - wire.HeaderLen, firstFrame, 65536, wire.MaxFrame - wire.HeaderLen, 3}
	for id := range uint64(3) {
		str, err := c.OpenStream()
		if err != nil {
			t.Fatal(err)
		}
		_ = str.SetDeadline(time.Now().Add(30 * time.Second))
		var want []byte
		for _, n := range sizes {
			f := peertest.Request(n, id)
			if _, err := str.Write(f); err != nil {
				t.Fatal(err)
			}
			wire.MakeReply(f)
			buf := make([]byte, wire.HeaderLen)
			got, err := ReadFrame(str, &buf)
			if want = f; err != nil || !bytes.Equal(buf[:got], want) {
				t.Fatalf("%d bytes: a reply of %d, %v", n, got, err)
			}
		}
		if err := str.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := str.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after the end: %v, want EOF", err)
		}
	}
	if err := c.CloseWithError(0, ""); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if st := &s.Stats; st.Frames.Load() != uint64(3*len(sizes)) || st.Accepted.Load() != 1 || st.Streams.Load() != 3 || st.Failed.Load() != 0 {
		t.Errorf("counted %d frames, %d connections, %d streams, %d failed", st.Frames.Load(), st.Accepted.Load(), st.Streams.Load(), st.Failed.Load())
	}
}

// A bad frame costs its stream, not the connection; more streams than allowed are not opened.
func TestBadFrameAndStreamLimit(t *testing.T) {
	s, c := pair(t, 1)
	str, err := c.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	var limit *quic.StreamLimitReachedError
	if _, err := c.OpenStream(); !errors.As(err, &limit) {
		t.Errorf("a second stream where one is allowed: %v", err)
	}
	if _, err := str.Write(peertest.Spoilt(5, 9)); err != nil {
		t.Fatal(err)
	}
	_ = str.SetDeadline(time.Now().Add(30 * time.Second))
	var reset *quic.StreamError
	if _, err := str.Read(make([]byte, 1)); !errors.As(err, &reset) || !reset.Remote {
		t.Errorf("a bad frame: %v, want a reset", err)
	}
	if c.Context().Err() != nil {
		t.Error("the connection ended with the stream")
	}
	str.CancelWrite(0)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if s.Stats.Failed.Load() != 1 {
		t.Errorf("%d failures counted, want the stream", s.Stats.Failed.Load())
	}
}

// A frame that ends too early is an error, the end between two frames is none.
func TestReadFrameEnds(t *testing.T) {
	f := peertest.Request(10, 1)
	for n, want := range map[int]error{0: io.EOF, 5: io.ErrUnexpectedEOF, wire.HeaderLen: io.ErrUnexpectedEOF, len(f) - 1: io.ErrUnexpectedEOF, len(f): nil} {
		buf := make([]byte, wire.HeaderLen)
		if _, err := ReadFrame(bytes.NewReader(f[:n]), &buf); err != want {
			t.Errorf("%d of %d bytes: %v, want %v", n, len(f), err, want)
		}
	}
}
