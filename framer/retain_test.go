package framer

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
)

// TestRetainKeepsBytes: small frames are copied, larger ones pin the input, decompressed ones are copied; what else the
// input is used for does not change them.
func TestRetainKeepsBytes(t *testing.T) {
	for _, v := range []struct {
		name    string
		n       int
		flags   Flags
		noInput bool
		pins    bool
	}{
		{"empty", 0, 0, false, false},
		{"small", retainCopy, 0, false, false},
		{"large", retainCopy + 1, 0, false, true},
		{"large without a buffer", retainCopy + 1, 0, true, false},
		{"decompressed", 100_000, FlagComp, false, false},
	} {
		t.Run(v.name, func(t *testing.T) {
			var r *Retained
			c := newFake(t, &fakeHandler{frame: func(s *Session, f *Frame) {
				if r != nil {
					return
				}
				if r = f.Retain(); r == nil {
					t.Fatal("not retained")
				}
				if f.Retain() != nil || s.Reply(f, 200, f.Payload) != ErrReplied || s.ReplyReserve(f, 200, 1) != nil {
					t.Error("a retained frame was retained again or answered")
				}
			}}, Options{})
			c.noInput = v.noInput
			want := bytes.Repeat([]byte("pattern!"), v.n/8+1)[:v.n]
			payload := want
			if v.flags == FlagComp {
				payload = zstdBytes(t, want)
			}
			c.feed(enc(t, Frame{Header: Header{Flags: FlagReq | FlagStart | v.flags, AppProtoID: 2, CorrID: 3}, Cap: []byte("cap"), Payload: payload}))
			if (r.buf != nil) != v.pins {
				t.Errorf("pins the input: %v", r.buf != nil)
			}
			for i := range uint64(20) { // the input is reused
				c.feed(req(t, i, 0, bytes.Repeat([]byte{0xAA}, 50_000)))
			}
			if !bytes.Equal(r.Payload, want) || string(r.Cap) != "cap" || r.CorrID != 3 || r.Flags != FlagReq|FlagStart {
				t.Errorf("retained %+v, %d bytes", r.Header, len(r.Payload))
			}
			if err := r.Reply(200, r.Payload); err != nil {
				t.Fatal(err)
			}
			c.turn()
			if f := c.one(); !bytes.Equal(f.Payload, want) || f.Flags != FlagResp|FlagEnd || f.CorrID != 3 || f.AppProtoID != 2 {
				t.Errorf("reply %+v of %d bytes", f.Header, len(f.Payload))
			}
			if r.Payload != nil || c.s.Inflight() != 0 {
				t.Errorf("%d permits are out", c.s.Inflight())
			}
		})
	}
}

// TestPermits: at MaxInflight the connection is paused, also amid one input, and resumed when a permit comes back.
func TestPermits(t *testing.T) {
	for _, limit := range []int{1, 3, 64} {
		var held []*Retained
		c := newFake(t, &fakeHandler{frame: func(_ *Session, f *Frame) { held = append(held, f.Retain()) }}, Options{MaxInflight: limit})
		var wire []byte
		for i := range uint64(limit + 5) {
			wire = append(wire, req(t, i, 0, []byte("x"))...)
		}
		c.feed(wire)
		if len(held) != limit || !c.paused || c.pauses != 1 || c.s.Inflight() != limit {
			t.Fatalf("limit %d: %d frames, paused %v (%d times), %d in flight", limit, len(held), c.paused, c.pauses, c.s.Inflight())
		}
		for i := range 5 {
			held[i].Release()
			held[i].Release() // does nothing
			if err := held[i].Reply(200, nil); err != ErrReplied {
				t.Errorf("reply after release: %v", err)
			}
			if err := held[i].ReplyError(&Error{Why: IO}); err != ErrReplied {
				t.Errorf("error after release: %v", err)
			}
			c.turn()
			if len(held) != limit+i+1 || !c.paused || c.s.Inflight() != limit {
				t.Fatalf("limit %d: %d frames after %d releases", limit, len(held), i+1)
			}
		}
		for _, r := range held[5:] {
			r.Release()
		}
		c.turn()
		if c.s.Inflight() != 0 || c.paused || len(c.out) != 0 {
			t.Errorf("limit %d: %d in flight, paused %v", limit, c.s.Inflight(), c.paused)
		}
	}
}

// TestPermitsWeigh: a payload that was decompressed to more than a frame takes more permits, so that retained memory is
// bounded by what the peer could send uncompressed.
func TestPermitsWeigh(t *testing.T) {
	for _, v := range []struct{ n, permits int }{{0, 1}, {MaxFrame, 1}, {MaxFrame + 1, 2}, {MaxInflated, 8}} {
		var r *Retained
		c := newFake(t, &fakeHandler{frame: func(_ *Session, f *Frame) { r = f.Retain() }}, Options{MaxInflight: 2})
		c.feed(req(t, 1, FlagComp, zstdBytes(t, make([]byte, v.n))))
		if c.s.Inflight() != v.permits || c.paused != (v.permits >= 2) {
			t.Errorf("%d bytes took %d permits, paused %v", v.n, c.s.Inflight(), c.paused)
		}
		r.Release()
		c.turn()
		if c.s.Inflight() != 0 || c.paused {
			t.Errorf("%d permits are out, paused %v", c.s.Inflight(), c.paused)
		}
	}
}

// TestRetainedReplies is what goes out for each way to end a retained frame; ACKs come last.
func TestRetainedReplies(t *testing.T) {
	for _, v := range []struct {
		name string
		end  func(r *Retained) error
		want []uint16 // codes
	}{
		{"release", func(r *Retained) error { r.Release(); return nil }, []uint16{200}},
		{"reply", func(r *Retained) error { return r.Reply(206, []byte("y")) }, []uint16{206, 200}},
		{"error", func(r *Retained) error { return r.ReplyError(&Error{Why: OverCapacity, Detail: "full"}) }, []uint16{503, 200}},
		{"beyond the protocol's cap", func(r *Retained) error {
			if err := r.Reply(206, make([]byte, MaxPayload+1)); err == nil || err.(*Error).Why != FrameTooLarge {
				return fmt.Errorf("reply: %v", err)
			}
			return nil
		}, []uint16{200}},
		{"beyond the peer's cap", func(r *Retained) error { return r.Reply(206, make([]byte, 2000)) }, []uint16{500, 200}},
	} {
		t.Run(v.name, func(t *testing.T) {
			var r *Retained
			c := newFake(t, &fakeHandler{frame: func(_ *Session, f *Frame) { r = f.Retain() }}, Options{})
			c.feed(enc(t, Frame{Header: Header{Flags: FlagReq}, Payload: []byte(`{"max_frame":2000}`)}))
			c.one()
			c.feed(req(t, 3, FlagAckReq|FlagStart|FlagEnd, []byte("x")))
			if len(c.out) != 0 {
				t.Fatal("an ACK before the release")
			}
			if err := v.end(r); err != nil {
				t.Fatal(err)
			}
			c.turn()
			fs := c.sent()
			var codes []uint16
			for _, f := range fs {
				codes = append(codes, f.Code)
				if f.CorrID != 3 || f.AppProtoID != 7 {
					t.Errorf("%+v", f.Header)
				}
			}
			if fmt.Sprint(codes) != fmt.Sprint(v.want) || fs[len(fs)-1].Flags != FlagResp {
				t.Errorf("codes %d, want %d", codes, v.want)
			}
			if left := len(c.s.streams.m); left != map[bool]int{true: 0, false: 1}[len(v.want) == 2] {
				t.Errorf("%d streams are left", left)
			}
		})
	}
}

// TestRetainAcrossGoroutines: many frames are answered and released from other goroutines while more arrive; each is
// answered once.
func TestRetainAcrossGoroutines(t *testing.T) {
	const total = 3000
	work := make(chan *Retained, MaxInflight)
	c := newFake(t, &fakeHandler{frame: func(_ *Session, f *Frame) { work <- f.Retain() }}, Options{MaxInflight: 8})
	var workers sync.WaitGroup
	for range 4 {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for r := range work {
				sum := byte(0)
				for _, b := range r.Payload {
					sum += b
				}
				var race sync.WaitGroup // two try to end it; one does
				for range 2 {
					race.Add(1)
					go func() {
						defer race.Done()
						if r.CorrID%3 == 0 {
							_ = r.ReplyError(&Error{Why: NotReady, Detail: fmt.Sprint(sum)})
						} else {
							_ = r.Reply(200, []byte{sum})
						}
					}()
				}
				race.Wait()
				r.Release()
			}
		}()
	}
	answered := map[uint64]bool{}
	collect := func() {
		for _, f := range c.sent() {
			if answered[f.CorrID] || f.Flags != FlagResp|FlagEnd {
				t.Errorf("answer %+v, again %v", f.Header, answered[f.CorrID])
			}
			answered[f.CorrID] = true
		}
	}
	for i := range uint64(total) {
		n := 10
		if i%10 == 0 {
			n = retainCopy + 10
		}
		c.feed(req(t, i, 0, bytes.Repeat([]byte{byte(i)}, n)))
		collect()
	}
	for len(answered) < total {
		<-c.wake
		c.turn()
		collect()
	}
	close(work)
	workers.Wait()
	if c.s.Inflight() != 0 {
		t.Errorf("%d permits are out", c.s.Inflight())
	}
}

// TestEOFWithPermits: after the peer's end the connection stays until the last permit is back.
func TestEOFWithPermits(t *testing.T) {
	var held []*Retained
	h := &fakeHandler{frame: func(_ *Session, f *Frame) { held = append(held, f.Retain()) }}
	c := newFake(t, h, Options{MaxInflight: 2})
	c.feed(append(req(t, 1, FlagAckReq, nil), req(t, 2, 0, make([]byte, retainCopy+1))...))
	c.eof()
	if !c.keptAfter || c.closed {
		t.Fatal("closed with permits out")
	}
	held[0].Release()
	c.turn()
	if c.closed || h.closes != 0 {
		t.Fatal("closed with a permit out")
	}
	if err := held[1].Reply(200, []byte("late")); err != nil {
		t.Fatal(err)
	}
	c.turn()
	if fs := c.sent(); !c.closed || h.closes != 1 || c.cause != nil || len(fs) != 2 || string(fs[1].Payload) != "late" {
		t.Errorf("closed %v with %v, %d frames", c.closed, c.cause, len(fs))
	}
	c = newFake(t, &fakeHandler{}, Options{})
	if c.eof(); c.keptAfter || !c.closed {
		t.Error("an idle connection stays after the peer's end")
	}
}

// TestReleaseAfterClose: buffers go back although the connection, and then its loop, is gone.
func TestReleaseAfterClose(t *testing.T) {
	var held []*Retained
	c := newFake(t, &fakeHandler{frame: func(_ *Session, f *Frame) { held = append(held, f.Retain()) }}, Options{MaxInflight: 4})
	for i := range uint64(4) {
		c.feed(req(t, i, FlagAckReq, make([]byte, retainCopy+1)))
	}
	held[0].Release() // posted, and run by the loop after OnClose
	c.finish(nil)
	if n := c.pool.Stats().Outstanding; n == 0 {
		t.Fatal("the test needs pinned buffers")
	}
	held[1].Release()
	if err := held[2].Reply(200, held[2].Payload); err != errFakeClosed {
		t.Errorf("reply: %v", err)
	}
	if err := held[3].ReplyError(&Error{Why: IO}); err != errFakeClosed {
		t.Errorf("error: %v", err)
	}
	c.balance()
}

// TestReleaseWithFullQueue: a permit whose return the loop refuses is not lost, nor is its buffer.
func TestReleaseWithFullQueue(t *testing.T) {
	for name, come := range map[string]func(c *fakeConn, last *Retained){
		"another release": func(_ *fakeConn, last *Retained) { last.Release() },
		"drained":         func(c *fakeConn, _ *Retained) { c.s.OnDrained() },
		"end":             func(c *fakeConn, last *Retained) { c.eof(); last.Release() },
	} {
		t.Run(name, func(t *testing.T) {
			var held []*Retained
			c := newFake(t, &fakeHandler{frame: func(_ *Session, f *Frame) { held = append(held, f.Retain()) }}, Options{MaxInflight: 3})
			for i := range uint64(4) {
				if i < 3 || name != "end" { // the end is told when nothing waits before it
					c.feed(req(t, i, 0, make([]byte, retainCopy+1)))
				}
			}
			if len(held) != 3 {
				t.Fatalf("%d frames", len(held))
			}
			c.setFull(true)
			held[0].Release()
			if err := held[1].Reply(200, nil); err != errFakeFull {
				t.Errorf("reply: %v", err)
			}
			c.setFull(false)
			if held[0].buf != nil || held[1].buf != nil {
				t.Error("buffers are pinned")
			}
			come(c, held[2])
			c.turn()
			if name == "end" {
				if !c.closed {
					t.Error("open with no permit out")
				}
				return
			}
			if len(held) != 4 || c.paused {
				t.Errorf("%d frames, paused %v", len(held), c.paused)
			}
			for _, r := range held {
				r.Release()
			}
			c.turn()
			if c.s.Inflight() != 0 {
				t.Errorf("%d permits are out", c.s.Inflight())
			}
		})
	}
}
