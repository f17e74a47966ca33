package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/child"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// patience covers a race-enabled build on a busy machine. Nothing here fails on speed.
const patience = 60 * time.Second

func makeCert(t *testing.T) *cert.Files {
	t.Helper()
	files, err := cert.Make()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Remove() })
	return files
}

// phase is runPhase, again with a longer window as long as a busy machine brings nothing at all in it.
func (a *app) phase(t *testing.T, srv *serverProcess, files *cert.Files, c load.Config) (*report.Phase, error) {
	t.Helper()
	for {
		p, err := a.runPhase(t.Context(), srv, files, c, nil)
		if err != nil || p.Frames > 0 || p.Errors.Total() != 0 || c.Window > time.Minute {
			return p, err
		}
		c.Window *= 4
	}
}

// Our client works with every server, in both kinds of loop, and the server is measured meanwhile.
func TestEveryServerAndBothLoops(t *testing.T) {
	t.Setenv(asMain, "1")
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	for _, kind := range serverKinds() {
		if kind.tor {
			continue // it needs a Tor network: TestTor has one
		}
		t.Run(kind.kind, func(t *testing.T) {
			files := makeCert(t)
			srv, err := a.startServer(kind.command, files)
			if err != nil {
				t.Fatal(err)
			}
			var frames uint64
			var cpu float64 // of all windows: in a short one on a busy machine it may be none
			for _, c := range []load.Config{
				{Conns: 5, Payload: 1024, RPS: 400, Warmup: 100 * time.Millisecond, Window: 400 * time.Millisecond},
				{Conns: 3, Payload: 4096, Depth: 8, Warmup: 100 * time.Millisecond, Window: 300 * time.Millisecond},
				{Conns: 2, Payload: load.MaxPayload, Depth: 2, Window: 2 * time.Second},
				{Conns: 2, Payload: 0, Depth: 1, Window: 500 * time.Millisecond},
			} {
				p, err := a.phase(t, srv, files, c)
				if err != nil {
					t.Fatal(err)
				}
				if p.Frames == 0 || p.Errors.Total() != 0 || p.Latency.Count == 0 || p.Session.Established != c.Conns {
					t.Errorf("%d B: %+v", c.Payload, p)
				}
				if kind.tls && p.Session.Resumed != c.Conns {
					t.Errorf("%d B: %d of %d sessions resumed", c.Payload, p.Session.Resumed, c.Conns)
				}
				if u := p.ServerUse; u == nil || u.PID != srv.PID() || u.RSSEnd <= 0 || (u.FDs <= c.Conns && !clientKindOf(kind.client).streams) {
					t.Errorf("%d B: the server used %+v", c.Payload, u)
				} else {
					cpu += u.CPUSeconds
				}
				frames += p.Frames
			}
			var s report.Server
			if err := srv.stop(&s); err != nil {
				t.Fatal(err)
			}
			if cpu <= 0 {
				t.Errorf("the server used %v s of CPU time", cpu)
			}
			if s.Kind != kind.kind || s.Frames < frames || s.Accepted < 12 || s.Failed != 0 {
				t.Errorf("the server reports %+v, the clients %d frames", s, frames)
			}
		})
	}
}

// The bare run prints its table, writes its report and leaves no certificate behind; its exit status follows the targets.
func TestBareRunAndItsExitStatus(t *testing.T) {
	impossible := easy()
	impossible.ResumedP99MS = -1
	for name, c := range map[string]struct {
		judge  report.Targets
		status int
		args   string
	}{
		"met":    {easy(), exitOK, "--duration 300ms --warmup 100ms --rps 500 --depth 4 --conns 4 --quic=false"},
		"missed": {impossible, exitFailed, "--duration 300ms --warmup 100ms --rps 200 --payload 16384 --conns 4"},
	} {
		t.Run(name, func(t *testing.T) {
			tmp := t.TempDir()
			t.Setenv("TMPDIR", tmp)
			out := filepath.Join(t.TempDir(), "r.json")
			status, stdout, stderr := run(t, c.judge, append(strings.Fields(c.args), "--json", out)...)
			if status != c.status {
				t.Fatalf("exit status %d, want %d\n%s%s", status, c.status, stdout, stderr)
			}
			r, err := report.Read(out)
			if err != nil {
				t.Fatal(err)
			}
			if r.Kind != report.KindRun || r.Pass != (status == exitOK) || r.Server == nil || len(r.SLO) == 0 || r.MeasuredOn.Cores == 0 {
				t.Errorf("%+v", r)
			}
			for _, want := range []string{"measured on:", "frames/s, core", "server CPU/frame", "p99", "open loop"} {
				if !strings.Contains(stdout, want) {
					t.Errorf("the table lacks %q:\n%s", want, stdout)
				}
			}
			if strings.Contains(stdout, string(report.Failed)) != (status == exitFailed) {
				t.Errorf("exit status %d with the table\n%s", status, stdout)
			}
			left, err := os.ReadDir(tmp)
			if err != nil || len(left) != 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// measured matches a client's progress once frames have come back in its window: the second line is a second after the first.
var measured = regexp.MustCompile(`(?s)measuring.*measuring, \d+ connections, [1-9]`)

// seen is a writer that closes found once text that matches has passed.
type seen struct {
	mu    sync.Mutex
	text  *regexp.Regexp
	all   strings.Builder
	found chan struct{}
	once  sync.Once
}

func (s *seen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all.Write(p)
	if s.text.MatchString(s.all.String()) {
		s.once.Do(func() { close(s.found) })
	}
	return len(p), nil
}

// Ctrl-C ends client and server with the results so far and exit status 0.
func TestInterruptYieldsResults(t *testing.T) {
	t.Setenv(asMain, "1")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		a := &app{stdout: os.Stdout, stderr: os.Stderr}
		srv, err := a.startServer("tls_echo_server", makeCert(t))
		if err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "c.json")
		w := &seen{text: measured, found: make(chan struct{})}
		c, err := child.Start(w, exe, "tls_echo_client", "--target", srv.target(), "--conns", "4", "--rps", "500", "--duration", "1h", "--warmup", "50ms", "--aes-gcm", "go", "--json", out)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-w.found:
		case <-c.Exited():
		case <-time.After(patience):
		}
		if err := c.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := c.Wait(); err != nil {
			t.Errorf("%v: %v\n%s", sig, err, w.all.String())
		}
		r, err := report.Read(out)
		if err != nil {
			t.Fatal(err)
		}
		if !r.Interrupted || len(r.Phases) != 1 || r.Phases[0].Frames == 0 || r.Phases[0].Errors.Total() != 0 || r.Phases[0].WindowS > 3000 {
			t.Errorf("%v: %+v", sig, r)
		}
		if v := r.Phases[0].Session.Verified; !strings.Contains(v, "loopback") || !strings.Contains(w.all.String(), v) {
			t.Errorf("the client does not say that it verified nothing: %q in\n%s", v, w.all.String())
		}
		if s := r.Phases[0].Session; strings.Contains(s.Suite, "_AES_") != (s.AESGCM == "go") {
			t.Errorf("%s: encrypted by %q, --aes-gcm was go", s.Suite, s.AESGCM)
		}
		if _, err := c.WaitLine("measured on:", patience); err != nil {
			t.Error(err)
		}
		if err := srv.Signal(sig); err != nil {
			t.Fatal(err)
		}
		if err := srv.Wait(); err != nil { // before stop, whose signal would be the second, which ends at once
			t.Error(err)
		}
		var s report.Server
		if err := srv.stop(&s); err != nil || s.Frames == 0 {
			t.Errorf("%v: the server reports %+v, %v", sig, s, err)
		}
	}
}

// A server that was not given a certificate makes one that --ca-out lets a client verify; another certificate does not do.
func TestVerification(t *testing.T) {
	t.Setenv(asMain, "1")
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	srv, err := child.Start(nil, exe, "tls_echo_server", "--listen", "127.0.0.1:0", "--ca-out", ca, "--duration", "1h")
	if err != nil {
		t.Fatal(err)
	}
	line, err := srv.WaitLine(lineListening, patience)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := field(line, "addr")
	if err != nil {
		t.Fatal(err)
	}
	args := func(ca string) []string {
		return []string{"tls_echo_client", "--target", "https://" + addr, "--conns", "2", "--duration", "200ms", "--warmup", "0s", "--ca", ca}
	}
	if status, _, stderr := run(t, easy(), args(ca)...); status != exitOK {
		t.Errorf("exit status %d with the server's certificate: %s", status, stderr)
	}
	if status, _, stderr := run(t, easy(), args(makeCert(t).Cert)...); status != exitFailed || !strings.Contains(stderr, "certificate") {
		t.Errorf("exit status %d with another certificate: %s", status, stderr)
	}
	if err := srv.Stop(patience); err != nil {
		t.Error(err)
	}
}

// Children of a parent that has gone end by themselves.
func TestServerEndsWithItsParent(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, exe, "peer_nettls_echo_server", "--listen", "127.0.0.1:0", "--with-parent")
	cmd.Env = append(os.Environ(), asMain+"=1")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stdin.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// A client whose server dies says so and fails, with the results so far.
func TestServerDies(t *testing.T) {
	t.Setenv(asMain, "1")
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	srv, err := a.startServer("tcp_echo_server", makeCert(t))
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "c.json")
	w := &seen{text: measured, found: make(chan struct{})}
	c, err := child.Start(w, exe, "tcp_echo_client", "--target", srv.target(), "--conns", "4", "--depth", "2", "--duration", "1h", "--warmup", "50ms", "--json", out)
	if err != nil {
		t.Fatal(err)
	}
	<-w.found
	if err := srv.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err == nil || c.ExitCode() != exitFailed {
		t.Errorf("%v, exit status %d", err, c.ExitCode())
	}
	r, err := report.Read(out)
	if err != nil {
		t.Fatal(err)
	}
	if e := r.Phases[0].Errors; e.ConnLost != 4 || e.FirstError == "" {
		t.Errorf("%+v", r.Phases[0])
	}
	_ = srv.Wait()
	if status, _, stderr := run(t, easy(), "tcp_echo_client", "--target", srv.target(), "--conns", "2", "--duration", "100ms"); status != exitFailed || !strings.Contains(stderr, "no connection") {
		t.Errorf("exit status %d without a server: %s", status, stderr)
	}
}

func TestCompare(t *testing.T) {
	for _, c := range []struct{ transport, peer, workloads string }{
		{"tls", "net + crypto/tls", "1k-200x4"}, {"tcp", "gnet", "64k-8x4,4k-50x1"},
	} {
		out := filepath.Join(t.TempDir(), "cmp.json")
		status, stdout, stderr := run(t, easy(), "compare", "--transport", c.transport, "--workloads", c.workloads, "--rounds", "2", "--duration", "500ms", "--json", out)
		if status != exitOK {
			t.Fatalf("exit status %d without --gate\n%s%s", status, stdout, stderr)
		}
		r, err := report.Read(out)
		if err != nil {
			t.Fatal(err)
		}
		withoutSeries(t, out)
		if n := 1 + strings.Count(c.workloads, ","); len(r.Compare) != n || len(r.SLO) != n {
			t.Fatalf("%+v", r)
		}
		for _, p := range r.Compare {
			if len(p.Rounds) != 2 || !p.Rounds[0].OursFirst || p.Rounds[1].OursFirst || p.PeerName != c.peer || p.Ratio <= 0 || p.Ours.Errors+p.Peer.Errors != 0 {
				t.Errorf("%+v", p)
			}
		}
		if !strings.Contains(stderr, "left)") {
			t.Errorf("no progress with an estimate: %s", stderr)
		}
	}
}

func TestIdle(t *testing.T) {
	out := filepath.Join(t.TempDir(), "idle.json")
	status, stdout, stderr := run(t, easy(), "idle", "--conns", "40", "--settle", "0s", "--peer", "--json", out)
	r, err := report.Read(out)
	if err != nil {
		t.Fatalf("exit status %d, %v\n%s%s", status, err, stdout, stderr)
	}
	if len(r.Idle) != 2 || len(r.SLO) != 2 || (status == exitOK) != r.Pass { // whether the limit holds for 40 connections is not asked
		t.Fatalf("exit status %d, %+v", status, r)
	}
	for _, i := range r.Idle {
		if i.Conns != 40 || i.EchoChecked != 40 || i.EchoFailed != 0 || i.FDs < 40 || i.RSSBefore <= 0 || i.RSSAfter <= 0 {
			t.Errorf("%+v", i)
		}
	}
}
