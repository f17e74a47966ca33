package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// TestHTML: a run writes its page beside its JSON report, and the page made of the JSON report later is the same.
func TestHTML(t *testing.T) {
	dir := t.TempDir()
	doc, page, again := filepath.Join(dir, "run.json"), filepath.Join(dir, "run.html"), filepath.Join(dir, "again.html")
	status, stdout, stderr := run(t, easy(), "--quic=false", "--duration", "300ms", "--warmup", "50ms", "--conns", "4", "--rps", "300", "--json", doc, "--html", page)
	if status != exitOK {
		t.Fatalf("status %d\n%s\n%s", status, stdout, stderr)
	}
	status, text, stderr := run(t, easy(), "report", doc, "--html", again)
	if status != exitOK || text != stdout {
		t.Fatalf("status %d, want the run's text\n%s\n%s", status, text, stderr)
	}
	first, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(again)
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("the page of the saved report differs from the run's, or there is none: %v", err)
	}
	if !bytes.Contains(first, []byte("open loop")) || !bytes.HasSuffix(bytes.TrimSpace(first), []byte("</html>")) {
		t.Errorf("no page: %d bytes", len(first))
	}
	if left, err := filepath.Glob(filepath.Join(dir, ".ronbench-*")); err != nil || len(left) > 0 {
		t.Errorf("temporary files are left: %v %v", left, err)
	}
}

// TestShowReport: what is no report is refused with the file's name; a report that has failed is shown all the same.
func TestShowReport(t *testing.T) {
	dir := t.TempDir()
	write := func(name, s string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	failed := write("failed.json", `{"schema":"`+report.Schema+`","kind":"slo","slo":[{"what":"a thing","op":"<=","target":1,"measured":2,"verdict":"FAIL"}]}`)
	if status, stdout, stderr := run(t, easy(), "report", failed, "--html", filepath.Join(dir, "out.html")); status != exitOK || !strings.Contains(stdout, "a thing") {
		t.Errorf("a report that has failed: status %d\n%s\n%s", status, stdout, stderr)
	}
	for _, c := range []struct{ path, want string }{
		{filepath.Join(dir, "none.json"), "none.json"},
		{write("cut.json", `{"schema":"ron`), "cut.json"},
		{write("other.json", `{"schema":"other/9"}`), "other/9"},
		{write("figure.json", `{"schema":"`+report.Schema+`","sweep":[{"knob":"loops","figure":"luck"}]}`), "luck"},
		{write("took.json", `{"schema":"`+report.Schema+`","restart":{"windows":[{}]}}`), "restarts"},
	} {
		status, stdout, stderr := run(t, easy(), "report", c.path, "--html", filepath.Join(dir, "bad.html"))
		if status != exitFailed || !strings.Contains(stderr, c.want) || stdout != "" {
			t.Errorf("%s: status %d\n%s\n%s", c.path, status, stdout, stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "bad.html")); err == nil {
		t.Error("there is a page of what is no report")
	}
}

func TestHTMLRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--html", ""}, "name of a file"},
		{[]string{"--html", dir}, "directory"},
		{[]string{"--html", filepath.Join(dir, "no", "x.html")}, "directory that is there"},
		{[]string{"--html", filepath.Join(file, "x.html")}, "directory that is there"},
		{[]string{"--json", file, "--html", filepath.Join(dir, ".", "f")}, "--json"},
		{[]string{"check", "--report", file, "--html", file}, "--report"},
		{[]string{"report"}, "one argument"},
		{[]string{"report", file, file}, "one argument"},
		{[]string{"report", file, "--html", file}, "report that is read"},
		{[]string{"report", file, "--html", ""}, "name of a file"},
	} {
		status, stdout, stderr := run(t, easy(), c.args...)
		if status != exitUsage || stdout != "" || !strings.Contains(stderr, c.want) {
			t.Errorf("%q: status %d, want %d and %q\n%s%s", c.args, status, exitUsage, c.want, stdout, stderr)
		}
	}
}

// TestEveryReportHasHTML: a command with --json has --html, and the other way round.
func TestEveryReportHasHTML(t *testing.T) {
	commands := 0
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		f := cmd.Flags()
		writes := f.Lookup("json") != nil || f.Lookup("report") != nil || cmd.Name() == "report"
		if has := f.Lookup("html") != nil; has != writes {
			t.Errorf("%s: --html is there: %v; it writes or shows a report: %v", cmd.CommandPath(), has, writes)
		}
		if writes {
			commands++
		}
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk((&app{}).root())
	if commands < 15 {
		t.Errorf("only %d commands write reports", commands)
	}
}
