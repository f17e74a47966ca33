package impair

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// ErrUnable: this machine, or this user, cannot make the path. The cause is in the chain.
var ErrUnable = errors.New("impair: no emulated path here")

// Namespace is a network namespace, held open by a descriptor: one without a name lives as long as that, a process in it, or a socket of it.
// Any goroutine.
type Namespace struct{ f *os.File }

// OpenNamespace opens the namespace at path, such as /run/netns/NAME, or /proc/PID/fd/FD of a process that holds one. The caller closes it.
func OpenNamespace(path string) (*Namespace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &s); err != nil || s.Type != unix.NSFS_MAGIC {
		return nil, errors.Join(fmt.Errorf("%s is no namespace", path), err, f.Close())
	}
	return &Namespace{f}, nil
}

// NewNamespace makes a namespace without a name, with its loopback up. The caller closes it.
func NewNamespace() (*Namespace, error) {
	type result struct {
		n   *Namespace
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- result{nil, fmt.Errorf("%w: a network namespace: %w", ErrUnable, err)}
			return
		}
		n, err := OpenNamespace("/proc/thread-self/ns/net")
		if err == nil {
			err = linkUp("lo")
		}
		done <- result{n, err}
	}()
	r := <-done
	return r.n, r.err
}

// Path is where other processes of this user find the namespace while this process has it open.
func (n *Namespace) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.f.Fd()) }

// Close lets go of the namespace.
func (n *Namespace) Close() error { return n.f.Close() }

// Inside calls f on a thread that is in the namespace. What f starts or opens there, processes and sockets, belongs to the namespace; goroutines
// that f begins run outside. It returns f's error.
func (n *Namespace) Inside(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread, which is in the wrong namespace, ends with the goroutine
		err := os.NewSyscallError("setns", unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET))
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// Available says why no path can be made on this machine, nil if it can. It tries: a namespace, and a TUN device in it, which are gone when it
// returns.
func Available() error {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Errorf("%w: it needs root, and this is user %d", ErrUnable, uid)
	}
	n, err := NewNamespace()
	if err != nil {
		return err
	}
	err = n.Inside(func() error {
		t, err := openTUN("probe")
		if err != nil {
			return err
		}
		return unix.Close(t)
	})
	return errors.Join(err, n.Close())
}
