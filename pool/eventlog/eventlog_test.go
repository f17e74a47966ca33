package eventlog

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// book is a handler that keeps what it is given, once its gate is open.
type book struct {
	slog.Handler
	gate chan struct{} // closed: open
	in   chan struct{} // gets one when a record has come

	mu   sync.Mutex
	recs []slog.Record
}

func newBook() *book {
	return &book{Handler: slog.NewTextHandler(nil, &slog.HandlerOptions{Level: slog.LevelInfo}), gate: make(chan struct{}), in: make(chan struct{}, 4*queueLen)}
}

func (b *book) Handle(_ context.Context, r slog.Record) error {
	b.in <- struct{}{}
	<-b.gate
	b.mu.Lock()
	defer b.mu.Unlock()
	b.recs = append(b.recs, r)
	return nil
}

// told are the numbers in the records, -n for n that were lost.
func (b *book) told() (all []int64) {
	for _, r := range b.recs {
		r.Attrs(func(a slog.Attr) bool {
			if r.Message == "events lost" {
				all = append(all, -int64(a.Value.Uint64()))
			} else {
				all = append(all, a.Value.Int64())
			}
			return true
		})
	}
	return all
}

// patience is a context for an end that is certain to come.
func patience(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// TestOrderAndTime: events are written in the order in which they were told, with the time of that.
func TestOrderAndTime(t *testing.T) {
	b := newBook()
	w := New(slog.New(b))
	began := time.Now()
	const n = queueLen - 1 // and one that is below the level
	for i := range n {
		if !w.Tell(slog.LevelInfo, "event", slog.Int64("n", int64(i))) {
			t.Fatalf("event %d is lost", i)
		}
	}
	w.Tell(slog.LevelDebug, "below the handler's level")
	told := time.Now()
	time.Sleep(time.Until(told.Add(time.Millisecond))) // the clock moves on
	close(b.gate)
	if !w.End(patience(t)) || !w.End(patience(t)) {
		t.Fatal("not all is written")
	}
	got := b.told()
	if len(got) != n || !slices.IsSorted(got) {
		t.Errorf("wrote %d of %d: %v", len(got), n, got)
	}
	if !slices.IsSortedFunc(b.recs, func(x, y slog.Record) int { return x.Time.Compare(y.Time) }) ||
		b.recs[0].Time.Before(began) || b.recs[len(b.recs)-1].Time.After(told) {
		t.Errorf("times from %v to %v, told from %v to %v", b.recs[0].Time, b.recs[len(b.recs)-1].Time, began, told)
	}
	if w.Tell(slog.LevelInfo, "late") {
		t.Error("told after the end")
	}
}

// TestStuckLogger: a logger that does not come back costs one goroutine and a bounded queue, keeps nobody waiting, and what was lost
// meanwhile is told when there is room, or at the end.
func TestStuckLogger(t *testing.T) {
	b := newBook()
	w := New(slog.New(b))
	w.Tell(slog.LevelInfo, "event", slog.Int64("n", 0))
	<-b.in // the goroutine is stuck with the first one
	for i := 1; i <= queueLen+9; i++ {
		if w.Tell(slog.LevelInfo, "event", slog.Int64("n", int64(i))) != (i <= queueLen) {
			t.Fatalf("event %d", i)
		}
	}
	if w.lost != 9 {
		t.Errorf("%d are lost, want 9", w.lost)
	}
	b.gate <- struct{}{} // one is written, and the next is taken: room for one, two are needed
	<-b.in
	if w.Tell(slog.LevelInfo, "no room for it and the number of those lost") {
		t.Error("told all the same")
	}
	b.gate <- struct{}{}
	<-b.in
	if !w.Tell(slog.LevelInfo, "event", slog.Int64("n", 1000)) {
		t.Error("lost with room for two")
	}
	w.Tell(slog.LevelInfo, "lost before the end")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if w.End(ctx) {
		t.Error("the logger is stuck, and yet all is written")
	}
	close(b.gate)
	if !w.End(patience(t)) {
		t.Fatal("not all is written")
	}
	want := []int64{}
	for i := range int64(queueLen + 1) {
		want = append(want, i)
	}
	if got := b.told(); !slices.Equal(got, append(want, -10, 1000, -1)) {
		t.Errorf("wrote %v", got)
	}
}

// TestNothingTold: without an event there is no goroutine, and nothing to wait for.
func TestNothingTold(t *testing.T) {
	w := New(slog.New(newBook()))
	if !w.End(patience(t)) || w.started {
		t.Error("there is a goroutine")
	}
}

// TestImpatientEnd: an end without patience is written by a logger that is not stuck.
func TestImpatientEnd(t *testing.T) {
	b := newBook()
	close(b.gate)
	w := New(slog.New(b))
	w.Tell(slog.LevelInfo, "event", slog.Int64("n", 1))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if w.End(ctx); !w.End(patience(t)) { // the machine may be slow, but then the second has to wait
		t.Fatal("not all is written")
	}
	if got := b.told(); !slices.Equal(got, []int64{1}) {
		t.Errorf("wrote %v", got)
	}
}
