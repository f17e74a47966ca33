package quic_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	quicgo "github.com/quic-go/quic-go"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/quic"
)

// attacked is a site with short deadlines and an honest client beside whatever the test does to it.
func attacked(t *testing.T, change func(*plan)) *site {
	t.Helper()
	s := newSite(t, func(p *plan) {
		p.reactor.FrameTimeout, p.reactor.WriteTimeout = deadline, deadline
		if change != nil {
			change(p)
		}
	})
	t.Cleanup(s.healthy())
	return s
}

// refusal reads the error reply and what follows it.
func refusal(t *testing.T, what string, s *quicgo.Stream, code uint16, reason string) {
	t.Helper()
	f, err := readFrame(s)
	if err != nil || f.Code != code || reasonIn(f) != reason {
		t.Errorf("%s: answer %+v, %v; want %d %s", what, f, err, code, reason)
	}
}

// TestBadFrames: frames that break the rules get their status and reason. What ends a connection on TLS ends the stream on QUIC, cleanly
// behind the answer: the bytes that cannot be resynchronised are the stream's alone, so the connection's others go on.
func TestBadFrames(t *testing.T) {
	s := attacked(t, nil)
	c := mustDial(t, s.addr, clientTLS())
	edit := func(off int, v ...byte) []byte {
		f := request(other, []byte("hello"))
		copy(f[off:], v)
		return f
	}
	beside := c.open()
	for _, v := range []struct {
		name   string
		frame  []byte
		code   uint16
		reason string
	}{
		{"too large by one", edit(0, 0, 0x10, 0, 1), 413, "frame_too_large"},
		{"as large as can be", edit(0, 0xff, 0xff, 0xff, 0xff), 413, "frame_too_large"},
		{"too short", edit(0, 0, 0, 0, 37), 400, "bad_frame"},
		{"version", edit(4, 0, 2), 400, "bad_version"},
		{"flags", edit(6, 0x80, 1), 400, "bad_flags"},
		{"little-endian", edit(0, 43, 0, 0, 0, 1, 0), 400, "bad_version"},
		{"capability without START", edit(28, 0, 1), 400, "bad_frame"},
	} {
		stream := c.open(v.frame, []byte("more"))
		refusal(t, v.name, stream, v.code, v.reason)
		if rest, err := io.ReadAll(stream); err != nil || len(rest) != 0 {
			t.Errorf("%s: behind the answer %d bytes, %v; want a clean end", v.name, len(rest), err)
		}
		if s.number(func() int { return s.ends[v.reason] }) == 0 {
			s.ended(v.reason, 1)
		}
		_, err := beside.Write(request(other, []byte("beside")))
		must(err)
		if f, err := readFrame(beside); err != nil || f.Code != 200 {
			t.Fatalf("%s: another stream of the connection: %+v, %v", v.name, f, err)
		}
	}
}

// TestVectors: everything that the reference codec refuses is refused with a word of the canon, and counted.
func TestVectors(t *testing.T) {
	s := attacked(t, nil)
	c := mustDial(t, s.addr, clientTLS())
	file, err := os.Open("../framer/testdata/oap1.jsonl")
	must(err)
	defer func() { must(file.Close()) }()
	lines, n := bufio.NewScanner(file), 0
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var v struct {
			Name, Op, Hex string
			OK            *bool
		}
		must(json.Unmarshal(lines.Bytes(), &v))
		if v.Op != "decode" || v.OK == nil || *v.OK || v.Name == "comp_without_zstd_feature" { // we have zstd
			continue
		}
		wire, err := hex.DecodeString(v.Hex)
		must(err)
		stream := c.open(wire)
		f, err := readFrame(stream)
		if err != nil || f.Code < 400 {
			t.Errorf("%s: answer %+v, %v", v.Name, f, err)
			continue
		}
		why, known := framer.ParseReason(reasonIn(f))
		if !known || why.Status() != f.Code || s.end.Stats().Rejected(why) == 0 {
			t.Errorf("%s: answer %d %q, counted %d times", v.Name, f.Code, reasonIn(f), s.end.Stats().Rejected(why))
		}
		must(stream.Close())
		n++
	}
	if n < 15 || lines.Err() != nil {
		t.Errorf("%d vectors, %v", n, lines.Err())
	}
}

// TestBombs: compression bombs get 413 and leave the stream usable.
func TestBombs(t *testing.T) {
	s := attacked(t, nil)
	c := mustDial(t, s.addr, clientTLS())
	w, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20))
	must(err)
	p := w.EncodeAll(make([]byte, 64<<20), nil)
	must(w.Close())
	bomb := request(other, p)
	bomb[7] |= byte(framer.FlagComp)
	stream := c.open()
	for range 8 {
		_, err := stream.Write(bomb)
		must(err)
		refusal(t, "bomb", stream, 413, "decompress_overflow")
	}
	_, err = stream.Write(request(other, nil))
	must(err)
	if f, err := readFrame(stream); err != nil || f.Code != 200 {
		t.Errorf("after the bombs: %+v, %v", f, err)
	}
}

// TestDrip: frames that trickle in end at the frame's deadline, the stream alone.
func TestDrip(t *testing.T) {
	s := attacked(t, nil)
	c := mustDial(t, s.addr, clientTLS())
	f := request(other, make([]byte, 100_000))
	for name, whole := range map[string]int{"header": 1, "body": framer.HeaderLen, "most of it": 90_000} {
		began := time.Now()
		stream := c.open(f[:whole])
		done := make(chan struct{})
		go func() { // ends with the stream
			defer close(done)
			for _, one := range f[whole:] {
				if _, err := stream.Write([]byte{one}); err != nil {
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		}()
		refusal(t, name, stream, 400, "read_timeout")
		if d := time.Since(began); d < deadline-50*time.Millisecond || d > deadline+10*time.Second {
			t.Errorf("%s: ended after %v, the deadline is %v", name, d, deadline)
		}
		_, _ = io.Copy(io.Discard, stream)
		<-done
	}
	s.ended("read_timeout", 3)
	if code, _ := c.ask(other, nil); code != 200 {
		t.Error("the connection has ended, too")
	}
}

// TestUnreadReplies: a peer that asks for a lot and reads nothing is bounded in memory and ended by the write deadline.
func TestUnreadReplies(t *testing.T) {
	const high = 128 << 10
	s := attacked(t, func(p *plan) {
		p.reactor.HighWater, p.reactor.FrameTimeout = high, -1 // what is not read for long may end in the middle of a frame
		p.listen.StreamWindow, p.listen.MaxStreamWindow = 64<<10, 64<<10
	})
	const streams = 8 // on connections of their own, whose windows they do not share
	ended := make(chan struct{}, streams)
	f := request(other, make([]byte, 32<<10))
	for range streams {
		stream := mustDial(t, s.addr, clientTLS()).open()
		go func() { // ends with the stream
			defer func() { ended <- struct{}{} }()
			for {
				if _, err := stream.Write(f); err != nil {
					return
				}
			}
		}()
	}
	most := int64(0)
	for n := 0; n < streams; {
		most = max(most, s.r.Stats().PoolOutstandingBytes)
		select {
		case <-ended:
			n++
		case <-time.After(time.Millisecond):
		}
	}
	s.ended("write_timeout", streams)
	if limit := int64(streams * (2*high + 1<<20)); most > limit { // per stream: above the mark, a read buffer, a frame under way
		t.Errorf("%d bytes of buffers were out at once, want at most %d", most, limit)
	}
}

// TestStreamFlood: streams that are opened and given up at once, by the thousand, cost nothing that stays: whole and half requests,
// reset, stopped, and both.
func TestStreamFlood(t *testing.T) {
	s := attacked(t, func(p *plan) { p.listen.MaxStreams = 64 })
	c := mustDial(t, s.addr, clientTLS())
	whole, half := request(other, make([]byte, 3000)), request(other, make([]byte, 3000))[:1000]
	rng := rand.New(rand.NewPCG(3, 4))
	const floods = 3000
	for range floods {
		stream := c.open([][]byte{whole, half}[rng.IntN(2)])
		how := rng.IntN(3)
		if how != 0 {
			stream.CancelWrite(quicgo.StreamErrorCode(rng.IntN(30)))
		} else {
			must(stream.Close())
		}
		if how != 1 {
			stream.CancelRead(quicgo.StreamErrorCode(rng.IntN(30)))
		} else {
			go func() { _, _ = io.Copy(io.Discard, stream) }()
		}
	}
	s.eventually("all streams are gone but the honest one", func() bool { return s.r.Stats().Conns == 1 })
	st := s.lis.Stats()
	if st.Streams < floods/2 || st.Conns != 2 {
		t.Errorf("%+v", st)
	}
	if code, _ := c.ask(other, nil); code != 200 {
		t.Error("the connection does not work any more")
	}
}

// TestResetCodes: the peer's code is the reason of a stream's end, in either direction, whatever it was at; a foreign code is io.
func TestResetCodes(t *testing.T) {
	s := attacked(t, nil)
	c := mustDial(t, s.addr, clientTLS())
	half := request(other, make([]byte, 1000))[:500]
	for _, v := range []struct {
		code   quic.Code
		reason string
	}{{quic.CodeRateLimited, "rate_limited"}, {quic.CodeShuttingDown, "shutting_down"}, {4000, "io"}} {
		before := s.number(func() int { return s.ends[v.reason] })
		stream := c.open(half)
		stream.CancelWrite(quicgo.StreamErrorCode(v.code))
		s.ended(v.reason, before+1)
		stream.CancelRead(0)

		stopped := c.open(request(other, nil)) // STOP_SENDING: the next answer does not go out
		if _, err := readFrame(stopped); err != nil {
			t.Fatal(err)
		}
		stopped.CancelRead(quicgo.StreamErrorCode(v.code))
		for err := error(nil); err == nil; time.Sleep(time.Millisecond) {
			_, err = stopped.Write(request(other, make([]byte, 100)))
		}
		s.ended(v.reason, before+2)
	}
	if code, _ := c.ask(other, nil); code != 200 {
		t.Error("the connection has ended, too")
	}
}

// TestTooManyStreams: the peer opens as many streams as it is granted, and the next only when one has ended; none in one direction.
func TestTooManyStreams(t *testing.T) {
	s := attacked(t, func(p *plan) { p.listen.MaxStreams = 4 })
	c := mustDial(t, s.addr, clientTLS())
	var open []*quicgo.Stream
	for range 4 {
		stream := c.open(request(other, nil))
		if _, err := readFrame(stream); err != nil {
			t.Fatal(err)
		}
		open = append(open, stream)
	}
	var limit *quicgo.StreamLimitReachedError
	if _, err := c.OpenStream(); !errors.As(err, &limit) {
		t.Errorf("the fifth stream: %v", err)
	}
	if _, err := c.OpenUniStream(); !errors.As(err, &limit) {
		t.Errorf("a stream in one direction: %v", err)
	}
	must(open[0].Close())
	_, _ = io.Copy(io.Discard, open[0])
	if f, err := readFrame(c.open(request(other, []byte("next")))); err != nil || !bytes.Equal(f.Payload, []byte("next")) {
		t.Errorf("after one has ended: %+v, %v", f, err)
	}
}
