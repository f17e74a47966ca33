package reactor

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"
)

// simPlan is what a seed chooses before anything runs.
type simPlan struct {
	cfg      Config
	faults   simFaults
	limit    int  // descriptors
	secure   bool // real TLS instead of simFilter
	jumpy    bool // the clock moves at any time, else only when nothing else can happen
	timeouts bool
	panics   bool
	refuse   bool // a peer that hangs is possible
	large    bool
	pipes    bool
	budget   int // Config.BufferBudget, also below what it allows; 0: the default
	accepted int
	dialled  int
	streams  int
	close    int // step at which listeners close; -1: at the end
	drain    int // step at which the reactor is drained; likewise
	abort    int
}

// newSimPlan chooses. Most schedules are small: what goes wrong goes wrong with few bytes as well.
func newSimPlan(rng *rand.Rand, seed uint64) simPlan {
	p := simPlan{limit: 1 << 20, close: -1, drain: -1, abort: -1}
	one := func(n int) bool { return rng.IntN(n) == 0 }
	p.panics = one(8)
	p.large = one(40) || p.panics && one(6)
	p.accepted, p.dialled, p.streams = 1+rng.IntN(3), rng.IntN(3), rng.IntN(4)
	p.cfg = Config{Loops: 1, Poison: true, ReadBuffer: minReadBuffer, WriteCoalesce: 1 << (10 + rng.IntN(5)), HandshakeWorkers: 1,
		HandshakeTimeout: -1, FrameTimeout: -1, IdleTimeout: -1, WriteTimeout: -1, LingerTimeout: -1, DrainTimeout: -1, ShutdownGrace: -1,
		MinRate: -1, MaxConns: -1}
	if one(3) {
		p.cfg.Loops = 2
	}
	p.cfg.HighWater = 1 << (6 + rng.IntN(8))
	if p.large {
		p.cfg.HighWater = 1 << (12 + rng.IntN(7))
		p.cfg.ReadBuffer = minReadBuffer << rng.IntN(4)
		if one(2) {
			p.budget = 1 << (15 + rng.IntN(6))
		}
	}
	p.cfg.LowWater = 1 + rng.IntN(p.cfg.HighWater)
	p.cfg.HardCap = p.cfg.HighWater + 1 + rng.IntN(p.cfg.HighWater)
	if !one(5) {
		p.cfg.HardCap += 4 << 20
	}
	p.faults = simFaults{preempt: 15 * rng.IntN(5), reorder: 100 * rng.IntN(3), stale: 50 * rng.IntN(3)}
	switch rng.IntN(3) {
	case 0: // no faults
	case 1:
		p.faults.eintr, p.faults.short, p.faults.nobufs = rng.IntN(60), rng.IntN(400), rng.IntN(60)
	case 2:
		p.faults.eintr, p.faults.short, p.faults.nobufs = rng.IntN(300), rng.IntN(900), rng.IntN(200)
		p.faults.accept, p.faults.add, p.faults.spare, p.faults.reset = rng.IntN(300), rng.IntN(60), rng.IntN(500), rng.IntN(15)
	}
	if seed%2 == 0 {
		p.faults.spurious = rng.IntN(200)
	}
	if one(8) {
		p.limit = 3 + 3*p.cfg.Loops + 1 + rng.IntN(4)
	}
	p.refuse = one(3)
	if one(3) {
		p.limit1(rng)
	}
	if one(2) {
		p.timeouts = true
		p.jumpy = one(2)
		for _, d := range []*time.Duration{&p.cfg.HandshakeTimeout, &p.cfg.FrameTimeout, &p.cfg.IdleTimeout, &p.cfg.WriteTimeout, &p.cfg.LingerTimeout, &p.cfg.DrainTimeout} {
			if !one(4) {
				*d = minTimeout + time.Duration(rng.IntN(1<<(10+rng.IntN(8))))*time.Millisecond
			}
		}
	} else if one(2) {
		p.cfg.LingerTimeout = time.Second
	}
	for _, at := range []*int{&p.close, &p.drain, &p.abort} {
		if one(6) {
			*at = rng.IntN(400)
		}
	}
	return p
}

// limit1 turns some of the limits on, low enough to be met.
func (p *simPlan) limit1(rng *rand.Rand) {
	one := func(n int) bool { return rng.IntN(n) == 0 }
	for _, v := range []*int{&p.cfg.MaxConns, &p.cfg.MaxConnsPerPeer, &p.cfg.MaxHandshakesPerPeer, &p.cfg.PeerConnRate} {
		if one(3) {
			*v = 1 + rng.IntN(4)
		}
	}
	for _, v := range []*int{&p.cfg.ConnReadRate, &p.cfg.ConnWriteRate, &p.cfg.PeerReadRate, &p.cfg.PeerWriteRate} {
		if one(4) {
			*v = 1 << (10 + rng.IntN(10))
		}
	}
	if one(3) {
		p.cfg.MinRate = 1 + rng.IntN(1000)
	}
	if one(2) {
		p.cfg.ShutdownGrace = time.Duration(1+rng.IntN(10)) * time.Second
	}
	p.pipes = one(2)
}

// newPeer makes one peer with its plan.
func (s *sim) newPeer(id int) *simPeer {
	rng := s.rng
	one := func(n int) bool { return rng.IntN(n) == 0 }
	p := &simPeer{s: s, id: id, addr: [4]byte{10, 0, byte(rng.IntN(2)), byte(1 + rng.IntN(2))}, end: simEnd(rng.IntN(3)), piece: 1 + rng.IntN(14), muteAt: -1, deafAt: -1,
		window: 1 + rng.IntN(12), kept: map[uint32]bool{}}
	if one(4) {
		p.end = simEnd(rng.IntN(int(numSimEnds)))
	}
	p.early = p.end == endGarbage && one(2)
	if s.plan.refuse && one(2) {
		if one(2) {
			p.muteAt = rng.IntN(1 << rng.IntN(12))
		}
		if one(2) {
			p.deafAt = rng.IntN(1 << rng.IntN(12))
		}
	}
	most := 1 + rng.IntN(9)
	bits := 1 + rng.IntN(11)
	if s.plan.large {
		bits = 19
		p.piece = 8 + rng.IntN(12)
	}
	for range rng.IntN(12) {
		f := simFrame{op: byte(rng.IntN(4)), count: 1, size: rng.IntN(1 << rng.IntN(bits))}
		switch {
		case f.op == opBulk:
			f.count = 1 + rng.IntN(most)
		case f.op == opEcho && one(5):
			f.count = 0
		}
		p.frames = append(p.frames, f)
	}
	if n := len(p.frames); n > 0 && one(4) {
		last := &p.frames[n-1]
		last.op, last.count = byte(opClose+rng.IntN(3)), 1
		if last.op == opAbort {
			last.count = 0
		}
	}
	if one(10) {
		p.sendFirst(rng)
	}
	p.sock = &simSocket{k: s.k, peer: p, recvRoom: 1 << (5 + rng.IntN(8)), sendRoom: 1 << (5 + rng.IntN(8)), stalledAt: -1, relievedAt: -1, drainFrom: -1}
	if s.plan.large {
		p.sock.recvRoom, p.sock.sendRoom = 1<<(12+rng.IntN(8)), 1<<(12+rng.IntN(8))
	}
	if one(3) {
		p.piece = 14
		p.sock.sendRoom = 1 << 18
	}
	return p
}

// sendFirst makes p a peer that reads nothing before it has sent everything, also what comes after its last frame.
func (p *simPeer) sendFirst(rng *rand.Rand) {
	p.sendsFirst, p.window, p.tail = true, 1<<20, 1<<(6+rng.IntN(9))
	p.frames = append(p.frames[:min(len(p.frames), rng.IntN(5))], simFrame{op: opClose, count: 1, size: 1 + rng.IntN(2000)})
}

// newFilter makes one side of a filter: a fake, or TLS.
func (s *sim) newFilter(client bool, flights int) Filter {
	if s.plan.secure {
		if client {
			return s.tls.client.Conn("127.0.0.1")
		}
		return s.tls.server.Conn()
	}
	f := &simFilter{s: s, client: client, flights: flights, failAt: -1, panicAt: -1}
	if s.rng.IntN(2) == 0 {
		f.most = 1 + s.rng.IntN(3)
	}
	return f
}

// ourFilter is newFilter for the loops' side, with trouble in it now and then.
func (s *sim) ourFilter(client bool, flights int) Filter {
	f := s.newFilter(client, flights)
	if fake, ok := f.(*simFilter); ok {
		switch s.rng.IntN(30) {
		case 0:
			fake.failAt = s.rng.IntN(3)
		case 1:
			if s.plan.panics {
				fake.panicAt = s.rng.IntN(3)
			}
		}
	}
	s.filters = append(s.filters, f)
	return f
}

// newProto makes the protocol of c, whose peer is p.
func (s *sim) newProto(c *Conn, p *simPeer) Protocol {
	pr := &simProto{s: s, c: c, peer: p, rude: s.rng.IntN(20) == 0, stayedAt: -1}
	switch {
	case s.plan.panics && s.plan.large && s.rng.IntN(2) == 0:
		pr.boom = boomOwn
	case s.plan.panics && s.rng.IntN(3) == 0:
		pr.boom = []string{"OnOpen", "OnData", "OnEOF", "OnDrained", "OnGoodbye", "OnClose"}[s.rng.IntN(6)]
	}
	if p.proto != nil {
		s.failf("peer %d: a second protocol for one connection", p.id)
	}
	p.proto = pr
	pr.wrote, pr.hello = p.greeting, p.greeting > 0
	s.protos = append(s.protos, pr)
	if s.rng.IntN(2) == 0 {
		return &simLeaver{pr}
	}
	return pr
}

// simListener is a listening socket that all loops accept from.
type simListener struct {
	s       *sim
	lis     *Listener
	file    *simFile
	flights int // 0: plain
	closing int // loops that have not left yet; -1: open
	closed  bool
}

// listen makes a listener and gives it to the loops.
func (s *sim) listen() *simListener {
	sl := &simListener{s: s, file: &simFile{kind: simListen}, closing: -1}
	if s.plan.secure {
		sl.flights = 1
	} else if s.rng.IntN(2) == 0 {
		sl.flights = 1 + s.rng.IntN(3)
	}
	fd := s.k.install(sl.file)
	sl.lis = &Listener{r: s.r, fd: fd, addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, opts: connOptions{onError: s.onError, protocol: func(c *Conn) Protocol {
		if s.plan.panics && s.rng.IntN(10) == 0 {
			s.thrown++
			panic(simPanic{})
		}
		return s.newProto(c, s.peerOf(c))
	}}}
	if s.rng.IntN(4) == 0 {
		sl.lis.proxy = &ProxyConfig{Trusted: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/24")}, Direct: s.rng.IntN(2) == 0}
	}
	if s.rng.IntN(2) == 0 {
		sl.lis.opts.refuse = func(c *Conn, cause error) {
			if cause == nil || c.proto != nil {
				s.failf("Refuse: cause %v, protocol %v", cause, c.proto != nil)
			}
			_ = c.Write(appendSimFrame(nil, s.peerOf(c).id, opBye, 0, 0, 5))
		}
	}
	if sl.flights > 0 {
		sl.lis.opts.filter = func() Filter {
			if s.plan.panics && s.rng.IntN(10) == 0 {
				s.thrown++
				panic(simPanic{})
			}
			return s.ourFilter(false, sl.flights)
		}
	}
	for _, l := range s.r.loops {
		if err := l.push(task{kind: taskListen, lis: sl.lis}); err != nil {
			s.failf("push: %v", err)
		}
	}
	return sl
}

// rush has the peers of sl that have not come yet connect at the last moment.
func (s *sim) rush(sl *simListener) {
	for _, p := range s.peers {
		if p.lis == sl && !p.came && s.rng.IntN(2) == 0 {
			s.come(p)
		}
	}
	for _, k := range sl.file.queue {
		k.mustCome = !sl.lis.left.Load()
	}
}

// header is what a balancer puts in front of p's stream.
func (p *simPeer) header() []byte {
	if p.lis.lis.proxy == nil || p.addr[2] != 0 {
		return nil
	}
	if p.s.rng.IntN(2) == 0 {
		return []byte(proxyV2 + "\x20\x00\x00\x00") // LOCAL
	}
	h := fmt.Appendf(nil, "PROXY TCP4 192.0.2.%d 198.51.100.1 %d 443\r\n", 1+p.s.rng.IntN(2), 1000+p.id)
	if p.s.rng.IntN(8) == 0 {
		h[p.s.rng.IntN(len(h)-2)] = '!'
		p.broke = true
	}
	return h
}

// startDial dials p, as Reactor.Dial does with a socket of the real kernel.
func (s *sim) startDial(p *simPeer) {
	p.came = true
	p.dial = simDial(0)
	if s.rng.IntN(2) == 0 {
		p.dial = simDial(s.rng.IntN(6))
	}
	f := &simFile{kind: simConnect, sock: p.sock}
	fd := s.k.install(f)
	if fd < 0 {
		p.gotReset = true
		return
	}
	p.sock.file, p.sock.connecting = f, true
	l := s.r.lightest(s.r.loops[0])
	l.load.Add(1)
	c := &Conn{loop: l, fd: int32(fd), slot: -1, opts: &connOptions{}, wtick: -1, dialled: true}
	if flights := s.flights(); flights > 0 {
		c.filter = s.ourFilter(true, flights)
		p.filter = s.newFilter(false, flights)
	}
	c.proto = s.newProto(c, p)
	if err := l.push(task{kind: taskDial, c: c}); err != nil {
		l.load.Add(-1)
		s.k.close(fd)
		if c.filter != nil {
			c.filter.Release()
		}
		p.proto.closed++ // never told
	}
}

func (s *sim) flights() int {
	if s.plan.secure {
		return 1
	}
	return max(0, s.rng.IntN(6)-2)
}

// onError is told of accepted connections without a protocol.
func (s *sim) onError(_ net.Addr, err error) {
	if err == nil {
		s.failf("OnError without an error")
	}
	var e *PanicError
	if errors.As(err, &e) && s.thrown == 0 {
		s.failf("OnError: %v", err)
	}
}
