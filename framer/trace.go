package framer

import (
	"context"
	"time"
)

// Trace holds hooks that are called where a request begins and ends, for spans of OpenTelemetry or the like; any may be nil. Without
// hooks nothing is paid for them. They must not block. What they return for the beginning is given to the end as it is.
//
// OAP/1 has no field for a trace context: a capability is somebody's right, not a place for ours, and a frame that carries more than
// the format has would be refused by its other implementations. Who wants to carry a traceparent across puts it into the payload of his
// application, where Ask can write it and Request read it; see the example. Without, tenant and corr_id tell the two ends' spans.
type Trace struct {
	// Request is called before Handler.OnFrame gets a frame with REQ, HELLO excepted; of a request that comes as a stream, for each. f is
	// as in OnFrame. Loop only.
	Request func(s *Session, f *Frame) (span any)
	// Done is called when the frame is answered or released: once for each call of Request. status is that of the answer: 0 when OnFrame
	// has neither answered nor retained it, when it was released without an answer, and when the answer was dropped because the session is
	// closing. held is the time by the loop's clock, 0 for what is
	// done in OnFrame. h is valid until the call returns. On the loop, or on the goroutine that has released the frame when the loop could
	// not be reached.
	Done func(s *Session, h *Header, span any, status uint16, held time.Duration)
	// Ask is called when Session.Ask begins. It may change f, as to put a traceparent into its payload. On the goroutine that asks.
	Ask func(ctx context.Context, s *Session, f *Frame) (span any)
	// Answered is called when Session.Ask returns what is given, once for each call of Ask. On the goroutine that asks.
	Answered func(span any, f *Frame, err error)
}

// counting is what a session counts with: its loop's meter and, of a session that is traced, which has one of its own, the request in
// OnFrame.
type counting struct {
	*meter
	span   any
	status uint16 // of ReplyError
}

// noteStatus keeps the status of ReplyError for the span of the request in OnFrame. Without hooks sessions share c.
func (c *counting) noteStatus(tr *Trace, status uint16) {
	if tr != nil {
		c.status = status
	}
}

// request gives f to the handler between the hooks.
func (s *Session) request(tr *Trace, f *Frame) {
	h := f.Header
	c := s.m
	c.span, c.status = nil, 0
	if tr.Request != nil {
		c.span = tr.Request(s, f)
	}
	defer func() {
		span := c.span
		c.span = nil
		if s.ackLater || tr.Done == nil { // retained: it is not done
			return
		}
		status := c.status
		if f.code != unanswered {
			status = uint16(f.code)
		}
		tr.Done(s, &h, span, status, 0)
	}()
	s.e.h.OnFrame(s, f)
}

// traced ends the span of a retained frame.
func (r *Retained) traced(status uint16, held time.Duration) {
	if tr := r.s.e.o.Trace; tr != nil && tr.Done != nil && r.Flags&FlagReq != 0 {
		tr.Done(r.s, &r.Header, r.span, status, held)
	}
}
