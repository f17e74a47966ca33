package framer

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// clockConn is a fake transport with a loop's clock.
type clockConn struct {
	*fakeConn
	now int64
}

func (*clockConn) Loop() int         { return 70 } // above meterSlots
func (c *clockConn) LoopTime() int64 { return c.now }

// newClocked is newFake on a transport with a clock.
func newClocked(t *testing.T, h *fakeHandler, o Options) *clockConn {
	c := &clockConn{fakeConn: newFake(t, h, o)}
	c.fakeConn.s = c.fakeConn.s.e.Session(c)
	return c
}

// TestCounters: each way of answering is counted once, and how long a frame was held by the loop's clock.
func TestCounters(t *testing.T) {
	var kept []*Retained
	h := &fakeHandler{frame: func(s *Session, f *Frame) {
		switch f.CorrID {
		case 1:
			_ = s.Reply(f, 200, f.Payload)
		case 2:
			copy(s.ReplyReserve(f, 404, len(f.Payload)), f.Payload)
		case 3:
			_ = s.ReplyError(f, &Error{Why: RateLimited, Detail: "slowly"})
		case 4:
			_ = s.Send(&Frame{Header: Header{Flags: FlagResp | FlagEnd, Code: 206, CorrID: 4}})
		case 5, 6, 7:
			kept = append(kept, f.Retain())
		case 8:
			_ = s.Reply(f, 299, nil)
		}
	}}
	st := new(Stats)
	c := newClocked(t, h, Options{Stats: st})
	var in []byte
	for corr := range uint64(9) {
		in = append(in, req(t, corr, 0, []byte("payload"))...)
	}
	c.feed(in)
	if n := st.Counters().Inflight; n != 3 {
		t.Errorf("%d frames in flight, want 3", n)
	}
	c.now += int64(10 * time.Millisecond)
	_ = kept[0].Reply(200, nil)
	_ = kept[1].ReplyError(&Error{Why: OverCapacity, Detail: "full"})
	c.turn()
	c.now += int64(90 * time.Millisecond)
	kept[2].Release()
	kept[2].Release()
	c.turn()
	n := st.Counters()
	if n.Frames != 9 || n.Inflight != 0 || st.Rejected(RateLimited) != 1 || n.Rejected[OverCapacity] != 1 {
		t.Errorf("%+v", n)
	}
	for code, want := range map[uint16]uint64{200: 2, 206: 1, 404: 1, 429: 1, 503: 1, 0: 1, 413: 0} {
		if got, there := n.Responses[code]; got != want || !there {
			t.Errorf("%d responses with %d, want %d", got, code, want)
		}
	}
	// corr 1, 2, 3 and 8 at once, 5 and 6 after 10 ms, 7 after 100 ms
	if h := n.Held; h.Counts[0] != 4 || h.Count() != 7 || h.Sum != 120*time.Millisecond {
		t.Errorf("held: %+v", h)
	}
}

// TestStreamedResponseCountsOnce: a response in many frames is one response, with the status of its END.
func TestStreamedResponseCountsOnce(t *testing.T) {
	st := new(Stats)
	c := newClocked(t, &fakeHandler{frame: func(s *Session, f *Frame) {
		for i := range 100 {
			h := Header{Flags: FlagResp, Code: 206, CorrID: f.CorrID}
			switch i {
			case 0:
				h.Flags |= FlagStart
			case 99:
				h.Flags, h.Code = h.Flags|FlagEnd, 500
			}
			if err := s.Send(&Frame{Header: h, Payload: []byte("x")}); err != nil {
				t.Fatal(err)
			}
		}
	}}, Options{Stats: st})
	c.feed(req(t, 1, 0, []byte("one request")))
	c.turn()
	n := st.Counters()
	for code, got := range n.Responses {
		if want := map[uint16]uint64{500: 1}[code]; got != want {
			t.Errorf("%d responses with %d, want %d", got, code, want)
		}
	}
}

// TestAnswerOfAClosingSession: an answer that is dropped is no response, and the span's end does not say that it was one.
func TestAnswerOfAClosingSession(t *testing.T) {
	for name, answer := range map[string]func(*Retained) error{
		"Reply":      func(r *Retained) error { return r.Reply(200, nil) },
		"ReplyError": func(r *Retained) error { return r.ReplyError(&Error{Why: OverCapacity}) },
	} {
		st, done := new(Stats), []uint16(nil)
		var kept *Retained
		o := Options{Stats: st, Trace: &Trace{Done: func(_ *Session, _ *Header, _ any, status uint16, _ time.Duration) { done = append(done, status) }}}
		c := newClocked(t, &fakeHandler{frame: func(_ *Session, f *Frame) { kept = f.Retain() }}, o)
		c.feed(req(t, 1, 0, []byte("x")))
		c.s.Close(nil)
		_ = answer(kept)
		c.turn()
		n := st.Counters()
		if n.Responses[200] != 0 || n.Responses[503] != 0 || !slices.Equal(done, []uint16{0}) {
			t.Errorf("%s: responses %v, spans end with %v", name, n.Responses, done)
		}
	}
}

// TestReplyErrorOfAClosingSession: the same in OnFrame.
func TestReplyErrorOfAClosingSession(t *testing.T) {
	st, done := new(Stats), []uint16(nil)
	o := Options{Stats: st, Trace: &Trace{Done: func(_ *Session, _ *Header, _ any, status uint16, _ time.Duration) { done = append(done, status) }}}
	c := newClocked(t, &fakeHandler{frame: func(s *Session, f *Frame) {
		s.Close(nil)
		if err := s.ReplyError(f, &Error{Why: OverCapacity}); err == nil {
			t.Error("a closing session has answered")
		}
	}}, o)
	c.feed(req(t, 1, 0, []byte("x")))
	c.turn()
	if n := st.Counters(); n.Responses[503] != 0 || n.Held.Count() != 0 || !slices.Equal(done, []uint16{0}) {
		t.Errorf("%d responses, %d held, spans end with %v", n.Responses[503], n.Held.Count(), done)
	}
}

// TestEveryFrameIsCounted: also one whose handler panics, one whose header ends the connection, and an answer with the status 0.
func TestEveryFrameIsCounted(t *testing.T) {
	st := new(Stats)
	c := newClocked(t, &fakeHandler{frame: func(*Session, *Frame) { panic("in a test") }}, Options{Stats: st})
	func() {
		defer func() { _ = recover() }()
		c.feed(req(t, 1, 0, []byte("x")))
	}()
	if n := st.Counters().Frames; n != 1 {
		t.Errorf("%d frames after a panic, want 1", n)
	}
	c = newClocked(t, &fakeHandler{}, Options{Stats: st})
	bad := req(t, 1, 0, []byte("x"))
	bad[5] = 99 // the version
	c.feed(bad)
	if n := st.Counters(); n.Frames != 2 || n.Rejected[BadVersion] != 1 {
		t.Errorf("%d frames, %d of them of another version; want 2 and 1", n.Frames, n.Rejected[BadVersion])
	}
	c = newClocked(t, &fakeHandler{frame: func(s *Session, f *Frame) { _ = s.Reply(f, 0, nil) }}, Options{Stats: st})
	c.feed(req(t, 1, 0, []byte("x")))
	if n := st.Counters(); n.Frames != 3 || n.Responses[0] != 1 || n.Held.Count() != 1 {
		t.Errorf("%d frames, %d responses with no status, %d held; want 3, 1 and 1", n.Frames, n.Responses[0], n.Held.Count())
	}
}

// TestTrace: each request has a beginning and an end, however it is answered, and the end tells how.
func TestTrace(t *testing.T) {
	var ends []string
	var kept *Retained
	next := 0
	o := Options{Trace: &Trace{
		Request: func(_ *Session, f *Frame) any { next++; return fmt.Sprint("span", f.CorrID) },
		Done: func(_ *Session, h *Header, span any, status uint16, held time.Duration) {
			ends = append(ends, fmt.Sprintf("%d %v %d %v", h.CorrID, span, status, held))
		},
	}}
	c := newClocked(t, &fakeHandler{frame: func(s *Session, f *Frame) {
		switch f.CorrID {
		case 1:
			_ = s.Reply(f, 200, f.Payload)
		case 2:
			_ = s.ReplyError(f, &Error{Why: OverCapacity, Detail: "full"})
		case 3:
			kept = f.Retain()
		}
	}}, o)
	for corr := range uint64(4) {
		c.feed(req(t, corr, 0, []byte("payload")))
	}
	c.feed(enc(t, Frame{Header: Header{Flags: FlagEvent, AppProtoID: 7, CorrID: 9}})) // no request
	c.now += int64(time.Second)
	_ = kept.Reply(413, nil)
	c.turn()
	want := []string{"0 span0 0 0s", "1 span1 200 0s", "2 span2 503 0s", "3 span3 413 1s"}
	if next != 4 || !slices.Equal(ends, want) {
		t.Errorf("%d beginnings, ends %q, want %q", next, ends, want)
	}
}

// TestTraceNeedsNoHook: hooks that are nil are not called.
func TestTraceNeedsNoHook(t *testing.T) {
	c := newClocked(t, &fakeHandler{frame: func(s *Session, f *Frame) {
		if f.CorrID == 1 {
			f.Retain().Release()
			return
		}
		_ = s.Reply(f, 200, f.Payload)
	}}, Options{Trace: &Trace{}})
	c.feed(append(req(t, 1, 0, []byte("a")), req(t, 2, 0, []byte("b"))...))
	if f := c.one(); f.CorrID != 2 {
		t.Errorf("answered %+v", f.Header)
	}
}
