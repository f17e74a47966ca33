package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ron-transport/ron-transport/reactor"
)

// takeOver gets the TLS socket of the process that waits at tls.handover, and begins to accept from it; where nobody waits, it is opened
// anew. The other process goes on until a.pending is told that we are ready, which is the last step of the start: what fails before leaves
// it in charge.
func (a *app) takeOver(ctx context.Context, c *Config, lc reactor.ListenConfig) (lis *reactor.Listener, err error) {
	if err := checkHandover(c.TLS.Handover); err != nil {
		return nil, a.now.refuse("tls.handover", err.Error())
	}
	ctx, cancel := context.WithTimeout(ctx, takeOverWait)
	defer cancel()
	a.pending, err = reactor.TakeOver(ctx, c.TLS.Handover)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return a.loops.Listen("tcp", c.TLS.Listen, lc)
	}
	if err != nil {
		return nil, err
	}
	if lis, err = a.loops.ListenFile(a.pending.Files[0], lc); err != nil {
		return nil, err
	}
	if !listensOn(lis.Addr(), c.TLS.Listen) {
		return nil, a.now.refuse("tls.listen", fmt.Sprintf("allowed is %v, or port 0: that is where the process listens that waits at tls.handover", lis.Addr()))
	}
	return lis, nil
}

// checkHandover says whether successors can be waited for at path: once the predecessor has gone it is too late to find out.
func checkHandover(path string) error {
	if len(path) > maxUnixPath {
		return fmt.Errorf("%d bytes; allowed are up to %d", len(path), maxUnixPath)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSocket == 0 {
		return errors.New("there is something that is no socket; allowed is the path of a socket, or a free one")
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".handover-*")
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}

// listensOn says whether got is an address that want, a host:port, may stand for. Port 0 stands for all.
func listensOn(got net.Addr, want string) bool {
	g, ok := got.(*net.TCPAddr)
	w, err := net.ResolveTCPAddr("tcp", want)
	if !ok || err != nil {
		return false
	}
	everywhere := w.IP == nil || w.IP.IsUnspecified()
	return (w.Port == 0 || w.Port == g.Port) && (everywhere && g.IP.IsUnspecified() || w.IP.Equal(g.IP))
}

// ready ends the predecessor's part, if there is one: from now on we are in charge.
func (a *app) ready(ctx context.Context) error {
	if a.pending == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, takeOverWait)
	defer cancel()
	return a.pending.Ready(ctx)
}

// offer waits for a successor.
func (a *app) offer(ctx context.Context, path string) {
	switch err := reactor.ServeHandover(ctx, path, []*reactor.Listener{a.tls}); {
	case err == nil:
		close(a.handed)
	case ctx.Err() == nil:
		a.log.Error("no successor can take over", "reason", reasonOf(err), "err", err)
	}
}
