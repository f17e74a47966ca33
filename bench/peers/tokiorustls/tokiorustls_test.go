package tokiorustls

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/child"
	"github.com/ron-transport/ron-transport/bench/internal/peertest"
	"github.com/ron-transport/ron-transport/bench/internal/wire"
)

const patience = 60 * time.Second

// server builds the server, or skips the test where that cannot be, and starts it.
func server(t *testing.T) (*child.Process, string, *tls.Config) {
	t.Helper()
	exe, err := Build(t.Context(), DefaultCache(), func(string) {})
	if u, ok := errors.AsType[*Unavailable](err); ok {
		t.Skip(u)
	}
	if err != nil {
		t.Fatal(err)
	}
	files, _, roots := peertest.Certificate(t)
	p, err := child.Start(nil, exe, "--listen", "127.0.0.1:0", "--cert", files.Cert, "--key", files.Key)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop(patience) })
	line, err := p.WaitLine("listening ", patience)
	if err != nil {
		t.Fatal(err)
	}
	addr, ok := strings.CutPrefix(strings.Fields(line)[1], "addr=")
	if !ok || !strings.Contains(line, "transport=peer-tokio-rustls pid=") {
		t.Fatalf("it said %q", line)
	}
	return p, addr, &tls.Config{RootCAs: roots, NextProtos: []string{"oap/1"}, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
}

func dial(t *testing.T, addr string, cfg *tls.Config) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

func TestEchoesAllSizesInOrderAndResumes(t *testing.T) {
	p, addr, cfg := server(t)
	sizes := []int{0, 1, 4096, 16384, 65536, 256<<10 - wire.HeaderLen, 256<<10 - wire.HeaderLen + 1, wire.MaxFrame - wire.HeaderLen, 3}
	for round := range 3 { // twice with the same ticket
		c := dial(t, addr, cfg)
		st := c.ConnectionState()
		if st.Version != tls.VersionTLS13 || st.NegotiatedProtocol != "oap/1" || st.CipherSuite != tls.TLS_AES_128_GCM_SHA256 || st.DidResume != (round > 0) {
			t.Errorf("round %d: version %#x, ALPN %q, suite %#x, resumed %v", round, st.Version, st.NegotiatedProtocol, st.CipherSuite, st.DidResume)
		}
		peertest.Echo(t, c, sizes)
		peertest.Ends(t, c)
	}
	for _, b := range [][]byte{
		peertest.Spoilt(5, 9),    // version
		peertest.Spoilt(0, 0xff), // length
		peertest.Spoilt(29, 1),   // a capability without START
		append(peertest.Request(3, 1), peertest.Spoilt(6, 1)...), // a reserved flag, behind a good frame
	} {
		c := dial(t, addr, cfg)
		peertest.Refuses(t, c, b)
	}
	if err := p.Stop(patience); err != nil {
		t.Error(err)
	}
	line, err := p.WaitLine("served ", patience)
	if err != nil || !strings.HasPrefix(line, "served accepted=7 frames=28 ") {
		t.Errorf("%q, %v", line, err)
	}
}

// It ends when its standard input closes, as with its parent, and refuses what it does not know.
func TestEndsWithItsParentAndRefuses(t *testing.T) {
	exe, err := Build(t.Context(), DefaultCache(), func(string) {})
	if err != nil {
		t.Skip(err)
	}
	files, _, _ := peertest.Certificate(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	args := []string{"--listen", "127.0.0.1:0", "--cert", files.Cert, "--key", files.Key}
	if out, err := exec.CommandContext(ctx, exe, args...).CombinedOutput(); err != nil || !bytes.Contains(out, []byte("served accepted=0")) { // no input at all
		t.Errorf("%v: %s", err, out)
	}
	for _, args := range [][]string{{}, {"--listen"}, append(args, "--loops", "2"), {"--listen", "127.0.0.1:0", "--cert", files.Key, "--key", files.Key}} {
		if out, err := exec.CommandContext(ctx, exe, args...).CombinedOutput(); err == nil || !bytes.Contains(out, []byte("tokio-rustls-echo: ")) {
			t.Errorf("%q: %v: %s", args, err, out)
		}
	}
}

// fakeCargo puts a cargo and a cc into a PATH of their own.
func fakeCargo(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"cargo": script, "cc": "exit 0"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir)
}

// What is missing is named, a build that fails says why, and neither leaves anything behind.
func TestUnavailable(t *testing.T) {
	refused := func(what string, err error, want ...string) {
		t.Helper()
		u, ok := errors.AsType[*Unavailable](err)
		if !ok {
			t.Fatalf("%s: %v", what, err)
		}
		for _, w := range want {
			if !strings.Contains(u.Error(), w) {
				t.Errorf("%s: %q lacks %q", what, u, w)
			}
		}
	}
	dir := t.TempDir()
	_, err := crates(filepath.Join(dir, "none"))
	refused("no registry", err, wanted, "librust-tokio-rustls-dev")
	if err := os.Mkdir(filepath.Join(dir, "tokio-rustls-0.26.1"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = crates(dir)
	refused("another version", err, wanted, "there is tokio-rustls-0.26.1")
	if err := os.Mkdir(filepath.Join(dir, "tokio-rustls-0.23.4"), 0o700); err != nil {
		t.Fatal(err)
	}
	if names, err := crates(dir); err != nil || len(names) != 2 {
		t.Errorf("%q, %v", names, err)
	}
	if _, err := crates(registry); err != nil {
		t.Skip(err) // what follows looks at a cargo
	}
	cache := t.TempDir()
	t.Setenv("PATH", t.TempDir())
	_, err = Build(t.Context(), cache, func(string) {})
	refused("no cargo", err, "cargo")
	fakeCargo(t, "echo '   Compiling everything' >&2; echo 'error: no such thing' >&2; exit 101")
	var told []string
	_, err = Build(t.Context(), cache, func(line string) { told = append(told, line) })
	refused("a cargo that fails", err, "exit status 101", "error: no such thing")
	if len(told) == 0 || told[0] != "Compiling everything" {
		t.Errorf("progress %q", told)
	}
	left, err := os.ReadDir(cache)
	if err != nil || len(left) != 1 || left[0].Name() != program+".lock" {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A directory that others may write to is no place for a program that is started later.
func TestCacheIsPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	if err := private(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := private(dir); err == nil {
		t.Error("a directory that everybody may write to was accepted")
	}
	link := dir + "-link"
	if err := os.Symlink(t.TempDir(), link); err != nil {
		t.Fatal(err)
	}
	if err := private(link); err == nil {
		t.Error("a link was accepted")
	}
}

// A build that is done is used again, and one that is interrupted ends with its compilers.
func TestCacheAndInterrupt(t *testing.T) {
	if _, err := crates(registry); err != nil {
		t.Skip(err)
	}
	cache := t.TempDir()
	fakeCargo(t, `[ "$1" = build ] || exit 0
/bin/mkdir -p "$CARGO_TARGET_DIR/release"; echo built >>`+filepath.Join(cache, "count")+`
echo >"$CARGO_TARGET_DIR/release/`+program+`"`)
	var paths []string
	for range 2 {
		exe, err := Build(t.Context(), cache, func(string) {})
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, exe)
	}
	if b, err := os.ReadFile(filepath.Join(cache, "count")); err != nil || string(b) != "built\n" || paths[0] != paths[1] {
		t.Errorf("%q, %v, %q", b, err, paths)
	}
	ctx, cancel := context.WithCancel(t.Context())
	fakeCargo(t, `[ "$1" = build ] || exit 0
/bin/sleep 1000 & echo started >&2; wait`)
	if _, err := Build(ctx, cache, func(string) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
