package main

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/framer"
)

// keeper is an upstream that answers no request of keptApp until it is told to.
type keeper struct {
	counted
	kept chan *framer.Retained
	have atomic.Int64
}

const keptApp = 9

func newKeeper() *keeper { return &keeper{kept: make(chan *framer.Retained, 1000)} }

func (k *keeper) OnFrame(s *framer.Session, f *framer.Frame) {
	if f.AppProtoID == keptApp && f.Flags&req != 0 {
		k.kept <- f.Retain()
		k.have.Add(1)
		return
	}
	k.backend.OnFrame(s, f)
}

// reply answers the oldest request that is kept.
func (k *keeper) reply(t *testing.T, payload string) {
	t.Helper()
	select {
	case r := <-k.kept:
		_ = r.Reply(200, []byte(payload))
	case <-time.After(patience):
		t.Fatal("the upstream has no request to answer")
	}
}

// asks sends requests without waiting for their answers, which the recorder gets.
func asks(t *testing.T, s *framer.Session, first uint64, n int) {
	t.Helper()
	for i := range uint64(n) {
		send(t, s, piece(keptApp, first+i, req, "x"))
	}
}

// TestForwardReloadInflight: a new forward.inflight is in force for connections that are open.
func TestForwardReloadInflight(t *testing.T) {
	s, k := newSite(t), newKeeper()
	config := fmt.Sprintf("forward.routes = [\"*=tcp://%s\"]\nreactor.loops = 1\nforward.inflight = ", serve(t, k))
	front := launch(t, s.config(config+"4\n"))
	x, _ := s.client(front.addr("tls"))
	if got := code(ask(x, 7, "x")); got != 200 {
		t.Fatalf("answer %d", got)
	}
	s.config(config + "200\n")
	front.signal(syscall.SIGHUP)
	front.log("setting changed", map[string]string{"setting": "forward.inflight", "value": "200", "in_force": "at once"})
	const all = 50 // a quarter of the limit, which is one client's part
	asks(t, x, 1<<40, all)
	eventually(t, "all are with the upstream", func() bool { return k.have.Load() == all })
	if n := k.opened.Load(); n != 1 {
		t.Errorf("%d connections to the upstream, want 1", n)
	}
}

// TestForwardReloadRoutes: the connection to an upstream that a reload takes out of the routes ends with the answers it owes.
func TestForwardReloadRoutes(t *testing.T) {
	s, k := newSite(t), newKeeper()
	front := launch(t, s.config(fmt.Sprintf("forward.routes = [\"*=tcp://%s\"]\n", serve(t, k))))
	x, r := s.client(front.addr("tls"))
	asks(t, x, 1<<40, 1)
	eventually(t, "the upstream has the request", func() bool { return k.have.Load() == 1 })
	s.config("forward.routes = [\"*=echo\"]\n")
	front.signal(syscall.SIGHUP)
	front.log("reloaded", nil)
	if got := code(ask(x, 7, "x")); got != 200 || k.arrived.Load() != 0 {
		t.Errorf("answer %d; the upstream has had %d further requests", got, k.arrived.Load())
	}
	if k.closed.Load() != 0 {
		t.Error("the connection has ended before the answer")
	}
	k.reply(t, "late")
	eventually(t, "the answer", func() bool { return r.all() == "1099511627776:falsetrue:late" })
	eventually(t, "the end of the connection", func() bool { return k.closed.Load() == 1 })
}

// TestForwardQueueOfOne: requests that wait for one upstream until there are too many do not have those to another refused.
func TestForwardQueueOfOne(t *testing.T) {
	s, k, good := newSite(t), newKeeper(), &backend{}
	front := launch(t, s.config(fmt.Sprintf("forward.routes = [\"%d=tcp://%s\", \"8=tcp://%s\"]\nforward.inflight = 4\nforward.queue = 16\nreactor.loops = 1\n",
		keptApp, serve(t, k), good.serve(t))))
	x, r := s.client(front.addr("tls"))
	asks(t, x, 1<<40, 1)
	eventually(t, "the upstream has one", func() bool { return k.have.Load() == 1 })
	asks(t, x, 1<<40+1, 17)
	eventually(t, "one is refused", func() bool { return r.all() != "" })
	y, _ := s.client(front.addr("tls"))
	if got := code(ask(y, 8, "x")); got != 200 {
		t.Errorf("a request to the other upstream is answered with %d", got)
	}
	for range 17 {
		k.reply(t, "")
	}
}
