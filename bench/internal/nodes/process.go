package nodes

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program that runs somewhere, and what it has said on standard error. It dies with this process, however that ends. Any
// goroutine.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and its log is complete

	mu    sync.Mutex
	lines []string
	err   error // of its end
}

// begin starts a program. It has a process group of its own, so that Ctrl-C reaches only us, who end it in order.
func begin(at place, exe string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(exe, args...), done: make(chan struct{})}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // the death is that of the thread which starts it
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stderr = w
	started := make(chan error, 1)
	go func() { // ends with the program
		err := at(func() error {
			err := p.cmd.Start()
			started <- err
			_ = w.Close()
			if err != nil {
				return nil // told
			}
			p.read(r)
			return p.cmd.Wait()
		})
		select {
		case started <- err: // the place could not be entered
			_ = w.Close()
		default:
		}
		_ = r.Close()
		p.mu.Lock()
		p.err = err
		p.mu.Unlock()
		close(p.done)
	}()
	if err := <-started; err != nil {
		<-p.done
		return nil, fmt.Errorf("start %s: %w", filepath.Base(exe), err)
	}
	return p, nil
}

// read keeps the log until its end.
func (p *process) read(r io.Reader) {
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		p.mu.Lock()
		if len(p.lines) == keepLines {
			p.lines = p.lines[1:]
		}
		p.lines = append(p.lines, in.Text())
		p.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, r) // a line too long for the scanner must not block the program
}

// said counts the lines with all of these parts.
func (p *process) said(parts ...string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		if !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(l, part) }) {
			n++
		}
	}
	return n
}

// last is the end of the log, for messages.
func (p *process) last() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines[max(0, len(p.lines)-5):], "\n")
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) signal(s syscall.Signal) error { return p.cmd.Process.Signal(s) }

// kill ends the program and waits for that.
func (p *process) kill() {
	_ = p.signal(syscall.SIGKILL)
	<-p.done
}

// stop ends the program in order, or after a while not so.
func (p *process) stop() error {
	if p.ended() {
		return nil
	}
	if err := p.signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
	case <-time.After(stopGrace):
		p.kill()
	}
	return nil
}
