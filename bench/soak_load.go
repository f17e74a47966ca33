package main

import (
	"context"
	"crypto/tls"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/sched"
	"github.com/ron-transport/ron-transport/framer"
)

// The load of a transport has lanes, which are replaced in turn: each is a group of connections that is opened, loaded, drained and
// closed, again and again. So every connection is checked from its first request to the last answer, and the rate follows the governor.
const (
	lanes    = 4
	torShare = 4 // over Tor there is one lane, with a quarter of the connections
	// torPart of the rate goes over Tor, torRate at the most: each frame costs six relays' work, and 64 KiB are 130 cells for each.
	torPart = 0.02
	torRate = 100
	// torLife is the least life of a connection over Tor: a dial through six relays takes a second.
	torLife = 15 * time.Second
	// minP99 is how many latencies a p99 is of at the least.
	minP99 = 100
	// lanePause is the pause after a lane that could not be opened.
	lanePause = 500 * time.Millisecond
	// lastOpen is how long connections that are being opened when the run ends may still take: cut off, the server would see them fail.
	// It is longer than the library's clients wait for a server; what takes longer over Tor is cut off all the same.
	lastOpen = 30 * time.Second
)

// lane is a group of connections of one transport.
type lane struct {
	srv    *serverProcess
	index  int
	of     int  // lanes of the transport
	resume bool // a session
	load   load.Config
	life   time.Duration
}

// lanesOf are those of a server.
func (s *soakRun) lanesOf(srv *serverProcess) []lane {
	mix, _ := load.ParseMix(s.o.Mix) // validated
	c := load.Config{Conns: max(s.o.Conns/lanes, 1), Mix: mix}
	switch srv.transport {
	case load.Tor:
		c.Conns = max(s.o.Conns/torShare, 1)
		return []lane{{srv: srv, of: 1, load: c, life: max(torLife, s.o.Life)}}
	case load.QUIC:
		c.Streams = min(defaultStreams, c.Conns)
		c.Conns /= c.Streams
		c.MaxInflight = framer.MaxInflight
	}
	var out []lane
	for i := range lanes {
		out = append(out, lane{srv: srv, index: i, of: lanes, resume: i%2 == 1, load: c, life: s.o.Life})
	}
	return out
}

// keep replaces the connections of a lane until ctx ends.
func (s *soakRun) keep(ctx context.Context, l lane) {
	rng := rand.New(rand.NewPCG(s.o.Seed, uint64(len(s.state.Starts))<<32|uint64(s.number(l))))
	for first := true; ctx.Err() == nil; first = false {
		life := time.Duration(float64(l.life) * (0.8 + 0.4*rng.Float64()))
		if first { // so that lanes end in turn
			life = life * time.Duration(l.index+1) / time.Duration(l.of)
		}
		l.load.Window = max(life, load.MinWindow)
		l.load.RPS = s.share(l)
		p, err := s.generation(ctx, l)
		s.count(l, p, err)
		if err != nil {
			_ = sched.Sleep(ctx, lanePause) // the loop looks at ctx
		}
	}
}

// number tells lanes apart.
func (s *soakRun) number(l lane) int {
	for i, srv := range s.servers.list {
		if srv == l.srv {
			return i*lanes + l.index
		}
	}
	return 0
}

// share is the lane's of the rate that the governor wants now.
func (s *soakRun) share(l lane) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	rate := s.state.Rate
	if l.srv.transport == load.Tor {
		return int(max(min(rate*torPart, torRate), 1))
	}
	return int(max(rate/2/float64(l.of), 1))
}

// generation is one life of a lane's connections. One that has begun when ctx ends is opened and closed in good order; what the end of the
// run has kept from that, after lastOpen, is errCutOff.
func (s *soakRun) generation(ctx context.Context, l lane) (*report.Phase, error) {
	nc := load.NetConfig{Transport: l.srv.transport, Addr: l.srv.addr, ServerName: "127.0.0.1", Loops: 1, HighWater: l.load.HighWater()}
	nc.QUIC.KeepAlive = clientKeepAlive // at a low rate a stream is silent for long
	if l.srv.transport == load.Tor {
		nc.Tor, nc.Circuits = s.servers.tor, l.load.Conns
	} else {
		nc.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ServerName: nc.ServerName, RootCAs: s.servers.roots()}
		if l.resume {
			nc.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		}
	}
	n, err := load.NewNet(nc)
	if err != nil {
		return nil, err
	}
	opening, cancel := outlive(ctx, lastOpen)
	defer cancel()
	fleet, err := load.NewFleet(l.load, n)
	if err == nil {
		err = fleet.Open(opening, l.resume, nil)
	}
	if err != nil {
		if opening.Err() != nil {
			err = errCutOff
		}
		_ = n.Close() // the first error says more
		return nil, err
	}
	loaded, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	stop := func() bool { return false }
	p, err := fleet.Measure(loaded, load.Hooks{Begin: func() { stop = context.AfterFunc(ctx, cut) }, End: func() {}})
	stop()
	return p, err
}

// errCutOff is a lane that the end of the run has kept from beginning: it has done nothing, and nothing is wrong with it.
var errCutOff = errors.New("the run ended before the connections were open")

// outlive is a context that ends so long after ctx, or with cancel.
func outlive(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	later, end := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		_ = sched.Sleep(later, by) // whichever comes first
		end()
	})
	return later, func() { stop(); end() }
}

// count adds what a generation has done.
func (s *soakRun) count(l lane, p *report.Phase, err error) {
	if errors.Is(err, errCutOff) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	into := s.state.Load(l.srv.transport)
	into.Fleets++
	if err != nil {
		into.Errors.DialFailed += uint64(l.load.Conns)
		into.Note(err.Error())
		return
	}
	into.Conns += p.Session.Established
	if l.resume {
		into.Asked += p.Session.Established
	}
	into.Resumed += p.Session.Resumed
	into.Frames += p.Frames
	into.Errors.Add(&p.Errors)
	into.Note(p.Errors.FirstError)
	if p.Latency.Count >= minP99 {
		s.state.Add(l.srv.transport+" p99", "ms", s.elapsed(), p.Latency.P99)
	}
}

// ended adds what a server says in the end of the connections that it saw fail, and how many of them the chaos has made. Both are of
// the same segment: of one that a crash has ended neither is known.
func (s *soakRun) ended(transport string, r *report.Server) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.state.Load(transport)
	l.ServerFailed += r.Failed
	l.Harmed += s.harmed[transport]
	for why, n := range r.Rejected {
		if l.ServerReasons == nil {
			l.ServerReasons = make(map[string]uint64)
		}
		l.ServerReasons[why] += n
	}
}
