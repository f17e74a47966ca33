package control

import (
	"errors"
	"fmt"
)

// Codes of tor's replies that callers tell apart (control-spec 4).
const (
	CodeOK              = 250 // done
	CodeUnspecified     = 550 // unspecified error from tor; ADD_ONION: the service exists already
	CodeUnrecognized    = 510 // unrecognized command
	CodeSyntax          = 512 // syntax error in an argument
	CodeUnrecognizedArg = 513 // unrecognized argument
	CodeAuthRequired    = 514 // not authenticated
	CodeBadAuth         = 515 // authentication failed
	CodeNotFound        = 552 // unrecognized entity: no such onion service, key or variable
)

// Error is a refusal by tor.
type Error struct {
	Code    int    // of the reply, 4xx to 6xx
	Text    string // tor's words
	Command string // the command's first word; its arguments may be secret
}

// Error describes the refusal. Any goroutine.
func (e *Error) Error() string {
	return fmt.Sprintf("control: tor refuses %s: %d %s", e.Command, e.Code, e.Text)
}

// Errors of connections and calls.
var (
	// ErrClosed: the connection has ended, or the Link is down. The error that ended it follows in the chain.
	ErrClosed = errors.New("control: connection closed")
	// ErrProtocol: the other end sends what is no reply of the control protocol. The connection ends.
	ErrProtocol = errors.New("control: malformed reply")
	// ErrReplyTooLarge: a reply of more than 16 MiB. The connection ends.
	ErrReplyTooLarge = errors.New("control: reply larger than 16 MiB")
	// ErrBusy: 256 commands wait for tor already.
	ErrBusy = errors.New("control: too many commands waiting for tor")
	// ErrNoAuthMethod: tor offers no way to authenticate that Auth has the means for.
	ErrNoAuthMethod = errors.New("control: no usable authentication method")
	// ErrCookie: the cookie file cannot be read or holds no cookie. The file system's error follows in the chain.
	ErrCookie = errors.New("control: authentication cookie unusable")
	// ErrServerHash: the other end does not know the cookie, so it is not the tor that wrote the file.
	ErrServerHash = errors.New("control: the server does not know the cookie")
)

// IsCode reports whether err is tor's refusal with the given code. Any goroutine.
func IsCode(err error, code int) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}
