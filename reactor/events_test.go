package reactor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"net"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// logBook is a logger's output.
type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBook) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// lines is their number.
func (b *logBook) lines() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Count(b.buf.Bytes(), []byte("\n"))
}

// shapes are the lines as level, message and fields.
func (b *logBook) shapes(t *testing.T) (all []string) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, line := range strings.Split(strings.TrimSpace(b.buf.String()), "\n") {
		m := map[string]any{}
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		head := m["level"].(string) + " " + m["msg"].(string)
		delete(m, "level")
		delete(m, "msg")
		delete(m, "time")
		all = append(all, head+": "+strings.Join(slices.Sorted(maps.Keys(m)), " "))
	}
	slices.Sort(all)
	return all
}

// frozenEvents are all events with their fields, sorted. Who searches logs for them depends on them.
var frozenEvents = []string{
	"ERROR panic in a callback: missed panic stack",
	"INFO listener closed: addr name",
	"INFO listening: addr name",
	"INFO shutdown began: conns",
	"INFO shutdown ended: aborted took",
	"WARN accept failed: addr error missed pause",
	"WARN connection refused: missed reason",
}

// TestEvents brings each event about, those of peers several times, and finds each told once.
func TestEvents(t *testing.T) {
	book := &logBook{}
	r, err := New(Config{Loops: 1, MaxConns: 1, Logger: slog.New(slog.NewJSONHandler(book, nil))})
	if err != nil {
		t.Fatal(err)
	}
	r.events.pause = time.Hour // however slow the machine, each kind has one line
	lis, err := r.Listen("tcp", "127.0.0.1:0", ListenConfig{Protocol: echo.with})
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	for range 4 { // one is served, three are refused
		c, err := net.Dial("tcp", lis.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	waitFor(t, "the refusals", func() bool { return r.Stats().Refused == 3 })
	for range 3 {
		if err := r.Post(0, func() { panic("in a test") }); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(t, "the panics", func() bool { return r.Stats().Panics == 3 })
	for range 2 {
		if err := r.Post(0, func() { r.loops[0].tellAccept(r.loops[0].listeners[0], unix.EMFILE) }); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	for _, c := range conns {
		_ = c.Close()
	}
	waitFor(t, "the last line", func() bool { return book.lines() == len(frozenEvents) })
	if got := book.shapes(t); !slices.Equal(got, frozenEvents) {
		t.Errorf("told %q, want %q", got, frozenEvents)
	}
	if out := book.buf.String(); strings.Contains(out, conns[0].LocalAddr().String()) {
		t.Errorf("a peer is named: %s", out)
	}
	for ev := range numEvents {
		if !strings.Contains(strings.Join(frozenEvents, "\n"), ev.told().level.String()+" "+ev.told().msg+":") {
			t.Errorf("event %d, %q, is not frozen", ev, ev.told().msg)
		}
	}
	r.tell(eventListening) // too late: not told
	if n := len(book.shapes(t)); n != len(frozenEvents) {
		t.Errorf("%d lines after the end", n)
	}
}

// TestMissedEventsAreCounted: what the pause keeps from being told is in the next line.
func TestMissedEventsAreCounted(t *testing.T) {
	book := &logBook{}
	e := newEvents(slog.New(slog.NewJSONHandler(book, nil)))
	for i := range 5 {
		e.tell(int64(eventPause)+int64(i), eventRefused)
	}
	e.tell(3*int64(eventPause), eventRefused)
	if !e.out.End(t.Context()) {
		t.Fatal("not all is written")
	}
	if out := book.buf.String(); strings.Count(out, "\n") != 2 || !strings.Contains(out, `"missed":0`) || !strings.Contains(out, `"missed":4`) {
		t.Error(out)
	}
}

// TestEventsInOrder: lines come in the order of what they tell, each time.
func TestEventsInOrder(t *testing.T) {
	for range 100 {
		book := &logBook{}
		r, err := New(Config{Loops: 1, Logger: slog.New(slog.NewTextHandler(book, nil))})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Listen("tcp", "127.0.0.1:0", ListenConfig{Protocol: echo.with}); err != nil {
			t.Fatal(err)
		}
		if err := r.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, m := range regexp.MustCompile(`msg="?(listening|[a-z]+ [a-z]+)`).FindAllStringSubmatch(book.buf.String(), -1) {
			got = append(got, m[1])
		}
		if want := []string{"listening", "shutdown began", "listener closed", "shutdown ended"}; !slices.Equal(got, want) {
			t.Fatalf("told %q, want %q", got, want)
		}
	}
}

// stuck is a logger's handler that waits until it is let go.
type stuck struct {
	slog.Handler
	let chan struct{}
}

func (s stuck) Handle(context.Context, slog.Record) error { <-s.let; return nil }

// TestStuckLogger: a logger that does not come back keeps nothing up, a Shutdown no longer than its context, and costs one goroutine.
func TestStuckLogger(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	let := make(chan struct{})
	r, err := New(Config{Loops: 1, Logger: slog.New(stuck{slog.NewTextHandler(nil, nil), let})})
	if err != nil {
		t.Fatal(err)
	}
	r.events.pause = 1 // a flood
	for range 2000 {
		r.tellRefusal(ErrOverCapacity)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.Shutdown(ctx) }()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, context.DeadlineExceeded) { // there are no connections, but the machine may be slow
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("Shutdown waits for the logger")
	}
	if n := strings.Count(stacks(), "eventlog.(*Writer).write"); n != 1 {
		t.Errorf("%d goroutines write", n)
	}
	close(let)
	if !r.events.out.End(t.Context()) {
		t.Error("not all is written")
	}
	goleak.VerifyNone(t, ignore)
}

// stacks are those of all goroutines.
func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}
