package tor

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what has become of a dial, or why there can be none.
type Kind uint8

// The kinds. Retry: whether the same dial may succeed later.
const (
	_                 Kind = iota
	KindNotReady           // tor has not bootstrapped, or is not running. Retry.
	KindBootstrap          // tor has not bootstrapped within BootstrapTimeout. Retry, but something is wrong.
	KindNotFound           // there is no descriptor of the service: it is not published (yet), or there is no such service. Retry.
	KindBadAddress         // this is no onion address
	KindBadDescriptor      // the service's descriptor makes no sense
	KindOffline            // the service's introduction points or rendezvous failed: it is gone, or overloaded. Retry.
	KindAuthNeeded         // the service asks for client authorization, and tor has no key for it
	KindAuthWrong          // tor's key for the service is not one that it accepts
	KindTimeout            // no answer in time. Retry.
	KindRefused            // the service, or tor's own policy, refuses the port
	KindFailed             // tor failed, or does not speak SOCKS. Retry.
	numKinds
)

var kinds = [numKinds]struct {
	words, reason string
	retry         time.Duration // 0: none
}{
	{},
	{"tor is not ready", "not_ready", retryDown},
	{"tor has not bootstrapped in time", "tor_bootstrap", retryBootstrap},
	{"no descriptor of the onion service was found", "not_ready", retryDescriptor},
	{"not an onion address", "io", 0},
	{"the onion service's descriptor is invalid", "io", 0},
	{"the onion service is offline", "not_ready", retryDescriptor},
	{"the onion service needs client authorization", "io", 0},
	{"the onion service does not accept the client authorization", "io", 0},
	{"the onion service did not answer in time", "handshake_timeout", retryDescriptor},
	{"the connection was refused", "io", 0},
	{"tor failed", "io", retryDown},
}

// String describes the kind. Any goroutine.
func (k Kind) String() string {
	if k == 0 || k >= numKinds {
		return fmt.Sprintf("kind(%d)", uint8(k))
	}
	return kinds[k].words
}

// Error is a dial that has failed, or a refusal because tor or a service is not ready.
type Error struct {
	Kind   Kind
	Code   uint8         // tor's SOCKS reply, 0 if it was none
	Detail string        // more, in words; may be empty
	Err    error         // what is behind it; may be nil
	Retry  time.Duration // after which to try again; 0: the kind's
}

// Error describes the error. Any goroutine.
func (e *Error) Error() string {
	s := "tor: " + e.Kind.String()
	if e.Code != 0 {
		s += fmt.Sprintf(" (SOCKS reply 0x%02X)", e.Code)
	}
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns what is behind it. Any goroutine.
func (e *Error) Unwrap() error { return e.Err }

// Reason is the canon's word for the error (oap1.md). Any goroutine.
func (e *Error) Reason() string {
	if e.Kind >= numKinds {
		return "io"
	}
	return kinds[e.Kind].reason
}

// RetryAfter is after which time the same may be tried again; 0: it would fail again. Any goroutine.
func (e *Error) RetryAfter() time.Duration {
	if errors.Is(e.Err, ErrClosed) {
		return 0 // for good
	}
	if e.Retry != 0 || e.Kind >= numKinds {
		return e.Retry
	}
	return kinds[e.Kind].retry
}

// IsKind reports whether err is an *Error of the given kind. Any goroutine.
func IsKind(err error, k Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == k
}

// ErrClosed: the Tor or Service has been closed.
var ErrClosed = errors.New("tor: closed")
