package certs

import (
	"context"
	stdtls "crypto/tls"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// ErrRunning is returned by Run when it is running already.
var ErrRunning = errors.New("certs: Run is running already")

// Store holds certificates, staples and ticket keys. Its methods may be called by any goroutine.
type Store struct {
	cfg    Config
	set    atomic.Pointer[set] // what GetCertificate reads
	client *http.Client
	kick   chan struct{} // wakes Run after Reload and Staple

	// Seams for tests: the clock, and a timer that says when d has passed.
	now   func() time.Time
	timer func(d time.Duration) (fired <-chan time.Time, stop func())

	reloading sync.Mutex // held over a whole look at the files, so that an older look never overwrites a newer one; taken before mu

	mu      sync.Mutex // guards the rest; never held while files are read, responders asked or events told
	slots   []*slot
	tickets tickets
	counts  Stats // the counters among its fields
	pollAt  time.Time
	running bool
}

// slot is a pair's state.
type slot struct {
	pair     Pair
	material *material
	loadErr  error // why the files as they are cannot be used
	warned   bool  // EventExpiring has been told for this material

	staple   *staple
	fetchAt  time.Time // zero: nothing to fetch
	failures int       // fetches that failed in a row
	fetchErr error
}

// New checks c, loads all files and returns a Store that is ready for GetCertificate. Everything must be sound: errors name the field,
// its value and what is allowed. It starts nothing and asks no responder; see Run and Staple. Any goroutine.
func New(c Config) (*Store, error) {
	return newStore(c, time.Now)
}

func newStore(c Config, now func() time.Time) (*Store, error) {
	c = c.withDefaults()
	if err := c.validate(); err != nil {
		return nil, err
	}
	c.Pairs = append([]Pair(nil), c.Pairs...)
	s := &Store{cfg: c, now: now, timer: realTimer, kick: make(chan struct{}, 1), client: newClient()}
	for i, p := range c.Pairs {
		m, err := readPair(i, p, nil, now())
		if err != nil {
			return nil, err
		}
		sl := &slot{pair: p}
		sl.install(m, c.OCSP, now())
		s.slots = append(s.slots, sl)
	}
	s.publish()
	if err := s.openTickets(); err != nil {
		return nil, err
	}
	if c.Interval > 0 {
		s.pollAt = now().Add(c.Interval)
	}
	return s, nil
}

func realTimer(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTimer(d)
	return t.C, func() { t.Stop() }
}

// install makes m the pair's material. What is known about the same leaf stays. Called with mu held, or before anyone else knows s.
func (sl *slot) install(m *material, o OCSP, now time.Time) {
	same := sl.material != nil && sl.material.leaf.Equal(m.leaf) && sl.staple != nil
	sl.material, sl.loadErr, sl.warned = m, nil, false
	if !same {
		sl.staple, sl.failures = nil, 0
	}
	sl.fetchErr = nil
	switch {
	case o.Disable:
		sl.fetchErr = errDisabled
	case m.responder == "":
		sl.fetchErr = errNoResponder
	case m.issuer == nil:
		sl.fetchErr = errNoIssuer
	case !same:
		sl.fetchAt = now
		return
	default:
		return // the schedule of the staple stays
	}
	sl.fetchAt = time.Time{}
}

// publish makes the slots' certificates and staples the ones that handshakes see. Called with mu held.
func (s *Store) publish() {
	all := make([]*stdtls.Certificate, len(s.slots))
	for i, sl := range s.slots {
		c := sl.material.cert
		if sl.staple != nil {
			c.OCSPStaple = sl.staple.raw
		}
		all[i] = &c
	}
	s.set.Store(newSet(all))
}

// GetCertificate is for crypto/tls's Config of the same name. It chooses by the name that the client asks for: exact, then wildcard,
// then the first pair; and by what the client can verify. The certificate is shared and must not be changed. It takes no lock. Any
// goroutine.
func (s *Store) GetCertificate(hello *stdtls.ClientHelloInfo) (*stdtls.Certificate, error) {
	return s.set.Load().pick(hello), nil
}

// Run watches the files, fetches staples and renews ticket keys, on the calling goroutine, until ctx ends; then it returns ctx's error.
// Without it nothing changes except through Reload and Staple, and staples are sent past their end. ErrRunning when it is running
// already. Any goroutine.
func (s *Store) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.running {
		s.mu.Unlock()
		return ErrRunning
	}
	s.running = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.running = false
		s.mu.Unlock()
	}()
	for ctx.Err() == nil {
		wait := s.turn(ctx)
		if wait <= 0 {
			continue // more is due; files have been looked at in between
		}
		fired, stop := s.timer(wait)
		select {
		case <-fired:
		case <-s.kick:
		case <-ctx.Done():
		}
		stop()
	}
	return ctx.Err()
}

// turn does what is due, at most one fetch, and returns how long nothing will be. One fetch: an unreachable responder must not keep
// the files from being watched for longer than a timeout.
func (s *Store) turn(ctx context.Context) time.Duration {
	s.mu.Lock()
	now := s.now()
	poll := !s.pollAt.IsZero() && !now.Before(s.pollAt)
	if poll {
		s.pollAt = now.Add(s.cfg.Interval)
	}
	s.mu.Unlock()
	if poll {
		_ = s.look(ctx) // told as events
	}
	s.rotate()
	s.expire()
	s.fetchDue(ctx)
	return s.wait()
}

// wait returns the time to the next thing that is due.
func (s *Store) wait() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	next := now.Add(maxIdle)
	earlier := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	earlier(s.pollAt)
	earlier(s.tickets.rotateAt)
	for _, sl := range s.slots {
		earlier(sl.fetchAt)
		if sl.staple != nil {
			earlier(sl.staple.drop())
		}
	}
	return next.Sub(now)
}

// wake has Run look at its schedule again.
func (s *Store) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// tell hands events to the callback. Called without mu.
func (s *Store) tell(events ...Event) {
	if s.cfg.OnEvent == nil {
		return
	}
	for _, e := range events {
		s.cfg.OnEvent(e)
	}
}

// expire drops staples at their end, and warns of certificates at theirs.
func (s *Store) expire() {
	s.mu.Lock()
	now := s.now()
	var events []Event
	changed := false
	for i, sl := range s.slots {
		if sl.staple != nil && !now.Before(sl.staple.drop()) {
			sl.staple, changed = nil, true
			if sl.fetchAt.After(now) {
				sl.fetchAt = now // the machine may have slept, or its clock jumped: the plan is of no use then
			}
			events = append(events, Event{Kind: EventStapleExpired, Pair: i, Err: sl.fetchErr})
		}
		if err := s.expiry(i, sl.material.leaf.NotAfter); err != nil && !sl.warned {
			sl.warned = true
			events = append(events, Event{Kind: EventExpiring, Pair: i, Err: err})
		}
	}
	if changed {
		s.publish()
	}
	s.mu.Unlock()
	s.tell(events...)
}
