package certs

import (
	"context"
	"errors"
)

// Reload looks at all files now, as a SIGHUP handler wants it. What is sound and new is in use when it returns; what is not keeps its
// old version and is in the error. It takes as long as reading the files does, and up to OCSP.Timeout more when there are new
// certificates that demand a staple. Any goroutine.
func (s *Store) Reload() error {
	err := s.look(context.Background())
	s.wake()
	return err
}

// look reads all files and puts what has changed into use.
func (s *Store) look(ctx context.Context) error {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	ctx, cancel := context.WithTimeout(ctx, s.cfg.OCSP.Timeout) // for the staples of all pairs: a dead responder holds a look up once
	defer cancel()
	var errs []error
	for i := range s.cfg.Pairs {
		errs = append(errs, s.lookAt(ctx, i))
	}
	errs = append(errs, s.lookAtTickets())
	return errors.Join(errs...)
}

// lookAt reads the files of pair i. A failure is told once per cause: the same one at every interval would bury the others.
func (s *Store) lookAt(ctx context.Context, i int) error {
	s.mu.Lock()
	sl := s.slots[i]
	old := sl.material
	s.mu.Unlock()
	m, err := readPair(i, sl.pair, old, s.now())
	if err != nil {
		s.mu.Lock()
		news := sl.loadErr == nil || sl.loadErr.Error() != err.Error()
		sl.loadErr = err
		if news {
			s.counts.ReloadFailures++
		}
		s.mu.Unlock()
		if news {
			s.tell(Event{Kind: EventReloadFailed, Pair: i, Err: err})
		}
		return err
	}
	if m == old {
		s.mu.Lock()
		sl.loadErr = nil // the old content is back
		s.mu.Unlock()
		return nil
	}
	var first *staple
	if m.mustStaple && !m.leaf.Equal(old.leaf) && s.canStaple(m) {
		// Clients refuse such a certificate without a staple, so the old one stays in use for the moment of a fetch. If that fails
		// the new one is used all the same: the old may be about to expire.
		first, _ = s.ask(ctx, m)
	}
	s.mu.Lock()
	sl.install(m, s.cfg.OCSP, s.now())
	if first != nil {
		sl.stapled(first, s.now())
	}
	s.publish()
	s.counts.Reloads++
	s.mu.Unlock()
	s.tell(Event{Kind: EventReloaded, Pair: i})
	if first != nil {
		s.tell(first.event(i, sl.pair))
	}
	return nil
}
