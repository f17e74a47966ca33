package framer

import (
	"encoding/json"
	"fmt"
	"sync/atomic"

	"github.com/ron-transport/ron-transport/pool"
)

// Send encodes f and queues it. It is strict: what the peer's decoder, or its negotiated max_frame, would refuse is
// refused with an *Error. f's slices are copied. Loop only.
func (s *Session) Send(f *Frame) error {
	if err := f.check(s.peerMax); err != nil {
		return err
	}
	s.streams.sent(&f.Header)
	return s.write(&f.Header, f.Cap, f.Payload)
}

// write queues a frame whose header is complete.
func (s *Session) write(h *Header, capability, payload []byte) error {
	n := int(h.Len)
	if n <= reserveFrame {
		b := s.t.Reserve(n)
		if b == nil {
			return ErrClosed
		}
		PutHeader(b, h)
		copy(b[HeaderLen+copy(b[HeaderLen:], capability):], payload)
		return nil
	}
	b := s.t.Reserve(HeaderLen + len(capability))
	if b == nil {
		return ErrClosed
	}
	PutHeader(b, h)
	copy(b[HeaderLen:], capability)
	return s.t.Write(payload)
}

// respond queues a response to the frame with header h.
func (s *Session) respond(h *Header, flags Flags, code uint16, payload []byte) error {
	if HeaderLen+len(payload) > int(s.peerMax) {
		return tooLarge(h.CorrID, len(payload), s.peerMax)
	}
	r := Header{Len: uint32(HeaderLen + len(payload)), Ver: Version, Flags: flags, Code: code, AppProtoID: h.AppProtoID, Tenant: h.Tenant, CorrID: h.CorrID}
	s.streams.sent(&r)
	return s.write(&r, nil, payload)
}

func tooLarge(corr uint64, payload int, limit uint32) error {
	return &Error{Why: FrameTooLarge, CorrID: corr, Detail: fmt.Sprintf("length %d is above the cap of %d", HeaderLen+payload, limit)}
}

// Reply answers f, the frame in OnFrame, with RESP|END. A payload that is f.Payload or a prefix of it is sent from where
// it is, without a copy: the header is written in front of it, over f's own header and, if there is one, the end of
// f.Cap. A frame can be replied to once; ErrReplied otherwise. Loop only.
func (s *Session) Reply(f *Frame, code uint16, payload []byte) error {
	if f.s != s || f.replied {
		return ErrReplied
	}
	n := len(payload)
	if n == 0 || n > len(f.Payload) || f.inflated || &payload[0] != &f.Payload[0] {
		f.replied = true
		return s.respond(&f.Header, FlagResp|FlagEnd, code, payload)
	}
	if HeaderLen+n > int(s.peerMax) {
		return tooLarge(f.CorrID, n, s.peerMax)
	}
	f.replied = true
	start := len(f.raw) - len(f.Payload) - HeaderLen
	out := f.raw[start : start+HeaderLen+n]
	replyHeader(out, &f.Header, FlagResp|FlagEnd, code, n)
	if len(s.streams.m) > 0 {
		s.streams.sent(&Header{Flags: FlagResp | FlagEnd, CorrID: f.CorrID})
	}
	return s.t.WriteInPlace(out)
}

// ReplyReserve answers f, the frame in OnFrame, with RESP|END and n bytes of payload, which it returns to be filled
// before the next call on the session: the payload is written where it is sent from. nil when the session is closing, f
// was replied to, or n is above 64 KiB less a header. Loop only.
func (s *Session) ReplyReserve(f *Frame, code uint16, n int) []byte {
	if f.s != s || f.replied || n < 0 || HeaderLen+n > min(reserveFrame, int(s.peerMax)) {
		return nil
	}
	b := s.t.Reserve(HeaderLen + n)
	if b == nil {
		return nil
	}
	f.replied = true
	replyHeader(b, &f.Header, FlagResp|FlagEnd, code, n)
	if len(s.streams.m) > 0 {
		s.streams.sent(&Header{Flags: FlagResp | FlagEnd, CorrID: f.CorrID})
	}
	return b[HeaderLen:]
}

// errorBody is the payload of an error reply (oap1.md).
type errorBody struct {
	Code         uint16 `json:"code"`
	Reason       string `json:"reason"`
	Message      string `json:"message"`
	RetryAfterMS int64  `json:"retry_after_ms,omitempty"`
}

// SendError answers the frame with header h (its corr_id, app_proto_id and tenant) with RESP|END, e's status and a JSON
// body, and counts e's reason. Loop only.
func (s *Session) SendError(h *Header, e *Error) error {
	s.e.reject(e.Why)
	detail := e.Detail
	if len(detail) > maxDetail {
		detail = detail[:maxDetail]
	}
	b := s.e.scratch.Get()
	defer s.e.scratch.Put(b)
	if err := json.NewEncoder(b).Encode(errorBody{Code: e.Status(), Reason: e.Reason(), Message: detail, RetryAfterMS: e.RetryAfter.Milliseconds()}); err != nil {
		return fmt.Errorf("oap: error body: %w", err)
	}
	return s.respond(h, FlagResp|FlagEnd, e.Status(), b.B[:len(b.B)-1]) // Encode ends with a newline
}

// parseError reads the peer's error reply; a body that is no error body still gives the status.
func parseError(f *Frame) *Error {
	var body errorBody
	e := &Error{Code: f.Code, CorrID: f.CorrID, Remote: true}
	if len(f.Payload) > maxHello || json.Unmarshal(f.Payload, &body) != nil {
		e.Why, e.Detail = IO, "no error body"
		return e
	}
	var ok bool
	if e.Why, ok = ParseReason(body.Reason); !ok {
		e.Why = IO
	}
	e.Detail = body.Message
	if ms := body.RetryAfterMS; ms > 0 {
		e.RetryAfter = milliseconds(ms)
	}
	return e
}

// Retained is a frame kept past its callback. It holds one of the connection's in-flight permits until Release, Reply or
// ReplyError; Header, Cap and Payload are valid until then. Any goroutine, one at a time.
type Retained struct {
	Header
	Cap     []byte
	Payload []byte

	s    *Session
	buf  *pool.Buf // behind Payload; nil when that is a copy
	done atomic.Bool
}

// Retain keeps f past OnFrame. Small and decompressed payloads are copied; a larger one keeps its input buffer alive. The
// ACK that f asks for is sent on release. nil when f is not the frame in OnFrame. Loop only.
func (f *Frame) Retain() *Retained {
	s := f.s
	if s == nil {
		return nil
	}
	r := &Retained{Header: f.Header, s: s, Cap: append([]byte(nil), f.Cap...), Payload: f.Payload}
	if !f.inflated && len(f.Payload) > retainCopy {
		r.buf = s.t.RetainInput()
	}
	if r.buf == nil {
		r.Payload = append([]byte(nil), f.Payload...)
	}
	s.inflight++
	s.ackLater = true
	if s.inflight >= int32(s.e.o.MaxInflight) {
		s.t.PauseRead()
	}
	return r
}

// Release gives the frame and its permit back. Calls after the first of Release, Reply and ReplyError do nothing. Any
// goroutine.
func (r *Retained) Release() {
	if r.take() {
		_ = r.s.t.Post(r.returned) // fails when the connection is gone, and its permits with it
	}
}

// Reply answers the frame with RESP|END, copies payload, and releases. ErrReplied when it was released before; an error
// of the loop's queue otherwise. The reply itself is queued on the loop: if the connection is closing, it is dropped.
// Any goroutine.
func (r *Retained) Reply(code uint16, payload []byte) error {
	if !r.take() {
		return ErrReplied
	}
	if HeaderLen+len(payload) > MaxFrame {
		_ = r.s.t.Post(r.returned)
		return tooLarge(r.CorrID, len(payload), MaxFrame)
	}
	p := append([]byte(nil), payload...)
	r.free()
	return r.s.t.Post(func() {
		if err := r.s.respond(&r.Header, FlagResp|FlagEnd, code, p); err != nil && err != ErrClosed {
			_ = r.s.SendError(&r.Header, &Error{Why: FrameTooLarge, Code: 500, Detail: err.Error()})
		}
		r.returned()
	})
}

// ReplyError answers the frame with an error reply, and releases. Any goroutine.
func (r *Retained) ReplyError(e *Error) error {
	if !r.take() {
		return ErrReplied
	}
	return r.s.t.Post(func() {
		_ = r.s.SendError(&r.Header, e)
		r.returned()
	})
}

// take makes the caller the one who ends r.
func (r *Retained) take() bool { return r.done.CompareAndSwap(false, true) }

// free gives the input buffer back. By the goroutine that ended r, once.
func (r *Retained) free() {
	if r.buf != nil {
		r.buf.Release()
		r.buf = nil
	}
	r.Payload = nil
}

// returned gives the permit back, on the loop.
func (r *Retained) returned() {
	r.free()
	s := r.s
	if r.Flags&FlagAckReq != 0 {
		s.ack(&r.Header)
	}
	s.inflight--
	if s.inflight == int32(s.e.o.MaxInflight)-1 {
		s.t.ResumeRead()
	}
	if s.eof && s.inflight == 0 && !s.closing {
		s.Close(nil)
	}
}
