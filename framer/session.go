package framer

import (
	"net"
	"sync/atomic"
)

// Session is one connection as the application sees it. Methods are loop only unless they say otherwise: call them from
// the Handler's methods, or from a function given to Post.
type Session struct {
	t       Transport
	e       *Endpoint
	m       *counting
	user    any
	f       Frame // the frame in OnFrame: one per session, so that handing it out costs nothing
	dec     Decoder
	streams streams
	asks    map[uint64]*ask // our requests that wait for a response; nil when there are none

	lastCorr uint64
	askPeak  int32        // most entries since asks was made
	lost     atomic.Int32 // permits whose return the loop's queue refused; see reclaim
	peerMax  uint32       // largest frame the peer accepts
	inflight int32        // permits out
	ackLater bool         // the frame in OnFrame was retained: its ACK comes with the release
	eof      bool         // the peer sends no more
	closing  bool         // nothing more is read or said
	leaving  bool         // one end has announced its shutdown: no new requests
	early    bool         // the handshake may be incomplete; see Early
}

// OnOpen is the reactor's.
func (s *Session) OnOpen() {
	s.e.h.OnOpen(s)
}

// OnData is the reactor's: it delivers the frames in p.
func (s *Session) OnData(p []byte) (consumed, need int, err error) {
	var t tally
	defer t.addTo(s.m.meter) // also when a handler panics
	return s.take(p, &t)
}

// take delivers the frames in p and counts them.
func (s *Session) take(p []byte, t *tally) (consumed, need int, err error) {
	s.reclaim()
	if s.closing {
		return len(p), 0, nil // what still arrives is nobody's any more
	}
	f := &s.f
	for consumed < len(p) {
		rest := p[consumed:]
		n, err := s.dec.Next(rest, f)
		if err != nil {
			t.frames++
			return consumed, 0, s.fatal(&Header{CorrID: err.(*Error).CorrID}, err.(*Error))
		}
		if n == 0 {
			if len(rest) < HeaderLen {
				return consumed, 0, nil // every byte of a header may condemn it
			}
			return consumed, s.dec.Need(), nil
		}
		f.raw, f.s, f.code, f.replied, f.inflated = rest[:n], s, unanswered, false, false
		t.frames++ // before: a handler may panic
		err = s.handle(f)
		f.s, f.raw, f.Cap, f.Payload = nil, nil, nil, nil
		if f.code == 200 {
			t.ok++
		} else if f.code != unanswered {
			s.m.answeredNow(uint16(f.code))
		}
		consumed += n
		if err != nil {
			return consumed, 0, err
		}
		if s.closing || s.inflight >= int32(s.e.o.MaxInflight) || !s.t.Writable() {
			break
		}
	}
	return consumed, 0, nil
}

// handle does all that is to be done with one frame. An error is fatal to the connection, and answered.
func (s *Session) handle(f *Frame) error {
	hello := f.AppProtoID == 0 && f.Flags&FlagReq != 0 // no part of any stream
	if !hello && (f.Flags&(FlagStart|FlagEnd) != 0 || len(s.streams.m) > 0) {
		switch verdict, err := s.streams.received(&f.Header); verdict {
		case streamDrop:
			return nil
		case streamRefuse:
			s.refuse(f, err)
			return nil
		case streamFatal:
			return s.fatal(&f.Header, err)
		}
	}
	if s.early {
		if e := s.earlyRefusal(&f.Header); e != nil {
			s.streams.refused(&f.Header) // its frames are dropped up to END, also those that come after the handshake
			s.refuse(f, e)
			return nil
		}
	}
	if f.Flags&FlagComp != 0 && (hello || !s.e.o.KeepCompressed) {
		z, err := s.inflate(f)
		if err != nil {
			if !hello {
				s.streams.refused(&f.Header)
			}
			s.refuse(f, err)
			return nil
		}
		defer s.e.z.put(z)
	}
	if hello {
		return s.hello(f)
	}
	s.deliver(f)
	return nil
}

// deliver gives f to whoever waits for it, and acknowledges it.
func (s *Session) deliver(f *Frame) {
	s.ackLater = false
	if f.Code == 503 && f.CorrID == 0 {
		s.noteGoodbye(f)
	}
	if f.Flags&FlagResp == 0 || !s.answered(f) {
		if tr := s.e.o.Trace; tr != nil && f.Flags&FlagReq != 0 {
			s.request(tr, f)
		} else {
			s.e.h.OnFrame(s, f)
		}
	}
	if f.Flags&FlagAckReq != 0 && !s.ackLater {
		s.ack(&f.Header)
	}
}

// ack sends the ACK for a handled frame.
func (s *Session) ack(h *Header) {
	_ = s.answer(h, FlagResp, 200, nil) // a closing session acknowledges nothing
}

// inflate replaces f's payload by what it decompresses to. The buffer is the inflater's, which the caller gives back
// when f has been handled.
func (s *Session) inflate(f *Frame) (*Inflater, error) {
	z, err := s.e.z.get()
	if err != nil {
		return nil, &Error{Why: IO, Detail: err.Error()}
	}
	out, err := z.Inflate(f.Payload)
	if err != nil {
		s.e.z.put(z)
		return nil, err
	}
	f.Flags &^= FlagComp
	f.Payload, f.inflated = out[:len(out):len(out)], true
	f.Len = uint32(HeaderLen + len(f.Cap) + len(out)) // the header of what is handed on
	return z, nil
}

// refuse answers a frame whose error does not end the connection, and counts it. A request of ours whose response is
// refused fails. The error is no END of ours for a stream: an earlier frame of it may be a valid request, whose response
// is still to come.
func (s *Session) refuse(f *Frame, err error) {
	e, ok := err.(*Error)
	if !ok {
		e = &Error{Why: IO, Detail: err.Error()}
	}
	e.CorrID = f.CorrID
	if f.Flags&FlagResp != 0 {
		if a := s.asks[f.CorrID]; a != nil {
			s.e.reject(e.Why)
			s.finish(a, nil, e)
			return
		}
	}
	_ = s.sendError(&f.Header, e) // a closing session answers nothing
}

// fatal answers an error that ends the connection. The reactor drains and closes with it.
func (s *Session) fatal(h *Header, e *Error) error {
	_ = s.sendError(h, e)
	s.closing = true
	return e
}

// OnEOF is the reactor's: with frames retained the connection stays for their replies.
func (s *Session) OnEOF() (keep bool) {
	s.reclaim()
	s.eof = true
	return s.inflight > 0 && !s.closing
}

// reclaim takes permits back whose return could not be posted. It is called whenever the loop comes by; should that not
// happen while every permit is out, the idle deadline ends the connection.
func (s *Session) reclaim() {
	if s.lost.Load() != 0 {
		s.permitsBack(s.lost.Swap(0))
	}
}

// permitsBack ends n permits: reading goes on, or after the peer's end the connection closes with the last one.
func (s *Session) permitsBack(n int32) {
	was := s.inflight
	s.inflight -= n
	switch limit := int32(s.e.o.MaxInflight); {
	case s.closing:
	case s.eof && s.inflight == 0:
		s.Close(nil)
	case was >= limit && s.inflight < limit:
		s.t.ResumeRead()
	}
}

// OnDrained is the reactor's. A handler that implements Drainer is told.
func (s *Session) OnDrained() {
	s.reclaim()
	if s.closing {
		return
	}
	if d, ok := s.e.h.(Drainer); ok {
		d.OnDrained(s)
	}
}

// Drainer is implemented by handlers that produce output on their own: OnDrained is called when the output has fallen to
// the low-water mark after Writable had returned false. Loop only.
type Drainer interface{ OnDrained(s *Session) }

// OnGoodbye is the reactor's: the peer is told why before the connection closes, unless it has been told something else.
func (s *Session) OnGoodbye(cause error) {
	if s.closing {
		return
	}
	e := &Error{Why: reasonOf(cause), Detail: "closing"}
	if cause != nil {
		e.Detail = cause.Error()
	}
	_ = s.sendError(&Header{}, e)
	s.closing = true
}

// OnClose is the reactor's.
func (s *Session) OnClose(cause error) {
	s.closing = true
	s.failAsks(cause)
	s.streams.m = nil
	s.e.h.OnClose(s, cause)
}

// Writable is false while the output is above the high-water mark. A producer stops then; see Drainer. Loop only.
func (s *Session) Writable() bool { return s.t.Writable() }

// Inflight is the number of permits that are out: one per retained frame, more for one that was decompressed to more than
// MaxFrame. Loop only.
func (s *Session) Inflight() int { return int(s.inflight) }

// PeerMaxFrame is the largest frame in bytes that may be sent to the peer, as negotiated by HELLO. Loop only.
func (s *Session) PeerMaxFrame() int { return int(s.peerMax) }

// Close sends what was written, then closes; OnClose(cause) comes later. Loop only.
func (s *Session) Close(cause error) {
	s.closing = true
	s.t.Close(cause)
}

// Abort resets the connection without sending what was written. Loop only.
func (s *Session) Abort(cause error) {
	s.closing = true
	s.t.Abort(cause)
}

// Post has fn run on the session's loop. When it returns nil, fn will run, even if the session is closed by then. Any
// goroutine.
func (s *Session) Post(fn func(*Session)) error { return s.t.Post(func() { fn(s) }) }

// SetUserData attaches a value of the application's. Loop only.
func (s *Session) SetUserData(v any) { s.user = v }

// UserData returns the value. Loop only.
func (s *Session) UserData() any { return s.user }

// Transport is the connection below, for what only it knows, such as the state of its TLS filter. Any goroutine.
func (s *Session) Transport() Transport { return s.t }

// RemoteAddr is the peer's address. Any goroutine.
func (s *Session) RemoteAddr() net.Addr { return s.t.RemoteAddr() }

// LocalAddr is our end's address. Any goroutine.
func (s *Session) LocalAddr() net.Addr { return s.t.LocalAddr() }
