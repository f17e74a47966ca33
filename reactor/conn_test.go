package reactor

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

func TestEcho(t *testing.T) {
	for _, size := range []int{1, 100, 16 << 10, 64 << 10, 1 << 20, 9 << 20} {
		r := start(t, Config{})
		c := dialNet(t, listen(t, r, echo))
		sent := make([]byte, size)
		for i := range sent {
			sent[i] = byte(rand.Uint32())
		}
		go func() {
			_, _ = c.Write(sent)
			_ = c.CloseWrite()
		}()
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, sent) {
			t.Fatalf("size %d: %d bytes came back, equal %v, %v", size, len(got), bytes.Equal(got, sent), err)
		}
		_ = c.Close()
		waitFor(t, "close", func() bool { return r.Stats().Conns == 0 })
	}
}

// blocks is a protocol of 4-byte length-prefixed blocks, echoed one by one in a given way.
func blocks(reply func(c *Conn, block []byte)) func(c *Conn, p []byte) (int, int, error) {
	return func(c *Conn, p []byte) (int, int, error) {
		done := 0
		for {
			rest := p[done:]
			if len(rest) < 4 {
				return done, 4, nil
			}
			n := 4 + (int(rest[0])<<16 | int(rest[1])<<8 | int(rest[2]))
			if len(rest) < n {
				return done, n, nil
			}
			reply(c, rest[:n])
			done += n
			if !c.Writable() {
				return done, 0, nil
			}
		}
	}
}

func TestBlocksInEveryWayOfWriting(t *testing.T) {
	ways := map[string]func(c *Conn, b []byte){
		"Write":        func(c *Conn, b []byte) { _ = c.Write(b) },
		"WriteInPlace": func(c *Conn, b []byte) { _ = c.WriteInPlace(b) },
		"Reserve": func(c *Conn, b []byte) {
			for len(b) > 0 {
				n := copy(c.Reserve(min(len(b), maxReserve)), b)
				b = b[n:]
			}
		},
		"WriteBuf": func(c *Conn, b []byte) {
			buf := c.RetainInput()
			off := len(buf.B) - cap(b)
			_ = c.WriteBuf(buf, off, len(b))
		},
		"mixed": func(c *Conn, b []byte) {
			_ = c.Write(b[:1])
			_ = c.WriteInPlace(b[1:3])
			_ = c.Write(b[3:4])
			_ = c.WriteInPlace(b[4:])
		},
	}
	for name, reply := range ways {
		t.Run(name, func(t *testing.T) {
			r := start(t, Config{})
			c := dialNet(t, listen(t, r, script{data: blocks(reply)}))
			rng := rand.New(rand.NewPCG(1, 2))
			checkBlocksComeBack(t, c, rng, 200, 20, 100_000)
		})
	}
}

func TestCloseDeliversEverything(t *testing.T) {
	const size = 8 << 20
	r := start(t, Config{})
	var k closes
	c := dialNet(t, listen(t, r, script{open: func(c *Conn) {
		_ = c.Write(make([]byte, size))
		c.Close(nil)
		if c.Write([]byte{1}) != ErrClosed {
			t.Error("write after Close was accepted")
		}
	}, close: k.add}))
	time.Sleep(50 * time.Millisecond) // let it run into a full socket
	n, err := io.Copy(io.Discard, c)
	if n != size || err != nil {
		t.Fatalf("%d bytes arrived, %v", n, err)
	}
	_ = c.Close()
	if err := k.one(t); err != nil {
		t.Fatalf("cause of a clean close: %v", err)
	}
}

func TestAbortResets(t *testing.T) {
	r := start(t, Config{})
	var k closes
	mine := errors.New("mine")
	c := dialNet(t, listen(t, r, script{data: func(c *Conn, p []byte) (int, int, error) {
		c.Abort(mine)
		return len(p), 0, nil
	}, close: k.add}))
	_, _ = c.Write([]byte{1})
	if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Fatalf("read after Abort: %v, want a reset", err)
	}
	if err := k.one(t); err != mine {
		t.Fatalf("cause %v", err)
	}
}

func TestProtocolErrorIsTheCauseAndItsReplyArrives(t *testing.T) {
	r := start(t, Config{})
	var k closes
	bad := errors.New("bad")
	c := dialNet(t, listen(t, r, script{data: func(c *Conn, p []byte) (int, int, error) {
		_ = c.Write([]byte("sorry"))
		return len(p), 0, bad
	}, close: k.add}))
	_, _ = c.Write(make([]byte, 300_000)) // more than is read: closing must not reset over the reply
	got, err := io.ReadAll(c)
	if string(got) != "sorry" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
	_ = c.Close()
	if err := k.one(t); err != bad {
		t.Fatalf("cause %v", err)
	}
}

func TestHalfCloseKeeps(t *testing.T) {
	r := start(t, Config{})
	c := dialNet(t, listen(t, r, script{eof: func(c *Conn) bool {
		go func() {
			time.Sleep(20 * time.Millisecond)
			_ = c.Post(func() { _ = c.Write([]byte("late")); c.Close(nil) })
		}()
		return true
	}}))
	_ = c.CloseWrite()
	got, err := io.ReadAll(c)
	if string(got) != "late" || err != nil {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestTruncation(t *testing.T) {
	r := start(t, Config{})
	var k closes
	c := dialNet(t, listen(t, r, script{data: blocks(func(*Conn, []byte) {}), close: k.add}))
	_, _ = c.Write([]byte{0, 0, 100, 0, 1, 2, 3})
	_ = c.CloseWrite()
	if err := k.one(t); err != errTruncated {
		t.Fatalf("cause %v", err)
	}
}

func TestPanicClosesOnlyItsConnection(t *testing.T) {
	r := start(t, Config{Loops: 1})
	var k closes
	lis := listen(t, r, script{data: func(c *Conn, p []byte) (int, int, error) {
		if p[0] == 'x' {
			panic("boom")
		}
		return len(p), 0, c.Write(p)
	}, close: k.add})
	good, bad := dialNet(t, lis), dialNet(t, lis)
	_, _ = bad.Write([]byte("x"))
	var p *PanicError
	if err := k.one(t); !errors.As(err, &p) || p.Value != "boom" || len(p.Stack) == 0 {
		t.Fatalf("cause %v", err)
	}
	_, _ = good.Write([]byte("ok"))
	if _, err := io.ReadFull(good, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
}

func TestPauseStopsThePeerAndResumeLosesNothing(t *testing.T) {
	r := start(t, Config{})
	var seen atomic.Int64
	conns := make(chan *Conn, 1)
	c := dialNet(t, listen(t, r, script{
		open: func(c *Conn) { conns <- c },
		data: func(c *Conn, p []byte) (int, int, error) {
			seen.Add(1)
			c.PauseRead()
			return 1, 0, nil
		}}))
	_, _ = c.Write([]byte("abc"))
	sc := <-conns
	for want := int64(1); want <= 3; want++ {
		waitFor(t, "delivery", func() bool { return seen.Load() == want })
		time.Sleep(5 * time.Millisecond)
		if got := seen.Load(); got != want {
			t.Fatalf("%d deliveries while paused, want %d", got, want)
		}
		_ = sc.Post(sc.ResumeRead)
	}
	_ = c.CloseWrite()
	waitFor(t, "close", func() bool { return r.Stats().Conns == 0 })
}

func TestBackPressureStopsReading(t *testing.T) {
	r := start(t, Config{HighWater: 64 << 10, LowWater: 16 << 10})
	c := dialNet(t, listen(t, r, script{data: func(c *Conn, p []byte) (int, int, error) {
		_ = c.Write(p)
		if q := c.Queued(); q > 64<<10+DefaultReadBuffer {
			t.Errorf("%d bytes queued above a mark of 64 KiB and one read", q)
		}
		return len(p), 0, nil
	}}))
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	sent, err := c.Write(make([]byte, 64<<20))
	var ne net.Error
	if !errors.As(err, &ne) || !ne.Timeout() {
		t.Fatalf("%d bytes went to an echo that nobody reads: %v", sent, err)
	}
	_ = c.CloseWrite()
	if n, err := io.Copy(io.Discard, c); n != int64(sent) || err != nil {
		t.Fatalf("%d of %d bytes came back, %v", n, sent, err)
	}
}

func TestOnDrainedDrivesAProducer(t *testing.T) {
	const total = 32 << 20
	r := start(t, Config{})
	left := total
	produce := func(c *Conn) {
		for c.Writable() && left > 0 {
			_ = c.Write(make([]byte, 100_000))
			left -= 100_000
		}
		if left <= 0 {
			c.Close(nil)
		}
	}
	c := dialNet(t, listen(t, r, script{open: produce, drained: produce}))
	n, err := io.Copy(io.Discard, c)
	if n < total || err != nil {
		t.Fatalf("%d bytes, %v", n, err)
	}
}

func TestHardCap(t *testing.T) {
	r := start(t, Config{HardCap: 1 << 20})
	var k closes
	c := dialNet(t, listen(t, r, script{data: func(c *Conn, p []byte) (int, int, error) {
		for c.Write(make([]byte, 64<<10)) == nil {
			if c.Queued() > 2<<20 {
				t.Error("queued more than the hard cap")
				break
			}
		}
		return len(p), 0, nil
	}, close: k.add}))
	_, _ = c.Write([]byte{1})
	if err := k.one(t); err != ErrSlowPeer {
		t.Fatalf("cause %v", err)
	}
}

func TestPostFromManyGoroutines(t *testing.T) {
	r := start(t, Config{})
	conns := make(chan *Conn, 1)
	c := dialNet(t, listen(t, r, script{open: func(c *Conn) { conns <- c }}))
	sc := <-conns
	const each, workers = 500, 8
	for range workers {
		go func() {
			for range each {
				for sc.Post(func() { _ = sc.Write([]byte{1}) }) == ErrQueueFull {
					time.Sleep(time.Millisecond)
				}
			}
		}()
	}
	if _, err := io.ReadFull(c, make([]byte, each*workers)); err != nil {
		t.Fatal(err)
	}
	if w := r.Stats().Writes; w > each*workers {
		t.Fatalf("%d writes", w)
	}
}

func TestDial(t *testing.T) {
	r := start(t, Config{})
	lis := listen(t, r, echo)
	got := make(chan string, 1)
	_, err := r.Dial("tcp", lis.Addr().String(), DialConfig{Protocol: script{
		open: func(c *Conn) { _ = c.Write([]byte("hello")) },
		data: func(c *Conn, p []byte) (int, int, error) {
			if len(p) < 5 {
				return 0, 5, nil
			}
			got <- string(p)
			c.Close(nil)
			return len(p), 0, nil
		}}.with})
	if err != nil {
		t.Fatal(err)
	}
	if s := <-got; s != "hello" {
		t.Fatal(s)
	}
	waitFor(t, "close", func() bool { return r.Stats().Conns == 0 })
}

func TestDialRefused(t *testing.T) {
	r := start(t, Config{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	var k closes
	if _, err := r.Dial("tcp", l.Addr().String(), DialConfig{Protocol: script{close: k.add}.with}); err != nil {
		t.Fatal(err)
	}
	var re interface{ Reason() string }
	if err := k.one(t); !errors.As(err, &re) || re.Reason() != ReasonIO {
		t.Fatalf("cause %v", err)
	}
}

// Two ends of ours with more queued output than their high-water marks do not wait for each other: the one that has dialled goes
// on reading, and so do the answers.
func TestBothEndsAboveTheirMarks(t *testing.T) {
	r := start(t, Config{SendBuffer: 16 << 10, RecvBuffer: 16 << 10, WriteTimeout: time.Minute})
	lis := listen(t, r, echo)
	const total = 3 << 20
	var k closes
	got := 0
	client := script{close: k.add}
	client.open = func(c *Conn) {
		if err := c.Write(make([]byte, total)); err != nil || c.Writable() {
			t.Errorf("written: %v, writable %v", err, c.Writable())
		}
	}
	client.data = func(c *Conn, p []byte) (int, int, error) {
		if got += len(p); got == total {
			c.Close(nil)
		}
		return len(p), 0, nil
	}
	if _, err := r.Dial("tcp", lis.Addr().String(), DialConfig{Protocol: client.with}); err != nil {
		t.Fatal(err)
	}
	if err := k.one(t); err != nil || got != total {
		t.Errorf("closed with %v, %d of %d bytes came back", err, got, total)
	}
}
