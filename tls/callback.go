package tls

import (
	stdtls "crypto/tls"
	"fmt"
)

// distinct wraps the callbacks whose errors crypto/tls returns as they are, without an alert. A plain io.EOF among them would look
// like the peer's close_notify, which crypto/tls reports the same way.
func distinct(c *stdtls.Config) {
	if wrap := c.WrapSession; wrap != nil {
		c.WrapSession = func(cs stdtls.ConnectionState, ss *stdtls.SessionState) ([]byte, error) {
			b, err := wrap(cs, ss)
			return b, callbackError("WrapSession", err)
		}
	}
	if unwrap := c.UnwrapSession; unwrap != nil {
		c.UnwrapSession = func(identity []byte, cs stdtls.ConnectionState) (*stdtls.SessionState, error) {
			s, err := unwrap(identity, cs)
			return s, callbackError("UnwrapSession", err)
		}
	}
	if get := c.GetClientCertificate; get != nil {
		c.GetClientCertificate = func(r *stdtls.CertificateRequestInfo) (*stdtls.Certificate, error) {
			cert, err := get(r)
			return cert, callbackError("GetClientCertificate", err)
		}
	}
}

func callbackError(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("tls: %s: %w", name, err)
}
