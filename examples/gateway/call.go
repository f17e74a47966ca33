package main

import (
	lists "container/list"
	"encoding/json"
	"errors"
	"time"

	"github.com/ron-transport/ron-transport/framer"
)

// callState is the life of a request that is forwarded; it only moves downwards, but for a request that is tried again.
type callState uint8

const (
	// callQueued: frames of it wait until the upstream can take them.
	callQueued callState = iota
	// callSent: all frames that have come are written, the answer's end is awaited.
	callSent
	// callPausing: the last try has failed, the next one is due in a moment.
	callPausing
	// callDone: answered, or nobody waits for it any more. Final.
	callDone
)

// call is a request, a stream of requests, or an event, on its way to an upstream. Loop only.
type call struct {
	d      *down
	head   framer.Header // of the first frame
	corr   uint64        // the client's corr_id
	policy *policy
	to     *route

	state    callState
	link     *link          // while it is queued or sent
	place    *lists.Element // in one of the link's queues; nil: in none
	up       uint64
	wait     []*framer.Retained // frames not written yet, in order
	first    *framer.Retained   // of a single request: kept until it is answered, for another try; holds a permit
	begun    bool               // some of it has been written, in this try
	unknown  bool               // an upstream that was lost, or has answered 503, may have executed it
	stream   bool               // more frames may come
	heard    uint64             // link.heard when it was sent
	open     bool               // the upstream has its START, and not its END
	answered bool               // some of the answer has come
	over     bool               // its end has come, and may wait for the client to read
	tries    int
	due      time.Time   // when the timer counts
	timer    *time.Timer // of forward.timeout: for an answer, or the next frame of a stream in either direction; nil for an event
}

// take begins to forward a frame.
func (sh *shard) take(d *down, f *framer.Frame, p *policy, to *route) {
	request, stream := f.Flags&framer.FlagReq != 0, f.Flags&(framer.FlagStart|framer.FlagEnd) == framer.FlagStart
	if request {
		sh.g.counts.requests.Add(1)
	}
	if framer.HeaderLen+len(f.Cap)+len(f.Payload) > framer.MaxFrame {
		sh.refuse(request, failRefused)
		d.refuse(f, &framer.Error{Why: framer.DecompressOverflow, Detail: "the payload inflates to more than a frame holds, and is forwarded inflated"})
		return
	}
	if stream && !request { // nothing would say when one that is never ended is over: it would hold its permit of the upstream for ever
		d.refuse(f, &framer.Error{Why: framer.BadFrame, Detail: "streams of events are not forwarded; single events and streams of requests are"})
		return
	}
	if l := sh.links[sh.choose(to, 0)]; l != nil && l.full(p) {
		sh.refuse(request, failQueue)
		d.refuse(f, &framer.Error{Why: framer.OverCapacity, Detail: "too many requests wait for an upstream", RetryAfter: firstBackoff})
		return
	}
	r := f.Retain()
	if r == nil {
		return
	}
	c := &call{d: d, head: f.Header, corr: f.CorrID, policy: p, to: to, stream: stream}
	c.wait = append(c.wait, r)
	if request {
		if !c.stream {
			c.first = r
		}
		d.calls[c.corr] = c
		c.due = time.Now().Add(p.Timeout)
		c.timer = time.AfterFunc(p.Timeout, func() { _ = d.s.Post(func(*framer.Session) { c.timeout() }) })
	}
	sh.start(c)
}

// extend begins forward.timeout anew: something of a stream has come.
func (c *call) extend() {
	c.due = time.Now().Add(c.policy.Timeout)
	c.timer.Reset(c.policy.Timeout)
}

// timeout is called when forward.timeout is over, or was when something came after all.
func (c *call) timeout() {
	switch {
	case c.state == callDone || c.over || time.Now().Before(c.due):
	case c.d.holds(c): // the client is late, not the upstream; its own deadlines end that
		c.extend()
	default:
		if c.link != nil {
			c.link.silence(c)
		}
		c.giveUp(failTimeout, "the upstream has not answered in time")
	}
}

// refuse counts a request that the gateway answers with an error itself; events are not answered.
func (sh *shard) refuse(request bool, why failure) {
	if request {
		sh.g.counts.failures[why].Add(1)
	}
}

// more takes a further frame of a stream.
func (c *call) more(f *framer.Frame) {
	if !c.stream { // its corr_id is in use
		c.d.refuse(f, &framer.Error{Why: framer.BadFrame, Detail: "corr_id is in use"})
		return
	}
	if f.Flags&framer.FlagEnd != 0 {
		c.stream = false
	}
	if c.over {
		return // the upstream wants no more of it
	}
	c.extend()
	r := f.Retain()
	if r == nil {
		return
	}
	c.wait = append(c.wait, r)
	if c.state == callSent {
		c.state = callQueued
		c.link.enqueue(c)
	}
	if c.link != nil {
		c.link.pump()
	}
}

// write sends the frames that wait; false when the upstream can take no more just now.
func (c *call) write(l *link) bool {
	for len(c.wait) > 0 {
		if !l.s.Writable() {
			return false
		}
		r := c.wait[0]
		f := framer.Frame{Header: r.Header, Cap: r.Cap, Payload: r.Payload}
		f.CorrID, f.Flags = c.up, f.Flags&^framer.FlagAckReq // the client's ACK is its own framer's business
		if err := l.s.Send(&f); err != nil {
			if e, ok := errors.AsType[*framer.Error](err); ok {
				c.fail(failRefused, &framer.Error{Why: e.Why, Detail: "the upstream does not accept the frame: " + e.Detail})
			} else {
				c.giveUp(failLost, "the upstream's connection is closing")
			}
			return true
		}
		c.begun = true
		switch f.Flags & (framer.FlagReq | framer.FlagStart | framer.FlagEnd) {
		case framer.FlagReq | framer.FlagStart:
			c.open = true
		case framer.FlagReq | framer.FlagEnd:
			c.open = false
		}
		c.wait = c.wait[1:]
		if r != c.first {
			r.Release()
		}
	}
	return true
}

// endStream closes the stream at an upstream that has its START and will not get its END from the client: there it would count as open for
// as long as the connection lasts. An upstream that has answered gets the END. One that has not must not take what it has for all there
// is, and the protocol has no word for giving up; but a second START breaks a stream, which is then dropped.
func (c *call) endStream(l *link) {
	if !c.open || l.s == nil {
		return
	}
	c.open = false
	f := framer.Frame{Header: framer.Header{Flags: framer.FlagReq | framer.FlagEnd, AppProtoID: c.head.AppProtoID, Tenant: c.head.Tenant, CorrID: c.up}}
	if !c.over {
		f.Flags |= framer.FlagStart
	}
	_ = l.s.Send(&f) // fails when the connection closes, and the stream with it
}

// answer passes a frame of the upstream's on.
func (c *call) answer(f *framer.Frame) {
	last := f.Flags&framer.FlagEnd != 0 || !c.answered && f.Flags&framer.FlagStart == 0
	if f.Code == 503 && last && !c.answered && c.again() {
		if none := notExecuted(f); none || c.policy.again[c.head.AppProtoID] {
			c.unknown = c.unknown || !none
			c.link.forget(c)
			c.pause()
			return
		}
	}
	l := c.link
	c.answered, c.over = true, last
	if last {
		c.timer.Stop()
		l.forget(c)
	} else {
		c.extend()
	}
	d := c.d
	if len(d.held) == 0 && d.s.Writable() {
		d.send(c, f)
		if last {
			c.finish()
		}
		return
	}
	d.hold(c, l, f, last)
}

// again says whether another try is possible. Whether it is allowed is another question: what may have been executed is not sent again.
func (c *call) again() bool {
	return c.first != nil && c.tries < c.policy.Attempts
}

// notExecuted says of a response with the status 503 whether the request has had no effect for certain. That takes a reason with which an
// OAP/1 node refuses before it does anything; a service that answers 503 of its own accord may have done half of what was asked.
func notExecuted(f *framer.Frame) bool {
	var body struct {
		Reason string `json:"reason"`
	}
	if len(f.Payload) > maxRefusal || json.Unmarshal(f.Payload, &body) != nil {
		return false
	}
	switch why, _ := framer.ParseReason(body.Reason); why {
	case framer.NotReady, framer.OverCapacity, framer.TorBootstrap, framer.ShuttingDown:
		return true
	}
	return false
}

// lost is called when the link has ended before the answer.
func (c *call) lost() {
	c.link = nil
	switch {
	case c.state == callDone:
	case c.head.Flags&framer.FlagReq == 0:
		c.finish() // an event: nobody is told
	case c.again() && !c.answered && (!c.begun || c.policy.again[c.head.AppProtoID]):
		c.unknown = c.unknown || c.begun
		c.pause()
	default:
		c.giveUp(failLost, "the upstream was lost")
	}
}

// pause has the call tried again in a moment.
func (c *call) pause() {
	c.state, c.begun, c.wait = callPausing, false, append(c.wait[:0], c.first)
	after := min(firstBackoff<<min(c.tries, 10), lastBackoff)
	time.AfterFunc(after, func() {
		_ = c.d.s.Post(func(*framer.Session) {
			if c.state == callPausing {
				c.d.shard.g.counts.retries.Add(1)
				c.d.shard.start(c)
			}
		})
	})
}

// giveUp ends a call that no upstream has answered. Whoever sees the error must know whether the request may be sent again: 503, not_ready
// means that no upstream has had any of it, 500, io that one has, and what has become of it is not known.
func (c *call) giveUp(why failure, detail string) {
	e := &framer.Error{Why: framer.NotReady, Detail: detail, RetryAfter: lastBackoff}
	if c.begun || c.unknown {
		e = &framer.Error{Why: framer.IO, Detail: detail + "; the request may have been executed"}
	}
	c.fail(why, e)
}

// fail answers the client with an error, and ends the call.
func (c *call) fail(why failure, e *framer.Error) {
	if c.state == callDone {
		return
	}
	if c.head.Flags&framer.FlagReq != 0 && !c.d.gone {
		c.d.shard.refuse(true, why)
		c.d.forgetHeld(c)
		_ = c.d.s.SendError(&c.head, e) // END of a response that may have begun
	}
	c.finish()
}

// finish ends the call: the permits of its frames go back to the client's connection.
func (c *call) finish() {
	if c.state == callDone {
		return
	}
	if c.link != nil {
		c.link.forget(c)
	}
	c.state = callDone
	if c.timer != nil {
		c.timer.Stop()
	}
	for _, r := range c.wait {
		r.Release()
	}
	if c.first != nil {
		c.first.Release()
	}
	c.wait, c.first = nil, nil
	if c.d.calls[c.corr] == c {
		delete(c.d.calls, c.corr)
		if c.stream {
			c.d.ended.add(c.corr)
		}
	}
}

// drop ends the call of a client that has gone.
func (c *call) drop() { c.finish() }
