package reactor

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// clients connect, exchange a message and close, over and over, and count; any failure is one of the test's.
type clients struct {
	stop chan struct{}
	wg   sync.WaitGroup
	ok   atomic.Int64
	errs closes
}

func startClients(n int, network, addr string) *clients {
	k := &clients{stop: make(chan struct{})}
	for range n {
		k.wg.Go(func() {
			for {
				select {
				case <-k.stop:
					return
				default:
				}
				c, err := net.Dial(network, addr)
				if err == nil {
					err = echoes(c)
					_ = c.Close()
				}
				if err != nil {
					k.errs.add(nil, err)
					return
				}
				k.ok.Add(1)
			}
		})
	}
	return k
}

// more waits until n further exchanges have succeeded.
func (k *clients) more(t *testing.T, n int64) {
	t.Helper()
	from := k.ok.Load()
	waitFor(t, "exchanges", func() bool { return k.ok.Load() >= from+n || len(k.errs.all()) > 0 })
}

func (k *clients) end(t *testing.T) {
	t.Helper()
	close(k.stop)
	k.wg.Wait()
	for _, err := range k.errs.all() {
		t.Errorf("a client: %v", err)
	}
}

// endpoints are one listener of each kind.
func endpoints(t *testing.T, r *Reactor) []*Listener {
	t.Helper()
	unixLis, err := r.Listen("unix", filepath.Join(t.TempDir(), "s"), ListenConfig{Protocol: echo.with, Name: "local"})
	if err != nil {
		t.Fatal(err)
	}
	return []*Listener{listen(t, r, echo), unixLis}
}

// beside is start for a reactor beside another one: descriptors and goroutines are left to the check of that, which was
// started before and is checked after.
func beside(t *testing.T, cfg Config) *Reactor {
	t.Helper()
	cfg.Poison = true
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { checkLeaks(t, r, 1<<20, 1<<20) })
	return r
}

// takeOver is TakeOver from a predecessor that may only be starting.
func takeOver(t *testing.T, path string) (h *Handover) {
	t.Helper()
	waitFor(t, "the predecessor", func() bool {
		var err error
		h, err = TakeOver(context.Background(), path)
		return err == nil
	})
	return h
}

// drained shuts a reactor down once its connections have ended by themselves.
func drained(t *testing.T, r *Reactor) {
	t.Helper()
	waitFor(t, "the old connections' end", func() bool {
		n := int64(0)
		for _, l := range r.loops {
			n += l.load.Load() // also those on their way to a loop
		}
		return n == 0
	})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

func TestHandoverWithinOneProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handover")
	next := start(t, Config{})
	old := beside(t, Config{})
	lis := endpoints(t, old)
	tcp, local := lis[0].Addr().String(), lis[1].Addr().String()
	crowd := []*clients{startClients(2, "tcp", tcp), startClients(2, "unix", local)}

	for range 3 { // generations, there and back
		served := make(chan error, 1)
		go func(lis []*Listener) { served <- ServeHandover(context.Background(), path, lis) }(lis)
		h := takeOver(t, path)
		if len(h.Files) != 2 || h.Files[0].Name() != "tcp:"+tcp || h.Files[1].Name() != "local" && h.Files[1].Name() != "unix:"+local {
			t.Errorf("files %v", h.Files)
		}
		lis = nil
		for _, f := range h.Files {
			l, err := next.ListenFile(f, ListenConfig{Protocol: echo.with})
			if err != nil {
				t.Fatal(err)
			}
			lis = append(lis, l)
		}
		for _, k := range crowd {
			k.more(t, 30) // both accept
		}
		if err := h.Ready(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(h.Close(), <-served); err != nil {
			t.Fatal(err)
		}
		for _, k := range crowd {
			k.more(t, 30)
		}
		old, next = next, old
	}
	if _, err := os.Lstat(local); err != nil {
		t.Errorf("the socket's file: %v", err)
	}
	for _, k := range crowd {
		k.end(t)
	}
	drained(t, next)
}

// TestRoleSuccessor takes over, serves until told to end, and reports.
func TestRoleSuccessor(t *testing.T) {
	skipUnlessRole(t, "Successor")
	r := start(t, Config{})
	ctx := context.Background()
	h, err := TakeOver(ctx, os.Getenv("HANDOVER"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range h.Files {
		if _, err := r.ListenFile(f, ListenConfig{Protocol: echo.with}); err != nil {
			t.Fatal(err)
		}
	}
	if os.Getenv("DIE") != "" {
		os.Exit(7)
	}
	if err := errors.Join(h.Ready(ctx), h.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "connections' end", func() bool { return r.Stats().Conns == 0 })
	fmt.Printf("result: accepted %v\n", r.Stats().Accepted > 0)
}

func TestHandoverToAnotherProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handover")
	old := start(t, Config{})
	lis := endpoints(t, old)
	crowd := []*clients{startClients(2, "tcp", lis[0].Addr().String()), startClients(2, "unix", lis[1].Addr().String())}
	served := make(chan error, 1)
	go func() { served <- ServeHandover(context.Background(), path, lis) }()
	_ = takeOver(t, path).Close() // it is there now

	// A successor that dies before it is ready changes nothing but for the connections that it had accepted: no client
	// runs meanwhile.
	for _, k := range crowd {
		k.more(t, 10)
		k.end(t)
	}
	var exit interface{ ExitCode() int }
	if err := other(t, "Successor", "HANDOVER="+path, "DIE=1").Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Fatalf("the first successor: %v", err)
	}
	crowd = []*clients{startClients(2, "tcp", lis[0].Addr().String()), startClients(2, "unix", lis[1].Addr().String())}
	for _, k := range crowd {
		k.more(t, 10)
	}

	cmd := other(t, "Successor", "HANDOVER="+path)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-served:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("no successor was ready")
	}
	drained(t, old)
	for _, k := range crowd {
		k.more(t, 50)
		k.end(t)
	}
	_, _ = in.Write([]byte("end\n"))
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), "result: accepted true") {
		t.Errorf("successor: %v\n%s", err, out.String())
	}
}

// Connections in the kernel's queue at the moment of Close are the successor's, on a listener that was handed over.
func TestHandedOverQueueIsTheSuccessors(t *testing.T) {
	next := start(t, Config{})
	old := beside(t, Config{Loops: 1})
	for _, lis := range endpoints(t, old) {
		network, addr := lis.Addr().Network(), lis.Addr().String()
		deaf := make(chan struct{})
		l := old.loops[0]
		_ = l.push(task{kind: taskFunc, fn: func() {
			for _, a := range l.listeners {
				l.unarm(a)
			}
			close(deaf)
		}})
		<-deaf
		var waiting []net.Conn
		for range 5 {
			c, err := net.Dial(network, addr)
			if err != nil {
				t.Fatal(err)
			}
			waiting = append(waiting, c)
		}
		f, err := lis.File()
		if err != nil {
			t.Fatal(err)
		}
		if err := lis.Close(); err != nil {
			t.Error(err)
		}
		if n := old.Stats().Accepted; n != 0 {
			t.Errorf("%d were accepted by the old one", n)
		}
		if _, err := lis.File(); err != ErrClosed {
			t.Errorf("File after Close: %v", err)
		}
		if _, err := next.ListenFile(f, ListenConfig{Protocol: echo.with}); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
		for _, c := range waiting {
			if err := echoes(c); err != nil {
				t.Errorf("%s: %v", network, err)
			}
			_ = c.Close()
		}
	}
}

func TestHandoverRefusesAndRecovers(t *testing.T) {
	r := start(t, Config{})
	lis := []*Listener{listen(t, r, echo)}
	dir := t.TempDir()
	path := filepath.Join(dir, "handover")
	for _, tt := range []struct {
		path string
		lis  []*Listener
		want string
	}{
		{path, nil, "0 listeners"},
		{path, make([]*Listener, maxHandover+1), "129 listeners"},
		{"", lis, "allowed is a path"},
		{"@abstract", lis, "allowed is a path"},
		{filepath.Join(dir, "no", "where"), lis, "no such file"},
	} {
		if err := ServeHandover(context.Background(), tt.path, tt.lis); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q, %d listeners: %v", tt.path, len(tt.lis), err)
		}
	}
	if _, err := TakeOver(context.Background(), path); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("nobody there: %v", err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- ServeHandover(ctx, path, lis) }()
	_ = takeOver(t, path).Close()
	if st, err := os.Lstat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	// Successors that leave, at each stage.
	for range 3 {
		h := takeOver(t, path)
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
	c, err := net.Dial("unixpacket", path)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.Write([]byte("nonsense"))
	_ = c.Close()
	if err := echoes(dialNet(t, lis[0])); err != nil {
		t.Errorf("the listener suffered: %v", err)
	}
	cancel()
	if err := <-served; err != context.Canceled {
		t.Errorf("after cancel: %v", err)
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("the path: %v", err)
	}
}

// A predecessor that does not follow the protocol.
func TestTakeOverFromAStranger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "handover")
	for name, msg := range map[string][]byte{"empty": {}, "version": {9, 0, 0}, "cut": {1, 0, 9, 'x'}, "no descriptors": {1, 0, 1, 'x'}} {
		ln, file, err := listenHandover(path)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if c, err := ln.AcceptUnix(); err == nil {
				_, _ = c.Write(msg)
				_ = c.Close()
			}
		}()
		if _, err := TakeOver(context.Background(), path); err == nil {
			t.Errorf("%s: no error", name)
		}
		_ = ln.Close()
		_ = file.remove()
	}
}
