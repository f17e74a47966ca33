package certs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// tempSuffix ends the names of files that are being written.
const tempSuffix = ".new"

// readFile reads a regular file of at most limit bytes. A secret one is judged first, on the descriptor that is read: a check by
// name could look at another file.
func readFile(path string, limit int64, secret bool) ([]byte, error) {
	// Without O_NONBLOCK a FIFO in the file's place would hang the watcher.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	if secret {
		if err := judgeSecret(path, info); err != nil {
			return nil, err
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("%s has more than %d bytes", path, limit)
	}
	return b, nil
}

// ReadSecret reads a file of at most limit bytes that holds a key of the caller's, by the rule for Pair.KeyFile. Errors name the path,
// what is wrong and what is allowed, never the content. Any goroutine.
func ReadSecret(path string, limit int64) ([]byte, error) { return readFile(path, limit, true) }

// judgeSecret applies the rule for key files to an opened one, and to the links that lead to it.
func judgeSecret(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 && !(mode&0o037 == 0 && lent(info, os.Geteuid(), groups())) {
		return fmt.Errorf("%s has mode %#o; allowed: none of %#o, neither group nor others may read or write a key, "+
			"but a file of root may be readable by a group of a process that is not root", path, mode, 0o077)
	}
	if !ours(info) {
		return fmt.Errorf("%s belongs to user %d; allowed: 0 and this process's %d, as the owner can read and replace it", path, owner(info), os.Geteuid())
	}
	for range maxLinks {
		entry, err := os.Lstat(path)
		if err != nil {
			return err
		}
		if err := judgeDir(filepath.Dir(path), entry); err != nil {
			return err
		}
		if entry.Mode()&fs.ModeSymlink == 0 {
			return nil
		}
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		if !filepath.IsAbs(target) {
			target = filepath.Dir(path) + "/" + target // not cleaned: what .. means behind a link is for the system to say
		}
		path = target
	}
	return fmt.Errorf("%s is behind more than %d links", path, maxLinks)
}

// lent says whether a file is root's and of a group that a process, which is not root, has among its own. Then root has decided who reads
// it, and it could not be given to the process otherwise: so are a Secret's files in a pod with an fsGroup.
func lent(info fs.FileInfo, euid int, groups []int) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && st.Uid == 0 && euid != 0 && slices.Contains(groups, int(st.Gid))
}

// groups are those of this process.
func groups() []int {
	more, _ := os.Getgroups() // without them a key is refused that might be allowed
	return append(more, os.Getegid())
}

// ours says whether only root and the user of this process decide about a file, as its owner.
func ours(info fs.FileInfo) bool {
	uid := owner(info)
	return uid == 0 || uid == os.Geteuid()
}

// owner is the user id of a file's owner; -1 when the file system does not say.
func owner(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

// judgeDir refuses a directory in which others may put something of theirs in the place of this file or link: it is their key that
// would be used then. With the sticky bit they cannot, as long as the entry is root's or our own.
// Group-writable directories are the administrator's business.
func judgeDir(dir string, entry fs.FileInfo) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o002 == 0 || (info.Mode()&fs.ModeSticky != 0 && ours(entry)) {
		return nil
	}
	return fmt.Errorf("directory %s has mode %#o; allowed: not writable by others, or sticky with the key, or the link to it, owned by root or this process",
		dir, info.Mode().Perm())
}

// writeSecret replaces a file in one step: readers see the old or the new content, whole, also after a crash. Its errors name path,
// not the temporary file, whose name is another each time: they are compared, so as to be told once.
func writeSecret(path string, b []byte) error {
	err := replaceSecret(path, b)
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return &fs.PathError{Op: "replace", Path: path, Err: p.Err}
	case errors.As(err, &l):
		return &fs.PathError{Op: "replace", Path: path, Err: l.Err}
	}
	return err
}

func replaceSecret(path string, b []byte) (err error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // renaming onto a link would replace the link
	}
	dir, name := filepath.Dir(path), "."+filepath.Base(path)+"."
	removeLeftovers(dir, name)
	f, err := os.CreateTemp(dir, name+"*"+tempSuffix) // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	return syncDir(dir)
}

// removeLeftovers deletes what writers that were killed have left: keys that would never be forgotten.
func removeLeftovers(dir, name string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), name) || !strings.HasSuffix(e.Name(), tempSuffix) {
			continue
		}
		// A writer that is still there after all that time fails, says so and tries again.
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && time.Since(info.ModTime()) > leftoverAge {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// syncDir makes a rename last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
