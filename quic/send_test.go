package quic

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
)

// TestStuckStreamsDoNotStopOthers: streams whose peer does not read hold all of the sender's places, and the others go on
// beside them; when the peer reads again, everything arrives.
func TestStuckStreamsDoNotStopOthers(t *testing.T) {
	const size = 1 << 20 // twice the stream's window
	var got atomic.Int64
	var mu sync.Mutex
	var paused []*reactor.Conn
	end, err := framer.NewEndpoint(&echoHandler{}, framer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	deaf := func(c *reactor.Conn) reactor.Protocol {
		c.PauseRead()
		mu.Lock()
		paused = append(paused, c)
		mu.Unlock()
		return script{data: func(_ *reactor.Conn, b []byte) (int, int, error) { got.Add(int64(len(b))); return len(b), 0, nil }}.with(c)
	}
	var n atomic.Int32
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{Config: Config{ConnWindow: 8 << 20}, Protocol: func(c *reactor.Conn) reactor.Protocol {
		if n.Add(1) <= 5 {
			return deaf(c)
		}
		return end.Session(c)
	}}, DialerConfig{})
	c := p.dial(t)
	for range 5 {
		openScript(t, c, script{open: func(c *reactor.Conn) { _ = c.Write(make([]byte, size)) }})
	}
	waitFor(t, "five full windows", func() bool { return n.Load() == 5 && p.lis.Stats().BytesIn > 5*DefaultStreamWindow })
	var wg sync.WaitGroup
	for range 5 {
		s := open(t, c, &echoHandler{})
		wg.Go(func() {
			for range 5 {
				if err := ask(s, 200<<10); err != nil {
					t.Errorf("ask: %v", err)
				}
			}
		})
	}
	wg.Wait()
	mu.Lock()
	for _, rc := range paused {
		_ = rc.Post(rc.ResumeRead)
	}
	mu.Unlock()
	waitFor(t, "the rest", func() bool { return got.Load() == 5*size })
}

// TestSenderTakesTurns: a stream that never runs out of output does not keep the others from theirs.
func TestSenderTakesTurns(t *testing.T) {
	var taken [3]atomic.Int64
	var n atomic.Int32
	r := start(t, reactor.Config{})
	p := newPair(t, r, ListenConfig{Protocol: func(c *reactor.Conn) reactor.Protocol {
		i := n.Add(1) - 1
		return script{data: func(_ *reactor.Conn, b []byte) (int, int, error) { taken[i].Add(int64(len(b))); return len(b), 0, nil }}.with(c)
	}}, DialerConfig{})
	c := p.dial(t)
	for range taken {
		block := make([]byte, 64<<10)
		fill := func(c *reactor.Conn) {
			for c.Writable() && c.Write(block) == nil {
			}
		}
		rc := openScript(t, c, script{open: fill, drain: fill})
		defer func() { _ = rc.Post(func() { rc.Abort(nil) }) }()
	}
	const much = 20 << 20
	waitFor(t, "20 MiB on each", func() bool {
		return taken[0].Load() > much && taken[1].Load() > much && taken[2].Load() > much
	})
	most, least := taken[0].Load(), taken[0].Load()
	for i := range taken {
		most, least = max(most, taken[i].Load()), min(least, taken[i].Load())
	}
	if most > 3*least {
		t.Errorf("%d bytes on one stream, %d on another", most, least)
	}
}

// TestSenderQueue: first in, first out, also when the queue has wrapped; an empty one gives nothing.
func TestSenderQueue(t *testing.T) {
	var q sender
	all := make([]*stream, 100)
	for i := range all {
		all[i] = &stream{}
	}
	in, out := 0, 0
	for round := 1; out < len(all); round = round%7 + 1 {
		for range round {
			if in < len(all) {
				q.push(all[in])
				in++
			}
		}
		for range (round + 1) / 2 {
			if out < in {
				if s := q.pop(); s != all[out] {
					t.Fatalf("number %d is another", out)
				}
				out++
			}
		}
	}
	if s := q.pop(); s != nil || cap(q.fifo) > 128 {
		t.Errorf("%p from an empty queue of capacity %d", s, cap(q.fifo))
	}
}

// TestSenderPatience: on a slow path chunks keep their order, for what is slow there is not stuck; one quick chunk or two, and what takes
// long is noticed soon again.
func TestSenderPatience(t *testing.T) {
	var q sender
	if p := q.patience(); p != stuckAfter {
		t.Errorf("patience %v at first, want %v", p, stuckAfter)
	}
	for range 30 {
		q.took(50 * time.Millisecond)
	}
	if p := q.patience(); p < 150*time.Millisecond || p > 200*time.Millisecond {
		t.Errorf("patience %v where chunks take 50 ms", p)
	}
	for range 10 {
		q.took(100 * time.Microsecond)
	}
	if p := q.patience(); p != stuckAfter {
		t.Errorf("patience %v where chunks have become quick", p)
	}
	q.took(time.Hour) // a stream whose window was closed
	if p := q.patience(); p > 2*stuckAfter {
		t.Errorf("patience %v after one chunk that was stuck", p)
	}
	for range 100 {
		q.took(time.Hour)
	}
	if p := q.patience(); p != stuckAtMost {
		t.Errorf("patience %v, want at most %v", p, stuckAtMost)
	}
}

// TestSenderDoubles: where nothing gets on, ever fewer chunks are added beside those that wait.
func TestSenderDoubles(t *testing.T) {
	q := sender{c: &Conn{}}
	before := q.patience()
	for i := range 8 {
		q.first = &stream{urgency: urgencyFirst, since: time.Now().Add(-time.Hour)}
		q.workers = 1
		q.look()
		if q.first != nil || q.workers != 0 {
			t.Fatalf("look %d left it among those that count", i)
		}
		now := q.patience()
		if now < min(2*before, stuckAtMost) {
			t.Errorf("patience %v after look %d, was %v", now, i, before)
		}
		before = now
	}
}
