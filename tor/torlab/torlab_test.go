package torlab

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/tor/control"
)

// need skips the test where tor is not installed.
func need(t *testing.T) {
	t.Helper()
	if err := Available(); err != nil {
		t.Skip(err)
	}
}

// TestNetwork starts networks one after the other, RON_TORLAB_STARTS of them (1 if not set), and looks at each: what it is made of,
// that nothing leaves the loopback, and that nothing is left when it is closed.
func TestNetwork(t *testing.T) {
	need(t)
	starts, err := strconv.Atoi(os.Getenv("RON_TORLAB_STARTS"))
	if err != nil {
		starts = 1
	}
	for i := range starts {
		began := time.Now()
		last := -1
		n, err := Start(context.Background(), Config{Progress: func(stage string, percent int) {
			if percent < last || percent > 100 || stage == "" {
				t.Errorf("progress goes from %d to %d at %q", last, percent, stage)
			}
			last = percent
		}})
		if err != nil {
			t.Fatalf("start %d: %v", i, err)
		}
		t.Logf("start %d: up in %v", i, time.Since(began).Round(time.Millisecond))
		if last != 100 {
			t.Errorf("progress ends at %d", last)
		}
		if err := publish(n.Client(0)); err != nil {
			t.Errorf("start %d: %v", i, err)
		}
		if t.Logf("start %d: descriptor published after %v", i, time.Since(began).Round(time.Millisecond)); i == 0 {
			inspect(t, n)
		}
		var pids []int
		for _, node := range n.all() {
			pids = append(pids, node.Pid())
		}
		dir := n.Dir()
		if t.Failed() {
			n.KeepLogs()
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		for _, pid := range pids {
			if !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
				t.Errorf("process %d is still there", pid)
			}
		}
		if _, err := os.Stat(dir); !t.Failed() && !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", dir, err)
		}
	}
}

// publish adds an onion service and waits until its descriptor is uploaded.
func publish(tor *Tor) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	uploaded := make(chan string, 100)
	c, err := control.Dial(ctx, "unix", tor.ControlSocket(), control.Options{OnEvent: func(e control.Event) {
		if e.Type == "HS_DESC" && e.Arg(0) == "UPLOADED" {
			uploaded <- e.Arg(1)
		}
	}})
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Authenticate(ctx, control.Auth{}); err != nil {
		return err
	}
	if err := c.SetEvents(ctx, "HS_DESC"); err != nil {
		return err
	}
	o, err := c.AddOnion(ctx, control.OnionRequest{Ports: []control.Port{{Virtual: 80, Target: "unix:/nowhere"}}})
	if err != nil {
		return err
	}
	select {
	case id := <-uploaded:
		if id != o.ServiceID {
			return fmt.Errorf("%s was published, %s is ours", id, o.ServiceID)
		}
	case <-ctx.Done():
		return errors.New("no descriptor was published")
	}
	return c.DelOnion(ctx, o.ServiceID)
}

// inspect looks at a running network.
func inspect(t *testing.T, n *Network) {
	t.Helper()
	if got := len(n.all()); got != 1+DefaultRelays+DefaultClients {
		t.Errorf("%d nodes", got)
	}
	seen := 0
	for _, node := range n.all() {
		for _, remote := range remotes(t, node.Pid()) {
			if seen++; !remote.Addr().IsLoopback() && !remote.Addr().IsUnspecified() {
				t.Errorf("%s talks to %v", node.Name(), remote)
			}
		}
		if fi, err := os.Stat(node.data()); err != nil || fi.Mode().Perm() != 0o700 {
			t.Errorf("%s: data directory %v, %v", node.Name(), fi, err)
		}
	}
	if seen == 0 {
		t.Error("no socket of any node was found, so nothing was checked")
	}
	if !Isolated() {
		t.Log("no network namespace of our own: only the sockets were checked")
	}
}

// remotes are the other ends of a process' sockets.
func remotes(t *testing.T, pid int) (all []netip.AddrPort) {
	t.Helper()
	var inodes []string
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && strings.HasPrefix(to, "socket:[") {
			inodes = append(inodes, strings.Trim(to, "socket:[]"))
		}
	}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		f, err := os.Open(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			continue // no IPv6
		}
		for s := bufio.NewScanner(f); s.Scan(); {
			if w := strings.Fields(s.Text()); len(w) > 9 && slices.Contains(inodes, w[9]) {
				all = append(all, procAddr(t, w[2]))
			}
		}
		_ = f.Close()
	}
	return all
}

// procAddr reads an address as the kernel's tables have it: words of four bytes in the machine's order.
func procAddr(t *testing.T, s string) netip.AddrPort {
	t.Helper()
	host, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(host)
	p, err2 := strconv.ParseUint(port, 16, 16)
	if err != nil || err2 != nil {
		t.Fatalf("address %q", s)
	}
	for i := 0; i+4 <= len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(p))
}

// TestConfig: the message names the field.
func TestConfig(t *testing.T) {
	for _, v := range []struct {
		name string
		cfg  Config
	}{
		{"Relays", Config{Relays: 2}}, {"Relays", Config{Relays: 17}}, {"Clients", Config{Clients: -1}},
		{"Timeout", Config{Timeout: time.Millisecond}}, {"Dir", Config{Dir: strings.Repeat("x", 81)}},
	} {
		if n, err := Start(context.Background(), v.cfg); n != nil || err == nil || !strings.Contains(err.Error(), v.name+" ") {
			t.Errorf("%s: %v", v.name, err)
		}
	}
}

// TestStartFails: the error says where the logs are, they are kept, and no process is.
func TestStartFails(t *testing.T) {
	need(t)
	dir := filepath.Join(t.TempDir(), "n")
	_, err := Start(context.Background(), Config{Dir: dir, ClientOptions: []string{"NoSuchOption 1"}})
	if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "NoSuchOption") {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "relay1", "log")); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if _, err := Start(ctx, Config{Dir: filepath.Join(t.TempDir(), "m")}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if mine := children(t); len(mine) > 0 {
		t.Errorf("left over: %v", mine)
	}
}

// children are our child processes.
func children(t *testing.T) (all []string) {
	t.Helper()
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tasks {
		if b, err := os.ReadFile(f); err == nil { // the thread may have ended
			all = append(all, strings.Fields(string(b))...)
		}
	}
	return all
}
