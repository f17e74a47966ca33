package certs

import (
	"context"
	"crypto"
	"crypto/x509"
	"os"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/pool/readiness"
)

func expectState(t *testing.T, what string, s *Store, want readiness.State) {
	t.Helper()
	got := s.Readiness()
	if got.State != want || (want == readiness.Ready) != (len(got.Reasons) == 0) {
		t.Errorf("%s: %+v, want %v", what, got, want)
	}
	for _, r := range got.Reasons {
		if r.Why != "tls" || r.Detail == "" {
			t.Errorf("%s: reason %+v", what, r)
		}
	}
}

func ending(in time.Duration) func(*x509.Certificate) crypto.Signer {
	return func(c *x509.Certificate) crypto.Signer { c.NotAfter = time.Now().Add(in); return nil }
}

func TestReadinessOfCertificates(t *testing.T) {
	dir := t.TempDir()
	short, long := theCA().issue([]string{"a.test"}, ending(20*24*time.Hour)), theCA().issue([]string{"b.test"}, ending(40*24*time.Hour))
	s, k, _ := open(t, Config{Pairs: []Pair{short.write(dir, "a"), long.write(dir, "b")}, Interval: -1})
	expectState(t, "fresh", s, readiness.Ready)
	k.advance(10 * 24 * time.Hour)
	expectState(t, "one expires soon", s, readiness.Degraded)
	k.advance(11 * 24 * time.Hour)
	expectState(t, "one has expired", s, readiness.Degraded)
	k.advance(30 * 24 * time.Hour)
	expectState(t, "both have expired", s, readiness.NotReady)
	renewed := theCA().issue([]string{"a.test"}, ending(400*24*time.Hour))
	renewed.write(dir, "a")
	_ = s.Reload() // the other one is still too old
	expectState(t, "one is renewed", s, readiness.Degraded)
	theCA().issue([]string{"b.test"}, ending(400*24*time.Hour)).write(dir, "b")
	must(s.Reload())
	expectState(t, "both are renewed", s, readiness.Ready)
	must(os.WriteFile(dir+"/a.crt", []byte("garbage"), 0o600))
	_ = s.Reload()
	expectState(t, "a file is broken", s, readiness.Degraded)
}

func TestReadinessOfStaples(t *testing.T) {
	r := newResponder(t)
	l := theCA().issue(single, ofResponder(r.URL))
	s, k, _ := open(t, Config{Pairs: []Pair{l.write(t.TempDir(), "a")}, Interval: -1})
	expectState(t, "not asked yet", s, readiness.Ready)
	r.set(broken)
	s.turn(context.Background())
	expectState(t, "asked in vain", s, readiness.Degraded)
	r.set(saying(answer(l, theCA(), theCA(), false, k.now(), nil)))
	must(s.Staple(context.Background()))
	expectState(t, "stapled", s, readiness.Ready)
	k.advance(s.Stats().Pairs[0].StapleExpires.Sub(k.now()) + time.Second)
	expectState(t, "stale, and nobody looks after it", s, readiness.Degraded)
}

func TestReadinessOfMustStaple(t *testing.T) {
	r := newResponder(t)
	r.set(broken)
	l := theCA().issue(single, ofResponder(r.URL), demanding)
	s, k, _ := open(t, Config{Pairs: []Pair{l.write(t.TempDir(), "a")}, Interval: -1})
	_ = s.Staple(context.Background())
	expectState(t, "demanded and not there", s, readiness.NotReady)
	r.set(saying(answer(l, theCA(), theCA(), false, k.now(), nil)))
	must(s.Staple(context.Background()))
	expectState(t, "stapled", s, readiness.Ready)
	k.advance(s.Stats().Pairs[0].StapleExpires.Sub(k.now()) + time.Second)
	expectState(t, "stale, and clients refuse that", s, readiness.NotReady)
	r.set(saying(answer(l, theCA(), theCA(), false, k.now(), nil)))
	s.turn(context.Background())
	expectState(t, "stapled anew", s, readiness.Ready)
}
