package quic

import (
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/reactor"
)

// ALPN is the protocol that empty NextProtos stand for (OAP/1's registration), as in package tls.
const ALPN = "oap/1"

// Config holds the knobs that listeners and dialers have in common. The zero value is valid and means the defaults. It is
// validated before anything starts; the error names the field, its value and what is allowed.
type Config struct {
	// MaxStreams is how many streams the peer may have open on a connection; it cannot open more. A stream counts until its
	// reactor.Conn has closed. 0: 512; else 1 … 65536.
	MaxStreams int

	// HandshakeTimeout bounds the handshake; half of it without a packet from the peer ends it, too. IdleTimeout closes a
	// connection without a packet from the peer; the smaller of both ends' counts, and never less than three probe timeouts.
	// KeepAlive is how often an otherwise silent connection is kept alive; 0: not at all, at most half of IdleTimeout. Behind a
	// NAT it is what lets a server find a client again that waits for an answer and has got another port meanwhile. For the
	// others 0 is the default (10 s, 90 s); else 10 ms … 24 h.
	HandshakeTimeout, IdleTimeout, KeepAlive time.Duration

	// StreamWindow and ConnWindow are how many bytes a peer may send on one stream and on one connection before we have read
	// them; they grow up to MaxStreamWindow and MaxConnWindow as long as the handlers keep up with more. 0: 512 KiB, 1 MiB,
	// 6 MiB, 15 MiB; else 16 KiB … 1 GiB.
	StreamWindow, MaxStreamWindow, ConnWindow, MaxConnWindow int

	// WindowBudget bounds in bytes what the windows of all connections may grow by together, so that the memory peers can fill
	// is ConnWindow for each and this once. 0: 256 MiB; negative: they do not grow; else up to 1 TiB.
	WindowBudget int

	// PacketSize is the size in bytes of the first packets, and never less is sent. 0: 1280, with a fallback to 1200; either
	// way larger ones are tried (RFC 8899). A path that does not carry the given size fails the handshake. 1200 … 1452.
	PacketSize int

	// SendBuffer and RecvBuffer are SO_SNDBUF and SO_RCVBUF of each socket in bytes; what the kernel granted is reported by
	// Granted. 0: 7 MiB, what quic-go asks for; else 64 KiB … 64 MiB.
	SendBuffer, RecvBuffer int

	// DisableGRO and DisableGSO turn off the kernel's joining of received and cutting of sent datagrams, for drivers that get
	// them wrong. Where the kernel has none they are off anyway, and one line of the log says so.
	DisableGRO, DisableGSO bool

	// Logger gets what there is to say once: missing offload, clamped buffers. nil: slog.Default().
	Logger *slog.Logger
}

// withDefaults returns c with every zero field replaced by its default.
func (c Config) withDefaults() Config {
	for _, f := range []struct {
		p *int
		v int
	}{
		{&c.MaxStreams, DefaultMaxStreams}, {&c.StreamWindow, DefaultStreamWindow}, {&c.ConnWindow, DefaultConnWindow},
		{&c.WindowBudget, DefaultWindowBudget}, {&c.SendBuffer, DefaultSocketBuffer}, {&c.RecvBuffer, DefaultSocketBuffer},
	} {
		if *f.p == 0 {
			*f.p = f.v
		}
	}
	if c.MaxStreamWindow == 0 {
		c.MaxStreamWindow = max(DefaultMaxStreamWindow, c.StreamWindow)
	}
	if c.MaxConnWindow == 0 {
		c.MaxConnWindow = max(DefaultMaxConnWindow, c.ConnWindow)
	}
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = DefaultIdleTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// validate checks a Config whose defaults are filled in.
func (c Config) validate() error {
	for _, f := range []struct {
		name        string
		v, min, max int
	}{
		{"MaxStreams", c.MaxStreams, 1, maxMaxStreams},
		{"StreamWindow", c.StreamWindow, minWindow, c.MaxStreamWindow},
		{"MaxStreamWindow", c.MaxStreamWindow, minWindow, maxWindow},
		{"ConnWindow", c.ConnWindow, minWindow, c.MaxConnWindow},
		{"MaxConnWindow", c.MaxConnWindow, minWindow, maxWindow},
		{"SendBuffer", c.SendBuffer, minSockBuffer, maxSockBuffer},
		{"RecvBuffer", c.RecvBuffer, minSockBuffer, maxSockBuffer},
	} {
		if f.v < f.min || f.v > f.max {
			return fmt.Errorf("quic: %s is %d, allowed are %d to %d", f.name, f.v, f.min, f.max)
		}
	}
	if c.WindowBudget > maxBudget {
		return fmt.Errorf("quic: WindowBudget is %d, allowed are 1 to %d, 0 for the default and negative for none", c.WindowBudget, maxBudget)
	}
	if c.PacketSize != 0 && (c.PacketSize < minPacket || c.PacketSize > maxPacket) {
		return fmt.Errorf("quic: PacketSize is %d, allowed are %d to %d and 0 for the default", c.PacketSize, minPacket, maxPacket)
	}
	for _, f := range []struct {
		name string
		v    time.Duration
		zero bool
	}{
		{"HandshakeTimeout", c.HandshakeTimeout, false}, {"IdleTimeout", c.IdleTimeout, false}, {"KeepAlive", c.KeepAlive, true},
	} {
		if (f.v < minTimeout || f.v > maxTimeout) && !(f.zero && f.v == 0) {
			return fmt.Errorf("quic: %s is %v, allowed are %v to %v", f.name, f.v, minTimeout, maxTimeout)
		}
	}
	return nil
}

// quicgo is c as quic-go wants it. streams: the peer may open some. early: a server takes 0-RTT.
func (c Config) quicgo(streams, early bool) *quicgo.Config {
	n := int64(-1)
	if streams {
		n = int64(c.MaxStreams)
	}
	return &quicgo.Config{
		HandshakeIdleTimeout:           c.HandshakeTimeout / 2, // quic-go's handshake as a whole may take twice that
		MaxIdleTimeout:                 c.IdleTimeout,
		KeepAlivePeriod:                c.KeepAlive,
		InitialStreamReceiveWindow:     uint64(c.StreamWindow),
		MaxStreamReceiveWindow:         uint64(c.MaxStreamWindow),
		InitialConnectionReceiveWindow: uint64(c.ConnWindow),
		MaxConnectionReceiveWindow:     uint64(c.MaxConnWindow),
		MaxIncomingStreams:             n,
		MaxIncomingUniStreams:          -1, // a stream of ours goes both ways
		RequireStreamCreditRelease:     true,
		InitialPacketSize:              uint16(c.PacketSize),
		Allow0RTT:                      early,
	}
}

// ConnHandler is told about connections, besides what the protocols of their streams see. The methods of one connection are
// called on its loop, one at a time, and must not block; connections on different loops call concurrently.
type ConnHandler interface {
	// OnConnOpen is called once, when streams can be opened: the handshake is complete, or (Conn.Early) far enough for 0-RTT.
	// Streams of the peer come after it.
	OnConnOpen(c *Conn)
	// OnConnMigrated is called when the peer's address was from and is another now (RFC 9000, §9): at the next read or write
	// of a stream after quic-go has validated it.
	OnConnMigrated(c *Conn, from net.Addr)
	// OnConnClose is called once for a connection that was open, after OnClose of the last of its streams. code is the
	// application's error code, ours or the peer's; cause is nil after an end without a fault.
	OnConnClose(c *Conn, code Code, cause error)
}

// ListenConfig says what becomes of accepted connections and their streams.
type ListenConfig struct {
	Config

	// TLS is the handshake's configuration, with the meaning crypto/tls gives it; certificates are required. MinVersion must be
	// 0 or VersionTLS13. Empty NextProtos means ALPN. It is copied.
	TLS *stdtls.Config

	// Protocol makes the protocol of a stream that the peer has opened: what reactor.ListenConfig.Protocol is to a connection
	// on TLS. Required. Called on the stream's loop.
	Protocol func(*reactor.Conn) reactor.Protocol

	// Refuse is told of each stream of a connection that is over a limit of the reactor's, to write what tells the peer
	// (framer.Endpoint.Refuse does); stream and connection are closed then. cause carries the reason. nil: the connection is
	// closed at once with the reason's code. Called on the stream's loop.
	Refuse func(c *reactor.Conn, cause error)

	// Conns is told about connections. Optional.
	Conns ConnHandler

	// OnError is told of connections that ended before they were open. Optional. Called on their loop.
	OnError func(remote net.Addr, err error)

	// Early accepts 0-RTT: streams may come before the handshake is complete, in packets that an attacker may have recorded
	// and play again. Their reactor.Conn.Early says so, and the protocol must refuse what is not safe to do twice
	// (framer.Options.EarlyApps). Off by default (seed §3).
	Early bool

	// ResetKey and TokenKey are shared by the nodes behind one address: the first makes the tokens of stateless resets (RFC
	// 9000, §10.3), so that a node can tell a peer that a connection of its predecessor is gone; the second seals the address
	// tokens of Retry and NEW_TOKEN, so that one node's are good for the others. nil: random, known to this listener only.
	ResetKey, TokenKey *[32]byte

	// RetryAbove is how many half-open connections there may be before a client has to prove by a round trip more (Retry)
	// that it receives at the address it sends from. 0: 128; negative: always; else up to MaxHandshakes.
	RetryAbove int

	// MaxHandshakes is how many connections may be half-open; beyond, new ones are refused. 0: 1024; else 1 … 1,048,576.
	MaxHandshakes int
}

// DialerConfig says how connections are dialled and what becomes of the streams that their peers open.
type DialerConfig struct {
	Config

	// TLS is the handshake's configuration. nil is an empty one. MinVersion must be 0 or VersionTLS13. Empty NextProtos means
	// ALPN, an empty ServerName the host that is dialled, a nil ClientSessionCache one for 64 servers. It is copied.
	TLS *stdtls.Config

	// Protocol makes the protocol of a stream that the peer has opened. nil: it may open none. Called on the stream's loop.
	Protocol func(*reactor.Conn) reactor.Protocol

	// Conns is told about connections. Optional.
	Conns ConnHandler

	// Early has Dial return before the handshake is complete when an earlier connection to the server allows 0-RTT. Then what is
	// sent until it is complete may be replayed by an attacker, and is lost if the server does not take it (ErrEarlyRejected).
	Early bool
}

// Validate says what Listen would refuse lc for before it opens anything; the error names the field, its value and what is allowed.
// Any goroutine.
func (lc ListenConfig) Validate() error {
	_, err := lc.check()
	return err
}

// check validates lc and returns it with the defaults filled in.
func (lc ListenConfig) check() (ListenConfig, error) {
	lc.Config = lc.Config.withDefaults()
	if lc.MaxHandshakes == 0 {
		lc.MaxHandshakes = DefaultMaxHandshakes
	}
	if lc.RetryAbove == 0 {
		lc.RetryAbove = min(DefaultRetryAbove, lc.MaxHandshakes)
	}
	if err := lc.Config.validate(); err != nil {
		return lc, err
	}
	if lc.Protocol == nil {
		return lc, errors.New("quic: ListenConfig.Protocol is nil, a function is required")
	}
	if n := lc.MaxHandshakes; n < 1 || n > maxHandshakes {
		return lc, fmt.Errorf("quic: MaxHandshakes is %d, allowed are 1 to %d", n, maxHandshakes)
	}
	if n := lc.RetryAbove; n > lc.MaxHandshakes {
		return lc, fmt.Errorf("quic: RetryAbove is %d, allowed are 1 to %d (MaxHandshakes), 0 for the default and negative for always", n, lc.MaxHandshakes)
	}
	if lc.TLS == nil {
		return lc, errors.New("quic: ListenConfig.TLS is nil, a configuration with a certificate is required")
	}
	if t := lc.TLS; len(t.Certificates) == 0 && t.GetCertificate == nil && t.GetConfigForClient == nil {
		return lc, errors.New("quic: ListenConfig.TLS has no Certificates, one (or GetCertificate, GetConfigForClient) is required")
	}
	var err error
	lc.TLS, err = restrict(lc.TLS)
	return lc, err
}

// check validates dc and returns it with the defaults filled in.
func (dc DialerConfig) check() (DialerConfig, error) {
	dc.Config = dc.Config.withDefaults()
	if err := dc.Config.validate(); err != nil {
		return dc, err
	}
	if dc.TLS == nil {
		dc.TLS = new(stdtls.Config)
	}
	var err error
	if dc.TLS, err = restrict(dc.TLS); err != nil {
		return dc, err
	}
	if dc.TLS.ClientSessionCache == nil {
		dc.TLS.ClientSessionCache = stdtls.NewLRUClientSessionCache(sessionCache)
	}
	dc.TLS.ClientSessionCache = ownSessions{dc.TLS.ClientSessionCache}
	return dc, nil
}

// restrict makes a TLS configuration of ours: version 1.3 only, as QUIC demands, and never without ALPN.
func restrict(t *stdtls.Config) (*stdtls.Config, error) {
	if v := t.MinVersion; v != 0 && v != stdtls.VersionTLS13 {
		return nil, fmt.Errorf("quic: TLS.MinVersion is %s; allowed: 0 or VersionTLS13", stdtls.VersionName(v))
	}
	if v := t.MaxVersion; v != 0 && v < stdtls.VersionTLS13 {
		return nil, fmt.Errorf("quic: TLS.MaxVersion is %s; allowed: 0 or VersionTLS13", stdtls.VersionName(v))
	}
	t = t.Clone()
	t.MinVersion = stdtls.VersionTLS13
	if len(t.NextProtos) == 0 {
		t.NextProtos = []string{ALPN}
	} else {
		t.NextProtos = slices.Clone(t.NextProtos)
	}
	return t, nil
}
