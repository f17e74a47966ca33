package reactor

import (
	"context"
	"testing"
	"time"
)

// A connection that was dialled on its own loop may be closed before the loop has begun to connect it: nothing of another
// connection is touched, and it is told once.
func TestCloseBeforeConnect(t *testing.T) {
	for _, way := range []struct {
		name string
		end  func(*Conn)
	}{
		{"Close", func(c *Conn) { c.Close(nil) }},
		{"Abort", func(c *Conn) { c.Abort(nil) }},
	} {
		r := start(t, Config{Loops: 1})
		var k, outer closes
		result := make(chan error, 1)
		s := echo
		s.close = outer.add
		s.open = func(c *Conn) {
			up, err := r.Dial("tcp", c.LocalAddr().String(), DialConfig{Protocol: script{close: k.add}.with, Near: c})
			if err == nil {
				way.end(up)
			}
			result <- err
		}
		lis := listen(t, r, s)
		c := dialNet(t, lis)
		if err := <-result; err != nil {
			t.Fatal(err)
		}
		_ = k.one(t)
		roundTrip(t, c)
		waitFor(t, way.name, func() bool { return r.Stats().Closed == 1 && r.Stats().Conns == 1 })
		_ = c.Close()
		_ = outer.one(t)
		waitFor(t, "the end", func() bool { return r.Stats().Conns == 0 })
		if got := k.all(); len(got) != 1 || r.loops[0].load.Load() != 0 {
			t.Errorf("%s: OnClose %d times, load %d", way.name, len(got), r.loops[0].load.Load())
		}
	}
}

// What was posted runs, and what was dialled is told of its end, also when the loop ends with more in its queue than one
// turn performs.
func TestTasksLeftWhenTheLoopEnds(t *testing.T) {
	r := start(t, Config{Loops: 1})
	var c *Conn
	opened := make(chan struct{})
	lis := listen(t, r, script{open: func(o *Conn) { c = o; close(opened) }})
	dialNet(t, lis)
	<-opened
	release := make(chan struct{})
	if err := c.Post(func() { <-release }); err != nil {
		t.Fatal(err)
	}
	const posts = 3 * tasksPerTurn
	ran := 0
	l := r.loops[0]
	_ = l.push(task{kind: taskDrain})
	_ = l.push(task{kind: taskAbort})
	for range posts {
		if err := c.Post(func() { ran++ }); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	<-l.done
	if ran != posts {
		t.Errorf("%d of %d posted functions ran", ran, posts)
	}
}

// panicking is a protocol whose OnShutdown panics.
type panicking struct{ script }

func (*panicking) OnShutdown() bool { panic("for the test") }

// A panic in one connection's OnShutdown does not take the grace from the others.
func TestPanicInOnShutdown(t *testing.T) {
	r := start(t, Config{Loops: 1, ShutdownGrace: time.Hour})
	n := 0
	lis, err := r.Listen("tcp", "127.0.0.1:0", ListenConfig{Protocol: func(c *Conn) Protocol {
		if n++; n == 2 {
			return &panicking{}
		}
		return stay(echo)(c)
	}})
	if err != nil {
		t.Fatal(err)
	}
	first := dialNet(t, lis)
	waitFor(t, "the first", func() bool { return r.Stats().Opened == 1 })
	_ = dialNet(t, lis)
	waitFor(t, "the second", func() bool { return r.Stats().Opened == 2 })
	last := dialNet(t, lis)
	waitFor(t, "the last", func() bool { return r.Stats().Opened == 3 })
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(context.Background()) }()
	read(t, first, "bye")
	read(t, last, "bye")
	roundTrip(t, first)
	roundTrip(t, last)
	_, _ = first.Close(), last.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
