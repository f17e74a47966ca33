package load

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

// fakeLinks dials connections that are numbers, and remembers which were closed.
type fakeLinks struct {
	*links[int]
	mu     sync.Mutex
	dialed int
	shut   []int
	fail   error
}

func newFakeLinks() *fakeLinks {
	f := new(fakeLinks)
	f.links = newLinks(func(context.Context, *conn) (int, error) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.dialed++
		return f.dialed, f.fail
	}, func(c int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.shut = append(f.shut, c)
	})
	return f
}

// Streams with the same slot share one connection; a stream whose server shuts down gets a new one, as do those that follow it.
func TestLinksShareConnections(t *testing.T) {
	r := prepareRig(t, Config{Conns: 2, Streams: 3, Payload: 16, Depth: 1, Window: time.Second})
	l := newFakeLinks()
	got := make(chan int, 1)
	dial := func(c *conn) int {
		l.dial(c, func(_ context.Context, raw int) error { got <- raw; return nil })
		return <-got
	}
	for i, c := range r.all {
		if n := dial(c); n != i%2+1 || c.link == nil || c.link != r.all[i%2].link {
			t.Errorf("stream %d is on connection %d", i, n)
		}
	}
	var heirs []*conn
	for _, i := range []int{0, 2} {
		h := newConn(r.f, i)
		h.from = r.all[i]
		heirs = append(heirs, h)
		if n := dial(h); n != 3 {
			t.Errorf("the heir of stream %d is on connection %d, want a new one for both", i, n)
		}
	}
	if heirs[0].link != heirs[1].link || heirs[0].link == r.all[0].link {
		t.Error("the heirs do not share a new connection's permits")
	}
	warm := newConn(r.f, 6)
	if n := dial(warm); n != 4 {
		t.Errorf("the first connection outside the load is connection %d", n)
	}
	l.forget(warm)
	if !slices.Equal(l.shut, []int{4}) {
		t.Errorf("closed: %v", l.shut)
	}
	var all []int
	if l.each(func(c int) { all = append(all, c) }); !slices.Equal(all, []int{1, 2, 3}) {
		t.Errorf("the load's connections: %v", all)
	}
	if l.close(); !slices.Equal(l.shut, []int{4, 1, 2, 3}) {
		t.Errorf("closed: %v", l.shut)
	}
	c := newConn(r.f, 0)
	l.dial(c, func(context.Context, int) error { return nil })
	if o := <-r.f.opened; o.c != c || !errors.Is(o.err, errClosing) {
		t.Errorf("a dial after the end: %v", o.err)
	}
}

// Each stream of a connection that cannot be dialled is told why.
func TestLinksFail(t *testing.T) {
	r := prepareRig(t, Config{Conns: 1, Streams: 2, Payload: 16, Depth: 1, Window: time.Second})
	l := newFakeLinks()
	l.fail = errors.New("refused")
	for _, c := range r.all {
		l.dial(c, func(context.Context, int) error { t.Error("a stream was opened"); return nil })
		if o := <-r.f.opened; o.err != l.fail {
			t.Errorf("%v", o.err)
		}
	}
	l.close()
	if len(l.shut) != 0 || l.dialed != 1 {
		t.Errorf("%d dials, closed: %v", l.dialed, l.shut)
	}
}
