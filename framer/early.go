package framer

import (
	"fmt"
	"slices"
)

// EarlyTransport is what a Transport whose handshake may still be under way implements besides: QUIC with 0-RTT. One that
// does not is never early.
type EarlyTransport interface {
	// Early is true until the handshake is complete. Until then nothing proves that what arrives was sent for this connection:
	// somebody in between may have recorded it, and send it to as many servers as he likes, as often as he likes (RFC 8446, 8;
	// RFC 9001, 9.2). Once false it stays false. What arrived early but is looked at only after that needs no care: the
	// handshake has shown that its sender is there (RFC 8470, 3). Any goroutine.
	Early() bool
}

// checkEarlyApps validates the allow-list and returns a sorted copy.
func checkEarlyApps(apps []uint16) ([]uint16, error) {
	for i, app := range apps {
		if app == 0 {
			return nil, fmt.Errorf("framer: EarlyApps[%d] is 0, allowed are 1 to 65535 (a HELLO needs no permission)", i)
		}
	}
	apps = slices.Clone(apps)
	slices.Sort(apps)
	return slices.Compact(apps), nil
}

// early asks the transport.
func early(t Transport) bool {
	e, ok := t.(EarlyTransport)
	return ok && e.Early()
}

// Early reports that the handshake is not complete: frames of other applications than those of Options.EarlyApps are
// refused, in both directions. Loop only.
func (s *Session) Early() bool {
	s.early = s.early && early(s.t)
	return s.early
}

// earlyRefusal is the error for a frame that must wait for the handshake, nil when h is of none. It is called while early
// only.
//
// HELLO and what else is the protocol's own on app_proto_id 0 may pass: it has no effect beyond its connection, which ends
// without one when it is a replay, and without HELLO a client could use the peer's limits only a round trip later. An EVENT there
// is nobody's but the application's, and waits.
//
// The reason is not_ready with 503, which the canon has for "not now, and nothing has been done: try again". Words and status of
// their own (HTTP has 425) would tell a client no more, since no frame before the handshake's end can have another cause for
// them; the words for broken rules would tell it never to send that frame again.
func (s *Session) earlyRefusal(h *Header) *Error {
	if h.AppProtoID == 0 && h.Flags&(FlagReq|FlagResp) != 0 {
		return nil
	}
	if _, listed := slices.BinarySearch(s.e.o.EarlyApps, h.AppProtoID); listed || !s.Early() {
		return nil
	}
	return &Error{Why: NotReady, CorrID: h.CorrID, Detail: fmt.Sprintf("app_proto_id %d must wait for the handshake: it is not one that may be replayed", h.AppProtoID)}
}
