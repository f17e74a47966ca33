package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// A server is replaced twice under load: every connection moves, and no request fails.
func TestRestart(t *testing.T) {
	out := filepath.Join(t.TempDir(), "r.json")
	status, stdout, stderr := run(t, easy(), strings.Fields("restart --restarts 2 --every 300ms --duration 200ms --warmup 100ms --rps 400 --load-conns 6 --json "+out)...)
	if status != exitOK {
		t.Fatalf("exit status %d\n%s%s", status, stdout, stderr)
	}
	r, err := report.Read(out)
	if err != nil {
		t.Fatal(err)
	}
	s := r.Restart
	if r.Kind != report.KindRestart || s == nil || s.Servers != 3 || len(s.Windows) != 2 || s.Load.Errors.Total() != 0 || s.Load.Moved != 12 {
		t.Fatalf("%+v\n%s", s, stderr)
	}
	if s.Load.Frames == 0 || s.Frames < s.Load.Frames { // theirs include the warm-up
		t.Errorf("the servers answered %d requests, the client counts %d", s.Frames, s.Load.Frames)
	}
	for _, want := range []string{"3 servers in turn", "0 failed", "12 connections moved", "restart 2"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the table lacks %q:\n%s", want, stdout)
		}
	}
}
