package main

import (
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/framer"
)

// TestForwardSilentUpstream: an upstream that accepts and says nothing fails no request while there is another one, neither at first nor
// when it is tried again.
func TestForwardSilentUpstream(t *testing.T) {
	s := newSite(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	var tried atomic.Int64
	go func() { // ends with the listener
		var held []net.Conn
		defer func() {
			for _, c := range held {
				_ = c.Close()
			}
		}()
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			tried.Add(1)
			held = append(held, c)
		}
	}()
	good := launch(t, s.config(""))
	front := s.front("tls://"+ln.Addr().String()+" tls://"+good.addr("tls"), "--reactor-loops=1", "--forward-timeout=20s", "--reactor-shutdown-grace=20s")
	x := s.clients().dial(front.addr("tls"))
	eventually(t, "it is tried again", func() bool {
		if _, err := ask(x, 7, "x"); err != nil {
			t.Fatal(err)
		}
		return tried.Load() >= 3
	})
	front.ready("", "degraded", 200)
}

// TestForwardHungUpstream: an upstream that takes requests and answers nothing costs those it has; the next ones go to another.
func TestForwardHungUpstream(t *testing.T) {
	s := newSite(t)
	hung, good := &backend{delay: time.Hour}, &backend{}
	front := s.front("tcp://"+hung.serve(t)+" tcp://"+good.serve(t), "--reactor-loops=1", "--forward-timeout=2s")
	x := s.clients().dial(front.addr("tls"))
	if got := code(ask(x, 7, "x")); got != 500 {
		t.Errorf("the first answer is %d", got)
	}
	if got := code(ask(x, 7, "x")); got != 200 || good.arrived.Load() != 1 {
		t.Errorf("the second answer is %d; the other upstream has had %d requests", got, good.arrived.Load())
	}
	front.log("upstream lost", map[string]string{"reason": "read_timeout"})
	front.log("upstream found", nil)
	front.ready("", "ready", 200)
}

// counted is an echo that counts its connections.
type counted struct {
	backend
	opened, closed atomic.Int64
}

func (c *counted) OnOpen(*framer.Session)         { c.opened.Add(1) }
func (c *counted) OnClose(*framer.Session, error) { c.closed.Add(1) }

// TestForwardIdle: a connection to an upstream that ends because nobody has used it is no upstream that is away.
func TestForwardIdle(t *testing.T) {
	s, c := newSite(t), &counted{}
	front := s.front("tcp://"+serve(t, c), "--reactor-idle-timeout=1s", "--reactor-loops=1")
	if got := code(ask(s.clients().dial(front.addr("tls")), 7, "x")); got != 200 {
		t.Fatalf("answer %d", got)
	}
	eventually(t, "all connections have ended", func() bool {
		_, body := front.get("/metrics")
		return c.closed.Load() == 1 && strings.Contains(body, "\nron_transport_conns 0\n")
	})
	if _, body := front.get("/readyz"); !strings.HasPrefix(body, `{"state":"ready"`) {
		t.Errorf("the gateway says %s", body)
	}
	if l := front.find("upstream lost", nil); l != nil {
		t.Errorf("the log says %v", l)
	}
}
