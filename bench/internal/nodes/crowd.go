package nodes

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/sched"
	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
)

// crowd is the load: connections that each have a request due every so often, one at a time. A connection whose node says goodbye is given
// up before the next request, which goes over a new one; so is one that is lost. A request that fails is counted, and asked again until it is
// answered. Latencies count from when a request was due; how long it takes to make up for a failure is kept apart.
type crowd struct {
	c       *client
	size    int
	every   time.Duration // between two requests of a connection
	cancel  context.CancelFunc
	wg      sync.WaitGroup
	members []*member

	mu      sync.Mutex // guards what follows, and the members' fields
	counts  report.NodesLoad
	byNode  []report.NodesShare // of what was counted, what happened on connections to each node
	latency []*hist.Recorder    // by node, since the last call of window
}

// member is one connection of the load, and those that take its place.
type member struct {
	node    int           // where its present connection goes, -1 while it has none
	failing time.Time     // when the request failed, or the connection was lost, that has not been made up for yet; zero: none
	wound   time.Duration // the longest time that took
}

// startCrowd connects everybody and begins. The caller calls stop.
func startCrowd(ctx context.Context, c *client, cfg *Config) (*crowd, error) {
	w := &crowd{c: c, size: cfg.Payload, every: time.Duration(float64(cfg.Conns) / float64(cfg.RPS) * float64(time.Second)), byNode: make([]report.NodesShare, Nodes)}
	for range Nodes {
		w.latency = append(w.latency, hist.New())
	}
	ctx, w.cancel = context.WithCancel(ctx)
	began := time.Now()
	ready := make(chan struct{}, cfg.Conns)
	for i := range cfg.Conns {
		m := &member{node: -1}
		w.members = append(w.members, m)
		w.wg.Go(func() { w.run(ctx, m, uint64(i), began.Add(w.every*time.Duration(i)/time.Duration(cfg.Conns)), ready) })
	}
	for range cfg.Conns {
		select {
		case <-ready:
		case <-ctx.Done():
			w.stop()
			return nil, ctx.Err()
		}
	}
	return w, nil
}

// stop ends the load.
func (w *crowd) stop() {
	w.cancel()
	w.wg.Wait()
}

// run is a member's life.
func (w *crowd) run(ctx context.Context, m *member, id uint64, due time.Time, ready chan<- struct{}) {
	l := w.connect(ctx, m)
	ready <- struct{}{}
	if now := time.Now(); now.After(due) { // nothing was due while the crowd gathered
		due = due.Add(now.Sub(due).Truncate(w.every) + w.every)
	}
	for seq := id << 32; l != nil && sched.Sleep(ctx, time.Until(due)) == nil; seq++ {
		if l = w.answer(ctx, m, l, seq); l == nil {
			return
		}
		w.answered(m, time.Since(due))
		due = due.Add(w.every)
	}
	_ = l.close()
}

// answer has request seq answered, over l or whatever takes its place, which it returns; nil when ctx has ended.
func (w *crowd) answer(ctx context.Context, m *member, l *link, seq uint64) *link {
	for l != nil {
		if l.over() {
			w.ended(m, l)
			l = w.connect(ctx, m)
			continue
		}
		err := l.ask(ctx, seq, w.size)
		switch {
		case err == nil:
			return l
		case ctx.Err() != nil:
			l.abort()
			return nil
		case errors.Is(err, framer.ErrLeaving): // it was not sent
			w.leave(m)
			go func(old *link) { _ = old.close() }(l) // ends with the node's side, or the reactor
		case errors.Is(err, reactor.ErrClosed): // nor was it: the connection ended just before
			<-l.closed
			continue
		default:
			w.lost(m, l, err, true)
			l.abort()
		}
		l = w.connect(ctx, m)
	}
	return nil
}

// connect gives a member a connection; nil when ctx has ended.
func (w *crowd) connect(ctx context.Context, m *member) *link {
	for {
		l, err := w.c.dial(ctx)
		if err == nil {
			w.mu.Lock()
			m.node = l.node
			w.counts.Conns++
			if l.resumed {
				w.counts.Resumed++
			}
			w.mu.Unlock()
			return l
		}
		l.abort()
		if ctx.Err() != nil {
			return nil
		}
		w.mu.Lock()
		w.counts.DialFailed++
		w.counts.Note(fmt.Errorf("connect: %w", err))
		w.mu.Unlock()
		if sched.Sleep(ctx, retryPause) != nil {
			return nil
		}
	}
}

// ended notes that a closed link has ended between two requests: after a goodbye it was to be given up anyway.
func (w *crowd) ended(m *member, l *link) {
	if l.told {
		w.leave(m)
	} else {
		w.lost(m, l, l.end(), false)
	}
}

// lost notes that a connection ended without a goodbye, and maybe a request with it.
func (w *crowd) lost(m *member, l *link, err error, request bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := &w.byNode[l.node]
	b.Lost++
	w.counts.Lost++
	if request {
		b.Failed++
		w.counts.Failed++
	}
	w.counts.Note(fmt.Errorf("%s: %w", nodeName(l.node), err))
	m.node = -1
	if m.failing.IsZero() {
		m.failing = time.Now()
	}
}

// leave notes that a connection was given up because its node said goodbye.
func (w *crowd) leave(m *member) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.byNode[m.node].Moved++
	w.counts.Moved++
	m.node = -1
}

// answered notes a good answer.
func (w *crowd) answered(m *member, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts.Frames++
	if m.failing.IsZero() {
		w.latency[m.node].Record(d)
		return
	}
	m.wound = max(m.wound, time.Since(m.failing))
	m.failing = time.Time{}
}

// forget forgets how long earlier failures took, and what the first error was.
func (w *crowd) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.counts.FirstError = ""
	for _, m := range w.members {
		m.wound = 0
	}
}

// at is how many connections go to each node now.
func (w *crowd) at() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := make([]int, Nodes)
	for _, m := range w.members {
		if m.node >= 0 {
			n[m.node]++
		}
	}
	return n
}

// healed says whether every member has a connection, and nothing that failed is left unanswered; and how long it took at the longest until what
// had failed was answered.
func (w *crowd) healed() (all bool, longest time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all = true
	for _, m := range w.members {
		all = all && m.node >= 0 && m.failing.IsZero()
		longest = max(longest, m.wound)
	}
	return all, longest
}

// window is the latency since the last call, of requests answered by nodes other than except (-1: all), and what was counted since the start.
func (w *crowd) window(except int) (hist.Latency, report.NodesLoad, []report.NodesShare) {
	w.mu.Lock()
	defer w.mu.Unlock()
	sum := hist.New()
	for i, r := range w.latency {
		if i != except {
			sum.Merge(r)
		}
		w.latency[i] = hist.New()
	}
	return sum.Summary(), w.counts, append([]report.NodesShare(nil), w.byNode...)
}
