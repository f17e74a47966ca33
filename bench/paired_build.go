package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

const (
	// toolWait is how long git or the compiler may take to end once they were told to; then they are killed.
	toolWait = 5 * time.Second
	// toolTail is how much of what they say on standard error is in the message when they fail, bytes.
	toolTail = 2 << 10
	// buildTick is how often the progress line of a build is written.
	buildTick = 200 * time.Millisecond
)

// workshop is where the builds of a paired check are made: a temporary directory, which is gone in the end. The user's tree is read and not touched.
type workshop struct {
	dir      string
	tree     string // the user's: the root of the repository that the working directory is in
	progress *report.Progress
	label    string
	builds   int // made so far
}

// Directories of the sources of both sides, in that of the workshop. Their names are of one length: nothing that a build or a process has in it
// differs between sides for where it was made.
const (
	dirBase   = "base"
	dirChange = "mine"
)

// openWorkshop finds the repository. The caller calls close.
func openWorkshop(ctx context.Context, progress *report.Progress, label string) (*workshop, error) {
	root, err := tool(ctx, "", "git", "rev-parse", "--show-toplevel")
	if err != nil {
		return nil, fmt.Errorf("a paired check compares with a commit, and must run within a git checkout: %w", err)
	}
	dir, err := os.MkdirTemp("", "ronbench-paired-")
	if err != nil {
		return nil, err
	}
	return &workshop{dir: dir, tree: strings.TrimSpace(string(root)), progress: progress, label: label}, nil
}

func (w *workshop) close() error { return os.RemoveAll(w.dir) }

// commit is the commit that ref names. A ref that names none is a refused flag.
func (w *workshop) commit(ctx context.Context, ref string) (string, error) {
	out, err := tool(ctx, w.tree, "git", "rev-parse", "--verify", "--quiet", "--end-of-options", ref+"^{commit}")
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	if err != nil {
		return "", &load.FlagError{Flag: "base", Value: fmt.Sprintf("%q", ref), Allowed: "what git knows as a commit here"}
	}
	return strings.TrimSpace(string(out)), nil
}

// changed says what the user's tree is: its commit, and whether files differ from it.
func (w *workshop) changed(ctx context.Context) (string, error) {
	head, err := tool(ctx, w.tree, "git", "rev-parse", "--verify", "HEAD")
	if err != nil {
		return "", err
	}
	dirty, err := tool(ctx, w.tree, "git", "status", "--porcelain")
	if err != nil {
		return "", err
	}
	if len(dirty) > 0 {
		return "the working tree, changed since " + short(head), nil
	}
	return "the working tree, which is " + short(head), nil
}

// short is how a commit is shown.
func short[T string | []byte](commit T) string { return string(commit[:min(12, len(commit))]) }

// checkout writes the files of a commit below a fresh directory, which it returns.
func (w *workshop) checkout(ctx context.Context, commit string) (string, error) {
	dir := filepath.Join(w.dir, dirBase)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	archive, err := tool(ctx, w.tree, "git", "archive", "--format=tar", commit)
	if err != nil {
		return "", err
	}
	return dir, untar(bytes.NewReader(archive), dir)
}

// copyTree copies the user's tree as it is: what git tracks and what it does not ignore. It returns the directory.
func (w *workshop) copyTree(ctx context.Context) (string, error) {
	dir := filepath.Join(w.dir, dirChange)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	names, err := tool(ctx, w.tree, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return "", err
	}
	from, err := os.OpenRoot(w.tree)
	if err != nil {
		return "", err
	}
	defer from.Close()
	to, err := os.OpenRoot(dir)
	if err != nil {
		return "", err
	}
	defer to.Close()
	for name := range strings.SplitSeq(string(names), "\x00") {
		if name == "" {
			continue
		}
		if err := copyFile(from, to, name); err != nil {
			return "", fmt.Errorf("copy of the working tree: %w", err)
		}
	}
	return dir, ctx.Err()
}

// copyFile copies a file or a symbolic link. What is not there, as it was deleted, or is another repository's directory, is left out.
func copyFile(from, to *os.Root, name string) error {
	info, err := from.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.IsDir() {
		return nil
	}
	if err != nil {
		return err
	}
	if err := to.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		target, err := from.Readlink(name)
		if err == nil {
			err = to.Symlink(target, name)
		}
		return err
	}
	in, err := from.Open(name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := to.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode()&0o700|0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil // git names a file in conflict once for each version
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// untar writes an archive below dir. Nothing in it can get out of there.
func untar(r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeDir:
			err = root.MkdirAll(h.Name, 0o700)
		case tar.TypeReg:
			err = untarFile(root, h, t)
		case tar.TypeSymlink:
			err = root.Symlink(h.Linkname, h.Name)
		case tar.TypeXGlobalHeader: // git notes the commit there
		default:
			err = fmt.Errorf("%s is of kind %q", h.Name, h.Typeflag)
		}
		if err != nil {
			return fmt.Errorf("check out: %w", err)
		}
	}
}

func untarFile(root *os.Root, h *tar.Header, r io.Reader) error {
	if err := root.MkdirAll(filepath.Dir(h.Name), 0o700); err != nil {
		return err
	}
	f, err := root.OpenFile(h.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, fs.FileMode(h.Mode)&0o700|0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}

// build builds ronbench from the tree src, with the files of overlay (path in src to path of what stands there instead), and returns its path.
// Builds have no paths in them (-trimpath) and file names of one length, so that those of one source are the same to the byte, wherever it lies.
func (w *workshop) build(ctx context.Context, what, src string, overlay map[string]string) (string, error) {
	w.builds++
	exe := filepath.Join(w.dir, fmt.Sprintf("ronbench-%03d", w.builds))
	args := []string{"build", "-trimpath", "-buildvcs=false", "-o", exe}
	if len(overlay) > 0 {
		b, err := json.Marshal(map[string]any{"Replace": overlay})
		if err != nil {
			return "", err
		}
		file := exe + ".overlay.json"
		if err := os.WriteFile(file, b, 0o600); err != nil {
			return "", err
		}
		args = append(args, "-overlay", file)
	}
	stop := make(chan struct{})
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		w.show(what, stop)
	}()
	_, err := toolIn(ctx, src, []string{"GOTMPDIR=" + w.dir, "GOWORK=off"}, "go", append(args, "./bench")...) // an interrupted compiler leaves files there
	close(stop)
	<-shown
	if err != nil && ctx.Err() == nil {
		return "", fmt.Errorf("the %s does not build: %w", what, err)
	}
	return exe, err
}

// show keeps the progress line of a build alive until stop.
func (w *workshop) show(what string, stop <-chan struct{}) {
	t := time.NewTicker(buildTick)
	defer t.Stop()
	for began := time.Now(); ; {
		w.progress.Line(time.Now(), fmt.Sprintf("%s: building the %s, %.0f s", w.label, what, time.Since(began).Seconds()))
		select {
		case <-stop:
			return
		case <-t.C:
		}
	}
}

// tool runs a program in dir and returns what it prints.
func tool(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	return toolIn(ctx, dir, nil, name, args...)
}

// toolIn is tool with more in the environment. The program has a process group of its own, which ends with ctx, and the program
// itself ends with this process. The error has the end of what it said on standard error.
func toolIn(ctx context.Context, dir string, env []string, name string, args ...string) ([]byte, error) {
	runtime.LockOSThread() // the kernel's signal comes when the thread ends that started the child
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = toolWait
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		b := said.Bytes()
		return nil, fmt.Errorf("%s %s: %w: %s", name, args[0], err, bytes.TrimSpace(b[max(0, len(b)-toolTail):]))
	}
	return out.Bytes(), nil
}
