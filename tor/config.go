package tor

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ron-transport/ron-transport/tor/control"
)

// Config says which tor is used. The zero value starts one that leaves nothing on disk. Open validates it before anything starts; the
// error names the field, its value and what is allowed.
type Config struct {
	// Control is the control port of a tor that runs: "unix:/path" or "host:port". "": Open starts one, see Process.
	Control string
	// Auth holds the means to authenticate at Control. The zero value is right where the cookie's file may be read. Only with Control.
	Auth control.Auth
	// SOCKS is the port that dials go through: "unix:/path" or "host:port". "": the first that tor tells it listens on. Only with Control.
	SOCKS string
	// Process describes the tor that is started. Only without Control.
	Process Process
	// BootstrapTimeout is after which a tor that has not bootstrapped counts as failed: Status' reason becomes tor_bootstrap. It goes on
	// trying. 0: 90 s; else 1 s … 10 min. The seed asks for 60 to 120 s (§3); bridges may need more.
	BootstrapTimeout time.Duration
	// OnStatus is told of changes, the latest only when they come quickly. It must not wait for the Tor. Called on a goroutine of its own.
	OnStatus func(Status)
}

// Process describes a tor that is started, owned and ended by us. It ends with this process, however that ends.
type Process struct {
	// Exe is the program. "": tor, from PATH.
	Exe string
	// DataDir is where tor keeps what it has learned, so that it starts quicker the next time. It is made with mode 0700 if it is not
	// there, and refused if others may use it; its path has at most 77 bytes. "": nothing is kept: a directory of mode 0700 on a tmpfs,
	// removed by Close.
	DataDir string
	// Options are further lines of configuration, such as bridges. Those that this package relies on are refused.
	Options []string
}

// ownOptions are set by us.
var ownOptions = []string{"datadirectory", "controlport", "controlsocket", "socksport", "cookieauthentication", "cookieauthfile",
	"hashedcontrolpassword", "log", "logmessagedomains", "runasdaemon", "__owningcontrollerprocess", "disablenetwork", "user", "pidfile", "%include"}

// withDefaults validates and completes c.
func (c Config) withDefaults() (Config, error) {
	if c.BootstrapTimeout == 0 {
		c.BootstrapTimeout = DefaultBootstrapTimeout
	}
	if c.BootstrapTimeout < minBootstrap || c.BootstrapTimeout > maxBootstrap {
		return c, fmt.Errorf("tor: BootstrapTimeout is %v, allowed are %v to %v, 0 for %v", c.BootstrapTimeout, minBootstrap, maxBootstrap, DefaultBootstrapTimeout)
	}
	if c.Control != "" {
		return c, c.validateAttached()
	}
	if c.SOCKS != "" || c.Auth != (control.Auth{}) {
		return c, errors.New("tor: SOCKS or Auth is set, allowed only with Control: a tor that is started has its own")
	}
	if c.Process.Exe == "" {
		c.Process.Exe = "tor"
	}
	exe, err := exec.LookPath(c.Process.Exe)
	if err != nil {
		return c, fmt.Errorf("tor: Process.Exe is %q, a program is required (Debian has it in the package tor): %w", c.Process.Exe, err)
	}
	c.Process.Exe = exe
	if len(c.Process.DataDir) > maxSocketDir {
		return c, fmt.Errorf("tor: Process.DataDir has %d bytes, allowed are up to %d, for it holds sockets", len(c.Process.DataDir), maxSocketDir)
	}
	for i, o := range c.Process.Options {
		name, _, _ := strings.Cut(strings.TrimLeft(strings.TrimSpace(o), "+/"), " ")
		if strings.ContainsAny(o, "\r\n\x00") || strings.HasSuffix(o, "\\") || name == "" || slices.Contains(ownOptions, strings.ToLower(name)) {
			return c, fmt.Errorf("tor: Process.Options[%d] is %q, allowed is one line that sets none of %s", i, o, strings.Join(ownOptions, ", "))
		}
	}
	return c, nil
}

func (c Config) validateAttached() error {
	if c.Process.Exe != "" || c.Process.DataDir != "" || c.Process.Options != nil {
		return errors.New("tor: Process is set, allowed only without Control: a tor that runs already is not ours to configure")
	}
	if _, _, err := splitAddr(c.Control); err != nil {
		return fmt.Errorf("tor: Control is %q: %w", c.Control, err)
	}
	if c.SOCKS != "" {
		if _, _, err := splitAddr(c.SOCKS); err != nil {
			return fmt.Errorf("tor: SOCKS is %q: %w", c.SOCKS, err)
		}
	}
	return nil
}

// splitAddr takes "unix:/path" or "host:port" apart.
func splitAddr(s string) (network, addr string, err error) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		if path == "" {
			return "", "", errors.New("allowed is unix:/path")
		}
		return "unix", path, nil
	}
	if _, port, err := net.SplitHostPort(s); err != nil || port == "" {
		return "", "", errors.New("allowed are unix:/path and host:port")
	}
	return "tcp", s, nil
}

// tmpfs are the directories where a tmpfs may be.
var tmpfs = []string{"/dev/shm", "/run/user/%d", "/run"}

// makeDir makes the data directory. temporary: it is on a tmpfs and to be removed in the end.
func (p *Process) makeDir() (temporary bool, err error) {
	if p.DataDir == "" {
		return true, p.makeTemporary()
	}
	if p.DataDir, err = filepath.Abs(p.DataDir); err != nil {
		return false, fmt.Errorf("tor: Process.DataDir: %w", err)
	}
	if err := os.Mkdir(p.DataDir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return false, fmt.Errorf("tor: Process.DataDir: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(p.DataDir, &st); err != nil {
		return false, fmt.Errorf("tor: Process.DataDir: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || st.Mode&0o077 != 0 || int(st.Uid) != os.Geteuid() {
		return false, fmt.Errorf("tor: Process.DataDir is %s with mode %#o and owner %d, allowed is a directory of mode 0700 that belongs to user %d",
			p.DataDir, st.Mode, st.Uid, os.Geteuid())
	}
	return false, nil
}

// makeTemporary makes a directory in memory.
func (p *Process) makeTemporary() (err error) {
	for _, dir := range tmpfs {
		if strings.Contains(dir, "%d") {
			dir = fmt.Sprintf(dir, os.Geteuid())
		}
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) != nil || int64(st.Type) != unix.TMPFS_MAGIC {
			continue
		}
		if p.DataDir, err = os.MkdirTemp(dir, "ron-tor-"); err == nil { // mode 0700
			return nil
		}
	}
	return errors.New(`tor: Process.DataDir is "", allowed only where /dev/shm, /run/user/UID or /run is a tmpfs that we may write to`)
}
