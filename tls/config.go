package tls

import (
	"crypto/fips140"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
)

// ALPN is the protocol that an empty Config.TLS.NextProtos stands for (OAP/1's registration).
const ALPN = "oap/1"

// Config is what a Server or a Client is made from. It is copied; later changes to it have no effect.
type Config struct {
	// TLS is the handshake's configuration, with the meaning crypto/tls gives it. MinVersion must be 0 or VersionTLS13 and
	// MaxVersion 0 or at least VersionTLS13: nothing else is spoken. Empty NextProtos means ALPN. A server that
	// verifies client certificates needs ClientCAs. GetConfigForClient (what it returns is held to the rules on MaxVersion and
	// ClientCAs, too) and KeyLogWriter are honoured. Callbacks run inside Step (ClientSessionCache.Put also inside Open), so they must
	// not block for long; ClientHelloInfo.Conn is no socket: it has the addresses that Bind was given (placeholders without Bind), and
	// its other methods do nothing useful. A panic in a callback becomes an error of the connection.
	TLS *stdtls.Config

	// KeyExchange says whether post-quantum key exchange is used, refused or required. TLS.CurvePreferences must agree with it; empty
	// ones mean all groups that the policy allows. It holds for what GetConfigForClient returns, too.
	KeyExchange KeyExchange

	// MaxClientHello bounds a ClientHello on a server, and the one after a HelloRetryRequest, in bytes. 0: DefaultMaxClientHello.
	// Allowed: MinMaxClientHello to DefaultMaxClientHello.
	MaxClientHello int

	// RecordsPerKey is after how many records sent the write key is replaced (RFC 8446, 5.5). 0: DefaultRecordsPerKey. Allowed: 1
	// to DefaultRecordsPerKey.
	RecordsPerKey uint64

	// AESGCM is which implementation of AES-GCM is used. AESGCMAuto, the zero value, takes the fastest. Allowed: those that this
	// process can run (AESGCM.Resolve).
	AESGCM AESGCM
}

// validate checks what servers and clients have in common and returns a copy with the defaults filled in.
func (c Config) validate() (Config, error) {
	if fips140.Enforced() {
		return c, errors.New("tls: GODEBUG fips140=only is in force, which forbids AES-GCM outside crypto/tls; use fips140=on")
	}
	if c.TLS == nil {
		return c, errors.New("tls: Config.TLS is nil; a crypto/tls configuration is needed")
	}
	if v := c.TLS.MinVersion; v != 0 && v != stdtls.VersionTLS13 {
		return c, fmt.Errorf("tls: Config.TLS.MinVersion is %s; allowed: 0 or VersionTLS13", stdtls.VersionName(v))
	}
	if v := c.TLS.MaxVersion; v != 0 && v < stdtls.VersionTLS13 {
		return c, fmt.Errorf("tls: Config.TLS.MaxVersion is %s; allowed: 0 or VersionTLS13", stdtls.VersionName(v))
	}
	for i, p := range c.TLS.NextProtos {
		if len(p) == 0 || len(p) > 255 {
			return c, fmt.Errorf("tls: Config.TLS.NextProtos[%d] has %d bytes; allowed: 1 to 255", i, len(p))
		}
	}
	for i := range c.TLS.Certificates {
		if err := checkCertificate(&c.TLS.Certificates[i]); err != nil {
			return c, fmt.Errorf("tls: Config.TLS.Certificates[%d] %w", i, err)
		}
	}
	if err := c.KeyExchange.check("Config.TLS.CurvePreferences", c.TLS.CurvePreferences); err != nil {
		return c, err
	}
	if c.MaxClientHello == 0 {
		c.MaxClientHello = DefaultMaxClientHello
	}
	if n := c.MaxClientHello; n < MinMaxClientHello || n > DefaultMaxClientHello {
		return c, fmt.Errorf("tls: Config.MaxClientHello is %d; allowed: 0 or %d to %d", n, MinMaxClientHello, DefaultMaxClientHello)
	}
	if c.RecordsPerKey == 0 {
		c.RecordsPerKey = DefaultRecordsPerKey
	}
	if c.RecordsPerKey > DefaultRecordsPerKey {
		return c, fmt.Errorf("tls: Config.RecordsPerKey is %d; allowed: 0 to %d", c.RecordsPerKey, DefaultRecordsPerKey)
	}
	var err error
	if c.AESGCM, err = c.AESGCM.Resolve(); err != nil {
		return c, fmt.Errorf("tls: Config.AESGCM: %w", err)
	}
	c.TLS = c.restrict(c.TLS.Clone())
	// Clone copies the fields, not what they refer to.
	c.TLS.Certificates = slices.Clone(c.TLS.Certificates)
	c.TLS.CurvePreferences = slices.Clone(c.TLS.CurvePreferences)
	c.TLS.EncryptedClientHelloKeys = slices.Clone(c.TLS.EncryptedClientHelloKeys)
	if err := c.KeyExchange.available(c.TLS.CurvePreferences); err != nil {
		return c, err
	}
	return c, nil
}

func checkCertificate(c *stdtls.Certificate) error {
	if len(c.Certificate) == 0 {
		return errors.New("has no certificate; allowed: a chain with the leaf first")
	}
	if c.PrivateKey == nil {
		return errors.New("has no PrivateKey; allowed: the leaf's key")
	}
	return nil
}

// checkClientAuth refuses a configuration that would take client certificates from anybody.
func checkClientAuth(where string, t *stdtls.Config) error {
	if t.ClientAuth >= stdtls.VerifyClientCertIfGiven && t.ClientCAs == nil {
		return fmt.Errorf("tls: %s ClientCAs nil; ClientAuth %v needs a pool (without one any public CA would do)", where, t.ClientAuth)
	}
	return nil
}

// restrict makes a configuration of ours: TLS 1.3 only, never without ALPN, and with the groups of the policy.
func (c Config) restrict(t *stdtls.Config) *stdtls.Config {
	t.MinVersion = stdtls.VersionTLS13
	t.MaxVersion = stdtls.VersionTLS13
	if len(t.NextProtos) == 0 {
		t.NextProtos = []string{ALPN}
	} else {
		t.NextProtos = slices.Clone(t.NextProtos)
	}
	c.KeyExchange.apply(t)
	return t
}

// endpoint is what the connections of a Server or a Client have in common.
type endpoint struct {
	config Config
	server *Server // nil on clients
	client *Client // nil on servers
	last   atomic.Pointer[agreement]
}

// share returns a's content, in the object of the connection before when that agreed on the same.
func (e *endpoint) share(a agreement) *agreement {
	if last := e.last.Load(); last != nil && *last == a {
		return last
	}
	made := new(agreement)
	*made = a
	if a.peer == nil { // else it is nobody else's, and the certificates would outlive the connection
		e.last.Store(made)
	}
	return made
}

// Server makes the server ends of connections. Its methods may be called by any goroutine.
type Server struct {
	endpoint
	base *stdtls.Config // its ticket keys are the ones that count, so it is the same object for every connection
	user *stdtls.Config // as base, but with the user's callbacks
	quic *stdtls.Config // what QUIC returns
}

// NewServer checks c and makes a Server. Errors name the field, its value and what is allowed. Any goroutine.
//
// Session tickets are on unless c.TLS says otherwise; crypto/tls renews their keys daily unless SetSessionTicketKeys was used.
func NewServer(c Config) (*Server, error) {
	c, err := c.validate()
	if err != nil {
		return nil, err
	}
	t := c.TLS
	if len(t.Certificates) == 0 && t.GetCertificate == nil && t.GetConfigForClient == nil {
		return nil, errors.New("tls: Config.TLS has neither Certificates nor GetCertificate nor GetConfigForClient; a server needs one")
	}
	if err := checkClientAuth("Config.TLS has", t); err != nil {
		return nil, err
	}
	s := &Server{user: t}
	s.endpoint.config, s.endpoint.server = c, s
	s.base = t.Clone()
	s.base.KeyLogWriter = nil
	s.base.GetConfigForClient = s.configFor
	s.quic = s.quicBase()
	return s, nil
}

// AESGCM returns the implementation of AES-GCM in use; never AESGCMAuto. Any goroutine.
func (e *endpoint) AESGCM() AESGCM { return e.config.AESGCM }

// SetSessionTicketKeys replaces the ticket keys for connections from now on: the first encrypts, all decrypt. It ends crypto/tls's
// daily renewal. At least one key is needed. Any goroutine.
func (s *Server) SetSessionTicketKeys(keys [][32]byte) error {
	if len(keys) == 0 {
		return errors.New("tls: SetSessionTicketKeys got 0 keys; allowed: at least 1")
	}
	s.base.SetSessionTicketKeys(keys)
	s.user.SetSessionTicketKeys(keys) // keys of a connection's own configuration go first
	return nil
}

// Conn makes the server end of one connection. Nothing else is allocated before a whole ClientHello has arrived. Any goroutine.
func (s *Server) Conn() *Conn {
	return &Conn{end: &s.endpoint}
}

// configFor is the GetConfigForClient of every connection: it returns a copy of the configuration in force that tells the
// connection's own secrets to its own engine.
//
// Demultiplexing one shared KeyLogWriter by client random instead would fail with Encrypted Client Hello, whose log has the inner
// random; a clone as the connection's base would have ticket keys of its own, and never resume.
func (s *Server) configFor(hello *stdtls.ClientHelloInfo) (*stdtls.Config, error) {
	p, ok := hello.Conn.(*pipe)
	if !ok {
		return nil, errors.New("tls: configuration used outside its server")
	}
	chosen, err := s.choose(hello)
	if err != nil {
		return nil, err
	}
	c := s.config.restrict(chosen.Clone())
	c.GetConfigForClient = nil
	p.asksClient = c.ClientAuth >= stdtls.RequestClientCert
	distinct(c)
	c.KeyLogWriter = &keyLog{pipe: p, user: chosen.KeyLogWriter}
	return c, nil
}

// choose returns the configuration in force for a client, ours or what GetConfigForClient returns, within our rules.
func (s *Server) choose(hello *stdtls.ClientHelloInfo) (*stdtls.Config, error) {
	if n := len(hello.ServerName); n > maxServerName {
		return nil, fmt.Errorf("tls: server name of %d bytes; allowed: up to %d", n, maxServerName)
	}
	chosen := s.user
	if s.user.GetConfigForClient != nil {
		c, err := s.user.GetConfigForClient(hello)
		if err != nil {
			return nil, err
		}
		if c != nil {
			chosen = c
		}
	}
	if v := chosen.MaxVersion; v != 0 && v < stdtls.VersionTLS13 {
		return nil, fmt.Errorf("tls: GetConfigForClient returned MaxVersion %s; allowed: 0 or VersionTLS13", stdtls.VersionName(v))
	}
	if err := s.config.KeyExchange.check("GetConfigForClient returned CurvePreferences", chosen.CurvePreferences); err != nil {
		return nil, err
	}
	if err := checkClientAuth("GetConfigForClient returned", chosen); err != nil {
		return nil, err
	}
	return chosen, nil
}

// Client makes the client ends of connections. Its methods may be called by any goroutine.
type Client struct {
	endpoint
}

// NewClient checks c and makes a Client. Errors name the field, its value and what is allowed. Any goroutine.
//
// Sessions are resumed when c.TLS.ClientSessionCache is set; a connection then keeps the crypto/tls object (about 7.5 KB), which
// alone can read tickets.
func NewClient(c Config) (*Client, error) {
	c, err := c.validate()
	if err != nil {
		return nil, err
	}
	client := &Client{}
	client.endpoint.config, client.endpoint.client = c, client
	return client, nil
}

// Conn makes the client end of one connection to serverName, or to Config.TLS.ServerName when it is empty. With neither, the
// handshake fails unless InsecureSkipVerify is set, and no session is resumed. Any goroutine.
func (c *Client) Conn(serverName string) *Conn {
	conn := &Conn{end: &c.endpoint, state: stateStep}
	if serverName != "" {
		conn.agreed = &agreement{name: serverName}
	}
	return conn
}

// configFor is the configuration of one connection.
func (c *Client) configFor(p *pipe, serverName string) *stdtls.Config {
	cfg := c.config.TLS.Clone()
	if serverName != "" {
		cfg.ServerName = serverName
	}
	if cfg.ServerName == "" {
		cfg.ClientSessionCache = nil // its key would be the pipe's address, which all peers share
	}
	distinct(cfg)
	cfg.KeyLogWriter = &keyLog{pipe: p, user: c.config.TLS.KeyLogWriter}
	return cfg
}
