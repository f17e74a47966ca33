package quic

import (
	"bytes"
	stdtls "crypto/tls"
	"testing"

	"github.com/ron-transport/ron-transport/reactor"
)

// lastSession has one session, and passes on what is put.
type lastSession struct {
	s   *stdtls.ClientSessionState
	put chan *stdtls.ClientSessionState
}

func (c *lastSession) Get(string) (*stdtls.ClientSessionState, bool) { return c.s, c.s != nil }
func (c *lastSession) Put(_ string, s *stdtls.ClientSessionState) {
	select {
	case c.put <- s:
	default:
	}
}

// Two connections that resume the same session do not share it, and the cache's stays as it was.
func TestSessionsAreNotShared(t *testing.T) {
	empty := ownSessions{new(lastSession)}
	if s, ok := empty.Get("x"); s != nil || ok {
		t.Errorf("an empty cache has %v, %v", s, ok)
	}
	if s, ok := (ownSessions{stdtls.NewLRUClientSessionCache(1)}).Get("x"); s != nil || ok {
		t.Errorf("an empty cache has %v, %v", s, ok)
	}
	_, cli := certificate(t)
	cache := &lastSession{put: make(chan *stdtls.ClientSessionState, 1)}
	cli.ClientSessionCache = cache
	srv, _ := certificate(t)
	cli.InsecureSkipVerify = true
	p := newPair(t, start(t, reactor.Config{}), ListenConfig{TLS: srv, Early: true}, DialerConfig{TLS: cli, Early: true})
	c := p.dial(t)
	shared := <-cache.put
	c.Close(CodeNone, nil)
	own := ownSessions{&lastSession{s: shared}}
	theirs, _, err := shared.ResumptionState()
	if err != nil {
		t.Fatal(err)
	}
	var states []*stdtls.SessionState
	for range 2 {
		s, ok := own.Get("x")
		if !ok || s == shared {
			t.Fatalf("%p, %v; the cache's is %p", s, ok, shared)
		}
		ticket, state, err := s.ResumptionState()
		if err != nil || !bytes.Equal(ticket, theirs) || !state.EarlyData {
			t.Fatalf("ticket %q, %+v, %v", ticket, state, err)
		}
		states = append(states, state)
	}
	states[0].EarlyData = false
	if _, state, _ := shared.ResumptionState(); !state.EarlyData || !states[1].EarlyData {
		t.Error("a change of one session shows in another")
	}
}
