package quic_test

import (
	"context"
	"errors"
	"net"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/quic"
	"github.com/ron-transport/ron-transport/reactor"
)

// earlySite accepts 0-RTT.
func earlySite(t *testing.T) *site {
	t.Helper()
	return newSite(t, func(p *plan) { p.listen.Early = true })
}

// TestEarlyAllowList: before the handshake is complete, frames of a listed application are served, others are refused with the
// typed reason, and the connection goes on; behind it, the others are served as well.
func TestEarlyAllowList(t *testing.T) {
	s := earlySite(t)
	tc := clientTLS()
	mustDial(t, s.addr, tc).ask(other, nil) // brings the ticket
	rl := newRelay(t, s.addr)
	rl.set(func() { rl.hold = true })
	c, err := dialStock(t, rl.addr(), tc, true)
	if err != nil {
		t.Fatal(err)
	}
	good, bad := c.open(request(listed, []byte("again"))), c.open(request(other, []byte("once")))
	s.sees(listed, 1)
	s.eventually("the other frame is refused", func() bool { return s.end.Stats().Rejected(framer.NotReady) == 1 })
	if n := s.number(func() int { return s.early[true] }); n != 1 {
		t.Errorf("%d frames came early, want 1", n)
	}
	rl.set(func() { rl.hold = false })
	if f, err := readFrame(good); err != nil || f.Code != 200 || string(f.Payload) != "again" {
		t.Errorf("listed: %+v, %v", f, err)
	}
	if f, err := readFrame(bad); err != nil || f.Code != 503 || reasonIn(f) != "not_ready" || f.CorrID != 5 {
		t.Errorf("other: %+v, %v", f, err)
	}
	<-c.HandshakeComplete()
	if !c.ConnectionState().Used0RTT {
		t.Error("0-RTT was not used")
	}
	if _, err := bad.Write(request(other, []byte("once"))); err != nil {
		t.Fatal(err)
	}
	if f, err := readFrame(bad); err != nil || f.Code != 200 || string(f.Payload) != "once" {
		t.Errorf("other, after the handshake: %+v, %v", f, err)
	}
}

// TestEarlyEndsWithTheHandshake: the first frame that was sent behind the handshake is never taken for an early one.
func TestEarlyEndsWithTheHandshake(t *testing.T) {
	s := earlySite(t)
	for range 50 {
		c := mustDial(t, s.addr, clientTLS())
		if code, reason := c.ask(other, nil); code != 200 {
			t.Fatalf("%d %s", code, reason)
		}
		_ = c.CloseWithError(0, "")
	}
}

// TestEarlyOffByDefault: a listener takes no 0-RTT unless it is told to, not even with tickets that allow it; what was sent is
// sent again behind the handshake, and executed once.
func TestEarlyOffByDefault(t *testing.T) {
	with := earlySite(t)
	without := newSite(t, nil)
	tc := clientTLS()
	mustDial(t, without.addr, tc).ask(other, nil)
	plain, err := dialStock(t, without.addr, tc, true)
	if err != nil {
		t.Fatal(err)
	}
	plain.ask(listed, nil)
	if st := plain.ConnectionState(); st.Used0RTT || !st.TLS.DidResume {
		t.Errorf("0-RTT %v, resumed %v", st.Used0RTT, st.TLS.DidResume)
	}
	mustDial(t, with.addr, tc).ask(other, nil) // a ticket that allows 0-RTT
	rl := newRelay(t, without.addr)
	rl.set(func() { rl.hold = true })
	c, err := dialStock(t, rl.addr(), tc, true)
	if err != nil {
		t.Fatal(err)
	}
	before := without.number(func() int { return without.seen[listed] })
	early := c.open(request(listed, nil))
	without.eventually("the server answers", func() bool { rl.mu.Lock(); defer rl.mu.Unlock(); return len(rl.held) > 0 })
	rl.set(func() { rl.hold = false })
	if _, err := readFrame(early); !errors.Is(err, quicgo.Err0RTTRejected) {
		t.Errorf("the early stream ended with %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if c.Conn, err = c.NextConnection(ctx); err != nil {
		t.Fatal(err)
	}
	if code, reason := c.ask(listed, nil); code != 200 || c.ConnectionState().Used0RTT {
		t.Errorf("%d %s, 0-RTT %v", code, reason, c.ConnectionState().Used0RTT)
	}
	if n := without.number(func() int { return without.seen[listed] }) - before; n != 1 {
		t.Errorf("executed %d times", n)
	}
}

// TestEarlyReplay: recorded 0-RTT datagrams that are sent again, from elsewhere, have only listed frames executed again.
func TestEarlyReplay(t *testing.T) {
	s := earlySite(t)
	tc := clientTLS()
	first := mustDial(t, s.addr, tc)
	first.ask(9, nil)
	must(first.CloseWithError(0, ""))
	rl := newRelay(t, s.addr)
	rl.set(func() { rl.hold, rl.tape = true, true })
	c, err := dialStock(t, rl.addr(), tc, true)
	if err != nil {
		t.Fatal(err)
	}
	c.open(request(listed, nil))
	c.open(request(other, nil))
	s.sees(listed, 1)
	s.eventually("the other frame is refused", func() bool { return s.end.Stats().Rejected(framer.NotReady) == 1 })
	rl.set(func() { rl.tape, rl.hold = false, false })
	<-c.HandshakeComplete()
	must(c.CloseWithError(0, ""))
	s.eventually("the connection is gone", func() bool { return s.lis.Stats().Conns == 0 && s.lis.Stats().HalfOpen == 0 })

	// quic-go drops what belongs to a connection that has just been closed, so the attacker tries until it is forgotten.
	attacker := loopback(t)
	defer func() { _ = attacker.Close() }()
	s.eventually("the listed frame is executed again", func() bool {
		for _, p := range rl.taped {
			_, err := attacker.WriteToUDP(p, s.lis.Addr().(*net.UDPAddr))
			must(err)
		}
		time.Sleep(20 * time.Millisecond)
		return s.number(func() int { return s.seen[listed] }) >= 2
	})
	s.eventually("the other one is refused again", func() bool { return s.end.Stats().Rejected(framer.NotReady) >= 2 })
	if n := s.number(func() int { return s.seen[other] }); n != 0 {
		t.Errorf("a frame that is not to be replayed was executed %d times", n)
	}
}

// dialer is our own client, with the reactor it needs.
func dialer(t *testing.T, s *site, dc quic.DialerConfig) *quic.Dialer {
	t.Helper()
	if dc.TLS == nil {
		dc.TLS = clientTLS()
	}
	d, err := quic.NewDialer(s.r, dc)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(d.Close()) })
	return d
}

// session opens a stream of a connection with a session on it.
func session(t *testing.T, c *quic.Conn, o framer.Options) *framer.Session {
	t.Helper()
	end, err := framer.NewEndpoint(nothing{}, o)
	if err != nil {
		t.Fatal(err)
	}
	made := make(chan *framer.Session, 1)
	if _, err := c.OpenStream(quic.OpenConfig{Protocol: func(rc *reactor.Conn) reactor.Protocol {
		s := end.Session(rc)
		made <- s
		return s
	}}); err != nil {
		t.Fatal(err)
	}
	return <-made
}

// nothing is a handler that does nothing.
type nothing struct{}

func (nothing) OnOpen(*framer.Session)                 {}
func (nothing) OnFrame(*framer.Session, *framer.Frame) {}
func (nothing) OnClose(*framer.Session, error)         {}

func askOf(s *framer.Session, app uint16, payload []byte) (*framer.Frame, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.Ask(ctx, &framer.Frame{Header: framer.Header{AppProtoID: app}, Payload: payload})
}

// TestDialerEarly: our own client sends nothing early that is not listed, and says so; behind the handshake it does.
func TestDialerEarly(t *testing.T) {
	s := earlySite(t)
	rl := newRelay(t, s.addr)
	d := dialer(t, s, quic.DialerConfig{Early: true})
	dial := func() *quic.Conn {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		c, err := d.Dial(ctx, rl.addr())
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := dial()
	if f, err := askOf(session(t, first, framer.Options{}), other, nil); err != nil || f.Code != 200 || first.State().Resumed {
		t.Fatalf("%+v, %v", f, err)
	}
	first.Close(quic.CodeNone, nil)
	<-first.Done()
	rl.set(func() { rl.hold = true })
	c := dial()
	if !c.Early() {
		t.Fatal("not early, with a ticket and a server that says nothing")
	}
	ss := session(t, c, framer.Options{EarlyApps: []uint16{listed}})
	answer := make(chan error, 1)
	go func() {
		_, err := askOf(ss, listed, []byte("again"))
		answer <- err
	}()
	s.sees(listed, 1)
	_, err := askOf(ss, other, nil)
	if e, ok := errors.AsType[*framer.Error](err); !ok || e.Why != framer.NotReady || e.Remote {
		t.Errorf("other: %v", err)
	}
	if n := s.number(func() int { return s.seen[other] }); n != 1 || s.end.Stats().Rejected(framer.NotReady) != 0 {
		t.Errorf("%d frames of the other application arrived, %d were refused there", n-1, s.end.Stats().Rejected(framer.NotReady))
	}
	rl.set(func() { rl.hold = false })
	if err := <-answer; err != nil {
		t.Error(err)
	}
	if f, err := askOf(ss, other, nil); err != nil || f.Code != 200 {
		t.Errorf("other, after the handshake: %+v, %v", f, err)
	}
	if st := c.State(); !st.Resumed || !st.UsedEarly || c.Early() {
		t.Errorf("state %+v", st)
	}
}

// TestDialerEarlyRejected: a server that takes no 0-RTT leaves the connection usable: its early streams end with not_ready.
func TestDialerEarlyRejected(t *testing.T) {
	s := earlySite(t)
	without := newSite(t, nil)
	rl := newRelay(t, s.addr)
	d := dialer(t, s, quic.DialerConfig{Early: true})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	first, err := d.Dial(ctx, rl.addr())
	must(err)
	if _, err := askOf(session(t, first, framer.Options{}), other, nil); err != nil {
		t.Fatal(err)
	}
	first.Close(quic.CodeNone, nil)
	s.eventually("the first connection is gone", func() bool { return s.lis.Stats().Conns == 0 })
	rl.point(without.addr)
	rl.set(func() { rl.hold = true })
	c, err := d.Dial(ctx, rl.addr())
	must(err)
	answer := make(chan error, 1)
	ss := session(t, c, framer.Options{EarlyApps: []uint16{listed}})
	go func() {
		_, err := askOf(ss, listed, nil)
		answer <- err
	}()
	without.eventually("the server answers", func() bool { rl.mu.Lock(); defer rl.mu.Unlock(); return len(rl.held) > 0 })
	rl.set(func() { rl.hold = false })
	if err := <-answer; reasonOf(err) != "not_ready" || !errors.Is(err, quic.ErrEarlyRejected) {
		t.Errorf("the early request ended with %v", err)
	}
	var again *framer.Session
	without.eventually("streams can be opened", func() bool { return !c.Early() })
	again = session(t, c, framer.Options{})
	if f, err := askOf(again, other, nil); err != nil || f.Code != 200 {
		t.Errorf("after the handshake: %+v, %v", f, err)
	}
	if st := c.State(); !st.Resumed || st.UsedEarly || without.number(func() int { return without.seen[listed] }) != 0 {
		t.Errorf("state %+v", st)
	}
}
