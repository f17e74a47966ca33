package certs

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"
)

// KeySetter takes session ticket keys: the first encrypts, all decrypt. *tls.Server is one. Any goroutine may call the method.
type KeySetter interface {
	SetSessionTicketKeys(keys [][32]byte) error
}

var errStale = fmt.Errorf("certs: the shared ticket keys have not been renewed for %v; tickets of this node are its own now", maxRotate)

// tickets is the state of the ticket keys. Guarded by Store.mu.
type tickets struct {
	keys     []TicketKey // newest first
	local    []TicketKey // while the shared keys are stale: this node's own, newest first
	applied  [][32]byte  // what the setters have
	setters  []KeySetter
	rotateAt time.Time // zero: another node does it
	stale    bool
	err      error // why the file cannot be read
	unmade   error // why the last renewal that was due failed
}

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// openTickets gets the first keys. An owner whose file is there goes on with its keys.
func (s *Store) openTickets() error {
	t := s.cfg.Tickets
	now := s.now()
	var keys []TicketKey
	var err error
	if t.File != "" {
		keys, err = ReadTicketFile(t.File)
	}
	if err != nil && !(t.Owner && isMissing(err)) {
		return fmt.Errorf("certs: Config.Tickets.File: %w", err)
	}
	if keys == nil {
		keys = []TicketKey{NewTicketKey(now)}
		if t.File != "" {
			err := WriteTicketFile(t.File, keys)
			if err == nil {
				_, err = ReadTicketFile(t.File) // the directory may break the rule
			}
			if err != nil {
				return fmt.Errorf("certs: Config.Tickets.File: %w", err)
			}
		}
	}
	s.tickets.take(keys, t, now)
	return s.applyTickets()
}

// take makes keys the ones in force, and plans their renewal. Called with mu held, or before anyone else knows the Store.
func (k *tickets) take(keys []TicketKey, t Tickets, now time.Time) {
	k.keys = keys
	k.plan(t, now)
}

// plan sets when the newest key is to be replaced.
func (k *tickets) plan(t Tickets, now time.Time) {
	if t.File != "" && !t.Owner {
		return
	}
	k.rotateAt = k.keys[0].made.Add(t.Rotate)
	if k.keys[0].made.Sub(now) > clockSkew {
		k.rotateAt = now // made by a clock that was far ahead: waiting for that time may mean years
	}
}

// Attach has server use the Store's ticket keys from now on. At most 64 servers. Any goroutine.
func (s *Store) Attach(server KeySetter) error {
	if server == nil {
		return errors.New("certs: Attach got nil; allowed: a server")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.tickets.setters) >= maxSetters {
		return fmt.Errorf("certs: Attach was called more than %d times", maxSetters)
	}
	if err := server.SetSessionTicketKeys(slices.Clone(s.tickets.applied)); err != nil {
		return err
	}
	s.tickets.setters = append(s.tickets.setters, server)
	return nil
}

// applyTickets gives the servers what follows from the keys and the time. It does nothing when that is what they have. Called with mu
// held, or before anyone else knows the Store.
func (s *Store) applyTickets() error {
	t := &s.tickets
	keys := trimmed(t.keys, s.now(), maxKeepKeys)
	var raw [][32]byte
	if t.stale = s.now().Sub(keys[0].made) > maxRotate; !t.stale {
		t.local = nil
	} else if len(t.local) == 0 || s.now().Sub(t.local[0].made) >= DefaultRotate {
		t.local = rotated(t.local, s.now(), int(MaxTicketLife/DefaultRotate))
	}
	for _, k := range t.local {
		raw = append(raw, k.key)
	}
	for _, k := range keys {
		if s.now().Sub(k.made) <= maxRotate+MaxTicketLife {
			raw = append(raw, k.key)
		}
	}
	if slices.Equal(raw, t.applied) {
		return nil
	}
	t.applied = raw
	var errs []error
	for _, server := range t.setters {
		errs = append(errs, server.SetSessionTicketKeys(slices.Clone(raw)))
	}
	return errors.Join(errs...)
}

// lookAtTickets reads the shared file.
func (s *Store) lookAtTickets() error {
	t := s.cfg.Tickets
	if t.File == "" {
		return nil
	}
	keys, err := ReadTicketFile(t.File)
	if err != nil {
		err = fmt.Errorf("certs: Config.Tickets.File: %w", err)
	}
	return s.useTickets(keys, err)
}

// useTickets puts keys into use, or notes why there are none, and tells about it.
func (s *Store) useTickets(keys []TicketKey, err error) error {
	s.mu.Lock()
	k := &s.tickets
	was, old := k.stale, k.applied
	news := err != nil && (k.err == nil || k.err.Error() != err.Error())
	if k.err = err; err == nil && !slices.Equal(keys, k.keys) {
		k.take(keys, s.cfg.Tickets, s.now())
	}
	failed := s.applyTickets()
	var events []Event
	if news {
		s.counts.TicketFailures++
		events = append(events, Event{Kind: EventTicketKeysFailed, Pair: -1, Err: err})
	}
	if !slices.Equal(old, k.applied) {
		s.counts.TicketChanges++
		events = append(events, Event{Kind: EventTicketKeys, Pair: -1, Err: failed})
	}
	if k.stale && !was {
		events = append(events, Event{Kind: EventTicketKeysStale, Pair: -1, Err: errStale})
	}
	s.mu.Unlock()
	s.tell(events...)
	return errors.Join(err, failed)
}

// rotate makes a new key when it is time, and notices keys that nobody has renewed.
func (s *Store) rotate() {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	s.mu.Lock()
	now := s.now()
	due := s.tickets.due(now)
	keys, err, failed := s.tickets.keys, s.tickets.err, s.tickets.unmade
	s.mu.Unlock()
	if due {
		if there, e := s.renewed(keys, now); e == nil {
			keys, err, failed = there, nil, nil
		} else {
			failed = e
		}
	}
	s.told(failed)
	_ = s.useTickets(keys, err) // told as events
	if !due {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if failed != nil {
		s.tickets.rotateAt = now.Add(retryRotation)
	} else {
		s.tickets.plan(s.cfg.Tickets, now) // also when the keys are the same: what was due must not stay due
	}
}

// due says whether the newest key is to be replaced: its time has come, or the clock has been set back to long before the key was made,
// so that waiting for its time might take years. Called with mu held.
func (k *tickets) due(now time.Time) bool {
	if k.rotateAt.IsZero() {
		return false
	}
	astray := k.keys[0].made.Sub(now) > clockSkew && (k.unmade == nil || k.rotateAt.Sub(now) > retryRotation)
	return astray || !now.Before(k.rotateAt)
}

// told notes why a renewal has failed, or that none has, and tells it once per cause. It is apart from what a look at the file finds:
// a file that can be read says nothing about whether it can be written.
func (s *Store) told(err error) {
	s.mu.Lock()
	k := &s.tickets
	news := err != nil && (k.unmade == nil || k.unmade.Error() != err.Error())
	if k.unmade = err; news {
		s.counts.TicketFailures++
	}
	s.mu.Unlock()
	if news {
		s.tell(Event{Kind: EventTicketKeysFailed, Pair: -1, Err: err})
	}
}

// renewed returns keys with a new one in front; shared keys are read and written. The file counts, not what we remember: another
// owner, or an administrator, may have renewed it.
func (s *Store) renewed(keys []TicketKey, now time.Time) ([]TicketKey, error) {
	t := s.cfg.Tickets
	if t.File == "" {
		return rotated(keys, now, t.Keep), nil
	}
	there, err := ReadTicketFile(t.File)
	if err != nil && !isMissing(err) {
		return nil, fmt.Errorf("certs: Config.Tickets.File: %w", err)
	}
	if err == nil {
		keys = there
	}
	if age := now.Sub(keys[0].made); age < t.Rotate && age >= -clockSkew {
		return keys, nil
	}
	keys = rotated(keys, now, t.Keep)
	if err := WriteTicketFile(t.File, keys); err != nil {
		return nil, fmt.Errorf("certs: Config.Tickets.File: %w", err)
	}
	return keys, nil
}
