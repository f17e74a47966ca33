package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
)

// countUpdates returns how many KeyUpdates wire holds, opening it with a copy of the receiver.
func countUpdates(t testing.TB, receiver *Conn, wire []byte) int {
	t.Helper()
	probe := &Conn{in: receiver.in, state: stateOpen, agreed: receiver.agreed, end: receiver.end}
	probe.in.cipher = nil // it has a copy of its own, made from the secret
	n := 0
	for len(wire) > 0 {
		before := probe.runs.updates
		_, used, err := probe.Open(make([]byte, 0, maxCiphertext), wire[:probe.NextRecord(wire)])
		if err != nil {
			t.Fatal(err)
		}
		if probe.runs.updates != before && probe.runs.updates != 0 {
			n++
		}
		wire = wire[used:]
	}
	return n
}

// TestKeyUpdateAnswer: many requests get one answer, with the next data and not before.
func TestKeyUpdateAnswer(t *testing.T) {
	for name, id := range allSuites() {
		t.Run(name, func(t *testing.T) {
			s, c := keyed(t, id, DefaultRecordsPerKey)
			for range 5 {
				must(c.UpdateKeys(true))
				wire, err := c.Seal(nil, nil, false) // without data: the update alone
				if err != nil || len(wire) != keyUpdateLen {
					t.Fatalf("update alone: %d bytes, %v", len(wire), err)
				}
				opened(t, s, wire)
			}
			wire := sealed(t, s, "hello")
			if n := countUpdates(t, c, wire); n != 1 {
				t.Errorf("%d answers to 5 requests", n)
			}
			if got := opened(t, c, wire); string(got) != "hello" {
				t.Errorf("got %q", got)
			}
			if c.update != updateNone {
				t.Error("an answer was answered")
			}
			if wire := sealed(t, s, "again"); countUpdates(t, c, wire) != 0 {
				t.Error("answered twice")
			}
			if got := opened(t, s, sealed(t, c, "back")); string(got) != "back" {
				t.Errorf("got %q", got)
			}
		})
	}
}

// TestKeyUpdateLimit: the write key is replaced after RecordsPerKey records, in the middle of a call if need be, and SealedSize
// covers it.
func TestKeyUpdateLimit(t *testing.T) {
	for _, limit := range []uint64{1, 2, 3, 5} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			s, c := keyed(t, testSuite, limit)
			src := make([]byte, 7*maxPlaintext-1)
			for range 3 {
				wire, err := c.Seal(nil, src, false)
				if err != nil {
					t.Fatal(err)
				}
				if len(wire) > c.SealedSize(len(src)) {
					t.Errorf("%d bytes, SealedSize says %d", len(wire), c.SealedSize(len(src)))
				}
				if n, least := countUpdates(t, s, wire), 7/int(limit)-1; n < least {
					t.Errorf("%d updates in 7 records, want at least %d", n, least)
				}
				if got := opened(t, s, wire); !bytes.Equal(got, src) {
					t.Fatal("other plaintext")
				}
				if c.out.seq > limit {
					t.Errorf("%d records with one key", c.out.seq)
				}
			}
		})
	}
}

// TestKeyUpdateWithCryptoTLS crosses updates of ours, in both directions, with traffic of crypto/tls, which answers each request.
func TestKeyUpdateWithCryptoTLS(t *testing.T) {
	sc := serverTLS()
	sc.NextProtos = []string{ALPN}
	for _, server := range []bool{true, false} {
		t.Run(fmt.Sprintf("server=%v", server), func(t *testing.T) {
			s, err := NewServer(Config{TLS: sc, RecordsPerKey: 3})
			must(err)
			c, err := NewClient(Config{TLS: clientTLS(), RecordsPerKey: 3})
			must(err)
			ours, theirs := s.Conn, func(n net.Conn) *stdtls.Conn { return stdtls.Client(n, clientTLS()) }
			if !server {
				ours, theirs = func() *Conn { return c.Conn("") }, func(n net.Conn) *stdtls.Conn { return stdtls.Server(n, sc) }
			}
			d, other := dial(t, ours, theirs, nil)
			for i := range 10 {
				d.mu.Lock()
				must(d.tls.UpdateKeys(i%2 == 0))
				d.mu.Unlock()
				echo(t, d, other, 100_000)
			}
			hangUp(t, d, other)
		})
	}
}

func TestEchoLarge(t *testing.T) {
	sc := serverTLS()
	s := newServer(t, sc)
	d, other := dial(t, s.Conn, func(n net.Conn) *stdtls.Conn { return stdtls.Client(n, clientTLS()) }, nil)
	echo(t, d, other, 2<<20)
	echo(t, other, d, 2<<20)
	hangUp(t, d, other)
	c := newClient(t, clientTLS())
	sc.NextProtos = []string{ALPN}
	d, other = dial(t, func() *Conn { return c.Conn("") }, func(n net.Conn) *stdtls.Conn { return stdtls.Server(n, sc) }, nil)
	echo(t, d, other, 2<<20)
	echo(t, other, d, 2<<20)
	hangUp(t, d, other)
}

// TestUpdateAfterClose: once the peer has closed its side, it is not asked for a new key (crypto/tls fails on that), and it can
// still read what we send.
func TestUpdateAfterClose(t *testing.T) {
	s := newServer(t, serverTLS())
	d, other := dial(t, s.Conn, func(n net.Conn) *stdtls.Conn { return stdtls.Client(n, clientTLS()) }, nil)
	must(other.CloseWrite())
	if b, err := io.ReadAll(d); err != nil || len(b) != 0 {
		t.Fatal(b, err)
	}
	must(d.tls.UpdateKeys(true))
	if d.tls.update != updateAnswer {
		t.Fatal("the peer would be asked")
	}
	if _, err := d.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	must(d.CloseWrite())
	if b, err := io.ReadAll(other); err != nil || string(b) != "late" {
		t.Fatalf("%q, %v", b, err)
	}
	d.Close()
	other.Close()
}

// TestClose: ends in every order, and what each method says then.
func TestClose(t *testing.T) {
	s, c := keyed(t, testSuite, DefaultRecordsPerKey)
	if err := s.EOF(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("EOF while open: %v", err)
	}
	wire := append(sealed(t, c, "last"), c.Finish(nil, nil)...)
	wire = append(wire, "garbage behind the end"...)
	out, n, err := s.Open(make([]byte, 0, 1000), wire)
	if string(out) != "last" || err != io.EOF {
		t.Fatalf("%q, %v", out, err)
	}
	if _, rest, err := s.Open(nil, wire[n:]); rest != len(wire)-n || err != io.EOF {
		t.Errorf("what follows the end: %d, %v", rest, err)
	}
	if err := s.EOF(); err != nil {
		t.Errorf("EOF after close_notify: %v", err)
	}
	if _, err := c.Seal(nil, []byte("x"), false); err != ErrFinished {
		t.Errorf("Seal after Finish: %v", err)
	}
	if err := c.UpdateKeys(false); err != ErrFinished {
		t.Errorf("UpdateKeys after Finish: %v", err)
	}
	if err := c.EOF(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("EOF half closed: %v", err)
	}
	if got := opened(t, c, sealed(t, s, "still here")); string(got) != "still here" {
		t.Errorf("half open: %q", got)
	}
	if _, _, err := c.Open(make([]byte, 0, 100), s.Finish(nil, io.ErrShortWrite)); err != io.EOF {
		t.Errorf("close_notify for a cause that is not TLS's: %v", err)
	}
	for _, x := range []*Conn{s, c} {
		if x.EOF() != nil || x.state != stateClosed || len(x.Finish(nil, nil)) != 0 {
			t.Errorf("not closed cleanly: %v, state %d", x.EOF(), x.state)
		}
		x.Release()
		x.Release()
		if _, _, err := x.Open(nil, wire); err != ErrReleased {
			t.Errorf("Open after Release: %v", err)
		}
		if x.in.secret != [maxSecretLen]byte{} || x.out.secret != [maxSecretLen]byte{} {
			t.Error("secrets left")
		}
	}
}

// TestFailureAfterFinish: nothing is written behind close_notify, not even an alert.
func TestFailureAfterFinish(t *testing.T) {
	s, _ := keyed(t, testSuite, DefaultRecordsPerKey)
	s.Finish(nil, nil)
	_, _, err := s.Open(make([]byte, 0, 100), []byte{22, 3, 3, 0, 1, 0})
	if err == nil || s.EOF() != err || len(s.Finish(nil, err)) != 0 {
		t.Fatal(err)
	}
	if _, err := s.Seal(nil, []byte("x"), false); err != ErrFinished {
		t.Errorf("Seal: %v", err)
	}
}

// TestTruncatedPeer: a peer that hangs up without a word is still told goodbye.
func TestTruncatedPeer(t *testing.T) {
	s, c := keyed(t, testSuite, DefaultRecordsPerKey)
	if _, _, err := c.Open(make([]byte, 0, 100), s.Finish(nil, s.EOF())); err != io.EOF {
		t.Fatal(err)
	}
}

// TestFragmentation: any cut of the stream, and any capacity of dst, gives the same plaintext.
func TestFragmentation(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		s, c := keyed(t, testSuite, 4)
		var want, wire []byte
		for range 6 {
			part := make([]byte, r.IntN(3*maxPlaintext>>r.IntN(12)))
			for i := range part {
				part[i] = byte(r.Uint32())
			}
			if r.IntN(4) == 0 {
				must(c.UpdateKeys(r.IntN(2) == 0))
			}
			want = append(want, part...)
			backing := append(slices.Clone(part), 0xee)
			var err error
			wire, err = c.Seal(wire, backing[:len(part)], r.IntN(2) == 0)
			must(err)
			if backing[len(part)] != 0xee || !bytes.Equal(backing[:len(part)], part) {
				t.Fatalf("seed %d: Seal changed its source", seed)
			}
		}
		wire = c.Finish(wire, nil)
		var got, held []byte
		for err := error(nil); err != io.EOF; {
			n := min(1+r.IntN(1+r.IntN(40_000)), len(wire))
			held, wire = append(held, wire[:n]...), wire[n:]
			var used int
			out := make([]byte, 3, 3+max(s.NextRecord(held)-tagLen, r.IntN(60_000)))
			out, used, err = s.Open(out, held)
			if err != nil && err != io.EOF {
				t.Fatalf("seed %d: %v", seed, err)
			}
			got, held = append(got, out[3:]...), held[used:]
			if used == 0 && len(wire) == 0 && err == nil {
				t.Fatalf("seed %d: no progress with %d bytes", seed, len(held))
			}
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("seed %d: other plaintext", seed)
		}
	}
}

// TestAnsweredRequests: a peer that has nothing to say answers each of our requests for a new key, and that is no flood.
func TestAnsweredRequests(t *testing.T) {
	s, c := keyed(t, testSuite, DefaultRecordsPerKey)
	answer := func() []byte {
		wire, err := c.Seal(nil, nil, false)
		must(err)
		return wire
	}
	for range 3 * maxUpdateRun {
		must(s.UpdateKeys(true))
		opened(t, c, sealed(t, s, "data"))
		opened(t, s, answer())
	}
	// Updates that nobody asked for are counted as ever.
	for range maxUpdateRun {
		must(c.UpdateKeys(false))
		opened(t, s, answer())
	}
	must(c.UpdateKeys(false))
	_, _, err := s.Open(make([]byte, 0, 100), answer())
	ended(t, err, AlertUnexpectedMessage, false)
}
