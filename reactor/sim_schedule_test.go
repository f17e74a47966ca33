package reactor

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"runtime/debug"
)

// simWhere is where a loop has handed over to the world.
type simWhere uint8

const (
	simPolling simWhere = iota // between turns
	simWaiting                 // asleep
	simMidTurn                 // in the middle of a turn, at a system call
	simDone                    // run has returned
)

// simLoop runs a loop's own run as a coroutine.
type simLoop struct {
	k           *simKernel
	l           *loop
	where       simWhere
	until       int64 // simWaiting: when the wait times out; -1: never
	interrupted bool
	next        func() (simWhere, bool)
	yield       func(simWhere) bool
}

// pass hands over to the world; it returns when the loop is to go on.
func (sl *simLoop) pass(where simWhere) {
	sl.k.cur = nil
	sl.yield(where)
	sl.k.cur = sl
}

// resume lets the loop go on until it hands over again.
func (sl *simLoop) resume() {
	sl.k.cur = sl
	where, ok := sl.next()
	sl.k.cur = nil
	if !ok {
		where = simDone
	}
	sl.where = where
}

// simPost is something that another goroutine is about to do.
type simPost struct {
	p    *simProto // whose loop is to do it; nil: the other goroutine itself
	run  func()
	drop func() // the loop does not take it
}

// simStep is a handshake step whose result is on its way.
type simStep struct {
	c    *Conn
	done bool
	err  error
}

// sim is one schedule: what a seed makes of the world and in which order.
type sim struct {
	seed    uint64
	rng     *rand.Rand
	plan    simPlan
	k       *simKernel
	r       *Reactor
	loops   []*simLoop
	lis     []*simListener
	peers   []*simPeer
	protos  []*simProto
	filters []Filter
	tls     *simTLS

	posts    []simPost
	steps    []simStep
	dials    []*simSocket // under way
	squeezed []*simSocket
	streams  []*simStream // attached
	thrown   int          // panics so far
	told     int          // as the reactor has told us
	turns    int
	piped    int

	wantDrain, drained bool
	wantAbort, aborted bool

	failure string
	log     func(string, ...any)
}

func (s *sim) failf(format string, args ...any) {
	if s.failure == "" {
		s.failure = fmt.Sprintf(format, args...)
		s.logf("FAILED: %s\n%s", s.failure, debug.Stack())
	}
}

func (s *sim) logf(format string, args ...any) {
	if s.log != nil {
		s.log(format, args...)
	}
}

// maxSimSteps ends a schedule that goes in circles; the longest ones need about a tenth.
const maxSimSteps = 400_000

// simulate runs the schedule of a seed and returns what was wrong with it; "" is nothing.
func simulate(seed uint64, t *simTLS, log func(string, ...any)) (failure string) {
	rng := rand.New(rand.NewPCG(seed, 11))
	s := &sim{seed: seed, rng: rng, plan: newSimPlan(rng, seed), tls: t, log: log}
	s.plan.secure = t != nil
	s.k = &simKernel{s: s, rng: rng, faults: s.plan.faults, limit: s.plan.limit, clock: rng.Int64N(1 << 40)}
	defer func() {
		if v := recover(); v != nil {
			failure = fmt.Sprintf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	var err error
	if s.r, err = makeReactor(s.plan.cfg, s.k); err != nil {
		return err.Error()
	}
	if s.plan.budget > 0 {
		s.r.cfg.BufferBudget = s.plan.budget
	}
	s.plan.cfg = s.r.cfg
	s.logf("plan %+v", s.plan)
	s.r.workers = newWorkers(0) // steps are made by the schedule
	s.r.onPanic = func(any) { s.told++ }
	for _, l := range s.r.loops {
		sl := &simLoop{k: s.k, l: l}
		sl.next, _ = iter.Pull(func(yield func(simWhere) bool) {
			sl.yield = yield
			defer func() {
				if v := recover(); v != nil {
					s.failf("panic: %v\n%s", v, debug.Stack())
				}
			}()
			l.run()
		})
		s.loops = append(s.loops, sl)
	}
	for range 1 + rng.IntN(2) {
		s.lis = append(s.lis, s.listen())
	}
	for i := range s.plan.accepted + s.plan.dialled + s.plan.streams {
		p := s.newPeer(i)
		if i < s.plan.accepted {
			p.lis = s.lis[rng.IntN(len(s.lis))]
		}
		p.streamed = i >= s.plan.accepted+s.plan.dialled
		s.peers = append(s.peers, p)
	}
	s.run()
	if s.failure == "" {
		s.checkEnd()
	}
	return s.failure
}

// run goes on until the loops have ended and nothing more can happen.
func (s *sim) run() {
	for s.failure == "" {
		s.turns++
		if s.turns > maxSimSteps {
			s.failf("no end after %d steps", s.turns)
		}
		s.events()
		if s.rng.IntN(2) == 0 && (s.resume() || s.act()) {
			continue
		}
		if s.act() || s.resume() {
			continue
		}
		if s.done() {
			return
		}
		s.quiet()
	}
}

func (s *sim) done() bool {
	for _, sl := range s.loops {
		if sl.where != simDone {
			return false
		}
	}
	return true
}

// resume lets one loop go on that can; false: none can.
func (s *sim) resume() bool {
	first := s.rng.IntN(len(s.loops))
	for i := range s.loops {
		sl := s.loops[(first+i)%len(s.loops)]
		switch sl.where {
		case simDone:
			continue
		case simWaiting:
			if !s.k.due(s.k.files[sl.l.ep]) && (sl.until < 0 || s.k.clock < sl.until) {
				if !s.k.chance(s.plan.faults.eintr / 8) {
					continue
				}
				sl.interrupted = true
			}
		}
		if sl.where != simMidTurn {
			s.checkTurn(sl)
		}
		sl.resume()
		if sl.where == simDone || sl.where == simPolling {
			s.checkTurn(sl)
		}
		return true
	}
	return false
}

// events has the planned things happen, and moves a jumpy clock.
func (s *sim) events() {
	for _, e := range []struct {
		at int
		do func()
	}{{s.plan.close, s.closeListeners}, {s.plan.drain, s.drain}, {s.plan.abort, s.abort}} {
		if s.turns == e.at {
			e.do()
		}
	}
	s.untold()
	if !s.plan.jumpy || s.rng.IntN(30) > 0 {
		return
	}
	for _, sl := range s.loops {
		if sl.where == simMidTurn {
			return
		}
	}
	jump := s.rng.Int64N(50e6)
	switch s.rng.IntN(40) {
	case 0:
		jump = s.rng.Int64N(20e9)
	case 1:
		jump = s.rng.Int64N(20 * 3600e9)
	}
	s.k.clock += jump
}

// act lets one thing happen outside of the loops; false: there is nothing.
func (s *sim) act() bool {
	n := len(s.peers) + 9
	first := s.rng.IntN(n)
	for i := range n {
		at := (first + i) % n
		did := false
		switch at - len(s.peers) {
		case 0:
			did = s.actPost()
		case 1:
			did = s.actWorker()
		case 2:
			did = s.actStepped()
		case 3:
			did = s.actDial()
		case 4:
			did = s.actRelieve()
		case 5:
			did = s.actListener()
		case 6:
			did = s.actShutdown()
		case 7:
			did = s.actPipe()
		case 8:
			did = s.actReady()
		default:
			p := s.peers[at]
			did = !p.came && s.come(p) || p.act()
		}
		if did {
			return true
		}
	}
	return false
}

// take removes a random element.
func take[T any](s *sim, list *[]T) T {
	i := s.rng.IntN(len(*list))
	v := (*list)[i]
	*list = append((*list)[:i], (*list)[i+1:]...)
	return v
}

// come has a peer connect, or be dialled.
func (s *sim) come(p *simPeer) bool {
	if s.rng.IntN(4) > 0 {
		return false
	}
	p.came = true
	switch {
	case p.streamed:
		s.comeAsStream(p)
	case p.lis == nil:
		s.startDial(p)
	case p.lis.closed:
		p.gotReset = true
	default:
		if p.lis.flights > 0 {
			p.filter = s.newFilter(true, p.lis.flights)
		}
		p.out = p.header()
		p.lis.file.queue = append(p.lis.file.queue, p.sock)
		s.k.notify(p.lis.file, 1) // EPOLLIN
	}
	return true
}

// post has something done by another goroutine, at some time.
func (s *sim) post(p *simProto, run, drop func()) {
	s.posts = append(s.posts, simPost{p: p, run: run, drop: drop})
}

func (s *sim) actPost() bool {
	if len(s.posts) == 0 {
		return false
	}
	if f := take(s, &s.posts); f.p == nil {
		f.run()
	} else if f.p.c.Post(f.run) != nil {
		f.drop()
	}
	return true
}

// actWorker makes a handshake step, as a worker does.
func (s *sim) actWorker() bool {
	w := s.r.workers
	if w.head == len(w.queue) {
		return false
	}
	i := w.head + s.rng.IntN(len(w.queue)-w.head)
	w.queue[w.head], w.queue[i] = w.queue[i], w.queue[w.head]
	c := w.pop()
	done, err := step(c.filter)
	s.steps = append(s.steps, simStep{c, done, err})
	return true
}

// actStepped tells a loop of a step that has ended, in any order.
func (s *sim) actStepped() bool {
	if len(s.steps) == 0 {
		return false
	}
	st := take(s, &s.steps)
	if f, ok := st.c.filter.(*simFilter); ok {
		f.stepped()
	}
	if st.c.loop.push(task{kind: taskStep, c: st.c, done: st.done, err: st.err}) != nil {
		st.c.filter.Release()
	}
	return true
}

// actDial completes a connect.
func (s *sim) actDial() bool {
	if len(s.dials) == 0 {
		return false
	}
	k := take(s, &s.dials)
	switch {
	case k.closed:
	case k.peer.dial == dialRefused:
		k.peer.gotReset = true
		k.breakDown([...]unixErrno{errRefused, errUnreachable, errTimedOut}[s.rng.IntN(3)])
	default:
		k.established()
	}
	return true
}

// actRelieve gives a socket memory again.
func (s *sim) actRelieve() bool {
	if len(s.squeezed) == 0 || s.rng.IntN(4) > 0 && !s.stalled() {
		return false
	}
	k := take(s, &s.squeezed)
	k.squeezed = false
	k.relieved()
	return true
}

// stalled says whether no loop could go on by itself.
func (s *sim) stalled() bool {
	for _, sl := range s.loops {
		if sl.where != simWaiting && sl.where != simDone || sl.where == simWaiting && s.k.due(s.k.files[sl.l.ep]) {
			return false
		}
	}
	return true
}

// actListener closes the socket of a listener that every loop has left.
func (s *sim) actListener() bool {
	for _, sl := range s.lis {
		if sl.closing == 0 && !sl.closed {
			sl.closed = true
			s.checkQueue(sl)
			s.k.close(sl.lis.fd)
			return true
		}
	}
	return false
}

func (s *sim) closeListeners() {
	for _, sl := range s.lis {
		if sl.closing >= 0 {
			continue
		}
		sl.closing = len(s.r.loops)
		sl.lis.left.Store(s.rng.IntN(8) == 0)
		s.rush(sl)
		left := func() { sl.closing-- }
		for _, l := range s.r.loops {
			if l.push(task{kind: taskClose, lis: sl.lis, fn: left}) != nil {
				left()
			}
		}
	}
}

// drain begins Shutdown: first the listeners close. abort is the end of its context.
func (s *sim) drain() {
	s.closeListeners()
	s.wantDrain = true
}

func (s *sim) abort() {
	s.drain()
	s.wantAbort = true
}

// actShutdown goes on with Shutdown as far as it can.
func (s *sim) actShutdown() bool {
	for _, sl := range s.lis {
		if sl.closing != 0 {
			return false
		}
	}
	switch {
	case s.wantDrain && !s.drained:
		s.drained = true
		for i, l := range s.r.loops {
			if err := l.push(task{kind: taskDrain}); err != nil {
				s.failf("loop %d has stopped before it was drained", i)
			}
		}
	case s.wantAbort && !s.aborted:
		s.aborted = true
		for _, l := range s.r.loops {
			_ = l.push(task{kind: taskAbort})
		}
	default:
		return false
	}
	return true
}

// actPipe makes a pipe of two connections, a few times.
func (s *sim) actPipe() bool {
	if !s.plan.pipes || s.piped == 4 || len(s.protos) < 2 || s.rng.IntN(8) > 0 {
		return false
	}
	s.piped++
	a, b := s.protos[s.rng.IntN(len(s.protos))], s.protos[s.rng.IntN(len(s.protos))]
	return a != b && Pipe(a.c, b.c) == nil
}

// quiet is called when only time can change anything.
func (s *sim) quiet() {
	s.checkOwed()
	s.checkRest()
	until := int64(-1)
	for _, sl := range s.loops {
		if sl.where == simWaiting && sl.until >= 0 && (until < 0 || sl.until < until) {
			until = sl.until
		}
	}
	switch {
	case until >= 0 && (s.wantAbort || s.rng.IntN(8) > 0):
		s.k.clock = max(s.k.clock, until)
	case !s.wantDrain:
		s.drain()
	case !s.wantAbort:
		s.abort()
	default:
		s.failf("stuck: nothing can happen any more")
	}
}
