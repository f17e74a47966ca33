package quic

import (
	"context"
	"errors"
	"fmt"
	"io"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/reactor"
)

// Error is why a connection or a stream ended, or why a call was refused.
type Error struct {
	// Why is the reason, a word of the canon (oap1.md).
	Why string
	// Code is the application's error code that the peer sent, or that it was sent; CodeNone when the end came without one.
	Code Code
	// Remote is true when the peer ended it.
	Remote bool
	// Msg is what happened, in words.
	Msg string
	// Err is what quic-go or the system said; nil if nothing.
	Err error
}

// Error describes the error. Any goroutine.
func (e *Error) Error() string {
	who := "quic: "
	if e.Remote {
		who = "quic: peer: "
	}
	if e.Err != nil {
		return fmt.Sprintf("%s%s: %v", who, e.Msg, e.Err)
	}
	return who + e.Msg
}

// Unwrap returns what quic-go or the system said. Any goroutine.
func (e *Error) Unwrap() error { return e.Err }

// Reason returns the canon's word for the error. Any goroutine.
func (e *Error) Reason() string { return e.Why }

// Is reports whether target is the same refusal: the same words, whatever quic-go said. Any goroutine.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Err == nil && t.Why == e.Why && t.Msg == e.Msg
}

// Refusals of calls, for errors.Is.
var (
	// ErrStreamLimit: the peer allows no further stream on this connection until one ends.
	ErrStreamLimit error = &Error{Why: "inflight_exceeded", Msg: "peer allows no further stream"}
	// ErrClosed: the listener, dialer or connection is closed.
	ErrClosed error = &Error{Why: "shutting_down", Msg: "closed"}
	// ErrEarlyRejected: the peer did not take what was sent before the handshake was complete (0-RTT, RFC 9001, §4.6.2). The
	// streams that carried it are gone; the connection is not.
	ErrEarlyRejected error = &Error{Why: "not_ready", Msg: "peer rejected early data"}
)

// errHandshakes refuses a connection while too many are half-open.
var errHandshakes error = &Error{Why: "over_capacity", Msg: "too many unfinished handshakes"}

// errGone is what a write gets after the peer has closed the connection without a fault.
var errGone error = &Error{Why: reactor.ReasonIO, Remote: true, Msg: "connection closed"}

// connCause translates what ended a connection. done: its handshake was complete. nil is an end without a fault.
func connCause(err error, done bool) error {
	var app *quicgo.ApplicationError
	if errors.As(err, &app) {
		return appCause(Code(app.ErrorCode), app.Remote, err)
	}
	var tr *quicgo.TransportError
	if errors.As(err, &tr) && tr.ErrorCode == quicgo.NoError {
		return nil // what a peer without codes of an application says (RFC 9000, §20.1)
	}
	return transportCause(err, done)
}

// appCause translates an application's code on a CONNECTION_CLOSE.
func appCause(code Code, remote bool, err error) error {
	if code == CodeNone {
		return nil
	}
	return &Error{Why: code.Reason(), Code: code, Remote: remote, Msg: "connection closed", Err: err}
}

// transportCause translates every other end of a connection.
func transportCause(err error, done bool) error {
	var (
		tr   *quicgo.TransportError
		idle *quicgo.IdleTimeoutError
		hs   *quicgo.HandshakeTimeoutError
		ver  *quicgo.VersionNegotiationError
		rst  *quicgo.StatelessResetError
	)
	switch {
	case errors.As(err, &tr):
		return &Error{Why: transportReason(tr), Remote: tr.Remote, Msg: "connection closed", Err: err}
	case errors.As(err, &idle) && done:
		return &Error{Why: reactor.ReasonIdleTimeout, Msg: "peer is silent", Err: err}
	case errors.As(err, &idle), errors.As(err, &hs), errors.Is(err, context.DeadlineExceeded):
		return &Error{Why: reactor.ReasonHandshakeTimeout, Msg: "handshake not complete in time", Err: err}
	case errors.As(err, &ver):
		return &Error{Why: "bad_version", Remote: true, Msg: "no version of QUIC in common", Err: err}
	case errors.As(err, &rst):
		return &Error{Why: reactor.ReasonIO, Remote: true, Msg: "peer has forgotten the connection", Err: err}
	case errors.Is(err, quicgo.ErrTransportClosed), errors.Is(err, quicgo.ErrServerClosed):
		return &Error{Why: reactor.ReasonShuttingDown, Msg: "closed", Err: err}
	case errors.Is(err, quicgo.Err0RTTRejected):
		return &Error{Why: "not_ready", Msg: "peer rejected early data", Err: err}
	}
	return &Error{Why: reactor.ReasonIO, Msg: "connection broke", Err: err}
}

// transportReason is the canon's word for a transport error code (RFC 9000, §20.1). What breaks a rule of QUIC itself, ours or
// the peer's, is a broken connection: io.
func transportReason(e *quicgo.TransportError) string {
	switch {
	case e.ErrorCode.IsCryptoError():
		return "tls"
	case e.ErrorCode == quicgo.ConnectionRefused:
		return reactor.ReasonOverCapacity
	case e.ErrorCode == quicgo.StreamLimitError:
		return "inflight_exceeded"
	}
	return reactor.ReasonIO
}

// streamCause translates what a read or a write of a stream returned. io.EOF is a clean end: of the stream, or of the
// connection without a fault.
func streamCause(err error, done bool) error {
	var se *quicgo.StreamError
	switch {
	case err == io.EOF:
		return io.EOF
	case errors.As(err, &se):
		code := Code(se.ErrorCode)
		why := code.Reason()
		if code == CodeNone {
			why = reactor.ReasonIO // given up without a fault, but in the middle
		}
		return &Error{Why: why, Code: code, Remote: se.Remote, Msg: "stream reset", Err: err}
	}
	if cause := connCause(err, done); cause != nil {
		return cause
	}
	return io.EOF
}

// codeFor is the code that tells the peer about cause.
func codeFor(cause error) Code {
	if cause == nil {
		return CodeNone
	}
	var r interface{ Reason() string }
	if errors.As(cause, &r) {
		return CodeOf(r.Reason())
	}
	return CodeIO
}
