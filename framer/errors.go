package framer

import (
	"errors"
	"fmt"
	"time"
)

// Reason is a word of the canon (oap1.md): the label of metrics and the "reason" of error replies. Append only.
type Reason uint8

// The canon. The zero value is not a reason.
const (
	_                  Reason = iota
	BadVersion                // ver is not 1
	BadFlags                  // reserved flag bits are set
	BadFrame                  // the header contradicts itself, or the frame breaks a rule
	FrameTooLarge             // len is above the cap
	DecompressOverflow        // the payload inflates beyond the bound
	BadCompression            // the payload is not one sound zstd frame
	OverCapacity              // the node is full
	PeerLimit                 // the peer has too many connections
	RateLimited               // the peer sends too fast
	InflightExceeded          // the peer has too many requests or streams open
	HandshakeTimeout          // the handshake took too long
	ReadTimeout               // a frame took too long to arrive
	WriteTimeout              // the peer took too long to read
	IdleTimeout               // nothing happened for too long
	SlowPeer                  // the peer's output queue is full
	TLS                       // the TLS layer failed
	NotReady                  // the service is not ready
	TorBootstrap              // Tor has not bootstrapped
	ShuttingDown              // the node is shutting down
	IO                        // the connection broke, or an internal failure
	numReasons
)

var reasonNames = [numReasons]string{"", "bad_version", "bad_flags", "bad_frame", "frame_too_large", "decompress_overflow",
	"bad_compression", "over_capacity", "peer_limit", "rate_limited", "inflight_exceeded", "handshake_timeout", "read_timeout",
	"write_timeout", "idle_timeout", "slow_peer", "tls", "not_ready", "tor_bootstrap", "shutting_down", "io"}

var reasonStatus = [numReasons]uint16{BadVersion: 400, BadFlags: 400, BadFrame: 400, FrameTooLarge: 413, DecompressOverflow: 413,
	BadCompression: 400, OverCapacity: 503, PeerLimit: 429, RateLimited: 429, InflightExceeded: 429, HandshakeTimeout: 400,
	ReadTimeout: 400, WriteTimeout: 503, IdleTimeout: 503, SlowPeer: 503, TLS: 500, NotReady: 503, TorBootstrap: 503,
	ShuttingDown: 503, IO: 500}

func (r Reason) valid() bool { return r > 0 && r < numReasons }

// String is the canon's word. Any goroutine.
func (r Reason) String() string {
	if r.valid() {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// Status is the status code that goes with the reason on the wire. Any goroutine.
func (r Reason) Status() uint16 {
	if r.valid() {
		return reasonStatus[r]
	}
	return 500
}

// ParseReason finds a reason by its word. Any goroutine.
func ParseReason(word string) (Reason, bool) {
	for r := BadVersion; r < numReasons; r++ {
		if reasonNames[r] == word {
			return r, true
		}
	}
	return 0, false
}

// Error is a violation of the protocol, a refusal, or an error reply of the peer.
type Error struct {
	Why        Reason
	Code       uint16        // status; 0 means Why.Status()
	CorrID     uint64        // of the frame concerned, 0 when unknown
	Detail     string        // in words
	RetryAfter time.Duration // 0: not given
	Remote     bool          // the peer said so

	fatal bool
}

// Error describes the error. Any goroutine.
func (e *Error) Error() string {
	who := "oap"
	if e.Remote {
		who = "oap: peer answered"
	}
	return fmt.Sprintf("%s: %d %s: %s", who, e.Status(), e.Why, e.Detail)
}

// Reason is the canon's word. Any goroutine.
func (e *Error) Reason() string { return e.Why.String() }

// Status is the status code. Any goroutine.
func (e *Error) Status() uint16 {
	if e.Code != 0 {
		return e.Code
	}
	return e.Why.Status()
}

// Fatal reports whether the error ends the connection: a header from which the stream of frames cannot be resynchronised,
// a HELLO that is none, or too many refused streams. False for errors that concern one frame, and for those of the peer.
// Any goroutine.
func (e *Error) Fatal() bool { return e.fatal }

// Errors of calls, not of peers.
var (
	// ErrClosed: the session is closed or closing.
	ErrClosed = errors.New("oap: session closed")
	// ErrReplied: the frame has been replied to already, or belongs to a callback that has returned.
	ErrReplied = errors.New("oap: frame already replied to")
	// ErrLeaving: one of the two ends is shutting down, so a new request belongs on another connection.
	ErrLeaving error = &Error{Why: ShuttingDown, Detail: "no new requests on this connection"}
	// ErrBusy: too many requests of ours wait for a response.
	ErrBusy = errors.New("oap: too many requests waiting for a response")
)

// reasonOf finds the canon's word in an error chain; IO when there is none.
func reasonOf(err error) Reason {
	var w interface{ Reason() string }
	if errors.As(err, &w) {
		if r, ok := ParseReason(w.Reason()); ok {
			return r
		}
	}
	return IO
}

// notReady makes an error reply of what Options.Ready has returned.
func notReady(err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	e := &Error{Why: NotReady}
	var w interface{ Reason() string }
	if errors.As(err, &w) {
		if r, ok := ParseReason(w.Reason()); ok {
			e.Why = r
		}
	}
	e.Detail = e.Why.String() // the error's own words may name what is nobody's business: paths, other addresses
	var after interface{ RetryAfter() time.Duration }
	if errors.As(err, &after) {
		e.RetryAfter = after.RetryAfter()
	}
	return e
}
