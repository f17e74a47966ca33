package tls

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"sync/atomic"
)

// state is where a Conn stands.
type state uint8

const (
	// stateHello: a server waits for a whole ClientHello; no engine exists.
	stateHello state = iota
	// stateStep: the engine, or its creation, waits for Step to be called.
	stateStep
	// stateParked: the engine waits for the peer's next handshake record.
	stateParked
	// stateOpen: the handshake is done and both directions carry data.
	stateOpen
	// statePeerClosed: the peer's close_notify has arrived; ours has not left.
	statePeerClosed
	// stateFinished: our last record is written; the peer may still send.
	stateFinished
	// stateClosed: both directions have ended; err is nil when both ended with close_notify.
	stateClosed
	// stateFailed: err is set; all that may still be written is the alert for it.
	stateFailed
	// stateReleased: keys and engine are gone.
	stateReleased
)

// Conn is one TLS connection without its socket. It holds no lock: see each method for who may call it.
type Conn struct {
	in, out half
	end     *endpoint  // the Server or Client it belongs to
	hs      *handshake // until the handshake is done and its output taken
	agreed  *agreement // shared, read-only; nil until the handshake is done, but for a client's name
	extra   *extra     // nil on most
	addrs   addresses  // nil without Bind, and after the handshake

	stepping atomic.Uint32 // stepIdle...
	state    state
	update   updateState
	asked    uint8 // answers of the peer to key update requests that may still come
	runs     runs
}

// runs counts records in a row that carry no application data, by kind.
type runs struct {
	empty, updates, canceled, tickets uint8
}

// extra is what few connections have, or have for long.
type extra struct {
	err     error       // set once, in stateFailed and sometimes stateClosed
	partial []byte      // start of a handshake message that has not arrived whole
	tickets *ticketSink // clients with a session cache only
}

// agreement is what a handshake agreed on. Connections of an endpoint that agreed on the same share it.
type agreement struct {
	name    string // server name: asked for on clients, received on servers
	alpn    string
	peer    *peerCertificates // nil when the peer showed none
	suite   suite
	group   stdtls.CurveID
	resumed bool
	retried bool
}

// addresses is what Bind takes.
type addresses = interface {
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}

// updateState says whether a KeyUpdate of ours goes out with the next Seal.
type updateState uint8

const (
	// updateNone: no.
	updateNone updateState = iota
	// updateAnswer: yes, without asking for one in return.
	updateAnswer
	// updateRequest: yes, and the peer is asked for one.
	updateRequest
)

// Values of Conn.stepping. It exists so that Release may be called while a worker is inside Step.
const (
	stepIdle uint32 = iota
	stepRunning
	stepDoomed // Release came while Step was running: Step releases when it returns
	stepGone   // released
)

// peerCertificates is kept apart because few connections have it.
type peerCertificates struct {
	certificates []*x509.Certificate
	chains       [][]*x509.Certificate
}

// ConnectionState is what a handshake agreed on.
type ConnectionState struct {
	CipherSuite       uint16         // as in crypto/tls
	Group             stdtls.CurveID // key exchange; 0 never happens in TLS 1.3
	Resumed           bool           // the session is a resumed one
	HelloRetryRequest bool           // the key exchange took a second round
	ALPN              string         // protocol agreed on, or ""
	ServerName        string         // the name asked for by the client, or ""
	// PeerCertificates is the peer's chain, leaf first, and VerifiedChains what it was verified to. Both are shared: not to be
	// changed.
	PeerCertificates []*x509.Certificate
	VerifiedChains   [][]*x509.Certificate
}

// State returns what the handshake agreed on. Any goroutine, once Step has reported done.
func (c *Conn) State() ConnectionState {
	a := c.agreed
	if a == nil {
		return ConnectionState{}
	}
	s := ConnectionState{
		CipherSuite: a.suite.id, Group: a.group, Resumed: a.resumed, HelloRetryRequest: a.retried,
		ALPN: a.alpn, ServerName: a.name,
	}
	if a.peer != nil {
		s.PeerCertificates, s.VerifiedChains = a.peer.certificates, a.peer.chains
	}
	return s
}

// NextRecord returns how many bytes must be there before Handshake or Open can make progress: the length of the record that starts
// at src[0], header included, or 5 while that is unknown. For a header that will be refused it is 5, too: there is no point in
// waiting for the rest. Loop only.
func (c *Conn) NextRecord(src []byte) int {
	if len(src) < recordHeaderLen {
		return recordHeaderLen
	}
	n := bodyLen(src)
	if n > maxCiphertext || (c.state == stateOpen || c.state == stateFinished) && judgeHeader(src, n) != 0 {
		return recordHeaderLen
	}
	return recordHeaderLen + n
}

// EOF says what it means that the socket ended: nil after the peer's close_notify, else an *Error that wraps io.ErrUnexpectedEOF
// (truncation), or the error that ended the connection before. Loop only.
func (c *Conn) EOF() error {
	switch c.state {
	case statePeerClosed:
		return nil
	case stateClosed, stateFailed:
		return c.failure()
	case stateReleased:
		return ErrReleased
	case stateOpen, stateFinished:
		return truncated("without close_notify")
	}
	return truncated("during the handshake")
}

// UpdateKeys queues a KeyUpdate for the next Seal; requestPeer asks the peer to replace its key too. The request is left out once
// the peer has closed its side: some stacks fail on it. Loop only. RFC 8446, 4.6.3.
func (c *Conn) UpdateKeys(requestPeer bool) error {
	if err := c.writable(); err != nil {
		return err
	}
	want := updateAnswer
	if requestPeer && c.state == stateOpen {
		want = updateRequest
	}
	c.update = max(c.update, want)
	return nil
}

// Finish appends the last record to dst: the fatal alert when cause is, or wraps, an *Error of our own, nothing when the peer's
// alert ended the connection, and close_notify otherwise, behind a user_canceled when that is the cause. Handshake output that is still waiting goes first. Before the handshake
// is done there are no keys, so that output is all. A second call appends nothing. Loop only.
func (c *Conn) Finish(dst []byte, cause error) []byte {
	if c.hs != nil && c.state != stateReleased {
		dst = c.Output(dst)
	}
	var after state
	failed := false
	switch c.state {
	case stateOpen:
		after = stateFinished
	case statePeerClosed:
		after = stateClosed
	case stateFailed:
		after, cause, failed = stateClosed, c.failure(), true
	default:
		return dst
	}
	c.state = after
	if !c.out.keyed() {
		return dst
	}
	defer c.out.wipe()
	if c.out.wake(c.agreed.suite) != nil {
		return dst
	}
	alert := AlertCloseNotify
	var e *Error
	if errors.As(cause, &e) && !e.Remote {
		alert = e.Alert
	} else if failed { // by the peer's alert
		return dst
	}
	if alert == AlertUserCanceled { // says why close_notify follows, and ends nothing by itself
		dst = c.out.seal(dst, typeAlert, []byte{alert.level(), byte(alert)})
		alert = AlertCloseNotify
	}
	c.update = updateNone
	return c.out.seal(dst, typeAlert, []byte{alert.level(), byte(alert)})
}

// Sleep drops memory that can be rebuilt, most of what an idle connection holds: the AEAD objects of both directions. The next Open
// and Seal rebuild theirs, at the price of a key derivation each, and nothing else changes. It is for connections that have been quiet
// for seconds. Not while Step runs. Loop only.
func (c *Conn) Sleep() {
	c.in.sleep()
	c.out.sleep()
	if c.extra != nil && c.extra.tickets != nil {
		c.extra.tickets.sleep()
	}
}

// Bind says which addresses ClientHelloInfo.Conn has in callbacks. addrs is asked when a callback asks, on the goroutine that runs
// Step, and forgotten when the handshake is done. Call it before Handshake, if at all. Loop only.
func (c *Conn) Bind(addrs interface {
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}) {
	c.addrs = addrs
}

// Refuse turns the peer away before its handshake, which costs next to nothing: it appends the plaintext fatal alert internal_error
// to dst (RFC 8446, 6.2), and the connection has failed. Once a Step has been made or is due it appends nothing and changes nothing;
// only Finish and Release can end the connection then. Loop only.
func (c *Conn) Refuse(dst []byte) []byte {
	if c.state != stateHello && (c.state != stateStep || c.hs != nil) {
		return dst
	}
	c.refuse(&Error{Alert: AlertInternalError, Detail: "refused before the handshake"})
	return c.Output(dst)
}

// Release ends a parked engine and drops the keys. It may be called at any time, more than once, and is needed on every path: a
// handshake that is merely forgotten is never collected. It runs on the loop, or while Step runs on a worker; then Step cleans up
// when it returns.
func (c *Conn) Release() {
	if c.stepping.CompareAndSwap(stepRunning, stepDoomed) {
		return
	}
	if c.stepping.CompareAndSwap(stepIdle, stepGone) {
		c.release()
	}
}

func (c *Conn) release() {
	if c.hs != nil && c.hs.engine != nil {
		c.hs.engine.end()
	}
	c.hs = nil
	if x := c.extra; x != nil {
		if x.tickets != nil {
			x.tickets.wipe()
		}
		clear(x.partial)
		c.extra = nil
	}
	c.addrs = nil
	c.in.wipe()
	c.out.wipe()
	c.state = stateReleased
}

// readable is nil when Open may decrypt.
func (c *Conn) readable() error {
	switch c.state {
	case stateOpen, stateFinished:
		return nil
	case statePeerClosed:
		return io.EOF
	case stateFailed, stateClosed:
		if err := c.failure(); err != nil {
			return err
		}
		return io.EOF
	case stateReleased:
		return ErrReleased
	}
	return ErrNotReady
}

// writable is nil when Seal may encrypt.
func (c *Conn) writable() error {
	switch c.state {
	case stateOpen, statePeerClosed:
		return nil
	case stateFinished, stateClosed:
		return ErrFinished
	case stateFailed:
		return c.failure()
	case stateReleased:
		return ErrReleased
	}
	return ErrNotReady
}

// fail ends the connection with e.
func (c *Conn) fail(e *Error) error {
	x := c.more()
	x.err = e
	c.in.wipe()
	clear(x.partial)
	x.partial = nil
	if c.state == stateFinished || c.state == stateClosed {
		c.state = stateClosed
	} else {
		c.state = stateFailed
	}
	return e
}

// failure is the error that ended the connection, or nil.
func (c *Conn) failure() error {
	if c.extra == nil {
		return nil
	}
	return c.extra.err
}

// more returns c.extra, made when it is needed.
func (c *Conn) more() *extra {
	if c.extra == nil {
		c.extra = &extra{}
	}
	return c.extra
}

// midMessage reports whether the start of a handshake message waits for its rest.
func (c *Conn) midMessage() bool { return c.extra != nil && len(c.extra.partial) > 0 }

// name is the server name: a client's own until the handshake is done.
func (c *Conn) name() string {
	if c.agreed == nil {
		return ""
	}
	return c.agreed.name
}

// wake readies one direction of an open connection.
func (c *Conn) wake(h *half) error {
	if h.cipher != nil {
		return nil
	}
	if err := h.wake(c.agreed.suite); err != nil {
		return c.fail(&Error{Alert: AlertInternalError, Detail: err.Error(), Err: err})
	}
	return nil
}

func (c *Conn) fault(f fault) error { return c.fail(f.err()) }
