package quic

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
)

// TestConnEvents: open and close reach both ends' handlers, the close after those of the streams, with code and cause.
func TestConnEvents(t *testing.T) {
	for name, end := range map[string]struct {
		code  Code
		cause error
	}{
		"clean":   {CodeNone, nil},
		"refused": {CodeRateLimited, &Error{Why: "rate_limited", Msg: "test"}},
	} {
		t.Run(name, func(t *testing.T) {
			var server, client connEvents
			h := &echoHandler{}
			r := start(t, reactor.Config{})
			p := newPair(t, r, ListenConfig{Conns: &server, Protocol: sessions(t, h)}, DialerConfig{Conns: &client})
			c := p.dial(t)
			mustAsk(t, open(t, c, &echoHandler{}), 10)
			if client.conn(t, 0) != c {
				t.Error("another connection was opened")
			}
			remote := server.conn(t, 0).RemoteAddr().(*net.UDPAddr)
			if local := c.LocalAddr().(*net.UDPAddr); remote.Port != local.Port {
				t.Errorf("from port %d, the server says %d", local.Port, remote.Port)
			}
			c.Close(end.code, end.cause)
			got := server.end(t, 0)
			if got.code != end.code || reasonOf(got.cause) != reasonOf(end.cause) {
				t.Errorf("server: %d, %v", got.code, got.cause)
			}
			if cause := h.causes(t, 1)[0]; reasonOf(cause) != reasonOf(end.cause) {
				t.Errorf("server's stream: %v", cause)
			}
			if got := client.end(t, 0); got.code != end.code || got.cause != end.cause {
				t.Errorf("client: %d, %v", got.code, got.cause)
			}
			if _, err := c.OpenStream(OpenConfig{Protocol: echo.with}); err == nil {
				t.Error("a stream on a closed connection")
			}
		})
	}
}

// TestSilentPeer: a peer that vanishes without a word is given up after the idle timeout.
func TestSilentPeer(t *testing.T) {
	var events connEvents
	h := &echoHandler{}
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{Conns: &events, Protocol: sessions(t, h), Config: Config{IdleTimeout: 300 * time.Millisecond}}, DialerConfig{})
	c := p.dial(t)
	mustAsk(t, open(t, c, &echoHandler{}), 10)
	_ = c.port.tr.Close() // quic-go destroys its connections without telling their peers
	if got := events.end(t, 0); reasonOf(got.cause) != reactor.ReasonIdleTimeout {
		t.Errorf("closed with %v", got.cause)
	}
	if cause := h.causes(t, 1)[0]; reasonOf(cause) != reactor.ReasonIdleTimeout {
		t.Errorf("stream closed with %v", cause)
	}
}

// TestPausedStreamNoticesTheEnd: a stream whose protocol does not read ends with its connection, too.
func TestPausedStreamNoticesTheEnd(t *testing.T) {
	ended := make(closes, 1)
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{Protocol: script{
		data:  func(c *reactor.Conn, b []byte) (int, int, error) { c.PauseRead(); return len(b), 0, nil },
		close: ended.add,
	}.with}, DialerConfig{})
	c := p.dial(t)
	openScript(t, c, script{open: func(c *reactor.Conn) { _ = c.Write([]byte("hello")) }})
	waitFor(t, "the stream", func() bool { return p.lis.Stats().Streams == 1 })
	c.Close(CodeIO, &Error{Why: "io", Msg: "test"})
	if err := ended.one(t); reasonOf(err) != "io" {
		t.Errorf("closed with %v", err)
	}
}

// TestOverCapacity: a connection beyond MaxConns is told why: by the code of its close, or in the protocol's own words.
func TestOverCapacity(t *testing.T) {
	t.Run("code", func(t *testing.T) {
		var events connEvents
		r := start(t, reactor.Config{MaxConns: 1})
		p := newPair(t, r, ListenConfig{}, DialerConfig{Conns: &events})
		mustAsk(t, open(t, p.dial(t), &echoHandler{}), 10)
		p.dial(t)
		got := events.end(t, 0)
		if got.code != CodeOverCapacity || reasonOf(got.cause) != reactor.ReasonOverCapacity {
			t.Errorf("closed with %d, %v", got.code, got.cause)
		}
		if n := p.lis.Stats().Refused; n != 1 {
			t.Errorf("%d refused", n)
		}
	})
	t.Run("words", func(t *testing.T) {
		r := start(t, reactor.Config{MaxConns: 1})
		end, err := framer.NewEndpoint(&echoHandler{}, framer.Options{})
		if err != nil {
			t.Fatal(err)
		}
		p := newPair(t, r, ListenConfig{Refuse: func(c *reactor.Conn, cause error) { end.Refuse(c, cause) }}, DialerConfig{})
		mustAsk(t, open(t, p.dial(t), &echoHandler{}), 10)
		got := make(chan uint16, 1)
		open(t, p.dial(t), frames(func(f *framer.Frame) { got <- f.Code }))
		select {
		case code := <-got:
			if code != 503 {
				t.Errorf("refused with %d", code)
			}
		case <-time.After(patience):
			t.Fatal("no refusal came")
		}
	})
}

// frames is a framer.Handler that hands frames on, after having sent a request.
type frames func(*framer.Frame)

func (frames) OnOpen(s *framer.Session) {
	_ = s.Send(&framer.Frame{Header: framer.Header{Flags: framer.FlagReq, AppProtoID: 7, CorrID: 1}})
}
func (h frames) OnFrame(_ *framer.Session, f *framer.Frame) { h(f) }
func (frames) OnClose(*framer.Session, error)               {}

// TestTooManyHandshakes: the connection beyond MaxHandshakes is refused by QUIC itself.
func TestTooManyHandshakes(t *testing.T) {
	refused := make(chan error, 8) // a ClientHello takes two packets, and each is refused
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{MaxHandshakes: 1, OnError: func(_ net.Addr, err error) { refused <- err }}, DialerConfig{})
	p.lis.ep.half.Add(1)
	defer p.lis.ep.half.Add(-1)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := p.d.Dial(ctx, p.lis.Addr().String())
	if reasonOf(err) != reactor.ReasonOverCapacity {
		t.Errorf("dial: %v", err)
	}
	if err := <-refused; err != errHandshakes {
		t.Errorf("the server's error: %v", err)
	}
}

// TestRetry: with RetryAbove negative every client proves its address, and the connection works; the next one brings the
// token it was given instead.
func TestRetry(t *testing.T) {
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{RetryAbove: -1}, DialerConfig{})
	mustAsk(t, open(t, p.dial(t), &echoHandler{}), 10)
	n := p.lis.Stats().Retries // for each packet of the ClientHello
	if n == 0 {
		t.Error("no retry")
	}
	mustAsk(t, open(t, p.dial(t), &echoHandler{}), 10)
	if m := p.lis.Stats().Retries; m != n {
		t.Errorf("%d retries, after a connection with a token %d", n, m)
	}
}

// TestResumption: the second connection to a server resumes the first one's session.
func TestResumption(t *testing.T) {
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{}, DialerConfig{})
	for i := range 2 {
		c := p.dial(t)
		mustAsk(t, open(t, c, &echoHandler{}), 10)
		st := c.State()
		if st.Resumed != (i == 1) || st.ALPN != ALPN || st.Suite == "" || st.Group == "" || st.BytesOut == 0 || st.RTT <= 0 || st.UsedEarly {
			t.Errorf("connection %d: %+v", i, st)
		}
		if i == 0 && len(st.Peer) == 0 {
			t.Error("no certificate")
		}
	}
}

// TestHandshakeErrors: what can go wrong before a connection is open has a reason.
func TestHandshakeErrors(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	failed := make(chan error, 8)
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{OnError: func(_ net.Addr, err error) { failed <- err }}, DialerConfig{Config: Config{HandshakeTimeout: 200 * time.Millisecond}})
	ctx := context.Background()
	if _, err := p.d.Dial(ctx, silent.LocalAddr().String()); reasonOf(err) != reactor.ReasonHandshakeTimeout {
		t.Errorf("a silent server: %v", err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := p.d.Dial(canceled, silent.LocalAddr().String()); !errors.Is(err, context.Canceled) {
		t.Errorf("a dial given up: %v", err)
	}
	alien := p.cli.Clone()
	alien.NextProtos = []string{"h3"}
	d, err := NewDialer(r, DialerConfig{TLS: alien})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Dial(ctx, p.lis.Addr().String()); reasonOf(err) != "tls" {
		t.Errorf("another protocol: %v", err)
	}
	if err := <-failed; reasonOf(err) != "tls" {
		t.Errorf("another protocol, the server's error: %v", err)
	}
	stranger, err := NewDialer(r, DialerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Dial(ctx, p.lis.Addr().String()); reasonOf(err) != "tls" {
		t.Errorf("an unknown certificate: %v", err)
	}
	if err := <-failed; reasonOf(err) != "tls" {
		t.Errorf("an unknown certificate, the server's error: %v", err)
	}
	if st := p.lis.Stats(); st.HandshakesFailed != 2 || st.Opened != 0 {
		t.Errorf("stats %+v", st)
	}
}
