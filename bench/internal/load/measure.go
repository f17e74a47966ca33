package load

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/sched"
)

// Live is the state of a load for a progress line.
type Live struct {
	Elapsed, Total time.Duration // of the load, warm-up included
	FPS            float64       // good replies per second since the last report
	Conns          int           // alive
	Warmup         bool
}

// Hooks are called by Measure on its own goroutine.
type Hooks struct {
	Begin    func()     // the window begins: take the first sample of every process
	End      func()     // it ends
	Progress func(Live) // about ten times a second; may be nil
	// Sample is called at the window's begin, at the end of each interval of the series, and at the window's end, with the time since the begin:
	// take a sample of the processes for the series. A call that comes late on a busy machine may stand for several. With nil the phase has no
	// series.
	Sample func(at time.Duration)
}

// leadIn is the time between the decision to start and the first request, for all loops to have taken their start.
const leadIn = 10 * time.Millisecond

// Measure runs the load once: warm-up, window, drain. When ctx ends, the window ends, and the figures cover what was done
// until then. The fleet's connections and its reactor are gone afterwards. The phase lacks what only the caller knows: its
// name and what the processes used.
func (f *Fleet) Measure(ctx context.Context, h Hooks) (*report.Phase, error) {
	if h.Sample != nil {
		f.keepSeries() // first: what the window's begin lets in is kept
	}
	f.origin = f.now() + int64(leadIn)
	f.begin.Store(f.origin + int64(f.cfg.Warmup))
	f.end.Store(f.begin.Load() + int64(f.cfg.Window))
	f.stage.Store(stageLoad)
	drive := f.drive
	if f.cfg.Cold {
		drive = f.driveCold
	}
	if err := drive(ctx, h); err != nil {
		f.stage.Store(stageDone)
		return nil, errors.Join(err, f.net.Close())
	}
	f.stage.Store(stageDone)
	settled := f.now()
	if err := f.net.Close(); err != nil {
		return nil, err
	}
	return f.phase(settled), nil
}

// driveCold is the load, its drain included, where every request has a connection of its own.
func (f *Fleet) driveCold(ctx context.Context, h Hooks) error {
	over := make(chan struct{})
	go func() {
		defer close(over)
		f.errands.run()
	}()
	f.watch(ctx, h)
	<-over
	return nil
}

// drive is the load on the connections that are there, its drain included.
func (f *Fleet) drive(ctx context.Context, h Hooks) error {
	if err := f.startGroups(ctx); err != nil {
		return err
	}
	stop := make(chan struct{})
	paced := make(chan struct{})
	go func() {
		defer close(paced)
		if f.cfg.open() {
			f.pace(stop)
		}
	}()
	f.watch(ctx, h)
	if f.cfg.OneWay {
		f.askTallies()
	}
	f.drain(context.WithoutCancel(ctx))
	close(stop)
	<-paced
	return nil
}

// due is the offset of request k of connection idx.
func (f *Fleet) due(idx int, k int64) int64 { return f.origin + int64(f.plan.At(idx, k)) }

func (f *Fleet) startGroups(ctx context.Context) error {
	started := make(chan struct{}, len(f.groups))
	n := 0
	for _, g := range f.groups {
		if f.post(g, func() { g.start(); started <- struct{}{} }) {
			n++
		}
	}
	for range n {
		select {
		case <-started:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if n == 0 {
		return errors.New("every connection ended before the load began")
	}
	return nil
}

// post runs fn on the loop of g, through the first of its connections that still takes it. Controller or pacer.
func (f *Fleet) post(g *group, fn func()) bool {
	for _, c := range f.conns {
		for ; c != nil && c.g == g; c = c.heir.Load() {
			if c.t.Post(fn) == nil {
				return true
			}
		}
	}
	return false
}

// drainPoll is the pause between two looks at what is outstanding.
const drainPoll = 2 * time.Millisecond

// progressEvery is how often the hooks see the load, and how soon an end of all connections is noticed.
const progressEvery = 100 * time.Millisecond

// watch waits for the window's begin and end and calls the hooks. It cuts the load short when ctx ends or no connection
// is left.
func (f *Fleet) watch(ctx context.Context, h Hooks) {
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	begun, done := false, ctx.Done()
	edges := sampler{f: f, take: h.Sample}
	last, lastAt := f.answered(), f.now()
	for {
		now := f.now()
		if !begun && now >= f.begin.Load() {
			begun = true
			edges.sample()
			h.Begin()
		}
		if now >= f.end.Load() {
			break
		}
		next := f.begin.Load()
		if begun {
			next = min(f.end.Load(), edges.due(now))
		}
		edge := time.NewTimer(time.Duration(next - now))
		select {
		case <-edge.C:
		case <-done:
			f.cut()
			done = nil
		case <-tick.C:
			if f.live.Load() == 0 && !f.cfg.Cold {
				f.cut()
			}
			f.probeLag()
			if h.Progress != nil {
				n, at := f.answered(), f.now()
				h.Progress(Live{
					Elapsed: time.Duration(at - f.origin), Total: f.cfg.Warmup + f.cfg.Window, Conns: int(f.live.Load()),
					FPS: float64(n-last) / (float64(at-lastAt) / 1e9), Warmup: !begun,
				})
				last, lastAt = n, at
			}
		}
		edge.Stop()
	}
	if !begun {
		h.Begin()
	}
	edges.sample()
	h.End()
}

// cut ends the window in a moment: no loop can have written a request that is due after that.
func (f *Fleet) cut() {
	now := f.now() + int64(leadIn)
	f.begin.Store(min(f.begin.Load(), now))
	f.end.Store(min(f.end.Load(), now))
}

// Answered is how many good replies have come in since the fleet was made, those outside the window included. Any goroutine; exact once
// Measure has returned.
func (f *Fleet) Answered() uint64 { return f.answered() }

func (f *Fleet) answered() (n uint64) {
	for _, g := range f.groups {
		n += g.answered.Load()
	}
	return n
}

// drain waits until nothing that was due is outstanding: as long as replies come in, with no pause of drainTimeout. It ends early with
// ctx.
func (f *Fleet) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainAtMost)
	defer cancel()
	patience := drainPatience{limit: int64(drainTimeout)}
	for {
		n, err := f.outstanding(ctx)
		if err != nil || n == 0 || patience.over(n, f.now()) {
			return
		}
		if sched.Sleep(ctx, drainPoll) != nil {
			return
		}
	}
}

// drainPatience ends the wait for replies when none has come for a while.
type drainPatience struct {
	limit int64 // ns
	least int   // the fewest that were outstanding, one more
	since int64 // when that was first seen
}

// over says whether to give up, with n outstanding now.
func (d *drainPatience) over(n int, now int64) bool {
	if d.least == 0 || n+1 < d.least {
		d.least, d.since = n+1, now
	}
	return now-d.since >= d.limit
}

// outstanding is how many requests that have fallen due, or will before the load's end or hold, have no reply. It asks the
// loops: a count of all requests written would include those that a loop wrote after the end before it knew of it, and they
// would hide as many that are missing.
func (f *Fleet) outstanding(ctx context.Context) (n int, err error) {
	open := make([]int, len(f.groups))
	if err := f.onLoops(ctx, func(g *group) {
		g.open(math.MinInt64, f.end.Load(), func(int64) { open[g.index]++ })
	}); err != nil {
		return 0, err
	}
	for _, o := range open {
		n += o
	}
	return n, nil
}

// onLoops runs fn on every loop that has a connection left, and waits for it.
func (f *Fleet) onLoops(ctx context.Context, fn func(*group)) error {
	done := make(chan struct{}, len(f.groups))
	asked := 0
	for _, g := range f.groups {
		if f.post(g, func() { fn(g); done <- struct{}{} }) {
			asked++
		}
	}
	for range asked {
		select {
		case <-done:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// pace wakes loops whose timetable is due until stop. It runs on a thread of its own for exact sleeps.
func (f *Fleet) pace(stop <-chan struct{}) {
	pokes := make([]func(), len(f.groups))
	for i, g := range f.groups {
		pokes[i] = g.onPoke
	}
	for {
		select {
		case <-stop:
			return
		default:
		}
		now := f.now()
		next := now + int64(paceNap)
		for i, g := range f.groups {
			due := g.nextDue.Load()
			if due <= now {
				if g.poked.CompareAndSwap(false, true) && !f.post(g, pokes[i]) {
					g.nextDue.Store(never) // no connection left on this loop
				}
				due = now // look again soon: what is due next is known when the loop has taken its turn
			}
			next = min(next, due)
		}
		sleep(max(time.Duration(next-now), paceQuantum))
	}
}

// sleep is exact to some 50 µs where Go's timers round up to a millisecond.
func sleep(d time.Duration) {
	if d >= coarseSleep {
		time.Sleep(d)
		return
	}
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // woken early by a signal: the caller looks at the clock again
}

// phase sums up, once the loops have ended.
func (f *Fleet) phase(settled int64) *report.Phase {
	c := &f.cfg
	p := &report.Phase{
		Transport: f.net.cfg.Transport, Target: f.net.cfg.Addr, Mode: c.modeOf(), Conns: c.Conns, Streams: c.Streams, MaxInflight: c.MaxInflight,
		RPS: c.RPS, WarmupS: c.Warmup.Seconds(), WindowS: float64(f.end.Load()-f.begin.Load()) / 1e9,
	}
	if f.net.cfg.Transport == Tor {
		p.Circuits = max(f.net.cfg.Circuits, 1)
	}
	if p.Mode == report.Closed && !c.Cold {
		p.Depth = c.Depth
	}
	if len(c.Mix) == 0 {
		p.Payload = c.Payload
	}
	lat, late, lag := hist.New(), hist.New(), hist.New()
	if f.errands != nil {
		f.errands.settle(f.groups[0], settled)
	}
	for _, g := range f.groups {
		g.settle(settled)
		lat.Merge(g.lat)
		late.Merge(g.late)
		lag.Merge(g.lag)
		p.Frames += g.inWindow
		p.Sent += g.writtenInside
		p.Moved += g.moved
		p.Held += g.denied
		p.Confirmed += g.confirmed
		p.Errors.Add(&g.errs)
	}
	p.Errors.DialFailed += uint64(f.dialErrs)
	if f.firstErr != nil {
		p.Errors.FirstError = f.firstErr.Error()
	}
	if p.WindowS > 0 {
		p.FPS = float64(p.Frames) / p.WindowS
	}
	p.Latency, p.PaceMS, p.LagMS = lat.Summary(), late.Summary().P99, lag.Summary().AvgMS
	p.Series, p.Curve = f.seriesOf(), report.CurveOf(lat)
	p.Session = f.Session()
	if f.errands != nil {
		f.errands.fill(p)
	}
	f.countSizes(p)
	return p
}

// modeOf is how a phase of the load is called.
func (c *Config) modeOf() string {
	switch {
	case c.open():
		return report.Open
	case c.OneWay:
		return report.OneWay
	}
	return report.Closed
}

// countSizes fills in what the sizes of a mixed load have carried, and from all sizes the bits per second.
func (f *Fleet) countSizes(p *report.Phase) {
	if p.WindowS <= 0 {
		return
	}
	bits := float64(p.Frames) * float64(f.cfg.Payload) * 8
	if len(f.cfg.Mix) > 0 {
		bits = 0
	}
	for i, part := range f.cfg.Mix {
		s := report.SizeUse{Payload: part.Payload, Weight: part.Weight}
		lat := hist.New()
		for _, g := range f.groups {
			lat.Merge(g.bySize[i].lat)
			s.Frames += g.bySize[i].frames
		}
		s.FPS, s.Latency = float64(s.Frames)/p.WindowS, lat.Summary()
		bits += float64(s.Frames) * float64(part.Payload) * 8
		p.BySize = append(p.BySize, s)
	}
	p.GbpsEachWay = bits / p.WindowS / 1e9
}

// countStatus counts a reply that is no echo by its code.
func countStatus(e *report.Errors, code uint16) {
	switch {
	case code == 429:
		e.Rejected429++
	case code == 503:
		e.Rejected503++
	case code >= 500 && code <= 599:
		e.Transport5xx++
	default:
		e.OtherStatus++
	}
}

// echoOnce echoes one frame on each of conns and returns on how many that failed. The load is not under way.
func (f *Fleet) echoOnce(ctx context.Context, conns []*conn) (bad int, err error) {
	answers := make(chan bool, len(conns))
	n := 0
	for _, c := range conns {
		err := c.t.Post(func() {
			now := c.f.now()
			c.probe = answers
			if !c.send(now, now) {
				c.tell(false)
			}
		})
		if err != nil {
			bad++
			continue
		}
		n++
	}
	t := time.NewTimer(dialTimeout)
	defer t.Stop()
	for range n {
		select {
		case ok := <-answers:
			if !ok {
				bad++
			}
		case <-t.C:
			return bad, fmt.Errorf("no echo within %s", dialTimeout)
		case <-ctx.Done():
			return bad, ctx.Err()
		}
	}
	return bad, nil
}

// retire closes one connection and waits until it is gone.
func (f *Fleet) retire(ctx context.Context, c *conn) error {
	gone := make(chan bool, 1)
	if err := c.t.Post(func() {
		c.state, c.probe = connRetiring, gone
		c.t.Close(nil)
	}); err != nil {
		return nil // it has ended already
	}
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
