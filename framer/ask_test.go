package framer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// asking runs Ask in a goroutine; the result is there when done is closed.
type asking struct {
	f    *Frame
	err  error
	done chan struct{}
}

func (c *fakeConn) ask(ctx context.Context, f Frame) *asking {
	a := &asking{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.f, a.err = c.s.Ask(ctx, &f)
	}()
	return a
}

// next waits for a frame of ours.
func (c *fakeConn) next() Frame {
	c.tb.Helper()
	limit := time.After(20 * time.Second)
	for len(c.out) == 0 {
		c.turn()
		select {
		case <-c.wake:
		case <-limit:
			c.tb.Fatal("nothing is sent")
		default:
			if len(c.out) == 0 {
				select {
				case <-c.wake:
				case <-limit:
					c.tb.Fatal("nothing is sent")
				}
			}
		}
		c.turn()
	}
	return c.one()
}

func TestAsk(t *testing.T) {
	var stray []Header
	c := newFake(t, &fakeHandler{frame: func(_ *Session, f *Frame) { stray = append(stray, f.Header) }}, Options{})
	for i, v := range []struct {
		reply Frame
		err   string
	}{
		{Frame{Header: Header{Flags: FlagResp | FlagEnd, Code: 200}, Payload: []byte("yes")}, ""},
		{Frame{Header: Header{Flags: FlagResp, Code: 206}}, ""},
		{Frame{Header: Header{Flags: FlagResp | FlagStart, Code: 200}, Cap: []byte("cap")}, ""},
		{Frame{Header: Header{Flags: FlagResp | FlagEnd | FlagComp, Code: 200}, Payload: zstdBytes(t, []byte("yes"))}, ""},
		{Frame{Header: Header{Flags: FlagResp | FlagEnd, Code: 429}, Payload: []byte(`{"code":429,"reason":"rate_limited","message":"no","retry_after_ms":50}`)}, "oap: peer answered: 429 rate_limited: no"},
		{Frame{Header: Header{Flags: FlagResp | FlagEnd, Code: 404}, Payload: []byte(`<html>`)}, "oap: peer answered: 404 io: no error body"},
		{Frame{Header: Header{Flags: FlagResp | FlagEnd, Code: 503}, Payload: []byte(`{"reason":"made_up","message":"m","retry_after_ms":9223372036854775807}`)}, "oap: peer answered: 503 io: m"},
		{Frame{Header: Header{Flags: FlagResp | FlagEnd | FlagComp, Code: 200}, Payload: []byte("no zstd")}, "oap: 400 bad_compression: zstd: "},
	} {
		a := c.ask(short(t), Frame{Header: Header{AppProtoID: 5, CorrID: 999, Tenant: TenantID{7}}, Payload: []byte("question")})
		q := c.next()
		if q.Flags != FlagReq || q.CorrID != uint64(i+1) || q.AppProtoID != 5 || q.Tenant != (TenantID{7}) || string(q.Payload) != "question" {
			t.Fatalf("request %+v", q.Header)
		}
		v.reply.CorrID = q.CorrID
		c.feed(enc(t, v.reply))
		<-a.done
		if len(c.out) != 0 {
			t.Errorf("%d: a response was answered", i)
		}
		if v.err == "" {
			if a.err != nil || a.f.Code != v.reply.Code || a.f.Flags&FlagComp != 0 || string(a.f.Cap) != string(v.reply.Cap) || i != 3 && string(a.f.Payload) != string(v.reply.Payload) || i == 3 && string(a.f.Payload) != "yes" {
				t.Errorf("%d: %+v, %v", i, a.f, a.err)
			}
			continue
		}
		var e *Error
		if !errors.As(a.err, &e) || !strings.HasPrefix(a.err.Error(), v.err) || e.RetryAfter < 0 || e.RetryAfter > 24*time.Hour || e.Fatal() {
			t.Errorf("%d: %v (retry after %v), want %q", i, a.err, e.RetryAfter, v.err)
		}
		if i == 4 && (e.RetryAfter != 50*time.Millisecond || !e.Remote || e.Why != RateLimited) {
			t.Errorf("%+v", e)
		}
	}
	if len(stray) != 0 || len(c.s.asks) != 0 {
		t.Errorf("%d responses reached the handler, %d requests wait", len(stray), len(c.s.asks))
	}
}

// TestAskManyAtOnce: answers come in another order than the questions.
func TestAskManyAtOnce(t *testing.T) {
	c := newFake(t, &fakeHandler{}, Options{})
	const n = 200
	var all sync.WaitGroup
	for i := range n {
		all.Add(1)
		go func() {
			defer all.Done()
			f, err := c.s.Ask(short(t), &Frame{Payload: fmt.Append(nil, i)})
			if err != nil || string(f.Payload) != fmt.Sprint("re ", i) {
				t.Errorf("question %d: %v", i, err)
			}
		}()
	}
	var qs []Frame
	for len(qs) < n {
		<-c.wake
		c.turn()
		qs = append(qs, c.sent()...)
	}
	for i := range qs {
		q := qs[len(qs)-1-i]
		c.feed(enc(t, Frame{Header: Header{Flags: FlagResp | FlagEnd, Code: 200, CorrID: q.CorrID}, Payload: append([]byte("re "), q.Payload...)}))
	}
	all.Wait()
	if c.s.asks != nil {
		t.Error("the table of the burst is still there")
	}
}

// TestAskAck: an ACK is no response, but a second empty one is.
func TestAskAck(t *testing.T) {
	stray := 0
	c := newFake(t, &fakeHandler{frame: func(*Session, *Frame) { stray++ }}, Options{})
	a := c.ask(short(t), Frame{Header: Header{Flags: FlagAckReq}})
	ack := enc(t, Frame{Header: Header{Flags: FlagResp, Code: 200, CorrID: c.next().CorrID}})
	c.feed(ack)
	if len(c.s.asks) != 1 {
		t.Fatal("the ACK was taken for the response")
	}
	c.feed(ack)
	if <-a.done; a.err != nil || stray != 1 {
		t.Errorf("%v, %d frames to the handler", a.err, stray)
	}
}

func TestAskCancelled(t *testing.T) {
	stray := 0
	c := newFake(t, &fakeHandler{frame: func(*Session, *Frame) { stray++ }}, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	a := c.ask(ctx, Frame{})
	q := c.next()
	cancel()
	c.until(a.done)
	if a.err != context.Canceled || len(c.s.asks) != 0 {
		t.Errorf("%v, %d requests wait", a.err, len(c.s.asks))
	}
	c.feed(enc(t, Frame{Header: Header{Flags: FlagResp, Code: 200, CorrID: q.CorrID}}))
	if stray != 1 {
		t.Error("the late response got lost")
	}
	if _, err := c.s.Ask(ctx, &Frame{}); err != context.Canceled || len(c.tasks) != 0 {
		t.Errorf("with a dead context: %v", err)
	}
}

// TestAskRefused: what is not sent, and why.
func TestAskRefused(t *testing.T) {
	c := newFake(t, &fakeHandler{}, Options{})
	if _, err := c.s.Ask(short(t), &Frame{Cap: []byte("x")}); err == nil || err.(*Error).Why != BadFrame {
		t.Errorf("an unsound frame: %v", err)
	}
	c.feed(enc(t, Frame{Header: Header{Flags: FlagReq}, Payload: []byte(`{"max_frame":2000}`)}))
	c.one()
	a := c.ask(short(t), Frame{Payload: make([]byte, 2000)})
	c.until(a.done)
	var e *Error
	if !errors.As(a.err, &e) || e.Why != FrameTooLarge {
		t.Errorf("beyond the peer's cap: %v", a.err)
	}
	c.setFull(true)
	if _, err := c.s.Ask(short(t), &Frame{}); err != errFakeFull {
		t.Errorf("with a full queue: %v", err)
	}
	c.setFull(false)
	if len(c.out) != 0 {
		t.Error("something was sent")
	}
}

// TestAskBusy: the table is bounded; requests that nobody waits for any more make room.
func TestAskBusy(t *testing.T) {
	c := newFake(t, &fakeHandler{}, Options{})
	c.s.asks = make(map[uint64]*ask)
	for c.s.lastCorr < maxAsks {
		c.s.lastCorr++
		c.s.asks[c.s.lastCorr] = &ask{id: c.s.lastCorr, done: make(chan struct{})}
	}
	a := c.ask(short(t), Frame{})
	if c.until(a.done); a.err != ErrBusy {
		t.Errorf("%v", a.err)
	}
	c.s.asks[17].gone.Store(true)
	a = c.ask(short(t), Frame{})
	q := c.next()
	c.feed(enc(t, Frame{Header: Header{Flags: FlagResp, Code: 200, CorrID: q.CorrID}}))
	if <-a.done; a.err != nil || c.s.asks[17] != nil {
		t.Errorf("%v", a.err)
	}
}

// TestAskClosed: the end of the connection ends every request, with its cause.
func TestAskClosed(t *testing.T) {
	cause := errors.New("the cause")
	for _, v := range []struct{ cause, want error }{{cause, cause}, {nil, ErrClosed}} {
		c := newFake(t, &fakeHandler{}, Options{})
		a := c.ask(short(t), Frame{})
		c.next()
		c.s.Close(v.cause)
		b := c.ask(short(t), Frame{}) // posted before the end, after Close
		<-c.wake
		c.turn()
		c.turn()
		if <-a.done; a.err != v.want {
			t.Errorf("%v, want %v", a.err, v.want)
		}
		if <-b.done; b.err != ErrClosed && b.err != errFakeClosed {
			t.Errorf("after Close: %v", b.err)
		}
		if _, err := c.s.Ask(short(t), &Frame{}); err != errFakeClosed {
			t.Errorf("after OnClose: %v", err)
		}
	}
}

// TestHelloAsked is our side of HELLO.
func TestHelloAsked(t *testing.T) {
	for _, v := range []struct {
		name, ua string
		o        Options
		ask      string
		reply    string
		peer     int
		err      string
	}{
		{"default", "", Options{}, `{"ua":null}`, `{"max_frame":1048576,"max_inflight":64,"flags_supported":255,"versions":[1],"transports":["tcp+tls"]}`, MaxFrame, ""},
		{"lower", "me", Options{MaxFrame: 4096}, `{"ua":"me","max_frame":4096}`, `{"max_frame":2048}`, 2048, ""},
		{"higher", "", Options{}, `{"ua":null}`, `{"max_frame":4294967297}`, MaxFrame, ""},
		{"absent", "", Options{}, `{"ua":null}`, `{}`, MaxFrame, ""},
		{"senseless", "", Options{}, `{"ua":null}`, `{"max_frame":1023}`, MaxFrame, "max_frame is 1023, at least 1024"},
		{"negative", "", Options{}, `{"ua":null}`, `{"max_frame":-4096}`, MaxFrame, "max_frame is -4096"},
		{"no JSON", "", Options{}, `{"ua":null}`, `hello`, MaxFrame, "HELLO reply: "},
	} {
		t.Run(v.name, func(t *testing.T) {
			c := newFake(t, &fakeHandler{}, v.o)
			var r HelloReply
			var err error
			done := make(chan struct{})
			go func() {
				defer close(done)
				r, err = c.s.Hello(short(t), v.ua)
			}()
			q := c.next()
			if q.Flags != FlagReq || q.AppProtoID != 0 || q.Code != 0 || string(q.Payload) != v.ask {
				t.Errorf("request %+v %s", q.Header, q.Payload)
			}
			c.feed(enc(t, Frame{Header: Header{Flags: FlagResp, Code: 200, CorrID: q.CorrID}, Payload: []byte(v.reply)}))
			c.until(done)
			if v.err != "" {
				if err == nil || !strings.Contains(err.Error(), v.err) {
					t.Errorf("error %v, want %q", err, v.err)
				}
			} else if err != nil || v.name == "default" && (r.MaxFrame != MaxFrame || r.MaxInflight != 64 || r.FlagsSupported != 255 || len(r.Versions) != 1 || r.Transports[0] != "tcp+tls") {
				t.Errorf("%+v, %v", r, err)
			}
			if got := c.s.PeerMaxFrame(); got != v.peer {
				t.Errorf("PeerMaxFrame is %d, want %d", got, v.peer)
			}
		})
	}
}
