package nodes

import (
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/tls/certs"
)

// In a rotation no node ever encrypts with a key that was not in the file before.
func TestRotationSteps(t *testing.T) {
	s := &site{dir: t.TempDir()}
	read := func() []certs.TicketKey {
		t.Helper()
		keys, err := certs.ReadTicketFile(s.tickets(2))
		if err != nil {
			t.Fatal(err)
		}
		return keys
	}
	old := certs.NewTicketKey(time.Now())
	if err := certs.WriteTicketFile(s.tickets(0), []certs.TicketKey{old}); err != nil {
		t.Fatal(err)
	}
	var staged []certs.TicketKey
	for i, step := range []func([]certs.TicketKey) []certs.TicketKey{stage, promote, retire} {
		if err := s.rekey(step); err != nil {
			t.Fatal(err)
		}
		keys := read()
		switch i {
		case 0:
			if len(keys) != 2 || keys[0] != old || keys[1] == old {
				t.Fatalf("staged: %v", keys)
			}
			staged = keys
		case 1:
			if len(keys) != 2 || keys[0] != staged[1] || keys[1] != old {
				t.Fatalf("promoted: %v", keys)
			}
		case 2:
			if len(keys) != 1 || keys[0] != staged[1] {
				t.Fatalf("retired: %v", keys)
			}
		}
	}
	s.cfg.OwnKeys = true
	if s.tickets(0) == s.tickets(1) {
		t.Error("nodes with keys of their own share a file")
	}
}

// What the balancer says about a connection is asked once: its port may be another's later.
func TestNodeOf(t *testing.T) {
	defer goleak.VerifyNone(t)
	log, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{log: log, where: map[string]int{}}
	b.wg.Go(b.listen)
	to, err := net.Dial("udp", log.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"<134>Nov 28 04:53:33 haproxy[1]: conn 1001 node3 0\n", "<134>Nov 28 04:53:33 haproxy[1]: conn 1002 <NOSRV> -1\n",
		"<29>Nov 28 04:53:33 haproxy[1]: Server gateways/node1 is DOWN\n", "nonsense", "<134>Nov 28 04:53:33 haproxy[1]: conn 1003 node1 +2\n"} {
		if _, err := to.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	for port, want := range map[int]int{1001: 2, 1003: 0} {
		if got, err := b.nodeOf(t.Context(), &net.TCPAddr{Port: port}); err != nil || got != want {
			t.Errorf("port %d: node %d, %v", port, got, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, port := range []int{1001, 1002} {
		if got, err := b.nodeOf(ctx, &net.TCPAddr{Port: port}); err == nil {
			t.Errorf("port %d: node %d", port, got)
		}
	}
	if b.redispatched() != 1 {
		t.Errorf("%d redispatched", b.redispatched())
	}
	_ = to.Close()
	if err := b.close(); err != nil {
		t.Error(err)
	}
}

// The balancer ends with its owner's wish, and what it needs can be made where it is.
func TestProcessesEnd(t *testing.T) {
	defer goleak.VerifyNone(t)
	haproxy, err := exec.LookPath("haproxy")
	if err != nil {
		if haproxy = "/usr/sbin/haproxy"; exec.Command(haproxy, "-v").Run() != nil {
			t.Skip(err)
		}
	}
	n := openLoopback()
	if Available() == nil {
		if n, err = openNamespaces(); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		if err := n.close(); err != nil {
			t.Error(err)
		}
	}()
	dir, err := os.MkdirTemp("", "nodes-") // the path of a unix socket must be short
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b, err := startBalancer(n, haproxy, dir)
	if err != nil {
		t.Fatal(err)
	}
	w := &node{process: b.process}
	if err := w.await(t.Context(), "answering", func() (bool, error) {
		_, err := os.Stat(b.socket)
		return err == nil, nil
	}); err != nil {
		t.Error(err)
	}
	if out, err := exec.Command(haproxy, "-c", "-f", filepath.Join(dir, "haproxy.cfg")).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if err := b.close(); err != nil || !b.ended() {
		t.Error(err)
	}
	if _, err := begin(n.atHub(), "/nonexistent"); err == nil {
		t.Error("a program that is not there has started")
	}
}

// A connection that its node has closed after a goodbye was not lost, also when the client was too slow to leave by itself.
func TestEndAfterGoodbye(t *testing.T) {
	w := &crowd{byNode: make([]report.NodesShare, Nodes)}
	for i, told := range []bool{true, false} {
		w.ended(&member{node: i}, &link{node: i, told: told, closed: make(chan struct{})})
	}
	if want := (report.NodesShare{Lost: 1, Moved: 1}); w.counts.NodesShare != want || w.byNode[0].Moved != 1 || w.byNode[1].Lost != 1 {
		t.Errorf("%+v, by node %+v", w.counts, w.byNode)
	}
}
