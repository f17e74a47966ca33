// Package eventlog hands what happens seldom to a logger that may block, from goroutines that must not: event loops, and those who wait for
// an end. One goroutine writes; what it has not come to yet waits in a short queue, and what finds that full is counted. Sans-IO but for the
// logger.
package eventlog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

const (
	// queueLen is how many events wait at most. As many as listeners may be handed over at once come in a burst, twice: they open and they
	// close; what peers bring about is limited before it comes here.
	queueLen = 256
	// lastWords is what End waits for the logger even when its context has ended: an end without patience is told all the same, unless the
	// logger is stuck.
	lastWords = time.Second
)

// Writer writes events with a logger, in the order in which they were told. It must not be copied.
type Writer struct {
	log   *slog.Logger
	queue chan *slog.Record // sent to and closed with mu held
	done  chan struct{}     // closed when the goroutine has ended

	mu      sync.Mutex
	started bool   // there is a goroutine
	ended   bool   // nothing is told any more
	lost    uint64 // events that found the queue full, since that was told last
}

// New makes a Writer, which starts its goroutine with the first event. End must be called in the end. log: required.
func New(log *slog.Logger) *Writer {
	return &Writer{log: log, queue: make(chan *slog.Record, queueLen), done: make(chan struct{})}
}

// Tell has an event written; its time is that of the call. It reports false when the event is lost: the queue is full, or End has been
// called. Those that found the queue full are counted in an event of their own, "events lost", when it has room again. It never waits for
// the logger. Any goroutine.
func (w *Writer) Tell(level slog.Level, msg string, attrs ...slog.Attr) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return false
	}
	need := 1
	if w.lost > 0 {
		need = 2
	}
	if len(w.queue)+need > queueLen { // only the goroutine takes from it meanwhile
		w.lost++
		return false
	}
	if !w.started {
		w.started = true
		go w.write()
	}
	if w.lost > 0 {
		w.queue <- lost(w.lost)
		w.lost = 0
	}
	w.queue <- record(level, msg, attrs...)
	return true
}

// record is an event of now. It has no source: the line of code would always be this package's.
func record(level slog.Level, msg string, attrs ...slog.Attr) *slog.Record {
	r := slog.NewRecord(time.Now(), level, msg, 0)
	r.AddAttrs(attrs...)
	return &r
}

// lost tells of n events that were not.
func lost(n uint64) *slog.Record {
	return record(slog.LevelWarn, "events lost", slog.Uint64("count", n))
}

// write is the goroutine.
func (w *Writer) write() {
	defer close(w.done)
	for r := range w.queue {
		w.handle(r)
	}
	w.mu.Lock()
	n := w.lost
	w.mu.Unlock()
	if n > 0 {
		w.handle(lost(n))
	}
}

// handle gives an event to the logger.
func (w *Writer) handle(r *slog.Record) {
	h := w.log.Handler()
	if ctx := context.Background(); h.Enabled(ctx, r.Level) {
		_ = h.Handle(ctx, *r) // there is nobody else to tell
	}
}

// End has nothing more be told and waits until what was told is written, until ctx ends, but for a second at least. It reports whether all
// is written; if not, the goroutine goes on, and ends when the logger has taken the rest. Later calls wait likewise. Any goroutine.
func (w *Writer) End(ctx context.Context) bool {
	w.mu.Lock()
	if !w.ended {
		w.ended = true
		close(w.queue)
	}
	started := w.started
	w.mu.Unlock()
	if !started {
		return true
	}
	least := time.NewTimer(lastWords)
	defer least.Stop()
	select {
	case <-w.done:
		return true
	case <-ctx.Done():
	}
	select {
	case <-w.done:
		return true
	case <-least.C:
		return false
	}
}
