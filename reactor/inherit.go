package reactor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// File returns a duplicate of the listening socket, for a successor: a child process (exec.Cmd.ExtraFiles) or ListenFile.
// The caller closes it. From now on the listener counts as handed over: its Close leaves the connections in the kernel's
// queue, and a unix socket's file, to whoever has the duplicate. Any goroutine.
func (lis *Listener) File() (*os.File, error) {
	fd, err := lis.dup()
	if err != nil {
		return nil, err
	}
	lis.left.Store(true)
	lis.share()
	return os.NewFile(uintptr(fd), lis.name), nil
}

// dup duplicates the socket's descriptor.
func (lis *Listener) dup() (int, error) {
	lis.mu.Lock()
	defer lis.mu.Unlock()
	if lis.closed {
		return -1, ErrClosed
	}
	fd, err := unix.FcntlInt(uintptr(lis.fd), unix.F_DUPFD_CLOEXEC, 0)
	return fd, os.NewSyscallError("fcntl", err)
}

// share notes that other processes may accept from the socket too. The kernel gives the wake-up for a connection to one
// of the loops that wait with EPOLLEXCLUSIVE, and that may be a loop of a process which stops accepting, or dies, before
// it looks: the connection would wait for the next one's wake-up. So one loop of each process waits without it.
func (lis *Listener) share() {
	if lis.shared.CompareAndSwap(false, true) {
		_ = lis.r.loops[0].push(task{kind: taskShare, lis: lis}) // fails when the reactor has stopped
	}
}

// shareListener registers a listener anew.
func (l *loop) shareListener(lis *Listener) {
	for i, a := range l.listeners {
		if a.lis == lis && a.armed {
			l.unarm(a)
			l.arm(i)
		}
	}
}

// ListenFile starts accepting from a listening stream socket that another process, or another reactor, has made. f stays
// the caller's, and may be closed afterwards. Socket options are set as for Listen (on the socket, so for all who share
// it); UnixMode is not allowed: the file is there already, and stays there when the listener is closed. Any goroutine.
func (r *Reactor) ListenFile(f *os.File, lc ListenConfig) (*Listener, error) {
	if f == nil {
		return nil, errors.New("reactor: file is nil, a listening socket is required")
	}
	lis := r.newListener(lc)
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("reactor: listen on %s: %w", f.Name(), err)
	}
	var inner error
	err = raw.Control(func(fd uintptr) { lis.fd, inner = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) })
	if err = errors.Join(err, inner); err != nil {
		return nil, fmt.Errorf("reactor: listen on %s: %w", f.Name(), err)
	}
	if err := lis.inherit(lc); err != nil {
		_ = unix.Close(lis.fd)
		return nil, fmt.Errorf("reactor: listen on %s: %w", f.Name(), err)
	}
	lis.shared.Store(true)
	if err := r.start(lis, lc); err != nil {
		return nil, err
	}
	return lis, nil
}

// inherit checks a socket made elsewhere and prepares it.
func (lis *Listener) inherit(lc ListenConfig) error {
	opt := func(opt int) int {
		v, err := unix.GetsockoptInt(lis.fd, unix.SOL_SOCKET, opt)
		if err != nil {
			return -1 // not a socket
		}
		return v
	}
	family := opt(unix.SO_DOMAIN)
	switch {
	case opt(unix.SO_TYPE) != unix.SOCK_STREAM || opt(unix.SO_ACCEPTCONN) != 1:
		return errors.New("it is not a listening stream socket")
	case family != unix.AF_INET && family != unix.AF_INET6 && family != unix.AF_UNIX:
		return fmt.Errorf("its address family is %d, allowed are IPv4, IPv6 and unix", family)
	case lc.UnixMode != 0:
		return errors.New("UnixMode is set, allowed only where the socket is made")
	}
	if err := lc.validate(family == unix.AF_UNIX); err != nil {
		return err
	}
	if err := unix.SetNonblock(lis.fd, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	return lis.r.configure(lis.fd, family)
}

// InheritedFiles returns the sockets that systemd (or another service manager that follows sd_listen_fds(3)) has passed
// to this process, for ListenFile; each file's Name is its name in LISTEN_FDNAMES, else "LISTEN_FD_" and its number. The
// variables are removed from the environment and the descriptors marked close-on-exec, so children inherit neither, and a
// second call returns nothing. Without sockets meant for this process it returns nil. Call it before other goroutines use
// the environment.
func InheritedFiles() ([]*os.File, error) {
	pid, count, names := os.Getenv("LISTEN_PID"), os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES")
	for _, name := range []string{"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, fmt.Errorf("reactor: %w", err)
		}
	}
	if pid == "" || count == "" {
		return nil, nil
	}
	if p, err := strconv.Atoi(pid); err != nil {
		return nil, fmt.Errorf("reactor: LISTEN_PID is %q, allowed is a process number", pid)
	} else if p != os.Getpid() {
		return nil, nil
	}
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > maxInherited {
		return nil, fmt.Errorf("reactor: LISTEN_FDS is %q, allowed are 0 to %d", count, maxInherited)
	}
	var list []string
	if names != "" {
		if list = strings.Split(names, ":"); len(list) != n {
			return nil, fmt.Errorf("reactor: LISTEN_FDNAMES is %q, allowed are as many names as LISTEN_FDS says (%d)", names, n)
		}
	}
	files := make([]*os.File, 0, n)
	for i := range n {
		fd := firstInherited + i
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil {
			return nil, fmt.Errorf("reactor: LISTEN_FDS is %d, but descriptor %d is not open", n, fd)
		}
	}
	for i := range n {
		fd := firstInherited + i
		unix.CloseOnExec(fd)
		name := "LISTEN_FD_" + strconv.Itoa(fd)
		if list != nil && list[i] != "" {
			name = list[i]
		}
		files = append(files, os.NewFile(uintptr(fd), name))
	}
	return files, nil
}

// firstInherited is SD_LISTEN_FDS_START of sd_listen_fds(3).
const firstInherited = 3
