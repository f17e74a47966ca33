package control

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// authAll answers as a tor without authentication.
func authAll(l string) string {
	if l == "PROTOCOLINFO 1" {
		return "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n250 OK\r\n"
	}
	return "250 OK\r\n"
}

// TestLinkReconnects: a connection that tor ends is replaced, and OnUp runs for each.
func TestLinkReconnects(t *testing.T) {
	noLeaks(t)
	var ups atomic.Int32
	downs := make(chan error, 100)
	f := &fakeTor{answer: func(l string) string {
		if l == "DIE" {
			return "!"
		}
		return authAll(l)
	}}
	l, err := NewLink(LinkConfig{Network: "unix", Addr: f.listen(t), BackoffMin: time.Millisecond,
		OnUp:   func(ctx context.Context, c *Conn) error { ups.Add(1); return c.SetEvents(ctx, "HS_DESC") },
		OnDown: func(err error) { downs <- err }})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range int32(4) {
		c, err := l.Wait(short(t))
		if err != nil || ups.Load() != i+1 {
			t.Fatal(err, ups.Load())
		}
		if _, err := c.Command(short(t), "DIE"); !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
		if err := <-downs; !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	}
}

// TestLinkDown: while there is no tor, Conn says why; when it comes, the link is up. A failed OnUp is a failed attempt.
func TestLinkDown(t *testing.T) {
	noLeaks(t)
	fail := errors.New("not yet")
	var tries atomic.Int32
	f := &fakeTor{answer: authAll}
	downs := make(chan error, 100)
	cfg := LinkConfig{Network: "unix", Addr: f.listen(t) + ".none", BackoffMin: time.Millisecond, BackoffMax: time.Millisecond,
		OnUp: func(context.Context, *Conn) error {
			if tries.Add(1) < 3 {
				return fail
			}
			return nil
		}, OnDown: func(err error) {
			select {
			case downs <- err:
			default:
			}
		}}
	l, err := NewLink(cfg)
	if err != nil {
		t.Fatal(err)
	}
	<-downs
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if c, err := l.Wait(ctx); c != nil || !errors.Is(err, ErrClosed) || !strings.Contains(err.Error(), "no such file") {
		t.Error(c, err)
	}
	_ = l.Close()
	if c, err := l.Wait(context.Background()); c != nil || err == nil {
		t.Error("a closed link has a connection")
	}
	for len(downs) > 0 {
		<-downs
	}
	cfg.Addr = strings.TrimSuffix(cfg.Addr, ".none")
	if l, err = NewLink(cfg); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := <-downs; !errors.Is(err, fail) {
		t.Error(err)
	}
	if _, err := l.Wait(short(t)); err != nil || tries.Load() != 3 {
		t.Error(err, tries.Load())
	}
}

// TestLinkConfig: the message names the field.
func TestLinkConfig(t *testing.T) {
	up := func(context.Context, *Conn) error { return nil }
	for _, v := range []struct {
		name string
		cfg  LinkConfig
	}{
		{"Network", LinkConfig{Network: "udp", OnUp: up}},
		{"OnUp", LinkConfig{Network: "tcp"}},
		{"BackoffMin", LinkConfig{Network: "tcp", OnUp: up, BackoffMin: time.Nanosecond}},
		{"BackoffMax", LinkConfig{Network: "tcp", OnUp: up, BackoffMin: time.Second, BackoffMax: time.Millisecond}},
		{"ConnectTimeout", LinkConfig{Network: "tcp", OnUp: up, ConnectTimeout: -1}},
	} {
		if l, err := NewLink(v.cfg); l != nil || err == nil || !strings.Contains(err.Error(), v.name) {
			t.Errorf("%s: %v", v.name, err)
		}
	}
}
