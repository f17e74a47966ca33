package main

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/tor/torlab"
)

// runbookPatience is for one step, on a busy machine.
const runbookPatience = 4 * time.Minute

// shortened are what the test does to the runbook's commands: the same loads, smaller and shorter. Each must be found, so that
// the list is about the page as it is.
var shortened = []struct{ from, to string }{
	{"--conns 200 --rps 15000 --payload 4096 --duration 10s", "--conns 10 --rps 200 --payload 4096 --warmup 100ms --duration 500ms"},
	{"--conns 50 --depth 16 --payload 4096 --duration 10s", "--conns 5 --depth 16 --payload 4096 --warmup 100ms --duration 1s"},
	{"--conns 50 --rps 2000 --payload 4096 --duration 3s", "--conns 5 --rps 200 --payload 4096 --warmup 100ms --duration 500ms"},
	{"--conns 8 --depth 4 --payload 4096 --duration 3s", "--conns 8 --depth 4 --payload 4096 --warmup 0s --duration 300ms"},
	{"--knob coalesce,resumption,accept-semaphore,quic-streams --rounds 5 --duration 1s", "--knob coalesce,resumption --rounds 1 --duration 100ms"},
	{"--workloads 4k-50x16 --rounds 3 --duration 2s", "--workloads 4k-50x16 --rounds 1 --duration 200ms"},
	{"--workloads 4k-50x4 --rounds 3 --duration 2s", "--workloads 4k-50x4 --rounds 1 --duration 200ms"},
	{"--rate 700 --rounds 3 --duration 2s", "--rate 20 --rps 100 --load-conns 5 --warmup 100ms --rounds 1 --duration 300ms"},
	{"--conns 4 --depth 4 --payload 65536 --duration 5s", "--conns 4 --depth 4 --payload 65536 --warmup 0s --duration 1s"},
	{"--streams 16 --payload 65536 --duration 5s", "--streams 4 --payload 65536 --warmup 100ms --duration 500ms"},
	{"--conns 5000 --settle 8s", "--conns 50 --settle 100ms"},
	{"--conns 50 --depth 16 --payload 65536 --duration 10s", "--conns 5 --depth 4 --payload 65536 --warmup 100ms --duration 500ms"},
	{"--hellos 20 --conns 16 --rps 300 --duration 5s", "--hellos 3 --conns 4 --rps 40 --payload 700 --depth 2 --warmup 200ms --duration 1s"},
}

// runbookStep is one of the page's chapters.
type runbookStep struct {
	title  string
	blocks []string // of commands
}

// readRunbook takes the page apart. What comes before the first chapter is one without a title.
func readRunbook(t *testing.T) []runbookStep {
	t.Helper()
	b, err := os.ReadFile("../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	var steps []runbookStep
	block := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
	for i, part := range regexp.MustCompile(`(?m)^## `).Split(string(b), -1) {
		s := runbookStep{}
		if i > 0 {
			s.title, _, _ = strings.Cut(part, "\n")
		}
		for _, m := range block.FindAllStringSubmatch(part, -1) {
			s.blocks = append(s.blocks, m[1])
		}
		steps = append(steps, s)
	}
	return steps
}

// runbookTools are what a step needs besides Go and the shell.
func runbookTools(commands string) []string {
	var out []string
	for _, tool := range []string{"jq", "curl", "tc", "ss", "ip", "git"} {
		if regexp.MustCompile(`(?m)(^|[|(;'] ?)` + tool + ` `).MatchString(commands) {
			out = append(out, tool)
		}
	}
	return out
}

// TestRunbook runs every command of docs/runbook.md, in order: each step must succeed and leave what it promises.
func TestRunbook(t *testing.T) {
	steps := readRunbook(t)
	titles := []string{"", "1. Reproduce quickly", "2. Flame graph", "3. Stalls", "4. Metrics", "5. Knob sweep", "6. Chaos off", "7. Network check",
		"8. Memory check", "9. Tor readiness", "10. Document"}
	if last := len(steps) - 1; last > 0 && steps[last].title == "When an alert fires" && len(steps[last].blocks) == 0 {
		steps = steps[:last] // it sends the reader to the steps, and has no commands of its own
	}
	if len(steps) != len(titles) {
		t.Fatalf("%d chapters, the seed has ten steps", len(steps)-1)
	}
	dir := t.TempDir()
	ron := filepath.Join(dir, "ron")
	book := &runbook{dir: dir, ron: ron, port: portOf(freeAddr(t)), debug: portOf(freeAddr(t)), found: map[string]bool{}}
	book.makeTool(t)
	for i, s := range steps {
		if s.title != titles[i] || len(s.blocks) == 0 {
			t.Errorf("chapter %d is %q with %d blocks of commands, want %q", i, s.title, len(s.blocks), titles[i])
			continue
		}
		commands := book.rewrite(strings.Join(s.blocks, "\n"))
		t.Run(strings.ReplaceAll(s.title, " ", "_"), func(t *testing.T) {
			for _, tool := range runbookTools(commands) {
				if _, err := exec.LookPath(tool); err != nil {
					t.Skipf("needs %s: %v", tool, err)
				}
			}
			if strings.HasPrefix(s.title, "9.") {
				if err := torlab.Available(); err != nil {
					t.Skip(err)
				}
			}
			book.check(t, i, book.run(t, commands))
		})
	}
	for _, s := range shortened {
		if !book.found[s.from] {
			t.Errorf("the runbook has no %q: nothing is shortened by it", s.from)
		}
	}
}

// runbook is the page under test.
type runbook struct {
	dir, ron, tool, port, debug string
	found                       map[string]bool // of shortened
}

func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr) // an address of a listener
	return port
}

// makeTool builds ronbench, as "go run" would for each command, and without the race detector whatever the test has: what is
// tested here is the page.
func (b *runbook) makeTool(t *testing.T) {
	t.Helper()
	b.tool = filepath.Join(b.dir, "ronbench")
	if out, err := exec.Command("go", "build", "-o", b.tool, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// rewrite has the commands use that binary and free ports, and not take as long.
func (b *runbook) rewrite(commands string) string {
	for _, s := range shortened {
		if strings.Contains(commands, s.from) {
			b.found[s.from] = true
			commands = strings.ReplaceAll(commands, s.from, s.to)
		}
	}
	return strings.NewReplacer("go run ./bench", b.tool, ":8443", ":"+b.port, ":6060", ":"+b.debug).Replace(commands)
}

// run runs commands as a shell does that a reader has pasted them into, except that a failing one ends it.
func (b *runbook) run(t *testing.T, commands string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runbookPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-ec", commands)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "RON="+b.ron)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	group := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel, cmd.WaitDelay = group, 10*time.Second
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if cmd.Process != nil && group() == nil {
		t.Error("the commands have left processes behind") // gone now
	}
	if err != nil {
		t.Fatalf("%v\n%s\n--- said:\n%s", err, commands, out)
	}
	t.Logf("%.1f s", time.Since(began).Seconds())
	return string(out)
}

// check looks for what a step promises.
func (b *runbook) check(t *testing.T, step int, out string) {
	t.Helper()
	said := map[int][]string{
		0: {"results in " + b.ron}, 1: {`"server_us"`}, 2: {"flat%", "ok "}, 3: {"goroutines waited to run", "reactor.(*loop).run"},
		4: {"peer_limit", "writes_per_frame"}, 5: {"coalesce\t1 KiB\ttoo few\t", "100 of 100 resumed", "write calls/frame"}, 6: {"net + crypto/tls\t", "gnet\t", "quic-go\t"},
		7: {"cwnd:", "qdisc ", "overflows"}, 8: {"per conn", "PoolOutstandingBytes", "ok "}, 9: {"bootstrap of client", ".onion:443"}, 10: {"commit ", "on ", "frames/s, p99 "},
	}
	for _, want := range said[step] {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q:\n%s", want, out)
		}
	}
	files := map[int]map[string]string{ // what they must contain
		1: {"client1.json": `"kind": "client"`, "server1.json": `"kind": "server"`}, 2: {"server.svg": "<svg", "decode.cpu.pb.gz": "", "framer.test": ""},
		3: {"server.trace": "", "block.pb.gz": "", "mutex.pb.gz": ""}, 4: {"server4.json": `"peer_limit"`, "client4.json": `"dial_failed"`},
		5: {"sweep.json": `"kind": "sweep"`}, 6: {"tcp.json": `"compare"`, "tls.json": `"compare"`, "quic.json": `"compare"`, "storm.json": `"storm"`},
		7: {"server7.json": `"quic"`}, 8: {"idle.json": `"bytes_per_conn"`, "heap.pb.gz": "", "server8.json": `"PoolOutstandingBytes": 0`}, 9: {"tor.json": `"kind": "tor"`},
	}
	for name, want := range files[step] {
		got, err := os.ReadFile(filepath.Join(b.ron, name))
		if err != nil || len(got) == 0 || !strings.Contains(string(got), want) {
			t.Errorf("%s: %v, %d bytes, without %q", name, err, len(got), want)
		}
		if strings.HasSuffix(name, ".json") && !json.Valid(got) {
			t.Errorf("%s is no JSON", name)
		}
	}
}
