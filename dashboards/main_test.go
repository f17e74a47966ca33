// Package dashboards is Grafana's dashboard, transport.json, and Prometheus' alerts, alerts.yml, and what proves that they work: every query
// of theirs is asked of a real Prometheus that scrapes real gateways under load and under faults. There is nothing to import here.
package dashboards

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/tor/torlab"
)

// patience bounds what tests wait for; a busy machine with the race detector needs it.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	code, done, err := torlab.Isolate(context.Background(), torlab.Command{})
	if err != nil {
		fmt.Println("not isolated:", err)
	}
	if !done {
		code = m.Run()
	}
	os.Exit(code)
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never:", what)
		}
	}
}

// begin starts a program that dies with this process, however that ends. The kernel sees to it when the thread ends that has started the program,
// so it has a thread of its own for as long as it lives. read, unless it is nil, takes its output; done is closed when it has ended and read
// has returned.
func begin(cmd *exec.Cmd, read func()) (done <-chan struct{}, err error) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		defer close(ended)
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		if read != nil {
			read()
		}
		_ = cmd.Wait()
	}()
	return ended, <-started
}

// tool is the path of one of Prometheus' programs; without it the test is skipped.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("%s is not installed (Debian's package prometheus)", name)
	}
	return path
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
