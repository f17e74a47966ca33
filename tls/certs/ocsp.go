package certs

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/crypto/ocsp"
)

var (
	errDisabled    = errors.New("certs: Config.OCSP.Disable is true")
	errNoResponder = errors.New("certs: the certificate names no OCSP responder, and Pair.Responder is empty")
	errNoIssuer    = errors.New("certs: the issuer's certificate is not in CertFile, so no OCSP answer can be checked")
)

// newClient makes the HTTP client of a Store: no idle connections, no decompression, no way to another scheme or host: what comes
// over plain HTTP is anybody's on the way, who must not choose which of our neighbours we ask. The proxy is the environment's, as
// servers often reach responders through one only.
func newClient() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("more than %d redirects", maxRedirects)
			}
			if req.URL.Scheme != via[0].URL.Scheme {
				return fmt.Errorf("redirect from %s to %s; allowed: within the scheme", via[0].URL.Scheme, req.URL.Scheme)
			}
			if !strings.EqualFold(req.URL.Host, via[0].URL.Host) {
				return fmt.Errorf("redirect from %s to %s; allowed: to the same host and port", via[0].URL.Host, req.URL.Host)
			}
			return nil
		},
	}
}

// httpError is an answer other than 200.
type httpError struct{ status int }

func (e *httpError) Error() string { return fmt.Sprintf("the responder answered HTTP %d", e.status) }

// ask fetches and checks a staple for m.
func (s *Store) ask(ctx context.Context, m *material) (*staple, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.OCSP.Timeout)
	defer cancel()
	// SHA-1 names the issuer here, it protects nothing; responders that know another hash are rare.
	query, err := ocsp.CreateRequest(m.leaf, m.issuer, &ocsp.RequestOptions{Hash: crypto.SHA1})
	if err != nil {
		return nil, fmt.Errorf("certs: OCSP request: %w", err)
	}
	raw, err := s.post(ctx, m.responder, query)
	var status *httpError
	if errors.As(err, &status) {
		raw, err = s.get(ctx, m.responder, query, err)
	}
	if err != nil {
		return nil, fmt.Errorf("certs: OCSP responder %s: %w", m.responder, err)
	}
	st, err := judgeAnswer(raw, m.leaf, m.issuer, s.now())
	if err != nil {
		return nil, fmt.Errorf("certs: OCSP responder %s: %w", m.responder, err)
	}
	return st, nil
}

// judgeAge refuses a fetched answer that is older than the one in use: one may have come into use while this one was fetched. Called
// with mu held.
func (sl *slot) judgeAge(st *staple) error {
	if used := sl.staple; used != nil && st.thisUpdate.Before(used.thisUpdate) {
		return fmt.Errorf("certs: OCSP responder %s: the answer of %s is older than the one in use, of %s",
			sl.material.responder, stamp(st.thisUpdate), stamp(used.thisUpdate))
	}
	return nil
}

// post asks as RFC 6960, A.1 has it.
func (s *Store) post(ctx context.Context, responder string, query []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, responder, bytes.NewReader(query))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/ocsp-request")
	return s.do(req)
}

// get asks a responder that has refused a POST with failed, if the request is short enough.
func (s *Store) get(ctx context.Context, responder string, query []byte, failed error) ([]byte, error) {
	path := url.QueryEscape(base64.StdEncoding.EncodeToString(query))
	if len(path) > maxGET {
		return nil, failed
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(responder, "/")+"/"+path, nil)
	if err != nil {
		return nil, err
	}
	return s.do(req)
}

func (s *Store) do(req *http.Request) ([]byte, error) {
	req.Header.Set("Accept", "application/ocsp-response")
	resp, err := s.client.Do(req)
	if err != nil {
		var wrapped *url.Error // its text repeats the URL
		if errors.As(err, &wrapped) {
			err = wrapped.Err
		}
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, &httpError{resp.StatusCode}
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxResponse+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxResponse {
		return nil, fmt.Errorf("the answer has more than %d bytes", maxResponse)
	}
	return b, nil
}

// Staple fetches a staple for every certificate that has none and could have one, whatever the schedule says. Called before Listen,
// clients that demand a staple find one from the first connection on. ctx bounds all of it; the error joins what failed. Run need not
// be running. Any goroutine.
func (s *Store) Staple(ctx context.Context) error {
	var errs []error
	for i, sl := range s.slots {
		s.mu.Lock()
		missing := sl.staple == nil && s.canStaple(sl.material)
		s.mu.Unlock()
		if missing {
			errs = append(errs, s.fetch(ctx, i))
		}
	}
	s.wake()
	return errors.Join(errs...)
}

func (s *Store) canStaple(m *material) bool {
	return !s.cfg.OCSP.Disable && m.responder != "" && m.issuer != nil
}

// fetchDue fetches the staple that is due for longest.
func (s *Store) fetchDue(ctx context.Context) {
	s.mu.Lock()
	first := -1
	due := s.now()
	for i, sl := range s.slots {
		if !sl.fetchAt.IsZero() && !sl.fetchAt.After(due) {
			first, due = i, sl.fetchAt
		}
	}
	s.mu.Unlock()
	if first >= 0 {
		_ = s.fetch(ctx, first) // told as events
	}
}

// fetch asks for the staple of pair i and puts it into use, unless the pair has been replaced meanwhile.
func (s *Store) fetch(ctx context.Context, i int) error {
	sl := s.slots[i]
	s.mu.Lock()
	m := sl.material
	s.mu.Unlock()
	st, err := s.ask(ctx, m)
	if err != nil && ctx.Err() != nil {
		return err // we were stopped, the responder has not failed
	}
	s.mu.Lock()
	s.counts.Fetches++
	if err == nil && sl.material == m {
		err = sl.judgeAge(st)
	}
	event := Event{Kind: EventStapleFailed, Pair: i, Err: err}
	switch {
	case sl.material != m:
		s.mu.Unlock()
		return nil // its own fetch is due
	case err != nil:
		s.counts.FetchFailures++
		sl.failed(err, s.now())
	default:
		sl.stapled(st, s.now())
		s.publish()
		event = st.event(i, sl.pair)
	}
	s.mu.Unlock()
	s.tell(event)
	return err
}

// stapled puts st into use and plans the next fetch. Called with mu held.
func (sl *slot) stapled(st *staple, now time.Time) {
	sl.staple, sl.failures, sl.fetchErr = st, 0, nil
	half := st.drop().Sub(now) / 2
	sl.fetchAt = now.Add(jitter(max(minRefresh, min(half, maxRefresh))))
}

// failed plans the next try. Called with mu held.
func (sl *slot) failed(err error, now time.Time) {
	sl.fetchErr = err
	pause := min(backoffMin<<min(sl.failures, 10), backoffMax)
	sl.failures++
	sl.fetchAt = now.Add(jitter(pause))
}
