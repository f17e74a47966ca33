package framer

import (
	"encoding/json"
	"errors"
	"testing"
)

// reasoned is an error with a word of the canon, as the reactor gives it.
type reasoned string

func (r reasoned) Error() string  { return "no: " + string(r) }
func (r reasoned) Reason() string { return string(r) }

func TestRefuse(t *testing.T) {
	for _, v := range []struct {
		why  Reason
		code uint16
	}{{OverCapacity, 503}, {PeerLimit, 429}, {RateLimited, 429}} {
		h := &fakeHandler{}
		c := newFake(t, h, Options{})
		c.s.e.Refuse(c, reasoned(v.why.String()))
		c.flush()
		wantError(t, c.one(), 0, v.code, v.why)
		if n := c.s.e.Stats().Rejected(v.why); n != 1 {
			t.Errorf("%v: counted %d times", v.why, n)
		}
	}
}

// The node that shuts down announces it, answers what still comes, and asks nothing more.
func TestOnShutdown(t *testing.T) {
	c := newFake(t, &fakeHandler{frame: func(s *Session, f *Frame) { _ = s.Reply(f, 200, f.Payload) }}, Options{})
	if !c.s.OnShutdown() || !c.s.Leaving() {
		t.Fatal("does not stay")
	}
	c.turn()
	wantError(t, c.one(), 0, 503, ShuttingDown)
	c.feed(req(t, 7, FlagReq, []byte("late")))
	if f := c.one(); f.CorrID != 7 || f.Code != 200 || string(f.Payload) != "late" {
		t.Errorf("a request after the goodbye got %+v", f)
	}
	a := c.ask(short(t), Frame{})
	c.until(a.done)
	if !errors.Is(a.err, ErrLeaving) {
		t.Errorf("Ask: %v", a.err)
	}
	c.s.Close(nil)
	if c.s.OnShutdown() {
		t.Error("a closing session stays")
	}
}

// The other end: answers still arrive, new requests are refused, and the handler is told.
func TestPeerShutsDown(t *testing.T) {
	told := 0
	c := newFake(t, &fakeHandler{frame: func(_ *Session, f *Frame) { told++ }}, Options{})
	owed := c.ask(short(t), Frame{Payload: []byte("q")})
	q := c.next()
	goodbye := func(why string) []byte {
		body, err := json.Marshal(errorBody{Code: 503, Reason: why, Message: "m"})
		if err != nil {
			t.Fatal(err)
		}
		return enc(t, Frame{Header: Header{Flags: FlagResp | FlagEnd, Code: 503}, Payload: body})
	}
	c.feed(goodbye("over_capacity"))
	if c.s.Leaving() {
		t.Error("another 503 passes for a goodbye")
	}
	c.feed(goodbye("shutting_down"))
	if !c.s.Leaving() || told != 2 {
		t.Errorf("leaving %v, told %d times", c.s.Leaving(), told)
	}
	late := c.ask(short(t), Frame{})
	c.until(late.done)
	if !errors.Is(late.err, ErrLeaving) {
		t.Errorf("Ask after the goodbye: %v", late.err)
	}
	c.feed(enc(t, Frame{Header: Header{Flags: FlagResp | FlagEnd, Code: 200, CorrID: q.CorrID}, Payload: []byte("a")}))
	c.until(owed.done)
	if owed.err != nil || string(owed.f.Payload) != "a" {
		t.Errorf("the answer owed: %v %v", owed.f, owed.err)
	}
	c.s.closing = true // as when the end comes in the turn in which the request does
	after := c.ask(short(t), Frame{})
	c.until(after.done)
	if !errors.Is(after.err, ErrLeaving) { // who comes too late learns as well that the request was not sent, and belongs elsewhere
		t.Errorf("Ask after the goodbye and the end: %v", after.err)
	}
}
