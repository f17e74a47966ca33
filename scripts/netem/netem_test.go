// Package netem has the tests of netem.sh. The path itself is in package impair.
package netem

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/scripts/netem/impair"
)

const script = "netem.sh"

// netem runs the script and returns its exit status and output.
func netem(t *testing.T, env []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command("./"+script, args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// path names a path of this test's own, and has it gone at the end, whatever happened.
func path(t *testing.T) (name string, env []string) {
	t.Helper()
	if err := impair.Available(); err != nil {
		t.Skip(err)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip(err)
	}
	binary := filepath.Join(t.TempDir(), "tunimpair")
	if out, err := exec.Command("go", "build", "-o", binary, "./tunimpair").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	name = fmt.Sprintf("t%d-%d", os.Getpid(), time.Now().UnixNano()%1e6)
	env = []string{"NETEM_TUNIMPAIR=" + binary}
	t.Cleanup(func() { _, _, _ = netem(t, env, "down", "--name", name) })
	return name, env
}

func namespaceFile(end, name string) string { return "/run/netns/ronnetem-" + end + "-" + name }

// gone checks that nothing of the path is left.
func gone(t *testing.T, name string, env []string) {
	t.Helper()
	for _, f := range []string{namespaceFile("a", name), namespaceFile("b", name), "/run/ronnetem/" + name} {
		if _, err := os.Lstat(f); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", f, err)
		}
	}
	binary := strings.TrimPrefix(env[0], "NETEM_TUNIMPAIR=")
	deadline := time.Now().Add(10 * time.Second)
	for {
		left := running(binary)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("processes are left: %v", left)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// running are the processes of a program.
func running(binary string) (pids []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/exe")
	for _, exe := range all {
		if at, err := os.Readlink(exe); err == nil && at == binary {
			pids = append(pids, exe)
		}
	}
	return pids
}

// Every refusal names the flag, its value and what is allowed, and makes nothing.
func TestRefusals(t *testing.T) {
	for args, want := range map[string]string{
		"":                                  "usage:",
		"sideways":                          "usage:",
		"up --loss 101":                     "--loss 101 is not allowed; allowed: 0 to 100",
		"up --loss few":                     "--loss few is not allowed",
		"up --delay 5":                      "--delay 5 is not allowed; allowed: a number and us, ms or s",
		"up --delay 11s":                    "--delay 11s is not allowed; allowed: 0s to 10s",
		"up --delay 5ms --jitter 6ms":       "--jitter 6ms is not allowed",
		"up --reorder 5":                    "--reorder 5 needs --delay",
		"up --corrupt -1":                   "--corrupt -1 is not allowed",
		"up --duplicate 1e3":                "--duplicate 1e3 is not allowed",
		"up --rate 20":                      "--rate 20 is not allowed; allowed: 0, or a number and bit",
		"up --rate 0.5bit":                  "--rate 0.5bit is not allowed; allowed: 0, or a number and bit",
		"up --rate 7bit":                    "--rate 7bit is not allowed",
		"up --rate 0bit":                    "--rate 0bit is not allowed",
		"up --rate 101gbit":                 "8bit to 100gbit",
		"up --seed 08":                      "--seed 08 is not allowed",
		"up --mtu 01500":                    "--mtu 01500 is not allowed; allowed: 576 to 65535",
		"up --mtu 575":                      "--mtu 575 is not allowed",
		"up --mtu 65536":                    "--mtu 65536 is not allowed",
		"up --mtu 100":                      "--mtu 100 is not allowed; allowed: 576 to 65535",
		"up --seed x":                       "--seed x is not allowed",
		"up --means magic":                  "--means magic is not allowed; allowed: auto, tc, tun",
		"up --name ../x":                    "--name ../x is not allowed",
		"up --name x;y":                     "--name x;y is not allowed",
		"up --frob 5":                       "no flag --frob",
		"up --loss":                         "--loss needs a value",
		"up extra":                          "unexpected argument extra",
		"up -- true":                        "up takes no command",
		"up --server x":                     "--server is for run",
		"run":                               "run needs a command",
		"exec -- true":                      "exec needs an end",
		"exec a":                            "exec needs a command",
		"down --name aaaaaaaaaaaaaaaaaaaaa": "at most 20",
	} {
		status, stdout, stderr := netem(t, nil, strings.Fields(args)...)
		if status != 2 || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("%q: exit status %d, %q, %q; want %q", args, status, stdout, stderr, want)
		}
	}
	if status, stdout, stderr := netem(t, nil, "--help"); status != 0 || stderr != "" || !strings.Contains(stdout, "the round trip is twice that") {
		t.Errorf("--help: %d, %q, %q", status, stdout, stderr)
	}
}

// Without root it says that it needs it.
func TestNeedsRoot(t *testing.T) {
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-s", "--", "up", "--delay", "5ms", "--name", "nobody")
	cmd.Stdin, cmd.Dir = bytes.NewReader(text), "/"
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "it needs root") {
		t.Errorf("exit status %d: %s", cmd.ProcessState.ExitCode(), out)
	}
}

// measure is the median round trip of a path that is up, in milliseconds.
func measure(t *testing.T, name string) float64 {
	t.Helper()
	ns, err := impair.OpenNamespace(namespaceFile("a", name))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	r, err := impair.MeasureRTT(t.Context(), ns, impair.DefaultB.Addr(), 150, 5*time.Millisecond, 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
	return r.Median.Seconds() * 1e3
}

// Step by step: up, commands at both ends, the round trip that was asked for, and down with the counters.
func TestStepwise(t *testing.T) {
	name, env := path(t)
	status, _, stderr := netem(t, env, "up", "--name", name, "--delay", "50ms", "--loss", "2.5%", "--seed", "7", "--mtu", "1400")
	if status != 0 || !strings.Contains(stderr, "by tunimpair") && !strings.Contains(stderr, "by tc netem") {
		t.Fatalf("exit status %d: %s", status, stderr)
	}
	tun := strings.Contains(stderr, "by tunimpair")
	if again, _, stderr := netem(t, env, "up", "--name", name); again != 1 || !strings.Contains(stderr, "there is a path") {
		t.Errorf("up twice: exit status %d: %s", again, stderr)
	}
	for end, addr := range map[string]string{"a": "198.18.0.1", "b": "198.18.0.2"} {
		status, stdout, stderr := netem(t, env, "exec", end, "--name", name, "--", "sh", "-c", "ip -o addr show ron0; ip link show ron0; echo $NETEM_A $NETEM_B $NETEM_MEANS; exit 3")
		if status != 3 || !strings.Contains(stdout, addr+"/30") || !strings.Contains(stdout, "mtu 1400") || !strings.Contains(stdout, "198.18.0.1 198.18.0.2 t") {
			t.Errorf("exec %s: exit status %d: %s%s", end, status, stdout, stderr)
		}
	}
	rtt := 0.0
	for range 3 { // attempts: the machine may be busy
		if rtt = measure(t, name); math.Abs(rtt-100) <= 5 {
			break
		}
	}
	if math.Abs(rtt-100) > 5 {
		t.Errorf("round trip %.2f ms, want 100 ± 5 %%", rtt)
	}
	status, stdout, stderr := netem(t, env, "down", "--name", name)
	if status != 0 {
		t.Fatalf("down: %d: %s", status, stderr)
	}
	if tun {
		var c map[string]impair.Counters
		if err := json.Unmarshal([]byte(stdout), &c); err != nil || c["a_to_b"].In < 150 || c["a_to_b"].Lost == 0 {
			t.Errorf("%v: %s", err, stdout)
		}
	}
	gone(t, name, env)
	if status, _, stderr = netem(t, env, "down", "--name", name); status != 1 || !strings.Contains(stderr, "no path") {
		t.Errorf("down twice: %d: %s", status, stderr)
	}
}

// run is all of it, with the command's exit status; a server at the other end is reached, and ends with it.
func TestRun(t *testing.T) {
	name, env := path(t)
	pidFile := filepath.Join(t.TempDir(), "server")
	status, stdout, stderr := netem(t, env, "run", "--name", name, "--delay", "1ms", "--server", "echo $$ >"+pidFile+"; exec sleep 600", "--",
		"bash", "-c", `while [ ! -s `+pidFile+` ]; do sleep 0.05; done; echo at $NETEM_A to $NETEM_B; exit 7`)
	if status != 7 || !strings.Contains(stdout, "at 198.18.0.1 to 198.18.0.2") || !strings.Contains(stderr, "netem.sh: by t") {
		t.Errorf("exit status %d: %s%s", status, stdout, stderr)
	}
	gone(t, name, env)
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		t.Errorf("the server %d is left, %v", pid, err)
	}
	if status, _, stderr = netem(t, env, "run", "--name", name, "--", "/nonexistent/command"); status == 0 {
		t.Errorf("a command that is not there: %s", stderr)
	}
	gone(t, name, env)
}

// The children of a server's shell end with it, and the emulation that netem.sh builds by itself leaves nothing.
func TestRunEndsChildren(t *testing.T) {
	name, env := path(t)
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip(err)
	}
	pidFile, tmp := filepath.Join(t.TempDir(), "child"), t.TempDir()
	own := []string{"NETEM_TUNIMPAIR=", "TMPDIR=" + tmp}
	status, stdout, stderr := netem(t, own, "run", "--name", name, "--delay", "1ms", "--server", "(echo $BASHPID >"+pidFile+"; exec sleep 600) | cat", "--",
		"bash", "-c", "while [ ! -s "+pidFile+" ]; do sleep 0.05; done")
	if status != 0 {
		t.Fatalf("exit status %d: %s%s", status, stdout, stderr)
	}
	gone(t, name, env)
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	for end := time.Now().Add(10 * time.Second); err == nil && syscall.Kill(pid, 0) == nil && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	if err != nil || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		t.Errorf("the server's child %d is left, %v", pid, err)
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// Ctrl-C, and a signal to the script alone, end the command and remove everything.
func TestSignals(t *testing.T) {
	for _, c := range []struct {
		sig   syscall.Signal
		group bool
	}{{syscall.SIGINT, true}, {syscall.SIGTERM, false}} {
		name, env := path(t)
		mark := filepath.Join(t.TempDir(), "running")
		cmd := exec.Command("./"+script, "run", "--name", name, "--delay", "1ms", "--", "sh", "-c", "echo >"+mark+"; exec sleep 600")
		cmd.Env, cmd.Stderr = append(os.Environ(), env...), os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		deadline := time.Now().Add(60 * time.Second)
		for _, err := os.Stat(mark); err != nil; _, err = os.Stat(mark) {
			if time.Now().After(deadline) {
				t.Fatal("the command has not begun")
			}
			time.Sleep(20 * time.Millisecond)
		}
		to := cmd.Process.Pid
		if c.group {
			to = -to
		}
		if err := syscall.Kill(to, c.sig); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err == nil {
			t.Errorf("%v: exit status 0", c.sig)
		}
		gone(t, name, env)
	}
}

// A namespace that is not ours stays, whether it was there before or took the name later.
func TestForeignNamespaceStays(t *testing.T) {
	name, env := path(t)
	ns := filepath.Base(namespaceFile("b", name))
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	ip("netns", "add", ns)
	defer ip("netns", "delete", ns)
	if status, _, stderr := netem(t, env, "up", "--name", name); status != 1 || !strings.Contains(stderr, "not ours") {
		t.Errorf("exit status %d: %s", status, stderr)
	}
	if _, err := os.Stat(namespaceFile("b", name)); err != nil {
		t.Fatal(err)
	}
	ip("netns", "delete", ns)
	if status, _, stderr := netem(t, env, "up", "--name", name, "--means", "tun"); status != 0 {
		t.Fatalf("exit status %d: %s", status, stderr)
	}
	ip("netns", "delete", ns)
	ip("netns", "add", ns)
	if status, _, stderr := netem(t, env, "down", "--name", name); status != 0 {
		t.Fatalf("exit status %d: %s", status, stderr)
	}
	if _, err := os.Stat(namespaceFile("b", name)); err != nil {
		t.Error("down has removed a namespace that took the name later")
	}
	if _, err := os.Stat(namespaceFile("a", name)); err == nil {
		t.Error("down has left its own namespace")
	}
}

// Where tc takes netem it is used, with every parameter; where it does not, nothing of the attempt is left. The tc here is a stand-in.
func TestChoosesTC(t *testing.T) {
	dir, log := t.TempDir(), filepath.Join(t.TempDir(), "tc.log")
	standIn := func(code int) {
		text := fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' \"$*\" >>%s\nexit %d\n", log, code)
		if err := os.WriteFile(filepath.Join(dir, "tc"), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	flags := strings.Fields("--delay 20ms --jitter 2ms --loss 1.5 --reorder 3 --duplicate 4 --corrupt 5 --rate 8mbit --seed 6 --mtu 1400")
	name, env := path(t)
	env = append(env, "PATH="+dir+":"+os.Getenv("PATH"))
	standIn(0)
	if status, _, stderr := netem(t, env, append([]string{"up", "--name", name}, flags...)...); status != 0 || !strings.Contains(stderr, "by tc netem") {
		t.Fatalf("exit status %d: %s", status, stderr)
	}
	said, err := os.ReadFile(log)
	for _, end := range []string{"a", "b"} {
		want := "-n ronnetem-" + end + "-" + name + " qdisc add dev ron0 root netem limit 1020 delay 20ms 2ms loss 1.5% reorder 3% duplicate 4% corrupt 5% rate 8mbit seed 6\n"
		if err != nil || !strings.Contains(string(said), want) {
			t.Errorf("%v: tc was told %q, want %q", err, said, want)
		}
	}
	if rtt := measure(t, name); rtt <= 0 || rtt > 1000 { // the devices work; nobody delays here
		t.Errorf("round trip %v ms", rtt)
	}
	if status, _, stderr := netem(t, env, "down", "--name", name); status != 0 {
		t.Errorf("exit status %d: %s", status, stderr)
	}
	gone(t, name, env)
	standIn(2)
	if status, _, stderr := netem(t, env, "up", "--name", name, "--means", "tc"); status != 1 || !strings.Contains(stderr, "no tc netem") {
		t.Errorf("exit status %d: %s", status, stderr)
	}
	gone(t, name, env)
	if status, _, stderr := netem(t, env, "up", "--name", name, "--delay", "1ms"); status != 0 || !strings.Contains(stderr, "by tunimpair") {
		t.Errorf("exit status %d: %s", status, stderr)
	}
	if status, stdout, _ := netem(t, env, "exec", "a", "--name", name, "--", "ip", "-br", "link"); status != 0 || strings.Contains(stdout, "@") {
		t.Errorf("exit status %d: %s", status, stdout)
	}
	if status, _, stderr := netem(t, env, "down", "--name", name); status != 0 {
		t.Errorf("exit status %d: %s", status, stderr)
	}
	gone(t, name, env)
}

func TestShellcheck(t *testing.T) {
	if _, err := exec.LookPath("shellcheck"); err != nil {
		t.Skip(err)
	}
	if out, err := exec.Command("shellcheck", script).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
