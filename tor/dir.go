package tor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// tmpfs are the directories where a tmpfs may be. Not /tmp: where it is one, it is cleaned of what is old.
var tmpfs = []string{"/dev/shm", userTmpfs, "/run"}

// userTmpfs is that of a user who has logged in, by number.
const userTmpfs = "/run/user/%d"

// makeDir makes the data directory. owner is not nil for one on a tmpfs, which is to be removed in the end: as long as it is open, nobody
// else takes the directory for one that a process has left behind.
func (p *Process) makeDir() (owner *os.File, err error) {
	if p.DataDir == "" {
		return p.makeTemporary()
	}
	if err := os.Mkdir(p.DataDir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("tor: Process.DataDir: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(p.DataDir, &st); err != nil {
		return nil, fmt.Errorf("tor: Process.DataDir: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Mode&0o077 != 0 || int(st.Uid) != os.Geteuid() {
		return nil, fmt.Errorf("tor: Process.DataDir is %s with mode %#o and owner %d, allowed is a directory of mode 0700 that belongs to user %d",
			p.DataDir, st.Mode, st.Uid, os.Geteuid())
	}
	return nil, nil
}

// What temporary directories are called, and the file in them that is locked by their owner.
const (
	temporaryPrefix = "ron-tor-"
	ownerFile       = "owner"
)

// youngDir is the age below which a directory may be one that is just being made, and has no owner yet.
const youngDir = time.Minute

// makeTemporary makes a directory in memory, and removes those of processes that were killed.
func (p *Process) makeTemporary() (owner *os.File, err error) {
	for _, dir := range tmpfs {
		if dir == userTmpfs {
			dir = fmt.Sprintf(dir, os.Geteuid())
		}
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) != nil || int64(st.Type) != unix.TMPFS_MAGIC {
			continue
		}
		sweep(dir)
		if p.DataDir, err = os.MkdirTemp(dir, temporaryPrefix); err != nil { // mode 0700
			continue
		}
		if owner, err = lockOwner(p.DataDir, os.O_CREATE); err == nil {
			return owner, nil
		}
		return nil, errors.Join(fmt.Errorf("tor: %w", err), os.RemoveAll(p.DataDir))
	}
	return nil, errors.New(`tor: Process.DataDir is "", allowed only where /dev/shm, /run/user/UID or /run is a tmpfs that we may write to`)
}

// lockOwner opens and locks the file that says whose a directory is; it fails when somebody else has it.
func lockOwner(dir string, flags int) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, ownerFile), os.O_RDWR|unix.O_NOFOLLOW|flags, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(os.NewSyscallError("flock", err), f.Close())
	}
	return f, nil
}

// sweep removes our user's temporary directories that nobody owns any more. What it cannot remove stays.
func sweep(dir string) {
	old, _ := filepath.Glob(filepath.Join(dir, temporaryPrefix+"*")) // the pattern is well formed
	for _, d := range old {
		var st unix.Stat_t
		if unix.Lstat(d, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() || time.Since(time.Unix(st.Mtim.Unix())) < youngDir {
			continue
		}
		f, err := lockOwner(d, 0)
		if err == nil || errors.Is(err, os.ErrNotExist) {
			_ = os.RemoveAll(d)
		}
		if err == nil {
			_ = f.Close()
		}
	}
}
