package certs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

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

// judgeSecret applies the rule for key files to an opened one.
func judgeSecret(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%s has mode %#o; allowed: none of %#o, neither group nor others may read or write a key", path, mode, 0o077)
	}
	if err := judgeDir(filepath.Dir(path), info); err != nil {
		return err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	return judgeDir(filepath.Dir(real), info)
}

// judgeDir refuses a directory in which others may put a file of theirs in the place of this one: it is their key that would be used
// then. With the sticky bit they cannot, as long as the file is root's or our own. Group-writable directories are the
// administrator's business.
func judgeDir(dir string, file fs.FileInfo) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if info.Mode().Perm()&0o002 == 0 {
		return nil
	}
	if st, ok := file.Sys().(*syscall.Stat_t); ok && info.Mode()&fs.ModeSticky != 0 && (st.Uid == 0 || int(st.Uid) == os.Geteuid()) {
		return nil
	}
	return fmt.Errorf("directory %s has mode %#o; allowed: not writable by others, or sticky with the key owned by root or this process",
		dir, info.Mode().Perm())
}

// writeSecret replaces a file in one step: readers see the old or the new content, whole, also after a crash.
func writeSecret(path string, b []byte) (err error) {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // renaming onto a link would replace the link
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".*") // mode 0600
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

// syncDir makes a rename last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
