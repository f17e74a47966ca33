package certs

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// timers are timers that fire when the test says so.
type timers struct {
	armed chan time.Duration
	fire  chan time.Time
}

func (f *timers) timer(d time.Duration) (<-chan time.Time, func()) {
	f.armed <- d
	return f.fire, func() {}
}

// TestRun: one goroutine sleeps until the next thing is due, is woken by a Reload, and ends with its context.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	first, second, third := theCA().issue(single), theCA().issue(single), theCA().issue(single)
	s, k, l := open(t, Config{Pairs: []Pair{first.write(dir, "a")}, Interval: time.Minute, Tickets: Tickets{Rotate: 90 * time.Second}})
	f := &timers{armed: make(chan time.Duration), fire: make(chan time.Time)}
	s.timer = f.timer
	r := &setter{}
	must(s.Attach(r))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	pass := func(want time.Duration) {
		t.Helper()
		if got := <-f.armed; got != want {
			t.Errorf("sleeps for %v, want %v", got, want)
		}
		k.advance(want)
		f.fire <- k.now()
	}
	second.write(dir, "a")
	pass(time.Minute)      // the look at 1:00 finds the second
	pass(30 * time.Second) // the key is renewed at 1:30
	if got := <-f.armed; got != 30*time.Second {
		t.Errorf("sleeps for %v, want 30s", got)
	}
	expectServed(t, s, second)
	if st := s.Stats(); st.TicketKeys != 2 || st.TicketChanges != 1 {
		t.Errorf("stats %+v", st)
	}
	third.write(dir, "a")
	must(s.Reload())
	if got := <-f.armed; got != 30*time.Second { // woken
		t.Errorf("after Reload it sleeps for %v, want 30s", got)
	}
	expectServed(t, s, third)
	expectEvents(t, l, "reloaded ticket_keys reloaded")
	cancel()
	if err := <-ended; err != context.Canceled {
		t.Error(err)
	}
}

// TestAnyGoroutine: everything at once, for the race detector; a handshake always sees a whole pair.
func TestAnyGoroutine(t *testing.T) {
	dir := t.TempDir()
	versions := []leaf{theCA().issue(single), theCA().issue(single)}
	p := versions[0].write(dir, "a")
	s, err := New(Config{Pairs: []Pair{p}, Interval: minInterval, Tickets: Tickets{File: filepath.Join(dir, "tickets"), Owner: true},
		OnEvent: func(Event) {}})
	must(err)
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { _ = s.Run(ctx) })
	for range 2 {
		all.Go(func() {
			for ctx.Err() == nil {
				c, _ := s.GetCertificate(hello("a.test"))
				key := c.PrivateKey
				if i := map[bool]int{true: 0, false: 1}[versions[0].Equal(c.Leaf)]; !versions[i].Equal(c.Leaf) || !samePublic(versions[i], key) {
					t.Error("a certificate with another one's key")
				}
				_, _ = s.Stats(), s.Health()
			}
		})
	}
	for i := range 40 {
		versions[i%2].write(dir, "a")
		_ = s.Reload() // Run may have seen half of it, and told
		must(s.Attach(&setter{}))
	}
	if err := s.Reload(); err != nil {
		t.Error(err)
	}
	expectServed(t, s, versions[1])
	cancel()
	all.Wait()
}
