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

func (*clockConn) LoopIndex() int    { return 70 } // above meterSlots
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
