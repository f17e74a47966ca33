package reactor

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// canned is a Stream whose every answer the test decides, and which notes what it is told.
type canned struct {
	conn  *Conn
	read  func(p []byte) (int, error) // nil: would block
	room  int                         // bytes that a Write takes
	wrong error                       // of Write
	took  int
	calls []string
	cause error // of Reset
}

func (s *canned) Read(p []byte) (int, error) {
	if s.read == nil {
		return 0, ErrWouldBlock
	}
	return s.read(p)
}

func (s *canned) Write(p []byte) (int, error) {
	n := min(len(p), s.room)
	s.took += n
	return n, s.wrong
}

func (s *canned) CloseWrite()          { s.calls = append(s.calls, "CloseWrite") }
func (s *canned) Reset(cause error)    { s.calls, s.cause = append(s.calls, "Reset"), cause }
func (s *canned) Close()               { s.calls = append(s.calls, "Close") }
func (s *canned) LocalAddr() net.Addr  { return &net.UDPAddr{Port: 1} }
func (s *canned) RemoteAddr() net.Addr { return &net.UDPAddr{Port: 2} }

// once makes Read return this once, and then that it would block.
func (s *canned) once(data string, err error) {
	s.read = func(p []byte) (int, error) {
		s.read = nil
		return copy(p, data), err
	}
}

// streamLoop is a still loop on a clock, to which streams can be attached.
func streamLoop(t *testing.T, cfg Config) (*clocked, *loop) {
	t.Helper()
	k := &clocked{feed: feed{next: func() []byte { return nil }}, at: 1}
	l, _ := still(t, &k.feed, cfg, nil, script{}.with)
	l.r.sys, l.r.loops, l.r.peers = k, []*loop{l}, newPeers(&l.r.cfg)
	l.now, l.wheel.tick = k.at, 1
	return k, l
}

// attachTo attaches s to a still loop and makes the turn in which it opens.
func attachTo(t *testing.T, l *loop, s *canned, p script, a *Admission) *Conn {
	t.Helper()
	c, err := l.r.Attach(AttachConfig{Protocol: p.with, Admission: a, Stream: func(c *Conn) Stream { s.conn = c; return s }})
	if err != nil {
		t.Fatal(err)
	}
	turnOf(l)
	return c
}

// turnOf makes one turn of a still loop, with what was posted to it.
func turnOf(l *loop) {
	if l.tasks == nil {
		l.tasks, l.tkNext = l.queue.take(), 0
	}
	for !l.turn() {
	}
}

// reasoned is an error of a stream's with a reason of its own.
type reasoned string

func (e reasoned) Error() string  { return "stream: " + string(e) }
func (e reasoned) Reason() string { return string(e) }

// streamEnd is one way for a connection on a stream to end.
type streamEnd struct {
	name   string
	cfg    Config
	script script
	begin  func(c *Conn, s *canned) // on the loop, once it is open
	each   func(c *Conn, s *canned) // every 5 ms
	cause  error                    // of the close
	reason string                   // instead of cause
	calls  string                   // what the stream is told
	from   time.Duration            // when it ends: not before, and within a second
}

const ends, resets = "CloseWrite Close", "Reset Close"

func streamEnds() []streamEnd {
	const long = time.Hour
	never := Config{IdleTimeout: -1}
	fill := func(c *Conn, _ *canned) { _ = c.Write(make([]byte, 100_000)) }
	drip := func(c *Conn, s *canned) { s.once("\x00", nil); c.Ready(ReadReady) }
	trickle := func(c *Conn, s *canned) { s.room = 1; c.Ready(WriteReady) }
	unread := func(c *Conn, s *canned) { fill(c, s); c.Close(nil) }
	closeNow := func(c *Conn, _ *canned) { c.Close(nil) }
	gives := func(data string, err error) func(*Conn, *canned) {
		return func(c *Conn, s *canned) { s.once(data, err); c.Ready(ReadReady) }
	}
	framed := script{data: blocks(func(*Conn, []byte) {})}
	return []streamEnd{
		{name: "idle", cfg: Config{IdleTimeout: time.Second, LingerTimeout: 2 * time.Second}, cause: ErrIdleTimeout, calls: ends, from: 3 * time.Second},
		{name: "a frame that does not end", cfg: Config{IdleTimeout: -1, FrameTimeout: time.Second, LingerTimeout: -1}, script: framed,
			begin: gives("\x00\x10", nil), cause: ErrFrameTimeout, calls: ends, from: time.Second},
		{name: "a frame that drips", cfg: Config{IdleTimeout: -1, FrameTimeout: -1, LingerTimeout: -1, MinRate: 1 << 10}, script: framed,
			begin: gives("\xff\xff\xff\x00", nil), each: drip, cause: ErrMinReadRate, calls: ends, from: minRateWindow},
		{name: "nothing is taken", cfg: Config{IdleTimeout: -1, WriteTimeout: time.Second}, begin: fill, cause: ErrWriteTimeout, calls: resets, from: time.Second},
		{name: "little is taken", cfg: Config{IdleTimeout: -1, MinRate: 1 << 10}, begin: fill, each: trickle, cause: ErrMinWriteRate, calls: resets, from: minRateWindow},
		{name: "not drained", cfg: Config{DrainTimeout: time.Second, WriteTimeout: -1}, begin: unread, cause: ErrDrainTimeout, calls: resets, from: time.Second},
		{name: "the peer ends after us", cfg: Config{LingerTimeout: long}, begin: closeNow, each: gives("late", io.EOF), calls: ends},
		{name: "the peer does not end", cfg: Config{LingerTimeout: time.Second}, begin: closeNow, calls: ends, from: time.Second},
		{name: "no lingering", cfg: Config{LingerTimeout: -1}, begin: closeNow, calls: ends},
		{name: "the peer ends first", cfg: never, begin: gives("", io.EOF), calls: ends},
		{name: "the peer ends with its last bytes", cfg: never, begin: gives("abc", io.EOF), calls: ends},
		{name: "the peer ends inside a frame", cfg: never, script: framed, begin: gives("abc", io.EOF), cause: errTruncated, calls: ends},
		{name: "Abort", cfg: never, begin: func(c *Conn, _ *canned) { c.Abort(errSimAsked) }, cause: errSimAsked, calls: resets},
		{name: "more than the hard cap", cfg: never, begin: func(c *Conn, s *canned) {
			for range 100 {
				fill(c, s)
			}
		}, cause: ErrSlowPeer, calls: resets},
		{name: "reading fails", cfg: never, begin: gives("", reasoned("peer_limit")), reason: "peer_limit", calls: "Close"},
		{name: "reading fails after some bytes", cfg: never, begin: gives("abc", reasoned("peer_limit")), reason: "peer_limit", calls: "Close"},
		{name: "reading fails without a reason", cfg: never, begin: gives("", io.ErrUnexpectedEOF), reason: ReasonIO, calls: "Close"},
		{name: "reading fails while it lingers", cfg: Config{LingerTimeout: long}, begin: closeNow, each: gives("", reasoned("tls")), calls: ends},
		{name: "writing fails", cfg: never, begin: func(c *Conn, s *canned) { s.wrong = reasoned("shutting_down"); fill(c, s) }, reason: "shutting_down", calls: "Close"},
		{name: "writing fails after some bytes", cfg: never, begin: func(c *Conn, s *canned) { s.wrong, s.room = reasoned("tls"), 10; fill(c, s) }, reason: "tls", calls: "Close"},
		{name: "writing fails while it drains", cfg: never, begin: func(c *Conn, s *canned) { s.wrong = io.ErrClosedPipe; unread(c, s) }, reason: ReasonIO, calls: "Close"},
	}
}

// Every deadline and every end of a connection holds for streams, with the calls that Stream promises, in their order.
func TestStreamEnds(t *testing.T) {
	for _, tc := range streamEnds() {
		t.Run(tc.name, func(t *testing.T) {
			k, l := streamLoop(t, tc.cfg)
			var causes []error
			tc.script.close = func(_ *Conn, err error) { causes = append(causes, err) }
			s := &canned{}
			c := attachTo(t, l, s, tc.script, nil)
			if tc.begin != nil {
				if err := c.Post(func() { tc.begin(c, s) }); err != nil {
					t.Fatal(err)
				}
			}
			closed := pass(k, l, c, 20*time.Second, func() {
				if tc.each != nil {
					tc.each(c, s)
				}
				l.tasks, l.tkNext = l.queue.take(), 0
			})
			if len(causes) != 1 || closed < tc.from || closed > tc.from+time.Second {
				t.Fatalf("OnClose %v after %v, expected after %v", causes, closed, tc.from)
			}
			if err := causes[0]; tc.reason == "" && err != tc.cause || tc.reason != "" && reasonOf(err) != tc.reason {
				t.Errorf("closed with %v", err)
			}
			if got := strings.Join(s.calls, " "); got != tc.calls {
				t.Errorf("the stream was told %q, expected %q", got, tc.calls)
			}
			if slices.Contains(s.calls, "Reset") && s.cause != tc.cause {
				t.Errorf("Reset(%v)", s.cause)
			}
			c.Ready(ReadReady | WriteReady | HangUp) // too late
			turnOf(l)
			if n := len(strings.Fields(tc.calls)); len(s.calls) != n || len(causes) != 1 || l.pool.Stats().Outstanding > 1 {
				t.Errorf("after the end: %v, OnClose %v, %d buffers", s.calls, causes, l.pool.Stats().Outstanding)
			}
		})
	}
}

// A panic in a callback resets its stream with the PanicError, and no other stream.
func TestStreamPanics(t *testing.T) {
	boom := func(*Conn) { panic("boom") }
	for name, p := range map[string]script{
		"OnOpen": {open: boom},
		"OnData": {data: func(*Conn, []byte) (int, int, error) { panic("boom") }},
		"OnEOF":  {eof: func(*Conn) bool { panic("boom") }},
		"OnDrained": {drained: boom, data: func(c *Conn, p []byte) (int, int, error) {
			for c.Writable() {
				_ = c.Write(make([]byte, 100_000))
			}
			return len(p), 0, nil
		}},
		"OnGoodbye": {goodbye: func(*Conn, error) { panic("boom") }, data: func(c *Conn, p []byte) (int, int, error) {
			c.loop.sayGoodbye(c, ErrIdleTimeout)
			return len(p), 0, nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, l := streamLoop(t, Config{})
			var cause error
			p.close = func(_ *Conn, err error) { cause = err }
			s, other := &canned{}, &canned{room: 1 << 20}
			s.once("x", io.EOF)
			oc := attachTo(t, l, other, echo, nil)
			c := attachTo(t, l, s, p, nil)
			for range 5 {
				s.room = 1 << 20
				c.Ready(WriteReady)
				turnOf(l)
			}
			var pe *PanicError
			if !errors.As(cause, &pe) || s.cause != cause || strings.Join(s.calls, " ") != resets {
				t.Errorf("OnClose(%v), Reset(%v), the stream was told %v", cause, s.cause, s.calls)
			}
			other.once("y", nil)
			oc.Ready(ReadReady)
			turnOf(l)
			if other.took != 1 || len(other.calls) != 0 || l.count[counterPanics] != 1 {
				t.Errorf("the other stream took %d bytes and was told %v; %d panics", other.took, other.calls, l.count[counterPanics])
			}
		})
	}
}

// Streams have the token buckets of a connection each, and of the peer of their Admission together.
func TestStreamTokens(t *testing.T) {
	const rate = 10_000 // a bucket holds 1000
	peer := netip.MustParseAddrPort("192.0.2.1:9")
	for _, tc := range []struct {
		cfg      Config
		admitted bool
		streams  int // that share one bucket
	}{
		{Config{ConnReadRate: rate, ConnWriteRate: rate}, false, 1},
		{Config{PeerReadRate: rate, PeerWriteRate: rate}, true, 2},
		{Config{PeerReadRate: rate, PeerWriteRate: rate}, false, 0},
	} {
		t.Run(fmt.Sprint(tc.cfg.ConnReadRate, tc.admitted), func(t *testing.T) {
			tc.cfg.MinRate = -1
			k, l := streamLoop(t, tc.cfg)
			var adm *Admission
			if tc.admitted {
				var err error
				if adm, err = l.r.Admit(peer); err != nil {
					t.Fatal(err)
				}
				defer adm.Release()
			}
			got := 0
			var all [2]*canned
			for i := range all {
				s := &canned{room: 1 << 20}
				s.read = func(p []byte) (int, error) { return len(p), nil } // as much as is wanted
				all[i] = s
				c := attachTo(t, l, s, script{data: func(_ *Conn, p []byte) (int, int, error) { got += len(p); return len(p), 0, nil }}, adm)
				if err := c.Write(make([]byte, 100_000)); err != nil {
					t.Fatal(err)
				}
			}
			pass(k, l, all[0].conn, 2*time.Second, nil)
			sent := all[0].took + all[1].took
			if tc.streams == 0 {
				if sent != 200_000 || got < 1_000_000 {
					t.Errorf("without limits %d bytes were written and %d read", sent, got)
				}
			} else if most := 2*rate + 2*rate/bucketPart; got/(2/tc.streams) > most || sent/(2/tc.streams) > most || min(got, sent) < 2*rate-rate/4 {
				t.Errorf("%d bytes were written and %d read in 2 s, at %d a second for every %d streams", sent, got, rate, tc.streams)
			}
			for _, s := range all {
				s.conn.Abort(nil)
			}
			turnOf(l)
		})
	}
}
