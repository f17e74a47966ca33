package framer

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// earlyFake is a fakeConn with a handshake under way.
type earlyFake struct {
	*fakeConn
	early bool
	asked int
}

func (c *earlyFake) Early() bool {
	c.asked++
	return c.early
}

// newEarlyFake is newFake over a transport that is early.
func newEarlyFake(tb testing.TB, h *fakeHandler, o Options) *earlyFake {
	tb.Helper()
	c := &earlyFake{fakeConn: newFake(tb, h, o), early: true}
	c.s = c.s.e.Session(c) // the session that newFake has opened gives way; its handler has counted nothing yet
	return c
}

// TestEarlyFrames: what becomes of each kind of frame that arrives before the handshake is complete, and after.
func TestEarlyFrames(t *testing.T) {
	hello := []byte(`{"ua":null}`)
	for _, v := range []struct {
		name    string
		h       Header
		payload []byte
		early   string // "handler", "session" (answered by it), "refused"
	}{
		{"a listed request", Header{Flags: FlagReq, AppProtoID: 7, CorrID: 5}, nil, "handler"},
		{"the other listed one", Header{Flags: FlagReq, AppProtoID: 65535, CorrID: 5}, nil, "handler"},
		{"another request", Header{Flags: FlagReq, AppProtoID: 8, CorrID: 5}, nil, "refused"},
		{"a listed event", Header{Flags: FlagEvent, AppProtoID: 7, CorrID: 5}, nil, "handler"},
		{"another event", Header{Flags: FlagEvent, AppProtoID: 6, CorrID: 5}, nil, "refused"},
		{"a whole stream of another", Header{Flags: FlagReq | FlagStart | FlagEnd, AppProtoID: 8, CorrID: 5}, nil, "refused"},
		{"no flags at all", Header{AppProtoID: 8, CorrID: 5}, nil, "refused"},
		{"an unasked response of another", Header{Flags: FlagResp, AppProtoID: 8, CorrID: 5}, nil, "refused"},
		{"HELLO", Header{Flags: FlagReq, CorrID: 5}, hello, "session"},
		{"control", Header{Flags: FlagResp, Code: 200, CorrID: 5}, nil, "handler"},
		{"an event on 0", Header{Flags: FlagEvent, CorrID: 5}, nil, "refused"},
		{"compressed, of another", Header{Flags: FlagReq | FlagComp, AppProtoID: 8, CorrID: 5}, []byte("no zstd"), "refused"},
	} {
		t.Run(v.name, func(t *testing.T) {
			n := 0
			c := newEarlyFake(t, &fakeHandler{frame: func(*Session, *Frame) { n++ }}, Options{EarlyApps: []uint16{65535, 7, 7}})
			c.feed(enc(t, Frame{Header: v.h, Payload: v.payload}))
			fs := c.sent()
			switch {
			case v.early == "handler" && n == 1 && len(fs) == 0:
			case v.early == "session" && n == 0 && len(fs) == 1 && fs[0].Code == 200:
			case v.early == "refused" && n == 0 && len(fs) == 1:
				wantError(t, fs[0], 5, 503, NotReady)
			default:
				t.Fatalf("delivered %d times, answered %+v; want it: %s", n, fs, v.early)
			}
			if want := map[bool]uint64{true: 1}[v.early == "refused"]; c.s.e.Stats().Rejected(NotReady) != want {
				t.Errorf("counted %d times", c.s.e.Stats().Rejected(NotReady))
			}
			// The connection survives, and after the handshake nothing is refused.
			c.early = false
			c.feed(enc(t, Frame{Header: Header{Flags: FlagReq, AppProtoID: 8, CorrID: 6}}))
			if was := map[bool]int{true: 1}[v.early == "handler"]; n != was+1 || len(c.sent()) != 0 || c.closing {
				t.Errorf("after the handshake: delivered %d times", n-was)
			}
		})
	}
}

// TestEarlyStreams: a stream is judged by its first frame, also when the rest comes after the handshake.
func TestEarlyStreams(t *testing.T) {
	n := 0
	c := newEarlyFake(t, &fakeHandler{frame: func(*Session, *Frame) { n++ }}, Options{EarlyApps: []uint16{7}})
	feed := func(app uint16, flags Flags, corr uint64) string {
		was := n
		c.feed(enc(t, Frame{Header: Header{Flags: flags | FlagReq, AppProtoID: app, CorrID: corr}}))
		fs := c.sent()
		if len(fs) > 0 {
			return fmt.Sprint(fs[0].Code)
		}
		return map[int]string{0: "drop", 1: "deliver"}[n-was]
	}
	for i, st := range []struct {
		app   uint16
		flags Flags
		corr  uint64
		want  string
		after func()
	}{
		{7, FlagStart, 1, "deliver", nil},
		{8, FlagStart, 2, "503", nil},
		{8, 0, 2, "drop", nil},
		{8, FlagStart, 3, "503", nil},
		{8, FlagEnd, 3, "drop", nil},
		{8, FlagStart, 3, "503", nil},
		{7, FlagStart, 4, "deliver", nil},
		{8, 0, 4, "503", nil},  // a frame of another application in the middle gives the stream up,
		{7, 0, 4, "drop", nil}, // of which the handler must not see the rest
		{7, 0, 1, "deliver", func() { c.early = false }},
		{8, 0, 2, "drop", nil},
		{7, FlagEnd, 1, "deliver", nil},
		{8, FlagEnd, 2, "drop", nil},
		{8, FlagStart, 2, "deliver", nil},
		{7, FlagEnd, 4, "drop", nil},
		{8, FlagEnd, 3, "drop", nil},
	} {
		if got := feed(st.app, st.flags, st.corr); got != st.want {
			t.Fatalf("step %d: %s, want %s", i, got, st.want)
		}
		if st.after != nil {
			st.after()
		}
	}
}

// TestEarlyFloodIsBounded: streams that are refused early count as all refused ones do.
func TestEarlyFloodIsBounded(t *testing.T) {
	c := newEarlyFake(t, &fakeHandler{}, Options{MaxStreams: 4})
	for corr := range uint64(8) {
		c.feed(enc(t, Frame{Header: Header{Flags: FlagReq | FlagStart, AppProtoID: 8, CorrID: corr}}))
	}
	if c.closing || len(c.s.streams.m) != 8 {
		t.Fatalf("%d streams are remembered", len(c.s.streams.m))
	}
	c.feed(enc(t, Frame{Header: Header{Flags: FlagReq | FlagStart, AppProtoID: 8, CorrID: 99}}))
	if !c.closed || c.s.e.Stats().Rejected(InflightExceeded) < 1 {
		t.Error("a flood of refused streams goes on")
	}
}

// TestEarlySend: what must wait for the handshake is refused before anything is sent; responses never are.
func TestEarlySend(t *testing.T) {
	c := newEarlyFake(t, &fakeHandler{}, Options{EarlyApps: []uint16{7}})
	send := func(app uint16, flags Flags) error {
		return c.s.Send(&Frame{Header: Header{Flags: flags, AppProtoID: app, CorrID: 3}})
	}
	refused := func(err error) bool {
		e, ok := errors.AsType[*Error](err)
		return ok && e.Why == NotReady && e.CorrID == 3 && !e.Fatal() && !e.Remote && strings.Contains(e.Detail, "app_proto_id 8")
	}
	for _, flags := range []Flags{FlagReq, FlagEvent, 0, FlagReq | FlagStart} {
		if err := send(8, flags); !refused(err) {
			t.Errorf("%v: %v", flags, err)
		}
	}
	c.turn()
	if fs := c.sent(); len(fs) != 0 || !c.s.Early() {
		t.Fatalf("sent %+v", fs)
	}
	if err := errors.Join(send(7, FlagReq), send(8, FlagResp), send(0, FlagReq)); err != nil {
		t.Error(err)
	}
	c.early = false
	if err := send(8, FlagReq); err != nil || c.s.Early() {
		t.Error(err)
	}
	c.turn()
	if fs := c.sent(); len(fs) != 4 {
		t.Errorf("%d frames were sent, want 4", len(fs))
	}
}

// TestEarlyAsk: so is a request of Ask's; HELLO passes.
func TestEarlyAsk(t *testing.T) {
	c := newEarlyFake(t, &fakeHandler{}, Options{EarlyApps: []uint16{7}})
	ask := func(app uint16) error {
		got := make(chan error, 1)
		go func() {
			_, err := c.s.Ask(short(t), &Frame{Header: Header{AppProtoID: app}})
			got <- err
		}()
		<-c.wake
		c.turn()
		if fs := c.sent(); len(fs) == 1 {
			c.feed(enc(t, Frame{Header: Header{Flags: FlagResp | FlagEnd, Code: 200, AppProtoID: fs[0].AppProtoID, CorrID: fs[0].CorrID}}))
		}
		return <-got
	}
	if e, ok := errors.AsType[*Error](ask(8)); !ok || e.Why != NotReady || e.Remote {
		t.Errorf("another: %v", e)
	}
	if err := errors.Join(ask(7), ask(0)); err != nil {
		t.Error(err)
	}
	c.early = false
	if err := ask(8); err != nil {
		t.Error(err)
	}
}

// TestEarlyProperty: whatever arrives while the transport is early, and however it is cut, the handler sees no frame of another
// application, and no frame of a stream whose start it has not seen; every frame is delivered, answered, or part of a stream that was.
func TestEarlyProperty(t *testing.T) {
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 11))
		opened := map[uint64]bool{} // by corr_id: the handler has seen the START
		delivered := 0
		var c *earlyFake
		c = newEarlyFake(t, &fakeHandler{frame: func(_ *Session, f *Frame) {
			delivered++
			if c.early && f.AppProtoID != 7 {
				t.Errorf("seed %d: app_proto_id %d was delivered early", seed, f.AppProtoID)
			}
			if f.CorrID >= 100 && f.Flags&FlagStart != 0 {
				opened[f.CorrID] = true
			}
			if f.CorrID >= 100 && !opened[f.CorrID] {
				t.Errorf("seed %d: the middle of stream %d was delivered without its start", seed, f.CorrID)
			}
		}}, Options{EarlyApps: []uint16{7}})
		var wire []byte
		for i := range uint64(12) { // streams of three frames, interleaved with single ones
			app := uint16(7 + rng.IntN(2))
			for _, flags := range []Flags{FlagStart, 0, FlagEnd} {
				wire = append(wire, enc(t, Frame{Header: Header{Flags: FlagReq | flags, AppProtoID: app, CorrID: 100 + i}, Payload: make([]byte, rng.IntN(50))})...)
				wire = append(wire, req(t, i, 0, nil)...)
			}
		}
		split := rng.IntN(len(wire) + 1)
		for at := 0; at < len(wire); {
			n := min(1+rng.IntN(200), len(wire)-at)
			c.early = at < split
			c.feed(wire[at : at+n])
			at += n
		}
		refused := c.s.e.Stats().Rejected(NotReady)
		if fs := c.sent(); uint64(len(fs)) != refused {
			t.Errorf("seed %d: %d answers, %d refusals are counted", seed, len(fs), refused)
		}
		if delivered+int(refused) > 72 || delivered+3*int(refused) < 72 {
			t.Errorf("seed %d: %d of 72 frames delivered, %d refused: some are lost", seed, delivered, refused)
		}
	}
}

// TestEarlyIsFree: a transport that is not early is asked once, when the session is made; one that was, not again.
func TestEarlyIsFree(t *testing.T) {
	c := newEarlyFake(t, &fakeHandler{frame: func(s *Session, f *Frame) { _ = s.Reply(f, 200, nil) }}, Options{})
	c.early, c.asked = false, 0
	c.s = c.s.e.Session(c)
	for range 10 {
		c.feed(req(t, 1, 0, nil))
	}
	if c.asked != 1 || c.s.Early() {
		t.Errorf("asked %d times", c.asked)
	}
	if fs := c.sent(); len(fs) != 10 {
		t.Errorf("%d answers", len(fs))
	}
}

func TestEarlyOptions(t *testing.T) {
	list := []uint16{9, 3, 9}
	e, err := NewEndpoint(&fakeHandler{}, Options{EarlyApps: list})
	if err != nil || fmt.Sprint(e.o.EarlyApps) != "[3 9]" {
		t.Errorf("%v, %v", e.o.EarlyApps, err)
	}
	if list[0] = 1; e.o.EarlyApps[1] != 9 {
		t.Error("the list is shared with the caller")
	}
	if _, err := NewEndpoint(&fakeHandler{}, Options{EarlyApps: []uint16{1, 0}}); err == nil || !strings.Contains(err.Error(), "EarlyApps[1] is 0, allowed are 1 to 65535") {
		t.Error(err)
	}
}
