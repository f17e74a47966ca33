package reactor

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// A protocol that closes in OnDrained, at the end of its own input's turn, with nothing left to write, must not stay
// half closed for ever.
func TestCloseInOnDrained(t *testing.T) {
	r := start(t, Config{HighWater: 1000, LowWater: 500})
	var k closes
	c := dialNet(t, listen(t, r, script{
		data: func(c *Conn, p []byte) (int, int, error) {
			_ = c.Write(make([]byte, 1001))
			c.loop.cur = nil // as if written from elsewhere: no flush inside deliver
			c.Writable()
			c.loop.cur = c
			return len(p), 0, nil
		},
		drained: func(c *Conn) { c.Close(nil) },
		close:   k.add}))
	_, _ = c.Write([]byte{1})
	if got, err := io.ReadAll(c); err != nil || len(got) != 1001 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	_ = c.Close()
	if err := k.one(t); err != nil {
		t.Fatal(err)
	}
}

// A panic while goodbyes are said must not keep the others from closing, nor the reactor from stopping.
func TestShutdownGoesOnAfterAPanicInOnGoodbye(t *testing.T) {
	var opened atomic.Int32
	r, err := New(Config{Loops: 1, LingerTimeout: -1})
	if err != nil {
		t.Fatal(err)
	}
	lis := listen(t, r, script{
		open:    func(*Conn) { opened.Add(1) },
		goodbye: func(*Conn, error) { panic("goodbye") }})
	for range 3 {
		dialNet(t, lis)
	}
	waitFor(t, "connections", func() bool { return opened.Load() == 3 })
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(ctx) }()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("Shutdown hangs")
	}
	if n := r.Stats().Panics; n != 3 {
		t.Fatalf("%d panics", n)
	}
}

// A panic in OnOpen of a connection that Listener.Close still accepts must not keep Close waiting.
func TestListenerCloseReturnsAfterAPanic(t *testing.T) {
	r := start(t, Config{Loops: 1})
	hold, held := make(chan struct{}), make(chan struct{})
	lis := listen(t, r, script{open: func(*Conn) { panic("open") }})
	if err := r.loops[0].push(task{kind: taskFunc, fn: func() { close(held); <-hold }}); err != nil {
		t.Fatal(err)
	}
	<-held
	dialNet(t, lis)
	done := make(chan error, 1)
	go func() { done <- lis.Close() }()
	waitFor(t, "the task", func() bool { return r.loops[0].queue.waiting.Load() > 0 })
	close(hold)
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Close hangs")
	}
}

// A full task queue refuses posts, not listeners: one refused half-way would accept and could not be closed.
func TestListenWithAFullQueue(t *testing.T) {
	r := start(t, Config{Loops: 1})
	hold, held := make(chan struct{}), make(chan struct{})
	if err := r.loops[0].push(task{kind: taskFunc, fn: func() { close(held); <-hold }}); err != nil {
		t.Fatal(err)
	}
	<-held
	for r.loops[0].push(task{kind: taskFunc, fn: func() {}}) == nil {
	}
	lis, err := r.Listen("tcp", "127.0.0.1:0", ListenConfig{Protocol: echo.with})
	close(hold)
	if err != nil {
		t.Fatal(err)
	}
	if err := lis.Close(); err != nil {
		t.Fatal(err)
	}
}

// A client that dials again whenever its connection closes must not keep the reactor alive.
func TestRedialDoesNotOutliveShutdown(t *testing.T) {
	srv := start(t, Config{Loops: 1})
	lis := listen(t, srv, echo)
	r, err := New(Config{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	var opened atomic.Int32
	var s script
	dial := func() { _, _ = r.Dial("tcp", lis.Addr().String(), DialConfig{Protocol: s.with}) }
	s.open = func(*Conn) { opened.Add(1) }
	s.close = func(*Conn, error) { dial() }
	dial()
	waitFor(t, "OnOpen", func() bool { return opened.Load() == 1 })
	done := make(chan error, 1)
	go func() { done <- r.Close() }()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("Close hangs")
	}
}

// A panic in one connection's deadline leaves the deadlines of the others alone.
func TestWheelSurvivesAPanic(t *testing.T) {
	w := wheel{tick: 1}
	cs := [4]*Conn{}
	for i := range cs {
		cs[i] = &Conn{wtick: -1}
		w.file(cs[i], 1)
	}
	fired := 0
	advance := func() {
		defer func() { _ = recover() }()
		w.advance(int64(time.Second), expiriesPerTurn, func(*Conn) { fired++; panic("fire") })
	}
	for range 2 * len(cs) {
		advance()
	}
	if fired != len(cs) {
		t.Fatalf("%d of %d fired", fired, len(cs))
	}
}

// Callbacks that misbehave outside of the usual ones cost their connection, not the process.
func TestPanicsInFilterAndBadCounts(t *testing.T) {
	r := start(t, Config{})
	var failed atomic.Int32
	lis, err := r.Listen("tcp", "127.0.0.1:0", ListenConfig{Protocol: echo.with, Filter: func() Filter { panic("filter") },
		OnError: func(_ net.Addr, err error) {
			var p *PanicError
			if errors.As(err, &p) {
				failed.Add(1)
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	if peer, err := net.Dial("tcp", lis.Addr().String()); err == nil { // the reset may be faster than connect
		defer peer.Close()
	}
	waitFor(t, "OnError", func() bool { return failed.Load() == 1 })
	var k closes
	c := dialNet(t, listen(t, r, script{data: func(_ *Conn, p []byte) (int, int, error) { return len(p) + 1, 0, nil }, close: k.add}))
	_, _ = c.Write([]byte{1})
	var p *PanicError
	if err := k.one(t); !errors.As(err, &p) {
		t.Fatalf("cause %v", err)
	}
}

// A close that loses output is not clean.
func TestResetWhileDrainingIsACause(t *testing.T) {
	r := start(t, Config{})
	var k closes
	c := dialNet(t, listen(t, r, script{open: func(c *Conn) { _ = c.Write(make([]byte, 8<<20)); c.Close(nil) }, close: k.add}))
	_, _ = io.ReadFull(c, make([]byte, 1))
	_ = c.SetLinger(0)
	_ = c.Close()
	if err := k.one(t); !isIO(err) {
		t.Fatalf("cause %v", err)
	}
}

// A peer that writes before it reads is read, and dropped, while output drains.
func TestCloseReadsWhileOutputIsBlocked(t *testing.T) {
	l, c := still(t, &feed{}, Config{}, nil, echo.with)
	c.blocked, c.state = true, stateOpen
	_ = c.Write([]byte{1})
	l.flushDirty()
	c.Close(nil)
	if !c.queued {
		t.Fatal("input is not looked at")
	}
	c.state = stateClosed
	l.drop(&c.out, c.out.bytes)
}

// A range outside of the buffer is the caller's panic, and costs its connection only.
func TestWriteBufOutOfRange(t *testing.T) {
	r := start(t, Config{})
	var k closes
	c := dialNet(t, listen(t, r, script{data: func(c *Conn, p []byte) (int, int, error) {
		b := c.loop.pool.Get(512)
		defer func() {
			if v := recover(); v != nil {
				b.Release()
				panic(v)
			}
		}()
		return len(p), 0, c.WriteBuf(b, len(b.B), 1)
	}, close: k.add}))
	_, _ = c.Write([]byte{1})
	var p *PanicError
	if err := k.one(t); !errors.As(err, &p) {
		t.Fatalf("cause %v", err)
	}
}
