package framer

import (
	"net"
)

// Session is one connection as the application sees it. Methods are loop only unless they say otherwise: call them from
// the Handler's methods, or from a function given to Post.
type Session struct {
	t       Transport
	e       *Endpoint
	user    any
	f       Frame // the frame in OnFrame: one per session, so that handing it out costs nothing
	dec     Decoder
	streams streams
	asks    map[uint64]*ask // our requests that wait for a response; nil when there are none

	lastCorr uint64
	peerMax  uint32 // largest frame the peer accepts
	inflight int32  // retained frames
	ackLater bool   // the frame in OnFrame was retained: its ACK comes with the release
	open     bool   // OnOpen was called
	eof      bool   // the peer sends no more
	closing  bool
}

// OnOpen is the reactor's.
func (s *Session) OnOpen() {
	s.open = true
	s.e.h.OnOpen(s)
}

// OnData is the reactor's: it delivers the frames in p.
func (s *Session) OnData(p []byte) (consumed, need int, err error) {
	f := &s.f
	for consumed < len(p) {
		rest := p[consumed:]
		n, err := s.dec.Next(rest, f)
		if err != nil {
			return consumed, 0, s.fatal(err)
		}
		if n == 0 {
			if len(rest) < HeaderLen {
				return consumed, 0, nil // every byte of a header may condemn it
			}
			return consumed, s.dec.Need(), nil
		}
		f.raw, f.s, f.replied, f.inflated = rest[:n], s, false, false
		err = s.handle(f)
		f.s, f.raw, f.Cap, f.Payload = nil, nil, nil, nil
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
	if f.AppProtoID == 0 && f.Flags&FlagReq != 0 {
		s.hello(f)
		return nil
	}
	if f.Flags&(FlagStart|FlagEnd) != 0 || len(s.streams.m) > 0 {
		deliver, err := s.streams.received(&f.Header)
		if err != nil && err.Why == BadFrame && err.Code == InflightExceeded.Status() {
			return s.fatal(err)
		}
		if err != nil {
			s.refuse(f, err)
		}
		if !deliver {
			return nil
		}
	}
	if f.Flags&FlagComp != 0 && !s.e.o.KeepCompressed {
		z, err := s.inflate(f)
		if err != nil {
			s.refuse(f, err)
			return nil
		}
		defer s.e.z.put(z)
	}
	s.deliver(f)
	return nil
}

// deliver gives f to whoever waits for it, and acknowledges it.
func (s *Session) deliver(f *Frame) {
	s.ackLater = false
	if f.Flags&FlagResp == 0 || !s.answered(f) {
		s.e.h.OnFrame(s, f)
	}
	if f.Flags&FlagAckReq != 0 && !s.ackLater {
		s.ack(&f.Header)
	}
}

// ack sends the ACK for a handled frame.
func (s *Session) ack(h *Header) {
	_ = s.respond(h, FlagResp, 200, nil) // a closing session acknowledges nothing
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
// refused fails.
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
	_ = s.SendError(&f.Header, e) // counts; a closing session answers nothing
}

// fatal answers an error after which the stream cannot be understood. The reactor drains and closes with it.
func (s *Session) fatal(err error) error {
	s.closing = true
	if e, ok := err.(*Error); ok {
		_ = s.SendError(&Header{CorrID: e.CorrID}, e)
	}
	return err
}

// OnEOF is the reactor's: with requests in flight the connection stays for their replies.
func (s *Session) OnEOF() (keep bool) {
	s.eof = true
	return s.inflight > 0
}

// OnDrained is the reactor's. A handler that implements Drainer is told.
func (s *Session) OnDrained() {
	if d, ok := s.e.h.(Drainer); ok {
		d.OnDrained(s)
	}
}

// Drainer is implemented by handlers that produce output on their own: OnDrained is called when the output has fallen to
// the low-water mark after Writable had returned false. Loop only.
type Drainer interface{ OnDrained(s *Session) }

// OnGoodbye is the reactor's: the peer is told why before the connection closes.
func (s *Session) OnGoodbye(cause error) {
	why := reasonOf(cause)
	_ = s.SendError(&Header{}, &Error{Why: why, Detail: cause.Error()})
	s.closing = true
}

// OnClose is the reactor's.
func (s *Session) OnClose(cause error) {
	s.closing = true
	s.failAsks(cause)
	s.e.h.OnClose(s, cause)
}

// Writable is false while the output is above the high-water mark. A producer stops then; see Drainer. Loop only.
func (s *Session) Writable() bool { return s.t.Writable() }

// Inflight is the number of frames that are retained. Loop only.
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
