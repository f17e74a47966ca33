package main

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/ron-transport/ron-transport/framer"
)

// flags of frames, in short.
const (
	req    = framer.FlagReq
	event  = framer.FlagEvent
	start1 = framer.FlagStart
	end1   = framer.FlagEnd
)

// every is an upstream that sees all frames, and answers requests.
type every struct {
	requests
	frames atomic.Int64
}

func (e *every) OnFrame(s *framer.Session, f *framer.Frame) {
	e.frames.Add(1)
	if f.Flags&req != 0 {
		_ = s.Reply(f, 200, f.Payload)
	}
}

// client connects one that keeps the responses it did not wait for.
func (s *site) client(addr string) (*framer.Session, *recorder) {
	s.t.Helper()
	c, r := s.clients(), &recorder{}
	var err error
	if c.end, err = framer.NewEndpoint(r, framer.Options{}); err != nil {
		s.t.Fatal(err)
	}
	return c.dial(addr), r
}

// send writes frames in order.
func send(t *testing.T, s *framer.Session, frames ...framer.Frame) {
	t.Helper()
	done := make(chan struct{})
	if err := s.Post(func(s *framer.Session) {
		defer close(done)
		for i := range frames {
			if err := s.Send(&frames[i]); err != nil {
				t.Errorf("frame %d: %v", i, err)
			}
		}
	}); err != nil {
		t.Fatal(err)
	}
	<-done
}

// piece is a frame of a stream.
func piece(app uint16, corr uint64, flags framer.Flags, payload string) framer.Frame {
	return framer.Frame{Header: framer.Header{Flags: flags, AppProtoID: app, CorrID: corr}, Payload: []byte(payload)}
}

// TestForwardRefusedStream: of a stream whose beginning is refused nothing goes to the upstream, and the client gets one answer.
func TestForwardRefusedStream(t *testing.T) {
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	big := string(w.EncodeAll(make([]byte, 2<<20), nil))
	s, e := newSite(t), &every{}
	front := launch(t, s.config(fmt.Sprintf("forward.routes = [\"7=tcp://%s\"]\n", serve(t, e))))
	for corr, tc := range []struct {
		name    string
		app     uint16
		kind    framer.Flags
		first   framer.Flags
		payload string
		want    string
	}{
		{"larger than a frame when inflated", 7, req, framer.FlagComp, big, `"code":413`},
		{"no route", 99, req, 0, "a", `"code":404`},
		{"of events", 7, event, 0, "a", `"code":400`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			x, r := s.client(front.addr("tls"))
			had, corr := e.frames.Load(), uint64(1<<40+corr)
			send(t, x, piece(tc.app, corr, tc.kind|tc.first|start1, tc.payload), piece(tc.app, corr, tc.kind, "middle"), piece(tc.app, corr, tc.kind|end1, "last"))
			if got := code(ask(x, 7, "behind them")); got != 200 {
				t.Fatalf("answer %d", got)
			}
			if n := e.frames.Load() - had; n != 1 {
				t.Errorf("the upstream has got %d frames of the stream", n-1)
			}
			if got := r.all(); strings.Count(got, fmt.Sprint(corr)) != 1 || !strings.Contains(got, tc.want) {
				t.Errorf("the client has got %s", got)
			}
			send(t, x, piece(7, corr, req|start1|end1, "again"))
			eventually(t, "the corr_id can be used again", func() bool { return strings.HasSuffix(r.all(), ":again") })
		})
	}
}

// TestForwardEvents: events go through, and hold nothing at the upstream, however many there are.
func TestForwardEvents(t *testing.T) {
	s, e := newSite(t), &every{}
	front := s.front("tcp://"+serve(t, e), "--reactor-loops=1", "--forward-inflight=4")
	x, _ := s.client(front.addr("tls"))
	for i := range uint64(100) {
		send(t, x, piece(7, 1<<40+i, event, "e"))
	}
	if got := code(ask(x, 7, "x")); got != 200 || e.frames.Load() != 101 {
		t.Errorf("answer %d; the upstream has got %d frames of 101", got, e.frames.Load())
	}
}

// TestForwardStreamsEnd: streams that the upstream answers early, or that are given up because their client goes or is silent for too long,
// do not stay open at the upstream. It does not take a part of one for the whole.
func TestForwardStreamsEnd(t *testing.T) {
	const bound, refused, silent = 8, 7, 8 // streams that the upstream allows; apps
	var started, ended atomic.Int64
	up := serveWith(t, requests(func(s *framer.Session, f *framer.Frame) {
		switch f.Flags & (start1 | end1) {
		case start1:
			started.Add(1)
			if f.AppProtoID == refused {
				_ = s.Reply(f, 403, nil)
			}
		case end1:
			ended.Add(1)
		default:
			_ = s.Reply(f, 200, f.Payload)
		}
	}), framer.Options{MaxStreams: bound})
	s := newSite(t)
	front := s.front("tcp://"+up, "--reactor-loops=1", "--forward-timeout=2s")
	const corr = 1 << 40
	for name, tc := range map[string]struct {
		app  uint16
		ends int64 // that the upstream sees, of each stream
		done func(x *framer.Session, r *recorder)
	}{
		"answered early": {refused, 1, func(x *framer.Session, r *recorder) {
			eventually(t, "the answers", func() bool { return len(strings.Fields(r.all())) == bound })
			for i := range uint64(bound) {
				send(t, x, piece(refused, corr+i, req, "more"), piece(refused, corr+i, req|end1, "last"))
			}
			if got := code(ask(x, 1, "x")); got != 200 || len(strings.Fields(r.all())) != bound {
				t.Errorf("answer %d; the client has got %s", got, r.all())
			}
		}},
		"client gone": {silent, 0, func(x *framer.Session, _ *recorder) { _ = x.Post(func(x *framer.Session) { x.Close(nil) }) }},
		"timeout": {silent, 0, func(x *framer.Session, r *recorder) {
			eventually(t, "the answers", func() bool { return strings.Count(r.all(), "may have been executed") == bound })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			const rounds = 3
			ends := ended.Load()
			for range rounds {
				x, r := s.client(front.addr("tls"))
				had := started.Load()
				for i := range uint64(bound) {
					send(t, x, piece(tc.app, corr+i, req|start1, "first"))
				}
				eventually(t, "the upstream has the streams", func() bool { return started.Load() == had+bound })
				tc.done(x, r)
			}
			x, r := s.client(front.addr("tls"))
			eventually(t, "another stream is answered", func() bool {
				send(t, x, piece(1, corr, req|start1|end1, "whole"))
				return strings.HasSuffix(r.all(), ":whole") // before the gateway has noticed that a client has gone the answer is 429
			})
			if got := ended.Load() - ends; got != tc.ends*rounds*bound {
				t.Errorf("the upstream has seen %d ends of %d streams", got, rounds*bound)
			}
		})
	}
}

// TestStreams: a stream is remembered until its END or another START, and what never ends does not pile up.
func TestStreams(t *testing.T) {
	e := streams{limit: 4}
	takes := func(corr uint64, start, end, want bool) {
		t.Helper()
		if got := e.take(corr, start, end); got != want {
			t.Errorf("frame of %d (start %v, end %v): remembered is %v", corr, start, end, got)
		}
	}
	takes(1, false, false, false)
	e.add(1)
	takes(1, false, false, true)
	takes(2, false, false, false)
	takes(1, false, true, true)
	takes(1, false, false, false)
	e.add(2)
	takes(2, true, false, false)
	takes(2, false, false, false)
	for corr := uint64(10); corr < 1010; corr++ {
		e.add(corr)
		if len(e.added) > e.limit || len(e.order) > e.limit {
			t.Fatalf("%d streams are remembered, %d in order", len(e.added), len(e.order))
		}
	}
	takes(1009, false, false, true)
	takes(1006, false, false, true)
	takes(1005, false, false, false)
	e.add(1006) // once more: the older entry does not take it along
	for corr := uint64(2000); corr < 2003; corr++ {
		e.add(corr)
	}
	takes(1006, false, false, true)
}
