package tls

import (
	stdtls "crypto/tls"
	"errors"
)

// ticketSink hands session tickets back to crypto/tls, which alone has the resumption secret. Each ticket is sealed again under the
// server's first application key, at crypto/tls's own count, whatever epoch the connection is in. These records repeat nonces of
// the peer with other plaintext, so they never leave this process.
type ticketSink struct {
	conn  *stdtls.Conn
	pipe  *pipe
	suite suite
	peer  half // the server's first application key
}

// newTicketSink takes over a client's engine after its handshake.
func newTicketSink(s suite, e *engine) (*ticketSink, error) {
	t := &ticketSink{conn: e.conn, pipe: &e.pipe, suite: s}
	if err := t.peer.install(s, e.pipe.secrets[secretServerApplication].bytes()); err != nil {
		return nil, err
	}
	return t, nil
}

// push makes crypto/tls read one NewSessionTicket message and store its session in the ClientSessionCache.
func (t *ticketSink) push(message []byte) (fail *Error) {
	defer func() {
		if p := recover(); p != nil {
			err := panicError(p)
			fail = &Error{Alert: AlertInternalError, Detail: err.Error(), Err: err}
		}
	}()
	if err := t.peer.wake(t.suite); err != nil {
		return &Error{Alert: AlertInternalError, Detail: err.Error(), Err: err}
	}
	var records []byte
	for rest := message; len(rest) > 0; {
		part := rest[:min(len(rest), maxPlaintext)]
		records = t.peer.seal(records, typeHandshake, part)
		rest = rest[len(part):]
	}
	// One byte of application data behind the ticket makes Read return, and resets crypto/tls's count of useless records.
	t.pipe.feed(t.peer.seal(records, typeApplicationData, []byte{0}))
	var b [1]byte
	n, err := t.conn.Read(b[:])
	switch {
	case err == nil && n == 1:
		return nil
	case err == nil:
		err = errors.New("tls: session ticket was not read")
	}
	alert := AlertInternalError
	if t.pipe.alerted {
		alert = t.pipe.alert
	}
	return &Error{Alert: alert, Detail: "session ticket refused: " + err.Error(), Err: err}
}

// sleep drops what the next push rebuilds.
func (t *ticketSink) sleep() {
	t.peer.sleep()
	t.pipe.write.sleep()
}

func (t *ticketSink) wipe() {
	t.peer.wipe()
	t.pipe.wipe(false)
	t.pipe.closed = true
}

// validTicket checks the structure of a NewSessionTicket's body (RFC 8446, 4.6.1), whoever is going to read it.
func validTicket(b []byte) bool {
	const fixed = 4 + 4 // lifetime, age_add
	if len(b) < fixed {
		return false
	}
	_, b, ok := vector(b[fixed:], 1) // nonce
	if !ok {
		return false
	}
	ticket, b, ok := vector(b, 2)
	if !ok || len(ticket) == 0 {
		return false
	}
	extensions, b, ok := vector(b, 2)
	if !ok || len(b) != 0 {
		return false
	}
	for len(extensions) > 0 {
		if len(extensions) < 2 {
			return false
		}
		if _, extensions, ok = vector(extensions[2:], 2); !ok {
			return false
		}
	}
	return true
}

// vector splits a variable-length vector with a length of n bytes off the front of b.
func vector(b []byte, n int) (v, rest []byte, ok bool) {
	if len(b) < n {
		return nil, nil, false
	}
	size := 0
	for _, x := range b[:n] {
		size = size<<8 | int(x)
	}
	if b = b[n:]; len(b) < size {
		return nil, nil, false
	}
	return b[:size], b[size:], true
}
