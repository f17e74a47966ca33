package torlab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ron-transport/ron-transport/tor/control"
	"github.com/ron-transport/ron-transport/tor/internal/proc"
)

// Tor is one node of a network. Any goroutine may call its methods.
type Tor struct {
	name  string
	dir   string
	lines []string // of a client's configuration, once the network is up
	mu    sync.Mutex
	proc  *proc.Process // nil before the first start
}

// Name is "authority", "relay1" …, "client1" ….
func (t *Tor) Name() string { return t.name }

// ControlSocket is the path of its control port.
func (t *Tor) ControlSocket() string { return filepath.Join(t.dir, "control") }

// SocksSocket is the path of its SOCKS port; clients have one, with ExtendedErrors.
func (t *Tor) SocksSocket() string { return filepath.Join(t.dir, "socks") }

// CookieFile holds the cookie for the control port.
func (t *Tor) CookieFile() string { return filepath.Join(t.data(), "control_auth_cookie") }

// Log is its log file.
func (t *Tor) Log() string { return filepath.Join(t.dir, "log") }

// data is its DataDirectory.
func (t *Tor) data() string { return filepath.Join(t.dir, "data") }

// Pid is the process' number.
func (t *Tor) Pid() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.proc.Pid()
}

// write makes its directory and configuration.
func (t *Tor) write(lines ...string) error {
	if err := os.MkdirAll(t.data(), 0o700); err != nil {
		return err
	}
	// GeoIP files: reading them costs each node a second of CPU.
	lines = append([]string{"DataDirectory " + t.data(), "ControlSocket " + t.ControlSocket(), "CookieAuthentication 1",
		"Log notice file " + t.Log(), "ShutdownWaitLength 0", "ConnLimit 512",
		"GeoIPFile /dev/null", "GeoIPv6File /dev/null"}, lines...)
	for name, text := range map[string]string{"torrc": strings.Join(lines, "\n") + "\n", "defaults": ""} {
		if err := os.WriteFile(filepath.Join(t.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// remember writes the state of a relay that has carried a megabyte per second in the past two days. Without it relays advertise what they have
// found in the seconds before the first vote, which is 0 or 1 kilobyte; when one of them has a 1, the consensus has it chosen for every
// place of a path, and no path can be built.
func (t *Tor) remember() error {
	const perDay, perTenSeconds = 24 * 3600 << 20, 10 << 20
	var b strings.Builder
	for _, way := range []string{"Read", "Write"} {
		fmt.Fprintf(&b, "BWHistory%sEnds %s\nBWHistory%sInterval %d\n", way, time.Now().UTC().Format(time.DateTime), way, 24*3600)
		fmt.Fprintf(&b, "BWHistory%sValues %d,%d\nBWHistory%sMaxima %d,%d\n", way, perDay, perDay, way, perTenSeconds, perTenSeconds)
	}
	return os.WriteFile(filepath.Join(t.data(), "state"), []byte(b.String()), 0o600)
}

// args are the arguments that keep tor to its own files.
func (t *Tor) args(more ...string) []string {
	return append([]string{"-f", filepath.Join(t.dir, "torrc"), "--defaults-torrc", filepath.Join(t.dir, "defaults")}, more...)
}

// start runs it.
func (t *Tor) start() (err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.proc, err = proc.Start("", "tor", t.args()...)
	return err
}

// Kill ends the process at once, as a crash would.
func (t *Tor) Kill() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.proc != nil {
		t.proc.Kill()
	}
}

// stop ends the process in order.
func (t *Tor) stop() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.proc == nil {
		return nil
	}
	return t.proc.Stop(stopGrace)
}

// Restart starts the process again after Kill, or kills it first, and returns when its control port answers.
func (t *Tor) Restart(ctx context.Context) error {
	t.Kill()
	if err := t.start(); err != nil {
		return err
	}
	c, err := t.control(ctx)
	if err != nil {
		return err
	}
	return c.Close()
}

// died returns why the process has ended, nil while it runs.
func (t *Tor) died() error {
	t.mu.Lock()
	p := t.proc
	t.mu.Unlock()
	select {
	case <-p.Done():
		if err := p.Err(); err != nil {
			return fmt.Errorf("torlab: %s: %w", t.name, err)
		}
		return fmt.Errorf("torlab: %s has ended: %s", t.name, p.Complaint())
	default:
		return nil
	}
}

// control connects to its control port, which a tor that has just been started opens some 50 ms later.
func (t *Tor) control(ctx context.Context) (*control.Conn, error) {
	for {
		c, err := control.Dial(ctx, "unix", t.ControlSocket(), control.Options{})
		if err == nil {
			if _, err = c.Authenticate(ctx, control.Auth{}); err == nil {
				return c, nil
			}
			_ = c.Close()
		}
		if died := t.died(); died != nil {
			return nil, died
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("torlab: %s: %w", t.name, errors.Join(ctx.Err(), err))
		}
		time.Sleep(pollEvery)
	}
}

// await asks its control port again and again until ok says so.
func (t *Tor) await(ctx context.Context, key string, ok func(answer string) bool) error {
	c, err := t.control(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	answer := ""
	for {
		a, err := c.GetInfo(ctx, key)
		switch {
		case err == nil && ok(a):
			return nil
		case err == nil:
			answer = a
		case t.died() != nil:
			return t.died()
		}
		if ctx.Err() != nil {
			return fmt.Errorf("torlab: %s: %w while %s is %.200q", t.name, ctx.Err(), key, answer)
		}
		time.Sleep(pollEvery)
	}
}
