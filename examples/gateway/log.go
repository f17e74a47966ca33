package main

import (
	"io"
	"log/slog"
	"sync/atomic"
	"time"
)

// newHandler is the log's form.
func newHandler(w io.Writer, format string, level slog.Leveler) slog.Handler {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.NewJSONHandler(w, o)
	}
	return slog.NewTextHandler(w, o)
}

// lines is a writer for logs that never waits for whoever reads them: loops and signals must not. Lines that find the queue full are
// dropped, and counted in a line of their own when there is room again. Any goroutine.
type lines struct {
	queue   chan line
	dropped atomic.Uint64
}

// line is one that waits, or asks when all before it are written.
type line struct {
	text    []byte
	written chan struct{}
}

// newLines writes lines to w on a goroutine of its own, which lasts as long as the process. report logs how many were dropped.
func newLines(w io.Writer, report func(dropped uint64)) *lines {
	l := &lines{queue: make(chan line, logQueue)}
	go func() {
		for next := range l.queue {
			if next.written != nil {
				close(next.written)
				continue
			}
			_, _ = w.Write(next.text) // there is nobody to tell
			if n := l.dropped.Swap(0); n > 0 {
				report(n)
			}
		}
	}()
	return l
}

// Write implements io.Writer: p is one line.
func (l *lines) Write(p []byte) (int, error) {
	select {
	case l.queue <- line{text: append([]byte(nil), p...)}:
	default:
		l.dropped.Add(1)
	}
	return len(p), nil
}

// flush waits until what has been logged is written, or patience is over.
func (l *lines) flush(patience time.Duration) {
	end := time.NewTimer(patience)
	defer end.Stop()
	written := make(chan struct{})
	select {
	case l.queue <- line{written: written}:
	case <-end.C:
		return
	}
	select {
	case <-written:
	case <-end.C:
	}
}
