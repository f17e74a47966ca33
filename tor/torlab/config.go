package torlab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// Config describes a network. The zero value is valid.
type Config struct {
	// Dir is where keys, sockets and logs go; its path has at most 80 bytes. It is made if it is not there, and stays. "": a new
	// temporary directory, which Close removes, unless something failed.
	Dir string
	// Relays and Clients are how many of each; 0 for the defaults. 3 … 16 and 1 … 16.
	Relays, Clients int
	// ClientOptions are further lines for the clients' configuration.
	ClientOptions []string
	// Progress is told what is under way and how much of it is done, from 0 to 100. nil: nobody is. Called on Start's goroutine.
	Progress func(stage string, percent int)
	// Timeout bounds Start. 0: DefaultTimeout; else 1 s … 10 min.
	Timeout time.Duration
}

// Available returns nil if what a network needs is installed, else an error that says what is missing.
func Available() error {
	for _, exe := range []string{"tor", "tor-gencert"} {
		if _, err := exec.LookPath(exe); err != nil {
			return fmt.Errorf("torlab: %s is not installed (Debian has it in the package tor): %w", exe, err)
		}
	}
	return nil
}

// withDefaults validates and completes c.
func (c Config) withDefaults() (Config, error) {
	for _, f := range []struct {
		name          string
		v             *int
		def, min, max int
	}{{"Relays", &c.Relays, DefaultRelays, DefaultRelays, MaxRelays}, {"Clients", &c.Clients, DefaultClients, 1, MaxClients}} {
		if *f.v == 0 {
			*f.v = f.def
		}
		if *f.v < f.min || *f.v > f.max {
			return c, fmt.Errorf("torlab: %s is %d, allowed are %d to %d", f.name, *f.v, f.min, f.max)
		}
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Timeout < minTimeout || c.Timeout > maxTimeout {
		return c, fmt.Errorf("torlab: Timeout is %v, allowed are %v to %v", c.Timeout, minTimeout, maxTimeout)
	}
	if len(c.Dir) > maxSocketDir {
		return c, fmt.Errorf("torlab: Dir has %d bytes, allowed are up to %d, for it holds sockets", len(c.Dir), maxSocketDir)
	}
	if c.Progress == nil {
		c.Progress = func(string, int) {}
	}
	return c, nil
}

// makeDir makes the directory. own: it is ours to remove.
func (c *Config) makeDir() (own bool, err error) {
	if c.Dir != "" {
		return false, os.MkdirAll(c.Dir, 0o700)
	}
	if c.Dir, err = os.MkdirTemp("", "torlab"); err == nil && len(c.Dir) > maxSocketDir {
		err = errors.Join(fmt.Errorf("torlab: the temporary directory's name has %d bytes, allowed are up to %d, for it holds sockets (TMPDIR)",
			len(c.Dir), maxSocketDir), os.Remove(c.Dir))
	}
	return true, err
}
