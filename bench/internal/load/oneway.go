package load

import (
	"fmt"

	"github.com/ron-transport/ron-transport/bench/internal/wire"
	"github.com/ron-transport/ron-transport/framer"
)

// A one-way load is events, as many as the output takes, and a question at the end: how many have arrived, and what is their
// sum. Back-pressure is the transport's alone.

// stream writes events until the output is full.
func (c *conn) stream(now int64) {
	inside := c.g.inside(now)
	var n uint64
	for c.state == connReady && c.t.Writable() {
		t := c.g.tmpls.of(c.idx, c.next)
		t.patch(c.idx, c.next)
		if c.request(t, c.next) != nil {
			break
		}
		c.tally.Add(t.payload())
		if inside {
			c.g.counted(c.idx, c.next, now)
		}
		c.next++
		c.want++ // it gets no reply
		n++
	}
	c.g.answered.Add(n) // as far as the progress line is concerned
	if inside {
		c.g.writtenInside += n
	}
}

// askTallies asks for the tally on every connection, once the window is over. Controller.
func (f *Fleet) askTallies() {
	for _, g := range f.groups {
		f.post(g, func() {
			for _, c := range g.conns {
				c.ask()
			}
		})
	}
}

// ask writes the question behind all events. It may go beyond the mark of a full output.
func (c *conn) ask() {
	if c.state != connReady {
		return
	}
	if err := c.request(newQuestion(), c.next); err != nil {
		return
	}
	c.next++
	c.inflight.push(c.f.end.Load() - 1) // it belongs to the load, so the drain waits for it
	c.link.use()
}

// newQuestion is the request for a tally; its payload makes room for the answer.
func newQuestion() *template {
	t := newTemplate(wire.TallyLen, false)
	t.head.AppProtoID = wire.TallyProto
	return t
}

// compare judges the server's tally.
func (c *conn) compare(f *framer.Frame) bool {
	e := &c.g.errs
	got, err := wire.ReadTally(f.Payload)
	if err != nil || f.AppProtoID != wire.TallyProto {
		e.WrongPayload++
		c.f.note(fmt.Errorf("not a tally: %d bytes of protocol %#x", len(f.Payload), f.AppProtoID))
		return false
	}
	c.g.confirmed += got.Frames
	c.confirmed = true
	switch {
	case got.Frames < c.tally.Frames:
		e.Unanswered += c.tally.Frames - got.Frames
		c.f.note(fmt.Errorf("%d of %d events have arrived", got.Frames, c.tally.Frames))
	case got != c.tally:
		e.WrongPayload++
		c.f.note(fmt.Errorf("the server's tally is %+v, not %+v", got, c.tally))
	}
	return got == c.tally
}
