package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/bench/internal/hostile"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// A hostile crowd of all kinds is ended by the deadline that is there for each, the healthy load loses no request, and every
// descriptor comes back.
func TestLoris(t *testing.T) {
	out := filepath.Join(t.TempDir(), "r.json")
	status, stdout, stderr := run(t, easy(), strings.Fields("loris --rounds 1 --duration 3s --warmup 100ms --rps 200 --load-conns 4 --conns 30 --sources 3 "+
		"--drip 50ms --again 100ms --settle 0s --calm 0s --server handshake-timeout=700ms --server frame-timeout=700ms --server write-timeout=700ms --json "+out)...)
	if status != exitOK {
		t.Fatalf("exit status %d\n%s%s", status, stdout, stderr)
	}
	r, err := report.Read(out)
	if err != nil {
		t.Fatal(err)
	}
	if r.Kind != report.KindLoris || r.Loris == nil || len(r.Loris.Rounds) != 1 || r.Loris.Load.Errors.Total() != 0 {
		t.Fatalf("%+v\n%s", r.Loris, stderr)
	}
	c := r.Loris.Rounds[0].Crowd
	for _, k := range hostile.Kinds() {
		if c.Opened[k.String()] < 5 || c.Ended[k.String()] == 0 {
			t.Errorf("%s: %d opened, %d ended by the server", k, c.Opened[k.String()], c.Ended[k.String()])
		}
	}
	for _, why := range []string{"handshake_timeout", "read_timeout", "write_timeout"} {
		if r.Loris.Ends[why] == 0 {
			t.Errorf("the server ended no connection with %s: %v", why, r.Loris.Ends)
		}
	}
	if len(r.Loris.Memory) < 3 || r.Server.Reactor.Conns != 0 || r.Server.Reactor.PoolOutstanding != 0 {
		t.Errorf("%+v, %+v", r.Loris.Memory, r.Server.Reactor)
	}
	for _, want := range []string{"p99 hostile / quiet", "server RSS", "handshake_timeout"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("the table lacks %q:\n%s", want, stdout)
		}
	}
}
