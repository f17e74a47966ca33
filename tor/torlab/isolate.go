package torlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolatedEnv marks a process that Isolate has started.
const isolatedEnv = "RON_TORLAB_ISOLATED"

// ErrNotIsolated: there is no network namespace for us. A Network is still kept to loopback by its configuration.
var ErrNotIsolated = errors.New("torlab: no network namespace of our own")

// Command is how Isolate runs this program again. What is not set is as this program has it.
type Command struct {
	Args           []string // without the program's name
	Stdout, Stderr io.Writer
}

// Isolate runs this program again, with the same environment, in a network namespace whose only interface is the loopback, and waits for
// it; when ctx ends it gets SIGTERM. done: that has been, and the caller should exit with code. In the program that runs there, it
// returns at once, with done false. Root may do that; others may where the kernel lets them make user namespaces. Elsewhere it returns
// ErrNotIsolated with the cause in its chain. To be called before anything else is begun, in main or TestMain.
func Isolate(ctx context.Context, c Command) (code int, done bool, err error) {
	if os.Getenv(isolatedEnv) != "" {
		return 0, false, loopbackUp()
	}
	exe, err := os.Executable()
	if err != nil {
		return 0, false, fmt.Errorf("%w: %w", ErrNotIsolated, err)
	}
	cmd := exec.CommandContext(ctx, exe, os.Args[1:]...)
	if cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr; c.Stdout != nil {
		cmd.Stdout = c.Stdout
	}
	if c.Stderr != nil {
		cmd.Stderr = c.Stderr
	}
	if c.Args != nil {
		cmd.Args = append([]string{exe}, c.Args...)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) }
	cmd.Env = append(os.Environ(), isolatedEnv+"=1")
	cmd.SysProcAttr = isolation()
	runtime.LockOSThread() // Pdeathsig watches the thread
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		return 0, false, fmt.Errorf("%w: %w", ErrNotIsolated, err)
	}
	_ = cmd.Wait()                                    // the exit code says it
	if code = cmd.ProcessState.ExitCode(); code < 0 { // ended by a signal
		code = 1
	}
	return code, true, nil
}

// isolation is a new network namespace, in a user namespace where that is needed to make one.
func isolation() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM,
		Setpgid: true} // so that a Ctrl-C at the terminal comes once, by way of the parent
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		attr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
	}
	return attr
}

// Isolated reports whether this process sees no interface but the loopback.
func Isolated() bool {
	all, err := net.Interfaces()
	return err == nil && len(all) == 1 && all[0].Flags&net.FlagLoopback != 0
}

// loopbackUp brings the loopback interface up, which is down in a new namespace.
func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr); err != nil {
		return fmt.Errorf("%w: loopback: %w", ErrNotIsolated, err)
	}
	return nil
}
