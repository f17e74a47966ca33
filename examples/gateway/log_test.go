package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestLogNobodyReads: a gateway whose log fills a pipe that is not read goes on to serve, and ends when it is told to.
func TestLogNobodyReads(t *testing.T) {
	s := newSite(t)
	cmd := exec.Command(os.Args[0], "--config", s.config(""), "--log-format=text", "--admin-listen=", "--drain-delay=0s")
	cmd.Env = append(os.Environ(), roleEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, out, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	size, err := unix.FcntlInt(in.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize())
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = out
	if err := errors.Join(cmd.Start(), out.Close()); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	addr := ""
	for log := bufio.NewScanner(in); log.Scan() && !strings.Contains(log.Text(), "msg=started"); {
		if _, rest, ok := strings.Cut(log.Text(), "msg=listening transport=tls addr="); ok {
			addr, _, _ = strings.Cut(rest, " ")
		}
	}
	for range size/50 + logQueue/8 { // each is a line of more than 50 bytes at level debug
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("this is no handshake"))
		_, _ = c.Read(make([]byte, 64)) // the gateway's alert: it has seen it
		_ = c.Close()
	}
	if got := code(ask(s.clients().dial(addr), 7, "x")); got != 200 {
		t.Errorf("answer %d", got)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-done:
		if err != nil {
			t.Errorf("the gateway ends with %v", err)
		}
	case <-time.After(patience):
		t.Error("the gateway does not end")
	}
}

// stuck is a writer that waits until it is opened.
type stuck struct {
	open chan struct{}
	mu   sync.Mutex
	text strings.Builder
}

func (w *stuck) Write(p []byte) (int, error) {
	<-w.open
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.Write(p)
}

// TestLines: no line waits for a writer that is stuck; what was dropped is counted, the rest is in order.
func TestLines(t *testing.T) {
	w := &stuck{open: make(chan struct{})}
	dropped := make(chan uint64, 1)
	l := newLines(w, func(n uint64) { dropped <- n })
	const more = 100
	for i := range logQueue + 1 + more {
		fmt.Fprintf(l, "%d\n", i)
	}
	l.flush(time.Millisecond)
	close(w.open)
	if n := <-dropped; n < more || n > more+1 { // the writer may have taken its first line or not
		t.Errorf("%d lines are said to be dropped, want %d", n, more)
	}
	l.flush(patience)
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, got := range strings.Fields(w.text.String()) {
		if got != fmt.Sprint(i) {
			t.Fatalf("line %d is %q", i, got)
		}
	}
	if n := strings.Count(w.text.String(), "\n"); n < logQueue {
		t.Errorf("%d lines are written, want %d or more", n, logQueue)
	}
}
