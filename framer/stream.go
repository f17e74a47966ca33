package framer

import "fmt"

// streamState is the direction of a stream that the peer sends in. The rules (oap1.md): START opens it, frames with the
// same corr_id carry it on, END closes it. A corr_id is forgotten, and may be used again, when the peer's direction has
// ended and, for a request, ours has as well.
type streamState uint8

const (
	// streamOpen: START has come, END has not.
	streamOpen streamState = iota
	// streamEnded: END has come, our own direction goes on; further frames are errors.
	streamEnded
	// streamFailed: a rule was broken and answered; frames up to END are dropped without a second answer.
	streamFailed
)

// stream is what is known of one corr_id.
type stream struct {
	in       streamState
	outOpen  bool // we have sent START and not END
	outEnded bool // we have ended our direction
}

// streams is the table of a session. Single frames (no START, no END, or a response that is only END) leave no entry, so
// most sessions never allocate it.
type streams struct {
	m   map[uint64]stream
	max int
}

// received applies the rules to a frame of the peer. deliver says whether the handler gets it. An error is for the
// frame's corr_id; the connection survives, unless the peer has broken so many streams that remembering them would
// exceed the bound.
func (t *streams) received(h *Header) (deliver bool, err *Error) {
	if len(t.m) == 0 && h.Flags&(FlagStart|FlagEnd) == 0 {
		return true, nil
	}
	s, known := t.m[h.CorrID]
	end := h.Flags&FlagEnd != 0
	switch {
	case !known && h.Flags&FlagStart == 0:
		if end && h.Flags&FlagResp == 0 {
			return false, t.broken(h, "END without START")
		}
		return true, nil
	case !known:
		return t.started(h, end)
	case s.in == streamFailed:
		if end {
			delete(t.m, h.CorrID)
		}
		return false, nil
	case h.Flags&FlagStart != 0:
		t.fail(h.CorrID, s, end)
		return false, t.broken(h, "START on a stream that has started")
	case s.in == streamEnded:
		return false, t.broken(h, "frame after END")
	case end:
		t.ended(h, s)
	}
	return true, nil
}

// started opens a stream.
func (t *streams) started(h *Header, end bool) (bool, *Error) {
	full := len(t.m) >= t.max
	if end && h.Flags&(FlagResp|FlagEvent) != 0 {
		return true, nil // opened and closed, and nothing of ours to wait for
	}
	if t.m == nil {
		t.m = make(map[uint64]stream)
	}
	if !full {
		t.m[h.CorrID] = stream{in: streamOpen}
		if end {
			t.ended(h, t.m[h.CorrID])
		}
		return true, nil
	}
	why := &Error{Why: InflightExceeded, CorrID: h.CorrID, Detail: fmt.Sprintf("more than %d streams open", t.max)}
	if len(t.m) >= 2*t.max { // refused ones are remembered too, but not without bound
		why.Why, why.Code = BadFrame, InflightExceeded.Status()
		return false, why
	}
	if !end {
		t.m[h.CorrID] = stream{in: streamFailed}
	}
	return false, why
}

// ended notes the peer's END.
func (t *streams) ended(h *Header, s stream) {
	if s.outEnded || h.Flags&(FlagResp|FlagEvent) != 0 {
		delete(t.m, h.CorrID)
		return
	}
	s.in = streamEnded
	t.m[h.CorrID] = s
}

// fail gives a stream up; its frames are dropped up to END.
func (t *streams) fail(id uint64, s stream, end bool) {
	if end {
		delete(t.m, id)
		return
	}
	s.in = streamFailed
	t.m[id] = s
}

func (t *streams) broken(h *Header, what string) *Error {
	return &Error{Why: BadFrame, Code: 400, CorrID: h.CorrID, Detail: what}
}

// sent notes a frame of ours: a response without START, or with END, ends our direction.
func (t *streams) sent(h *Header) {
	if len(t.m) == 0 || h.Flags&FlagResp == 0 {
		return
	}
	s, known := t.m[h.CorrID]
	if !known {
		return
	}
	switch {
	case h.Flags&FlagEnd != 0 || h.Flags&FlagStart == 0 && !s.outOpen:
		s.outOpen, s.outEnded = false, true
		if s.in == streamEnded {
			delete(t.m, h.CorrID)
			return
		}
	case h.Flags&FlagStart != 0:
		s.outOpen = true
	}
	t.m[h.CorrID] = s
}
