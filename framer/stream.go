package framer

import "fmt"

// streamState is the direction of a stream that the peer sends in. The rules (oap1.md): START opens it, frames with the
// same corr_id carry it on, END closes it. A corr_id is forgotten, and may be used again, when the peer's direction has
// ended and, for a request, ours has as well.
type streamState uint8

const (
	// streamOpen: START has come, END has not.
	streamOpen streamState = iota
	// streamEnded: END has come, our own direction goes on; every further frame is an error.
	streamEnded
	// streamFailed: a rule was broken, or the stream refused, and answered. Frames up to END are dropped without a second
	// answer, except that each START is answered.
	streamFailed
)

// streamVerdict is what is to be done with a frame.
type streamVerdict uint8

const (
	// streamDeliver: the handler gets it.
	streamDeliver streamVerdict = iota
	// streamDrop: it belongs to a stream that has failed.
	streamDrop
	// streamRefuse: it is answered with an error; the connection survives.
	streamRefuse
	// streamFatal: it is answered with an error, and the connection closes.
	streamFatal
)

// streamKey names a stream: each side numbers its own requests, so that responses, which carry our numbers, are apart.
type streamKey struct {
	corr uint64
	resp bool
}

func keyOf(h *Header) streamKey { return streamKey{h.CorrID, h.Flags&FlagResp != 0} }

// stream is what is known of one.
type stream struct {
	in       streamState
	request  bool // it waits for the END of our response
	outEnded bool // which has been sent
}

// streams is the table of a session. Single frames (no START, no END, or a response that is only END) leave no entry, so
// most sessions never allocate it.
type streams struct {
	m    map[streamKey]stream
	max  int32
	peak int32 // most entries since the table was made
}

// received applies the rules to a frame of the peer. The error comes with streamRefuse and streamFatal. The latter is for
// a peer that has had so many streams refused that remembering them would exceed the bound.
func (t *streams) received(h *Header) (streamVerdict, *Error) {
	k := keyOf(h)
	s, known := t.m[k]
	start, end := h.Flags&FlagStart != 0, h.Flags&FlagEnd != 0
	switch {
	case !known && start:
		return t.started(h, k, end)
	case !known && end && !k.resp:
		return broken(h, "END without START")
	case !known:
		return streamDeliver, nil
	case s.in == streamEnded:
		return broken(h, "frame after END")
	case start:
		t.fail(k, s, end)
		return broken(h, "START on a stream that has started")
	case s.in == streamFailed:
		if end {
			t.forget(k)
		}
		return streamDrop, nil
	case end:
		t.ended(k, s)
	}
	return streamDeliver, nil
}

// started opens a stream.
func (t *streams) started(h *Header, k streamKey, end bool) (streamVerdict, *Error) {
	s := stream{request: !k.resp && h.Flags&FlagReq != 0}
	if end && !s.request {
		return streamDeliver, nil // opened and closed, and nothing of ours to wait for
	}
	if n := len(t.m); n >= int(t.max) {
		why := &Error{Why: InflightExceeded, CorrID: h.CorrID, Detail: fmt.Sprintf("more than %d streams open", t.max)}
		if n >= 2*int(t.max) { // refused ones are remembered too, but not without bound
			why.fatal = true
			return streamFatal, why
		}
		if !end {
			s.in = streamFailed
			t.set(k, s)
		}
		return streamRefuse, why
	}
	if end {
		s.in = streamEnded
	}
	t.set(k, s)
	return streamDeliver, nil
}

// ended notes the peer's END.
func (t *streams) ended(k streamKey, s stream) {
	if s.outEnded || !s.request {
		t.forget(k)
		return
	}
	s.in = streamEnded
	t.m[k] = s
}

// fail gives a stream up; its frames are dropped up to END.
func (t *streams) fail(k streamKey, s stream, end bool) {
	if end {
		t.forget(k)
		return
	}
	s.in = streamFailed
	t.m[k] = s
}

// refused notes that a frame which received let through is answered with an error all the same: the handler never sees
// it, so it must not see the rest of its stream.
func (t *streams) refused(h *Header) {
	k := keyOf(h)
	if s, known := t.m[k]; known {
		t.fail(k, s, s.in == streamEnded)
	}
}

func broken(h *Header, what string) (streamVerdict, *Error) {
	return streamRefuse, &Error{Why: BadFrame, CorrID: h.CorrID, Detail: what}
}

// responded notes the END of a response of ours.
func (t *streams) responded(corr uint64) {
	k := streamKey{corr: corr}
	s, known := t.m[k]
	switch {
	case !known:
	case s.in == streamEnded:
		t.forget(k)
	default:
		s.outEnded = true
		t.m[k] = s
	}
}

func (t *streams) set(k streamKey, s stream) {
	if t.m == nil {
		t.m = make(map[streamKey]stream)
	}
	t.m[k] = s
	t.peak = max(t.peak, int32(len(t.m)))
}

// forget frees a corr_id, and the table of a burst with the last one: a map never shrinks.
func (t *streams) forget(k streamKey) {
	delete(t.m, k)
	if len(t.m) == 0 && t.peak > keepEntries {
		t.m, t.peak = nil, 0
	}
}
