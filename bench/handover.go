package main

import (
	"context"
	"errors"
	"io/fs"
	"syscall"
	"time"

	"github.com/ron-transport/ron-transport/reactor"
)

// takeOverWait is how long a predecessor may take to pass its socket on.
const takeOverWait = 10 * time.Second

// listen opens the listener, or takes it over from the server that waits at --handover; then it waits for a successor.
func (s *ourServer) listen(o *serverOptions, lc reactor.ListenConfig) (err error) {
	var lis *reactor.Listener
	if o.handover == "" {
		lis, err = s.reactor.Listen("tcp", o.listen, lc)
		s.listener = lis
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), takeOverWait)
	defer cancel()
	h, err := reactor.TakeOver(ctx, o.handover)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED): // nobody waits there
		lis, err = s.reactor.Listen("tcp", o.listen, lc)
	case err == nil:
		if lis, err = s.reactor.ListenFile(h.Files[0], lc); err == nil {
			err = h.Ready(ctx)
		}
		err = errors.Join(err, h.Close())
	}
	if err == nil {
		s.listener, s.handover = lis, serveHandover(o.handover, lis)
	}
	return err
}

// handover is a server's wait for its successor.
type handover struct {
	cancel context.CancelFunc
	ended  chan struct{} // the wait is over, in whatever way
	done   chan struct{} // a successor has taken over
}

func serveHandover(path string, lis *reactor.Listener) *handover {
	h := &handover{ended: make(chan struct{}), done: make(chan struct{})}
	var ctx context.Context
	ctx, h.cancel = context.WithCancel(context.Background())
	go func() { // stop waits for it
		defer close(h.ended)
		if reactor.ServeHandover(ctx, path, []*reactor.Listener{lis}) == nil {
			close(h.done)
		}
	}()
	return h
}

// stop ends the wait.
func (h *handover) stop() {
	h.cancel()
	<-h.ended
}
