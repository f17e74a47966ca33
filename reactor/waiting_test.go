package reactor

import (
	"testing"

	"golang.org/x/sys/unix"
)

// single is a filter that changes nothing and opens one byte at a time.
type single struct{ Filter }

func (single) NextRecord([]byte) int { return 1 }
func (single) Release()              {}
func (single) Open(dst, src []byte) ([]byte, int, error) {
	return append(dst, src[0]), 1, nil
}

// Records that were read but not opened when the protocol paused are delivered when it resumes, without another event.
func TestResumeDeliversUnopenedRecords(t *testing.T) {
	k := &feed{next: func() []byte { return []byte{1, 2, 3} }}
	var got []byte
	l, c := still(t, k, Config{}, single{}, script{data: func(c *Conn, p []byte) (int, int, error) {
		got = append(got, p...)
		c.PauseRead()
		return len(p), 0, nil
	}}.with)
	c.readable = true
	l.input(c)
	for range 4 {
		c.ResumeRead()
		l.runReady()
	}
	if string(got) != "\x01\x02\x03" {
		t.Fatalf("delivered % x", got)
	}
}

// Input that somebody retained is not changed by Seal, also when a partial frame has moved to another buffer since.
func TestRetainedInputStaysImmutableWhenTheRestMoves(t *testing.T) {
	l, c := still(t, &feed{}, Config{}, nil, echo.with)
	l.begin(c)
	l.work.end = len(l.work.buf.B) - 1
	if err := c.WriteInPlace(l.work.buf.B[:100]); err != nil {
		t.Fatal(err)
	}
	held := c.RetainInput()
	l.work.start = l.work.end - 100
	l.room(c, recordRoom)
	if l.mutable(c, c.out.head) {
		t.Error("the queued segment may be changed while its buffer is retained")
	}
	held.Release()
	l.drop(&c.out, c.out.bytes)
	l.finish(c)
	if c.pinned {
		t.Error("pinned for ever")
	}
}

// Small replies in place, one a turn, to a peer that takes nothing do not each hold on to a read buffer.
func TestBlockedRepliesInPlaceDoNotPinBuffers(t *testing.T) {
	l, c := still(t, &feed{next: func() []byte { return []byte("0123456789") }}, Config{}, nil, echo.with)
	c.blocked = true
	for range 100 {
		c.readable = true
		l.input(c)
	}
	if c.Queued() != 1000 {
		t.Fatalf("%d bytes queued", c.Queued())
	}
	if n := l.pool.Stats().OutstandingBytes; n > 1<<20 {
		t.Errorf("%d bytes of buffers for 1000 bytes of output", n)
	}
}

// interrupted answers the first write with EINTR.
type interrupted struct {
	*feed
	calls int
}

func (k *interrupted) write(fd int, p []byte) (int, unix.Errno) {
	if k.calls++; k.calls == 1 {
		return -1, unix.EINTR
	}
	return k.feed.write(fd, p)
}

// A write that a signal interrupted is made again, without an event.
func TestInterruptedWriteIsRepeated(t *testing.T) {
	k := &interrupted{feed: &feed{}}
	l, c := still(t, k.feed, Config{}, single{}, echo.with)
	l.r.sys = k
	l.send(c, []byte{1, 2, 3})
	for range 3 {
		l.flushDirty()
	}
	if k.bytes != 3 || c.Queued() != 0 {
		t.Fatalf("%d bytes written, %d queued", k.bytes, c.Queued())
	}
}

// A partial frame that was left while the protocol had paused has its deadline again when reading goes on.
func TestResumeArmsTheFrameDeadline(t *testing.T) {
	k := &feed{next: func() []byte { return []byte{1, 2, 3} }}
	l, c := still(t, k, Config{}, nil, script{data: func(c *Conn, p []byte) (int, int, error) {
		c.PauseRead()
		return 1, 100, nil
	}}.with)
	c.readable = true
	l.input(c)
	if c.readAt != 0 {
		t.Fatal("a deadline while paused")
	}
	c.ResumeRead()
	l.runReady()
	if c.readAt == 0 {
		t.Fatal("no deadline after ResumeRead")
	}
}

// narrow is a feed whose socket takes only so many bytes.
type narrow struct {
	feed
	room int
}

func (k *narrow) write(_ int, p []byte) (int, unix.Errno) {
	n := min(k.room, len(p))
	k.room -= n
	if n == 0 {
		return -1, unix.EAGAIN
	}
	return n, 0
}

// A protocol that takes nothing until OnDrained gets its input again then, also when the output is below the high mark
// already while it waits (found by the simulation).
func TestInputWaitsForDrainedBetweenTheMarks(t *testing.T) {
	k := &narrow{room: 100}
	k.next = func() []byte { return []byte("12") }
	waiting, taken := false, 0
	l, c := still(t, &k.feed, Config{HighWater: 100, LowWater: 10}, nil, script{
		data: func(c *Conn, p []byte) (int, int, error) {
			if waiting {
				return 0, 0, nil
			}
			taken++
			_ = c.Write(make([]byte, 150))
			waiting = !c.Writable()
			return 1, 0, nil
		},
		drained: func(*Conn) { waiting = false },
	}.with)
	l.r.sys = k
	c.readable = true
	l.input(c)
	if !waiting || taken != 1 || c.Queued() != 50 {
		t.Fatalf("waiting %v, %d taken, %d queued: not the case to be tested", waiting, taken, c.Queued())
	}
	k.next = func() []byte { t.Error("read while the protocol waits"); return nil }
	c.readable = false
	k.room, c.blocked = 1000, false
	l.flush(c)
	l.runReady()
	if taken != 2 {
		t.Fatalf("%d of 2 bytes taken", taken)
	}
}

// The deadline of a frame does not run while it is our output that keeps the rest from being read (found by the
// simulation).
func TestFrameDeadlineStandsStillAboveTheHighMark(t *testing.T) {
	k := &narrow{}
	k.next = func() []byte { return []byte("1") }
	l, c := still(t, &k.feed, Config{HighWater: 100, LowWater: 10}, nil, script{
		data: func(*Conn, []byte) (int, int, error) { return 0, 2, nil },
	}.with)
	l.r.sys = k
	c.readable = true
	l.input(c)
	if c.readAt == 0 {
		t.Fatal("half a frame has no deadline")
	}
	c.readable = false
	if err := c.Write(make([]byte, 200)); err != nil {
		t.Fatal(err)
	}
	l.flushDirty()
	if !c.over || c.readAt != 0 {
		t.Fatalf("over %v, deadline %d", c.over, c.readAt)
	}
	k.room, c.blocked = 1000, false
	l.flush(c)
	l.runReady()
	if c.readAt == 0 {
		t.Fatal("half a frame has no deadline after the output has drained")
	}
	c.PauseRead()
	if c.readAt != 0 {
		t.Fatal("half a frame has a deadline while the protocol has paused")
	}
	c.ResumeRead()
	l.runReady()
	c.more().pipe = &Conn{loop: l}
	l.setPiped(c, c.ext.pipe, pipePause)
	if c.readAt != 0 {
		t.Fatal("half a frame has a deadline while the partner of a pipe has paused")
	}
}

// copying is a filter that changes nothing.
type copying struct{ Filter }

func (copying) Release()                                     {}
func (copying) Seal(dst, src []byte, _ bool) ([]byte, error) { return append(dst, src...), nil }
func (copying) Finish(dst []byte, _ error) []byte            { return append(dst, '.') }

// broken is a feed whose socket is broken.
type broken struct{ feed }

func (broken) write(int, []byte) (int, unix.Errno) { return -1, unix.ECONNRESET }

// A close whose last output could not be written is not clean, also when the output was sealed and is in no queue any
// more (found by the simulation).
func TestLostSealedOutputIsNoCleanClose(t *testing.T) {
	k := &broken{}
	l, c := still(t, &k.feed, Config{}, copying{}, script{}.with)
	l.r.sys = k
	if err := c.Write([]byte("lost")); err != nil {
		t.Fatal(err)
	}
	c.Close(nil)
	l.flushDirty()
	if c.state != stateClosed || c.cause == nil {
		t.Fatalf("state %d, cause %v", c.state, c.cause)
	}
}
