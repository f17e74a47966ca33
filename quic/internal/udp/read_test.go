package udp

import (
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// plain makes a message that is one datagram of n bytes.
func plain(n int) fakeMessage {
	return fakeMessage{port: 0x100, data: make([]byte, n)}
}

func pushPlain(k *fakeKernel, messages, bytes int) {
	for range messages {
		k.push(plain(bytes))
	}
}

// TestBackPressure: without a reader the loop stops when all slabs are full, and leaves the rest in the kernel; the reader
// wakes it as soon as a slab is free, and then everything arrives.
func TestBackPressure(t *testing.T) {
	s, k := faked(t, Options{})
	wakes := 0
	s.SetWake(func() { wakes++ })
	pushPlain(k, 5*maxSlabs, 100)
	for s.OnReady(true, false) {
	}
	if s.depot.total != maxSlabs || s.depot.queue.n != maxSlabs || k.left() != 4*maxSlabs {
		t.Fatalf("%d slabs, %d queued, %d messages in the kernel", s.depot.total, s.depot.queue.n, k.left())
	}
	if s.OnReady(false, false) || k.left() != 4*maxSlabs {
		t.Error("the loop goes on without a slab")
	}
	ms, got := messages(8), 0
	for got < 5*maxSlabs {
		before := wakes
		n, err := s.ReadBatch(ms, 0)
		if err != nil {
			t.Fatal(err)
		}
		got += n
		if wakes > before {
			for s.OnReady(false, false) {
			}
		}
	}
	if k.left() != 0 || wakes == 0 || wakes > 5*maxSlabs/takeSlabs {
		t.Errorf("%d messages left in the kernel, %d wakes", k.left(), wakes)
	}
}

// TestReadBudget: one call of OnReady reads what the budget allows, and asks to be called again.
func TestReadBudget(t *testing.T) {
	s, k := faked(t, Options{})
	s.loop.want = maxVector
	pushPlain(k, maxSlabs, 40<<10)
	if again := s.OnReady(true, false); !again || maxSlabs-k.left() != maxVector {
		t.Errorf("again %v after %d large messages", again, maxSlabs-k.left())
	}
	s, k = faked(t, Options{})
	pushPlain(k, maxSlabs, 10)
	calls := k.calls
	if again := s.OnReady(true, false); !again || k.calls-calls != readCalls {
		t.Errorf("again %v after %d calls", again, k.calls-calls)
	}
	for s.OnReady(false, false) {
	}
	if k.left() != 0 {
		t.Errorf("%d messages left although the loop was not asked to come again", k.left())
	}
	calls = k.calls
	if s.OnReady(false, false) || k.calls != calls {
		t.Error("a drained socket is read without an event")
	}
}

// TestReadErrors: errors of earlier datagrams do not end a socket, one that does not end does, and its own do at once.
func TestReadErrors(t *testing.T) {
	for errno, times := range map[unix.Errno]int{unix.EBADF: 1, unix.EINVAL: 1, unix.ECONNREFUSED: maxReadErrors, unix.ENOMEM: maxReadErrors} {
		s, k := faked(t, Options{})
		for range times - 1 {
			k.push(errno)
		}
		if times > 1 {
			k.push(plain(5))
		}
		k.edge = func() {}
		for s.OnReady(true, false) {
		}
		if times > 1 {
			if n, err := s.ReadBatch(messages(8), 0); n != 1 || err != nil {
				t.Fatalf("%v: %d, %v", errno, n, err)
			}
		}
		for range times {
			k.push(errno)
		}
		for s.OnReady(true, false) {
		}
		n, err := s.ReadBatch(messages(8), 0)
		var se *os.SyscallError
		if n != 0 || !errors.As(err, &se) || se.Syscall != "recvmmsg" || se.Err != errno {
			t.Errorf("%v: ended with %d, %v", errno, n, err)
		}
		if ne, ok := err.(net.Error); ok && ne.Timeout() { // Temporary is what quic-go must not see
			t.Errorf("%v: the end is a timeout", errno)
		}
		if s.depot.total != 0 {
			t.Errorf("%v: %d slabs kept", errno, s.depot.total)
		}
	}
}

// TestReadDeadline: a deadline in the past and one that comes unblock ReadBatch with an error that is not temporary, and
// without one it waits again.
func TestReadDeadline(t *testing.T) {
	checkLeaks(t)
	s := mustOpen(t, loopback, Options{})[0]
	defer watch(t, s).close()
	check := func() {
		t.Helper()
		n, err := s.ReadBatch(messages(8), 0)
		ne, ok := err.(net.Error)
		if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !ok || !ne.Timeout() || ne.Temporary() { //nolint:staticcheck // quic-go asks
			t.Fatalf("got %d, %v", n, err)
		}
	}
	blocked := make(chan error)
	go func() {
		_, err := s.ReadBatch(messages(8), 0)
		blocked <- err
	}()
	time.Sleep(5 * time.Millisecond)
	if err := s.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := <-blocked; !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	check()
	_ = s.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	check()
	_ = s.SetReadDeadline(time.Now().Add(time.Hour))
	_ = s.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // the same timer again
	check()
	_ = s.SetDeadline(time.Time{})
	if _, err := s.WriteTo([]byte("self"), s.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	if n, from, err := s.ReadFrom(make([]byte, 10)); n != 4 || err != nil || from.String() != s.local.String() {
		t.Fatal(n, from, err)
	}
}

// TestClose: Close unblocks ReadBatch, ends all later calls, and may come from several goroutines.
func TestClose(t *testing.T) {
	checkLeaks(t)
	s := mustOpen(t, loopback, Options{})[0]
	p := watch(t, s)
	blocked := make(chan error)
	go func() {
		_, err := s.ReadBatch(messages(8), 0)
		blocked <- err
	}()
	time.Sleep(5 * time.Millisecond)
	closed := make(chan error)
	for range 4 {
		go func() { closed <- s.Close() }()
	}
	succeeded := 0
	for range 4 {
		switch err := <-closed; err {
		case nil:
			succeeded++
		case net.ErrClosed:
		default:
			t.Error(err)
		}
	}
	if succeeded != 1 {
		t.Errorf("Close succeeded %d times", succeeded)
	}
	if err := <-blocked; err != net.ErrClosed {
		t.Error(err)
	}
	p.close()
	if _, err := s.ReadBatch(messages(8), 0); err != net.ErrClosed {
		t.Error(err)
	}
	if _, err := s.WriteTo([]byte("x"), s.LocalAddr()); err != net.ErrClosed {
		t.Error(err)
	}
	rc, _ := s.SyscallConn()
	for what, err := range map[string]error{"SetDeadline": s.SetDeadline(time.Now()), "Control": rc.Control(func(uintptr) { t.Error("called") })} {
		if err != net.ErrClosed {
			t.Errorf("%s: %v", what, err)
		}
	}
	if s.Stats().Overflows != 0 {
		t.Error("overflows of a closed socket")
	}
}

// TestTrim: slabs that a burst has needed go when they are no longer needed, but not those in use.
func TestTrim(t *testing.T) {
	s, k := faked(t, Options{})
	pushPlain(k, maxSlabs, 100)
	for s.OnReady(true, false) {
	}
	d := &s.depot
	d.trim()
	if d.total != maxSlabs {
		t.Fatalf("%d slabs left of %d in use", d.total, maxSlabs)
	}
	ms := messages(8)
	for got := 0; got < maxSlabs; {
		n, err := s.ReadBatch(ms, 0)
		if err != nil {
			t.Fatal(err)
		}
		got += n
	}
	_ = s.SetReadDeadline(time.Now())
	_, _ = s.ReadBatch(ms, 0) // returns the last slabs
	d.trim()
	if d.total != maxSlabs {
		t.Errorf("%d slabs left just after a burst", d.total)
	}
	d.trim()
	if d.total != keepSlabs || d.free.n != keepSlabs {
		t.Errorf("%d slabs left, %d free", d.total, d.free.n)
	}
}

// TestTrimRuns: the same by the clock.
func TestTrimRuns(t *testing.T) {
	checkLeaks(t)
	s := mustOpen(t, loopback, Options{})[0]
	p := watch(t, s)
	for range maxSlabs {
		if _, err := s.WriteTo([]byte("x"), s.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	for range maxSlabs {
		if _, _, err := s.ReadFrom(make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
	}
	_ = s.SetReadDeadline(time.Now())
	_, _, _ = s.ReadFrom(make([]byte, 10))
	waitFor(t, "the slabs to go", func() bool {
		s.depot.mu.Lock()
		defer s.depot.mu.Unlock()
		return s.depot.total <= keepSlabs
	})
	p.close()
}
