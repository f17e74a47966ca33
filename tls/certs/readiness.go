package certs

import (
	"fmt"
	"time"

	"github.com/ron-transport/ron-transport/pool/readiness"
)

// reasonTLS is the canon's word (oap1.md) for everything that is wrong with certificates, staples and keys.
const reasonTLS = "tls"

// Readiness says how far clients will accept what is served; its reasons are all tls. NotReady when there is no pair that clients accept:
// each has expired, or demands a staple and has none that is fresh. Degraded when Health has something to say, or a staple is stale: the responder has
// been asked in vain and nothing is stapled, or what is stapled has outlived its nextUpdate. Any goroutine.
func (s *Store) Readiness() readiness.Status {
	now, st := s.now(), s.Stats()
	out, good := readiness.OK(), 0
	if err := s.Health(); err != nil {
		for _, e := range parts(err) {
			out = out.Lower(readiness.Degraded, reasonTLS, e.Error())
		}
	}
	for i, p := range st.Pairs {
		if !now.After(p.NotAfter) && (!p.MustStaple || p.Stapled && !now.After(p.StapleExpires)) {
			good++
		}
		if d := p.stale(now); d != "" {
			out = out.Lower(readiness.Degraded, reasonTLS, fmt.Sprintf("certs: Pairs[%d] (%s): %s", i, p.CertFile, d))
		}
	}
	if good == 0 {
		out.State = readiness.NotReady
	}
	return out
}

// parts takes an error apart that errors.Join has made.
func parts(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}

// stale says what is wrong with a staple that Health has no complaint about; "": nothing.
func (p *PairStats) stale(now time.Time) string {
	switch {
	case p.Stapled && now.After(p.StapleExpires):
		return "the staple has expired and is still sent; is Run running?"
	case !p.Stapled && !p.MustStaple && !p.NextFetch.IsZero() && p.FetchError != nil:
		return fmt.Sprintf("no staple is sent: %v", p.FetchError)
	}
	return ""
}
