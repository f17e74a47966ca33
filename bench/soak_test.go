package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/drift"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/bench/internal/soak"
)

// leaky makes the TLS server that the test binary runs as leak memory, descriptors and goroutines.
const leaky = "RONBENCH_TEST_LEAK"

// leak never ends: 20 MiB, 200 descriptors and 200 goroutines a second.
func leak() {
	var kept [][]byte
	for range time.Tick(100 * time.Millisecond) {
		b := bytes.Repeat([]byte{1}, 2<<20)
		kept = append(kept, b)
		for range 20 {
			if f, err := os.Open(os.DevNull); err == nil {
				go func() { <-make(chan bool); f.Close() }()
			}
		}
	}
	_ = kept
}

// dying makes it end after so long.
const dying = "RONBENCH_TEST_DIE"

// ailing has this process, which runs as ronbench, leak or die, if that is asked for.
func ailing() {
	if len(os.Args) < 2 || os.Args[1] != "tls_echo_server" {
		return
	}
	if os.Getenv(leaky) != "" {
		go leak()
	}
	if d, err := time.ParseDuration(os.Getenv(dying)); err == nil {
		time.AfterFunc(d, func() { os.Exit(7) })
	}
}

func soakRefusals() []refusal {
	return []refusal{
		{"soak --duration 1s", []string{"--duration", "1s", "5s to"}},
		{"soak --conns 3", []string{"--conns", "3", "4 to 4096"}},
		{"soak --mix 5", []string{"--mix", "5"}},
		{"soak --mix=", []string{"--mix"}},
		{"soak --cpu-low 80", []string{"--cpu-low", "80", "below --cpu-high"}},
		{"soak --cpu-high 101", []string{"--cpu-high", "101"}},
		{"soak --life 1ms", []string{"--life", "1ms", "500ms to"}},
		{"soak --sample-every 1ms", []string{"--sample-every", "1ms"}},
		{"soak --rotate 1ms", []string{"--rotate", "1ms"}},
		{"soak --tor maybe", []string{"--tor", "maybe", "auto, on, off"}},
		{"soak --resume x --tor off --conns 5", []string{"--resume", "--conns", "--tor"}},
		{"soak --resume /nonexistent", []string{"--resume", "/nonexistent"}},
		{"soak --tor off --checkpoint x --json ./x", []string{"--json", "./x", "another file"}},
		{"soak --tor off --checkpoint x --html x", []string{"--html", "another file"}},
		{"soak --tor off --checkpoint /nonexistent/x", []string{"--checkpoint", "/nonexistent"}},
	}
}

// soakArgs are a soak that is as short as it can be.
func soakArgs(duration, out string, more ...string) []string {
	return append([]string{"soak", "--tor", "off", "--duration", duration, "--conns", "8", "--life", "1s", "--sample-every", "100ms", "--rotate", "1s", "--json", out}, more...)
}

// interruptAt runs a command line as a process and sends SIGINT when its progress has come to a line with one of the words.
func interruptAt(t *testing.T, args []string, words ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), asMain+"=1")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sent, all := false, ""
	for sc := bufio.NewScanner(stderr); sc.Scan(); {
		all += sc.Text() + "\n"
		if !sent && slices.ContainsFunc(words, func(w string) bool { return strings.Contains(sc.Text(), w) }) {
			sent = cmd.Process.Signal(os.Interrupt) == nil
		}
	}
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != exitFailed { // a leak in a moment's run is not asked for
		t.Fatalf("%v\n%s", err, all)
	}
	if !sent || !strings.Contains(all, "soak --resume ") {
		t.Fatalf("not interrupted in the midst, or no word about how to go on:\n%s", all)
	}
}

// A soak over TLS and QUIC, interrupted and resumed: not a request fails, certificates change, connections are replaced and half of
// them resume, and what was done before the interruption counts.
func TestSoakIsInterruptedAndResumed(t *testing.T) {
	dir := t.TempDir()
	out, state := filepath.Join(dir, "soak.json"), filepath.Join(dir, "state.json")
	interruptAt(t, soakArgs("10s", out, "--checkpoint", state), "soak: 3s", "soak: 4s", "soak: 5s")
	first, err := report.Read(out)
	if err != nil {
		t.Fatal(err)
	}
	if !first.Interrupted || first.Soak == nil || first.Soak.ElapsedS >= 10 {
		t.Fatalf("%+v", first)
	}
	st, err := soak.Load(state)
	if err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(dir, "soak.html")
	status, stdout, stderr := run(t, easy(), "soak", "--resume", state, "--json", out, "--html", page)
	r, err := report.Read(out)
	if err != nil {
		t.Fatalf("exit status %d, %v\n%s%s", status, err, stdout, stderr)
	}
	if b, err := os.ReadFile(page); err != nil || !strings.Contains(string(b), "Soak over time") {
		t.Errorf("no page of the soak: %v", err)
	}
	s := r.Soak
	if r.Interrupted || (status == exitOK) != r.Pass || len(s.Segments) != 2 || s.Segments[1] != st.ElapsedS || s.ElapsedS < 10 {
		t.Fatalf("exit status %d\n%s%s", status, stdout, stderr)
	}
	if len(s.Loads) != 2 {
		t.Fatalf("%+v", s.Loads)
	}
	for i, l := range s.Loads {
		before := first.Soak.Loads[i]
		if l.RestConns != 0 || l.RestBuffers != 0 {
			t.Errorf("at rest: %+v", l)
		}
		if l.Errors.Total() != 0 || l.Fleets <= before.Fleets || l.Frames <= before.Frames || l.Resumed == 0 || l.Conns <= l.Resumed {
			t.Errorf("%+v after %+v", l, before)
		}
	}
	if c := s.Chaos; c.Certificates == 0 || c.Reloads == 0 || c.Resets == 0 || c.Crowd < crowdSize {
		t.Errorf("%+v", c)
	}
	for _, name := range []string{"tls server rss", "quic server goroutines", "tls server buffers", "quic server fds", "load rss"} {
		i := slices.IndexFunc(s.Judge, func(j report.SoakSeries) bool { return j.Name == name })
		if i < 0 || len(s.Judge[i].T) != len(s.Judge[i].V) || s.Judge[i].T[0] >= s.Segments[1] || s.Judge[i].T[len(s.Judge[i].T)-1] <= s.Segments[1] {
			t.Errorf("%s: no series over both segments", name)
		}
	}
	if !strings.Contains(stdout, "resumed after") || !strings.Contains(stderr, "soak: ") {
		t.Errorf("%s%s", stdout, stderr)
	}
	if status, _, stderr := run(t, easy(), "soak", "--resume", state); status != exitUsage || !strings.Contains(stderr, "complete") {
		t.Errorf("resumed once more: exit status %d, %s", status, stderr)
	}
}

// A server that leaks is caught, and the run fails.
func TestSoakCatchesALeak(t *testing.T) {
	t.Setenv(leaky, "1")
	leaked := []string{"tls server rss", "tls server fds", "tls server goroutines"}
	out := filepath.Join(t.TempDir(), "soak.json")
	for d := 6 * time.Second; ; d *= 2 { // longer on a machine that is too busy for as many samples as a verdict needs
		status, stdout, stderr := run(t, easy(), soakArgs(d.String(), out, "--chaos=false")...)
		r, err := report.Read(out)
		if err != nil {
			t.Fatalf("exit status %d, %v\n%s%s", status, err, stdout, stderr)
		}
		found, unclear := map[string]bool{}, false
		for _, j := range r.Soak.Judge {
			found[j.Name] = j.Result.Verdict == drift.Growing
			unclear = unclear || slices.Contains(leaked, j.Name) && j.Result.Verdict == drift.Unclear
		}
		if unclear && d < time.Minute {
			continue
		}
		for _, name := range leaked {
			if !found[name] {
				t.Errorf("no leak of %s is shown", name)
			}
		}
		if found["quic server fds"] || found["quic server goroutines"] {
			t.Error("the server that does not leak is accused")
		}
		if status != exitFailed || r.Pass || !strings.Contains(stderr, "leak of tls server") || t.Failed() {
			t.Errorf("exit status %d\n%s%s", status, stdout, stderr)
		}
		return
	}
}

// A server that dies ends the run, which tells why, and what was measured until then.
func TestSoakTellsThatAServerDied(t *testing.T) {
	t.Setenv(dying, "2s")
	out := filepath.Join(t.TempDir(), "soak.json")
	status, stdout, stderr := run(t, easy(), soakArgs("2m", out, "--chaos=false")...)
	r, err := report.Read(out)
	if err != nil {
		t.Fatalf("exit status %d, %v\n%s%s", status, err, stdout, stderr)
	}
	if s := r.Soak; status != exitFailed || r.Pass || r.Interrupted || s.ElapsedS > 110 || !strings.Contains(s.Broken, "tls_echo_server") || len(s.Judge) == 0 {
		t.Errorf("exit status %d\n%s%s", status, stdout, stderr)
	}
}

// What is being opened when the run ends gets its time, and no more.
func TestOutlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		later, end := outlive(ctx, lastOpen)
		defer end()
		cancel()
		if time.Sleep(lastOpen - time.Nanosecond); later.Err() != nil {
			t.Error("ended too soon")
		}
		if time.Sleep(2 * time.Nanosecond); later.Err() == nil {
			t.Error("not ended")
		}
		ctx, cancel = context.WithCancel(t.Context())
		later, end = outlive(ctx, lastOpen)
		if end(); later.Err() == nil || ctx.Err() != nil {
			t.Errorf("%v, %v after its end", later.Err(), ctx.Err())
		}
		cancel()
	})
}

// A lane that cannot be opened is an error, but for one that the end of the run has kept from it.
func TestLaneIsCounted(t *testing.T) {
	s := &soakRun{state: soak.New(soak.Config{}, time.Now())}
	l := lane{srv: &serverProcess{transport: "tls"}, load: load.Config{Conns: 3}}
	s.count(l, nil, errCutOff)
	if got := s.state.Load("tls"); got.Errors.Total() != 0 || got.Fleets != 0 {
		t.Errorf("%+v of one that was cut off", got)
	}
	s.count(l, nil, errors.New("refused"))
	if got := s.state.Load("tls"); got.Errors.DialFailed != 3 || got.Failed != "refused" {
		t.Errorf("%+v", got)
	}
}

// What the servers saw fail and what the chaos made is counted at a segment's end, both or neither.
func TestHarmIsCountedWithWhatServersSaw(t *testing.T) {
	s := &soakRun{state: soak.New(soak.Config{}, time.Now()), harmed: map[string]uint64{"tls": 5}}
	if l := s.state.Load("tls"); l.Harmed != 0 {
		t.Fatalf("%+v before the end", l)
	}
	for range 2 {
		s.ended("tls", &report.Server{Failed: 7, Rejected: map[string]uint64{"io": 2}})
	}
	if l := s.state.Load("tls"); l.Harmed != 10 || l.ServerFailed != 14 || l.ServerReasons["io"] != 4 {
		t.Errorf("%+v after two segments", l)
	}
}

func TestVitals(t *testing.T) {
	want := vitals{1, 2, 3, 4, 5, 6}
	var got vitals
	if err := got.parse(lineVitals + want.String()); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for _, line := range []string{"", "vitals goroutines=1", strings.Replace(want.String(), "=3", "=x", 1)} {
		if got.parse(line) == nil {
			t.Errorf("%q was taken", line)
		}
	}
	if v := ownVitals(); v.goroutines < 1 {
		t.Errorf("%+v", v)
	}
}

// Clients trust the certificate that is in force, the one that comes next, and the one that went last.
func TestRotation(t *testing.T) {
	s := &soakServers{files: makeCert(t)}
	var past []*x509.Certificate
	for i := range 5 {
		next := s.roots()
		if err := s.rotate(); err != nil {
			t.Fatal(err)
		}
		c, err := s.files.Load()
		if err != nil {
			t.Fatal(err)
		}
		past = append(past, c.Leaf)
		if _, err := c.Leaf.Verify(x509.VerifyOptions{Roots: next}); i > 0 && err != nil {
			t.Errorf("rotation %d: not trusted beforehand: %v", i, err)
		}
		for age := range i + 1 {
			_, err := past[i-age].Verify(x509.VerifyOptions{Roots: s.roots()})
			if trusted := age <= 1; trusted != (err == nil) {
				t.Errorf("rotation %d: the certificate %d before: %v", i, age, err)
			}
		}
	}
}
