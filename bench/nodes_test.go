package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/nodes"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

func nodesRefusals() []refusal {
	return []refusal{
		{"nodes --resumptions 299", []string{"--resumptions", "299", "300 to"}},
		{"nodes --conns 2", []string{"--conns", "2", "3 to 4096"}},
		{"nodes --conns 50 --rps 49", []string{"--rps", "49", "50 to"}},
		{"nodes --payload -1", []string{"--payload", "-1"}},
		{"nodes --duration 1ms", []string{"--duration", "1ms"}},
		{"nodes --drain-delay 100ms", []string{"--drain-delay", "100ms", "500ms to 1m0s"}},
		{"nodes --haproxy /nonexistent", []string{"--haproxy", "/nonexistent"}},
		{"nodes extra", []string{"extra"}},
	}
}

// balancer is HAProxy's program; without one the test is skipped.
func balancer(t *testing.T) string {
	t.Helper()
	path, err := findHAProxy("", "haproxy", "/usr/sbin/haproxy")
	if err != nil {
		t.Skip(err)
	}
	return path
}

// gatewayDir is where gatewayBuilt has put the gateway; TestMain removes it.
var gatewayDir string

// gatewayBuilt builds the gateway once for all tests.
var gatewayBuilt = sync.OnceValues(func() (path string, err error) {
	if gatewayDir, err = os.MkdirTemp("", "ronbench-test-"); err != nil {
		return "", err
	}
	path = filepath.Join(gatewayDir, "gateway")
	_, err = tool(context.Background(), "", "go", "build", "-o", path, gatewayPackage)
	return path, err
})

func gatewayProgram(t *testing.T) string {
	t.Helper()
	path, err := gatewayBuilt()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// smallNodes is a short run's flags.
const smallNodes = "nodes --resumptions 300 --conns 9 --rps 180 --duration 200ms --drain-delay 1s"

// nodesRun runs a command line and returns its report, with the ids of the rows that failed.
func nodesRun(t *testing.T, line string) (status int, r *report.Report, failed []string) {
	t.Helper()
	balancer(t)
	out := filepath.Join(t.TempDir(), "r.json")
	html := filepath.Join(t.TempDir(), "r.html")
	status, stdout, stderr := run(t, easy(), strings.Fields(line+" --gateway "+gatewayProgram(t)+" --json "+out+" --html "+html)...)
	r, err := report.Read(out)
	if err != nil {
		t.Fatalf("exit status %d: %v\n%s%s", status, err, stdout, stderr)
	}
	for _, row := range r.SLO {
		if row.Verdict == report.Failed {
			failed = append(failed, row.ID)
		}
	}
	if page, err := os.ReadFile(html); err != nil || !strings.Contains(string(page), "Rolling restart") && !strings.Contains(string(page), "rolling restart") {
		t.Errorf("the page does not show the restart (%v)", err)
	}
	t.Logf("exit status %d\n%s", status, stdout)
	return status, r, failed
}

// Three nodes: tickets are good at all of them, their restart loses nothing, and the death of one harms its own connections alone.
func TestNodes(t *testing.T) {
	for name, flags := range map[string]string{"namespaces": "", "loopback": " --loopback"} {
		t.Run(name, func(t *testing.T) {
			status, r, failed := nodesRun(t, smallNodes+flags)
			n := r.Nodes
			if status != exitOK || !report.OnlySpeedMissed(r.SLO) || r.Kind != report.KindNodes || n.Resumption == nil || n.Rolling == nil || n.Kill == nil {
				t.Fatalf("exit status %d, failed %v, %+v", status, failed, n)
			}
			if n.Resumption.Conns != 300 || n.Resumption.Rotations != 1 || slices.Contains(n.Resumption.ByNode, 0) {
				t.Errorf("%+v", n.Resumption)
			}
			if n.Rolling.Load.Frames == 0 || n.Rolling.Load.Moved < 9 || len(n.Rolling.Restarts) != 3 || n.Kill.Lost == 0 || !n.Kill.Healed {
				t.Errorf("%+v\n%+v", n.Rolling, n.Kill)
			}
			if alone := nodes.Available(); name == "namespaces" && (alone == nil) != (n.Network == "network namespaces") {
				t.Errorf("%q, %v", n.Network, alone)
			}
			for _, row := range r.SLO {
				if row.Verdict == report.LeftOut {
					t.Errorf("left out: %+v", row)
				}
			}
		})
	}
}

// Without shared keys no ticket is good at another node, and the verdict says so.
func TestNodesWithKeysOfTheirOwn(t *testing.T) {
	status, r, failed := nodesRun(t, smallNodes+" --own-keys")
	if status != exitFailed || !slices.Contains(failed, "resumed") || r.Nodes.Resumption.Resumed != 0 || r.Nodes.Resumption.Elsewhere == 0 {
		t.Errorf("exit status %d, failed %v, %+v", status, failed, r.Nodes.Resumption)
	}
}

// A run that is interrupted leaves no process and no file behind, and tells what it has.
func TestNodesInterrupted(t *testing.T) {
	haproxy, gateway := balancer(t), gatewayProgram(t)
	dir, err := os.MkdirTemp("", "nodes-") // not t.TempDir: the path of the balancer's socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	t.Setenv("TMPDIR", dir)
	running := 0 // processes with a file of the run in their command line, before it was interrupted
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := nodes.Run(ctx, nodes.Config{Gateway: gateway, HAProxy: haproxy, Loopback: nodes.Available() != nil, Resumptions: 300, Conns: 6, RPS: 60,
		Window: 100 * time.Millisecond, Delay: time.Second, Progress: func(line string) {
			if strings.HasPrefix(line, "restarting node 1") && ctx.Err() == nil {
				running = len(processesWith(t, dir))
				cancel()
			}
		}})
	if !errors.Is(err, context.Canceled) || r.Resumption == nil || r.Resumption.Resumed == 0 || r.Kill != nil {
		t.Fatalf("%v, %+v", err, r)
	}
	left := 0
	for _, row := range report.JudgeNodes(r, "interrupted") {
		if row.Verdict == report.LeftOut && row.Why == "interrupted" {
			left++
		}
	}
	if left != 2 {
		t.Errorf("%d rows are left out", left)
	}
	if left := processesWith(t, dir); running < nodes.Nodes || len(left) > 0 {
		t.Errorf("%d processes ran, left are %v", running, left)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
		t.Errorf("files are left: %v, %v", files, err)
	}
}

// processesWith are the command lines of processes that name a path.
func processesWith(t *testing.T, path string) (found []string) {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil || len(all) == 0 {
		t.Fatal(err, all)
	}
	for _, p := range all {
		if b, err := os.ReadFile(p); err == nil && strings.Contains(string(b), path) {
			found = append(found, strings.ReplaceAll(string(b), "\x00", " "))
		}
	}
	return found
}

// Without HAProxy there is a reason; a program that was named must be there.
func TestNoHAProxy(t *testing.T) {
	if _, err := findHAProxy("", "/nonexistent/haproxy"); !errors.Is(err, errNoHAProxy) {
		t.Error(err)
	}
	var u *usageError
	if _, err := findHAProxy("/nonexistent/haproxy"); !errors.As(err, &u) {
		t.Error(err)
	}
	for _, row := range report.JudgeNodes(&report.Nodes{Nodes: nodes.Nodes}, errNoHAProxy.Error()) {
		if row.Verdict != report.LeftOut || !strings.Contains(row.Why, "haproxy") {
			t.Errorf("%+v", row)
		}
	}
}
