// Package tokiorustls is the peer in another language: an echo server on tokio and tokio-rustls, from the small source beside this
// file. It is built where cargo and Debian's librust packages are present, from those packages alone (nothing is fetched),
// once for each state of the source and of what it is built from.
package tokiorustls

import (
	"bufio"
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Packages are those of Debian 12 that the build needs, besides a C compiler.
const Packages = "cargo librust-tokio-dev librust-tokio-rustls-dev librust-rustls-pemfile-dev"

const (
	// registry is where Debian's librust packages put their sources.
	registry = "/usr/share/cargo/registry"
	// program is the name that Cargo.toml gives.
	program = "tokio-rustls-echo"
	// wanted is how the crate's directory begins whose interface the source is written for. Debian 13 has another one.
	wanted = "tokio-rustls-0.23."
	// tailLines of what cargo says are kept for the message when it fails.
	tailLines = 12
	// killWait is how long cargo's output is waited for once it has been killed.
	killWait = 5 * time.Second
	// lockPoll is how often a build that another process has under way is looked at.
	lockPoll = 100 * time.Millisecond
)

//go:embed Cargo.toml src/main.rs
var sources embed.FS

// Unavailable says why there is no such peer on this machine.
type Unavailable struct{ Reason string }

// Error is the reason.
func (e *Unavailable) Error() string { return "not available: " + e.Reason }

// DefaultCache is the directory for what is built: the user's cache, or a temporary directory that stays.
func DefaultCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		dir = filepath.Join(os.TempDir(), fmt.Sprintf("cache-%d", os.Getuid()))
	}
	return filepath.Join(dir, "ronbench")
}

// Build returns the path of the server below the directory cache, and builds it if it is not there. progress gets a line now
// and then. The error is an *Unavailable where the machine lacks something or the build fails; otherwise ctx has ended, or
// cache cannot be written.
func Build(ctx context.Context, cache string, progress func(line string)) (string, error) {
	crates, err := crates(registry)
	if err != nil {
		return "", err
	}
	cargos := inPath("cargo")
	if len(cargos) == 0 {
		return "", &Unavailable{"no cargo in PATH (Debian: " + Packages + ")"}
	}
	if len(inPath("cc")) == 0 {
		return "", &Unavailable{"no C compiler (cc) in PATH, which the crate ring needs (Debian: gcc)"}
	}
	if err := private(cache); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, filepath.Join(cache, program+".lock"), progress)
	if err != nil {
		return "", err
	}
	defer unlock()
	var last error
	for _, cargo := range cargos {
		exe := filepath.Join(cache, program+"-"+key(ctx, cargo, crates))
		if exists(exe) {
			return exe, nil
		}
		if last = build(ctx, cargo, cache, exe, progress); last == nil {
			return exe, nil
		}
		if _, ok := errors.AsType[*Unavailable](last); !ok {
			break
		}
	}
	return "", last
}

// private makes the directory, and refuses one into which somebody else may have put a program.
func private(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if st.Uid != uint32(os.Getuid()) || st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s: is to be a directory of this user that nobody else may write to", dir)
	}
	return nil
}

// crates are the names of the directories in the registry dir, if what is needed is among them.
func crates(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var names []string
	found, other := false, ""
	for _, e := range entries {
		names = append(names, e.Name())
		if strings.HasPrefix(e.Name(), wanted) {
			found = true
		} else if strings.HasPrefix(e.Name(), "tokio-rustls-") {
			other = ", there is " + e.Name()
		}
	}
	if !found {
		return nil, &Unavailable{fmt.Sprintf("no %sx in %s%s (Debian 12: %s)", wanted, dir, other, Packages)}
	}
	return names, nil
}

// inPath finds every program of that name in PATH: the first need not be one that works.
func inPath(name string) []string {
	var found []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if p, err := exec.LookPath(filepath.Join(dir, name)); err == nil && filepath.IsAbs(p) {
			found = append(found, p)
		}
	}
	return found
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// key names what a build is made from: the source, the compiler, the crates.
func key(ctx context.Context, cargo string, crates []string) string {
	h := sha256.New()
	for _, name := range []string{"Cargo.toml", "src/main.rs"} {
		b, err := sources.ReadFile(name)
		if err != nil {
			panic(err) // they are embedded
		}
		h.Write(b)
	}
	version, err := exec.CommandContext(ctx, cargo, "--version").Output()
	fmt.Fprintf(h, "%s %s %v %q", cargo, version, err, crates)
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

// lock makes sure that one process builds at a time; the others then find what it has built. The lock goes when its process
// does.
func lock(ctx context.Context, path string, progress func(string)) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	t := time.NewTicker(lockPoll)
	defer t.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
		}
		progress("another process is building it")
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-t.C:
		}
	}
}

// build builds exe in a directory of its own, which is gone afterwards.
func build(ctx context.Context, cargo, cache, exe string, progress func(string)) error {
	dir, err := os.MkdirTemp(cache, ".build-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, sources); err != nil {
		return err
	}
	// A CARGO_HOME of its own keeps the user's configuration out, which may name other sources.
	home := filepath.Join(dir, "home")
	config := fmt.Sprintf("[source.crates-io]\nreplace-with = \"debian\"\n\n[source.debian]\ndirectory = %q\n", registry)
	if err := errors.Join(os.Mkdir(home, 0o700), os.WriteFile(filepath.Join(home, "config.toml"), []byte(config), 0o600)); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, cargo, "build", "--release", "--offline", "--color", "never")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CARGO_HOME="+home, "CARGO_TARGET_DIR="+filepath.Join(dir, "target"), "CARGO_TERM_PROGRESS_WHEN=never")
	if rustc := filepath.Join(filepath.Dir(cargo), "rustc"); exists(rustc) { // the one that goes with this cargo
		cmd.Env = append(cmd.Env, "RUSTC="+rustc)
	}
	if err := run(cmd, progress); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &Unavailable{fmt.Sprintf("%s could not build it: %v", cargo, err)}
	}
	return os.Rename(filepath.Join(dir, "target", "release", program), exe)
}

// run runs cmd in a process group of its own, so that the compilers it has started end with it, and tells what it says. The
// error has its last lines.
func run(cmd *exec.Cmd, progress func(string)) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = killWait
	r, w := io.Pipe()
	cmd.Stderr = w
	told := make(chan []string, 1)
	go func() {
		var tail []string
		sc := bufio.NewScanner(r)
		for sc.Scan() {
			line := strings.TrimSpace(sc.Text())
			progress(line)
			tail = append(tail, line)
			tail = tail[max(0, len(tail)-tailLines):]
		}
		_, _ = io.Copy(io.Discard, r) // a line too long for the scanner must not block cargo
		told <- tail
	}()
	err := cmd.Run()
	w.Close()
	if tail := <-told; err != nil {
		return fmt.Errorf("%w: %s", err, strings.Join(tail, "; "))
	}
	return nil
}
