package tor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/ron-transport/ron-transport/reactor"
)

// tunnelState is the life of a Tunnel; it only moves downwards.
type tunnelState uint8

const (
	// tunnelStart: nothing has been said.
	tunnelStart tunnelState = iota
	// tunnelMethod: the methods are sent, tor is to choose (RFC 1928, 3).
	tunnelMethod
	// tunnelAuth: user name and password are sent, tor is to accept them (RFC 1929, 2).
	tunnelAuth
	// tunnelReply: the request is sent, tor is to answer when the service has (RFC 1928, 6).
	tunnelReply
	// tunnelInner: the way is open, the filter behind it shakes hands.
	tunnelInner
	// tunnelOpen: bytes flow.
	tunnelOpen
)

// SOCKS as in RFC 1928, and tor's additional replies (its proposal 304, ExtendedErrors).
const (
	socksVersion  = 5
	authVersion   = 1
	methodNone    = 0
	methodUser    = 2
	cmdConnect    = 1
	addrIPv4      = 1
	addrDomain    = 3
	addrIPv6      = 4
	socksUser     = "ron" // tor keeps streams apart by user name and password, whatever they are
	replyHeader   = 5     // up to the first byte of the address, which for a domain is its length
	replyMoreIPv4 = 4 + 2 - 1
	replyMoreIPv6 = 16 + 2 - 1
)

// replyKinds says what tor's replies mean.
var replyKinds = map[byte]Kind{
	0x01: KindFailed, 0x02: KindRefused, 0x03: KindOffline, 0x04: KindOffline, 0x05: KindRefused, 0x06: KindTimeout,
	0x07: KindFailed, 0x08: KindBadAddress, 0xF0: KindNotFound, 0xF1: KindBadDescriptor, 0xF2: KindOffline, 0xF3: KindOffline,
	0xF4: KindAuthNeeded, 0xF5: KindAuthWrong, 0xF6: KindBadAddress, 0xF7: KindTimeout,
}

// Tunnel is the way through a tor's SOCKS port, as a filter: it asks tor for the onion service, then lets bytes through as they are, or
// through the filter behind it. Its handshake is complete when that of the filter behind it is. Tor.Dial makes one; by itself it is for
// a tor that nobody here controls. The error of a handshake that tor ends is an *Error. Methods are the reactor's.
type Tunnel struct {
	host      string
	port      uint16
	isolation string
	inner     reactor.Filter // nil: none
	state     tunnelState
	answer    []byte // tor's last one, taken by the next Step
	out       []byte
}

// NewTunnel makes the filter of one connection. addr is "X.onion:port", isolation as in DialConfig, and inner, which may be nil, the
// filter behind the tunnel, such as TLS; it belongs to the Tunnel then. *Error for a bad address. Any goroutine.
func NewTunnel(addr, isolation string, inner reactor.Filter) (*Tunnel, error) {
	host, port, err := splitOnion(addr)
	if err != nil {
		return nil, err
	}
	if len(isolation) > maxIsolation {
		return nil, fmt.Errorf("tor: Isolation has %d bytes, allowed are up to %d", len(isolation), maxIsolation)
	}
	return &Tunnel{host: host, port: port, isolation: isolation, inner: inner}, nil
}

// splitOnion takes apart what is to be an onion address. Subdomains are allowed; tor strips them.
func splitOnion(addr string) (host string, port uint16, err error) {
	bad := func(why string) error {
		return &Error{Kind: KindBadAddress, Detail: fmt.Sprintf("%q: %s", addr, why)}
	}
	host, p, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, bad("allowed is X.onion:port")
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || n == 0 {
		return "", 0, bad("the port is to be 1 to 65535")
	}
	labels := strings.Split(strings.ToLower(host), ".")
	if len(host) > 255 || len(labels) < 2 || labels[len(labels)-1] != "onion" {
		return "", 0, bad("the host is to end in .onion")
	}
	if _, err := parseOnion(labels[len(labels)-2]); err != nil {
		return "", 0, bad(err.Error())
	}
	return host, uint16(n), nil
}

// Bind passes the connection's addresses on.
func (t *Tunnel) Bind(c interface {
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}) {
	if b, ok := t.inner.(reactor.Binder); ok {
		b.Bind(c)
	}
}

// Handshake takes tor's answers, one at a time.
func (t *Tunnel) Handshake(src []byte) (consumed int, step bool, err error) {
	if t.state == tunnelInner {
		return t.inner.Handshake(src)
	}
	if t.state == tunnelStart {
		return 0, true, nil
	}
	n := t.NextRecord(src)
	if len(src) < n {
		return 0, false, nil
	}
	if t.answer = append(t.answer[:0], src[:n]...); t.state == tunnelReply && n == replyHeader {
		return 0, false, errNoSocks // a header without an address
	}
	if err := t.check(); err != nil {
		return n, false, err
	}
	return n, true, nil
}

// errNoSocks is the end of a conversation with something that is no SOCKS server.
var errNoSocks = &Error{Kind: KindFailed, Detail: "what answers at its SOCKS port does not speak SOCKS 5"}

// check judges an answer.
func (t *Tunnel) check() error {
	a := t.answer
	switch t.state {
	case tunnelMethod:
		if a[0] != socksVersion {
			return errNoSocks
		}
		if a[1] != t.method() {
			return &Error{Kind: KindFailed, Detail: "its SOCKS port does not take this way to authenticate"}
		}
	case tunnelAuth:
		if a[0] != authVersion || a[1] != 0 {
			return &Error{Kind: KindFailed, Detail: "its SOCKS port does not take the isolation"}
		}
	default:
		if a[0] != socksVersion {
			return errNoSocks
		}
		if a[1] != 0 {
			kind, ok := replyKinds[a[1]]
			if !ok {
				kind = KindFailed
			}
			return &Error{Kind: kind, Code: a[1], Detail: t.host}
		}
	}
	return nil
}

// method is the one way to authenticate that is offered.
func (t *Tunnel) method() byte {
	if t.isolation != "" {
		return methodUser
	}
	return methodNone
}

// Step says what comes next.
func (t *Tunnel) Step() (done bool, err error) {
	switch t.state {
	case tunnelStart:
		t.state, t.out = tunnelMethod, append(t.out, socksVersion, 1, t.method())
	case tunnelMethod:
		if t.isolation == "" {
			t.request()
			break
		}
		t.state = tunnelAuth
		t.out = append(append(t.out, authVersion, byte(len(socksUser))), socksUser...)
		t.out = append(append(t.out, byte(len(t.isolation))), t.isolation...)
	case tunnelAuth:
		t.request()
	case tunnelReply:
		if t.inner == nil {
			t.state = tunnelOpen
			return true, nil
		}
		t.state = tunnelInner
		_, step, err := t.inner.Handshake(nil) // a client begins at once
		if err != nil || !step {
			return false, err
		}
		return t.innerStep()
	case tunnelInner:
		return t.innerStep()
	}
	return false, nil
}

func (t *Tunnel) innerStep() (bool, error) {
	done, err := t.inner.Step()
	if done && err == nil {
		t.state = tunnelOpen
	}
	return done, err
}

// request asks for the service.
func (t *Tunnel) request() {
	t.state = tunnelReply
	t.out = append(append(t.out, socksVersion, cmdConnect, 0, addrDomain, byte(len(t.host))), t.host...)
	t.out = binary.BigEndian.AppendUint16(t.out, t.port)
}

// Output appends what is to be sent.
func (t *Tunnel) Output(dst []byte) []byte {
	dst = append(dst, t.out...)
	t.out = t.out[:0]
	if t.state >= tunnelInner && t.inner != nil {
		return t.inner.Output(dst)
	}
	return dst
}

// NextRecord is the length of tor's next answer, or of the part that tells it.
func (t *Tunnel) NextRecord(src []byte) int {
	switch t.state {
	case tunnelStart, tunnelMethod, tunnelAuth:
		return 2
	case tunnelReply:
		if len(src) < replyHeader {
			return replyHeader
		}
		switch src[3] {
		case addrIPv4:
			return replyHeader + replyMoreIPv4
		case addrIPv6:
			return replyHeader + replyMoreIPv6
		case addrDomain:
			return replyHeader + int(src[4]) + 2
		}
		return replyHeader // Handshake refuses it
	}
	if t.inner == nil {
		return 1
	}
	return t.inner.NextRecord(src)
}

// Open appends what has come.
func (t *Tunnel) Open(dst, src []byte) (out []byte, consumed int, err error) {
	if t.inner != nil {
		return t.inner.Open(dst, src)
	}
	n := min(len(src), cap(dst)-len(dst))
	return append(dst, src[:n]...), n, nil
}

// Seal appends what is to go.
func (t *Tunnel) Seal(dst, src []byte, mutable bool) ([]byte, error) {
	if t.inner != nil {
		return t.inner.Seal(dst, src, mutable)
	}
	return append(dst, src...), nil
}

// SealedSize is the most that Seal appends for n bytes.
func (t *Tunnel) SealedSize(n int) int {
	if t.inner != nil {
		return t.inner.SealedSize(n)
	}
	return n
}

// Finish appends the goodbye of the filter behind the tunnel, if that has begun; tor has none.
func (t *Tunnel) Finish(dst []byte, cause error) []byte {
	if t.state >= tunnelInner && t.inner != nil {
		return t.inner.Finish(dst, cause)
	}
	return dst
}

// EOF is what the end of the stream means.
func (t *Tunnel) EOF() error {
	switch {
	case t.state < tunnelInner:
		return &Error{Kind: KindFailed, Detail: "it ended the connection to its SOCKS port", Err: io.ErrUnexpectedEOF}
	case t.inner != nil:
		return t.inner.EOF()
	}
	return nil
}

// Sleep is passed on.
func (t *Tunnel) Sleep() {
	if s, ok := t.inner.(reactor.Sleeper); ok {
		s.Sleep()
	}
}

// Release is passed on.
func (t *Tunnel) Release() {
	if t.inner != nil {
		t.inner.Release()
	}
}

// DialConfig says what becomes of a dialled connection.
type DialConfig struct {
	// Protocol, Filter and Near are the reactor's (reactor.DialConfig). The filter is the one behind the tunnel.
	Protocol func(*reactor.Conn) reactor.Protocol
	Filter   func() reactor.Filter
	Near     *reactor.Conn
	// Isolation keeps streams apart: dials with different values share no circuit, so that nobody can tell that they come from one
	// place. "" is a value like any other. Up to 255 bytes. It is sent to tor only.
	Isolation string
	// Timeout bounds the SOCKS exchange, in which tor finds the service, and the filter's handshake together. 0: DefaultDialTimeout;
	// negative: none, else 10 ms … 24 h.
	Timeout time.Duration
}

// errNoProtocol refuses a configuration.
var errNoProtocol = errors.New("tor: DialConfig.Protocol is nil, a function is required")

// dial is Tor.Dial on a given SOCKS port.
func dial(r *reactor.Reactor, network, socks, addr string, dc DialConfig) (*reactor.Conn, error) {
	if dc.Protocol == nil {
		return nil, errNoProtocol
	}
	if _, err := NewTunnel(addr, dc.Isolation, nil); err != nil {
		return nil, err
	}
	if dc.Timeout == 0 {
		dc.Timeout = DefaultDialTimeout
	}
	return r.Dial(network, socks, reactor.DialConfig{Protocol: dc.Protocol, Near: dc.Near, Timeout: dc.Timeout, Filter: func() reactor.Filter {
		var inner reactor.Filter
		if dc.Filter != nil {
			inner = dc.Filter()
		}
		t, _ := NewTunnel(addr, dc.Isolation, inner) // has been tried
		return t
	}})
}
