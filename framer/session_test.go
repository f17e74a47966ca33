package framer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// TestReplyInPlace: the whole payload or a prefix of it goes out from where it lies; with a cap, whose end the header
// then overwrites; frame by frame, several in one input.
func TestReplyInPlace(t *testing.T) {
	payload := []byte("0123456789")
	for _, n := range []int{1, 5, 10} {
		for _, capLen := range []int{0, 1, 38, 100} {
			c := newFake(t, &fakeHandler{frame: func(s *Session, f *Frame) {
				if err := s.Reply(f, 206, f.Payload[:n]); err != nil {
					t.Error(err)
				}
				if err := s.Reply(f, 200, nil); err != ErrReplied {
					t.Errorf("second reply: %v", err)
				}
				if err := s.ReplyError(f, &Error{Why: NotReady}); err != ErrReplied {
					t.Errorf("error after a reply: %v", err)
				}
				if s.ReplyReserve(f, 200, 1) != nil || f.Retain() != nil {
					t.Error("a reservation or Retain after a reply")
				}
			}}, Options{})
			var wire []byte
			for i := range uint64(3) {
				wire = append(wire, enc(t, Frame{Header: Header{Flags: FlagReq | FlagStart, AppProtoID: 9, Tenant: TenantID{1, 2, 3}, CorrID: i}, Cap: make([]byte, capLen), Payload: payload})...)
			}
			c.feed(wire)
			fs := c.sent()
			if c.inPlace != 3 || len(fs) != 3 {
				t.Fatalf("%d frames, %d in place", len(fs), c.inPlace)
			}
			for i, f := range fs {
				want := Header{Len: uint32(HeaderLen + n), Ver: 1, Flags: FlagResp | FlagEnd, Code: 206, AppProtoID: 9, Tenant: TenantID{1, 2, 3}, CorrID: uint64(i)}
				if f.Header != want || !bytes.Equal(f.Payload, payload[:n]) {
					t.Errorf("reply %+v, %q", f.Header, f.Payload)
				}
			}
		}
	}
}

// TestReplyCopies: other payloads are copied.
func TestReplyCopies(t *testing.T) {
	big := bytes.Repeat([]byte{7}, MaxPayload)
	for name, reply := range map[string]func(f *Frame) []byte{
		"nothing":          func(*Frame) []byte { return nil },
		"empty":            func(f *Frame) []byte { return f.Payload[:0] },
		"another":          func(*Frame) []byte { return []byte("another") },
		"the end":          func(f *Frame) []byte { return f.Payload[3:] },
		"more than it":     func(f *Frame) []byte { return append(f.Payload, "more"...) },
		"the cap":          func(f *Frame) []byte { return f.Cap },
		"the largest":      func(*Frame) []byte { return big },
		"beyond a reserve": func(*Frame) []byte { return big[:reserveFrame] },
	} {
		t.Run(name, func(t *testing.T) {
			var want []byte
			c := newFake(t, &fakeHandler{frame: func(s *Session, f *Frame) {
				want = bytes.Clone(reply(f))
				if err := s.Reply(f, 200, reply(f)); err != nil {
					t.Error(err)
				}
			}}, Options{})
			c.feed(enc(t, Frame{Header: Header{Flags: FlagReq | FlagStart, AppProtoID: 9, CorrID: 4}, Cap: []byte("cap"), Payload: []byte("payload")}))
			if f := c.one(); !bytes.Equal(f.Payload, want) || f.Flags != FlagResp|FlagEnd || f.CorrID != 4 || f.AppProtoID != 9 || c.inPlace != 0 {
				t.Errorf("%+v, %d bytes, %d in place", f.Header, len(f.Payload), c.inPlace)
			}
		})
	}
}

func TestReplyReserve(t *testing.T) {
	c := newFake(t, &fakeHandler{frame: func(s *Session, f *Frame) {
		for _, n := range []int{-1, reserveFrame - HeaderLen + 1} {
			if s.ReplyReserve(f, 200, n) != nil {
				t.Errorf("%d bytes were reserved", n)
			}
		}
		p := s.ReplyReserve(f, 201, int(f.Payload[0]))
		if p == nil {
			t.Fatal("nothing reserved")
		}
		for i := range p {
			p[i] = 'z'
		}
		if s.ReplyReserve(f, 200, 1) != nil || s.Reply(f, 200, nil) != ErrReplied {
			t.Error("a second reply")
		}
	}}, Options{})
	for _, n := range []byte{0, 1, 200} {
		c.feed(req(t, 1, 0, []byte{n}))
		if f := c.one(); f.Code != 201 || f.Flags != FlagResp|FlagEnd || string(f.Payload) != strings.Repeat("z", int(n)) {
			t.Errorf("reply %+v", f)
		}
	}
}

// TestReplyTooLarge: what the peer does not accept is refused, and the frame can still be answered.
func TestReplyTooLarge(t *testing.T) {
	c := newFake(t, &fakeHandler{frame: func(s *Session, f *Frame) {
		for _, p := range [][]byte{f.Payload, make([]byte, 2000-HeaderLen+1)} {
			err := s.Reply(f, 200, p)
			if e, ok := err.(*Error); !ok || e.Why != FrameTooLarge || e.CorrID != 3 || e.Fatal() {
				t.Errorf("reply of %d bytes: %v", len(p), err)
			}
		}
		if s.ReplyReserve(f, 200, 2000-HeaderLen+1) != nil {
			t.Error("reserved beyond the peer's cap")
		}
		if err := s.Send(&Frame{Payload: f.Payload}); err == nil {
			t.Error("sent beyond the peer's cap")
		}
		if err := s.Reply(f, 200, f.Payload[:2000-HeaderLen]); err != nil {
			t.Error(err)
		}
	}}, Options{})
	c.feed(req(t, 1, 0, nil)[:0])
	c.feed(enc(t, Frame{Header: Header{Flags: FlagReq}, Payload: []byte(`{"max_frame":2000}`)}))
	c.one()
	c.feed(req(t, 3, 0, make([]byte, 2000)))
	if f := c.one(); f.Len != 2000 {
		t.Errorf("%d bytes", f.Len)
	}
}

// TestReplyOutsideCallback: a frame belongs to its callback.
func TestReplyOutsideCallback(t *testing.T) {
	var kept *Frame
	c := newFake(t, &fakeHandler{frame: func(_ *Session, f *Frame) { kept = f }}, Options{})
	c.feed(req(t, 1, 0, []byte("x")))
	if err := c.s.Reply(kept, 200, kept.Payload); err != ErrReplied {
		t.Errorf("Reply: %v", err)
	}
	if err := c.s.ReplyError(kept, &Error{Why: IO}); err != ErrReplied {
		t.Errorf("ReplyError: %v", err)
	}
	if c.s.ReplyReserve(kept, 200, 1) != nil || kept.Retain() != nil || (&Frame{}).Retain() != nil {
		t.Error("a reservation or Retain outside of OnFrame")
	}
	if len(c.out) != 0 {
		t.Errorf("%d bytes were sent", len(c.out))
	}
}

// TestSend: frames of all sizes arrive as they were, and unsound ones do not leave.
func TestSend(t *testing.T) {
	c := newFake(t, &fakeHandler{}, Options{})
	for _, n := range []int{0, 1, reserveFrame - HeaderLen - 3, reserveFrame - HeaderLen - 2, reserveFrame, MaxPayload - 3} {
		f := Frame{Header: Header{Flags: FlagEvent | FlagStart, AppProtoID: 4, CorrID: 8}, Cap: []byte("cap"), Payload: bytes.Repeat([]byte{5}, n)}
		if err := c.s.Send(&f); err != nil {
			t.Fatal(err)
		}
		c.flush()
		if g := c.one(); g.Header != f.Header || !bytes.Equal(g.Payload, f.Payload) || string(g.Cap) != "cap" {
			t.Errorf("%d bytes came out as %+v", n, g.Header)
		}
	}
	large := Frame{Header: Header{Flags: FlagStart}, Cap: make([]byte, MaxCap), Payload: make([]byte, 1000)}
	if err := c.s.Send(&large); err != nil {
		t.Fatal(err)
	}
	c.flush()
	c.one()
	for _, f := range []Frame{{Cap: []byte("x")}, {Header: Header{Flags: 0x100}}, {Header: Header{Ver: 2}}, {Payload: make([]byte, MaxPayload+1)}} {
		if err := c.s.Send(&f); err == nil {
			t.Errorf("%+v was sent", f.Header)
		}
	}
	c.s.Close(nil)
	if err := c.s.Send(&Frame{}); err != ErrClosed {
		t.Errorf("after Close: %v", err)
	}
	c.turn()
}

// TestHello: the reply's exact bytes, and max_frame both ways.
func TestHello(t *testing.T) {
	for _, v := range []struct {
		name, ask, want string
		o               Options
		peer            int
	}{
		{"default", `{"ua":"x"}`, `{"max_frame":1048576,"max_inflight":64,"flags_supported":255,"versions":[1],"transports":["tcp+tls"]}`, Options{}, MaxFrame},
		{"unknown keys", `{"ua":null,"x":{"y":[1]}}`, `{"max_frame":1048576,"max_inflight":64,"flags_supported":255,"versions":[1],"transports":["tcp+tls"]}`, Options{}, MaxFrame},
		{"options", `{}`, `{"max_frame":65536,"max_inflight":3,"flags_supported":255,"versions":[1],"transports":["tcp+tls","quic"]}`,
			Options{MaxFrame: 65536, MaxInflight: 3, Transports: []string{"tcp+tls", "quic"}}, MaxFrame},
		{"the peer's is lower", `{"max_frame":5000}`, `{"max_frame":5000,"max_inflight":64,"flags_supported":255,"versions":[1],"transports":["tcp+tls"]}`, Options{MaxFrame: 65536}, 5000},
		{"ours is lower", `{"max_frame":500000}`, `{"max_frame":65536,"max_inflight":64,"flags_supported":255,"versions":[1],"transports":["tcp+tls"]}`, Options{MaxFrame: 65536}, 500000},
		{"too low", `{"max_frame":1}`, `{"max_frame":1024,"max_inflight":64,"flags_supported":255,"versions":[1],"transports":["tcp+tls"]}`, Options{}, 1024},
		{"too high", `{"max_frame":99999999999}`, `{"max_frame":1048576,"max_inflight":64,"flags_supported":255,"versions":[1],"transports":["tcp+tls"]}`, Options{}, MaxFrame},
	} {
		t.Run(v.name, func(t *testing.T) {
			c := newFake(t, &fakeHandler{frame: func(*Session, *Frame) { t.Error("a HELLO reached the handler") }}, v.o)
			h := Header{Flags: FlagReq, Tenant: TenantID{3: 4}, CorrID: 77}
			for range 2 { // the second HELLO changes nothing
				c.feed(enc(t, Frame{Header: h, Payload: []byte(v.ask)}))
				want := enc(t, Frame{Header: Header{Flags: FlagResp, Code: 200, Tenant: h.Tenant, CorrID: 77}, Payload: []byte(v.want)})
				if !bytes.Equal(c.out, want) {
					t.Errorf("reply\n%q, want\n%q", c.out, want)
				}
				c.out = nil
				if got := c.s.PeerMaxFrame(); got != v.peer {
					t.Errorf("PeerMaxFrame is %d, want %d", got, v.peer)
				}
			}
			c.feed(enc(t, Frame{Header: h, Payload: []byte(`{"max_frame":1048576}`)}))
			if got := c.s.PeerMaxFrame(); got != v.peer {
				t.Errorf("a HELLO has raised PeerMaxFrame to %d", got)
			}
		})
	}
}

// TestHelloVariants: compressed, with an ACK, and with a START it does not need.
func TestHelloVariants(t *testing.T) {
	c := newFake(t, &fakeHandler{}, Options{KeepCompressed: true})
	c.feed(enc(t, Frame{Header: Header{Flags: FlagReq | FlagComp, CorrID: 1}, Payload: zstdBytes(t, []byte(`{"max_frame":7777}`))}))
	if f := c.one(); f.Code != 200 || c.s.PeerMaxFrame() != 7777 {
		t.Errorf("compressed: %+v", f.Header)
	}
	c.feed(enc(t, Frame{Header: Header{Flags: FlagReq | FlagComp, CorrID: 2}, Payload: []byte("no zstd")}))
	wantError(t, c.one(), 2, 400, BadCompression)
	c.feed(enc(t, Frame{Header: Header{Flags: FlagReq | FlagAckReq | FlagStart, CorrID: 3}, Payload: []byte(`{}`)}))
	fs := c.sent()
	if len(fs) != 2 || len(fs[0].Payload) == 0 || fs[1].Len != HeaderLen || fs[1].CorrID != 3 || len(c.s.streams.m) != 0 {
		t.Errorf("with ACK_REQ: %+v", fs)
	}
}

// TestHelloMalformed: who cannot say HELLO speaks another dialect.
func TestHelloMalformed(t *testing.T) {
	for _, body := range []string{"", "[]", "1", `{"ua":1}`, `{"ua":"x"`, `{"max_frame":-1}`, `{"max_frame":1e30}`, `{"max_frame":"1"}`, `{"ua":"` + strings.Repeat("x", maxHello) + `"}`} {
		c := newFake(t, &fakeHandler{}, Options{})
		c.feed(enc(t, Frame{Header: Header{Flags: FlagReq, CorrID: 6}, Payload: []byte(body)}))
		wantError(t, c.one(), 6, 400, BadFrame)
		if e, ok := c.cause.(*Error); !c.closed || !ok || !e.Fatal() {
			t.Errorf("HELLO %.20q: closed %v with %v", body, c.closed, c.cause)
		}
	}
}

// TestErrorBody is the exact JSON of error replies.
func TestErrorBody(t *testing.T) {
	for _, v := range []struct {
		e    Error
		want string
	}{
		{Error{Why: OverCapacity, Detail: "full", RetryAfter: 1500 * time.Millisecond}, `{"code":503,"reason":"over_capacity","message":"full","retry_after_ms":1500}`},
		{Error{Why: RateLimited, Detail: "slow down", RetryAfter: time.Microsecond}, `{"code":429,"reason":"rate_limited","message":"slow down","retry_after_ms":1}`},
		{Error{Why: RateLimited, RetryAfter: -time.Second}, `{"code":429,"reason":"rate_limited","message":""}`},
		{Error{Why: NotReady, RetryAfter: 1<<63 - 1}, `{"code":503,"reason":"not_ready","message":"","retry_after_ms":9223372036855}`},
		{Error{Why: IO, Code: 404, Detail: `no "such" thing`}, `{"code":404,"reason":"io","message":"no \"such\" thing"}`},
		{Error{Detail: "no reason"}, `{"code":500,"reason":"io","message":"no reason"}`},
		{Error{Why: 200, Detail: "no reason of the canon"}, `{"code":500,"reason":"io","message":"no reason of the canon"}`},
	} {
		c := newFake(t, &fakeHandler{frame: func(s *Session, f *Frame) {
			if err := s.ReplyError(f, &v.e); err != nil {
				t.Error(err)
			}
		}}, Options{})
		c.feed(req(t, 5, 0, nil))
		if f := c.one(); string(f.Payload) != v.want || f.Flags != FlagResp|FlagEnd || f.Code != v.e.Status() || f.CorrID != 5 || f.AppProtoID != 7 || f.Tenant != (TenantID{15: 9}) {
			t.Errorf("%+v, %s; want %s", f.Header, f.Payload, v.want)
		}
	}
}

// TestErrorFits: the worst text still fits into the smallest frame a peer may ask for.
func TestErrorFits(t *testing.T) {
	for _, text := range []string{strings.Repeat("\x01", 500), strings.Repeat("<", 500), strings.Repeat("\u2028", 500), strings.Repeat("\xff", 500), strings.Repeat("世", 500)} {
		c := newFake(t, &fakeHandler{}, Options{})
		c.feed(enc(t, Frame{Header: Header{Flags: FlagReq}, Payload: []byte(`{"max_frame":1}`)}))
		c.one()
		if err := c.s.SendError(&Header{CorrID: 1}, &Error{Why: DecompressOverflow, Code: 65535, Detail: text, RetryAfter: 1<<63 - 1}); err != nil {
			t.Fatalf("%.10q: %v", text, err)
		}
		c.flush()
		if f := c.one(); !json.Valid(f.Payload) {
			t.Errorf("body %q", f.Payload)
		}
	}
}

// TestAck: once per frame that asks, after the frame was handled, also when it was answered.
func TestAck(t *testing.T) {
	replies := false
	c := newFake(t, &fakeHandler{frame: func(s *Session, f *Frame) {
		if replies {
			_ = s.Reply(f, 200, f.Payload)
		}
	}}, Options{})
	isAck := func(f Frame) bool {
		return f.Header == Header{Len: HeaderLen, Ver: 1, Flags: FlagResp, Code: 200, AppProtoID: 7, Tenant: TenantID{15: 9}, CorrID: 5}
	}
	c.feed(req(t, 5, FlagAckReq, []byte("x")))
	if f := c.one(); !isAck(f) {
		t.Errorf("ACK %+v", f.Header)
	}
	replies = true
	c.feed(req(t, 5, FlagAckReq, []byte("x")))
	if fs := c.sent(); len(fs) != 2 || string(fs[0].Payload) != "x" || !isAck(fs[1]) {
		t.Errorf("reply and ACK: %+v", fs)
	}
	c.feed(req(t, 5, 0, []byte("x")))
	c.one()
	c.feed(req(t, 5, FlagAckReq|FlagEnd, nil))
	wantError(t, c.one(), 5, 400, BadFrame)
}

// TestBackPressure: above the high-water mark the session stops, and goes on after draining.
func TestBackPressure(t *testing.T) {
	n, drained := 0, 0
	c := newFake(t, &fakeHandler{frame: func(s *Session, f *Frame) {
		n++
		_ = s.Reply(f, 200, f.Payload)
	}, drained: func(s *Session) {
		drained++
		if !s.Writable() {
			t.Error("not writable after draining")
		}
	}}, Options{})
	c.high, c.jam = 100, true
	c.feed(bytes.Repeat(req(t, 1, 0, make([]byte, 20)), 10))
	if n != 2 || drained != 0 {
		t.Fatalf("%d frames were delivered at 58 bytes each with a high-water mark of 100", n)
	}
	c.jam = false
	c.turn()
	if n != 10 || drained == 0 || len(c.sent()) != 10 {
		t.Errorf("%d frames after draining, %d calls of OnDrained", n, drained)
	}
}

// TestClosing: after Close or Abort in OnFrame nothing more is delivered.
func TestClosing(t *testing.T) {
	for _, abort := range []bool{false, true} {
		n := 0
		cause := errors.New("enough")
		var got error
		c := newFake(t, &fakeHandler{frame: func(s *Session, f *Frame) {
			n++
			_ = s.Reply(f, 200, f.Payload)
			if abort {
				s.Abort(cause)
			} else {
				s.Close(cause)
			}
		}, close: func(_ *Session, err error) { got = err }}, Options{})
		c.feed(bytes.Repeat(req(t, 1, FlagAckReq, []byte("x")), 3))
		if n != 1 || got != cause || (len(c.out) > 0) == abort {
			t.Errorf("abort %v: %d frames, cause %v, %d bytes sent", abort, n, got, len(c.out))
		}
		if m, need, err := c.s.OnData([]byte("anything at all, and more than a header of it")); m != 45 || need != 0 || err != nil {
			t.Errorf("OnData after the end: %d, %d, %v", m, need, err)
		}
	}
}

// fakeCause is an error with a reason of another layer.
type fakeCause string

func (e fakeCause) Error() string  { return "cause: " + string(e) }
func (e fakeCause) Reason() string { return string(e) }

func TestGoodbye(t *testing.T) {
	for _, v := range []struct {
		cause error
		code  uint16
		why   Reason
	}{
		{fakeCause("read_timeout"), 400, ReadTimeout},
		{fmt.Errorf("wrapped: %w", fakeCause("shutting_down")), 503, ShuttingDown},
		{fakeCause("idle_timeout"), 503, IdleTimeout},
		{fakeCause("unheard_of"), 500, IO},
		{errors.New("plain"), 500, IO},
		{nil, 500, IO},
	} {
		c := newFake(t, &fakeHandler{}, Options{})
		c.feed(req(t, 9, 0, nil)[:20])
		c.goodbye(v.cause)
		wantError(t, c.one(), 0, v.code, v.why)
		if n := c.s.e.Stats().Rejected(v.why); n != 1 {
			t.Errorf("%v was counted %d times", v.why, n)
		}
	}
	c := newFake(t, &fakeHandler{}, Options{})
	c.s.Close(nil)
	c.s.OnGoodbye(fakeCause("shutting_down"))
	c.turn()
	if len(c.out) != 0 || c.s.e.Stats().Rejected(ShuttingDown) != 0 {
		t.Error("a goodbye after Close")
	}
}

// TestFatalOnce: one error reply, however much follows.
func TestFatalOnce(t *testing.T) {
	c := newFake(t, &fakeHandler{}, Options{})
	bad := bytes.Repeat([]byte{0xff}, 100)
	c.feed(bad)
	wantError(t, c.one(), 1<<64-1, 400, BadVersion)
	if _, _, err := c.s.OnData(bad); err != nil {
		t.Error("a second verdict")
	}
	if n := c.s.e.Stats().Rejected(BadVersion); n != 1 {
		t.Errorf("counted %d times", n)
	}
}

func TestPostAndUserData(t *testing.T) {
	c := newFake(t, &fakeHandler{}, Options{})
	c.s.SetUserData(5)
	ran := 0
	if err := c.s.Post(func(s *Session) { ran += s.UserData().(int) }); err != nil {
		t.Fatal(err)
	}
	c.turn()
	if ran != 5 {
		t.Error("the posted function has not run")
	}
	if c.s.RemoteAddr().String() != "127.0.0.1:2" || c.s.LocalAddr().String() != "127.0.0.1:1" || c.s.Transport() != Transport(c) {
		t.Error("addresses or transport")
	}
	c.finish(nil)
	if err := c.s.Post(func(*Session) {}); err != errFakeClosed {
		t.Errorf("Post after the end: %v", err)
	}
}

func TestSessionIsSmall(t *testing.T) {
	if n := unsafe.Sizeof(Session{}); n > 256 {
		t.Errorf("a session is %d bytes", n)
	}
}
