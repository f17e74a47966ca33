package tls

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// KeyExchange is a policy on post-quantum key exchange: groups that combine ML-KEM with an elliptic curve, so that traffic recorded
// today stays secret from a quantum computer of tomorrow.
type KeyExchange uint8

const (
	// HybridPreferred uses a hybrid group with peers that have one, by default X25519MLKEM768, and a classical one with others. When
	// TLS.CurvePreferences is set, what it lists is all that is offered and accepted.
	HybridPreferred KeyExchange = iota
	// HybridOff uses classical groups only. A ClientHello is then about 1.2 KB smaller.
	HybridOff
	// HybridOnly refuses peers without a hybrid group, with the alert handshake_failure.
	HybridOnly
)

// String returns the constant's name. Any goroutine.
func (k KeyExchange) String() string {
	switch k {
	case HybridPreferred:
		return "HybridPreferred"
	case HybridOff:
		return "HybridOff"
	case HybridOnly:
		return "HybridOnly"
	}
	return fmt.Sprintf("KeyExchange(%d)", uint8(k))
}

// group is a key exchange that crypto/tls has.
type group struct {
	id     stdtls.CurveID
	label  string
	hybrid bool
}

// groups are all of them. The order means nothing: crypto/tls has its own.
func groups() []group {
	return []group{
		{stdtls.X25519MLKEM768, "X25519MLKEM768", true},
		{stdtls.SecP256r1MLKEM768, "SecP256r1MLKEM768", true},
		{stdtls.SecP384r1MLKEM1024, "SecP384r1MLKEM1024", true},
		{stdtls.X25519, "X25519", false},
		{stdtls.CurveP256, "P-256", false},
		{stdtls.CurveP384, "P-384", false},
		{stdtls.CurveP521, "P-521", false},
	}
}

// groupLabel names a group, known or not.
func groupLabel(id stdtls.CurveID) string {
	for _, g := range groups() {
		if g.id == id {
			return g.label
		}
	}
	return fmt.Sprintf("group %#04x", uint16(id))
}

// Agreed tells the counters of whoever runs the handshake what it has agreed on: the name of the key exchange, as
// ConnectionState.KeyExchange has it, and whether the session is a resumed one. "" before Step has reported done. Any goroutine, after
// that.
func (c *Conn) Agreed() (keyExchange string, resumed bool) {
	if c.agreed == nil || c.agreed.group == 0 {
		return "", false
	}
	return groupLabel(c.agreed.group), c.agreed.resumed
}

// allows reports whether the policy lets g be used.
func (k KeyExchange) allows(g group) bool {
	switch k {
	case HybridOff:
		return !g.hybrid
	case HybridOnly:
		return g.hybrid
	}
	return true
}

// allowed returns the groups that the policy lets be used.
func (k KeyExchange) allowed() (ids []stdtls.CurveID, labels string) {
	var names []string
	for _, g := range groups() {
		if k.allows(g) {
			ids = append(ids, g.id)
			names = append(names, g.label)
		}
	}
	return ids, strings.Join(names, ", ")
}

// check says what is wrong with a CurvePreferences under the policy.
func (k KeyExchange) check(field string, preferences []stdtls.CurveID) error {
	if k > HybridOnly {
		return fmt.Errorf("tls: Config.KeyExchange is %d; allowed: HybridPreferred, HybridOff, HybridOnly", uint8(k))
	}
	ids, labels := k.allowed()
	for i, id := range preferences {
		if !slices.Contains(ids, id) {
			return fmt.Errorf("tls: %s[%d] is %s; allowed with Config.KeyExchange %v: %s", field, i, groupLabel(id), k, labels)
		}
	}
	return nil
}

// available finds out whether the process has any of the groups: GODEBUG may rule out hybrid ones, and FIPS 140 mode some of the
// others. crypto/tls says so when it makes a ClientHello; this one goes nowhere.
func (k KeyExchange) available(preferences []stdtls.CurveID) error {
	if len(preferences) == 0 {
		return nil
	}
	probe := stdtls.Client(&pipe{closed: true}, &stdtls.Config{
		ServerName: "probe.invalid", MinVersion: stdtls.VersionTLS13, CurvePreferences: preferences,
	})
	if err := probe.HandshakeContext(context.Background()); !errors.Is(err, errPipeClosed) {
		return fmt.Errorf("tls: Config.KeyExchange is %v and Config.TLS.CurvePreferences allow %v; "+
			"GODEBUG (tlsmlkem, tlssecpmlkem, fips140) must leave at least one of them: %w", k, preferences, err)
	}
	return nil
}

// apply turns the policy into preferences. Those of HybridPreferred are crypto/tls's own.
func (k KeyExchange) apply(c *stdtls.Config) {
	if k != HybridPreferred && len(c.CurvePreferences) == 0 {
		c.CurvePreferences, _ = k.allowed()
	}
}

// KeyExchange returns the group's name: "X25519MLKEM768", "SecP256r1MLKEM768", "SecP384r1MLKEM1024", "X25519", "P-256", "P-384" or
// "P-521". Any goroutine.
func (s ConnectionState) KeyExchange() string { return groupLabel(s.Group) }
