package main

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/framer"
)

// requests is an upstream that is a function of the requests.
type requests func(s *framer.Session, f *framer.Frame)

func (requests) OnOpen(*framer.Session)         {}
func (requests) OnClose(*framer.Session, error) {}
func (r requests) OnFrame(s *framer.Session, f *framer.Frame) {
	if f.Flags&framer.FlagReq != 0 {
		r(s, f)
	}
}

// TestForwardChainNotTwice: what a gateway has given up is not sent again by the gateway before it, whether the time was over or the upstream
// lost: it may have been executed. The client is told so.
func TestForwardChainNotTwice(t *testing.T) {
	s := newSite(t)
	for name, b := range map[string]*backend{"not answered in time": {delay: time.Hour}, "lost": {drop: true}} {
		mid := s.front("tcp://"+b.serve(t), "--forward-timeout=2s")
		front := s.front("tls://" + mid.addr("tls"))
		_, err := ask(s.clients().dial(front.addr("tls")), 8, "once")
		if got := code(nil, err); got != 500 || !strings.Contains(err.Error(), "may have been executed") {
			t.Errorf("%s: the client gets %v", name, err)
		}
		if n := b.arrived.Load(); n != 1 {
			t.Errorf("%s: the upstream had a request %d times that is not idempotent", name, n)
		}
	}
}

// TestForwardRefused: a 503 is tried again when its reason says that nothing was done, or when the app is idempotent; any other one is the
// client's answer.
func TestForwardRefused(t *testing.T) {
	const idempotent = 9
	for _, tc := range []struct {
		body       string
		app        uint16
		tries, got int
	}{
		{`{"code":503,"reason":"over_capacity"}`, 8, 2, 200}, {`{"code":503,"reason":"shutting_down"}`, 8, 2, 200}, {`{"code":503,"reason":"not_ready"}`, 8, 2, 200},
		{`{"code":503,"reason":"write_timeout"}`, 8, 1, 503}, {`half of it is done`, 8, 1, 503}, {"", 8, 1, 503}, {"", idempotent, 2, 200},
		{`{"reason":"not_ready","message":"` + strings.Repeat("x", maxRefusal) + `"}`, 8, 1, 503},
	} {
		t.Run(fmt.Sprintf("%d %.40s", tc.app, tc.body), func(t *testing.T) {
			s := newSite(t)
			var tries atomic.Int64
			front := s.front("tcp://"+serve(t, requests(func(s *framer.Session, f *framer.Frame) {
				if tries.Add(1) == 1 {
					_ = s.Reply(f, 503, []byte(tc.body))
					return
				}
				_ = s.Reply(f, 200, nil)
			})), "--forward-idempotent=9")
			if got := code(ask(s.clients().dial(front.addr("tls")), tc.app, "x")); got != tc.got || tries.Load() != int64(tc.tries) {
				t.Errorf("answer %d after %d tries, want %d after %d", got, tries.Load(), tc.got, tc.tries)
			}
		})
	}
}

// TestForwardMaybeExecuted: of an idempotent request that an upstream has refused after it may have done something, the client is not told that
// no upstream has had any of it, when the next one cannot be reached.
func TestForwardMaybeExecuted(t *testing.T) {
	for body, want := range map[string]int{"half of it is done": 500, `{"code":503,"reason":"over_capacity"}`: 503} {
		s := newSite(t)
		front := s.front("tcp://"+serve(t, requests(func(s *framer.Session, f *framer.Frame) { _ = s.Reply(f, 503, []byte(body)) }))+
			" tcp://127.0.0.1:1", "--forward-idempotent=9", "--forward-attempts=2")
		_, err := ask(s.clients().dial(front.addr("tls")), 9, "x")
		if got := code(nil, err); got != want || (want == 500) != strings.Contains(err.Error(), "may have been executed") {
			t.Errorf("%s: the client gets %v, want %d", body, err, want)
		}
	}
}
