package tls

import (
	"bytes"
	"testing"
)

// TestSleep: a connection that sleeps between any two calls behaves as one that does not: same plaintext, same bytes on the wire,
// through key updates, halves of messages and the end.
func TestSleep(t *testing.T) {
	for name, id := range allSuites() {
		t.Run(name, func(t *testing.T) {
			run := func(nap func(*Conn)) (wire, plain []byte) {
				s, c := keyed(t, id, 3)
				send := func(from, to *Conn, b []byte) {
					nap(from)
					nap(to)
					wire = append(wire, b...)
					plain = append(plain, opened(t, to, b)...)
				}
				for i := range 8 {
					nap(c)
					send(c, s, sealed(t, c, "up"))
					if i%3 == 0 {
						must(s.UpdateKeys(true))
					}
					nap(s)
					send(s, c, sealed(t, s, "down"))
				}
				nap(c)
				send(c, s, forge(awake(c), inner(typeHandshake, messageKeyUpdate, 0)))
				nap(c)
				send(c, s, forge(awake(c), inner(typeHandshake, 0, 1, 1)))
				must(c.out.update(c.agreed.suite))
				send(s, c, sealed(t, s, "answered"))
				nap(s)
				nap(c)
				last := s.Finish(nil, nil)
				nap(s)
				_, _, err := c.Open(make([]byte, 0, 100), last)
				if err == nil || c.EOF() != nil {
					t.Fatal(err, c.EOF())
				}
				nap(c)
				send(c, s, sealed(t, c, "half closed"))
				return append(wire, last...), plain
			}
			wire, plain := run(func(*Conn) {})
			wireNaps, plainNaps := run((*Conn).Sleep)
			if !bytes.Equal(wire, wireNaps) || !bytes.Equal(plain, plainNaps) {
				t.Errorf("awake %d bytes of %q, with naps %d of %q", len(wire), plain, len(wireNaps), plainNaps)
			}
		})
	}
}

func awake(c *Conn) *half {
	must(c.out.wake(c.agreed.suite))
	return &c.out
}

// TestSleepDrops: what sleeps holds no AEAD object, and in every state Sleep is harmless.
func TestSleepDrops(t *testing.T) {
	s, c := keyed(t, testSuite, DefaultRecordsPerKey)
	s.Sleep()
	s.Sleep()
	if s.in.cipher != nil || s.out.cipher != nil {
		t.Error("still there")
	}
	wire := sealed(t, c, "x")
	if got := opened(t, s, wire); string(got) != "x" || s.out.cipher != nil {
		t.Errorf("got %q; writing direction awake: %v", got, s.out.cipher != nil)
	}
	s.Finish(nil, nil)
	s.Sleep()
	s.Release()
	s.Sleep()
	server, client := defaults(t)
	x, y := server.Conn(), client.Conn("")
	defer x.Release()
	defer y.Release()
	x.Sleep()
	y.Handshake(nil)
	y.Step()
	y.Sleep()
	hello := y.Output(nil)
	x.Handshake(hello)
	x.Sleep()
	x.Step()
	x.Sleep()
	toClient, toServer := x.Output(nil), []byte(nil)
	if _, _, err := shakeOn(x, y, toServer, toClient); err != nil {
		t.Error(err)
	}
}

// TestSleepTickets: a client's session tickets still reach its cache, and crypto/tls's alert about one is still understood.
func TestSleepTickets(t *testing.T) {
	s, c, k := withCache(t)
	c.Sleep()
	opened(t, c, s.out.seal(nil, typeHandshake, ticketMessage([]byte("label"), 60)))
	if k.puts != 2 {
		t.Errorf("%d tickets stored", k.puts)
	}
	c.Sleep()
	_, _, err := c.Open(make([]byte, 0, 1000), s.out.seal(nil, typeHandshake, ticketMessage([]byte("label"), 8*24*3600)))
	if e, ok := err.(*Error); !ok || e.Alert != AlertIllegalParameter {
		t.Errorf("a lifetime of eight days: %v", err)
	}
}
