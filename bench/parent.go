package main

import (
	"context"
	"io"
)

// untilEOF returns a context that also ends when r does: the pipe a parent holds closes however the parent dies, so its
// children never outlive it.
func untilEOF(ctx context.Context, r io.Reader) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	go func() { // ends with the process at the latest: a read of standard input cannot be interrupted
		_, _ = io.Copy(io.Discard, r)
		cancel()
	}()
	return ctx, cancel
}
