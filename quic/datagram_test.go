package quic_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"runtime"
	"testing"
	"time"

	quicgo "github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/quic"
)

// initials are the first datagrams of n clients that never go on.
func initials(t *testing.T, n int) [][]byte {
	t.Helper()
	sink, sock := loopback(t), loopback(t)
	tr := &quicgo.Transport{Conn: sock}
	defer func() { must(errors.Join(tr.Close(), sock.Close(), sink.Close())) }()
	var firsts [][]byte
	b := make([]byte, 2048)
	for range n {
		ctx, cancel := context.WithCancel(context.Background())
		gone := make(chan struct{})
		go func() {
			defer close(gone)
			if _, err := tr.Dial(ctx, sink.LocalAddr(), clientTLS(), nil); err == nil {
				t.Error("a sink shakes hands")
			}
		}()
		_ = sink.SetReadDeadline(time.Now().Add(patience)) // a socket takes any
		for {
			k, err := sink.Read(b)
			must(err)
			// One with a destination connection ID that is new: a client's others, and its goodbye, name the same.
			if len(firsts) == 0 || !bytes.Equal(b[6:14], firsts[len(firsts)-1][6:14]) {
				firsts = append(firsts, bytes.Clone(b[:k]))
				break
			}
		}
		cancel()
		<-gone
	}
	return firsts
}

// spray sends datagrams from many addresses of the loopback network.
func spray(t *testing.T, to net.Addr, datagrams [][]byte) {
	t.Helper()
	var socks []*net.UDPConn
	for i := range 16 {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 1, byte(i+1))})
		must(err)
		socks = append(socks, c)
	}
	for i, d := range datagrams {
		_, _ = socks[i%len(socks)].WriteTo(d, to) // what the kernel does not take is lost, as a flood's is
		if i%64 == 63 {
			time.Sleep(time.Millisecond)
		}
	}
	for _, c := range socks {
		must(c.Close())
	}
}

// TestGarbageDatagrams: what is no packet of a connection makes none, and disturbs nobody: noise of all sizes, packets cut short,
// damaged, of foreign versions, joined to the largest datagram there is.
func TestGarbageDatagrams(t *testing.T) {
	s := attacked(t, func(p *plan) { p.listen.HandshakeTimeout = 2 * time.Second })
	s.eventually("the honest connection is open", func() bool { return s.lis.Stats().Opened == 1 })
	real := initials(t, 8)
	rng := rand.New(rand.NewPCG(5, 6))
	noise := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	var all [][]byte
	for _, n := range []int{0, 1, 2, 5, 20, 21, 100, 1199, 1200, 1452, 1453, 9000, 65507} {
		for range 20 {
			all = append(all, noise(n))
		}
		b := noise(n) // a long header of the version that is spoken
		copy(b, []byte{0xc3, 0, 0, 0, 1, 8})
		all = append(all, b)
	}
	for _, p := range real {
		for range 30 {
			cut := bytes.Clone(p[:rng.IntN(1200)]) // below 1200 bytes an Initial is dropped (RFC 9000, 14.1)
			damaged := bytes.Clone(p)
			damaged[18+rng.IntN(len(p)-18)] ^= byte(1 + rng.IntN(255)) // behind the connection IDs: the tag does not fit
			foreign := bytes.Clone(p)
			copy(foreign[1:5], []byte{0x6b, 0x33, 0x43, byte(rng.Uint32())})
			all = append(all, cut, damaged, foreign)
		}
	}
	all = append(all, bytes.Repeat(real[0][:1200], 54))
	before := s.lis.Stats()
	for range 3 {
		spray(t, s.lis.Addr(), all)
	}
	s.eventually("the datagrams arrive", func() bool { return s.lis.Stats().DatagramsIn > before.DatagramsIn+500 })
	s.eventually("what looked like a connection is given up", func() bool { return s.lis.Stats().HalfOpen == 0 })
	if st := s.lis.Stats(); st.Opened != 1 || st.Conns != 1 {
		t.Errorf("%+v", st)
	}
}

// TestInitialFlood: first packets from many forged addresses leave few connections half-open: from RetryAbove on each has to prove
// its address, which costs us nothing that stays; an honest client does so and is served meanwhile. What was half-open ends at
// the handshake's deadline.
func TestInitialFlood(t *testing.T) {
	const above, flood = 8, 400
	s := newSite(t, func(p *plan) {
		p.listen.RetryAbove, p.listen.MaxHandshakes = above, 64
		p.listen.HandshakeTimeout = 2 * time.Second
	})
	packets := initials(t, flood)
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	spray(t, s.lis.Addr(), packets)
	s.eventually("the flood arrives", func() bool { return s.lis.Stats().Retries > flood/2 })
	if n := s.lis.Stats().HalfOpen; n > 2*above { // packets on several loops may be judged at once
		t.Errorf("%d connections are half-open, from %d on a proof was to be asked for", n, above)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("the flood holds %d bytes", grown)
	}
	c := mustDial(t, s.addr, clientTLS())
	if code, _ := c.ask(other, nil); code != 200 {
		t.Error("an honest client is not served")
	}
	s.eventually("the half-open connections end", func() bool { return s.lis.Stats().HalfOpen == 0 })
	s.eventually("as handshake_timeout", func() bool { return s.number(func() int { return s.failed["handshake_timeout"] }) > 0 })
	if refused := s.lis.Stats().Refused; refused != 0 {
		t.Errorf("%d connections were refused", refused)
	}
}

// TestHalfOpenPerPeer: one peer's half-open connections use up its own share, not those of others.
func TestHalfOpenPerPeer(t *testing.T) {
	const share = 5
	s := newSite(t, func(p *plan) {
		p.reactor.MaxHandshakesPerPeer = share
		p.listen.HandshakeTimeout = 2 * time.Second
	})
	one := loopback(t)
	defer func() { must(one.Close()) }()
	for _, p := range initials(t, 4*share) {
		_, err := one.WriteTo(p, s.lis.Addr())
		must(err)
	}
	s.eventually("its share is used up", func() bool { return s.lis.Stats().Refused > 0 })
	// One that is being refused counts for the moment that takes.
	s.eventually("no more than its share are half-open", func() bool { return s.lis.Stats().HalfOpen <= share })
	c, err := dialStockFrom(t, "127.0.0.2", s.addr, clientTLS(), false)
	if err != nil {
		t.Fatalf("another peer: %v", err)
	}
	if code, _ := c.ask(other, nil); code != 200 {
		t.Error("another peer is not served")
	}
	s.eventually("the half-open connections end", func() bool { return s.lis.Stats().HalfOpen == 0 })
	if code, _ := mustDial(t, s.addr, clientTLS()).ask(other, nil); code != 200 {
		t.Error("the peer is not served after its silent connections have ended")
	}
}

// TestPeerLimitIsTold: a connection over its peer's limit completes its handshake only to read why, in frames and as a code.
func TestPeerLimitIsTold(t *testing.T) {
	s := newSite(t, func(p *plan) { p.reactor.MaxConnsPerPeer = 2 })
	for range 2 {
		mustDial(t, s.addr, clientTLS()).ask(other, nil)
	}
	c := mustDial(t, s.addr, clientTLS())
	refusal(t, "the third", c.open(request(other, nil)), 429, "peer_limit")
	<-c.Context().Done()
	var app *quicgo.ApplicationError
	if err := context.Cause(c.Context()); !errors.As(err, &app) || quic.Code(app.ErrorCode) != quic.CodePeerLimit || !app.Remote {
		t.Errorf("the connection ended with %v", err)
	}
	s.eventually("it is counted", func() bool {
		return s.lis.Stats().Refused == 1 && s.number(func() int { return s.failed["peer_limit"] }) == 1
	})
	neighbour, err := dialStockFrom(t, "127.0.0.2", s.addr, clientTLS(), false)
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := neighbour.ask(other, nil); code != 200 {
		t.Error("another peer is not served")
	}
}
