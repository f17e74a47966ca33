package reactor

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ron-transport/ron-transport/pool/eventlog"
)

// event is something that Config.Logger is told. Messages, levels and fields are frozen (docs/metrics.md): people search for them. None
// names a peer.
type event int

const (
	eventListening     event = iota // addr, name
	eventListenerEnded              // addr, name
	eventAcceptFailed               // addr, error, pause
	eventRefused                    // reason
	eventPanic                      // panic, stack
	eventShutdown                   // conns
	eventStopped                    // took, aborted
	numEvents
)

// told is how an event is told. Those that a peer can bring about are limited: one per eventPause, with the number of those in between
// that were not told in the field missed.
type told struct {
	msg     string
	level   slog.Level
	limited bool
}

func (e event) told() told {
	return [numEvents]told{
		{"listening", slog.LevelInfo, false},
		{"listener closed", slog.LevelInfo, false},
		{"accept failed", slog.LevelWarn, true},
		{"connection refused", slog.LevelWarn, true},
		{"panic in a callback", slog.LevelError, true},
		{"shutdown began", slog.LevelInfo, false},
		{"shutdown ended", slog.LevelInfo, false},
	}[e]
}

// events tells a logger, in order, without waiting for it.
type events struct {
	out    *eventlog.Writer
	pause  time.Duration           // between two events of a kind that is limited
	last   [numEvents]atomic.Int64 // when it was told; 0: never
	missed [numEvents]atomic.Uint64
}

func newEvents(log *slog.Logger) *events { return &events{out: eventlog.New(log), pause: eventPause} }

// tell tells an event, unless it is limited and was told just now. now is the kernel's clock. What comes after the end is
// not told. Any goroutine.
func (e *events) tell(now int64, ev event, attrs ...slog.Attr) {
	t := ev.told()
	if !t.limited {
		e.out.Tell(t.level, t.msg, attrs...)
		return
	}
	last := e.last[ev].Load()
	if last != 0 && now-last < int64(e.pause) || !e.last[ev].CompareAndSwap(last, max(now, 1)) {
		e.missed[ev].Add(1)
		return
	}
	missed := e.missed[ev].Swap(0)
	if !e.out.Tell(t.level, t.msg, append(attrs, slog.Uint64("missed", missed))...) {
		e.missed[ev].Add(missed) // the event itself is among those that were lost
	}
}

// tell is events.tell for a reactor that may have no logger. Any goroutine.
func (r *Reactor) tell(ev event, attrs ...slog.Attr) {
	if r.events != nil {
		r.events.tell(r.sys.now(), ev, attrs...)
	}
}

// tellRefusal tells that a connection was refused. Any goroutine.
func (r *Reactor) tellRefusal(cause error) {
	if r.events != nil {
		r.tell(eventRefused, slog.String("reason", reasonOf(cause)))
	}
}

// tellPanic tells of a panic. Any goroutine.
func (r *Reactor) tellPanic(v any, stack func() []byte) {
	if r.events != nil {
		r.tell(eventPanic, slog.Any("panic", v), slog.String("stack", string(stack())))
	}
}

// tellStopped tells the end of a shutdown and waits until all is told, as long as the logger may take for it (eventlog.Writer.End).
func (r *Reactor) tellStopped(ctx context.Context, began time.Time, err error) {
	if r.events != nil {
		r.tell(eventStopped, slog.Duration("took", time.Since(began)), slog.Bool("aborted", err != nil))
		r.events.out.End(ctx)
	}
}
