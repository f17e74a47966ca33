package tls

import (
	"net"
	"time"

	"github.com/ron-transport/ron-transport/tls/internal/aesgcm"
)

// secretID says which traffic secret of the handshake.
type secretID uint8

const (
	secretClientHandshake secretID = iota
	secretServerHandshake
	secretClientApplication
	secretServerApplication
	secretCount
)

// secret is a traffic secret that may not be known yet.
type secret struct {
	n   uint8
	buf [maxSecretLen]byte
}

func (s *secret) known() bool   { return s.n > 0 }
func (s *secret) bytes() []byte { return s.buf[:s.n] }

// pipe is the net.Conn under crypto/tls: reads take what Handshake fed, writes collect for Output. It also follows what crypto/tls
// writes, to know with which key and sequence number the next record would go out.
type pipe struct {
	in      []byte
	out     []byte
	park    func(struct{}) bool // stops the coroutine until there is input; nil outside the handshake
	closed  bool
	server  bool
	alerted bool // crypto/tls has sent an alert
	alert   Alert

	addrs     addresses
	aes       aesgcm.Implementation
	suite     suite  // from the ServerHello that went by
	first     []byte // on clients: start of the peer's first message, until it shows the suite
	maxHello  int    // on servers: Config.MaxClientHello
	again     int    // on servers: bytes of the answer to a HelloRetryRequest
	protected int    // bytes of the peer's protected records

	asksClient bool // on servers: a client certificate is asked for
	secrets    [secretCount]secret
	write      half   // our application key, its sequence being that of the next record
	handshake  half   // our handshake key, likewise
	peer       half   // the peer's handshake key, likewise
	last       []byte // last record under our handshake key, as far as it matters
	scratch    []byte
}

// feed makes b the input. It must not be changed afterwards.
func (p *pipe) feed(b []byte) {
	if len(p.in) == 0 {
		p.in = b
	} else {
		p.in = append(p.in, b...)
	}
	for !p.server && !p.suite.known() && len(b) >= recordHeaderLen && len(b) >= recordHeaderLen+bodyLen(b) {
		if b[0] == typeHandshake {
			body := b[recordHeaderLen : recordHeaderLen+bodyLen(b)]
			p.first = append(p.first, body[:min(len(body), maxHelloStart-len(p.first))]...)
			p.suite = suite{helloSuite(p.first), p.aes}
		}
		b = b[recordHeaderLen+bodyLen(b):]
	}
}

// early reports whether a client has nothing yet of the server's first message. crypto/tls takes a change_cipher_spec only later,
// while it is to be dropped from the ClientHello on (RFC 8446, 5).
func (p *pipe) early() bool { return !p.server && len(p.first) == 0 }

// judge applies the rules of the handshake's record layer that crypto/tls is lax about: a change_cipher_spec is the byte 1, in a record
// of its own, unprotected, or else an unexpected_message; so is any other record that is unprotected when the peer has its keys
// (RFC 8446, 5); and what a server collects before it knows its client has bounds.
func (p *pipe) judge(b []byte) *Error {
	for len(b) >= recordHeaderLen && len(b) >= recordHeaderLen+bodyLen(b) {
		record := b[:recordHeaderLen+bodyLen(b)]
		b = b[len(record):]
		f := fault(0)
		switch {
		case record[0] == typeApplicationData:
			f = p.judgeProtected(record)
		case isCCS(record):
		case record[0] == typeChangeCipherSpec:
			f = faultCCSValue
		case p.peerSecret().known():
			if p.server && p.peer.seq == 0 && record[0] == typeAlert && bodyLen(record) == 2 {
				// The client could make nothing of our ServerHello, so it has no keys.
				return &Error{Remote: true, Alert: Alert(record[recordHeaderLen+1]), Detail: "in answer to the ServerHello"}
			}
			f = faultUnprotected
		case p.server && p.suite.known() && record[0] == typeHandshake:
			if p.again += bodyLen(record); p.again > messageHeaderLen+p.maxHello {
				f = faultHelloSize
			}
		}
		if f != 0 {
			return f.err()
		}
	}
	return nil
}

// judgeProtected is judge for a protected record.
func (p *pipe) judgeProtected(record []byte) fault {
	if p.protected += len(record); p.server && !p.asksClient && p.protected > maxUnaskedFlight {
		return faultUnaskedFlight
	}
	if len(record) <= maxCheckedRecord && p.openPeer() {
		inner, err := p.peer.open(nil, record)
		if _, typ, ok := trim(inner); err == nil && ok && typ == typeChangeCipherSpec {
			return faultCCS
		}
	}
	p.peer.seq++
	return 0
}

// peerSecret is the secret of the peer's handshake key. crypto/tls tells it when it begins to use it.
func (p *pipe) peerSecret() *secret {
	if p.server {
		return &p.secrets[secretClientHandshake]
	}
	return &p.secrets[secretServerHandshake]
}

// openPeer makes the peer's handshake read key, once, for the record after those counted, and reports whether there is one.
func (p *pipe) openPeer() bool {
	if !p.suite.known() || !p.peerSecret().known() {
		return false
	}
	seq := p.peer.seq
	defer func() { p.peer.seq = seq }()
	return p.peer.cipher != nil || p.peer.install(p.suite, p.peerSecret().bytes()) == nil
}

// Read implements net.Conn for crypto/tls.
func (p *pipe) Read(b []byte) (int, error) {
	for len(p.in) == 0 {
		if p.closed {
			return 0, errPipeClosed
		}
		if p.park == nil {
			return 0, errPipeEmpty
		}
		if !p.park(struct{}{}) {
			p.closed = true
		}
	}
	n := copy(b, p.in)
	if p.in = p.in[n:]; len(p.in) == 0 {
		p.in = nil // or its array would be kept until the next record
	}
	return n, nil
}

// Write implements net.Conn for crypto/tls, which writes whole records only.
func (p *pipe) Write(b []byte) (int, error) {
	if p.closed {
		return 0, errPipeClosed
	}
	p.out = append(p.out, b...)
	p.follow(b)
	return len(b), nil
}

// follow notes what the records in b mean for the write keys.
func (p *pipe) follow(b []byte) {
	for len(b) >= recordHeaderLen && len(b) >= recordHeaderLen+bodyLen(b) {
		record := b[:recordHeaderLen+bodyLen(b)]
		b = b[len(record):]
		switch record[0] {
		case typeHandshake:
			if id := helloSuite(record[recordHeaderLen:]); p.server && id != 0 {
				p.suite = suite{id, p.aes}
			}
		case typeAlert:
			p.noteAlert(record[recordHeaderLen:])
		case typeApplicationData:
			p.trial(record)
		}
	}
}

// trial finds out which of our keys a protected record was sealed with. The order in which crypto/tls switches keys and flushes
// its buffer is its own business; the record cannot lie.
func (p *pipe) trial(record []byte) {
	if !p.suite.known() {
		return
	}
	if len(record) > cap(p.scratch) {
		p.scratch = make([]byte, 0, len(record))
	}
	ours := secretServerApplication
	if !p.server {
		ours = secretClientApplication
	}
	if (p.write.keyed() || p.secrets[ours].known()) && p.openWrite(p.suite, ours) == nil {
		if inner, err := p.write.open(p.scratch, record); err == nil {
			p.write.seq++
			p.noteInner(inner)
			return
		}
	}
	// Only a failed handshake asks what else it said, see lastAlert.
	p.handshake.seq++
	p.last = append(p.last[:0], record[:min(len(record), maxCheckedRecord)]...)
}

// lastAlert looks for an alert in the last record that went out under the handshake key.
func (p *pipe) lastAlert() {
	ours := secretServerHandshake
	if !p.server {
		ours = secretClientHandshake
	}
	if p.alerted || len(p.last) < recordOverhead || len(p.last) != recordHeaderLen+bodyLen(p.last) {
		return
	}
	if !p.secrets[ours].known() && len(p.last) == recordOverhead+2 {
		// crypto/tls begins to use its key before it tells it. All that fails in between are messages that span the change of keys, and
		// then the key log, the client's line being the first.
		p.alerted, p.alert = true, AlertUnexpectedMessage
		if p.secrets[secretClientHandshake].known() {
			p.alert = AlertInternalError
		}
		return
	}
	if p.openHandshake(ours) != nil {
		return
	}
	p.handshake.seq--
	if inner, err := p.handshake.open(nil, p.last); err == nil {
		p.noteInner(inner)
	}
	p.handshake.seq++
}

func (p *pipe) noteInner(inner []byte) {
	if content, typ, ok := trim(inner); ok && typ == typeAlert {
		p.noteAlert(content)
	}
}

func (p *pipe) noteAlert(body []byte) {
	if len(body) == 2 && !p.alerted {
		p.alerted, p.alert = true, Alert(body[1])
	}
}

// openWrite makes the application write key ready.
func (p *pipe) openWrite(s suite, id secretID) error {
	if p.write.keyed() {
		return p.write.wake(s)
	}
	return p.write.install(s, p.secrets[id].bytes())
}

// openHandshake makes the handshake write key, once, for the record after those counted.
func (p *pipe) openHandshake(id secretID) error {
	if p.handshake.cipher != nil {
		return nil
	}
	seq := p.handshake.seq
	defer func() { p.handshake.seq = seq }()
	return p.handshake.install(p.suite, p.secrets[id].bytes())
}

// ensureAlert adds an alert to the output of a failed handshake when crypto/tls has sent none (a callback panicked, or the peer
// never spoke TLS). It goes out under the key that crypto/tls would have used; nothing else ever will.
func (p *pipe) ensureAlert(alert Alert) {
	if p.alerted {
		return
	}
	p.alerted, p.alert = true, alert
	body := []byte{alert.level(), byte(alert)}
	handshake := secretServerHandshake
	if !p.server {
		handshake = secretClientHandshake
	}
	application := handshake + 2
	switch {
	case !p.suite.known() || !p.secrets[handshake].known():
		p.out = appendRecord(p.out, typeAlert, body)
	case p.server && p.secrets[application].known():
		if p.openWrite(p.suite, application) == nil {
			p.out = p.write.seal(p.out, typeAlert, body)
		}
	default:
		// A client uses its application key only after its Finished, when nothing can fail any more.
		if p.openHandshake(handshake) == nil {
			p.out = p.handshake.seal(p.out, typeAlert, body)
		}
	}
}

// wipe overwrites the secrets. keepWrite keeps what a ticket sink needs to understand crypto/tls's alerts.
func (p *pipe) wipe(keepWrite bool) {
	p.addrs, p.first = nil, nil
	clear(p.secrets[:])
	p.handshake.wipe()
	p.peer.wipe()
	p.scratch = nil
	if !keepWrite {
		p.write.wipe()
	}
}

// The rest of net.Conn. crypto/tls has no use for it during a handshake; callbacks see it as ClientHelloInfo.Conn.

// Close implements net.Conn.
func (p *pipe) Close() error { return nil }

// LocalAddr implements net.Conn.
func (p *pipe) LocalAddr() net.Addr {
	if p.addrs == nil {
		return pipeAddr{}
	}
	return p.addrs.LocalAddr()
}

// RemoteAddr implements net.Conn.
func (p *pipe) RemoteAddr() net.Addr {
	if p.addrs == nil {
		return pipeAddr{}
	}
	return p.addrs.RemoteAddr()
}

// SetDeadline implements net.Conn.
func (p *pipe) SetDeadline(time.Time) error { return nil }

// SetReadDeadline implements net.Conn.
func (p *pipe) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline implements net.Conn.
func (p *pipe) SetWriteDeadline(time.Time) error { return nil }

// pipeAddr stands in for an address when there was no Bind.
type pipeAddr struct{}

func (pipeAddr) Network() string { return "tls" }
func (pipeAddr) String() string  { return "in-memory" }
