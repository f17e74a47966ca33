package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// A storm of full handshakes runs, is counted on both sides, and costs the steady load no request.
func TestStorm(t *testing.T) {
	out := filepath.Join(t.TempDir(), "r.json")
	status, stdout, stderr := run(t, easy(), strings.Fields("storm --rounds 2 --duration 300ms --warmup 100ms --rate 50 --rps 200 --load-conns 4 --sources 3 --nice 1 "+
		"--server handshake-timeout=9s --json "+out)...)
	if status != exitOK {
		t.Fatalf("exit status %d\n%s%s", status, stdout, stderr)
	}
	r, err := report.Read(out)
	if err != nil {
		t.Fatal(err)
	}
	if r.Kind != report.KindStorm || r.Storm == nil || len(r.Storm.Rounds) != 2 || r.Storm.Load.Errors.Total() != 0 || r.Storm.P99 <= 0 {
		t.Fatalf("%+v\n%s", r.Storm, stderr)
	}
	var done uint64
	for _, c := range r.Storm.Rounds {
		if c.Quiet.Count == 0 || c.Loud.Count == 0 || c.Storm == nil || c.Storm.Offered == 0 || len(c.LoudCPU) != 3 {
			t.Errorf("%+v", c)
			continue
		}
		if s := c.Storm; s.Offered != s.Completed+s.Refused+s.Failed || s.Handshake.Count < int64(s.Completed) {
			t.Errorf("the storm's counts do not add up: %+v", s)
		}
		done += c.Storm.Completed
	}
	if done == 0 || r.Server == nil || r.Server.Accepted < done+4 {
		t.Errorf("%d handshakes complete, the server reports %+v", done, r.Server)
	}
	for _, want := range []string{"complete/s", "p99 storm / quiet", "median"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the table lacks %q:\n%s", want, stdout)
		}
	}
	if !strings.Contains(stderr, "round 2 of 2") {
		t.Errorf("no progress: %s", stderr)
	}
}
