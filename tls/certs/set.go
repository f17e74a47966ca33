package certs

import (
	stdtls "crypto/tls"
	"slices"
	"strings"
)

// set is what handshakes choose from. It does not change: a reload or a new staple makes another.
type set struct {
	names map[string][]*stdtls.Certificate // lower case; a wildcard as it is written in the certificate
	first []*stdtls.Certificate            // for no name and unknown names: the first pair, and those with the same names
}

// newSet indexes certificates, whose order is the preference.
func newSet(all []*stdtls.Certificate) *set {
	s := &set{names: make(map[string][]*stdtls.Certificate)}
	first := sortedNames(all[0])
	for _, c := range all {
		names := sortedNames(c)
		for _, n := range names {
			s.names[n] = append(s.names[n], c)
		}
		if slices.Equal(names, first) {
			s.first = append(s.first, c)
		}
	}
	return s
}

func sortedNames(c *stdtls.Certificate) []string {
	var names []string
	for _, n := range c.Leaf.DNSNames {
		names = append(names, strings.ToLower(strings.TrimSuffix(n, ".")))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// pick chooses by name, exact before wildcard (RFC 6125, 6.4.3: for the leftmost label), then the default. Among several the first
// that the client can verify is taken, and the first of all if it can verify none: then the client gives the reason.
func (s *set) pick(hello *stdtls.ClientHelloInfo) *stdtls.Certificate {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	if c := choose(s.names[name], hello); c != nil {
		return c
	}
	if _, parent, ok := strings.Cut(name, "."); ok {
		if c := choose(s.names["*."+parent], hello); c != nil {
			return c
		}
	}
	nameless := *hello
	nameless.ServerName = "" // SupportsCertificate would also compare the name, which is known to be foreign
	if c := choose(s.first, &nameless); c != nil {
		return c
	}
	return s.first[0]
}

func choose(from []*stdtls.Certificate, hello *stdtls.ClientHelloInfo) *stdtls.Certificate {
	for _, c := range from {
		if hello.SupportsCertificate(c) == nil {
			return c
		}
	}
	return nil
}
