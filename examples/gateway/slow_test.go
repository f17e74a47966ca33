package main

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ron-transport/ron-transport/framer"
)

// The long answer of streamer: more than all buffers on the way hold.
const (
	longApp    = 9
	longFrames = 200
	longFrame  = 60_000
)

// long is the frame of a long answer with a number.
func long(corr uint64, i int) framer.Frame {
	r := framer.Frame{Header: framer.Header{Flags: framer.FlagResp, Code: 206, AppProtoID: longApp, CorrID: corr}, Payload: make([]byte, longFrame)}
	copy(r.Payload, fmt.Sprint(i, " "))
	switch i {
	case 0:
		r.Flags |= framer.FlagStart
	case longFrames - 1:
		r.Flags |= framer.FlagEnd
	}
	return r
}

// paced is an upstream that sends a long answer as fast as it is read. There is one of them at a time.
type paced struct {
	opened, sent atomic.Int64
	corr         uint64
}

func (p *paced) OnOpen(*framer.Session)       { p.opened.Add(1) }
func (*paced) OnClose(*framer.Session, error) {}
func (p *paced) OnFrame(s *framer.Session, f *framer.Frame) {
	switch {
	case f.Flags&req == 0:
	case f.AppProtoID == longApp:
		p.corr = f.CorrID
		p.OnDrained(s)
	default:
		_ = s.Reply(f, 200, nil)
	}
}

func (p *paced) OnDrained(s *framer.Session) {
	for p.corr != 0 && s.Writable() {
		f := long(p.corr, int(p.sent.Load()))
		_ = s.Send(&f)
		if p.sent.Add(1) == longFrames {
			p.corr = 0
		}
	}
}

// reader is a client that checks the frames of a long answer.
type reader struct {
	nobody
	mu    sync.Mutex
	n     int // frames that have come, in order
	wrong string
	over  bool
	code  int // of the last one
}

func (r *reader) OnFrame(_ *framer.Session, f *framer.Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.over:
		r.wrong = "a frame after END"
	case f.Code == 206 && (len(f.Payload) != longFrame || !strings.HasPrefix(string(f.Payload), fmt.Sprint(r.n, " "))):
		r.wrong = fmt.Sprintf("frame %d is %.20q", r.n, f.Payload)
	case f.Code == 206:
		r.n++
	}
	r.over, r.code = f.Flags&framer.FlagEnd != 0, int(f.Code)
}

func (r *reader) ended() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over
}

// slow connects a client that does not read, and has it ask for a long answer.
func (s *site) slow(addr string) (*framer.Session, *reader) {
	s.t.Helper()
	c, r := s.clients(), &reader{}
	var err error
	if c.end, err = framer.NewEndpoint(r, framer.Options{}); err != nil {
		s.t.Fatal(err)
	}
	x := c.dial(addr)
	if got := code(ask(x, 7, "x")); got != 200 {
		s.t.Fatalf("answer %d", got)
	}
	_ = x.Post(func(x *framer.Session) { x.Transport().PauseRead() })
	send(s.t, x, piece(longApp, 1<<40, req, ""))
	return x, r
}

// TestForwardSlowStreamAlone: a long answer to a client that does not read is not read from the upstream either, and is complete in the end;
// others are answered over another connection meanwhile.
func TestForwardSlowStreamAlone(t *testing.T) {
	s, p := newSite(t), &paced{}
	front := s.front("tcp://"+serve(t, p), "--reactor-loops=1", "--reactor-sndbuf=16384", "--reactor-rcvbuf=16384")
	x, r := s.slow(front.addr("tls"))
	const all = 70 // frames: at least the 64 permits and the marks of two queues; more than the part of a client with all socket buffers
	eventually(t, "the gateway holds a part of the answer", func() bool { return p.sent.Load() >= all })
	other, _ := s.client(front.addr("tls"))
	for range 100 {
		if got := code(ask(other, 7, "x")); got != 200 {
			t.Fatalf("another client's answer is %d", got)
		}
	}
	if n := p.opened.Load(); n != 2 {
		t.Errorf("%d connections to the upstream, want one of the slow client and one of the others", n)
	}
	if n := p.sent.Load(); n == longFrames {
		t.Error("the upstream was read to the end for a client that does not read")
	}
	_ = x.Post(func(x *framer.Session) { x.Transport().ResumeRead() })
	eventually(t, "the end of the answer", r.ended)
	if r.wrong != "" || r.code != 206 || r.n != longFrames {
		t.Errorf("%d frames of %d, the last with code %d; %s", r.n, longFrames, r.code, r.wrong)
	}
}

// TestForwardSlowStream: an answer that is behind a long one to a client that does not read arrives, at the long one's cost.
func TestForwardSlowStream(t *testing.T) {
	const behind = 10 // its requests are answered behind the long answer
	var waits atomic.Pointer[framer.Retained]
	s := newSite(t)
	front := s.front("tcp://"+serve(t, requests(func(s *framer.Session, f *framer.Frame) {
		switch f.AppProtoID {
		case behind:
			waits.Store(f.Retain())
		case longApp:
			for i := range longFrames {
				r := long(f.CorrID, i)
				_ = s.Send(&r)
			}
			_ = waits.Load().Reply(200, nil)
		default:
			_ = s.Reply(f, 200, nil)
		}
	})), "--reactor-loops=1", "--reactor-sndbuf=16384", "--forward-timeout=2m", "--reactor-shutdown-grace=2m", "--drain-timeout=2m")
	other, _ := s.client(front.addr("tls"))
	got := make(chan int, 1)
	go func() { got <- code(ask(other, behind, "x")) }() // ends with the answer
	eventually(t, "the upstream has the other client's request", func() bool { return waits.Load() != nil })
	x, r := s.slow(front.addr("tls"))
	if n := <-got; n != 200 {
		t.Errorf("the other client's answer is %d", n)
	}
	_ = x.Post(func(x *framer.Session) { x.Transport().ResumeRead() })
	eventually(t, "the end of the answer", r.ended)
	if r.wrong != "" || r.code != 503 || r.n == 0 {
		t.Errorf("%d frames, the last with code %d; %s", r.n, r.code, r.wrong)
	}
}

// TestHeldCopiesBounded: what is copied is bounded for each client, and for all clients of a loop together; what is given back may be had again.
func TestHeldCopiesBounded(t *testing.T) {
	const n = 1 << 20
	sh := &shard{}
	total := 0
	var all []*down
	for range 2 * loopCopies / heldCopies {
		d := &down{shard: sh}
		all = append(all, d)
		for d.copies(n) {
			d.held = append(d.held, reply{f: framer.Frame{Payload: make([]byte, n)}})
			if total += n; total > loopCopies || d.copied > heldCopies {
				t.Fatalf("%d bytes of one client, %d of all", d.copied, total)
			}
		}
	}
	if total != loopCopies || all[0].copied != heldCopies || all[len(all)-1].copied != 0 {
		t.Errorf("%d bytes of all, %d of the first client, %d of the last", total, all[0].copied, all[len(all)-1].copied)
	}
	for _, d := range all {
		for _, h := range d.held {
			d.release(h)
		}
		if d.copied != 0 {
			t.Errorf("a client still has %d bytes", d.copied)
		}
	}
	if sh.copied != 0 || !all[len(all)-1].copies(n) {
		t.Errorf("all clients still have %d bytes", sh.copied)
	}
}

// TestForwardTooLargeForClient: a frame of a streamed answer that the client does not take ends the answer, and nothing comes behind the end.
func TestForwardTooLargeForClient(t *testing.T) {
	s := newSite(t)
	front := s.front("tcp://" + serve(t, requests(func(s *framer.Session, f *framer.Frame) {
		if f.AppProtoID != longApp {
			_ = s.Reply(f, 200, nil)
			return
		}
		for i, n := range []int{1, 5000, 1, 1} {
			r := framer.Frame{Header: framer.Header{Flags: framer.FlagResp, Code: 206, AppProtoID: longApp, CorrID: f.CorrID}, Payload: make([]byte, n)}
			switch i {
			case 0:
				r.Flags |= start1
			case 3:
				r.Flags |= end1
			}
			_ = s.Send(&r)
		}
	})))
	c, r := s.clients(), &recorder{}
	var err error
	if c.end, err = framer.NewEndpoint(r, framer.Options{MaxFrame: 2048}); err != nil {
		t.Fatal(err)
	}
	x := c.dial(front.addr("tls"))
	if _, err := x.Hello(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	send(t, x, piece(longApp, 1<<40, req, ""))
	if got := code(ask(x, 7, "behind them")); got != 200 {
		t.Fatalf("answer %d", got)
	}
	if all := r.all(); strings.Count(all, fmt.Sprint(1<<40)) != 2 || !strings.Contains(all, `"code":500`) {
		t.Errorf("the client has got %s", all)
	}
}

// TestForwardEarlyAnswerWaits: the rest of a stream whose early answer waits for the client to read is dropped, and the answer arrives.
func TestForwardEarlyAnswerWaits(t *testing.T) {
	const early, size, large = 8, 500_000, 5
	var first atomic.Pointer[framer.Retained]
	var ended, arrived, more atomic.Int64
	s := newSite(t)
	front := s.front("tcp://"+serve(t, requests(func(s *framer.Session, f *framer.Frame) {
		switch {
		case f.AppProtoID != early:
			arrived.Add(1)
			_ = s.Reply(f, 200, make([]byte, size))
		case f.Flags&start1 != 0:
			first.Store(f.Retain())
		case f.Flags&end1 != 0:
			ended.Add(1)
		default:
			more.Add(1)
		}
	})), "--reactor-loops=1", "--reactor-sndbuf=16384")
	x, r := s.client(front.addr("tls"))
	send(t, x, piece(early, 1<<40, req|start1, "first"))
	eventually(t, "the upstream has the stream", func() bool { return first.Load() != nil })
	_ = x.Post(func(x *framer.Session) { x.Transport().PauseRead() })
	for i := range uint64(large) {
		send(t, x, piece(7, 1<<41+i, req, ""))
	}
	eventually(t, "the upstream has answered", func() bool { return arrived.Load() == large })
	_ = first.Load().Reply(403, []byte("early"))
	eventually(t, "the gateway ends the stream", func() bool { return ended.Load() == 1 })
	send(t, x, piece(early, 1<<40, req, "more"), piece(early, 1<<40, req|end1, "last"))
	_ = x.Post(func(x *framer.Session) { x.Transport().ResumeRead() })
	eventually(t, "all answers", func() bool {
		return strings.Contains(r.all(), "1099511627776:falsetrue:early") && strings.Count(r.all(), "falsetrue:") == large+1
	})
	if ended.Load() != 1 || more.Load() != 0 {
		t.Errorf("the upstream has got %d ends, and %d frames more", ended.Load(), more.Load())
	}
}
