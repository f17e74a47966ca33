package dashboards

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/tls/certs"
)

// node is a gateway that runs.
type node struct {
	name, dir string
	cmd       *exec.Cmd
	done      <-chan struct{} // closed when it has ended and its log is complete

	mu    sync.Mutex
	addrs map[string]string // by transport
	log   []string
	up    bool
}

// buildGateway builds the example gateway.
func buildGateway(t *testing.T) string {
	t.Helper()
	exe := filepath.Join(t.TempDir(), "gateway")
	if out, err := exec.Command("go", "build", "-o", exe, "../examples/gateway").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return exe
}

// launch starts a gateway on ports of its own, with a certificate that is good for long. descriptors is its limit; 0: as
// we have. In args, {dir} is its directory.
func launch(t *testing.T, exe, name string, ca *authority, descriptors int, args ...string) *node {
	t.Helper()
	n := &node{name: name, dir: t.TempDir(), addrs: map[string]string{}}
	if err := ca.issue(n.dir, 90*24*time.Hour, nil); err != nil {
		t.Fatal(err)
	}
	if err := certs.RotateTicketFile(filepath.Join(n.dir, "tickets"), time.Now(), 0); err != nil {
		t.Fatal(err)
	}
	for i, a := range args {
		args[i] = strings.ReplaceAll(a, "{dir}", n.dir)
	}
	args = append([]string{exe, "--log-format=json", "--admin-listen=127.0.0.1:0", "--tls-listen=127.0.0.1:0", "--tls-watch=-1s",
		"--tls-cert=" + n.dir + "/tls.crt", "--tls-key=" + n.dir + "/tls.key"}, args...)
	if descriptors > 0 {
		args = append([]string{"sh", "-c", fmt.Sprintf(`ulimit -n %d && exec "$@"`, descriptors), "sh"}, args...)
	}
	n.cmd = exec.Command(args[0], args[1:]...)
	out, err := n.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.done, err = begin(n.cmd, func() {
		in := bufio.NewScanner(out)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			n.line(in.Bytes())
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = n.cmd.Process.Kill()
		<-n.done
		if t.Failed() {
			t.Logf("the log of %s:\n%s", name, strings.Join(n.log, "\n"))
		}
	})
	eventually(t, name+" has started", func() bool {
		select {
		case <-n.done:
			t.Fatalf("%s has ended: %s", name, strings.Join(n.log, "\n"))
		default:
		}
		n.mu.Lock()
		defer n.mu.Unlock()
		return n.up
	})
	return n
}

// line takes a line of the log.
func (n *node) line(b []byte) {
	var l struct{ Msg, Transport, Addr string }
	_ = json.Unmarshal(b, &l) // what a shell says is no JSON
	n.mu.Lock()
	defer n.mu.Unlock()
	n.log = append(n.log, string(b))
	switch l.Msg {
	case "listening":
		if l.Transport != "" {
			n.addrs[l.Transport] = l.Addr
		}
	case "started":
		n.up = true
	}
}

// addr is where a transport listens.
func (n *node) addr(transport string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.addrs[transport]
}

// ready says whether /readyz does, for all transports.
func (n *node) ready() bool {
	r, err := http.Get("http://" + n.addr("admin") + "/readyz")
	if err != nil {
		return false
	}
	defer func() { _ = r.Body.Close() }()
	var s struct{ State string }
	return json.NewDecoder(r.Body).Decode(&s) == nil && s.State == "ready"
}

func (n *node) signal(s syscall.Signal) error { return n.cmd.Process.Signal(s) }

// reload has the gateway look at its files.
func (n *node) reload() error { return n.signal(syscall.SIGHUP) }

// offlineTor starts a tor that is not to use any network, and returns the path of its control socket.
func offlineTor(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tor") // not t.TempDir: the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "control")
	write(t, filepath.Join(dir, "defaults"), "")
	write(t, filepath.Join(dir, "torrc"), strings.Join([]string{"DataDirectory " + dir, "ControlSocket " + socket, "CookieAuthentication 1", "DisableNetwork 1",
		"SocksPort 0", "GeoIPFile /dev/null", "GeoIPv6File /dev/null", "Log err stderr"}, "\n")+"\n")
	cmd := exec.Command("tor", "-f", filepath.Join(dir, "torrc"), "--defaults-torrc", filepath.Join(dir, "defaults"))
	ended, err := begin(cmd, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	eventually(t, "the tor without a network has its control socket", func() bool {
		_, err := os.Stat(socket)
		return err == nil
	})
	return socket
}
