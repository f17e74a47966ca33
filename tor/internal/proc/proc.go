// Package proc runs tor processes that end with this one, whatever way it ends.
package proc

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxTail is how much of a process' output is kept for messages: the last lines of tor's log say why it has ended.
const maxTail = 16 << 10

// outputDelay is how long after a process' end its output is waited for: a child of its own may hold it open.
const outputDelay = 2 * time.Second

// Process is a child process. Any goroutine may call its methods.
type Process struct {
	cmd  *exec.Cmd
	tail tail
	done chan struct{}
	err  error // what Wait has returned, once done is closed
}

// Start runs exe in a process group of its own, so that a Ctrl-C at the terminal reaches only us, who then end it in order. The kernel
// kills it should we die first. stdin is given to it.
func Start(stdin, exe string, args ...string) (*Process, error) {
	p := &Process{cmd: exec.Command(exe, args...), done: make(chan struct{})}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	p.cmd.WaitDelay = outputDelay
	p.cmd.Stdin = strings.NewReader(stdin)
	p.cmd.Stdout, p.cmd.Stderr = &p.tail, &p.tail
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // Pdeathsig watches the thread: it lives as long as the child, and ends with this goroutine
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", filepath.Base(exe), err)
	}
	return p, nil
}

// Pid is the process' number.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Done is closed when the process has ended and its output is complete.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err is how the process has ended, with the end of its output; nil for exit status 0. Only after Done.
func (p *Process) Err() error {
	if p.err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w: %s", filepath.Base(p.cmd.Path), p.err, p.Complaint())
}

// Output is the end of what the process has written.
func (p *Process) Output() string { return p.tail.String() }

// Complaint is what of the output says why a tor has ended: its last two warnings and errors, for the last one often only points at
// the one before; without any, the last line.
func (p *Process) Complaint() string {
	lines := strings.Split(strings.TrimSpace(p.Output()), "\n")
	var found []string
	for i := len(lines) - 1; i >= 0 && len(found) < 2; i-- {
		if strings.Contains(lines[i], "[err]") || strings.Contains(lines[i], "[warn]") {
			found = append([]string{lines[i]}, found...)
		}
	}
	if len(found) == 0 {
		return lines[len(lines)-1]
	}
	return strings.Join(found, "; ")
}

// Kill ends the process at once and waits.
func (p *Process) Kill() { _ = p.Stop(0) }

// Stop asks the process to end, kills it after grace, and waits. It returns Err, but not for an end that it has caused itself.
func (p *Process) Stop(grace time.Duration) error {
	if grace > 0 {
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(grace):
		}
	}
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.Pid(), syscall.SIGKILL) // its children too
		<-p.done
	}
	var exit *exec.ExitError
	if errors.As(p.err, &exit) {
		if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() && (s.Signal() == syscall.SIGKILL || s.Signal() == syscall.SIGTERM) {
			return nil
		}
	}
	return p.Err()
}

// Run runs a command to its end and returns its output. It is killed after limit.
func Run(limit time.Duration, stdin, exe string, args ...string) (string, error) {
	p, err := Start(stdin, exe, args...)
	if err != nil {
		return "", err
	}
	t := time.AfterFunc(limit, func() { _ = p.cmd.Process.Kill() })
	defer t.Stop()
	<-p.done
	return p.Output(), p.Err()
}

// tail keeps the end of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if n := len(t.b) - maxTail; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
