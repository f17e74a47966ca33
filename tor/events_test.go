package tor

import (
	"bytes"
	"log/slog"
	"regexp"
	"testing"
	"time"
)

// TestEvents freezes what the logger is told, and when: each change once.
func TestEvents(t *testing.T) {
	var out bytes.Buffer
	seen := make(chan Status)
	x := &Tor{changed: make(chan struct{}), cfg: Config{OnStatus: func(s Status) { seen <- s }, Logger: slog.New(slog.NewTextHandler(&out, nil)),
		BootstrapTimeout: time.Second}}
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
