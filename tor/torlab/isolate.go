package torlab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolatedEnv marks a process that Isolate has started.
const isolatedEnv = "RON_TORLAB_ISOLATED"

// ErrNotIsolated: there is no network namespace for us. A Network is still kept to loopback by its configuration.
var ErrNotIsolated = errors.New("torlab: no network namespace of our own")

// Isolate runs this program again, with the same arguments, environment and files, in a network namespace whose only interface is the
// loopback, and waits for it. done: that has been, and the caller should exit with code. In the program that runs there, it returns
// at once, with done false. Root may do that; others may where the kernel lets them make user namespaces. Elsewhere it returns
// ErrNotIsolated with the cause in its chain. To be called first in main or TestMain.
func Isolate() (code int, done bool, err error) {
	if os.Getenv(isolatedEnv) != "" {
		return 0, false, loopbackUp()
	}
	exe, err := os.Executable()
	if err != nil {
		return 0, false, fmt.Errorf("%w: %w", ErrNotIsolated, err)
	}
	cmd := exec.Command(exe, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), isolatedEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_NET_ADMIN}
	}
	if err := cmd.Start(); err != nil {
		return 0, false, fmt.Errorf("%w: %w", ErrNotIsolated, err)
	}
	if err = cmd.Wait(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			return 0, false, err
		}
		if code = exit.ExitCode(); code < 0 { // ended by a signal
			code = 1
		}
	}
	return code, true, nil
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
