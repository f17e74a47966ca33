package framer

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// unready is an error as tor gives it.
type unready struct {
	reason string
	after  time.Duration
}

func (u *unready) Error() string             { return "secret.onion" }
func (u *unready) Reason() string            { return u.reason }
func (u *unready) RetryAfter() time.Duration { return u.after }

// TestReady: while Ready returns an error, a HELLO gets that error and nothing else happens to the connection.
func TestReady(t *testing.T) {
	for _, v := range []struct {
		name  string
		err   error
		why   Reason
		code  uint16
		after int64
	}{
		{"an error without words of the canon", errors.New("x"), NotReady, 503, 0},
		{"with a reason and a time", fmt.Errorf("wrapped: %w", &unready{"tor_bootstrap", 1500 * time.Millisecond}), TorBootstrap, 503, 1500},
		{"with a reason outside of the canon", &unready{"moonlight", 0}, NotReady, 503, 0},
		{"the package's own", &Error{Why: OverCapacity, RetryAfter: time.Second, Detail: "full"}, OverCapacity, 503, 1000},
	} {
		t.Run(v.name, func(t *testing.T) {
			now := v.err
			c := newFake(t, &fakeHandler{}, Options{Ready: func() error { return now }})
			hello := enc(t, Frame{Header: Header{Flags: FlagReq, CorrID: 5}, Payload: []byte(`{}`)})
			c.feed(hello)
			if b := wantError(t, c.one(), 5, v.code, v.why); b.RetryAfterMS != v.after || strings.Contains(b.Message, "secret") {
				t.Errorf("%+v, want %d ms, and no words of the error", b, v.after)
			}
			if n := c.s.e.Stats().Rejected(v.why); n != 1 || c.closed {
				t.Errorf("counted %d times, closed %v; want once, and open", n, c.closed)
			}
			now = nil
			c.feed(hello)
			if f := c.one(); f.Code != 200 || f.Flags != FlagResp {
				t.Errorf("when ready: %+v", f.Header)
			}
		})
	}
}
