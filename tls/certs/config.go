package certs

import (
	"fmt"
	"net/url"
	"time"
)

// Pair is one certificate with its key.
type Pair struct {
	// CertFile is a PEM file with the leaf first, then its chain. For OCSP the issuer's certificate must be among them, also when it
	// is a root. KeyFile is a PEM file with the leaf's key, unencrypted; it may be the same file. Symbolic links are followed. A key
	// file that group or others may read or write is refused, as is one of another user than root and this process's, and one in a
	// directory where others may replace it. A process that is not root may be lent a key: a file of root that a group of the process
	// may read (mode 0440 or 0640). Everybody in that group can read it, which is not looked at: it should be a group of the process's own.
	CertFile, KeyFile string
	// Responder is the URL of the OCSP responder ("http" or "https"); "": the first one that the leaf names.
	Responder string
}

// Config is what a Store is made from. It is copied. New validates it; the error names the field, its value and what is allowed.
type Config struct {
	// Pairs are the certificates: 1 … 1024. The first is used for clients that ask for no name, or for one that no pair has. Pairs
	// with the same names and keys of different kinds (RSA, ECDSA) are chosen from by what the client can verify, in this order.
	Pairs []Pair

	// Interval is how often Run looks at the files. 0: 10 s; negative: never, Reload is the only way; else 100 ms … 24 h.
	Interval time.Duration

	// ExpiryWarning is how long before its end a certificate is reported (EventExpiring, Health). 0: 14 days; negative: never.
	ExpiryWarning time.Duration

	// Tickets is about the keys of session tickets. The zero value: keys of this process alone, renewed daily. It matters once a
	// server has been given to Attach.
	Tickets Tickets

	// OCSP is about stapling. The zero value: on, for every leaf that names a responder and whose issuer is in its file.
	OCSP OCSP

	// OnEvent is told what happens, by the goroutine of Run, Reload, Staple or Attach that made it happen; it must not call back into the
	// Store except for Stats and Health, and must not block for long. Events never hold key material. Optional.
	OnEvent func(Event)
}

// Tickets configures session ticket keys.
type Tickets struct {
	// File is the file that nodes share (see ParseTicketFile); "": the keys stay in the memory of this process. The rule for key
	// files holds for it.
	File string
	// Owner makes this node the one that renews File, creating it where it is missing. The others only watch it. Needs File.
	Owner bool
	// Rotate is the age at which a key stops encrypting and a new one is made. 0: 24 h; else 1 min … 7 days. Without effect on a
	// node that only watches.
	Rotate time.Duration
	// Keep is how many previous keys go on decrypting, so a ticket is honoured for Keep × Rotate at least. 0: as many as fit into 7
	// days, the longest life of a ticket (RFC 8446, 4.6.1), but 15 at most; negative: none; else 1 … 15, with Keep × Rotate at most
	// 7 days. Fewer keys mean that what a thief of the keys can do ends earlier. Without effect on a node that only watches: it
	// decrypts with all keys of the file.
	Keep int
}

// OCSP configures stapling.
type OCSP struct {
	// Disable turns it off.
	Disable bool
	// Timeout bounds one request. 0: 10 s; else 100 ms … 1 min.
	Timeout time.Duration
}

// withDefaults returns c with zero fields replaced.
func (c Config) withDefaults() Config {
	setDuration(&c.Interval, DefaultInterval)
	setDuration(&c.ExpiryWarning, DefaultExpiryWarning)
	setDuration(&c.OCSP.Timeout, DefaultFetchTimeout)
	setDuration(&c.Tickets.Rotate, DefaultRotate)
	if t := &c.Tickets; t.Keep == 0 && t.Rotate > 0 {
		t.Keep = int(min(MaxTicketLife/t.Rotate, maxKeepKeys))
	}
	return c
}

func setDuration(p *time.Duration, v time.Duration) {
	if *p == 0 {
		*p = v
	}
}

// Validate says what New would refuse c for before it reads any file; the error names the field, its value and what is allowed. Any
// goroutine.
func (c Config) Validate() error { return c.withDefaults().validate() }

// validate checks a Config whose defaults are filled in.
func (c Config) validate() error {
	if n := len(c.Pairs); n < 1 || n > maxPairs {
		return fmt.Errorf("certs: Config.Pairs has %d entries; allowed: 1 to %d", n, maxPairs)
	}
	for i, p := range c.Pairs {
		if err := p.validate(i); err != nil {
			return err
		}
	}
	if v := c.Interval; v >= 0 && (v < minInterval || v > maxInterval) {
		return fmt.Errorf("certs: Config.Interval is %v; allowed: 0 for the default, negative for never, or %v to %v",
			v, minInterval, maxInterval)
	}
	if v := c.OCSP.Timeout; v < minTimeout || v > maxTimeout {
		return fmt.Errorf("certs: Config.OCSP.Timeout is %v; allowed: 0 for the default, or %v to %v", v, minTimeout, maxTimeout)
	}
	return c.Tickets.validate()
}

func (p Pair) validate(i int) error {
	if p.CertFile == "" {
		return fmt.Errorf(`certs: Config.Pairs[%d].CertFile is ""; allowed: the path of a PEM file`, i)
	}
	if p.KeyFile == "" {
		return fmt.Errorf(`certs: Config.Pairs[%d].KeyFile is ""; allowed: the path of a PEM file`, i)
	}
	if p.Responder == "" {
		return nil
	}
	if err := judgeURL(p.Responder); err != nil {
		return fmt.Errorf("certs: Config.Pairs[%d].Responder is %q: %w", i, p.Responder, err)
	}
	return nil
}

// judgeURL says whether a responder may be asked at s.
func judgeURL(s string) error {
	u, err := url.Parse(s)
	if err != nil {
		return fmt.Errorf("it does not parse; allowed: an http or https URL")
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		return fmt.Errorf("allowed: an http or https URL with a host, without a user")
	}
	return nil
}

func (t Tickets) validate() error {
	if t.Owner && t.File == "" {
		return fmt.Errorf("certs: Config.Tickets.Owner is true without File; allowed: true with a File")
	}
	if v := t.Rotate; v < minRotate || v > maxRotate {
		return fmt.Errorf("certs: Config.Tickets.Rotate is %v; allowed: 0 for the default, or %v to %v", v, minRotate, maxRotate)
	}
	if t.Keep > maxKeepKeys {
		return fmt.Errorf("certs: Config.Tickets.Keep is %d; allowed: 0 for the default, negative for none, or 1 to %d", t.Keep, maxKeepKeys)
	}
	if t.Keep > 0 && time.Duration(t.Keep)*t.Rotate > MaxTicketLife {
		return fmt.Errorf("certs: Config.Tickets.Keep is %d; allowed: up to %d with Rotate %v, as no ticket outlives %v (RFC 8446)",
			t.Keep, MaxTicketLife/t.Rotate, t.Rotate, MaxTicketLife)
	}
	return nil
}
