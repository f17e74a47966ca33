package tor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tor/control"
)

// TestEcho: frames go through the private network and come back, on both kinds of tor, and what OnStatus tells is what happened.
func TestEcho(t *testing.T) {
	network(t)
	noLeaks(t)
	var h history
	server := own(t, Config{OnStatus: h.add})
	client := attach(t, 1, Config{})
	r := loops(t)
	svc := serve(t, server, r, ServiceConfig{})
	if err := svc.Ready(); !IsKind(err, KindNotReady) || err.(*Error).RetryAfter() == 0 {
		t.Errorf("before it is published: %v", err)
	}
	if _, err := dialOnce(t, server, r, svc.Addr(), ""); !IsKind(err, KindNotReady) {
		t.Errorf("a dial before tor has bootstrapped: %v", err)
	}
	if err := svc.WaitReady(patient(t)); err != nil {
		t.Fatal(err)
	}
	cl := connect(t, client, r, svc.Addr(), "")
	hello, err := cl.s.Hello(patient(t), "test")
	if err != nil || len(hello.Transports) != 1 || hello.Transports[0] != "tor" {
		t.Fatal(hello, err)
	}
	for _, n := range []int{0, 1, 2048, 65536, framer.MaxFrame - framer.HeaderLen} {
		if err := cl.ask(patient(t), pattern(n, 1)); err != nil {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	var wg sync.WaitGroup
	for i := range 8 { // each its own circuit, and all at once
		other := connect(t, client, r, svc.Addr(), fmt.Sprint("circuit ", i))
		wg.Go(func() {
			for j := range byte(20) {
				if err := other.ask(patient(t), pattern(3000, j)); err != nil {
					t.Error(err)
					return
				}
			}
			_ = other.c.Post(func() { other.c.Close(nil) })
			if err := <-other.closed; err != nil {
				t.Errorf("closed with %v", err)
			}
		})
	}
	wg.Wait()
	checkHistory(t, h.list())
	if s := server.Status(); s.State != Ready || s.Reason != "" || s.Services != 1 || s.Published != 1 || s.Starts != 1 || s.Links != 1 || s.Progress != 100 {
		t.Errorf("%+v", s)
	}
	if err := svc.Close(); err != nil {
		t.Error(err)
	}
	if err := cl.ask(patient(t), pattern(100, 3)); err != nil {
		t.Errorf("the end of the service has ended a connection: %v", err)
	}
	if err := svc.WaitReady(patient(t)); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// checkHistory: progress only grows, and readiness comes last.
func checkHistory(t *testing.T, all []Status) {
	t.Helper()
	last := 0
	for i, s := range all {
		if s.Progress < last {
			t.Errorf("progress falls: %+v", all)
		}
		if last = s.Progress; (s.State == Ready) != (s.Reason == "") || s.State != Ready && s.Detail == "" || s.State == Ready && s.Progress < 100 {
			t.Errorf("status %d: %+v", i, s)
		}
	}
	if len(all) < 3 || all[0].State != NotReady || all[len(all)-1].State != Ready {
		t.Errorf("%+v", all)
	}
}

// TestInMemory: without a DataDir nothing of tor's is on a disk: not its directory, and no file that it has open. In the end nothing is left.
func TestInMemory(t *testing.T) {
	network(t)
	noLeaks(t)
	tor := own(t, Config{})
	r := loops(t)
	svc := serve(t, tor, r, ServiceConfig{})
	if err := svc.WaitReady(patient(t)); err != nil {
		t.Fatal(err)
	}
	dir := tor.cfg.Process.DataDir
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil || int64(st.Type) != unix.TMPFS_MAGIC {
		t.Errorf("%s is on a file system of type %#x, %v", dir, st.Type, err)
	}
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", tor.Pid()))
	if err != nil || len(fds) < 5 {
		t.Fatal(fds, err)
	}
	for _, fd := range fds {
		to, err := os.Readlink(fd)
		if err == nil && strings.HasPrefix(to, "/") && !strings.HasPrefix(to, dir+"/") && !strings.HasPrefix(to, "/dev/") {
			t.Errorf("tor has %s open", to)
		}
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", tor.Pid()))
	if here, _ := os.Getwd(); err != nil || cwd != here && cwd != dir {
		t.Errorf("tor works in %s: %v", cwd, err)
	}
	secret := strings.TrimPrefix(svc.key.secret, control.KeyPrefix)
	found := 0
	if err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if found++; strings.Contains(string(b), secret) {
			t.Errorf("%s holds the service's key", path)
		}
		return err
	}); err != nil || found == 0 {
		t.Errorf("%d files were read: %v", found, err)
	}
	pid := tor.Pid()
	if err := tor.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", dir, err)
	}
	if err := unix.Kill(pid, 0); !errors.Is(err, unix.ESRCH) {
		t.Errorf("tor still runs: %v", err)
	}
	if err := tor.Ready(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// TestKept: with a DataDir and a KeyFile a service comes back under its address.
func TestKept(t *testing.T) {
	network(t)
	noLeaks(t)
	dir, err := os.MkdirTemp("", "kept") // its path is short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	addr := ""
	for i := range 2 {
		tor := own(t, Config{Process: Process{DataDir: filepath.Join(dir, "tor")}})
		r := loops(t)
		svc := serve(t, tor, r, ServiceConfig{KeyFile: filepath.Join(dir, "key"), Port: 80})
		if err := svc.WaitReady(patient(t)); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			addr = svc.Addr()
		} else if svc.Addr() != addr {
			t.Errorf("%s has become %s", addr, svc.Addr())
		}
		if _, err := tor.Listen(r, ServiceConfig{KeyFile: filepath.Join(dir, "key"), Listen: reactor.ListenConfig{Protocol: nobody}}); err == nil {
			t.Error("a second service has the same key")
		}
		if err := errors.Join(r.Close(), tor.Close()); err != nil {
			t.Error(err)
		}
		if fi, err := os.Stat(filepath.Join(dir, "tor", "state")); err != nil || fi.Size() == 0 {
			t.Error("tor has kept nothing:", err)
		}
	}
}

func nobody(*reactor.Conn) reactor.Protocol { return nil }

// TestNeverBootstraps: where there is no network, dials and HELLOs get 503 and a time, and the reason changes when the time is over.
func TestNeverBootstraps(t *testing.T) {
	network(t)
	noLeaks(t)
	dead := []string{"TestingTorNetwork 1", "UseDefaultFallbackDirs 0", "DirAuthority dead orport=1 no-v2 v3ident=" + strings.Repeat("A", 40) +
		" 127.0.0.1:1 " + strings.Repeat("B", 40)}
	tor, err := Open(Config{Process: Process{Options: dead}, BootstrapTimeout: 8 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer tor.Close()
	r := loops(t)
	e, err := framer.NewEndpoint(echo{}, framer.Options{Ready: tor.Ready})
	if err != nil {
		t.Fatal(err)
	}
	lis, err := r.Listen("tcp", "127.0.0.1:0", reactor.ListenConfig{Protocol: func(c *reactor.Conn) reactor.Protocol { return e.Session(c) }})
	if err != nil {
		t.Fatal(err)
	}
	var s *framer.Session
	if _, err := r.Dial("tcp", lis.Addr().String(), reactor.DialConfig{Protocol: func(c *reactor.Conn) reactor.Protocol { s = e.Session(c); return s }}); err != nil {
		t.Fatal(err)
	}
	hello := func(why framer.Reason) {
		t.Helper()
		_, err := s.Hello(patient(t), "")
		var fe *framer.Error
		if !errors.As(err, &fe) || fe.Status() != 503 || fe.Why != why || fe.RetryAfter == 0 {
			t.Errorf("HELLO: %v", err)
		}
	}
	hello(framer.NotReady)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := tor.WaitReady(ctx); !IsKind(err, KindNotReady) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	began := time.Now()
	if err := tor.WaitReady(patient(t)); !IsKind(err, KindBootstrap) || time.Since(began) > time.Minute {
		t.Error(err)
	}
	hello(framer.TorBootstrap)
	if _, err := dialOnce(t, tor, r, onion, ""); !IsKind(err, KindBootstrap) {
		t.Error(err)
	}
	if s := tor.Status(); s.State != NotReady || s.Reason != "tor_bootstrap" || s.Progress >= 100 || !strings.Contains(s.Detail, "8s") {
		t.Errorf("%+v", s)
	}
}
