// Gateway is a whole program around the library: it listens on TLS, QUIC and Tor, echoes frames or forwards them to upstreams, answers
// probes, reloads on SIGHUP and drains on SIGTERM. docs/gateway.md has its settings; --print-config prints those in force.
package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ron-transport/ron-transport/examples/gateway/setting"
)

// Exit statuses.
const (
	exitFailed = 1 // it could not start, or was ended by a second signal
	exitUsage  = 2 // the configuration is refused
)

// usageError is a configuration that is refused.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func main() {
	err := command(os.Environ(), os.Stdout, os.Stderr).Execute()
	if err == nil {
		return
	}
	told := newLines(os.Stderr, func(uint64) {}) // whoever reads it may not, and the process must end
	fmt.Fprintln(told, "gateway:", err)
	told.flush(flushTime)
	if _, ok := errors.AsType[*usageError](err); ok {
		os.Exit(exitUsage)
	}
	os.Exit(exitFailed)
}

// command is the command line.
func command(env []string, stdout, stderr io.Writer) *cobra.Command {
	var file string
	var printConfig, printSettings bool
	cmd := &cobra.Command{
		Use: "gateway", Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		Short: "A gateway for OAP/1 frames over TLS 1.3, QUIC and Tor",
		Long: `A gateway for OAP/1 frames over TLS 1.3, QUIC and Tor.

Settings come from flags, which count most, then from variables (--tls-listen is RON_TRANSPORT_TLS_LISTEN), then from the TOML
file that --config or RON_TRANSPORT_CONFIG names (listen in [tls]), then from defaults. SIGHUP reads them again, SIGTERM and
SIGINT drain, a second one ends at once.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if printSettings {
				return writeTable(stdout)
			}
			if !cmd.Flags().Changed("config") {
				file = lookup(env, setting.ConfigEnv)
			}
			src := sources{file: file, env: env, flags: cmd.Flags()}
			e, err := src.load()
			if printConfig { // also when something is wrong: it helps to find out what
				if err := e.print(stdout); err != nil {
					return err
				}
			}
			if err != nil {
				return &usageError{err}
			}
			if printConfig {
				return nil
			}
			return run(src, e, stderr)
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	f := cmd.Flags()
	f.StringVar(&file, "config", "", "TOML file of settings; "+setting.ConfigEnv+" names it likewise")
	f.BoolVar(&printConfig, "print-config", false, "print the settings in force as a TOML file, with where each comes from, and exit")
	f.BoolVar(&printSettings, "print-settings", false, "print the table of all settings that is in the documentation, and exit")
	declare(f)
	return cmd
}

// lookup is the value of a variable.
func lookup(env []string, name string) (v string) {
	for _, line := range env {
		if n := len(name); len(line) > n && line[:n] == name && line[n] == '=' {
			v = line[n+1:]
		}
	}
	return v
}

// run is the gateway's life.
func run(src sources, e *effective, stderr io.Writer) error {
	level := new(slog.LevelVar)
	level.Set(e.LogLevel)
	direct := slog.New(newHandler(stderr, e.LogFormat, level))
	out := newLines(stderr, func(n uint64) { direct.Warn("log lines dropped", "count", n) })
	defer out.flush(flushTime)
	log := slog.New(newHandler(out, e.LogFormat, level))
	sig := make(chan os.Signal, 4) // before anything starts: no signal is to end us unprepared
	signal.Notify(sig, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(sig)
	a, err := start(src, e, log, level)
	if err != nil {
		return err
	}
	log.Info("started", "pid", os.Getpid())
	delay := true
	for ending := false; !ending; {
		select {
		case <-a.handed:
			log.Info("handed over")
			a.admin.close() // the successor answers
			ending, delay = true, false
		case s := <-sig:
			if s == syscall.SIGHUP {
				_ = a.reload() // logged
				continue
			}
			log.Info("signal", "signal", s.String())
			ending = true
		}
	}
	done := make(chan struct{})
	go func() { // ends with the drain; run waits for it, or the process ends
		defer close(done)
		a.drain(delay)
	}()
	for {
		select {
		case <-done:
			return nil
		case s := <-sig:
			if s != syscall.SIGHUP {
				return fmt.Errorf("ended at once by a second signal, %v", s)
			}
		}
	}
}
