package framer

// Refuse writes the error reply with which a connection over a limit ends: corr_id 0, the status and the reason that
// cause carries. It is what reactor.ListenConfig.Refuse wants. Loop only.
func (e *Endpoint) Refuse(t Transport, cause error) {
	s := Session{t: t, e: e, m: e.o.Stats.meter(t), peerMax: MaxFrame}
	s.OnGoodbye(cause)
}

// OnShutdown is the reactor's: the peer hears on corr_id 0 that this node is shutting down, with the status 503, and is
// answered until it ends the connection. A peer that understands sends its next request elsewhere, waits for the answers
// it is owed, and closes.
func (s *Session) OnShutdown() (stay bool) {
	if s.closing {
		return false
	}
	s.leaving = true
	_ = s.sendError(&Header{}, &Error{Why: ShuttingDown, Detail: "shutting down"})
	return true
}

// Leaving reports that one of the two ends has announced its shutdown: what is under way is still answered, new requests
// belong on another connection, and Ask refuses them. The peer's announcement comes to OnFrame as well. Loop only.
func (s *Session) Leaving() bool { return s.leaving }

// noteGoodbye looks for the peer's announcement of its shutdown.
func (s *Session) noteGoodbye(f *Frame) {
	if f.CorrID == 0 && f.Flags&FlagResp != 0 && f.Code == ShuttingDown.Status() && parseError(f).Why == ShuttingDown {
		s.leaving = true
	}
}
