package reactor

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// countingKernel counts accepts, and fails the first of them as it is told.
type countingKernel struct {
	linux
	accepts *atomic.Int64
	fail    []unix.Errno
}

func (k countingKernel) accept(fd int) (int, unix.Sockaddr, unix.Errno) {
	if n := int(k.accepts.Add(1)); n <= len(k.fail) {
		return -1, nil, k.fail[n-1]
	}
	return k.linux.accept(fd)
}

// TestRoleStarved serves with few descriptors to spare, and answers questions on its standard input.
func TestRoleStarved(t *testing.T) {
	skipUnlessRole(t, "Starved")
	var accepts atomic.Int64
	r, err := newReactor(Config{Loops: 2}, countingKernel{linux: linux{base: time.Now()}, accepts: &accepts})
	if err != nil {
		t.Fatal(err)
	}
	lis := listen(t, r, echo)
	fmt.Println("address", lis.Addr())
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch in.Text() {
		case "starve": // the numbers in use are made a range without gaps, and three more are allowed
			top, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			for fd := range 64 {
				if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
					_, _ = unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, fd)
				}
				top = max(top, fd)
			}
			if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: uint64(top + 1 + 3), Max: uint64(top + 1 + 3)}); err != nil {
				t.Fatal(err)
			}
		}
		s := r.Stats()
		fmt.Println("stats", s.Conns, s.AcceptErrors, s.Refused, accepts.Load())
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// starving is a server in a process of its own, and its last answer.
type starving struct {
	t     *testing.T
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
	addr  string

	conns, errs, refused, accepts int64
}

func startStarving(t *testing.T) *starving {
	t.Helper()
	k := &starving{t: t, cmd: other(t, "Starved")}
	in, err := k.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := k.cmd.StdoutPipe()
	if err == nil {
		err = k.cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	k.in, k.lines = in, bufio.NewScanner(out)
	k.answer("address %s", &k.addr)
	return k
}

// answer waits for a line of a form.
func (k *starving) answer(format string, to ...any) {
	k.t.Helper()
	for k.lines.Scan() {
		if n, _ := fmt.Sscanf(k.lines.Text(), format, to...); n == len(to) {
			return
		}
	}
	k.t.Fatal("the server is gone")
}

func (k *starving) ask(what string) {
	k.t.Helper()
	if _, err := fmt.Fprintln(k.in, what); err != nil {
		k.t.Fatal(err)
	}
	k.answer("stats %d %d %d %d", &k.conns, &k.errs, &k.refused, &k.accepts)
}

func TestOutOfDescriptors(t *testing.T) {
	k := startStarving(t)
	first, err := net.Dial("tcp", k.addr)
	if err != nil {
		t.Fatal(err)
	}
	if err := echoes(first); err != nil {
		t.Fatal(err)
	}
	k.ask("starve")
	var crowd []net.Conn
	for range 40 {
		if c, err := net.Dial("tcp", k.addr); err == nil { // else it was refused on the spot
			crowd = append(crowd, c)
		}
	}
	waitFor(t, "want of descriptors", func() bool { k.ask(""); return k.errs >= 4 })
	if k.conns < 2 {
		t.Errorf("%d connections: the free descriptors were not used", k.conns)
	}
	if err := echoes(first); err != nil {
		t.Errorf("the established connection: %v", err)
	}
	if k.refused == 0 {
		t.Error("nobody was told")
	}
	before := k.accepts
	time.Sleep(500 * time.Millisecond)
	if k.ask(""); k.accepts-before > 400 { // each loop: pauses of at least 10 ms, two accepts each; a busy loop makes 100,000
		t.Errorf("%d accepts in half a second", k.accepts-before)
	}
	for _, c := range crowd {
		_ = c.Close()
	}
	waitFor(t, "service once descriptors are free", func() bool { // one may still be refused for those before it in the queue
		c, err := net.Dial("tcp", k.addr)
		if err != nil {
			return false
		}
		defer func() { _ = c.Close() }()
		return echoes(c) == nil
	})
	if err := echoes(first); err != nil {
		t.Errorf("the established connection: %v", err)
	}
	_ = first.Close()
	_ = k.in.Close()
	for k.lines.Scan() {
	}
	if err := k.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// Whatever accept returns, the connection that waits is served in the end.
func TestAcceptErrorsPass(t *testing.T) {
	for _, errno := range []unix.Errno{unix.EINTR, unix.ECONNABORTED, unix.EPROTO, unix.ENETDOWN, unix.EHOSTUNREACH,
		unix.ENFILE, unix.ENOMEM, unix.ENOBUFS, unix.EPERM, unix.EINVAL} {
		t.Run(errno.Error(), func(t *testing.T) {
			var accepts atomic.Int64
			fail := []unix.Errno{errno, errno}
			r, err := newReactor(Config{Loops: 1, Poison: true}, countingKernel{linux: linux{base: time.Now()}, accepts: &accepts, fail: fail})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { checkLeaks(t, r, 1<<20, 1<<20) })
			c := dialNet(t, listen(t, r, echo))
			if err := echoes(c); err != nil {
				t.Error(err)
			}
			if n := accepts.Load(); n > 20 {
				t.Errorf("%d accepts", n)
			}
		})
	}
}
