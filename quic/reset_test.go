package quic_test

import (
	"context"
	"errors"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/quic"
)

// restarted makes a relay between clients and a site that dies without a word, and a second site that takes its place.
func restarted(t *testing.T, first, second *[32]byte) (rl *relay, die func() *site) {
	t.Helper()
	a := newSite(t, func(p *plan) { p.listen.ResetKey = first })
	b := newSite(t, func(p *plan) { p.listen.ResetKey = second })
	rl = newRelay(t, a.addr)
	return rl, func() *site {
		rl.set(func() { rl.deaf = true }) // its goodbye is lost
		a.shutdown()
		rl.point(b.addr)
		time.Sleep(10 * time.Millisecond) // what was on its way
		rl.set(func() { rl.deaf = false })
		return b
	}
}

// TestStatelessReset: a node that is started anew with the same key tells the clients of its predecessor at once, ours and stock
// ones, that their connections are gone; they dial again and resume.
func TestStatelessReset(t *testing.T) {
	key := &[32]byte{9}
	rl, die := restarted(t, key, key)
	tc := clientTLS()
	c := mustDial(t, rl.addr(), tc)
	c.ask(other, nil)
	stream := c.open()
	b := die()
	_, err := stream.Write(request(other, make([]byte, 500)))
	must(err)
	_, err = readFrame(stream)
	if _, ok := errors.AsType[*quicgo.StatelessResetError](err); !ok {
		t.Errorf("the stream ended with %v", err)
	}
	again := mustDial(t, b.addr, tc)
	if code, _ := again.ask(other, nil); code != 200 || !again.ConnectionState().TLS.DidResume {
		t.Error("not resumed")
	}
}

// TestStatelessResetDialer is the same for our own client: the reason is io, the words say what has happened.
func TestStatelessResetDialer(t *testing.T) {
	key := &[32]byte{9}
	rl, die := restarted(t, key, key)
	client := newSite(t, nil) // its reactor
	d := dialer(t, client, quic.DialerConfig{})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := d.Dial(ctx, rl.addr())
	must(err)
	ss := session(t, c, framer.Options{})
	if _, err := askOf(ss, other, nil); err != nil {
		t.Fatal(err)
	}
	die()
	_, err = askOf(ss, other, make([]byte, 500))
	var e *quic.Error
	if !errors.As(err, &e) || e.Why != "io" || !e.Remote || e.Msg != "peer has forgotten the connection" {
		t.Errorf("the request ended with %v", err)
	}
	<-c.Done()
}

// TestForeignReset: a reset under another key is noise: it ends nothing. That is what keeps an attacker from ending connections.
func TestForeignReset(t *testing.T) {
	rl, die := restarted(t, &[32]byte{9}, &[32]byte{8})
	c := mustDial(t, rl.addr(), clientTLS())
	c.ask(other, nil)
	stream := c.open()
	b := die()
	in := b.lis.Stats().DatagramsOut
	for range 5 {
		_, err := stream.Write(request(other, make([]byte, 500)))
		must(err)
		time.Sleep(20 * time.Millisecond)
	}
	b.eventually("resets were sent", func() bool { return b.lis.Stats().DatagramsOut > in })
	time.Sleep(50 * time.Millisecond)
	if err := c.Context().Err(); err != nil {
		t.Errorf("a reset with another key has ended the connection: %v", context.Cause(c.Context()))
	}
}
