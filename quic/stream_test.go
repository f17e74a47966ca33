package quic

import (
	"bytes"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
)

// TestSlowReaderHoldsLittle: a client that sends and does not read gets the server to stop reading, and is stopped itself by
// that; when it reads again everything comes, in order.
func TestSlowReaderHoldsLittle(t *testing.T) {
	r := start(t, reactor.Config{})
	// The window does not grow, or the bound would depend on how fast the first bytes were echoed.
	p := newPair(t, r, ListenConfig{Protocol: echo.with, Config: Config{MaxStreamWindow: DefaultStreamWindow}}, DialerConfig{})
	s := stockStream(t, p)
	block := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
	const total = 64 << 20
	var sent atomic.Int64
	go func() {
		for sent.Load() < total {
			n, err := s.Write(block)
			sent.Add(int64(n))
			if err != nil {
				t.Errorf("write: %v", err)
				return
			}
		}
		_ = s.Close()
	}()
	stalled := int64(-1)
	waitFor(t, "the client to be stopped", func() bool {
		time.Sleep(200 * time.Millisecond)
		now := sent.Load()
		same := now == stalled
		stalled = now
		return same
	})
	// The windows of both ends, what is read ahead, the high-water mark and one read above it, the chunks, and the client's last block.
	most := int64(2*DefaultStreamWindow + smallChunk + reactor.DefaultHighWater + reactor.DefaultReadBuffer + 2*chunkSize + len(block))
	if stalled > most {
		t.Errorf("%d bytes were taken from a client that reads nothing, at most %d were expected", stalled, most)
	}
	got := 0
	for p := make([]byte, len(block)); ; {
		n, err := s.Read(p)
		for i, b := range p[:n] {
			if b != block[(got+i)%len(block)] {
				t.Fatalf("byte %d is wrong", got+i)
			}
		}
		got += n
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("after %d bytes: %v", got, err)
		}
	}
	if got != total {
		t.Errorf("%d of %d bytes came back", got, total)
	}
}

// TestDeafPeerIsCutOff: a protocol that ignores Writable is stopped at the hard cap, and the peer is told slow_peer.
func TestDeafPeerIsCutOff(t *testing.T) {
	server, client := make(closes, 1), make(closes, 1)
	r := start(t, reactor.Config{HighWater: 64 << 10, HardCap: 256 << 10})
	p := newPair(t, r, ListenConfig{Protocol: script{
		data: func(c *reactor.Conn, b []byte) (int, int, error) {
			for c.Write(make([]byte, 16<<10)) == nil {
			}
			return len(b), 0, nil
		},
		close: server.add,
	}.with}, DialerConfig{})
	rc := openScript(t, p.dial(t), script{
		open:  func(c *reactor.Conn) { _ = c.Write([]byte("go")); c.PauseRead() },
		close: client.add,
	})
	if err := server.one(t); reasonOf(err) != reactor.ReasonSlowPeer {
		t.Errorf("server: %v", err)
	}
	_ = rc.Post(rc.ResumeRead)
	if err := client.one(t); reasonOf(err) != reactor.ReasonSlowPeer {
		t.Errorf("client: %v", err)
	}
}

// TestResetInsideFrame: a stream that its peer gives up in the middle of a frame closes with the peer's reason, and the
// connection goes on.
func TestResetInsideFrame(t *testing.T) {
	h := &echoHandler{}
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{Protocol: sessions(t, h)}, DialerConfig{})
	c := p.dial(t)
	whole, err := framer.AppendFrame(nil, &framer.Frame{Header: framer.Header{Flags: framer.FlagReq, AppProtoID: 7}, Payload: make([]byte, 50000)})
	if err != nil {
		t.Fatal(err)
	}
	rc := openScript(t, c, script{open: func(c *reactor.Conn) { _ = c.Write(whole[:len(whole)/2]) }})
	waitFor(t, "half a frame", func() bool { return p.lis.Stats().Streams == 1 && p.lis.Stats().BytesIn > uint64(len(whole)/2) })
	_ = rc.Post(func() { rc.Abort(&Error{Why: "read_timeout", Msg: "test"}) })
	if cause := h.causes(t, 1)[0]; reasonOf(cause) != "read_timeout" {
		t.Errorf("closed with %v", cause)
	}
	mustAsk(t, open(t, c, &echoHandler{}), 1000)
}

// TestEndInsideFrame: the peer ends its stream cleanly, but not its frame.
func TestEndInsideFrame(t *testing.T) {
	h := &echoHandler{}
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{Protocol: sessions(t, h)}, DialerConfig{})
	openScript(t, p.dial(t), script{open: func(c *reactor.Conn) { _ = c.Write([]byte{0, 0, 1}); c.Close(nil) }})
	if cause := h.causes(t, 1)[0]; reasonOf(cause) != reactor.ReasonIO {
		t.Errorf("closed with %v", cause)
	}
}

// TestHalfClose: the peer's end of stream reaches the protocol, which may go on writing.
func TestHalfClose(t *testing.T) {
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{Protocol: script{
		eof: func(c *reactor.Conn) bool {
			_ = c.Write(bytes.Repeat([]byte{'x'}, 300<<10))
			c.Close(nil)
			return true
		},
	}.with}, DialerConfig{})
	s := stockStream(t, p)
	if _, err := s.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if b, err := io.ReadAll(s); err != nil || len(b) != 300<<10 {
		t.Errorf("%d bytes, %v", len(b), err)
	}
}

// TestStreamLimit: no more streams than the peer allows, and a typed error for the one beyond.
func TestStreamLimit(t *testing.T) {
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{Config: Config{MaxStreams: 3}}, DialerConfig{})
	c := p.dial(t)
	for range 3 {
		mustAsk(t, open(t, c, &echoHandler{}), 10)
	}
	_, err := c.OpenStream(OpenConfig{Protocol: echo.with})
	if err != ErrStreamLimit || reasonOf(err) != "inflight_exceeded" {
		t.Errorf("the fourth stream: %v", err)
	}
}

// TestConnOf finds the connection of a stream, and of nothing else.
func TestConnOf(t *testing.T) {
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{}, DialerConfig{})
	c := p.dial(t)
	rc := openScript(t, c, script{})
	if ConnOf(rc) != c || rc.Loop() != c.Loop() || rc.RemoteAddr().String() != p.lis.Addr().String() || rc.LocalAddr().String() != c.LocalAddr().String() {
		t.Errorf("connection %p of %p, loops %d and %d, %v to %v", ConnOf(rc), c, rc.Loop(), c.Loop(), rc.LocalAddr(), rc.RemoteAddr())
	}
	lis, err := r.Listen("tcp", "127.0.0.1:0", reactor.ListenConfig{Protocol: echo.with})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := r.Dial("tcp", lis.Addr().String(), reactor.DialConfig{Protocol: script{}.with})
	if err != nil {
		t.Fatal(err)
	}
	if ConnOf(tcp) != nil {
		t.Error("a TCP connection has a QUIC connection")
	}
}
