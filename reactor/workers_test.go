package reactor

import (
	stdtls "crypto/tls"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/tls"
)

// burner is a filter whose steps compute for a while, and which asks for the next step at once.
type burner struct {
	Filter
	step     time.Duration
	resubmit func()
}

func (b *burner) Step() (bool, error) {
	for end := time.Now().Add(b.step); time.Now().Before(end); {
	}
	return false, nil
}

func (b *burner) Release() { b.resubmit() }

// blocker is a filter whose step waits.
type blocker struct {
	Filter
	running chan<- struct{}
	release <-chan struct{}
}

func (b *blocker) Step() (bool, error) {
	b.running <- struct{}{}
	<-b.release
	return false, nil
}

func (b *blocker) Release() {}

// Steps that wait, in a callback of the user's, do not hold up the others while there are permits; never are there more at
// once than permits.
func TestWaitingStepsGetAllPermits(t *testing.T) {
	const permits, steps = 5, 12
	r, err := New(Config{Loops: 1, HandshakeWorkers: permits})
	if err != nil {
		t.Fatal(err)
	}
	running, release := make(chan struct{}, steps), make(chan struct{})
	for range steps {
		r.workers.submit(&Conn{loop: r.loops[0], state: stateClosed, filter: &blocker{running: running, release: release}})
	}
	for range permits {
		<-running
	}
	time.Sleep(3 * stepStall)
	if n := len(running); n != 0 {
		t.Errorf("%d steps run above the %d permits", n, permits)
	}
	if n := r.Stats().StepsPeak; n != permits {
		t.Errorf("%d steps ran at once at most, want %d", n, permits)
	}
	close(release)
	for range steps - permits {
		<-running
	}
	r.workers.wait()
	r.workers.mu.Lock()
	if w := r.workers; w.running != 0 || w.ended != steps || w.head != len(w.queue) {
		t.Errorf("afterwards: %d running, %d of %d ended, %d queued", w.running, w.ended, steps, len(w.queue)-w.head)
	}
	r.workers.mu.Unlock()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// While one step waits for long, all others are made, by whoever is left.
func TestOneWaitingStepHoldsUpNobody(t *testing.T) {
	const permits, steps = 3, 200
	r, err := New(Config{Loops: 1, HandshakeWorkers: permits})
	if err != nil {
		t.Fatal(err)
	}
	held, hold := make(chan struct{}, 1), make(chan struct{})
	r.workers.submit(&Conn{loop: r.loops[0], state: stateClosed, filter: &blocker{running: held, release: hold}})
	<-held
	running, release := make(chan struct{}), make(chan struct{})
	close(release)
	for range steps {
		r.workers.submit(&Conn{loop: r.loops[0], state: stateClosed, filter: &blocker{running: running, release: release}})
	}
	for range steps {
		<-running
	}
	close(hold)
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// How long a loop that has something to do waits for a processor while handshake steps of 300 µs queue up without end.
func BenchmarkLoopBesideSteps(b *testing.B) {
	for _, n := range []int{1, 4} {
		b.Run(fmt.Sprintf("workers=%d", n), func(b *testing.B) { besideSteps(b, n) })
	}
}

func besideSteps(b *testing.B, n int) {
	r, err := New(Config{Loops: 1, HandshakeWorkers: n})
	if err != nil {
		b.Fatal(err)
	}
	l := r.loops[0]
	stop := make(chan struct{})
	for range 4 * r.cfg.HandshakeWorkers {
		c := &Conn{loop: l, state: stateClosed}
		c.filter = &burner{step: 300 * time.Microsecond, resubmit: func() {
			select {
			case <-stop:
			default:
				r.workers.submit(c)
			}
		}}
		r.workers.submit(c)
	}
	waits := make([]time.Duration, 0, b.N)
	ran := make(chan time.Duration)
	b.ResetTimer()
	for range b.N {
		at := time.Now()
		if err := l.push(task{kind: taskFunc, fn: func() { ran <- time.Since(at) }}); err != nil {
			b.Fatal(err)
		}
		waits = append(waits, <-ran)
	}
	b.StopTimer()
	close(stop)
	r.workers.wait()
	if err := r.Close(); err != nil {
		b.Fatal(err)
	}
	slices.Sort(waits)
	b.ReportMetric(float64(waits[len(waits)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(waits[len(waits)*99/100].Microseconds()), "p99-µs")
}

// A callback that ends its goroutine ends its own handshake and no other, and holds no permit.
func TestCallbackEndsItsGoroutine(t *testing.T) {
	r := start(t, Config{HandshakeWorkers: 1})
	cert, pool := certificate(t)
	var calls atomic.Int32
	srv, err := tls.NewServer(tls.Config{TLS: &stdtls.Config{GetCertificate: func(*stdtls.ClientHelloInfo) (*stdtls.Certificate, error) {
		if calls.Add(1) <= 3 {
			runtime.Goexit()
		}
		return &cert, nil
	}}})
	if err != nil {
		t.Fatal(err)
	}
	lis, err := r.Listen("tcp", "127.0.0.1:0", ListenConfig{Protocol: echo.with, Filter: func() Filter { return srv.Conn() }})
	if err != nil {
		t.Fatal(err)
	}
	cfg := &stdtls.Config{RootCAs: pool, ServerName: "127.0.0.1", NextProtos: []string{"oap/1"}}
	for range 3 {
		if err := stdtls.Client(dialNet(t, lis), cfg).Handshake(); err == nil {
			t.Fatal("a handshake without a certificate")
		}
	}
	roundTrip(t, stdtls.Client(dialNet(t, lis), cfg))
	waitFor(t, "the counter", func() bool { return r.Stats().HandshakesFailed == 3 })
}
