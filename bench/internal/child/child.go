// Package child starts ronbench's own processes, reads the machine-readable lines they print, and ends them.
package child

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Bounds of what is kept of a child's output.
const (
	maxLines = 256     // lines of standard output that nobody has waited for; older ones are dropped
	maxTail  = 4 << 10 // bytes of standard error kept for the message when a child fails
)

// Process is one child. Its standard input is a pipe that closes when this process ends, however it ends: children started
// with --with-parent end then too. Any goroutine.
type Process struct {
	cmd   *exec.Cmd
	tail  *tail
	stdin io.Writer

	mu     sync.Mutex // guards lines and ended
	lines  []string
	ended  bool
	notify chan struct{} // one token: lines or ended changed

	exited chan struct{} // closed once Wait's result is in err
	err    error
}

// Start runs exe with args in a process group of its own, so that a Ctrl-C at the terminal reaches only this process, which
// then ends its children in order. stderr gets the child's standard error; nil keeps its last bytes for error messages.
func Start(stderr io.Writer, exe string, args ...string) (*Process, error) {
	return StartEnv(nil, stderr, exe, args...)
}

// StartEnv is Start with more environment, "NAME=value" each, beside that of this process.
func StartEnv(env []string, stderr io.Writer, exe string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(exe, args...), tail: &tail{}, notify: make(chan struct{}, 1), exited: make(chan struct{})}
	if len(env) > 0 {
		p.cmd.Env = append(os.Environ(), env...)
	}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Stderr = stderr
	if stderr == nil {
		p.cmd.Stderr = p.tail
	}
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil { // cmd holds its end until the child has ended
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", strings.Join(args, " "), err)
	}
	go p.read(stdout)
	return p, nil
}

// read collects standard output to its end, then reaps the process.
func (p *Process) read(r io.Reader) {
	sc := bufio.NewScanner(r)
	for sc.Scan() {
		p.mu.Lock()
		if len(p.lines) == maxLines {
			p.lines = p.lines[1:]
		}
		p.lines = append(p.lines, sc.Text())
		p.mu.Unlock()
		p.wake()
	}
	_, _ = io.Copy(io.Discard, r) // a line too long for the scanner must not block the child
	p.err = p.cmd.Wait()
	close(p.exited)
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.wake()
}

func (p *Process) wake() {
	select {
	case p.notify <- struct{}{}:
	default:
	}
}

// PID is the child's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// WaitLine returns the first line not yet taken that starts with prefix; lines before it are dropped. One goroutine at a
// time may wait.
func (p *Process) WaitLine(prefix string, timeout time.Duration) (string, error) {
	t := time.NewTimer(timeout)
	defer t.Stop()
	for {
		line, found, ended := p.take(prefix)
		if found {
			return line, nil
		}
		if ended {
			return "", p.failure(fmt.Sprintf("ended before it said %q", prefix))
		}
		select {
		case <-p.notify:
		case <-t.C:
			return "", p.failure(fmt.Sprintf("did not say %q within %s", prefix, timeout))
		}
	}
}

func (p *Process) take(prefix string) (line string, found, ended bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.lines) > 0 {
		line, p.lines = p.lines[0], p.lines[1:]
		if strings.HasPrefix(line, prefix) {
			return line, true, false
		}
	}
	return "", false, p.ended
}

// Wait returns once the child has ended: nil for exit status 0.
func (p *Process) Wait() error {
	<-p.exited
	if p.err != nil {
		return p.failure(p.err.Error())
	}
	return nil
}

// Exited is closed once the child has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// ExitCode is the child's exit status once Wait has returned, -1 when a signal ended it.
func (p *Process) ExitCode() int { return p.cmd.ProcessState.ExitCode() }

// Tell writes a line to the child's standard input.
func (p *Process) Tell(line string) error {
	_, err := io.WriteString(p.stdin, line+"\n")
	return err
}

// Signal sends sig to the child.
func (p *Process) Signal(sig os.Signal) error { return p.cmd.Process.Signal(sig) }

// Stop asks the child to end (SIGINT) and waits; one that has not ended after grace is killed, which is an error.
func (p *Process) Stop(grace time.Duration) error {
	if err := p.Signal(os.Interrupt); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	t := time.NewTimer(grace)
	defer t.Stop()
	select {
	case <-p.exited:
		return p.Wait()
	case <-t.C:
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // its own group: what it may have started goes with it
		<-p.exited
		return p.failure(fmt.Sprintf("did not end within %s of SIGINT and was killed", grace))
	}
}

func (p *Process) failure(what string) error {
	msg := fmt.Sprintf("%s (pid %d) %s", p.cmd.Args[min(1, len(p.cmd.Args)-1)], p.PID(), what)
	if t := strings.TrimSpace(p.tail.String()); t != "" {
		msg += ": " + t
	}
	return errors.New(msg)
}

// tail keeps the last bytes written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if over := len(t.b) - maxTail; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
