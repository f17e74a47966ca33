package reactor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultUnixMode is the mode of a unix socket's file: its owner, and root, may connect.
const DefaultUnixMode os.FileMode = 0o600

// socketFile says which file a bound unix socket has made, so that only that file is ever removed.
type socketFile struct {
	path     string // "": none (TCP, abstract, or not made by us)
	dev, ino uint64
}

// isAbstract says whether a unix address has no file: those that begin with '@'.
func isAbstract(path string) bool { return strings.HasPrefix(path, "@") }

// listenUnix binds fd to path and makes it listen. At no moment does a file exist that others than mode says may connect
// to: the mode is given to the socket before bind creates the file, where the process-wide umask can only take bits away,
// and bits that it has taken are added before listen, while connect is still refused.
func listenUnix(fd int, path string, mode os.FileMode) (f socketFile, err error) {
	if isAbstract(path) {
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
			return f, os.NewSyscallError("bind", err)
		}
		return f, os.NewSyscallError("listen", unix.Listen(fd, listenBacklog))
	}
	unlock := lockDir(filepath.Dir(path))
	defer unlock()
	if err := removeStale(path); err != nil {
		return f, err
	}
	if err := unix.Fchmod(fd, uint32(mode.Perm())); err != nil {
		return f, os.NewSyscallError("fchmod", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		return f, os.NewSyscallError("bind", err)
	}
	f.path = path
	var st unix.Stat_t
	if err = unix.Lstat(path, &st); err == nil {
		f.dev, f.ino = st.Dev, st.Ino
		if os.FileMode(st.Mode)&os.ModePerm != mode.Perm() {
			err = unix.Fchmodat(unix.AT_FDCWD, path, uint32(mode.Perm()), 0)
		}
	}
	if err == nil {
		err = unix.Listen(fd, listenBacklog)
	}
	if err != nil {
		f.remove()
		return socketFile{}, os.NewSyscallError("listen", err)
	}
	return f, nil
}

// lockDir keeps two starting processes from taking each other's new socket for a stale one: between bind and listen it
// looks like one. The lock is on the directory, so no lock file is left behind. Whoever cannot have it goes on without.
func lockDir(dir string) (unlock func()) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return func() {}
	}
	for range dirLockTries {
		if err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			break
		}
		time.Sleep(dirLockPause)
	}
	return func() { _ = unix.Close(fd) }
}

// removeStale removes the socket file that a dead process has left at path. A live socket and a file of another kind are
// errors, and stay.
func removeStale(path string) error {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); errors.Is(err, unix.ENOENT) {
		return nil
	} else if err != nil {
		return os.NewSyscallError("lstat", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Errorf("%s exists and is not a socket: %w", path, unix.EADDRINUSE)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	// Anything but a refusal (success, a full queue, no permission, another type of socket) means that someone has it.
	if err = unix.Connect(fd, &unix.SockaddrUnix{Name: path}); !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("%s is in use: %w", path, unix.EADDRINUSE)
	}
	return socketFile{path: path, dev: st.Dev, ino: st.Ino}.remove()
}

// remove removes the file, unless another one has taken its place.
func (f socketFile) remove() error {
	if f.path == "" {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Lstat(f.path, &st); err != nil || st.Dev != f.dev || st.Ino != f.ino {
		return nil
	}
	return os.NewSyscallError("unlink", unix.Unlink(f.path))
}

// validateUnix checks the fields that only unix sockets have.
func (lc *ListenConfig) validateUnix(isUnix bool) error {
	switch {
	case !isUnix && (lc.UnixMode != 0 || lc.AllowUIDs != nil || lc.AllowGIDs != nil):
		return errors.New("reactor: UnixMode, AllowUIDs or AllowGIDs is set, allowed only for network unix")
	case lc.UnixMode&^os.ModePerm != 0:
		return fmt.Errorf("reactor: UnixMode is %#o, allowed are permission bits, up to 0777", uint32(lc.UnixMode))
	case (lc.AllowUIDs != nil || lc.AllowGIDs != nil) && len(lc.AllowUIDs)+len(lc.AllowGIDs) == 0:
		return errors.New("reactor: AllowUIDs and AllowGIDs are empty, allowed are nil for the default or at least one number")
	case len(lc.AllowUIDs) > maxAllowed || len(lc.AllowGIDs) > maxAllowed:
		return fmt.Errorf("reactor: AllowUIDs has %d numbers and AllowGIDs %d, allowed are up to %d each", len(lc.AllowUIDs), len(lc.AllowGIDs), maxAllowed)
	}
	return nil
}

// allowList says whose connections a unix listener takes.
type allowList struct {
	any        bool // the file's mode decides alone
	uids, gids []uint32
}

// allowed makes a listener's list. path is "" for an inherited socket whose address is not known.
func (lc *ListenConfig) allowed(path string) allowList {
	switch {
	case lc.AllowUIDs != nil || lc.AllowGIDs != nil:
		return allowList{uids: slices.Clone(lc.AllowUIDs), gids: slices.Clone(lc.AllowGIDs)}
	case isAbstract(path) || path == "":
		return allowList{uids: []uint32{uint32(os.Geteuid()), 0}}
	}
	return allowList{any: true}
}

func (a *allowList) admits(cred *unix.Ucred) bool {
	return a.any || cred != nil && (slices.Contains(a.uids, cred.Uid) || slices.Contains(a.gids, cred.Gid))
}

// peerCred asks for the credentials of a unix socket's peer; nil when the kernel does not tell.
func peerCred(fd int) *unix.Ucred {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return nil
	}
	return cred
}

// PeerCred returns who is at the other end of a unix socket, as the kernel noted at the moment of connect (for a dialled
// connection: of the peer's listen): process, user, and effective group. ok is false for other sockets and while a dial is
// under way. The process number may have been given to another process since. Any goroutine.
func (c *Conn) PeerCred() (pid int32, uid, gid uint32, ok bool) {
	if !c.known.Load() || c.cred == nil {
		return 0, 0, 0, false
	}
	return c.cred.Pid, c.cred.Uid, c.cred.Gid, true
}
