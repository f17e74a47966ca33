package proc

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestStop: an end that was asked for is no error, in order or not; one that was not is, with what the process said.
func TestStop(t *testing.T) {
	for _, v := range []struct {
		name, script string
		grace        time.Duration
		want         string
	}{
		{"in order", "trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done", time.Minute, ""},
		{"by the signal", "echo ready; exec sleep 1000", time.Minute, ""},
		{"it does not listen", "trap '' TERM; echo ready; while :; do sleep 0.01; done", 50 * time.Millisecond, ""},
		{"with an error", "trap 'echo \"[warn] a reason\"; echo more; exit 3' TERM; echo ready; while :; do sleep 0.01; done", time.Minute, "a reason"},
	} {
		t.Run(v.name, func(t *testing.T) {
			p, err := Start("", "sh", "-c", v.script)
			if err != nil {
				t.Fatal(err)
			}
			waitFor(t, func() bool { return strings.Contains(p.Output(), "ready") })
			err = p.Stop(v.grace)
			if v.want == "" && err != nil || v.want != "" && (err == nil || !strings.Contains(err.Error(), v.want)) {
				t.Error(err)
			}
			if !errors.Is(syscall.Kill(p.Pid(), 0), syscall.ESRCH) {
				t.Error("it is still there")
			}
			_ = p.Stop(time.Minute) // does nothing
		})
	}
}

// TestKillTakesChildren: what a process has started itself ends with it, and does not keep Kill waiting.
func TestKillTakesChildren(t *testing.T) {
	p, err := Start("", "sh", "-c", "sleep 1000 & echo $!; wait")
	if err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return strings.Contains(p.Output(), "\n") })
	child, err := strconv.Atoi(strings.TrimSpace(p.Output()))
	if err != nil {
		t.Fatal(err)
	}
	p.Kill()
	waitFor(t, func() bool { // as a zombie it may wait for somebody to ask
		b, err := os.ReadFile("/proc/" + strconv.Itoa(child) + "/stat")
		return err != nil || strings.Contains(string(b), ") Z ")
	})
}

// TestRun: input and output, the limit on time, and what cannot be started.
func TestRun(t *testing.T) {
	if out, err := Run(time.Minute, "hello", "cat"); out != "hello" || err != nil {
		t.Error(out, err)
	}
	if _, err := Run(50*time.Millisecond, "", "sleep", "1000"); err == nil {
		t.Error("no limit")
	}
	if _, err := Run(time.Minute, "", "no-such-program"); err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Error(err)
	}
	if out, err := Run(time.Minute, "", "sh", "-c", "yes | head -c 100000; echo end"); err != nil || len(out) != maxTail || !strings.HasSuffix(out, "end\n") {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never")
		}
	}
}
