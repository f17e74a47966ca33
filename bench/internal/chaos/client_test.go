package chaos

import (
	"bytes"
	"context"
	stdtls "crypto/tls"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/peertest"
	"github.com/ron-transport/ron-transport/bench/internal/wire"
)

// faulty is an echo server on crypto/tls that does to its nth reply what a test wants.
type faulty struct {
	addr  string
	ca    *stdtls.Config // of the client
	count atomic.Int64
}

// tamper turns a reply, in place or not, into what is sent; close ends the connection after it.
type tamper func(n int64, reply []byte) (send []byte, closeIt bool)

// patience is how long anything here may take on a slow machine.
const patience = 30 * time.Second

func startFaulty(t *testing.T, f tamper) *faulty {
	t.Helper()
	_, pair, pool := peertest.Certificate(t)
	ln, err := stdtls.Listen("tcp", "127.0.0.1:0", &stdtls.Config{Certificates: []stdtls.Certificate{pair}, MinVersion: stdtls.VersionTLS13, NextProtos: []string{"oap/1"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	s := &faulty{addr: ln.Addr().String(), ca: &stdtls.Config{RootCAs: pool, MinVersion: stdtls.VersionTLS13}}
	go func() { // ends with the listener
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go s.serve(conn, f) // ends with the connection
		}
	}()
	return s
}

func (s *faulty) serve(conn net.Conn, f tamper) {
	defer conn.Close()
	for {
		head := make([]byte, wire.HeaderLen)
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		n, err := wire.FrameLen(head)
		if err != nil {
			return
		}
		b := append(head, make([]byte, n-wire.HeaderLen)...)
		if _, err := io.ReadFull(conn, b[wire.HeaderLen:]); err != nil {
			return
		}
		wire.MakeReply(b)
		send, closeIt := f(s.count.Add(1), b)
		if _, err := conn.Write(send); err != nil || closeIt {
			return
		}
	}
}

// ran runs a client against s until at least want requests were answered in an open and a closed stage, and finishes it.
func ran(t *testing.T, s *faulty, want uint64, wait time.Duration) *Result {
	t.Helper()
	c, err := New(Config{Addr: s.addr, TLS: s.ca, Conns: 2, Streams: 1, Depth: 2, RPS: 400, Payload: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, mode := range []Mode{Open, Closed} {
		if err := c.Stage(string(mode), mode); err != nil {
			t.Fatal(err)
		}
		begin, _ := c.Status()
		for limit := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
			st, err := c.Status()
			if err != nil || time.Now().After(limit) {
				t.Fatalf("%+v, %v", st, err)
			}
			if st.Good-begin.Good >= want {
				break
			}
		}
	}
	r, err := c.Finish(context.Background(), wait)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestFaultsAreFound: a reply that is lost, doubled, damaged, refused or exchanged is found and counted as what it is, and nothing else is.
func TestFaultsAreFound(t *testing.T) {
	const at = 7 // the reply that something happens to
	end := func(b []byte) *byte { return &b[len(b)-10] }
	for _, tc := range []struct {
		name string
		f    func(b []byte) []byte
		want Counts
	}{
		{"nothing", func(b []byte) []byte { return b }, Counts{}},
		{"lost", func([]byte) []byte { return nil }, Counts{Lost: 1}},
		{"doubled", func(b []byte) []byte { return append(b, b...) }, Counts{Doubled: 1}},
		{"a wrong bit", func(b []byte) []byte { *end(b) ^= 4; return b }, Counts{Corrupt: 1}},
		{"too short", func(b []byte) []byte {
			b[3]-- // of the length
			return b[:len(b)-1]
		}, Counts{Corrupt: 1}},
		{"refused", func(b []byte) []byte { b[8], b[9] = 503>>8, 503&0xff; return b }, Counts{Refused: 1}},
		{"no response", func(b []byte) []byte { b[7] = 1; return b }, Counts{Corrupt: 1}},
		{"of a request that was never asked", func(b []byte) []byte {
			other := bytes.Clone(b)
			other[30] = 0x7f // of corr_id
			return append(other, b...)
		}, Counts{Unasked: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wait := patience
			if tc.want.Lost > 0 {
				wait = 100 * time.Millisecond
			}
			s := startFaulty(t, func(n int64, b []byte) ([]byte, bool) {
				if n == at {
					return tc.f(b), false
				}
				return b, false
			})
			r := ran(t, s, 20, wait)
			got := r.Counts
			if got.Sent < 40 || got.Answered+got.Lost+got.Corrupt+got.Refused != got.Sent {
				t.Errorf("the books do not add up: %+v", got)
			}
			got.Sent, got.Answered = 0, 0
			if tc.want.Lost > 0 { // a request that was on its way when the patience was over is lost as well
				got.Lost = min(got.Lost, 1)
			}
			if got != tc.want {
				t.Errorf("%+v, want %+v", got, tc.want)
			}
			if len(r.Ends) != 0 || r.Dialled != 2 {
				t.Errorf("connections: %d opened, ended %v", r.Dialled, r.Ends)
			}
		})
	}
}

// TestConnectionsAreDialledAgain: what was on its way on a connection that ends is asked again on the next, and has one answer.
func TestConnectionsAreDialledAgain(t *testing.T) {
	s := startFaulty(t, func(n int64, b []byte) ([]byte, bool) {
		if n%10 == 5 {
			return nil, true // the reply is lost with its connection
		}
		return b, false
	})
	r := ran(t, s, 30, patience)
	got := r.Counts
	if got.Wrong() != 0 || got.Retried == 0 || got.Answered != got.Sent || r.Dialled < 3 || r.Ends[""] == 0 {
		t.Errorf("%+v, %d opened, ended %v (%s)", got, r.Dialled, r.Ends, r.FirstEnd)
	}
	for _, st := range r.Stages {
		if st.Latency.Count == 0 || st.Good < 30 || st.FirstS < st.AtS || st.LastS <= st.AtS {
			t.Errorf("stage %+v", st)
		}
	}
	if sum(r.Series.Due) == 0 || sum(r.Series.Replies) != got.Answered {
		t.Errorf("series with %d due and %d replies, of %d answers", sum(r.Series.Due), sum(r.Series.Replies), got.Answered)
	}
}

// TestLateDoubleIsFound: a second reply that comes when everything is answered is found: each connection is asked for a last echo, which comes
// behind whatever is on its way.
func TestLateDoubleIsFound(t *testing.T) {
	var first []byte
	s := startFaulty(t, func(n int64, b []byte) ([]byte, bool) {
		switch n {
		case 1:
			first = bytes.Clone(b)
		case 2:
			return append(first, b...), false
		}
		return b, false
	})
	c, err := New(Config{Addr: s.addr, TLS: s.ca, Conns: 1, Streams: 1, Depth: 1, RPS: 1, Payload: 100})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Stage("only", Open); err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		st, err := c.Status()
		if err != nil || time.Now().After(limit) {
			t.Fatalf("%+v, %v", st, err)
		}
		if st.Good > 0 {
			break
		}
	}
	r, err := c.Finish(context.Background(), patience)
	if err != nil || r.Counts.Doubled != 1 || r.Counts.Answered != r.Counts.Sent || r.Counts.Sent < 2 {
		t.Errorf("%+v, %v", r.Counts, err)
	}
	if n := r.Stages[0].Latency.Count; uint64(n)+1 != r.Counts.Answered {
		t.Errorf("the stage has the latency of %d of %d requests; the last one is none of its", n, r.Counts.Answered)
	}
}

// TestConfigIsChecked: a refusal names the field, its value, and what is allowed.
func TestConfigIsChecked(t *testing.T) {
	ok := Config{Addr: "127.0.0.1:1", Conns: 1, Streams: 1, Depth: 1, RPS: 1, Payload: 100}
	for name, f := range map[string]func(*Config){
		"Conns 0 ": func(c *Config) { c.Conns = 0 }, "Streams 0 ": func(c *Config) { c.Streams = 0 }, "Depth 65 ": func(c *Config) { c.Depth = 65 },
		"RPS 0 ": func(c *Config) { c.RPS = 0 }, "Payload 19 ": func(c *Config) { c.Payload = 19 }, "Streams 2 ": func(c *Config) { c.Streams = 2 },
	} {
		c := ok
		f(&c)
		_, err := New(c)
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
