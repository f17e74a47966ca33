package tor

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ron-transport/ron-transport/tor/internal/proc"
)

// torrc is the configuration of the tor that we start. It goes to tor's standard input, so that no file holds it.
func (t *Tor) torrc() string {
	lines := []string{
		"DataDirectory " + t.cfg.Process.DataDir,
		"ControlPort unix:" + t.file("control"),
		"CookieAuthentication 1",
		"CookieAuthFile " + t.file("cookie"),
		"SocksPort unix:" + t.file("socks") + " ExtendedErrors",
		"Log notice stdout",
		// Tor ends with this process also where the kernel cannot see to it. The control connection may come and go.
		fmt.Sprintf("__OwningControllerProcess %d", os.Getpid()),
	}
	if t.owner != nil {
		lines = append(lines, "AvoidDiskWrites 1")
	}
	return strings.Join(append(lines, t.cfg.Process.Options...), "\n") + "\n"
}

// start starts tor.
func (t *Tor) start() error {
	p, err := proc.Start(t.torrc(), t.cfg.Process.Exe, "-f", "-", "--defaults-torrc", os.DevNull)
	if err != nil {
		return fmt.Errorf("tor: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.proc, t.procErr = p, nil
	t.starts++
	t.touch()
	return nil
}

// supervise starts tor again when it has ended, until the Tor is closed, and ends it then.
func (t *Tor) supervise() {
	defer t.tasks.Done()
	pause := restartMin
	for {
		t.mu.Lock()
		p := t.proc
		t.mu.Unlock()
		began := time.Now()
		if p != nil {
			select {
			case <-p.Done():
				t.ended(p)
			case <-t.ctx.Done():
				_ = p.Stop(stopGrace) // how it ends is of no interest any more
				return
			}
		}
		if time.Since(began) > restartMax {
			pause = restartMin
		}
		select {
		case <-time.After(pause):
		case <-t.ctx.Done():
			return
		}
		pause = min(2*pause, restartMax)
		if err := t.start(); err != nil {
			t.failed(err)
		}
	}
}

// ended notes that tor has ended by itself.
func (t *Tor) ended(p *proc.Process) {
	err := p.Err()
	if err == nil {
		err = errors.New("it has ended: " + p.Complaint())
	}
	t.failed(err)
}

// failed notes that there is no tor.
func (t *Tor) failed(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.proc, t.gone, t.procErr = nil, true, err
	t.setProgress(0, "")
	clear(t.orphans) // they have ended with it
	for _, svc := range t.services {
		svc.lost(true)
	}
	t.touch()
}
