package tor

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

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
	// Logger is told the same changes, as events with fields that docs/metrics.md lists. It is called on a goroutine of its own and
	// may block: nothing waits for it but Close, for a second. A record's time is the event's. nil: nothing is told.
	Logger *slog.Logger
}

// Process describes a tor that is started, owned and ended by us. It ends with this process, however that ends.
type Process struct {
	// Exe is the program. "": tor, from PATH.
	Exe string
	// DataDir is where tor keeps what it has learned, so that it starts quicker the next time. It is made with mode 0700 if it is not
	// there, and refused if others may use it; its path has at most 77 bytes and no spaces, quotes, commas, hashes and backslashes. "": nothing is kept: a directory of mode 0700 on a tmpfs,
	// removed by Close.
	DataDir string
	// Options are further lines of configuration, such as bridges. Those that this package relies on are refused.
	Options []string
}

// ownOptions are set by us.
var ownOptions = []string{"datadirectory", "controlport", "controlsocket", "socksport", "cookieauthentication", "cookieauthfile",
	"hashedcontrolpassword", "hashedcontrolsessionpassword", "controlsocketsgroupwritable", "log", "logmessagedomains", "runasdaemon", "owningcontrollerprocess", "disablenetwork", "user", "pidfile", "%include"}

// Validate says what Open would refuse c for before it starts anything; the error names the field, its value and what is allowed. Any
// goroutine.
func (c Config) Validate() error {
	_, err := c.withDefaults()
	return err
}

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
	if err := c.Process.checkDir(); err != nil {
		return c, err
	}
	for i, o := range c.Process.Options {
		if strings.ContainsAny(o, "\r\n\x00") || strings.HasSuffix(o, "\\") || setsOwn(o) {
			return c, fmt.Errorf("tor: Process.Options[%d] is %q, allowed is one line that sets none of %s", i, o, strings.Join(ownOptions, ", "))
		}
	}
	return c, nil
}

// checkDir makes DataDir absolute and checks its name.
func (p *Process) checkDir() (err error) {
	if p.DataDir == "" {
		return nil
	}
	if p.DataDir, err = filepath.Abs(p.DataDir); err != nil {
		return fmt.Errorf("tor: Process.DataDir: %w", err)
	}
	if len(p.DataDir) > maxSocketDir {
		return fmt.Errorf("tor: Process.DataDir has %d bytes, allowed are up to %d, for it holds sockets", len(p.DataDir), maxSocketDir)
	}
	if strings.ContainsAny(p.DataDir, " \t\r\n\x00\"',#\\") {
		return fmt.Errorf("tor: Process.DataDir is %q, allowed is a path without spaces, quotes, commas, hashes and backslashes, which tor's commands part words by", p.DataDir)
	}
	return nil
}

// setsOwn says whether a line of configuration sets what is ours, or nothing. Tor takes the beginning of a name for the name.
func setsOwn(line string) bool {
	words := strings.Fields(line)
	if len(words) == 0 {
		return true
	}
	name := strings.TrimLeft(strings.ToLower(words[0]), "+/_")
	return slices.ContainsFunc(ownOptions, func(own string) bool { return strings.HasPrefix(own, name) })
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
