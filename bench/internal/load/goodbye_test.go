package load

import (
	"errors"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/framer"
)

// goodbye is what a server says when it shuts down.
func goodbye(t *testing.T) []byte {
	t.Helper()
	return answer(t, &framer.Frame{}, framer.FlagResp|framer.FlagEnd, statusUnavailable)
}

// When the server says goodbye a new connection is opened first, new requests go to it, and the old one is closed with its
// last answer. Nothing is lost and nothing is an error.
func TestGoodbye(t *testing.T) {
	r := newRig(t, Config{Conns: 2, Payload: 64, RPS: 100, Window: time.Second})
	g := r.f.groups[0]
	var heirs []*conn
	r.f.dial = func(c *conn) {
		c.t = &fakeTransport{}
		heirs = append(heirs, c)
	}
	for r.at = 0; r.at <= 90*ms; r.at += 10 * ms { // 10 requests: 5 on each connection
		g.pump(r.at)
	}
	old := r.ts[0]
	owed := old.replies(t)
	r.deliver(0, owed[0], goodbye(t), goodbye(t))
	if len(heirs) != 1 || r.all[0].state != connLeaving {
		t.Fatalf("%d connections opened for one goodbye, state %d", len(heirs), r.all[0].state)
	}
	for ; r.at <= 190*ms; r.at += 10 * ms {
		g.pump(r.at)
	}
	if len(old.out) != 0 {
		t.Fatal("requests were written after the goodbye")
	}
	heir := heirs[0]
	heir.OnOpen()
	ht := heir.t.(*fakeTransport)
	if n := len(ht.replies(t)); n != 6 {
		t.Fatalf("%d requests written on the new connection at once, want the 6 that have fallen due", n)
	}
	if old.closed {
		t.Fatal("the old connection was closed with answers owed")
	}
	r.deliver(0, owed[1:]...)
	if !old.closed {
		t.Fatal("the old connection was not closed after its last answer")
	}
	r.all[0].OnClose(nil)
	if n := r.f.live.Load(); n != 2 {
		t.Errorf("%d connections alive, want 2", n)
	}
	if !r.f.post(g, func() {}) {
		t.Error("the loop cannot be reached through the new connection")
	}
	if g.errs.Total() != 0 || g.moved != 1 {
		t.Errorf("%+v, %d moved", g.errs, g.moved)
	}
}

// A goodbye without a successor, and an old connection that ends with answers owed, are failures.
func TestGoodbyeWithoutSuccessor(t *testing.T) {
	r := newRig(t, Config{Conns: 1, Payload: 64, RPS: 100, Window: time.Second})
	g := r.f.groups[0]
	r.f.dial = func(c *conn) { c.OnClose(errors.New("refused")) }
	g.pump(0)
	r.deliver(0, goodbye(t))
	if g.errs.DialFailed != 1 || r.f.FirstError() == nil {
		t.Errorf("%+v, %v", g.errs, r.f.FirstError())
	}
	r.all[0].OnClose(nil)
	if g.errs.ConnLost != 1 || g.errs.Transport5xx != 1 {
		t.Errorf("%+v, want one lost connection with one request", g.errs)
	}
}
