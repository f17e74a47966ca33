package nodes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/sched"
)

// nodeConfig is a gateway's configuration: its addresses, and what it shares with the others.
const nodeConfig = `[log]
format = "json"
[admin]
listen = %q
[drain]
delay = %q
timeout = %q
[tls]
listen = %q
cert = %q
key = %q
ocsp = false
watch = "-1s"
ticket_file = %q
proxy_trusted = [%q]
`

// node is one gateway, the present process of it.
type node struct {
	*process
	index  int
	at     place
	exe    string
	config string
	admin  string
	http   *http.Client
}

// newNode writes a node's configuration.
func (s *site) newNode(i int) (*node, error) {
	addr := s.net.addrs[i]
	n := &node{index: i, at: s.net.atNode(i), exe: s.cfg.Gateway, config: filepath.Join(s.dir, nodeName(i)+".toml"),
		admin: "http://" + net.JoinHostPort(addr, adminPort), http: s.net.http()}
	return n, os.WriteFile(n.config, fmt.Appendf(nil, nodeConfig, net.JoinHostPort(addr, adminPort), s.cfg.Delay.String(), drainTimeout.String(),
		net.JoinHostPort(addr, framePort), s.files.Cert, s.files.Key, s.tickets(i), s.net.seen[i]), 0o600)
}

// start starts the process and waits until it is ready and the balancer has noticed.
func (n *node) start(ctx context.Context, b *balancer) (err error) {
	if n.process, err = begin(n.at, n.exe, "--config", n.config); err != nil {
		return err
	}
	return n.await(ctx, "ready", func() (bool, error) {
		if n.ended() {
			return false, errors.New("it has ended")
		}
		if !n.ready() {
			return false, nil
		}
		return b.up(n.index)
	})
}

// ready says whether /readyz answers 200.
func (n *node) ready() bool {
	r, err := n.http.Get(n.admin + "/readyz?transport=tls")
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, r.Body)
	_ = r.Body.Close()
	return r.StatusCode == http.StatusOK
}

// await polls until ok says yes.
func (n *node) await(ctx context.Context, what string, ok func() (bool, error)) error {
	for end := time.Now().Add(patience); ; {
		yes, err := ok()
		if yes && err == nil {
			return nil
		}
		if err == nil && time.Now().After(end) {
			err = fmt.Errorf("not so after %v", patience)
		}
		if err != nil {
			return fmt.Errorf("%s is to be %s: %w\n%s", nodeName(n.index), what, err, n.last())
		}
		if err := sched.Sleep(ctx, poll); err != nil {
			return err
		}
	}
}

// drain ends the process in order, and says whether nothing had to be cut off.
func (n *node) drain(ctx context.Context) (clean bool, err error) {
	if err := n.signal(syscall.SIGTERM); err != nil {
		return false, err
	}
	end := time.NewTimer(drainTimeout + patience + MaxDelay)
	defer end.Stop()
	select {
	case <-n.done:
	case <-end.C:
		return false, fmt.Errorf("%s does not end\n%s", nodeName(n.index), n.last())
	case <-ctx.Done():
		return false, ctx.Err()
	}
	return n.cmd.ProcessState.Success() && n.said(`"msg":"drained"`, `"level":"INFO"`) == 1, nil
}

// reload has it read the ticket keys, and waits until it has.
func (n *node) reload(ctx context.Context) error {
	before := n.said(`"msg":"reloaded"`)
	if err := n.signal(syscall.SIGHUP); err != nil {
		return err
	}
	return n.await(ctx, "reloaded", func() (bool, error) { return n.said(`"msg":"reloaded"`) > before, nil })
}
