package main

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
)

// policy is what a reload can change about forwarding. It does not change: a reload makes another.
type policy struct {
	routes *routes
	ForwardConfig
	again   map[uint16]bool // Idempotent
	streams int             // that a client may have open
}

func newPolicy(c *Config) (*policy, error) {
	r, err := parseRoutes(c.Forward.Routes)
	if err != nil {
		return nil, err
	}
	p := &policy{routes: r, ForwardConfig: c.Forward, again: map[uint16]bool{}, streams: c.Frames.MaxStreams}
	for _, id := range p.Idempotent {
		p.again[id] = true
	}
	return p, nil
}

// gateway is the handler of all clients' connections, on every transport: it echoes frames, or forwards them.
type gateway struct {
	log    *slog.Logger
	loops  *reactor.Reactor
	policy atomic.Pointer[policy]
	shards []*shard // by loop
	dial   *dialer
	away   sync.Map // of target: upstreams that could not be reached when last tried, with the error
	counts counters
}

func newGateway(log *slog.Logger, loops *reactor.Reactor, p *policy, d *dialer) *gateway {
	g := &gateway{log: log, loops: loops, dial: d}
	g.policy.Store(p)
	for i := range loops.Loops() {
		g.shards = append(g.shards, &shard{g: g, loop: i, links: map[target]*link{}, sick: map[target]*health{}})
	}
	return g
}

// down is a client's session as the gateway sees it. Loop only.
type down struct {
	s       *framer.Session
	shard   *shard
	calls   map[uint64]*call // by the client's corr_id
	echoing streams          // that are being echoed
	held    []reply          // answers that wait for the client to read
	ended   streams          // that were answered before their END
	sent    int              // calls that an upstream has, and has not answered
	permits int              // of upstreams' connections, that held has
	copied  int              // bytes of held without a permit
	gone    bool
}

// reply is an answer that waits.
type reply struct {
	c    *call
	l    *link            // it came from
	r    *framer.Retained // holds a permit of that connection: with all of them out, it is not read; nil: f is a copy
	f    framer.Frame
	last bool
}

// OnOpen implements framer.Handler.
func (g *gateway) OnOpen(s *framer.Session) {
	conn := s.Transport().(*reactor.Conn)
	p := g.policy.Load()
	d := &down{s: s, shard: g.shards[conn.Loop()], calls: map[uint64]*call{}, echoing: streams{limit: 2 * p.streams}, ended: streams{limit: 2 * p.streams}}
	s.SetUserData(d)
	d.shard.downs++
	d.shard.near = conn // also when it has closed: all that is asked of it is the loop
	d.shard.warm(p)
}

// OnClose implements framer.Handler.
func (g *gateway) OnClose(s *framer.Session, cause error) {
	d, ok := s.UserData().(*down)
	if !ok {
		return
	}
	d.gone = true
	for _, h := range d.held {
		d.release(h)
	}
	d.held = nil
	for _, c := range d.calls {
		c.drop()
	}
	d.shard.downs--
	d.shard.settle()
	if cause != nil {
		g.log.Debug("connection ended", "remote", s.RemoteAddr().String(), "reason", reasonOf(cause), "err", cause)
	}
}

// OnDrained implements framer.Drainer: the client has read, so that the next answers can go.
func (g *gateway) OnDrained(s *framer.Session) {
	if d, ok := s.UserData().(*down); ok {
		d.flush()
	}
}

// OnFrame implements framer.Handler.
func (g *gateway) OnFrame(s *framer.Session, f *framer.Frame) {
	d := s.UserData().(*down)
	if f.Flags&framer.FlagResp != 0 {
		return // we have asked clients nothing
	}
	if d.ended.take(f.CorrID, f.Flags&framer.FlagStart != 0, f.Flags&framer.FlagEnd != 0) {
		return
	}
	if c := d.calls[f.CorrID]; c != nil && f.Flags&framer.FlagReq != 0 {
		c.more(f)
		return
	}
	p := g.policy.Load()
	switch to := p.routes.find(f.AppProtoID); {
	case to == nil:
		d.refuse(f, &framer.Error{Why: framer.BadFrame, Code: 404, Detail: "no route for this app_proto_id"})
	case len(to.targets) == 0:
		d.echo(f)
	default:
		d.shard.take(d, f, p, to)
	}
}

// refuse answers a frame with an error, and a stream with it: the rest of its frames is dropped.
func (d *down) refuse(f *framer.Frame, e *framer.Error) {
	_ = d.s.ReplyError(f, e)
	if f.Flags&(framer.FlagStart|framer.FlagEnd) == framer.FlagStart {
		d.ended.add(f.CorrID)
	}
}

// echo answers a request with its own payload: a stream frame by frame. Events are not answered.
func (d *down) echo(f *framer.Frame) {
	start, end := f.Flags&framer.FlagStart != 0, f.Flags&framer.FlagEnd != 0
	if f.Flags&framer.FlagReq == 0 {
		return
	}
	open := d.echoing.take(f.CorrID, start, end)
	if start && !end {
		d.echoing.add(f.CorrID)
	}
	if !open && start == end {
		_ = d.s.Reply(f, 200, f.Payload)
		return
	}
	r := framer.Frame{Header: f.Header, Payload: f.Payload}
	r.Flags, r.Code = framer.FlagResp|f.Flags&(framer.FlagStart|framer.FlagEnd), 200
	if err := d.s.Send(&r); err != nil { // a decompressed payload, larger than a frame
		_ = d.s.SendError(&f.Header, &framer.Error{Why: framer.FrameTooLarge, Detail: "the answer would be larger than a frame"})
	}
}

// hold keeps an answer until the client reads. A few are kept with a permit of the upstream's connection, which others use as well. With
// more of them the connection becomes this client's: calls that are not sent yet go to another one, and as soon as nobody else waits for
// an answer from it, it is read no faster than the client reads. Until then what comes is copied, up to a bound that ends the answer.
func (d *down) hold(c *call, l *link, f *framer.Frame, last bool) {
	h := reply{c: c, l: l, last: last}
	if d.permits >= framer.MaxInflight/clientShare || l.held >= framer.MaxInflight/2 {
		l.leave()
		if l.shared(d) {
			n := len(f.Cap) + len(f.Payload)
			if !d.copies(n) {
				c.fail(failSlow, &framer.Error{Why: framer.SlowPeer, Detail: "the answer comes faster than it is read, and other clients' answers are behind it"})
				return
			}
			h.f = framer.Frame{Header: f.Header, Cap: append([]byte(nil), f.Cap...), Payload: append([]byte(nil), f.Payload...)}
			d.held = append(d.held, h)
			return
		}
	}
	if h.r = f.Retain(); h.r != nil {
		h.f = framer.Frame{Header: h.r.Header, Cap: h.r.Cap, Payload: h.r.Payload}
		d.permits++
		l.held++
		d.held = append(d.held, h)
	}
}

// copies takes room for n more bytes without a permit; false when there is none.
func (d *down) copies(n int) bool {
	if d.copied+n > heldCopies || d.shard.copied+n > loopCopies {
		return false
	}
	d.copied += n
	d.shard.copied += n
	return true
}

// release gives back what a held answer takes.
func (d *down) release(h reply) {
	if h.r == nil {
		n := len(h.f.Cap) + len(h.f.Payload)
		d.copied -= n
		d.shard.copied -= n
		return
	}
	h.r.Release()
	d.permits--
	h.l.held--
}

// holds says whether answers of c wait.
func (d *down) holds(c *call) bool {
	for _, h := range d.held {
		if h.c == c {
			return true
		}
	}
	return false
}

// flush sends the answers that wait, as far as the client reads.
func (d *down) flush() {
	for len(d.held) > 0 && d.s.Writable() {
		h := d.held[0]
		d.held[0] = reply{}
		d.held = d.held[1:]
		d.send(h.c, &h.f)
		d.release(h)
		if h.last {
			h.c.finish()
		}
	}
	if len(d.held) == 0 {
		for _, l := range d.shard.all {
			l.later() // requests of a client that does not read wait there
		}
	}
}

// forgetHeld gives up the answers of c that wait.
func (d *down) forgetHeld(c *call) {
	keep := d.held[:0]
	for _, h := range d.held {
		if h.c == c {
			d.release(h)
			continue
		}
		keep = append(keep, h)
	}
	d.held = keep
}

// send passes an answer on to the client, under the client's own corr_id.
func (d *down) send(c *call, f *framer.Frame) {
	r := framer.Frame{Header: f.Header, Cap: f.Cap, Payload: f.Payload}
	r.CorrID, r.Flags = c.corr, f.Flags&^framer.FlagAckReq
	if err := d.s.Send(&r); err != nil { // larger than the client takes, or the session closes
		c.fail(failRefused, &framer.Error{Why: framer.FrameTooLarge, Code: 500, Detail: "the answer is larger than the client accepts"})
	}
}

// reasonOf is the canon's word for an error; "io" without one.
func reasonOf(err error) string {
	var w interface{ Reason() string }
	if errors.As(err, &w) {
		return w.Reason()
	}
	return reactor.ReasonIO
}
