package child

import (
	"bytes"
	"strings"
	"syscall"
	"testing"
	"time"
)

func start(t *testing.T, script string) *Process {
	t.Helper()
	p, err := Start(nil, "/bin/sh", "-c", script)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-p.PID(), syscall.SIGKILL); _ = p.Wait() })
	return p
}

func TestWaitLine(t *testing.T) {
	p := start(t, "echo one; echo two x=1; echo two x=2; cat")
	for _, want := range []string{"two x=1", "two x=2"} {
		if got, err := p.WaitLine("two", 10*time.Second); err != nil || got != want {
			t.Fatalf("%q, %v; want %q", got, err, want)
		}
	}
	if _, err := p.WaitLine("three", 20*time.Millisecond); err == nil {
		t.Error("a line that never came was found")
	}
}

func TestFailureCarriesStandardError(t *testing.T) {
	p := start(t, "echo the reason >&2; exit 3")
	if _, err := p.WaitLine("listening", 10*time.Second); err == nil || !strings.Contains(err.Error(), "ended before") {
		t.Errorf("got %v", err)
	}
	if err := p.Wait(); err == nil || !strings.Contains(err.Error(), "the reason") || p.ExitCode() != 3 {
		t.Errorf("got %v, exit status %d", err, p.ExitCode())
	}
	if err := p.Stop(time.Second); err == nil {
		t.Error("Stop hides the exit status of a child that has failed")
	}
}

func TestStopEndsCleanly(t *testing.T) {
	p := start(t, `trap 'exit 0' INT; echo ready; while :; do sleep 0.01; done`)
	if _, err := p.WaitLine("ready", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(10 * time.Second); err != nil {
		t.Error(err)
	}
}

func TestStopKillsWhatDoesNotEnd(t *testing.T) {
	p := start(t, `trap '' INT; echo ready; while :; do sleep 0.01; done`)
	if _, err := p.WaitLine("ready", 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(50 * time.Millisecond); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("got %v", err)
	}
	if err := syscall.Kill(p.PID(), 0); err == nil {
		t.Error("the child is still there")
	}
}

// Output that nobody reads neither blocks the child nor grows.
func TestOutputIsBounded(t *testing.T) {
	p := start(t, "i=0; while [ $i -lt 2000 ]; do echo line $i; echo noise >&2; i=$((i+1)); done; head -c 100000 /dev/zero; echo")
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := len(p.lines); n > maxLines {
		t.Errorf("%d lines kept", n)
	}
	if n := len(p.tail.String()); n > maxTail {
		t.Errorf("%d bytes of standard error kept", n)
	}
}

func TestStderrPassesThrough(t *testing.T) {
	var b bytes.Buffer
	p, err := Start(&b, "/bin/sh", "-c", "echo live >&2")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil || b.String() != "live\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
	if _, err := Start(nil, "/nonexistent/program"); err == nil {
		t.Error("a program that is not there was started")
	}
}
