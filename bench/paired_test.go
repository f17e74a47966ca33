package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/gate"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// pairedRefusals are command lines of paired checks that must be refused.
func pairedRefusals() []refusal {
	return []refusal{
		{"check --base HEAD --baselines x", []string{"--baselines", "--base"}},
		{"check --base HEAD --schema x", []string{"--schema", "--base"}},
		{"check --base HEAD --record", []string{"--record", "--base"}},
		{"check --base HEAD --runs 3", []string{"--runs", "--base"}},
		{"check --base HEAD --duration 1s", []string{"--duration", "--base"}},
		{"check --base HEAD --warmup 1s", []string{"--warmup", "--base"}},
		{"check --base HEAD --crate other", []string{"--crate", "ron-transport"}},
		{"check --base HEAD --gate +6cpu", []string{"--gate", "no gate for"}},
		{"check --base HEAD --pairs 7", []string{"--pairs", "7", "8 to"}},
		{"check --base HEAD --pairs 10", []string{"--pairs", "10", "8 to 1000, by 4"}},
		{"check --base HEAD --slice 1ms", []string{"--slice", "1ms", "100ms to"}},
		{"check --base HEAD --conns 0", []string{"--conns", "1 to"}},
		{"check --pairs 8", []string{"--pairs", "--base"}},
		{"check --slice 1s", []string{"--slice", "--base"}},
		{"power --runs 0", []string{"--runs", "1 to 1000"}},
		{"power --slowdown 0", []string{"--slowdown", "1 to"}},
		{"power --gate +6cpu", []string{"--gate", "no gate for"}},
		{"power --pairs 0", []string{"--pairs", "8 to"}},
	}
}

// checkout is whether this tree is one that a paired check can be tried on.
func checkout(t *testing.T) {
	t.Helper()
	for _, name := range []string{"git", "go"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip("a paired check needs", name)
		}
	}
	if _, err := tool(t.Context(), "", "git", "rev-parse", "--verify", "HEAD"); err != nil {
		t.Skip("a paired check compares with a commit, and this is no git checkout: ", err)
	}
}

// TestPairedCheck: a short paired check of this tree runs to its end, its report has all pairs and a verdict that follows from them, and nothing of
// it stays behind. What the verdict is depends on the machine.
func TestPairedCheck(t *testing.T) {
	checkout(t)
	t.Setenv("TMPDIR", t.TempDir())
	var out bytes.Buffer
	a := &app{stdout: &out, stderr: os.Stderr, argv: []string{"ronbench", "check"}}
	o := &checkOptions{report: filepath.Join(t.TempDir(), "r.json"), paired: pairedOptions{
		base: "HEAD", pairs: gate.LeastPairs, slice: load.MinWindow, conns: 4, rps: 500, gate: gate.PairedGates, looks: 1}}
	if err := o.paired.validate(); err != nil {
		t.Fatal(err)
	}
	err := a.checkPaired(t.Context(), o)
	r, rerr := report.Read(o.report)
	if rerr != nil || r.Paired == nil {
		t.Fatal(err, rerr)
	}
	if breach := errors.Is(err, errMissed); (err != nil && !breach) || r.Pass == breach || r.Paired.OK() == breach {
		t.Errorf("it ended with %v, the report says %v", err, r.Pass)
	}
	rows, err := gate.JudgePairs(r.Paired.Pairs(), gate.LeastPairs, o.paired.gates, 0)
	if err != nil || len(rows) != len(gate.PairedMetrics()) {
		t.Fatal(rows, err)
	}
	for i, row := range r.Paired.Rows {
		if row.Pairs != gate.LeastPairs || row.OK != rows[i].OK || math.Abs(row.Worse-rows[i].Worse) > 1e-9 || !strings.Contains(out.String(), row.Key) {
			t.Errorf("%+v, its pairs say %+v", row, rows[i])
		}
	}
	if left, err := os.ReadDir(os.Getenv("TMPDIR")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestSlowerBuild: the slower build of a power study echoes as the base does, and its frames cost what was added to them. The loop is so long
// here that no noise hides it.
func TestSlowerBuild(t *testing.T) {
	checkout(t)
	o := &powerOptions{pairedOptions: pairedOptions{base: "HEAD", pairs: gate.LeastPairs, slice: load.MinWindow, conns: 4, rps: 500, looks: 1, gate: gate.PairedGates}, slowdown: 12, runs: 1}
	if err := o.validate(); err != nil {
		t.Fatal(err)
	}
	s := &powerStudy{a: &app{stderr: os.Stderr}, o: o, files: makeCert(t), progress: report.NewProgress(os.Stderr), out: &report.Power{Rounds: 200_000}}
	var err error
	if s.shop, err = openWorkshop(t.Context(), s.progress, "power"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.shop.close() }()
	commit, err := s.shop.commit(t.Context(), "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	if s.src, err = s.shop.checkout(t.Context(), commit); err != nil {
		t.Fatal(err)
	}
	if s.base, err = s.shop.build(t.Context(), "base", s.src, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.buildSlow(t.Context()); err != nil {
		t.Fatal(err)
	}
	row, err := s.measure(t.Context(), s.base, s.slow, "the slower build", gate.LeastPairs)
	if err != nil {
		t.Fatal(err)
	}
	if row.OK || row.Low < 100 {
		t.Errorf("200,000 rounds in every frame, some 100 µs, cost %+v", row)
	}
}

// TestSlowerSource: the loop is the first thing that OnFrame does, and a source without that method is an error.
func TestSlowerSource(t *testing.T) {
	src, err := os.ReadFile("ours.go")
	if err != nil {
		t.Fatal(err)
	}
	out, err := slower(src, 77)
	if err != nil || !bytes.Contains(out, []byte("range 77 ")) {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), "ours.go", out, 0)
	if err != nil {
		t.Fatal(err)
	}
	calls := 0
	for _, d := range f.Decls {
		if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.Name == "OnFrame" {
			if s, ok := fn.Body.List[0].(*ast.ExprStmt); ok && s.X.(*ast.CallExpr).Fun.(*ast.Ident).Name == "powerSpin" {
				calls++
			}
		}
	}
	if calls != 1 {
		t.Errorf("%d calls of the loop", calls)
	}
	for name, src := range map[string]string{"another": "package main\nfunc OnFrame() {}", "none": "package main", "no Go": "package"} {
		if _, err := slower([]byte(src), 1); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestPairedCheckCannotJudge: a base that is no commit is a refused flag, one that does not build, and a place that is no checkout, are failures that
// say so; an end of the context ends the builds. Each leaves nothing behind.
func TestPairedCheckCannotJudge(t *testing.T) {
	checkout(t)
	repo := t.TempDir()
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=x", "-c", "user.email=x@example.invalid", "commit", "-q", "-m", "x"}} {
		if args[0] == "add" {
			broken := map[string]string{"go.mod": "module example.invalid/x\n\ngo 1.26\n", "bench/main.go": "package main\n\nfunc main() { nonsense }\n"}
			for name, text := range broken {
				p := filepath.Join(repo, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, []byte(text), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if _, err := tool(t.Context(), repo, "git", args...); err != nil {
			t.Fatal(err)
		}
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for _, v := range []struct {
		name, dir, base string
		ctx             context.Context
		want            string
	}{
		{"no commit", repo, "no-such-ref", t.Context(), "--base: \"no-such-ref\" is not allowed"},
		{"an option", repo, "--all", t.Context(), "--base: \"--all\" is not allowed"},
		{"does not build", repo, "HEAD", t.Context(), "the base does not build"},
		{"no checkout", t.TempDir(), "HEAD", t.Context(), "git checkout"},
		{"interrupted", repo, "HEAD", over, "context canceled"},
	} {
		t.Run(v.name, func(t *testing.T) {
			tmp := t.TempDir()
			t.Setenv("TMPDIR", tmp)
			t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(v.dir))
			t.Chdir(v.dir)
			o := &checkOptions{paired: pairedOptions{base: v.base, pairs: gate.LeastPairs, slice: load.MinWindow, conns: 1, rps: 1, gate: gate.PairedGates, looks: 1}}
			a := &app{stdout: new(bytes.Buffer), stderr: os.Stderr}
			if err := a.checkPaired(v.ctx, o); err == nil || !strings.Contains(err.Error(), v.want) {
				t.Errorf("%v", err)
			}
			if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v, %v", left, err)
			}
		})
	}
}

// TestBuildsOfOneSource: a commit and a working tree with the same files make the same program, to the byte, whatever go.work there is; a file that is not
// tracked is part of the tree, one that is ignored or was deleted is not, and the tree is left as it was.
func TestBuildsOfOneSource(t *testing.T) {
	checkout(t)
	repo := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		p := filepath.Join(repo, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.invalid/x\n\ngo 1.26\n")
	write("bench/main.go", "package main\n\nimport \"runtime\"\n\nfunc main() { _, file, _, _ := runtime.Caller(0); println(file, value) }\n")
	write("bench/value.go", "package main\n\nconst value = 1\n")
	write(".gitignore", "ignored.go\n")
	if err := os.Symlink("value.go", filepath.Join(repo, "bench/link")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"init", "-q"}, {"add", "."}, {"-c", "user.name=x", "-c", "user.email=x@example.invalid", "commit", "-q", "-m", "x"}} {
		if _, err := tool(t.Context(), repo, "git", args...); err != nil {
			t.Fatal(err)
		}
	}
	write("bench/ignored.go", "no Go")
	t.Setenv("GOWORK", "/nonexistent/go.work")
	shop := func(commit bool) (what []byte, src string) {
		t.Helper()
		w := &workshop{dir: t.TempDir(), tree: repo, progress: report.NewProgress(os.Stderr)}
		var err error
		if src, err = w.checkout(t.Context(), "HEAD"); err == nil && !commit {
			base := src
			if src, err = w.copyTree(t.Context()); len(src) != len(base) {
				t.Errorf("%s and %s are of different length", base, src)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		exe, err := w.build(t.Context(), "base", src, nil)
		if err != nil {
			t.Fatal(err)
		}
		if what, err = os.ReadFile(exe); err != nil {
			t.Fatal(err)
		}
		return what, src
	}
	base, _ := shop(true)
	same, src := shop(false)
	if !bytes.Equal(base, same) {
		t.Error("the same source has made another program")
	}
	if to, err := os.Readlink(filepath.Join(src, "bench/link")); err != nil || to != "value.go" {
		t.Errorf("the link is %q, %v", to, err)
	}
	write("bench/another.go", "package main\n\nconst value = 2\n") // not tracked
	if err := os.Remove(filepath.Join(repo, "bench/value.go")); err != nil {
		t.Fatal(err)
	}
	if other, _ := shop(false); bytes.Equal(base, other) {
		t.Error("another source has made the same program")
	}
	if left, err := os.ReadDir(repo); err != nil || len(left) != 4 { // .git, .gitignore, bench, go.mod
		t.Errorf("the tree has %v, %v", left, err)
	}
}

// TestUntarStaysInside: an archive cannot write elsewhere.
func TestUntarStaysInside(t *testing.T) {
	for _, h := range []tar.Header{
		{Name: "../out", Typeflag: tar.TypeReg}, {Name: "/out", Typeflag: tar.TypeReg}, {Name: "../d/", Typeflag: tar.TypeDir}, {Name: "device", Typeflag: tar.TypeChar},
	} {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		if err := errors.Join(w.WriteHeader(&h), w.Close()); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(t.TempDir(), "in")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := untar(&b, dir); err == nil {
			t.Errorf("%s: no error", h.Name)
		}
		if left, _ := os.ReadDir(filepath.Dir(dir)); len(left) != 1 {
			t.Errorf("%s: it wrote %v", h.Name, left)
		}
	}
}

// TestPairedOrder: base and change take turns as A B B A and then B A A B, and a load is measured again as long as one of its figures is not settled.
func TestPairedOrder(t *testing.T) {
	o := &pairedOptions{pairs: 8, slice: time.Second, conns: 1, rps: 1}
	p := &pairedRun{o: o, out: &report.Paired{}}
	var got string
	for round := range 2 {
		for i := range 2 {
			for turn := range sides {
				got += string("AB"[p.side(round, i, turn)])
			}
		}
	}
	if got != "ABBABAAB" {
		t.Errorf("order %s", got)
	}
	first := [sides]int{}
	for round := range gate.LeastPairs / pairsPerRound {
		order := startOrder(round)
		if first[order[0]]++; order[0] == order[1] {
			t.Errorf("round %d starts %v", round, order)
		}
	}
	if first[sideBase] != first[sideChange] {
		t.Errorf("the base's server is the first one %d times, the change's %d times", first[sideBase], first[sideChange])
	}
	seen := map[string]int{}
	for _, l := range o.pairedLoads() {
		for _, k := range l.keys {
			seen[k]++
		}
	}
	for _, m := range gate.PairedMetrics() {
		if seen[m.Key] != 1 {
			t.Errorf("%s is a figure of %d loads", m.Key, seen[m.Key])
		}
		p.out.Rows = append(p.out.Rows, gate.PairedRow{Key: m.Key, Settled: m.Key != "tls_small_p99_ms" && m.Key != "quic_stream_64k_gbps"})
	}
	if p.settle(); len(p.pending) != 2 || p.pending[0] != 1 || p.pending[1] != 3 {
		t.Errorf("loads %v are measured again", p.pending)
	}
}
