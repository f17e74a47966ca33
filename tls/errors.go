package tls

import (
	"errors"
	"io"
)

// Error is every error of a connection that TLS has a word for.
type Error struct {
	// Alert is what was, or is to be, told to the peer; with Remote it is what the peer told us.
	Alert Alert
	// Remote is true when the peer ended the connection: by an alert, or by closing the socket without close_notify (then Alert
	// is AlertCloseNotify and Err is io.ErrUnexpectedEOF).
	Remote bool
	// Detail says what happened.
	Detail string
	// Err is the cause, or nil.
	Err error
}

// Error implements error. Any goroutine.
func (e *Error) Error() string {
	who := "tls: "
	if e.Remote {
		who = "tls: peer: "
	}
	return who + e.Alert.String() + ": " + e.Detail
}

// Unwrap returns the cause. Any goroutine.
func (e *Error) Unwrap() error { return e.Err }

// Reason returns the transport's reason label, always "tls". Any goroutine.
func (e *Error) Reason() string { return "tls" }

// Errors of the caller, not of the peer: they carry no alert.
var (
	// ErrReleased is returned by every method of a released Conn that returns an error.
	ErrReleased = errors.New("tls: connection released")
	// ErrFinished is returned by Seal and UpdateKeys after Finish.
	ErrFinished = errors.New("tls: write side is finished")
	// ErrNotReady is returned by Open, Seal and UpdateKeys before the handshake is done, and by Step when no step is due.
	ErrNotReady = errors.New("tls: not possible in this state of the handshake")
)

// fault is a rule of TLS that the peer broke. This is the one place that says which alert answers it.
type fault uint8

const (
	faultBadMAC          fault = iota + 1
	faultCiphertextSize        // longer than 2^14+256
	faultPlaintextSize         // longer than 2^14 (with padding 2^14+1)
	faultOuterType             // a record that is not application_data after the handshake
	faultVersion               // a protected record whose version is not 0x0303
	faultNoContentType         // all zeros inside
	faultContentType           // an unknown type inside
	faultCCS                   // change_cipher_spec inside a protected record
	faultEmptyHandshake        // RFC 8446, 5.1
	faultEmptyAlert            // RFC 8446, 5.4
	faultAlertSize             // an alert that is not two bytes
	faultAlertLevel            // neither warning nor fatal
	faultWarning               // a warning that TLS 1.3 does not know
	faultInterleaved           // another record between the pieces of a message
	faultMessageType           // a handshake message with no place here
	faultMessageSize           // over maxMessage
	faultUpdateSize            // a KeyUpdate that is not one byte
	faultUpdateValue           // neither 0 nor 1
	faultUpdateBoundary        // data behind a KeyUpdate in its record
	faultTicket                // a NewSessionTicket that does not parse
	faultEmptyRun              // too many empty records in a row
	faultUpdateRun             // too many key updates in a row
	faultCanceledRun           // too many user_canceled in a row
	faultTicketRun             // too many tickets in a row
	faultNotTLS                // the first bytes are no TLS handshake
	faultSSL2                  // the first bytes are an SSLv2 hello
	faultHelloVersion          // the first record's major version is not 3
	faultHelloRecordSize       // a plaintext record longer than 2^14
	faultHelloEmpty            // an empty record before the ClientHello
	faultHelloType             // the first message is no ClientHello
	faultHelloSize             // over Config.MaxClientHello
	faultHandshakeRecord       // an oversized record during the handshake
	faultCCSValue              // change_cipher_spec that is not the byte 1
	faultUnprotected           // an unprotected record when the handshake's keys are in use
	faultUnaskedFlight         // over maxUnaskedFlight
	faultSequence              // 2^64 records with one key
	lastFault
)

// alert returns the answer to f and what f is in words.
func (f fault) alert() (Alert, string) {
	switch f {
	case faultBadMAC:
		return AlertBadRecordMAC, "record does not authenticate"
	case faultCiphertextSize, faultHandshakeRecord:
		return AlertRecordOverflow, "protected record longer than 2^14+256 bytes"
	case faultPlaintextSize:
		return AlertRecordOverflow, "plaintext longer than 2^14 bytes"
	case faultHelloRecordSize:
		return AlertRecordOverflow, "plaintext record longer than 2^14 bytes"
	case faultOuterType:
		return AlertUnexpectedMessage, "unprotected record after the handshake"
	case faultUnprotected:
		return AlertUnexpectedMessage, "unprotected record in the protected part of the handshake"
	case faultUnaskedFlight:
		return AlertUnexpectedMessage, "more than a Finished from a client that was asked for no certificate"
	case faultVersion:
		return AlertUnexpectedMessage, "protected record with a version other than 0x0303"
	case faultNoContentType:
		return AlertUnexpectedMessage, "record without a content type"
	case faultContentType:
		return AlertUnexpectedMessage, "record of unknown content type"
	case faultCCS:
		return AlertUnexpectedMessage, "change_cipher_spec inside a protected record"
	case faultCCSValue:
		return AlertUnexpectedMessage, "change_cipher_spec that is not the byte 1"
	case faultEmptyHandshake, faultHelloEmpty:
		return AlertUnexpectedMessage, "empty handshake record"
	case faultEmptyAlert:
		return AlertUnexpectedMessage, "empty alert record"
	case faultInterleaved:
		return AlertUnexpectedMessage, "record between the pieces of a handshake message"
	case faultMessageType:
		return AlertUnexpectedMessage, "handshake message that has no place after the handshake"
	case faultUpdateBoundary:
		return AlertUnexpectedMessage, "data behind a KeyUpdate in the same record"
	case faultUpdateRun:
		return AlertUnexpectedMessage, "too many key updates without application data"
	case faultTicketRun:
		return AlertUnexpectedMessage, "too many session tickets without application data"
	case faultNotTLS:
		return AlertUnexpectedMessage, "first bytes are not a TLS handshake"
	case faultHelloType:
		return AlertUnexpectedMessage, "first message is not a ClientHello"
	case faultSSL2, faultHelloVersion:
		return AlertProtocolVersion, "first bytes are of a protocol older than TLS 1.3"
	case faultAlertSize:
		return AlertDecodeError, "alert that is not two bytes long"
	case faultWarning:
		return AlertDecodeError, "warning alert that TLS 1.3 does not have"
	case faultUpdateSize:
		return AlertDecodeError, "KeyUpdate that is not one byte long"
	case faultTicket:
		return AlertDecodeError, "malformed NewSessionTicket"
	case faultEmptyRun:
		return AlertDecodeError, "too many empty records without application data"
	case faultCanceledRun:
		return AlertDecodeError, "too many user_canceled alerts"
	case faultAlertLevel:
		return AlertIllegalParameter, "alert of unknown level"
	case faultMessageSize, faultHelloSize:
		return AlertIllegalParameter, "handshake message over its size limit"
	case faultUpdateValue:
		return AlertIllegalParameter, "KeyUpdate with an unknown value"
	case faultSequence:
		return AlertInternalError, "record sequence number used up"
	}
	return AlertInternalError, "unknown fault"
}

func (f fault) err() *Error {
	a, text := f.alert()
	return &Error{Alert: a, Detail: text}
}

// truncated is the verdict on a socket that ended without close_notify.
func truncated(when string) *Error {
	return &Error{Remote: true, Alert: AlertCloseNotify, Detail: "connection ended " + when, Err: io.ErrUnexpectedEOF}
}
