package tor

import (
	"bytes"
	"context"
	"log/slog"
	"regexp"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/pool/eventlog"
)

// TestEvents freezes what the logger is told, and when: each change once.
func TestEvents(t *testing.T) {
	var out bytes.Buffer
	seen := make(chan Status)
	x := &Tor{changed: make(chan struct{}), events: eventlog.New(slog.New(slog.NewTextHandler(&out, nil))),
		cfg: Config{OnStatus: func(s Status) { seen <- s }, BootstrapTimeout: time.Second}}
	change := func(f func()) {
		x.mu.Lock()
		defer x.mu.Unlock()
		f()
		x.touch()
	}
	x.tasks.Add(1)
	go x.notify()
	<-seen
	for _, f := range []func(){
		func() { x.progress, x.phase = 45, "Asking" },
		func() { x.late = true },
		func() { x.progress, x.late, x.links = 100, false, 1 },
	} {
		change(f)
		<-seen
	}
	change(func() {}) // nothing new
	change(func() { x.closed = true })
	<-seen
	x.tasks.Wait()
	if !x.events.End(t.Context()) {
		t.Fatal("not all is written")
	}
	want := `level=INFO msg="tor status" state="not ready" reason=not_ready progress=0 phase="" services=0 published=0 starts=0 links=0
level=INFO msg="tor status" state="not ready" reason=not_ready progress=45 phase=Asking services=0 published=0 starts=0 links=0
level=WARN msg="tor status" state="not ready" reason=tor_bootstrap progress=45 phase=Asking services=0 published=0 starts=0 links=0
level=WARN msg="tor status" state=degraded reason=not_ready progress=100 phase=Asking services=0 published=0 starts=0 links=1
level=INFO msg="tor status" state="not ready" reason=not_ready progress=100 phase=Asking services=0 published=0 starts=0 links=1
`
	if got := regexp.MustCompile(`time=\S+ `).ReplaceAllString(out.String(), ""); got != want {
		t.Errorf("told\n%s\nwant\n%s", got, want)
	}
}

// stuck is a logger's handler that waits until it is let go.
type stuck struct {
	slog.Handler
	let chan struct{}
}

func (s stuck) Handle(context.Context, slog.Record) error { <-s.let; return nil }

// TestStuckLogger: a logger that does not come back keeps neither OnStatus nor Close up.
func TestStuckLogger(t *testing.T) {
	noLeaks(t)
	let := make(chan struct{})
	defer close(let)
	told := make(chan Status, 64)
	f := newFakeTor(t)
	cfg := Config{Control: "unix:" + f.path}
	cfg.Logger, cfg.OnStatus = slog.New(stuck{slog.NewTextHandler(nil, nil), let}), func(s Status) { told <- s }
	x, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	timeout := time.After(time.Minute)
	for ready := false; !ready; {
		select {
		case s := <-told:
			ready = s.State == Ready
		case <-timeout:
			t.Fatal("OnStatus waits for the logger")
		}
	}
	done := make(chan error, 1)
	go func() { done <- x.Close() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-timeout:
		t.Error("Close waits for the logger")
	}
}
