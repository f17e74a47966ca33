package certs

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what an Event is about.
type Kind uint8

const (
	// EventReloaded: the files of a pair have changed; new connections get the new certificate.
	EventReloaded Kind = iota + 1
	// EventReloadFailed: the files of a pair have changed to something unusable; the certificate in use stays. Told once per cause.
	EventReloadFailed
	// EventExpiring: a certificate has not been renewed and is about to end, or has ended. Told once per certificate.
	EventExpiring
	// EventStapled: a fresh OCSP answer is stapled from now on.
	EventStapled
	// EventStapleFailed: a responder could not be asked, or its answer was refused; the staple in use stays until it expires.
	EventStapleFailed
	// EventStapleExpired: a staple has expired and is no longer sent.
	EventStapleExpired
	// EventRevoked: the responder says that the certificate has been revoked. The answer is stapled.
	EventRevoked
	// EventTicketKeys: other ticket keys are in use: made here, or found in the file.
	EventTicketKeys
	// EventTicketKeysFailed: the ticket key file could not be read or written; the keys in use stay. Told once per cause.
	EventTicketKeysFailed
	// EventTicketKeysStale: nobody has renewed the shared ticket keys for 7 days. New tickets are encrypted with a key of this process,
	// so other nodes do not take them.
	EventTicketKeysStale
)

// String names the kind as a word for logs and metrics. Any goroutine.
func (k Kind) String() string {
	words := [...]string{"unknown", "reloaded", "reload_failed", "expiring", "stapled", "staple_failed", "staple_expired", "revoked",
		"ticket_keys", "ticket_keys_failed", "ticket_keys_stale"}
	if int(k) >= len(words) {
		return words[0]
	}
	return words[k]
}

// Event is something that happened to certificates, staples or keys.
type Event struct {
	Kind Kind
	Pair int   // index into Config.Pairs; -1: about tickets
	Err  error // for failures, and for what is about to fail
}

// Stats is a snapshot of a Store.
type Stats struct {
	Pairs []PairStats // as in Config.Pairs

	Reloads, ReloadFailures       uint64 // certificates replaced; failures told as EventReloadFailed
	Fetches, FetchFailures        uint64 // requests for staples; those that gave none
	TicketChanges, TicketFailures uint64 // times that other ticket keys came into use; failures told as EventTicketKeysFailed

	TicketKeys   int           // keys in use
	TicketKeyAge time.Duration // of the one that encrypts
	NextRotation time.Time     // zero: this node does not make keys
	TicketsStale bool          // see EventTicketKeysStale
	TicketError  error         // why the file cannot be read or written just now
	Running      bool          // Run is running
}

// PairStats is about one pair.
type PairStats struct {
	CertFile  string
	Names     []string // DNS names of the leaf; shared, not to be changed
	Serial    string   // of the leaf, hexadecimal
	NotAfter  time.Time
	Loaded    time.Time
	LoadError error // why the files as they are cannot be used; the certificate is an older one

	MustStaple    bool          // the leaf demands a staple (RFC 7633)
	Stapled       bool          // a staple is sent
	Revoked       bool          // the staple says so
	StapleAge     time.Duration // since its thisUpdate
	StapleExpires time.Time     // its nextUpdate, or the end of the responder's certificate when that is earlier
	NextFetch     time.Time     // zero: there is nothing to fetch
	FetchError    error         // why the last fetch failed, or why none is made for a leaf that demands a staple
}

// Stats returns a snapshot. Any goroutine.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	st := s.counts
	st.Running = s.running
	for _, sl := range s.slots {
		st.Pairs = append(st.Pairs, sl.stats(now))
	}
	t := &s.tickets
	st.TicketKeys = len(t.applied)
	if len(t.keys) > 0 {
		st.TicketKeyAge = now.Sub(t.keys[0].made)
	}
	st.NextRotation, st.TicketsStale, st.TicketError = t.rotateAt, t.stale, errors.Join(t.err, t.unmade)
	return st
}

func (sl *slot) stats(now time.Time) PairStats {
	m := sl.material
	p := PairStats{CertFile: sl.pair.CertFile, Names: m.leaf.DNSNames, Serial: m.leaf.SerialNumber.Text(16), NotAfter: m.leaf.NotAfter,
		Loaded: m.loaded, LoadError: sl.loadErr, MustStaple: m.mustStaple, NextFetch: sl.fetchAt, FetchError: sl.fetchErr}
	if sl.staple != nil {
		p.Stapled, p.Revoked, p.StapleAge, p.StapleExpires = true, sl.staple.revoked, now.Sub(sl.staple.thisUpdate), sl.staple.until
	}
	return p
}

// Health returns nil when nothing needs a person: every file is as it should be, no certificate is near its end or revoked, leaves that
// demand a staple have one, and ticket keys are renewed. Otherwise it joins what is wrong. A certificate that merely could have a
// staple and has none is healthy. Any goroutine.
func (s *Store) Health() error {
	st := s.Stats()
	var errs []error
	for i, p := range st.Pairs {
		errs = append(errs, p.LoadError, s.expiry(i, p.NotAfter))
		if p.Revoked {
			errs = append(errs, fmt.Errorf("certs: Pairs[%d] (%s): the certificate has been revoked", i, p.CertFile))
		}
		if p.MustStaple && !p.Stapled {
			why := p.FetchError
			if why == nil {
				why = errors.New("it has not been fetched yet")
			}
			errs = append(errs, fmt.Errorf("certs: Pairs[%d] (%s): the certificate demands a staple and has none, so clients refuse it: %w",
				i, p.CertFile, why))
		}
	}
	errs = append(errs, st.TicketError)
	if st.TicketsStale {
		errs = append(errs, errStale)
	}
	return errors.Join(errs...)
}

// expiry complains about a certificate that is about to end.
func (s *Store) expiry(i int, notAfter time.Time) error {
	now := s.now()
	if now.After(notAfter) {
		return fmt.Errorf("certs: Pairs[%d] (%s): the certificate has expired on %s", i, s.cfg.Pairs[i].CertFile, stamp(notAfter))
	}
	if s.cfg.ExpiryWarning > 0 && notAfter.Sub(now) < s.cfg.ExpiryWarning {
		return fmt.Errorf("certs: Pairs[%d] (%s): the certificate expires on %s and has not been renewed",
			i, s.cfg.Pairs[i].CertFile, stamp(notAfter))
	}
	return nil
}
