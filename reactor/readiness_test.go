package reactor

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ron-transport/ron-transport/pool/readiness"
)

// expect compares a status with a state and the words of its reasons, in order.
func expect(t *testing.T, what string, s readiness.Status, want readiness.State, whys ...string) {
	t.Helper()
	var got []string
	for _, r := range s.Reasons {
		got = append(got, r.Why)
		if r.Detail == "" {
			t.Errorf("%s: %s without a detail", what, r.Why)
		}
	}
	if s.State != want || strings.Join(got, " ") != strings.Join(whys, " ") {
		t.Errorf("%s: %v %v, want %v %v", what, s.State, got, want, whys)
	}
}

func TestReadinessAtTheConnectionLimit(t *testing.T) {
	r := start(t, Config{MaxConns: 2})
	lis := listen(t, r, echo)
	expect(t, "at first", lis.Readiness(), readiness.Ready)
	for i, want := range []readiness.State{readiness.Ready, readiness.Degraded} {
		roundTrip(t, dialNet(t, lis))
		if got := lis.Readiness().State; got != want {
			t.Errorf("with %d connections: %v, want %v", i+1, got, want)
		}
	}
	expect(t, "at the limit", r.Readiness(), readiness.Degraded, ReasonOverCapacity)
	if err := r.SetMaxConns(3); err != nil {
		t.Fatal(err)
	}
	expect(t, "with a higher limit", r.Readiness(), readiness.Ready)
	roundTrip(t, dialNet(t, lis))
	expect(t, "at the higher limit", r.Readiness(), readiness.Degraded, ReasonOverCapacity)
	if err := r.SetMaxConns(-1); err != nil {
		t.Fatal(err)
	}
	expect(t, "without a limit", r.Readiness(), readiness.Ready)
	if err := r.SetMaxConns(0); err != nil || r.maxConns.Load() != int64(defaultMaxConns()) {
		t.Errorf("the default: %d, %v", r.maxConns.Load(), err)
	}
	for _, n := range []int{maxPeerLimit + 1, 1 << 40} {
		if err := r.SetMaxConns(n); err == nil || !strings.Contains(err.Error(), "MaxConns") || !strings.Contains(err.Error(), "1 to 1000000") {
			t.Errorf("SetMaxConns(%d): %v", n, err)
		}
	}
}

func TestReadinessOfAPausedListener(t *testing.T) {
	var accepts atomic.Int64
	many := make([]unix.Errno, 40)
	for i := range many {
		many[i] = unix.ENFILE
	}
	r := startOn(t, Config{}, countingKernel{linux: linux{base: time.Now()}, accepts: &accepts, fail: many})
	lis := listen(t, r, echo)
	c := dialNet(t, lis)
	waitFor(t, "the pause", func() bool { return lis.Readiness().State == readiness.Degraded })
	roundTrip(t, c) // when the kernel has given in
	waitFor(t, "the end of the pause", func() bool { return lis.Readiness().State == readiness.Ready })
}

func TestReadinessOfTheEnd(t *testing.T) {
	r := start(t, Config{})
	one, two, three := listen(t, r, echo), listen(t, r, echo), listen(t, r, echo)
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	expect(t, "closed", one.Readiness(), readiness.NotReady, ReasonShuttingDown)
	two.left.Store(true)
	expect(t, "handed over", two.Readiness(), readiness.NotReady, ReasonShuttingDown)
	expect(t, "the reactor", r.Readiness(), readiness.Ready)
	c := dialNet(t, three)
	roundTrip(t, c)
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(context.Background()) }()
	waitFor(t, "draining", func() bool { return three.Readiness().State == readiness.NotReady })
	expect(t, "draining", r.Readiness(), readiness.NotReady, ReasonShuttingDown)
	_ = c.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestReadinessOfTheBudget(t *testing.T) {
	r := start(t, Config{Loops: 1, BufferBudget: 1 << 20})
	expect(t, "at first", r.Readiness(), readiness.Ready)
	taken, held := make(chan struct{}), make(chan struct{})
	if err := r.Post(0, func() {
		b := r.loops[0].pool.Get(2 << 20)
		close(taken)
		<-held
		b.Release()
	}); err != nil {
		t.Fatal(err)
	}
	<-taken
	expect(t, "above", r.Readiness(), readiness.Degraded, ReasonOverCapacity)
	close(held)
	waitFor(t, "the buffer's return", func() bool { return r.Readiness().State == readiness.Ready })
}
