package reactor

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Output that waits for our tokens has no deadline, once the kernel has room again.
func TestTokensAreNotThePeersDelay(t *testing.T) {
	var cause error
	k, l, c := clockedLoop(t, Config{IdleTimeout: -1}, nil, script{close: func(_ *Conn, err error) { cause = err }})
	c.more().out = newBucket(minRate)
	charge(c.ext.out, 100*minRate, l.now) // as the other connections of a peer do
	k.room = 500
	if err := c.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	l.flushDirty()
	if !c.blocked || c.outAt == 0 || c.stallAt == 0 {
		t.Fatalf("blocked %v, waits until %d, deadline %d: not the case to be tested", c.blocked, c.outAt, c.stallAt)
	}
	k.room = 1 << 20
	l.dispatch(&unix.EpollEvent{Events: unix.EPOLLOUT, Fd: c.slot, Pad: c.gen})
	if closed := pass(k, l, c, 3*time.Minute, nil); closed != 0 || c.Queued() != 0 {
		t.Errorf("closed after %v: %v, %d bytes queued", closed, cause, c.Queued())
	}
}

// A connection that is not read for want of tokens is not idle; once it is read again, it may be.
func TestTokensAreNotIdleness(t *testing.T) {
	var cause error
	k, l, c := clockedLoop(t, Config{IdleTimeout: time.Second}, nil, script{close: func(_ *Conn, err error) { cause = err }})
	c.more().in = newBucket(minRate)
	charge(c.ext.in, 5*minRate, l.now) // as the other connections of a peer do
	data := []byte("12")
	k.next = func() []byte { b := data[:min(1, len(data))]; data = data[len(b):]; return b }
	c.readable, c.hangup = true, true
	l.input(c)
	if c.inAt == 0 || len(data) != 1 {
		t.Fatalf("waits until %d, %d bytes unread: not the case to be tested", c.inAt, len(data))
	}
	closed := pass(k, l, c, 10*time.Second, nil)
	if closed < 5400*time.Millisecond || closed > 6*time.Second || cause != ErrIdleTimeout || len(data) != 0 {
		t.Errorf("closed after %v: %v, %d bytes unread", closed, cause, len(data))
	}
}

// Loops whose clocks differ by a part of a turn do not get more out of a bucket than it holds.
func TestBucketsOfLaggingClocks(t *testing.T) {
	p := &peer{in: newBucket(10_000)} // holds 1000
	const late, early = int64(2e9), int64(2e9 - 50e6)
	var at int64
	for range 20 {
		_ = p.charge(p.in, 100, late)
		at = p.charge(p.in, 100, early)
	}
	if want := late + int64(300*time.Millisecond); at < want-1000 || at > want+1000 {
		t.Errorf("4000 bytes at 10,000 per second: debt paid %v after the start, want 300ms", time.Duration(at-late))
	}
	cfg := Config{PeerConnRate: 10}
	ps := newPeers(&cfg)
	admitted, now := 0, time.Unix(1000, 0)
	for i := range 40 {
		if _, err := ps.add(netip.MustParseAddr("1.2.3.4"), false, now.Add(-time.Duration(i%2)*time.Second/2)); err == nil {
			admitted++
		}
	}
	if admitted != 10 {
		t.Errorf("%d connections admitted at once, want 10", admitted)
	}
}

// A peer does not get out of its debt by reconnecting, and is forgotten once the debt is paid; a table full of connected
// peers is no reason to forget it.
func TestPeersInDebtAreRemembered(t *testing.T) {
	now := time.Unix(1000, 0)
	cfg := Config{PeerReadRate: 10_000}
	ps := newPeers(&cfg)
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}) }
	debtor := netip.MustParseAddr("1.2.3.4")
	p, err := ps.add(debtor, false, now)
	if err != nil {
		t.Fatal(err)
	}
	_ = p.charge(p.in, 100_000, now.UnixNano())
	ps.remove(debtor, p, false, now)
	for i := range maxPeers + 10 {
		if _, err := ps.add(addr(i), false, now); err != nil {
			t.Fatal(err)
		}
	}
	again, err := ps.add(debtor, false, now)
	if err != nil || again != p {
		t.Fatalf("the peer's debt is forgotten (%v)", err)
	}
	now = now.Add(time.Minute)
	ps.remove(debtor, again, false, now)
	if ps.m[debtor] != nil || ps.idle != 0 {
		t.Errorf("the peer is remembered a minute later, %d idle", ps.idle)
	}
}

// fragment is a filter whose record is never complete.
type fragment struct{ copying }

func (fragment) NextRecord([]byte) int { return 100 }

// Part of a record that is left when the grace of a shutdown is over does not limit the time for the last replies.
func TestGraceOverInsideARecord(t *testing.T) {
	var cause error
	k, l, c := clockedLoop(t, Config{IdleTimeout: -1, ShutdownGrace: time.Second}, fragment{}, script{})
	c.proto = &stayer{script{c: c, eof: func(*Conn) bool { return true }, close: func(_ *Conn, err error) { cause = err }}}
	k.next = func() []byte { return []byte("abc") }
	c.readable = true
	l.input(c)
	k.next = func() []byte { return nil }
	if c.cipherLen != 3 || c.readAt == 0 {
		t.Fatalf("%d bytes kept, deadline %d: not the case to be tested", c.cipherLen, c.readAt)
	}
	l.leave(c)
	if closed := pass(k, l, c, 2*time.Minute, nil); closed != 0 || c.end != endTold || c.cipher != nil {
		t.Errorf("closed after %v (%v), end %d", closed, cause, c.end)
	}
}

// What the partner of a link that has ended still says changes nothing, and a partner that has closed meanwhile ends the
// link.
func TestPipeHearsOnlyThePartner(t *testing.T) {
	_, l, c := clockedLoop(t, Config{}, nil, script{})
	old, partner := &Conn{loop: l, slot: -1, state: stateOpen, wtick: -1}, &Conn{loop: l, slot: -1, state: stateOpen, wtick: -1}
	l.link(c, old)
	partner.over = true
	l.link(c, partner)
	if old.ext.pipe != nil || partner.ext.pipe != c || c.paused != pausePipe {
		t.Fatalf("paused %v: not the case to be tested", c.paused)
	}
	l.setPiped(c, old, pipeResume)
	l.setPiped(c, old, pipeEnd)
	if c.paused != pausePipe || c.ext.pipe != partner {
		t.Error("the former partner has ended the pause")
	}
	l.setPiped(partner, c, pipeEnd)
	partner.state = stateClosed
	l.setPiped(partner, c, pipeLink)
	if c.paused != 0 || c.ext.pipe != nil {
		t.Error("linked to a closed connection")
	}
}
