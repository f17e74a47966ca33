package tor

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tor/torlab"
)

// lab is the private network that all tests share. It is started when the first one needs it.
var lab struct {
	once sync.Once
	n    *torlab.Network
	err  error
}

// labRelays is the number of relays: with the authority two more nodes than onion services need, so that one can be missing.
const labRelays = 5

// TestMain runs the tests in a network namespace of their own where it may.
func TestMain(m *testing.M) {
	code, done, err := torlab.Isolate(context.Background(), torlab.Command{})
	if err != nil {
		fmt.Println("not isolated:", err)
	}
	if !done {
		if code = m.Run(); lab.n != nil {
			if code != 0 {
				lab.n.KeepLogs()
				fmt.Println("logs of the private Tor network are in", lab.n.Dir())
			}
			if err := lab.n.Close(); err != nil {
				fmt.Println(err)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// network is the shared private network; the test is skipped where tor is not installed.
func network(t testing.TB) *torlab.Network {
	t.Helper()
	if err := torlab.Available(); err != nil {
		t.Skip(err)
	}
	lab.once.Do(func() { lab.n, lab.err = torlab.Start(context.Background(), torlab.Config{Relays: labRelays}) })
	if lab.err != nil {
		t.Fatal(lab.err)
	}
	return lab.n
}

// patient is a context for what a busy machine may take long for.
func patient(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// noLeaks checks that no goroutine and no descriptor is left when what the test cleans up after this call is cleaned up.
func noLeaks(t testing.TB) {
	t.Helper()
	if p, q, err := os.Pipe(); err == nil { // the runtime's own poller keeps two descriptors from its first use on
		_, _ = p.Close(), q.Close()
	}
	goroutines, fds := runtime.NumGoroutine(), countFDs(t)
	t.Cleanup(func() {
		for end := time.Now().Add(30 * time.Second); runtime.NumGoroutine() > goroutines || countFDs(t) > fds; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				buf := make([]byte, 1<<20)
				t.Fatalf("%d goroutines and %d descriptors, %d and %d before:\n%s", runtime.NumGoroutine(), countFDs(t), goroutines, fds,
					buf[:runtime.Stack(buf, true)])
			}
		}
	})
}

func countFDs(t testing.TB) int {
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// loops makes a reactor that is shut down, and checked for leaked buffers, when the test ends.
func loops(t testing.TB) *reactor.Reactor {
	t.Helper()
	r, err := reactor.New(reactor.Config{Loops: 2, Poison: true, LingerTimeout: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = r.Close()
		for _, l := range r.Leaks() {
			t.Error(l)
		}
	})
	return r
}
