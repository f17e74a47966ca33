package quic_test

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/quic"
)

// transfer keeps requests going on streams of c until stop is called; every answer must come.
func transfer(t *testing.T, c *quic.Conn, streams, size int) (done func() int, stop func() int) {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	n := 0
	quit := make(chan struct{})
	count := func() int {
		mu.Lock()
		defer mu.Unlock()
		return n
	}
	for i := range streams {
		ss := session(t, c, framer.Options{})
		wg.Go(func() {
			p := bytes.Repeat([]byte{byte(i)}, size)
			for {
				f, err := askOf(ss, other, p)
				if err != nil || !bytes.Equal(f.Payload, p) {
					t.Errorf("stream %d: %v", i, err)
					return
				}
				mu.Lock()
				n++
				mu.Unlock()
				select {
				case <-quit:
					return
				default:
				}
			}
		})
	}
	return count, func() int { close(quit); wg.Wait(); return count() }
}

// TestMigrate: our client moves to new sockets in the middle of a transfer, again and again; the server hears of each and no
// stream notices.
func TestMigrate(t *testing.T) {
	s := newSite(t, nil)
	d := dialer(t, s, quic.DialerConfig{})
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	c, err := d.Dial(ctx, s.addr)
	must(err)
	count, stop := transfer(t, c, 8, 20_000)
	for i := range 4 {
		before, from := count(), c.LocalAddr().String()
		if err := c.Migrate(ctx, "127.0.0.1:0"); err != nil {
			t.Fatalf("migration %d: %v", i, err)
		}
		if c.LocalAddr().String() == from {
			t.Error("the local address is the old one")
		}
		s.eventually("the server has heard of it", func() bool { return s.number(func() int { return s.moved }) > i })
		s.eventually("the transfer goes on", func() bool { return count() > before+16 })
	}
	stop()
	// More than there were is no fault: what the old socket still had to send may leave after the first datagram of the new one, with higher packet
	// numbers, and then the server takes the client to be back for a moment (RFC 9000, 9.3).
	if n := s.number(func() int { return s.moved }); n < 4 {
		t.Errorf("the server has heard of %d migrations", n)
	}
}

// TestRebinding: a NAT gives the client another port in the middle of a transfer, whether it is ours or stock; the connection goes
// on from there.
func TestRebinding(t *testing.T) {
	s := newSite(t, nil)
	rl := newRelay(t, s.addr)
	// A server learns the new port from the client only, and one that waits for answers that went to the old port says nothing.
	d := dialer(t, s, quic.DialerConfig{Config: quic.Config{KeepAlive: 50 * time.Millisecond}})
	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	c, err := d.Dial(ctx, rl.addr())
	must(err)
	count, stop := transfer(t, c, 4, 5000)
	for i := range 3 {
		before := count()
		rl.rebind()
		s.eventually("the server has heard of it", func() bool { return s.number(func() int { return s.moved }) > i })
		s.eventually("the transfer goes on", func() bool { return count() > before+8 })
	}
	stop()

	stockRelay := newRelay(t, s.addr)
	sc := mustDial(t, stockRelay.addr(), clientTLS())
	stream := sc.open()
	for i := range 6 {
		if i%2 == 1 {
			stockRelay.rebind()
		}
		p := bytes.Repeat([]byte{byte(i)}, 50_000)
		_, err := stream.Write(request(other, p))
		must(err)
		if f, err := readFrame(stream); err != nil || !bytes.Equal(f.Payload, p) {
			t.Fatalf("request %d: %v", i, err)
		}
	}
}

// TestSpoofedMigration: somebody who sends a client's packets on from another address does not draw the connection there: the
// server goes on only where its challenge is answered.
func TestSpoofedMigration(t *testing.T) {
	s := newSite(t, nil)
	rl := newRelay(t, s.addr)
	c := mustDial(t, rl.addr(), clientTLS())
	stream := c.open(request(other, []byte("before")))
	if _, err := readFrame(stream); err != nil {
		t.Fatal(err)
	}
	attacker := loopback(t)
	defer func() { _ = attacker.Close() }()
	rl.set(func() { rl.tape, rl.mute = true, true }) // the client's packets go to the attacker only
	_, err := stream.Write(request(other, bytes.Repeat([]byte{1}, 100)))
	must(err)
	s.eventually("a packet is caught", func() bool { rl.mu.Lock(); defer rl.mu.Unlock(); return len(rl.taped) > 0 })
	rl.set(func() {
		for _, p := range rl.taped {
			_, err := attacker.WriteToUDP(p, rl.to)
			must(err)
		}
		rl.tape, rl.mute = false, false
	})
	heard, b := 0, make([]byte, 2048)
	_ = attacker.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	for {
		n, err := attacker.Read(b)
		if err != nil {
			break
		}
		heard += n
	}
	if heard > 3*len(request(other, make([]byte, 100)))+3*1452 {
		t.Errorf("the attacker was sent %d bytes", heard)
	}
	for i := range 3 {
		if _, err := stream.Write(request(other, []byte("after"))); err != nil {
			t.Fatal(err)
		}
		if f, err := readFrame(stream); err != nil || f.Code != 200 {
			t.Fatalf("request %d: %+v, %v", i, f, err)
		}
	}
}

// TestMigrateRefused: the end that accepted cannot move, a connection that has ended neither, and a migration to where nothing
// answers leaves the connection where it is.
func TestMigrateRefused(t *testing.T) {
	s := newSite(t, nil)
	d := dialer(t, s, quic.DialerConfig{})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	rl := newRelay(t, s.addr)
	c, err := d.Dial(ctx, rl.addr())
	must(err)
	ss := session(t, c, framer.Options{})
	if _, err := askOf(ss, other, nil); err != nil {
		t.Fatal(err)
	}
	rl.set(func() { rl.mute = true })
	brief, cancelBrief := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancelBrief()
	if err := c.Migrate(brief, "127.0.0.1:0"); err == nil || reasonOf(err) != "io" {
		t.Errorf("a path that leads nowhere: %v", err)
	}
	rl.set(func() { rl.mute = false })
	if _, err := askOf(ss, other, nil); err != nil {
		t.Errorf("after a failed migration: %v", err)
	}
	c.Close(quic.CodeNone, nil)
	<-c.Done()
	s.eventually("a migration is refused", func() bool { return errors.Is(c.Migrate(ctx, "127.0.0.1:0"), quic.ErrClosed) })
}
