package tls

import (
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"strings"
)

// handshake is what a Conn needs until it is open.
type handshake struct {
	hello   []byte // messages of the ClientHello's records so far, without their headers
	input   []byte // whole records for the engine's next step
	output  []byte // not yet taken by Output
	version [2]byte
	ccs     int     // change_cipher_spec records in input
	cut     bool    // input holds the header of an oversized record, for the engine to judge
	engine  *engine // nil before the first Step
}

// Handshake takes ciphertext until the handshake is done; afterwards it takes nothing. It consumes whole records only, and no
// more than the engine needs next, so what follows the peer's last handshake record is left to the caller, for Open. src is not
// kept. While step is true, Step must run before any other call but Release. Clients begin with Handshake(nil), which asks for a
// step at once. After an error, Output has the alert for the peer. Loop only.
func (c *Conn) Handshake(src []byte) (consumed int, step bool, err error) {
	switch c.state {
	case stateHello:
		return c.readHello(src)
	case stateStep:
		return 0, true, nil
	case stateParked:
		return c.feed(src)
	case stateFailed, stateClosed:
		return 0, false, c.failure()
	case stateReleased:
		return 0, false, ErrReleased
	}
	return 0, false, nil
}

// feed hands the engine one record, and the change_cipher_spec records in front of it.
func (c *Conn) feed(src []byte) (consumed int, step bool, err error) {
	hs := c.hs
	for {
		rest := src[consumed:]
		if len(rest) < recordHeaderLen {
			return consumed, false, nil
		}
		n := recordHeaderLen + bodyLen(rest)
		if n > recordHeaderLen+maxCiphertext {
			// crypto/tls refuses it by the header; waiting for the body would only let the peer fill our memory.
			n = recordHeaderLen
			hs.cut = true
		}
		if len(rest) < n {
			return consumed, false, nil
		}
		consumed += n
		if isCCS(rest[:n]) {
			if hs.ccs++; hs.ccs < maxBatchedCCS {
				if !hs.engine.pipe.early() {
					hs.input = append(hs.input, rest[:n]...)
				}
				continue
			}
		}
		hs.input = append(hs.input, rest[:n]...)
		c.state = stateStep
		return consumed, true, nil
	}
}

// Step does the part of the handshake that is heavy on the processor: key exchange, signatures, certificates, the caller's
// callbacks. done: the handshake is complete; take Output, then use Open and Seal. After an error, Output has the alert for the
// peer. Any goroutine that is not locked to a thread, one call at a time.
func (c *Conn) Step() (done bool, err error) {
	if !c.stepping.CompareAndSwap(stepIdle, stepRunning) {
		return false, ErrReleased
	}
	returned := false
	defer func() {
		if !returned { // a callback called runtime.Goexit, which nothing can stop
			c.failHandshake(&Error{Alert: AlertInternalError, Detail: "a callback ended its goroutine"})
		}
		if !c.stepping.CompareAndSwap(stepRunning, stepIdle) {
			c.stepping.Store(stepGone)
			c.release()
			done, err = false, ErrReleased
		}
	}()
	done, err = c.step()
	returned = true
	return done, err
}

func (c *Conn) step() (done bool, err error) {
	switch c.state {
	case stateStep:
	case stateFailed, stateClosed:
		return false, c.failure()
	default:
		return false, ErrNotReady
	}
	if c.hs == nil {
		c.hs = &handshake{}
	}
	hs := c.hs
	if hs.engine == nil {
		hs.engine = c.newEngine()
	}
	if e := hs.engine.pipe.judge(hs.input); e != nil {
		return false, c.failHandshake(e)
	}
	hs.engine.pipe.feed(hs.input)
	hs.input, hs.ccs = nil, 0
	finished, err := hs.engine.resume()
	switch {
	case err != nil:
		return false, c.failHandshake(hs.engine.classify(err))
	case !finished && hs.cut:
		return false, c.failHandshake(faultHandshakeRecord.err())
	case !finished:
		c.state = stateParked
		return false, nil
	}
	if err := c.takeOver(); err != nil {
		return false, c.failHandshake(&Error{Alert: AlertInternalError, Detail: err.Error(), Err: err})
	}
	return true, nil
}

// failHandshake ends the engine and keeps its last words for Output.
func (c *Conn) failHandshake(e *Error) error {
	c.in.wipe()
	c.out.wipe() // so that Finish does not add an alert to the engine's
	if c.hs == nil {
		return c.fail(e)
	}
	if c.hs.engine != nil {
		if !e.Remote {
			c.hs.engine.pipe.ensureAlert(e.Alert)
		}
		c.hs.output = append(c.hs.output, c.hs.engine.pipe.out...)
		c.hs.engine.end()
		c.hs.engine = nil
	}
	c.hs.input, c.hs.hello = nil, nil
	return c.fail(e)
}

// refuse ends a handshake that no engine was made for.
func (c *Conn) refuse(e *Error) error {
	if c.hs == nil {
		c.hs = &handshake{}
	}
	c.hs.output = appendRecord(c.hs.output, typeAlert, []byte{e.Alert.level(), byte(e.Alert)})
	return c.failHandshake(e)
}

// Output appends the handshake bytes that wait to be sent, and lets go of them. Call it after each Step and after an error of
// Handshake. Loop only.
func (c *Conn) Output(dst []byte) []byte {
	hs := c.hs
	if hs == nil {
		return dst
	}
	dst = append(dst, hs.output...)
	hs.output = nil
	if hs.engine != nil {
		dst = append(dst, hs.engine.pipe.out...)
		hs.engine.pipe.out = nil
	}
	if c.state >= stateOpen {
		c.hs = nil
	}
	return dst
}

// takeOver installs the keys of the finished handshake. From here on nothing that crypto/tls writes leaves.
func (c *Conn) takeOver() (err error) {
	e := c.hs.engine
	st := e.conn.ConnectionState() // would block for ever while the engine is parked
	if st.Version != stdtls.VersionTLS13 {
		return fmt.Errorf("tls: handshake agreed on %s", stdtls.VersionName(st.Version))
	}
	a := agreement{
		name: st.ServerName, alpn: st.NegotiatedProtocol, suite: suite{st.CipherSuite, e.pipe.aes},
		group: st.CurveID, resumed: st.DidResume, retried: st.HelloRetryRequest,
	}
	if !a.suite.valid() {
		return fmt.Errorf("tls: handshake agreed on suite %#04x", st.CipherSuite)
	}
	if len(e.pipe.in) != 0 {
		return errors.New("tls: handshake left input unread")
	}
	ours, theirs := secretServerApplication, secretClientApplication
	if c.end.server == nil {
		ours, theirs = theirs, ours
	}
	if err = e.pipe.openWrite(a.suite, ours); err != nil {
		return err
	}
	c.out = e.pipe.write
	e.pipe.write.cipher = nil // one owner
	if err = c.in.install(a.suite, e.pipe.secrets[theirs].bytes()); err != nil {
		return err
	}
	if len(st.PeerCertificates) > 0 {
		a.peer = &peerCertificates{certificates: st.PeerCertificates, chains: st.VerifiedChains}
	}
	c.agreed = c.end.share(a)
	c.hs.output = e.pipe.out
	e.pipe.out = nil
	if e.wantsTickets {
		if c.more().tickets, err = newTicketSink(a.suite, e); err != nil {
			return err
		}
	}
	e.pipe.wipe(e.wantsTickets)
	c.hs.engine = nil
	c.addrs = nil
	c.state = stateOpen
	return nil
}

// classify turns an error of the engine into ours.
func (e *engine) classify(err error) *Error {
	e.pipe.lastAlert()
	detail := strings.TrimPrefix(err.Error(), "tls: ")
	if e.pipe.alerted {
		return &Error{Alert: e.pipe.alert, Detail: detail, Err: err}
	}
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "remote error" {
		// crypto/tls's alert type is not exported, but it is a number.
		if v := reflect.ValueOf(op.Err); v.Kind() == reflect.Uint8 {
			return &Error{Remote: true, Alert: Alert(v.Uint()), Detail: "during the handshake", Err: err}
		}
	}
	if err == io.EOF { // how crypto/tls reports close_notify
		return &Error{Remote: true, Alert: AlertCloseNotify, Detail: "during the handshake", Err: err}
	}
	var header stdtls.RecordHeaderError
	if errors.As(err, &header) {
		return &Error{Alert: AlertUnexpectedMessage, Detail: detail, Err: err}
	}
	return &Error{Alert: AlertInternalError, Detail: detail, Err: err}
}
