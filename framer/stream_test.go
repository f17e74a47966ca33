package framer

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// streamModel is the stream rules of oap1.md, written down naively: per direction the log of what happened since its
// corr_id was last free. "S" START, "E" END, "X" refused, "O" our END; "R" a request.
type streamModel struct {
	max  int
	logs map[string][]string
}

func (m *streamModel) has(k, what string) bool { return slices.Contains(m.logs[k], what) }

func (m *streamModel) note(k, what string) {
	m.logs[k] = append(m.logs[k], what)
	if m.has(k, "E") && (m.has(k, "X") || m.has(k, "O") || !m.has(k, "R")) {
		delete(m.logs, k)
	}
}

func (m *streamModel) key(f Flags, corr uint64) string {
	return fmt.Sprint(corr, " response: ", f&FlagResp != 0) // each side numbers its own requests
}

// peer is a frame of the peer's: "deliver", "drop", or the status it is answered with; "fatal" ends the connection.
func (m *streamModel) peer(f Flags, corr uint64) string {
	k := m.key(f, corr)
	start, end := f&FlagStart != 0, f&FlagEnd != 0
	switch {
	case len(m.logs[k]) > 0 && m.has(k, "E"):
		return "400" // after END
	case len(m.logs[k]) > 0 && start:
		was := m.has(k, "X")
		if !was {
			m.note(k, "X")
		}
		if end {
			m.note(k, "E")
		}
		return "400" // duplicate START
	case len(m.logs[k]) > 0:
		dropped := m.has(k, "X")
		if end {
			m.note(k, "E")
		}
		if dropped {
			return "drop"
		}
		return "deliver"
	case !start && end && f&FlagResp == 0:
		return "400" // END without START
	case !start:
		return "deliver"
	}
	request := f&FlagResp == 0 && f&FlagReq != 0
	if end && !request {
		return "deliver"
	}
	if n := len(m.logs); n >= m.max {
		if n >= 2*m.max {
			return "fatal"
		}
		if !end {
			m.logs[k] = []string{"S", "X"}
		}
		return "429"
	}
	m.logs[k] = []string{"S"}
	if request {
		m.note(k, "R")
	}
	if end {
		m.note(k, "E")
	}
	return "deliver"
}

// ours is a response of ours.
func (m *streamModel) ours(f Flags, corr uint64) {
	k := m.key(FlagReq, corr)
	if f&FlagEnd != 0 && len(m.logs[k]) > 0 && !m.has(k, "O") {
		m.note(k, "O")
	}
}

// peerFrame feeds one frame and returns what became of it, in the model's words.
func peerFrame(c *fakeConn, delivered *int, flags Flags, corr uint64) string {
	c.tb.Helper()
	before := *delivered
	c.feed(enc(c.tb, Frame{Header: Header{Flags: flags, AppProtoID: 3, CorrID: corr}}))
	fs := c.sent()
	switch {
	case c.closed:
		wantError(c.tb, fs[0], corr, 429, InflightExceeded)
		return "fatal"
	case *delivered == before+1 && len(fs) == 0:
		return "deliver"
	case *delivered == before && len(fs) == 0:
		return "drop"
	case *delivered == before && len(fs) == 1:
		why := BadFrame
		if fs[0].Code == 429 {
			why = InflightExceeded
		}
		wantError(c.tb, fs[0], corr, fs[0].Code, why)
		return fmt.Sprint(fs[0].Code)
	}
	c.tb.Fatalf("delivered %d, answered %+v", *delivered-before, fs)
	return ""
}

func TestStreamsAgainstModel(t *testing.T) {
	kinds := []Flags{FlagReq, FlagReq, FlagReq, FlagResp, FlagEvent, 0, FlagReq | FlagEvent}
	seen := map[string]int{}
	for seed := range uint64(300) {
		rng := rand.New(rand.NewPCG(seed, 7))
		n := 0
		limit := 1 + rng.IntN(4)
		c := newFake(t, &fakeHandler{frame: func(*Session, *Frame) { n++ }}, Options{MaxStreams: limit})
		m := &streamModel{max: limit, logs: map[string][]string{}}
		var history []string
		for range 200 {
			corr := uint64(rng.IntN(limit * 4))
			if rng.IntN(5) == 0 {
				flags := FlagResp | []Flags{0, FlagStart, FlagEnd, FlagStart | FlagEnd}[rng.IntN(4)]
				history = append(history, fmt.Sprintf("ours %v %d", flags, corr))
				m.ours(flags, corr)
				if err := c.s.Send(&Frame{Header: Header{Flags: flags, AppProtoID: 3, CorrID: corr}}); err != nil {
					t.Fatal(err)
				}
				c.flush()
				c.out = nil
				continue
			}
			flags := kinds[rng.IntN(len(kinds))]
			if rng.IntN(2) == 0 {
				flags |= FlagStart
			}
			if rng.IntN(3) == 0 {
				flags |= FlagEnd
			}
			history = append(history, fmt.Sprintf("peer %v %d", flags, corr))
			want := m.peer(flags, corr)
			seen[want]++
			if got := peerFrame(c, &n, flags, corr); got != want {
				t.Fatalf("seed %d, at most %d streams: %q, the model says %q\n%q", seed, limit, got, want, history)
			}
			if want == "fatal" {
				break
			}
			if len(c.s.streams.m) != len(m.logs) {
				t.Fatalf("seed %d: %d streams are remembered, the model has %d\n%q", seed, len(c.s.streams.m), len(m.logs), history)
			}
		}
	}
	for _, what := range []string{"deliver", "drop", "400", "429", "fatal"} {
		if seen[what] < 50 {
			t.Errorf("%q came up %d times only", what, seen[what])
		}
	}
}

// TestStreamRules is each rule by itself. A step is a frame of the peer's and what becomes of it, or a response of ours.
func TestStreamRules(t *testing.T) {
	type step struct {
		flags Flags
		corr  uint64
		want  string // "" for a response of ours
	}
	const (
		req, resp, event = FlagReq, FlagResp, FlagEvent
		start, end       = FlagStart, FlagEnd
	)
	for _, v := range []struct {
		name  string
		steps []step
		left  int
	}{
		{"single frames leave nothing", []step{{req, 1, "deliver"}, {req, 1, "deliver"}, {event, 1, "deliver"}, {resp | end, 1, "deliver"}, {resp, 1, "deliver"}}, 0},
		{"a stream", []step{{req | start, 1, "deliver"}, {req, 1, "deliver"}, {event, 1, "deliver"}, {req | end, 1, "deliver"}, {resp | end, 1, ""}}, 0},
		{"START and END at once", []step{{req | start | end, 1, "deliver"}, {resp | end, 1, ""}, {req | start | end, 1, "deliver"}, {resp | end, 1, ""}}, 0},
		{"our END first", []step{{req | start, 1, "deliver"}, {resp | end, 1, ""}, {req, 1, "deliver"}, {req | end, 1, "deliver"}}, 0},
		{"our stream of responses", []step{{req | start | end, 1, "deliver"}, {resp | start, 1, ""}, {resp, 1, ""}, {req, 1, "400"}, {resp | end, 1, ""}, {req, 1, "deliver"}}, 0},
		{"a response without END does not end", []step{{req | start | end, 1, "deliver"}, {resp, 1, ""}, {req, 1, "400"}, {resp | end, 1, ""}}, 0},
		{"duplicate START", []step{{req | start, 1, "deliver"}, {req | start, 1, "400"}, {req, 1, "drop"}, {req | end, 1, "drop"}, {req | start, 1, "deliver"}}, 1},
		{"each duplicate START is answered", []step{{req | start, 1, "deliver"}, {req | start, 1, "400"}, {req | start, 1, "400"}, {req | start | end, 1, "400"}}, 0},
		{"END without START", []step{{req | end, 1, "400"}, {event | end, 2, "400"}, {end, 3, "400"}}, 0},
		{"frames after END", []step{{req | start | end, 1, "deliver"}, {req, 1, "400"}, {req | end, 1, "400"}, {req | start, 1, "400"}, {req, 1, "400"}, {resp | end, 1, ""}}, 0},
		{"the error does not end the valid request", []step{{req | start, 1, "deliver"}, {req | end, 1, "deliver"}, {req, 1, "400"}, {req, 1, "400"}, {resp | end, 1, ""}, {req, 1, "deliver"}}, 0},
		{"event streams need no END of ours", []step{{event | start, 1, "deliver"}, {event, 1, "deliver"}, {event | end, 1, "deliver"}, {event | end, 1, "400"}}, 0},
		{"an event may end a request", []step{{req | start, 1, "deliver"}, {event | end, 1, "deliver"}, {req, 1, "400"}, {resp | end, 1, ""}}, 0},
		{"response streams", []step{{resp | start, 1, "deliver"}, {resp, 1, "deliver"}, {resp | start, 1, "400"}, {resp, 1, "drop"}, {resp | end, 1, "drop"}}, 0},
		{"both sides use one corr_id", []step{{req | start, 1, "deliver"}, {resp | end, 1, "deliver"}, {req, 1, "deliver"}, {req | end, 1, "deliver"}, {resp | end, 1, ""}}, 0},
		{"corr_ids are apart", []step{{req | start, 1, "deliver"}, {req | start, 2, "deliver"}, {req | start, 1, "400"}, {req, 2, "deliver"}, {req | end, 2, "deliver"}, {resp | end, 2, ""}}, 1},
		{"the bound", []step{{req | start, 1, "deliver"}, {req | start, 2, "deliver"}, {req | start, 3, "429"}, {req, 3, "drop"}, {req | end, 3, "drop"}, {event | start | end, 4, "deliver"},
			{req | start | end, 5, "429"}, {req | end, 1, "deliver"}, {resp | end, 1, ""}, {req | start, 3, "deliver"}}, 2},
		{"the bound of refused ones", []step{{req | start, 1, "deliver"}, {req | start, 2, "deliver"}, {req | start, 3, "429"}, {req | start, 4, "429"}, {req | start, 5, "fatal"}}, 0},
	} {
		t.Run(v.name, func(t *testing.T) {
			n := 0
			c := newFake(t, &fakeHandler{frame: func(*Session, *Frame) { n++ }}, Options{MaxStreams: 2})
			for i, st := range v.steps {
				if st.want == "" {
					if err := c.s.Send(&Frame{Header: Header{Flags: st.flags, CorrID: st.corr}}); err != nil {
						t.Fatal(err)
					}
					c.flush()
					c.out = nil
				} else if got := peerFrame(c, &n, st.flags, st.corr); got != st.want {
					t.Fatalf("step %d, %v on %d: %q, want %q", i, st.flags, st.corr, got, st.want)
				}
			}
			if !c.closed && len(c.s.streams.m) != v.left {
				t.Errorf("%d streams are left, want %d", len(c.s.streams.m), v.left)
			}
		})
	}
}

// TestAckIsNoEnd: the ACK of a stream's frame is a response without START and END, and ends nothing.
func TestAckIsNoEnd(t *testing.T) {
	n := 0
	c := newFake(t, &fakeHandler{frame: func(*Session, *Frame) { n++ }}, Options{})
	c.feed(req(t, 1, FlagStart|FlagEnd|FlagAckReq, nil))
	if f := c.one(); f.Flags != FlagResp || f.Code != 200 {
		t.Fatalf("ACK is %+v", f.Header)
	}
	if got := peerFrame(c, &n, FlagReq, 1); got != "400" {
		t.Errorf("a frame after END: %q", got)
	}
}

// TestBadCompressionFailsStream: a stream whose frame cannot be decompressed is not delivered without it.
func TestBadCompressionFailsStream(t *testing.T) {
	n := 0
	c := newFake(t, &fakeHandler{frame: func(*Session, *Frame) { n++ }}, Options{})
	c.feed(req(t, 1, FlagStart|FlagComp, []byte("no zstd")))
	wantError(t, c.one(), 1, 400, BadCompression)
	for i, want := range []string{"drop", "drop"} {
		if got := peerFrame(c, &n, []Flags{FlagReq, FlagReq | FlagEnd}[i], 1); got != want {
			t.Errorf("frame %d of the failed stream: %q", i, got)
		}
	}
	c.feed(req(t, 2, FlagStart|FlagEnd|FlagComp, []byte("no zstd")))
	wantError(t, c.one(), 2, 400, BadCompression)
	if n != 0 || len(c.s.streams.m) != 0 {
		t.Errorf("%d frames delivered, %d streams left", n, len(c.s.streams.m))
	}
}

// TestStreamTableShrinks: a burst of streams does not cost memory for ever.
func TestStreamTableShrinks(t *testing.T) {
	c := newFake(t, &fakeHandler{frame: func(s *Session, f *Frame) {
		if f.Flags&FlagEnd != 0 {
			_ = s.Reply(f, 200, nil)
		}
	}}, Options{})
	for i := range uint64(500) {
		c.feed(req(t, i, FlagStart, nil))
	}
	if len(c.s.streams.m) != 500 {
		t.Fatalf("%d streams", len(c.s.streams.m))
	}
	for i := range uint64(500) {
		c.feed(req(t, i, FlagEnd, nil))
	}
	if c.s.streams.m != nil {
		t.Error("the table is still there")
	}
}

func zstdBytes(tb testing.TB, p []byte, opts ...zstd.EOption) []byte {
	w, err := zstd.NewWriter(nil, append(opts, zstd.WithEncoderConcurrency(1))...)
	if err != nil {
		tb.Fatal(err)
	}
	defer w.Close()
	return w.EncodeAll(p, nil)
}
