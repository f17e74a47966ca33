package control

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Method is a way to authenticate, as PROTOCOLINFO names it (control-spec 3.21).
type Method string

// The methods.
const (
	MethodNull       Method = "NULL"           // whoever reaches the port may
	MethodPassword   Method = "HASHEDPASSWORD" // tor knows a hash of the password
	MethodCookie     Method = "COOKIE"         // who can read the cookie's file sends it
	MethodSafeCookie Method = "SAFECOOKIE"     // both ends prove that they know the cookie, and neither sends it
)

// ProtocolInfo is what tor tells before authentication.
type ProtocolInfo struct {
	Methods    []Method
	CookieFile string // where the cookie is; "" when no method uses one
	TorVersion string
}

// Auth holds the means to authenticate. The zero value is right for a tor on this machine whose cookie we may read.
type Auth struct {
	// Password is the one that tor has the hash of (HashedControlPassword).
	Password string
	// CookieFile is read instead of the file that tor names. With a file named here, the method COOKIE, which shows the cookie to
	// whoever listens at the port, is used where SAFECOOKIE is not offered.
	CookieFile string
}

// ProtocolInfo asks for the ways to authenticate. Tor allows it once before authentication. Any goroutine.
func (c *Conn) ProtocolInfo(ctx context.Context) (ProtocolInfo, error) {
	r, err := c.Command(ctx, "PROTOCOLINFO 1")
	if err != nil {
		return ProtocolInfo{}, err
	}
	return parseProtocolInfo(r), nil
}

// parseProtocolInfo reads what is known and skips what is not, as the specification demands.
func parseProtocolInfo(r Reply) ProtocolInfo {
	var p ProtocolInfo
	for _, l := range r.Lines {
		words := Words(l.Text)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "AUTH":
			for m := range strings.SplitSeq(Field(words, "METHODS"), ",") {
				if m != "" {
					p.Methods = append(p.Methods, Method(m))
				}
			}
			p.CookieFile = Field(words, "COOKIEFILE")
		case "VERSION":
			p.TorVersion = Field(words, "Tor")
		}
	}
	return p
}

// Authenticate asks for the methods and uses the first for which a has the means: the password when there is one, nothing, the
// cookie by SAFECOOKIE, the cookie itself. It returns the one that was used. *Error with CodeBadAuth when tor refuses; ErrCookie,
// ErrServerHash, ErrNoAuthMethod. Tor ends the connection after a refusal. Any goroutine.
func (c *Conn) Authenticate(ctx context.Context, a Auth) (Method, error) {
	info, err := c.ProtocolInfo(ctx)
	if err != nil {
		return "", err
	}
	m, err := a.choose(info)
	if err != nil {
		return "", err
	}
	proof := ""
	switch m {
	case MethodPassword:
		proof = " " + Quote(a.Password)
	case MethodSafeCookie, MethodCookie:
		file := a.CookieFile
		if file == "" {
			file = info.CookieFile
		}
		cookie, err := readCookie(file)
		if err != nil {
			return m, err
		}
		if m == MethodSafeCookie {
			if cookie, err = c.challenge(ctx, cookie); err != nil {
				return m, err
			}
		}
		proof = " " + hex.EncodeToString(cookie)
	}
	_, err = c.Command(ctx, "AUTHENTICATE"+proof)
	return m, err
}

// choose picks a method.
func (a Auth) choose(info ProtocolInfo) (Method, error) {
	has := func(m Method) bool { return slices.Contains(info.Methods, m) }
	switch {
	case a.Password != "" && has(MethodPassword):
		return MethodPassword, nil
	case has(MethodNull):
		return MethodNull, nil
	case has(MethodSafeCookie) && (a.CookieFile != "" || info.CookieFile != ""):
		return MethodSafeCookie, nil
	case has(MethodCookie) && a.CookieFile != "":
		return MethodCookie, nil
	}
	return "", fmt.Errorf("%w: tor offers %v", ErrNoAuthMethod, info.Methods)
}

// readCookie reads the cookie's file.
func readCookie(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCookie, err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, cookieLen+1))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCookie, err)
	}
	if len(b) != cookieLen {
		return nil, fmt.Errorf("%w: %s does not have %d bytes", ErrCookie, file, cookieLen)
	}
	return b, nil
}

// Keys of the two proofs of SAFECOOKIE (control-spec 3.24).
const (
	serverHashKey = "Tor safe cookie authentication server-to-controller hash"
	clientHashKey = "Tor safe cookie authentication controller-to-server hash"
)

// challenge has tor prove that it knows the cookie and returns our proof.
func (c *Conn) challenge(ctx context.Context, cookie []byte) ([]byte, error) {
	ours := make([]byte, cookieLen)
	if _, err := rand.Read(ours); err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	r, err := c.Command(ctx, "AUTHCHALLENGE SAFECOOKIE "+hex.EncodeToString(ours))
	if err != nil {
		return nil, err
	}
	words := Words(r.Text())
	hash, err1 := hex.DecodeString(Field(words, "SERVERHASH"))
	theirs, err2 := hex.DecodeString(Field(words, "SERVERNONCE"))
	if err1 != nil || err2 != nil || len(hash) != sha256.Size || len(theirs) != cookieLen {
		return nil, fmt.Errorf("%w: AUTHCHALLENGE", ErrProtocol)
	}
	if !hmac.Equal(hash, cookieProof(serverHashKey, cookie, ours, theirs)) {
		return nil, ErrServerHash
	}
	return cookieProof(clientHashKey, cookie, ours, theirs), nil
}

func cookieProof(key string, parts ...[]byte) []byte {
	h := hmac.New(sha256.New, []byte(key))
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}
