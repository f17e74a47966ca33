package load

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/wire"
	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/quic"
	"github.com/ron-transport/ron-transport/tls"
)

// connState is where a connection of the load is.
type connState uint8

const (
	connDialing  connState = iota // not ready yet: TCP or the handshake is under way
	connGreeting                  // open; its first request, perhaps in 0-RTT packets, is not answered yet
	connReady                     // may carry frames
	connLeaving                   // the server has announced its shutdown: no new request, answers still come
	connRetiring                  // closed by the fleet itself: its end is no failure
	connEnded                     // closed, by whatever cause; it never comes back
)

// transport is what a connection of the load needs of a reactor.Conn.
type transport interface {
	Write(p []byte) error
	Writable() bool
	Post(fn func()) error
	Close(cause error)
}

// requester is a transport that patches requests itself, because it writes them later, on another goroutine.
type requester interface {
	request(t *template, seq uint64) error
}

// conn is one connection of the load, or one stream where there are streams: the protocol side of a reactor connection. Loop
// only.
type conn struct {
	f    *Fleet
	g    *group
	t    transport
	idx  int
	tls  *tls.Conn // nil on plain TCP and QUIC
	link *link     // the connection it is a stream of; nil where there are no streams

	state    connState
	dec      framer.Decoder
	frame    framer.Frame
	inflight queue
	next     uint64               // sequence number of the next request
	base     uint64               // sequence number of the timetable's request 0
	want     uint64               // sequence number of the next reply
	heir     atomic.Pointer[conn] // takes over when the server shuts down; set by the loop, for the controller
	from     *conn                // whose heir this is, until it is open; nil for others
	probe    chan<- bool          // while set, the next reply (or the end) is reported here and not measured

	refusal   uint16     // the last status that was no success
	waiting   bool       // for a permit of its link
	tally     wire.Tally // one way: what was written
	confirmed bool       // one way: the server's tally is the same
	held      bool       // what is due waits for room in the output, or for a permit: not for the client
	denied    uint64     // the last request that had to wait for a permit
	cold      bool       // it carries one request, due at start
	start     int64
}

func newConn(f *Fleet, idx int) *conn {
	c := &conn{f: f, idx: idx, dec: framer.NewDecoder(framer.MaxFrame), next: 1, want: 1}
	c.g = f.groups[c.slot()%len(f.groups)]
	return c
}

// slot is the number of its connection: itself, or the one it is a stream of.
func (c *conn) slot() int {
	if c.extra() {
		return c.f.cfg.Conns
	}
	return c.idx % c.f.cfg.Conns
}

// OnOpen is called by the reactor when the transport is ready.
func (c *conn) OnOpen() {
	if c.cold {
		c.askOnce()
		return
	}
	if c.f.cfg.Early && c.from == nil && !c.extra() {
		c.greet()
		return
	}
	c.state = connReady
	if c.from != nil {
		c.inherit()
		return
	}
	c.join()
}

// join makes c one of the load's.
func (c *conn) join() {
	if !c.extra() {
		c.g.conns = append(c.g.conns, c)
		c.f.live.Add(1)
	}
	c.f.ready(c, nil)
}

// extra says whether the connection is outside the load (see Fleet.Warm).
func (c *conn) extra() bool { return c.idx >= c.f.cfg.lines() }

// OnData is called by the reactor with all plaintext not yet consumed.
func (c *conn) OnData(p []byte) (consumed, need int, err error) {
	now := c.f.now()
	var good uint64
	for {
		n, err := c.dec.Next(p[consumed:], &c.frame)
		if err != nil {
			return consumed, 0, err
		}
		if n == 0 {
			break
		}
		consumed += n
		ok := c.reply(now, &c.frame)
		if ok {
			good++
		}
		c.tell(ok)
	}
	if good > 0 {
		c.g.answered.Add(good)
	}
	switch {
	case c.cold:
		c.served()
	case c.f.cfg.open():
		c.g.pump(now)
	default:
		c.fill(now)
	}
	return consumed, c.dec.Need(), nil
}

// reply accounts for one frame of the server; true when it is the echo that was due.
func (c *conn) reply(now int64, f *framer.Frame) bool {
	e := &c.g.errs
	if f.CorrID == 0 && f.Code == statusUnavailable && f.Flags&framer.FlagResp != 0 {
		c.leave()
		return false
	}
	if f.Code != statusOK {
		c.refusal = f.Code
		if c.g.inside(now) {
			countStatus(e, f.Code)
		}
		if f.CorrID == c.want {
			c.take()
		}
		return false
	}
	if f.CorrID < c.want || f.CorrID >= c.next {
		e.OutOfOrder++ // answered before, or never asked
		return false
	}
	for c.want < f.CorrID {
		e.OutOfOrder++ // overtaken
		c.take()
	}
	start := c.take()
	if c.f.cfg.OneWay && !c.extra() {
		return c.compare(f)
	}
	if f.Flags&framer.FlagResp == 0 || f.AppProtoID != AppProto || !c.g.tmpls.of(c.idx, f.CorrID).matches(f.Payload, c.idx, f.CorrID) {
		e.WrongPayload++
		return false
	}
	// Open loop: a request belongs to the window by its due time, so that a late reply is not lost for the percentiles.
	at := now
	if c.f.cfg.open() {
		at = start
	}
	if c.g.inside(at) {
		c.g.record(c.idx, f.CorrID, time.Duration(now-start), now)
	}
	if s := c.g.slice; s != nil && s.holds(at) {
		s.lat.Record(time.Duration(now - start))
	}
	if c.g.inside(now) {
		c.g.counted(c.idx, f.CorrID, now)
	}
	return true
}

// tell answers a probe.
func (c *conn) tell(ok bool) {
	if c.state == connGreeting {
		c.greeted(ok)
	}
	if c.probe != nil {
		c.probe <- ok // has room for one answer per connection
		c.probe = nil
	}
}

// take removes the oldest request in flight and returns its start.
func (c *conn) take() int64 {
	start, ok := c.inflight.pop()
	if ok {
		c.link.free(1)
	}
	c.want++
	if c.state == connRetiring && c.inflight.n == 0 {
		c.t.Close(nil) // the last answer of a server that shuts down
	}
	return start
}

// leave is called when the server says that it shuts down: a new connection is opened, which takes the timetable over; this
// one waits for the answers it is owed.
func (c *conn) leave() {
	if c.state != connReady || c.extra() || c.cold {
		return
	}
	c.state = connLeaving
	n := newConn(c.f, c.idx)
	n.from = c
	c.f.dial(n)
}

// inherit makes c the connection of its number, in place of one whose server shuts down.
func (c *conn) inherit() {
	old := c.from
	c.from = nil
	c.next, c.base, c.want = old.next, old.base, old.next
	for i, o := range c.g.conns {
		if o == old {
			c.g.conns[i] = c
		}
	}
	old.heir.Store(c)
	c.f.live.Add(1)
	c.g.moved++
	if old.state == connLeaving {
		old.state = connRetiring
		if old.inflight.n == 0 {
			old.t.Close(nil)
		} else {
			c.g.old = append(c.g.old, old)
		}
	}
	c.OnDrained() // what has fallen due meanwhile
}

// fill keeps the closed loop's number of requests in flight, or the output of a one-way load full.
func (c *conn) fill(now int64) {
	if c.f.stage.Load() != stageLoad || now >= c.f.end.Load() {
		return
	}
	if c.f.cfg.OneWay {
		c.stream(now)
		return
	}
	for c.inflight.n < c.f.cfg.Depth && c.state == connReady && c.t.Writable() && c.link.permit(c) {
		if !c.send(now, now) {
			return
		}
	}
}

// catchUp writes the timetable's requests of this connection that are due. A connection that cannot be written now
// catches up when its output has drained; latency counts from the due time all the same.
func (c *conn) catchUp(now int64) {
	end, waited := c.g.limit(), c.held
	c.held = false
	for c.state == connReady {
		due := c.f.due(c.idx, int64(c.next-c.base))
		if due > now || due >= end {
			return
		}
		if !c.t.Writable() {
			c.held = true
			return
		}
		if !c.link.permit(c) {
			if c.held = true; c.denied != c.next && c.g.inside(due) {
				c.g.denied++
			}
			c.denied = c.next
			return
		}
		if !c.send(now, due) {
			return
		}
		if c.g.inside(due) && !waited {
			c.g.late.Record(time.Duration(now - due))
		}
	}
}

// send writes one request; start is when its latency begins.
func (c *conn) send(now, start int64) bool {
	t := c.g.tmpls.of(c.idx, c.next)
	if c.f.cfg.OneWay { // a probe: the load itself has no requests
		t = t.clone()
		t.head.Flags = framer.FlagReq
	}
	if err := c.request(t, c.next); err != nil {
		return false
	}
	c.next++
	c.inflight.push(start)
	c.link.use()
	if c.g.inside(now) {
		c.g.writtenInside++
	}
	return true
}

// request writes request seq, as t has it.
func (c *conn) request(t *template, seq uint64) error {
	if r, ok := c.t.(requester); ok {
		return r.request(t, seq)
	}
	t.patch(c.idx, seq)
	return c.t.Write(t.frame)
}

// OnDrained is called by the reactor when the output can take more.
func (c *conn) OnDrained() {
	now := c.f.now()
	if c.f.stage.Load() != stageLoad {
		return
	}
	if c.f.cfg.open() {
		c.catchUp(now)
	} else {
		c.fill(now)
	}
}

// OnEOF is called by the reactor when the server has ended its side: the load does not go on without replies.
func (c *conn) OnEOF() bool { return false }

// OnGoodbye is called by the reactor before it closes on its own account: a client has nothing to say.
func (c *conn) OnGoodbye(error) {}

// OnClose is called by the reactor once, last.
func (c *conn) OnClose(cause error) {
	was := c.state
	c.state = connEnded
	if c.cold {
		c.over(was, cause)
		return
	}
	if was == connGreeting { // its request goes with it
		c.link.free(c.inflight.n)
		c.inflight = queue{}
	}
	if was == connGreeting && errors.Is(cause, quic.ErrEarlyRejected) {
		c.f.dial(newConn(c.f, c.idx)) // in its place
		return
	}
	if was == connDialing || was == connGreeting {
		c.notOpened(orUnexpected(cause))
		return
	}
	c.tell(was == connRetiring)
	if c.extra() {
		return
	}
	if was == connRetiring && c.inflight.n == 0 {
		c.f.live.Add(-1)
		return
	}
	c.f.live.Add(-1)
	if c.f.stage.Load() != stageDone {
		c.g.errs.ConnLost++
		c.g.errs.Transport5xx += uint64(c.inflight.n)
		c.link.free(c.inflight.n)
		c.inflight = queue{}
		c.f.note(orUnexpected(cause))
	}
}

// notOpened reports a dial that failed.
func (c *conn) notOpened(err error) {
	if c.from == nil {
		c.f.ready(c, err)
		return
	}
	if c.f.stage.Load() != stageDone { // nobody takes over: the timetable of this number stands still
		c.g.errs.DialFailed++
		c.f.note(err)
	}
}
