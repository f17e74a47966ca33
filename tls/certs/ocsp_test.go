package certs

import (
	"context"
	"crypto"
	"crypto/elliptic"
	stdtls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// answer makes an OCSP answer about l; change edits it. by signs it, with its certificate embedded when embed is set.
func answer(l leaf, issuer, by *authority, embed bool, now time.Time, change func(*ocsp.Response)) []byte {
	r := ocsp.Response{Status: ocsp.Good, SerialNumber: l.SerialNumber, ThisUpdate: now.Add(-time.Minute), NextUpdate: now.Add(4 * time.Hour)}
	if change != nil {
		change(&r)
	}
	if embed {
		r.Certificate = by.cert
	}
	b, err := ocsp.CreateResponse(issuer.cert, by.cert, r, by.key)
	must(err)
	return b
}

// delegate is a responder's certificate, made by a.
func (a *authority) delegate(change func(*x509.Certificate)) *authority {
	key := newKey(elliptic.P256())
	tmpl := &x509.Certificate{SerialNumber: nextSerial(), Subject: pkix.Name{CommonName: "responder"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().AddDate(1, 0, 0), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageOCSPSigning}}
	if change != nil {
		change(tmpl)
	}
	return &authority{cert: sign(tmpl, a.cert, key.Public(), a.key), key: key}
}

// TestJudgeAnswer: what is stapled and what is not.
func TestJudgeAnswer(t *testing.T) {
	ca, other, now := theCA(), newAuthority("other CA"), time.Now()
	twin := newAuthority("test CA") // the same name, another key
	l, foreign := ca.issue(single), ca.issue(single)
	del := func(change func(*x509.Certificate)) *authority { return ca.delegate(change) }
	ans := func(by *authority, embed bool, change func(*ocsp.Response)) []byte {
		return answer(l, ca, by, embed, now, change)
	}
	sound := ans(ca, false, nil)
	for _, tc := range []struct {
		name string
		raw  []byte
		want string // "": accepted
	}{
		{"the issuer's", sound, ""},
		{"the issuer's, with its certificate", ans(ca, true, nil), ""},
		{"a delegate's", ans(del(nil), true, nil), ""},
		{"revoked", ans(ca, false, func(r *ocsp.Response) { r.Status = ocsp.Revoked; r.RevokedAt = now.Add(-time.Hour) }), ""},
		{"unknown", ans(ca, false, func(r *ocsp.Response) { r.Status = ocsp.Unknown }), "does not know"},
		{"a stranger's", ans(other, false, nil), "another responder than the issuer"},
		{"a namesake's, without its certificate", ans(twin, false, nil), "not the issuer's"},
		{"a stranger's, with its certificate", ans(other, true, nil), "names another issuer"},
		{"a namesake's", ans(twin, true, nil), "not signed by the issuer"},
		{"a stranger's delegate's", ans(other.delegate(nil), true, nil), "names another issuer"},
		{"a namesake's delegate's", ans(twin.delegate(nil), true, nil), "not signed by the issuer"},
		{"a delegate's without the usage", ans(del(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), true, nil), "not for OCSP signing"},
		{"a server certificate's", ans(del(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), true, nil), "not for OCSP signing"},
		{"an expired delegate's", ans(del(func(c *x509.Certificate) { c.NotAfter = now.Add(-time.Minute) }), true, nil), "is valid from"},
		{"a delegate's without its certificate", ans(del(nil), false, nil), "another responder than the issuer"},
		{"about another serial number", answer(foreign, ca, ca, false, now, nil), "no response matching"},
		{"about another issuer", answer(l, other, ca, false, now, nil), "of another issuer"},
		{"of the future", ans(ca, false, func(r *ocsp.Response) { r.ThisUpdate = now.Add(6 * time.Minute) }), "in the future"},
		{"of a clock a little ahead", ans(ca, false, func(r *ocsp.Response) { r.ThisUpdate = now.Add(4 * time.Minute) }), ""},
		{"expired", ans(ca, false, func(r *ocsp.Response) { r.NextUpdate = now.Add(-time.Minute) }), "expires on"},
		{"about to expire", ans(ca, false, func(r *ocsp.Response) { r.NextUpdate = now.Add(4 * time.Minute) }), "expires on"},
		{"without end", ans(ca, false, func(r *ocsp.Response) { r.NextUpdate = time.Time{} }), "no nextUpdate"},
		{"with bytes behind it", append(slices.Clone(sound), 0), "trailing data"},
		{"cut short", sound[:len(sound)-1], "the answer"},
		{"empty", nil, "the answer"},
		{"try later", ocsp.TryLaterErrorResponse, "try later"},
	} {
		_, err := judgeAnswer(tc.raw, l.Certificate, ca.cert, now)
		if tc.want == "" && err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: error %v; it must contain %q", tc.name, err, tc.want)
		}
	}
	for i := range sound { // a flipped bit in what is signed, or in the signature
		flipped := slices.Clone(sound)
		flipped[i] ^= 1
		st, err := judgeAnswer(flipped, l.Certificate, ca.cert, now)
		if err == nil && (st.revoked || st.until != now.Add(4*time.Hour).UTC().Truncate(time.Second)) {
			t.Errorf("byte %d flipped: accepted as %+v", i, st)
		}
	}
}

// responder is an OCSP responder whose answers tests choose.
type responder struct {
	*httptest.Server
	mu    sync.Mutex
	do    func(w http.ResponseWriter, query []byte)
	asked []string // methods
}

func newResponder(t *testing.T) *responder {
	r := &responder{}
	r.Server = httptest.NewServer(http.HandlerFunc(r.handle))
	t.Cleanup(r.Close)
	return r
}

func (r *responder) handle(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	r.asked = append(r.asked, req.Method)
	do := r.do
	r.mu.Unlock()
	query, _ := io.ReadAll(req.Body)
	if req.Method == http.MethodGet {
		_, last, _ := strings.Cut(strings.TrimPrefix(req.URL.EscapedPath(), "/"), "/")
		plain, _ := url.PathUnescape(last)
		query, _ = base64.StdEncoding.DecodeString(plain)
	}
	do(w, query)
}

func (r *responder) set(do func(w http.ResponseWriter, query []byte)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.do, r.asked = do, nil
}

// methods returns what has been asked since set.
func (r *responder) methods() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.asked, " ")
}

// saying is a responder that always gives raw.
func saying(raw []byte) func(http.ResponseWriter, []byte) {
	return func(w http.ResponseWriter, _ []byte) { _, _ = w.Write(raw) }
}

func broken(w http.ResponseWriter, _ []byte) { w.WriteHeader(http.StatusInternalServerError) }

// ofResponder makes the leaf name a responder.
func ofResponder(url string) func(*x509.Certificate) crypto.Signer {
	return func(c *x509.Certificate) crypto.Signer { c.OCSPServer = []string{"ldap://unused", url}; return nil }
}

// demanding makes the leaf demand a staple.
func demanding(c *x509.Certificate) crypto.Signer {
	c.ExtraExtensions = []pkix.Extension{{Id: []int{1, 3, 6, 1, 5, 5, 7, 1, 24}, Value: []byte{0x30, 3, 2, 1, 5}}}
	return nil
}

func expectStaple(t *testing.T, s *Store, want []byte) {
	t.Helper()
	if got := served(t, s, "a.test").OCSPStaple; !slices.Equal(got, want) {
		t.Errorf("a staple of %d bytes is sent, want %d", len(got), len(want))
	}
}

// fetchCase is what a responder does.
type fetchCase struct {
	name    string
	do      func(sound []byte) func(http.ResponseWriter, []byte)
	methods string
	want    string // "": stapled
}

// fetchCases are responders. encrypted is the URL of one of the other scheme.
func fetchCases(encrypted string) []fetchCase {
	return []fetchCase{{"POST", saying, "POST", ""},
		{"GET only", func(sound []byte) func(http.ResponseWriter, []byte) {
			first := true
			return func(w http.ResponseWriter, query []byte) {
				if first {
					first = false
					w.WriteHeader(http.StatusMethodNotAllowed)
					return
				}
				if _, err := ocsp.ParseRequest(query); err != nil {
					w.WriteHeader(http.StatusBadRequest)
				}
				_, _ = w.Write(sound)
			}
		}, "POST GET", ""},
		{"broken", func([]byte) func(http.ResponseWriter, []byte) { return broken }, "POST GET", "HTTP 500"},
		{"too large", func([]byte) func(http.ResponseWriter, []byte) { return saying(make([]byte, maxResponse+1)) }, "POST", "more than 65536 bytes"},
		{"endless", func([]byte) func(http.ResponseWriter, []byte) {
			return func(w http.ResponseWriter, _ []byte) {
				for {
					if _, err := w.Write(make([]byte, 1<<16)); err != nil {
						return
					}
				}
			}
		}, "POST", "more than 65536 bytes"},
		{"garbage", func([]byte) func(http.ResponseWriter, []byte) { return saying([]byte("<html>")) }, "POST", "the answer"},
		{"to another scheme", func([]byte) func(http.ResponseWriter, []byte) {
			return func(w http.ResponseWriter, _ []byte) {
				w.Header().Set("Location", encrypted)
				w.WriteHeader(http.StatusTemporaryRedirect)
			}
		}, "POST", "redirect from http to https"},
		{"in circles", func([]byte) func(http.ResponseWriter, []byte) {
			return func(w http.ResponseWriter, _ []byte) {
				w.Header().Set("Location", "/again")
				w.WriteHeader(http.StatusTemporaryRedirect)
			}
		}, "POST POST POST POST", "more than 3 redirects"},
	}
}

// TestFetch: how responders are asked, and what they can do to us.
func TestFetch(t *testing.T) {
	encrypted := httptest.NewTLSServer(http.NotFoundHandler())
	defer encrypted.Close()
	for _, tc := range fetchCases(encrypted.URL) {
		t.Run(tc.name, func(t *testing.T) {
			r := newResponder(t)
			l := theCA().issue(single, ofResponder(r.URL+"/ocsp"))
			s, k, _ := open(t, Config{Pairs: []Pair{l.write(t.TempDir(), "a")}})
			sound := answer(l, theCA(), theCA(), false, k.now(), nil)
			r.set(tc.do(sound))
			s.turn(context.Background())
			if got := r.methods(); got != tc.methods {
				t.Errorf("asked with %q, want %q", got, tc.methods)
			}
			st := s.Stats()
			if tc.want == "" {
				expectStaple(t, s, sound)
				return
			}
			expectStaple(t, s, nil)
			if err := st.Pairs[0].FetchError; err == nil || !strings.Contains(err.Error(), tc.want) || st.FetchFailures != 1 {
				t.Errorf("error %v; it must contain %q", err, tc.want)
			}
		})
	}
}

// TestFetchTimeout: a responder that takes the request and says nothing costs a timeout, no more.
func TestFetchTimeout(t *testing.T) {
	r := newResponder(t)
	release := make(chan struct{})
	defer close(release)
	r.set(func(http.ResponseWriter, []byte) { <-release })
	l := theCA().issue(single)
	p := l.write(t.TempDir(), "a")
	p.Responder = r.URL // the leaf names none
	s, _, _ := open(t, Config{Pairs: []Pair{p}, OCSP: OCSP{Timeout: minTimeout}})
	if err := s.Staple(context.Background()); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	failures := s.Stats().FetchFailures
	if err := s.Staple(ctx); err == nil || s.Stats().FetchFailures != failures {
		t.Errorf("being stopped counts as the responder's failure (%v)", err)
	}
}

// TestStapleLife: fetched at once, renewed halfway, retried with growing pauses, sent until its end, and then not.
func TestStapleLife(t *testing.T) {
	r := newResponder(t)
	l := theCA().issue(single, ofResponder(r.URL))
	s, k, events := open(t, Config{Pairs: []Pair{l.write(t.TempDir(), "a")}, Interval: -1})
	sound := func() []byte { return answer(l, theCA(), theCA(), false, k.now(), nil) }
	first := sound()
	r.set(saying(first))
	start := k.now()
	s.turn(context.Background())
	expectStaple(t, s, first)
	expectEvents(t, events, "stapled")
	within := func(d time.Duration) {
		t.Helper()
		if got := s.Stats().Pairs[0].NextFetch.Sub(k.now()); got < d-d/10 || got > d+d/10 {
			t.Errorf("the next fetch is in %v, want %v, a tenth more or less", got, d)
		}
	}
	within((4*time.Hour - clockSkew) / 2)
	if st := s.Stats().Pairs[0]; !st.Stapled || st.Revoked || st.StapleAge != time.Minute || s.Health() != nil {
		t.Errorf("stats %+v", st)
	}

	step := func() { // to the next fetch
		k.advance(s.Stats().Pairs[0].NextFetch.Sub(k.now()))
		s.turn(context.Background())
	}
	second := sound()
	r.set(saying(second))
	step()
	expectStaple(t, s, second)

	r.set(broken)
	for i := range 4 {
		step()
		within(backoffMin << i)
		expectStaple(t, s, second)
	}
	expectEvents(t, events, "stapled staple_failed staple_failed staple_failed staple_failed")
	for k.now().Sub(start) < 8*time.Hour {
		k.advance(10 * time.Minute)
		s.turn(context.Background())
	}
	expectStaple(t, s, nil)
	if got := events.take(); strings.Count(got, "staple_expired") != 1 {
		t.Errorf("events %q", got)
	}
	if got := s.Stats().Pairs[0].NextFetch.Sub(k.now()); got > backoffMax+backoffMax/10 {
		t.Errorf("the pause has grown to %v", got)
	}
	if err := s.Health(); err != nil {
		t.Errorf("a certificate that does not demand a staple is unhealthy without one: %v", err)
	}
	third := sound()
	r.set(saying(third))
	step()
	expectStaple(t, s, third)
	if st := s.Stats(); st.Pairs[0].FetchError != nil || st.FetchFailures < 5 {
		t.Errorf("stats %+v", st)
	}
}

// TestStapleOlder: a replayed answer does not replace a newer one; one that tells of a revocation does replace a good one.
func TestStapleOlder(t *testing.T) {
	r := newResponder(t)
	l := theCA().issue(single, ofResponder(r.URL))
	s, k, events := open(t, Config{Pairs: []Pair{l.write(t.TempDir(), "a")}})
	old := answer(l, theCA(), theCA(), false, k.now(), func(r *ocsp.Response) { r.ThisUpdate = r.ThisUpdate.Add(-time.Hour) })
	current := answer(l, theCA(), theCA(), false, k.now(), nil)
	revoked := answer(l, theCA(), theCA(), false, k.now(), func(r *ocsp.Response) {
		r.Status, r.RevokedAt = ocsp.Revoked, k.now().Add(-time.Hour)
	})
	for _, tc := range []struct{ say, want []byte }{{current, current}, {old, current}, {current, current}, {revoked, revoked}} {
		r.set(saying(tc.say))
		_ = s.fetch(context.Background(), 0)
		expectStaple(t, s, tc.want)
	}
	expectEvents(t, events, "stapled staple_failed stapled revoked")
	if err := s.Health(); err == nil || !strings.Contains(err.Error(), "revoked") || !s.Stats().Pairs[0].Revoked {
		t.Errorf("health: %v", err)
	}
}

// TestStapleOfReloadedPair: another leaf never goes out with its predecessor's staple; the same leaf with another chain keeps it.
func TestStapleOfReloadedPair(t *testing.T) {
	r, dir := newResponder(t), t.TempDir()
	first, second := theCA().issue(single, ofResponder(r.URL)), theCA().issue(single, ofResponder(r.URL))
	p := first.write(dir, "a")
	s, k, _ := open(t, Config{Pairs: []Pair{p}})
	of := func(l leaf) []byte { return answer(l, theCA(), theCA(), false, k.now(), nil) }
	one, two := of(first), of(second)
	r.set(saying(one))
	must(s.Staple(context.Background()))
	expectStaple(t, s, one)

	cert, _ := first.pems(theCA())
	more, _ := second.pems(theCA())
	replaceFile(p.CertFile, cert, more)
	must(s.Reload())
	expectStaple(t, s, one)
	if c := served(t, s, "a.test"); len(c.Certificate) != 4 {
		t.Fatalf("%d certificates in the chain", len(c.Certificate))
	}

	second.write(dir, "a")
	r.set(saying(two))
	must(s.Reload())
	expectStaple(t, s, nil)
	s.turn(context.Background()) // due at once
	expectStaple(t, s, two)
}

// TestMustStaple: health says what a client would see; a reload to such a leaf waits for its staple.
func TestMustStaple(t *testing.T) {
	r, dir := newResponder(t), t.TempDir()
	r.set(broken)
	first := theCA().issue(single, ofResponder(r.URL), demanding)
	s, k, events := open(t, Config{Pairs: []Pair{first.write(dir, "a")}})
	if err := s.Staple(context.Background()); err == nil {
		t.Error("no error without a staple")
	}
	if err := s.Health(); err == nil || !strings.Contains(err.Error(), "demands a staple") || !strings.Contains(err.Error(), "HTTP 500") {
		t.Errorf("health: %v", err)
	}
	r.set(saying(answer(first, theCA(), theCA(), false, k.now(), nil)))
	if err := s.Staple(context.Background()); err != nil || s.Health() != nil {
		t.Errorf("%v, %v", err, s.Health())
	}
	events.take()

	second := theCA().issue(single, ofResponder(r.URL), demanding)
	staple := answer(second, theCA(), theCA(), false, k.now(), nil)
	r.set(func(w http.ResponseWriter, _ []byte) {
		expectServed(t, s, first) // still, while the staple is fetched
		_, _ = w.Write(staple)
	})
	second.write(dir, "a")
	must(s.Reload())
	expectServed(t, s, second)
	expectStaple(t, s, staple)
	expectEvents(t, events, "reloaded stapled")

	none := theCA().issue(single, demanding) // names no responder
	none.write(dir, "a")
	must(s.Reload())
	if err := s.Health(); err == nil || !strings.Contains(err.Error(), "names no OCSP responder") {
		t.Errorf("health: %v", err)
	}
}

// TestNothingToFetch: without an issuer, or when it is turned off, no responder is asked.
func TestNothingToFetch(t *testing.T) {
	r := newResponder(t)
	r.set(broken)
	l := theCA().issue(single, ofResponder(r.URL))
	p := l.write(t.TempDir(), "a")
	off, _, _ := open(t, Config{Pairs: []Pair{p}, OCSP: OCSP{Disable: true}})
	off.turn(context.Background())
	replaceFile(p.CertFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: l.Raw}))
	alone, _, _ := open(t, Config{Pairs: []Pair{p}})
	alone.turn(context.Background())
	if got := r.methods(); got != "" {
		t.Errorf("asked with %q", got)
	}
	for s, want := range map[*Store]error{off: errDisabled, alone: errNoIssuer} {
		if st := s.Stats().Pairs[0]; st.FetchError != want || !st.NextFetch.IsZero() || s.Health() != nil {
			t.Errorf("%v, next %v, health %v; want %v", st.FetchError, st.NextFetch, s.Health(), want)
		}
	}
}

// TestOneFetchATurn: pairs are fetched for one by one, the longest waiting first, with looks at the files in between.
func TestOneFetchATurn(t *testing.T) {
	r, dir := newResponder(t), t.TempDir()
	r.set(broken)
	var pairs []Pair
	for i := range 3 {
		pairs = append(pairs, theCA().issue([]string{fmt.Sprint(i, ".test")}, ofResponder(r.URL)).write(dir, fmt.Sprint(i)))
	}
	s, _, _ := open(t, Config{Pairs: pairs})
	for i := range uint64(3) {
		if wait := s.turn(context.Background()); (wait <= 0) != (i < 2) || s.Stats().Fetches != i+1 {
			t.Errorf("turn %d: wait %v, %d fetches", i, wait, s.Stats().Fetches)
		}
	}
}

// TestStapleReachesClients: through our server, new and resumed.
func TestStapleReachesClients(t *testing.T) {
	r := newResponder(t)
	l := theCA().issue(single, ofResponder(r.URL))
	s, k, _ := open(t, Config{Pairs: []Pair{l.write(t.TempDir(), "a")}})
	want := answer(l, theCA(), theCA(), false, k.now(), nil)
	r.set(saying(want))
	must(s.Staple(context.Background()))
	addr, re := serve(serverOf(s))
	t.Cleanup(func() { _ = re.Close() })
	cache := stdtls.NewLRUClientSessionCache(1)
	for i := range 2 {
		st := visit(t, addr, clientOf(cache)).ConnectionState()
		if st.DidResume != (i == 1) || !slices.Equal(st.OCSPResponse, want) {
			t.Errorf("visit %d: resumed %v, a staple of %d bytes", i, st.DidResume, len(st.OCSPResponse))
		}
	}
}
