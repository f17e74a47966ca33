package certs

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	stdtls "crypto/tls"
)

// nodeEnv makes the test binary a node: a TLS server on the files of the directory it names.
const nodeEnv = "CERTS_TEST_NODE"

// node serves until its input ends. "reload" reloads and is answered.
func node(dir string) {
	s, err := New(Config{
		Pairs:   []Pair{{CertFile: dir + "/a.crt", KeyFile: dir + "/a.key"}},
		Tickets: Tickets{File: dir + "/tickets"},
	})
	must(err)
	addr, _ := serve(serverOf(s))
	fmt.Println(addr)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		fmt.Println(s.Reload())
	}
}

// child is a node in another process.
type child struct {
	addr string
	in   io.WriteCloser
	out  *bufio.Scanner
}

func startNode(t *testing.T, dir string) *child {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), nodeEnv+"="+dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(err)
	out, err := cmd.StdoutPipe()
	must(err)
	must(cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	n := &child{in: in, out: bufio.NewScanner(out)}
	n.addr = n.line(t)
	return n
}

func (n *child) line(t *testing.T) string {
	t.Helper()
	if !n.out.Scan() {
		t.Fatal("the node has ended")
	}
	return n.out.Text()
}

func (n *child) reload(t *testing.T) {
	t.Helper()
	_, err := io.WriteString(n.in, "reload\n")
	must(err)
	if got := n.line(t); !strings.Contains(got, "nil") {
		t.Fatalf("reload: %s", got)
	}
}

// TestTicketsAcrossProcesses: two processes share a key file. A session of one is resumed by the other, also after a rotation as
// long as the key is kept; when it is gone the client shakes hands in full, and nothing fails.
func TestTicketsAcrossProcesses(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "tickets")
	theCA().issue(single).write(dir, "a")
	now := time.Now()
	must(RotateTicketFile(file, now, 1))
	a, b := startNode(t, dir), startNode(t, dir)
	both := func() { a.reload(t); b.reload(t) }
	resumed := func(n *child, cache stdtls.ClientSessionCache) bool {
		return visit(t, n.addr, clientOf(cache)).ConnectionState().DidResume
	}
	fresh := func(n *child) stdtls.ClientSessionCache {
		cache := stdtls.NewLRUClientSessionCache(1)
		if resumed(n, cache) {
			t.Error("resumed without a ticket")
		}
		return cache
	}
	if !resumed(b, fresh(a)) || !resumed(a, fresh(b)) {
		t.Error("a ticket of the other process is refused")
	}
	old := fresh(a)
	must(RotateTicketFile(file, now.Add(time.Second), 1)) // the key is kept
	both()
	if !resumed(b, old) {
		t.Error("refused after the first rotation")
	}
	gone := fresh(a)
	must(RotateTicketFile(file, now.Add(2*time.Second), 0)) // gone
	both()
	if resumed(b, gone) {
		t.Error("resumed with a key that is gone")
	}
	if !resumed(a, gone) {
		t.Error("the full handshake brought no ticket that works")
	}
}
