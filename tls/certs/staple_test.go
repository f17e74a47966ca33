package certs

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// TestJudgeSigner: whose answers are stapled, beyond what TestJudgeAnswer has.
func TestJudgeSigner(t *testing.T) {
	ca, now := theCA(), time.Now()
	l := ca.issue(single)
	del := func(change func(*x509.Certificate)) *authority { return ca.delegate(change) }
	ans := func(by *authority, embed bool, change func(*ocsp.Response)) []byte {
		return answer(l, ca, by, embed, now, change)
	}
	naming := func(name, embed *x509.Certificate, by *authority) []byte {
		b, err := ocsp.CreateResponse(ca.cert, name,
			ocsp.Response{SerialNumber: l.SerialNumber, ThisUpdate: now, NextUpdate: now.Add(time.Hour), Certificate: embed}, by.key)
		must(err)
		return b
	}
	bySHA1 := func(r *ocsp.Response) { r.SignatureAlgorithm = x509.ECDSAWithSHA1 }
	d := del(nil)
	for _, tc := range []struct {
		name string
		raw  []byte
		want string // "": accepted
	}{
		{"another hash names the issuer", ans(ca, false, func(r *ocsp.Response) { r.IssuerHash = 5 /* SHA-256 */ }), ""},
		{"the issuer's in another's name", naming(l.Certificate, nil, ca), "names another responder"},
		{"a delegate's in another's name", naming(l.Certificate, d.cert, d), "names another responder"},
		{"a delegate's in its own name", naming(d.cert, d.cert, d), ""},
		{"signed with SHA-1", ans(ca, false, bySHA1), "signed with ECDSA-SHA1"},
		{"a delegate's, signed with SHA-1", ans(d, true, bySHA1), "signed with ECDSA-SHA1"},
		{"of a delegate whose certificate is signed with SHA-1",
			ans(del(func(c *x509.Certificate) { c.SignatureAlgorithm = x509.ECDSAWithSHA1 }), true, nil), "certificate is signed with ECDSA-SHA1"},
		{"of a delegate with an unknown critical extension", ans(del(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}), true, nil), "critical extension"},
		{"of a delegate that is about to expire", ans(del(func(c *x509.Certificate) { c.NotAfter = now.Add(4 * time.Minute) }), true, nil), "expires on"},
	} {
		_, err := judgeAnswer(tc.raw, l.Certificate, ca.cert, now)
		if tc.want == "" && err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: error %v; it must contain %q", tc.name, err, tc.want)
		}
	}
}

// TestStapleEndsWithItsResponder: an answer is of no use to clients once the certificate of its signer has expired.
func TestStapleEndsWithItsResponder(t *testing.T) {
	now := time.Now()
	l, end := theCA().issue(single), now.Add(2*time.Hour).UTC().Truncate(time.Second)
	by := theCA().delegate(func(c *x509.Certificate) { c.NotAfter = end })
	st, err := judgeAnswer(answer(l, theCA(), by, true, now, nil), l.Certificate, theCA().cert, now)
	if err != nil || !st.drop().Equal(end.Add(-clockSkew)) {
		t.Errorf("%v, %v", st, err)
	}
}

// TestOlderAnswerArrivesLate: of two fetches at once the newer answer stays, whichever comes last.
func TestOlderAnswerArrivesLate(t *testing.T) {
	r := newResponder(t)
	l := theCA().issue(single, ofResponder(r.URL))
	s, k, events := open(t, Config{Pairs: []Pair{l.write(t.TempDir(), "a")}})
	good := answer(l, theCA(), theCA(), false, k.now(), nil)
	revoked := answer(l, theCA(), theCA(), false, k.now(), func(r *ocsp.Response) {
		r.Status, r.RevokedAt, r.ThisUpdate = ocsp.Revoked, k.now().Add(-time.Hour), k.now()
	})
	r.set(func(w http.ResponseWriter, _ []byte) {
		r.set(saying(revoked))
		must(s.fetch(context.Background(), 0)) // while the first is still on its way
		_, _ = w.Write(good)
	})
	if err := s.fetch(context.Background(), 0); err == nil || !strings.Contains(err.Error(), "is older than the one in use") {
		t.Errorf("error %v", err)
	}
	expectStaple(t, s, revoked)
	expectEvents(t, events, "revoked staple_failed")
}

// TestRedirectToANeighbour: a responder, or whoever sits on the way to it, does not choose whom else we ask.
func TestRedirectToANeighbour(t *testing.T) {
	r, asked := newResponder(t), false
	neighbour := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked = true }))
	defer neighbour.Close()
	for _, status := range []int{http.StatusFound, http.StatusTemporaryRedirect} {
		l := theCA().issue(single, ofResponder(r.URL))
		s, _, _ := open(t, Config{Pairs: []Pair{l.write(t.TempDir(), "a")}})
		r.set(func(w http.ResponseWriter, _ []byte) {
			w.Header().Set("Location", neighbour.URL+"/admin")
			w.WriteHeader(status)
		})
		if err := s.Staple(context.Background()); err == nil || !strings.Contains(err.Error(), "allowed: to the same host") {
			t.Errorf("%d: %v", status, err)
		}
	}
	if neighbour.Close(); asked {
		t.Error("the neighbour was asked")
	}
}

// TestManyMustStaple: a responder that says nothing holds up a look at the files for one timeout, however many certificates wait
// for it.
func TestManyMustStaple(t *testing.T) {
	r, dir := newResponder(t), t.TempDir()
	release := make(chan struct{})
	defer close(release)
	names := []string{"a", "b", "c"}
	write := func(name string) Pair {
		return theCA().issue([]string{name + ".test"}, ofResponder(r.URL), demanding).write(dir, name)
	}
	var pairs []Pair
	for _, name := range names {
		pairs = append(pairs, write(name))
	}
	s, _, events := open(t, Config{Pairs: pairs, OCSP: OCSP{Timeout: minTimeout}})
	r.set(func(http.ResponseWriter, []byte) { <-release })
	for _, name := range names {
		write(name)
	}
	must(s.Reload())
	expectEvents(t, events, "reloaded reloaded reloaded")
	if got := r.methods(); got != "POST" && got != "" { // "": the machine was too slow to ask even once
		t.Errorf("asked with %q", got)
	}
}

// TestStapleAfterSleep: the plan of fetches does not survive a machine's sleep, during which timers and the clock disagree. When the
// staple has ended, the next one is fetched at once.
func TestStapleAfterSleep(t *testing.T) {
	r := newResponder(t)
	l := theCA().issue(single, ofResponder(r.URL))
	s, k, events := open(t, Config{Pairs: []Pair{l.write(t.TempDir(), "a")}})
	r.set(saying(answer(l, theCA(), theCA(), false, k.now(), nil)))
	s.turn(context.Background())
	s.slots[0].fetchAt = k.now().Add(24 * time.Hour) // as it compares when the clock has passed five hours, and the timers none
	k.advance(5 * time.Hour)
	fresh := answer(l, theCA(), theCA(), false, k.now(), nil)
	r.set(saying(fresh))
	s.turn(context.Background())
	expectStaple(t, s, fresh)
	expectEvents(t, events, "stapled staple_expired stapled")
}
