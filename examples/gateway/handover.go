package main

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"github.com/ron-transport/ron-transport/reactor"
)

// takeOver gets the TLS socket of the process that waits at tls.handover; where nobody waits, it is opened anew.
func takeOver(ctx context.Context, loops *reactor.Reactor, c *Config, lc reactor.ListenConfig) (lis *reactor.Listener, err error) {
	ctx, cancel := context.WithTimeout(ctx, takeOverWait)
	defer cancel()
	h, err := reactor.TakeOver(ctx, c.TLS.Handover)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return loops.Listen("tcp", c.TLS.Listen, lc)
	}
	if err != nil {
		return nil, err
	}
	if lis, err = loops.ListenFile(h.Files[0], lc); err == nil {
		err = h.Ready(ctx)
	}
	return lis, errors.Join(err, h.Close())
}
