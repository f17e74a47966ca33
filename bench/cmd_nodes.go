package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/ron-transport/ron-transport/bench/internal/nodes"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// gatewayPackage is the program that the nodes are.
const gatewayPackage = "github.com/ron-transport/ron-transport/examples/gateway"

// Defaults of the nodes' run. At this rate a node has a request every two milliseconds, so some are under way whenever something happens, and
// processors are idle enough for three gateways, a balancer and the load to share two cores.
const (
	nodesResumptions = 900
	nodesConns       = 60
	nodesRPS         = 1500
	nodesWindow      = 2 * time.Second
	nodesDelay       = 2 * time.Second
)

// nodesOptions are the flags of ronbench nodes.
type nodesOptions struct {
	nodes.Config
	json string
	gate bool
}

func (a *app) nodesCommand() *cobra.Command {
	o := &nodesOptions{}
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "three gateways behind HAProxy: resumption, a rolling restart, and the death of one",
		Long: "Start three gateways (examples/gateway) and HAProxy in network namespaces of their own, and find out what clients notice: when they come\n" +
			"with a ticket of another node, also while the ticket keys are rotated; when all nodes are restarted under load, one after the other; and\n" +
			"when one is killed. Nothing outside of the namespaces is touched, and they go with the processes. Where there can be no namespaces\n" +
			"(they need root and iproute2), addresses of the loopback network are taken. Exit status 1: a target was missed, of others than speed\n" +
			"unless --gate is given; without HAProxy all is left out, and said to be.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(o.Validate()); err != nil {
				return err
			}
			return a.nodes(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Resumptions, "resumptions", nodesResumptions, "connections that come with a ticket")
	f.IntVar(&o.Conns, "conns", nodesConns, "connections of the load")
	f.IntVar(&o.RPS, "rps", nodesRPS, "requests due per second, over all connections")
	f.IntVar(&o.Payload, "payload", defaultPayload, "payload of each request, bytes")
	f.DurationVar(&o.Window, "duration", nodesWindow, "load before, between and after what happens, each")
	f.DurationVar(&o.Delay, "drain-delay", nodesDelay, "the gateways' drain.delay")
	f.BoolVar(&o.OwnKeys, "own-keys", false, "ticket keys of their own for the nodes, to see what sharing them is for: the target of resumption is missed")
	f.BoolVar(&o.Loopback, "loopback", false, "no namespaces, but loopback addresses")
	f.StringVar(&o.Gateway, "gateway", "", "program of the nodes; empty: examples/gateway is built")
	f.StringVar(&o.HAProxy, "haproxy", "", "program of the balancer; empty: haproxy of PATH or /usr/sbin")
	f.BoolVar(&o.gate, "gate", false, "exit status 1 also when nothing but a target of speed is missed: for a machine without other work")
	f.StringVar(&o.json, "json", "", "write the report to this file")
	return cmd
}

// nodes is the whole run.
func (a *app) nodes(ctx context.Context, o *nodesOptions) error {
	r, err := report.New(report.KindNodes, a.argv)
	if err != nil {
		return err
	}
	if o.HAProxy, err = findHAProxy(o.HAProxy, "haproxy", "/usr/sbin/haproxy"); errors.Is(err, errNoHAProxy) {
		r.Nodes = &report.Nodes{Nodes: nodes.Nodes, Balancer: "no balancer"}
		r.SLO = report.JudgeNodes(r.Nodes, err.Error())
		return a.finishGated(r, o.json, o.gate)
	}
	if err != nil {
		return err
	}
	balancer, err := tool(ctx, "", o.HAProxy, "-v")
	if err != nil {
		return usage(fmt.Errorf("--haproxy: %w", err))
	}
	if _, err := proc.RaiseFDLimit(4*o.Conns + spareFDs); err != nil {
		return usage(fmt.Errorf("--conns: %w", err))
	}
	gateway, done, err := a.nodesGateway(ctx, o.Gateway)
	if err != nil {
		return err
	}
	defer done()
	o.Gateway = gateway
	var alone error
	if !o.Loopback {
		if alone = nodes.Available(); alone != nil {
			o.Loopback = true
		}
	}
	progress := report.NewProgress(a.stderr)
	var mu sync.Mutex // a Progress is for one goroutine at a time
	o.Progress = func(line string) {
		mu.Lock()
		defer mu.Unlock()
		progress.Line(time.Now(), line)
	}
	r.Nodes, err = nodes.Run(ctx, o.Config)
	progress.Done()
	r.Interrupted = ctx.Err() != nil
	if err != nil && !r.Interrupted {
		return err
	}
	version, _, _ := strings.Cut(string(balancer), "\n")
	r.Nodes.Balancer, _, _ = strings.Cut(version, " - ")
	if alone != nil {
		r.Nodes.Network += fmt.Sprintf(" (there can be no namespaces here: %v)", alone)
	}
	r.SLO = report.JudgeNodes(r.Nodes, "the run was interrupted before")
	return a.finishGated(r, o.json, o.gate)
}

// errNoHAProxy is why a run without a balancer leaves everything out.
var errNoHAProxy = errors.New("HAProxy is not installed (Debian's package haproxy)")

// findHAProxy finds the balancer's program, of that name or else where it usually is: users other than root do not have sbin in their PATH.
func findHAProxy(name string, usual ...string) (string, error) {
	if name != "" {
		path, err := exec.LookPath(name)
		if err != nil {
			return "", usage(fmt.Errorf("--haproxy: %w", err))
		}
		return filepath.Abs(path)
	}
	for _, name := range usual {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errNoHAProxy
}

// nodesGateway is the gateway's program, built unless it is given. The caller calls done in the end.
func (a *app) nodesGateway(ctx context.Context, given string) (path string, done func(), err error) {
	if given != "" {
		if path, err = exec.LookPath(given); err != nil {
			return "", nil, usage(fmt.Errorf("--gateway: %w", err))
		}
		path, err = filepath.Abs(path)
		return path, func() {}, err
	}
	dir, err := os.MkdirTemp("", "ronbench-gateway-")
	if err != nil {
		return "", nil, err
	}
	done = func() { _ = os.RemoveAll(dir) }
	progress := report.NewProgress(a.stderr)
	progress.Line(time.Now(), "building "+gatewayPackage)
	path = filepath.Join(dir, "gateway")
	_, err = tool(ctx, "", "go", "build", "-o", path, gatewayPackage)
	progress.Done()
	if err != nil {
		done()
		return "", nil, fmt.Errorf("the gateway could not be built, in the repository it can; --gateway names a built one: %w", err)
	}
	return path, done, nil
}
