package reactor

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Reasons of the canon (oap1.md) that this package gives as the cause of a close.
const (
	ReasonHandshakeTimeout = "handshake_timeout"
	ReasonReadTimeout      = "read_timeout"
	ReasonWriteTimeout     = "write_timeout"
	ReasonIdleTimeout      = "idle_timeout"
	ReasonSlowPeer         = "slow_peer"
	ReasonShuttingDown     = "shutting_down"
	ReasonOverCapacity     = "over_capacity"
	ReasonPeerLimit        = "peer_limit"
	ReasonRateLimited      = "rate_limited"
	ReasonIO               = "io"
)

// Error is the cause of a close that the reactor itself decided on, or of a call it refused.
type Error struct {
	Why string // a reason of the canon
	Msg string // what happened, in words
	Err error  // the system's error, or a Stream's, if there was one

	gone bool // the other end cannot be reached any more
}

// Error describes the error. Any goroutine.
func (e *Error) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("reactor: %s: %v", e.Msg, e.Err)
	}
	return "reactor: " + e.Msg
}

// Unwrap returns the system's error. Any goroutine.
func (e *Error) Unwrap() error { return e.Err }

// Reason returns the canon's word for the error. Any goroutine.
func (e *Error) Reason() string { return e.Why }

// Causes of a close, as given to Protocol.OnClose, and refusals.
var (
	ErrHandshakeTimeout error = &Error{Why: ReasonHandshakeTimeout, Msg: "handshake not complete in time"}
	ErrFrameTimeout     error = &Error{Why: ReasonReadTimeout, Msg: "frame not complete in time"}
	ErrWriteTimeout     error = &Error{Why: ReasonWriteTimeout, Msg: "peer took no output in time"}
	ErrIdleTimeout      error = &Error{Why: ReasonIdleTimeout, Msg: "connection idle"}
	ErrSlowPeer         error = &Error{Why: ReasonSlowPeer, Msg: "queued output above the hard cap"}
	ErrMinReadRate      error = &Error{Why: ReasonReadTimeout, Msg: "frame arrives below the minimum rate"}
	ErrMinWriteRate     error = &Error{Why: ReasonSlowPeer, Msg: "peer takes output below the minimum rate"}
	ErrDrainTimeout     error = &Error{Why: ReasonWriteTimeout, Msg: "output not written in time after Close"}
	ErrOverCapacity     error = &Error{Why: ReasonOverCapacity, Msg: "too many connections"}
	ErrPeerLimit        error = &Error{Why: ReasonPeerLimit, Msg: "too many connections from this peer"}
	ErrPeerHandshakes   error = &Error{Why: ReasonPeerLimit, Msg: "too many unfinished handshakes from this peer"}
	ErrPeerRate         error = &Error{Why: ReasonRateLimited, Msg: "too many new connections per second from this peer"}
	ErrShuttingDown     error = &Error{Why: ReasonShuttingDown, Msg: "shutting down"}
	ErrClosed           error = &Error{Why: ReasonIO, Msg: "connection closed"}
	ErrQueueFull        error = &Error{Why: ReasonIO, Msg: "task queue full"}
	ErrPeerRefused      error = &Error{Why: ReasonIO, Msg: "peer not admitted"}
	ErrTooLarge         error = &Error{Why: ReasonIO, Msg: "reservation larger than 128 KiB"}
)

// errGoexit is the end of a handshake whose callback has ended its goroutine.
var errGoexit error = &Error{Why: ReasonIO, Msg: "a callback of the handshake ended its goroutine"}

// errTruncated is a clean end of the peer's stream inside a frame.
var errTruncated error = &Error{Why: ReasonIO, Msg: "peer closed inside a frame"}

// ioError wraps what a system call returned.
func ioError(op string, errno unix.Errno) error {
	return &Error{Why: ReasonIO, Msg: op, Err: errno}
}

// PanicError is the cause of a close after a callback has panicked.
type PanicError struct {
	Value any    // what was passed to panic
	Stack []byte // the goroutine's stack at that moment
}

// Error describes the panic without its stack. Any goroutine.
func (e *PanicError) Error() string { return fmt.Sprintf("reactor: callback panicked: %v", e.Value) }

// Reason returns "io": to the peer a panic is an internal failure. Any goroutine.
func (e *PanicError) Reason() string { return ReasonIO }

// reasonOf finds the canon's word in an error chain; "" if there is none.
func reasonOf(err error) string {
	var r interface{ Reason() string }
	if errors.As(err, &r) {
		return r.Reason()
	}
	return ""
}
