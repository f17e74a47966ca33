package tls

import (
	stdtls "crypto/tls"
	"io"
)

// QUIC returns s as a configuration for a QUIC library that shakes hands with crypto/tls, as quic-go does (RFC 9001): with the
// same certificates, client authentication, rules on groups and protocols, key log and session ticket keys, so that one Server, and
// one Attach of a certs.Store, serves both. Keys that SetSessionTicketKeys sets later hold for it, too, and for copies of it; only a
// configuration of its own that GetConfigForClient returns has its own keys, or, when it has none, those that crypto/tls makes for
// the copy. Callbacks run on goroutines of the library, and a panic in one becomes an error of the connection here as well.
//
// MaxClientHello and RecordsPerKey have no meaning there. Whether 0-RTT is accepted is the library's to say: crypto/tls leaves it to
// the transport. It is the same object at each call, and must not be changed. Any goroutine.
func (s *Server) QUIC() *stdtls.Config { return s.quic }

// quicBase makes the configuration that QUIC returns. It has no ticket keys of its own, since those of a copy would be out of date
// with the next renewal: the callbacks that quicFor sets go to the server's.
func (s *Server) quicBase() *stdtls.Config {
	c := s.user.Clone()
	c.KeyLogWriter = nil
	c.GetConfigForClient = s.quicFor
	return c
}

// quicFor is the GetConfigForClient of every QUIC connection.
func (s *Server) quicFor(hello *stdtls.ClientHelloInfo) (c *stdtls.Config, err error) {
	defer recovered(&err)
	chosen, err := s.choose(hello)
	if err != nil {
		return nil, err
	}
	c = s.config.restrict(chosen.Clone())
	c.GetConfigForClient = nil
	if chosen == s.user && c.WrapSession == nil && c.UnwrapSession == nil {
		c.WrapSession, c.UnwrapSession = s.base.EncryptTicket, s.base.DecryptTicket
	}
	guard(c)
	return c, nil
}

// QUIC returns c as a configuration for a QUIC library that shakes hands with crypto/tls: see Server.QUIC. It resumes sessions, and
// lets the library send 0-RTT data, when ClientSessionCache is set. The caller gets a copy. Any goroutine.
func (c *Client) QUIC() *stdtls.Config {
	q := c.config.TLS.Clone()
	guard(q)
	return q
}

// guard makes errors of panics in callbacks: nothing catches them on a library's goroutine, so one would end the process.
func guard(c *stdtls.Config) {
	c.GetCertificate = guarded(c.GetCertificate)
	c.GetClientCertificate = guarded(c.GetClientCertificate)
	c.GetEncryptedClientHelloKeys = guarded(c.GetEncryptedClientHelloKeys)
	c.WrapSession = guarded2(c.WrapSession)
	c.UnwrapSession = guarded2(c.UnwrapSession)
	c.VerifyPeerCertificate = guardedVerify2(c.VerifyPeerCertificate)
	c.VerifyConnection = guardedVerify(c.VerifyConnection)
	c.EncryptedClientHelloRejectionVerify = guardedVerify(c.EncryptedClientHelloRejectionVerify)
	if c.KeyLogWriter != nil {
		c.KeyLogWriter = guardedWriter{c.KeyLogWriter}
	}
}

// recovered is deferred by callbacks.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = panicError(p)
	}
}

func guarded[A, R any](f func(A) (R, error)) func(A) (R, error) {
	if f == nil {
		return nil
	}
	return func(a A) (r R, err error) {
		defer recovered(&err)
		return f(a)
	}
}

func guarded2[A, B, R any](f func(A, B) (R, error)) func(A, B) (R, error) {
	if f == nil {
		return nil
	}
	return func(a A, b B) (r R, err error) {
		defer recovered(&err)
		return f(a, b)
	}
}

func guardedVerify[A any](f func(A) error) func(A) error {
	if f == nil {
		return nil
	}
	return func(a A) (err error) {
		defer recovered(&err)
		return f(a)
	}
}

func guardedVerify2[A, B any](f func(A, B) error) func(A, B) error {
	if f == nil {
		return nil
	}
	return func(a A, b B) (err error) {
		defer recovered(&err)
		return f(a, b)
	}
}

// guardedWriter is a KeyLogWriter. crypto/tls writes to it with a lock of the whole package held.
type guardedWriter struct{ w io.Writer }

func (g guardedWriter) Write(p []byte) (n int, err error) {
	defer recovered(&err)
	return g.w.Write(p)
}
