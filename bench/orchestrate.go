package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/child"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// Patience with child processes.
const (
	startWait = 60 * time.Second // a server must be listening by then, on a slow and busy machine too
	stopWait  = 60 * time.Second // a child must have ended by then after SIGINT: longer than any drain, also with a low priority on a busy machine
	freeWait  = 30 * time.Second // a collection of a large heap, twice
	slackWait = 60 * time.Second // what a client may take besides its load: connecting, draining
)

// serverProcess is an echo server started by this process.
type serverProcess struct {
	*child.Process
	transport string // of the client that goes with it
	addr      string
	json      string // where its report will be; empty: it writes none
}

// startServer starts one of our server commands, with more flags, on a free loopback port. It writes its report next to the
// certificate.
func (a *app) startServer(command string, files *cert.Files, more ...string) (*serverProcess, error) {
	return a.startServerWith(nil, command, files, more...)
}

// startServerWith is startServer with more environment for the server.
func (a *app) startServerWith(env []string, command string, files *cert.Files, more ...string) (*serverProcess, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &serverProcess{json: filepath.Join(files.Dir, fmt.Sprintf("server-%d.json", time.Now().UnixNano()))}
	args := []string{command, "--listen", "127.0.0.1:0", "--with-parent", "--json", s.json}
	for _, k := range serverKinds() {
		if k.command != command {
			continue
		}
		s.transport = k.client
		if k.tls {
			args = append(args, "--cert", files.Cert, "--key", files.Key)
		}
	}
	if err := s.start(env, exe, append(args, more...)...); err != nil {
		return nil, err
	}
	return s, nil
}

// startProgram starts a server that is a program of its own, on a free loopback port. It prints the same line as ours and ends
// when its standard input closes; it writes no report.
func startProgram(exe, transport string, files *cert.Files) (*serverProcess, error) {
	s := &serverProcess{transport: transport}
	if err := s.start(nil, exe, "--listen", "127.0.0.1:0", "--cert", files.Cert, "--key", files.Key); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Base(exe), err)
	}
	return s, nil
}

// start starts exe and waits for the address that it is bound to.
func (s *serverProcess) start(env []string, exe string, args ...string) (err error) {
	if s.Process, err = child.StartEnv(env, nil, exe, args...); err != nil {
		return err
	}
	line, err := s.WaitLine(lineListening, startWait)
	if err == nil {
		s.addr, err = field(line, "addr")
	}
	if err != nil {
		_ = s.Stop(stopWait) // the first error says more
	}
	return err
}

// field finds key=value in a line of a child.
func field(line, key string) (string, error) {
	for _, f := range strings.Fields(line) {
		if v, ok := strings.CutPrefix(f, key+"="); ok {
			return v, nil
		}
	}
	return "", fmt.Errorf("no %s= in %q", key, line)
}

// target is the address in the form the client's --target takes.
func (s *serverProcess) target() string { return clientKindOf(s.transport).scheme + "://" + s.addr }

// netConfig is what a client in this process connects to the server with, for the load c.
func (s *serverProcess) netConfig(files *cert.Files, resume bool, c load.Config) (load.NetConfig, error) {
	o := clientOptions{transport: s.transport, ca: files.Cert, target: s.target(), resume: resume, load: c}
	if err := o.parseTarget(); err != nil {
		return load.NetConfig{}, err
	}
	return o.netConfig()
}

// openFleet connects a fleet whose connections resume the session of a first one.
func openFleet(ctx context.Context, nc load.NetConfig, c load.Config) (*load.Fleet, error) {
	n, err := load.NewNet(nc)
	if err != nil {
		return nil, err
	}
	fleet, err := load.NewFleet(c, n)
	if err == nil {
		err = fleet.Open(ctx, true, nil)
	}
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return fleet, nil
}

// stop ends the server in good order and reads its report into r, if that is wanted and there is one.
func (s *serverProcess) stop(r *report.Server) error {
	if err := s.Stop(stopWait); err != nil || r == nil || s.json == "" {
		return err
	}
	rep, err := report.Read(s.json)
	if err != nil {
		return err
	}
	if rep.Server == nil {
		return fmt.Errorf("%s: no report of a server", s.json)
	}
	*r = *rep.Server
	return os.Remove(s.json)
}

// freeMemory has the server give free memory back to the system and returns its resident set afterwards.
func (s *serverProcess) freeMemory() (int64, error) {
	if err := s.Signal(syscall.SIGUSR2); err != nil {
		return 0, err
	}
	line, err := s.WaitLine(lineReturned, freeWait)
	if err != nil {
		return 0, err
	}
	v, err := field(line, "rss_bytes")
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(v, 10, 64)
}

// errChildMissed is the end of a child with exit status 1: its report, if there is one, says what was missed.
var errChildMissed = errors.New("exit status 1")

// runChild runs this program with args to its end. When ctx ends the child gets SIGINT and time to write its report.
func (a *app) runChild(ctx context.Context, stderr io.Writer, args []string, expected time.Duration) error {
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	p, err := child.Start(stderr, exe, args...)
	if err != nil {
		return err
	}
	t := time.NewTimer(expected + slackWait)
	defer t.Stop()
	select {
	case <-p.Exited():
		err = p.Wait()
	case <-ctx.Done():
		err = p.Stop(stopWait)
	case <-t.C:
		_ = p.Stop(stopWait)
		return fmt.Errorf("%s did not end within %s", args[0], expected+slackWait)
	}
	if err != nil && p.ExitCode() == exitFailed {
		return errors.Join(errChildMissed, err)
	}
	return err
}
