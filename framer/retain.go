package framer

import (
	"sync/atomic"

	"github.com/ron-transport/ron-transport/pool"
)

// Retained is a frame kept past its callback. It holds in-flight permits of its connection until Release, Reply or
// ReplyError; Cap and Payload are valid until then. Any goroutine, one at a time.
type Retained struct {
	Header
	Cap     []byte
	Payload []byte

	s       *Session
	buf     *pool.Buf // behind Payload; nil when that is a copy
	span    any       // of Options.Trace
	at      int64     // the loop's clock when it was retained
	permits int32
	timed   bool // there is such a clock
	ack     bool // an ACK is asked for
	done    atomic.Bool
}

// Retain keeps f past OnFrame, and with it the right to answer it: Session.Reply refuses it from now on. Small and
// decompressed payloads are copied; a larger one keeps its input buffer alive. It takes a permit, or one per MaxFrame
// begun of a payload that was decompressed, so that the memory behind a connection's permits is bounded by what its peer
// could send uncompressed. With MaxInflight permits out the connection is not read: then not even the responses to
// requests of ours arrive. The ACK that f asks for is sent on release. nil when f is not the frame in OnFrame, or has been
// answered or retained. Loop only.
func (f *Frame) Retain() *Retained {
	s := f.s
	if s == nil || f.replied {
		return nil
	}
	f.replied = true
	r := &Retained{Header: f.Header, s: s, Cap: append([]byte(nil), f.Cap...), Payload: f.Payload, ack: f.Flags&FlagAckReq != 0, permits: 1}
	if f.inflated {
		r.permits += int32(max(len(f.Payload)-1, 0) / MaxFrame)
	} else if len(f.Payload) > retainCopy {
		r.buf = s.t.RetainInput()
	}
	if r.buf == nil {
		r.Payload = append([]byte(nil), f.Payload...)
	}
	s.inflight += r.permits
	s.ackLater = true
	r.hold()
	if s.e.o.Trace != nil {
		r.span = s.m.span
	}
	if s.inflight >= int32(s.e.o.MaxInflight) {
		s.t.PauseRead()
	}
	return r
}

// Release gives the frame and its permits back. Calls after the first of Release, Reply and ReplyError do nothing. Any
// goroutine.
func (r *Retained) Release() {
	if r.take() {
		_ = r.give(nil) // without a loop there is nothing to be done
	}
}

// Reply answers the frame with RESP|END, copies payload, and releases. ErrReplied when it was released before. An *Error
// when payload is above MaxPayload, and the error of the transport when the loop cannot be reached (the connection has
// closed, or its loop is overloaded): there is no answer then, but the frame is released all the same. nil means that the
// reply goes to the loop; there it is dropped if the connection is closing, and replaced by a 500 if the peer has
// negotiated a frame cap that it exceeds. Any goroutine.
func (r *Retained) Reply(code uint16, payload []byte) error {
	if !r.take() {
		return ErrReplied
	}
	if len(payload) > MaxPayload {
		_ = r.give(nil)
		return tooLarge(r.CorrID, len(payload), MaxFrame)
	}
	p := append([]byte(nil), payload...) // it may be a part of r.Payload
	return r.give(func() uint16 {
		s := r.s
		if HeaderLen+len(p) > int(s.peerMax) {
			return sent(500, s.SendError(&r.Header, &Error{Why: FrameTooLarge, Code: 500, Detail: "the reply is larger than the peer accepts"}))
		}
		s.ended(r.CorrID)
		return sent(code, s.respond(&r.Header, FlagResp|FlagEnd, code, p))
	})
}

// ReplyError answers the frame with an error reply, and releases. Errors are those of Reply. e must not be changed
// afterwards. Any goroutine.
func (r *Retained) ReplyError(e *Error) error {
	if !r.take() {
		return ErrReplied
	}
	return r.give(func() uint16 {
		return sent(e.Status(), r.s.SendError(&r.Header, e))
	})
}

// sent is the status of an answer, 0 of one that the session did not take because it is closing.
func sent(code uint16, err error) uint16 {
	if err != nil {
		return 0
	}
	return code
}

// take makes the caller the one who ends r.
func (r *Retained) take() bool {
	if !r.done.CompareAndSwap(false, true) {
		return false
	}
	r.s.m.inflight.Add(-1)
	return true
}

// give frees the memory behind r at once and has the loop send the answer and the ACK and take the permits back. Permits
// that the loop's queue refuses wait for the loop to come by. By the goroutine that ended r, once.
func (r *Retained) give(answer func() (status uint16)) error {
	if r.buf != nil {
		r.buf.Release()
		r.buf = nil
	}
	r.Cap, r.Payload = nil, nil
	s := r.s
	err := s.t.Post(func() {
		status := uint16(0)
		if answer != nil {
			status = answer()
		}
		r.settle(status)
		if r.ack {
			s.ack(&r.Header)
		}
		s.permitsBack(r.permits)
		s.reclaim()
	})
	if err != nil {
		s.lost.Add(r.permits)
		r.traced(0, 0)
	}
	return err
}
