// Package nodes runs several gateways behind a balancer on one machine, and finds out what clients notice when tickets come to another node,
// when nodes are restarted one after the other, and when one is killed.
package nodes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"github.com/ron-transport/ron-transport/scripts/netem/impair"
)

// Ports of every node, and of the balancer.
const (
	framePort = "8443"
	adminPort = "9090"
)

// network is where the nodes, the balancer and the clients are: network namespaces, or loopback addresses where there can be none.
type network struct {
	hub   *impair.Namespace   // the balancer's and the clients'; nil on the loopback
	nodes []*impair.Namespace // of each node

	front string   // address of the balancer
	addrs []string // of each node
	seen  []string // the balancer's address as each node sees it
}

// Available says why there can be no namespaces with links between them here, nil if there can. What it tries is gone when it returns.
func Available() error {
	if uid := os.Geteuid(); uid != 0 {
		return fmt.Errorf("it needs root, and this is user %d", uid)
	}
	if _, err := exec.LookPath("ip"); err != nil {
		return fmt.Errorf("it needs ip, of iproute2: %w", err)
	}
	n, err := openNamespaces()
	return errors.Join(err, n.close())
}

// openNamespaces makes a namespace for every node, and one for the balancer and the clients, with a link to each node. They have no names,
// nothing else is touched, and all is gone with the last process in them.
func openNamespaces() (n *network, err error) {
	n = &network{front: "127.0.0.1"}
	if n.hub, err = impair.NewNamespace(); err != nil {
		return n, err
	}
	for i := range Nodes {
		node, err := impair.NewNamespace()
		if err != nil {
			return n, err
		}
		n.nodes = append(n.nodes, node)
		dev := fmt.Sprintf("node%d", i+1)
		here, there := fmt.Sprintf("198.18.%d.1", i+1), fmt.Sprintf("198.18.%d.2", i+1) // addresses for benchmarks (RFC 2544)
		n.addrs, n.seen = append(n.addrs, there), append(n.seen, here)
		if err := errors.Join(ip(n.hub,
			"link add "+dev+" type veth peer name eth0 netns "+node.Path(), "addr add "+here+"/30 dev "+dev, "link set "+dev+" up"),
			ip(node, "addr add "+there+"/30 dev eth0", "link set eth0 up")); err != nil {
			return n, err
		}
	}
	return n, nil
}

// ip runs commands of iproute2 in a namespace.
func ip(in *impair.Namespace, lines ...string) error {
	return in.Inside(func() error {
		cmd := exec.Command("ip", "-batch", "-")
		cmd.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", lines[0], err, out)
		}
		return nil
	})
}

// openLoopback takes addresses of the loopback network instead. Two runs at once have others, as their process ids differ.
func openLoopback() *network {
	pid := os.Getpid()
	base := fmt.Sprintf("127.%d.%d.", 64+pid>>8%64, pid%256)
	n := &network{front: base + "1"}
	for i := range Nodes {
		n.addrs, n.seen = append(n.addrs, fmt.Sprintf("%s%d", base, 11+i)), append(n.seen, n.front)
	}
	return n
}

// close lets go of the namespaces.
func (n *network) close() error {
	var errs []error
	for _, ns := range append(n.nodes, n.hub) {
		if ns != nil {
			errs = append(errs, ns.Close())
		}
	}
	return errors.Join(errs...)
}

// place calls f on a thread that is where the balancer and the clients are.
type place func(f func() error) error

// locked is a place without a namespace: f has a thread of its own all the same, as children that die with their thread need.
func locked(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- f()
	}()
	return <-done
}

func (n *network) atHub() place {
	if n.hub == nil {
		return locked
	}
	return n.hub.Inside
}

func (n *network) atNode(i int) place {
	if n.hub == nil {
		return locked
	}
	return n.nodes[i].Inside
}

// http is a client that is where the balancer is.
func (n *network) http() *http.Client {
	at := n.atHub()
	return &http.Client{Timeout: askTime, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			err = at(func() (err error) { // an address and no name: the socket is made on this thread
				c, err = new(net.Dialer).DialContext(ctx, network, addr)
				return err
			})
			return c, err
		},
	}}
}
