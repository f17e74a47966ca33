package quic

import stdtls "crypto/tls"

// ownSessions is a session cache that gives every connection a session of its own: quic-go notes in a session whether it may be
// used for 0-RTT, and two connections that resume the same one at the same time would both write there.
type ownSessions struct{ stdtls.ClientSessionCache }

// Get returns a copy of the session; none when it cannot be copied.
func (s ownSessions) Get(key string) (*stdtls.ClientSessionState, bool) {
	shared, ok := s.ClientSessionCache.Get(key)
	if !ok || shared == nil {
		return shared, ok
	}
	ticket, state, err := shared.ResumptionState()
	if err != nil || state == nil {
		return nil, false
	}
	b, err := state.Bytes()
	if err != nil {
		return nil, false
	}
	if state, err = stdtls.ParseSessionState(b); err != nil {
		return nil, false
	}
	own, err := stdtls.NewResumptionState(ticket, state)
	return own, err == nil
}
