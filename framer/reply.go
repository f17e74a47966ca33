package framer

import (
	"encoding/json"
	"fmt"
	"time"
)

// Send encodes f and queues it. It is strict: what the peer's decoder, or its negotiated max_frame, would refuse is
// refused with an *Error, and so is what must wait for the handshake (see Options.EarlyApps). f's slices are copied. Loop only.
func (s *Session) Send(f *Frame) error {
	if err := f.check(s.peerMax); err != nil {
		return err
	}
	if s.early && f.Flags&FlagResp == 0 {
		if e := s.earlyRefusal(&f.Header); e != nil {
			return e
		}
	}
	if f.Flags&(FlagResp|FlagEnd) == FlagResp|FlagEnd {
		s.ended(f.CorrID)
	}
	err := s.write(&f.Header, f.Cap, f.Payload)
	if err == nil && f.Flags&(FlagResp|FlagEnd) == FlagResp|FlagEnd {
		s.m.responded(f.Code) // a response in many frames counts once, with the status of the last
	}
	return err
}

// ended notes that our response to corr ends.
func (s *Session) ended(corr uint64) {
	if len(s.streams.m) > 0 {
		s.streams.responded(corr)
	}
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

// respond queues a response to the frame with header h, and counts it.
func (s *Session) respond(h *Header, flags Flags, code uint16, payload []byte) error {
	err := s.answer(h, flags, code, payload)
	if err == nil {
		s.m.responded(code)
	}
	return err
}

// answer is respond for what is counted elsewhere, or not at all.
func (s *Session) answer(h *Header, flags Flags, code uint16, payload []byte) error {
	if HeaderLen+len(payload) > int(s.peerMax) {
		return tooLarge(h.CorrID, len(payload), s.peerMax)
	}
	r := Header{Len: uint32(HeaderLen + len(payload)), Ver: Version, Flags: flags, Code: code, AppProtoID: h.AppProtoID, Tenant: h.Tenant, CorrID: h.CorrID}
	return s.write(&r, nil, payload)
}

func tooLarge(corr uint64, payload int, limit uint32) error {
	return &Error{Why: FrameTooLarge, CorrID: corr, Detail: fmt.Sprintf("length %d is above the cap of %d", HeaderLen+payload, limit)}
}

// Reply answers f, the frame in OnFrame, with RESP|END. A payload that is f.Payload or a prefix of it is sent from where
// it is, without a copy: the header is written in front of it, over f's own header and, if there is one, the end of
// f.Cap; neither may be used afterwards, nor the payload changed. A frame is answered once: ErrReplied if it has been, or
// was retained, or is not in OnFrame. A payload that is too large for the peer is refused with an *Error, and f may still
// be answered. Loop only.
func (s *Session) Reply(f *Frame, code uint16, payload []byte) error {
	if f.s != s || f.replied {
		return ErrReplied
	}
	n := len(payload)
	if HeaderLen+n > int(s.peerMax) {
		return tooLarge(f.CorrID, n, s.peerMax)
	}
	f.replied = true
	s.ended(f.CorrID)
	var err error
	if n == 0 || n > len(f.Payload) || f.inflated || &payload[0] != &f.Payload[0] {
		err = s.answer(&f.Header, FlagResp|FlagEnd, code, payload)
	} else {
		start := len(f.raw) - len(f.Payload) - HeaderLen
		out := f.raw[start : start+HeaderLen+n]
		replyHeader(out, &f.Header, FlagResp|FlagEnd, code, n)
		err = s.t.WriteInPlace(out)
	}
	if err == nil {
		f.code = int32(code)
	}
	return err
}

// ReplyError answers f, the frame in OnFrame, as SendError does, once: ErrReplied as for Reply. Loop only.
func (s *Session) ReplyError(f *Frame, e *Error) error {
	if f.s != s || f.replied {
		return ErrReplied
	}
	f.replied = true
	err := s.SendError(&f.Header, e)
	if err == nil {
		s.m.held.ObserveZero(1)
		s.m.noteStatus(s.e.o.Trace, e.Status())
	}
	return err
}

// ReplyReserve answers f, the frame in OnFrame, with RESP|END and n bytes of payload, which it returns to be filled
// before the next call on the session, and before OnFrame returns: the payload is written where it is sent from. nil when
// the session is closing, f may not be answered (see Reply), or n is above what one reservation holds (64 KiB less a
// header) or the peer accepts. Loop only.
func (s *Session) ReplyReserve(f *Frame, code uint16, n int) []byte {
	if f.s != s || f.replied || n < 0 || HeaderLen+n > min(reserveFrame, int(s.peerMax)) {
		return nil
	}
	b := s.t.Reserve(HeaderLen + n)
	if b == nil {
		return nil
	}
	f.replied, f.code = true, int32(code)
	s.ended(f.CorrID)
	replyHeader(b, &f.Header, FlagResp|FlagEnd, code, n)
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
// body, and counts e's reason; one outside of the canon counts as IO. The text is cut to 128 bytes. Loop only.
func (s *Session) SendError(h *Header, e *Error) error {
	s.ended(h.CorrID)
	return s.sendError(h, e)
}

// sendError is SendError for an answer that does not end a stream of the handler's.
func (s *Session) sendError(h *Header, e *Error) error {
	why := e.Why
	if !why.valid() {
		why = IO
	}
	s.e.reject(why)
	body := errorBody{Code: e.Status(), Reason: why.String(), Message: e.Detail[:min(len(e.Detail), maxDetail)]}
	if d := e.RetryAfter; d > 0 { // rounded up: to come back early is what it is to prevent
		body.RetryAfterMS = int64((d-1)/time.Millisecond) + 1
	}
	b := s.e.scratch.Get()
	defer s.e.scratch.Put(b)
	if err := json.NewEncoder(b).Encode(body); err != nil {
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
