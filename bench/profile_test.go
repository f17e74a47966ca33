package main

import (
	"bytes"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// freeAddr is a loopback address that nobody listens on now.
func freeAddr(t *testing.T) string {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	return lis.Addr().String()
}

// TestProfiles: each flag of a server and of a client leaves a file of its kind, and the live listener answers.
func TestProfiles(t *testing.T) {
	t.Setenv(asMain, "1")
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	files, err := cert.Make()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = files.Remove() }()
	debug := freeAddr(t)
	a := &app{stdout: io.Discard, stderr: os.Stderr}
	srv, err := a.startServer("tls_echo_server", files, "--cpu-profile", in("cpu"), "--flame", in("server.svg"), "--heap-profile", in("heap"),
		"--block-profile", in("block"), "--mutex-profile", in("mutex"), "--debug-listen", debug)
	if err != nil {
		t.Fatal(err)
	}
	status, _, stderr := run(t, easy(), "tls_echo_client", "--target", srv.target(), "--ca", files.Cert, "--conns", "4", "--depth", "8", "--duration", "1500ms",
		"--flame", in("client.svg"), "--trace", in("trace"))
	if status != exitOK || !strings.Contains(stderr, "goroutines waited to run: half of the times up to ") {
		t.Errorf("status %d\n%s", status, stderr)
	}
	resp, err := http.Get("http://" + debug + "/debug/pprof/goroutine?debug=1")
	if err != nil {
		t.Fatal(err)
	}
	live, err := io.ReadAll(resp.Body)
	if _ = resp.Body.Close(); err != nil || !strings.Contains(string(live), "reactor.(*loop).run") {
		t.Errorf("the live listener says %v\n%.500s", err, live)
	}
	if err := srv.stop(new(report.Server)); err != nil {
		t.Fatal(err)
	}
	for name, kind := range map[string]string{"cpu": "cpu", "heap": "alloc_space", "block": "delay", "mutex": "delay"} {
		b, err := os.ReadFile(in(name))
		if err != nil {
			t.Error(err)
			continue
		}
		p, err := profile.Parse(bytes.NewReader(b))
		if err != nil || !strings.Contains(p.String(), kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"server.svg", "client.svg"} {
		if b, err := os.ReadFile(in(name)); err != nil || !strings.Contains(string(b), "reactor.(*loop).run") {
			t.Errorf("%s: %v, %d bytes", name, err, len(b))
		}
	}
	if b, err := os.ReadFile(in("trace")); err != nil || !bytes.HasPrefix(b, []byte("go 1.")) || !bytes.Contains(b[:32], []byte("trace")) {
		t.Errorf("trace: %v, %.32q", err, b)
	}
}

// TestQuantile: bounds of buckets, with and without an end.
func TestQuantile(t *testing.T) {
	bounds := []float64{0, 1e-6, 1e-3, math.Inf(1)}
	for _, v := range []struct {
		counts []uint64
		q      float64
		want   time.Duration
	}{
		{[]uint64{1, 1, 0}, 0.5, time.Microsecond}, {[]uint64{1, 1, 0}, 1, time.Millisecond}, {[]uint64{0, 0, 5}, 0.5, time.Millisecond},
		{[]uint64{99, 1, 0}, 0.99, time.Microsecond}, {[]uint64{0, 0, 0}, 1, 0},
	} {
		if got := quantile(bounds, v.counts, v.q); got != v.want {
			t.Errorf("%v at %v: %v, want %v", v.counts, v.q, got, v.want)
		}
	}
}

// profileRefusals are command lines about profiles that must be refused.
func profileRefusals() []refusal {
	return []refusal{
		{"tls_echo_server --debug-listen 0.0.0.0:6060", []string{"--debug-listen", "loopback"}},
		{"tls_echo_server --debug-listen nowhere", []string{"--debug-listen", "loopback"}},
		{"tls_echo_client --debug-listen :6060", []string{"--debug-listen", "loopback"}},
	}
}
