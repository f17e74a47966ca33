package main

import (
	"bufio"
	"context"
	stdtls "crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/chaos"
	"github.com/ron-transport/ron-transport/bench/internal/child"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
)

// The client of a chaos row is a process of its own, in the namespace of its end of the path. It takes orders, one a line, on standard input, and
// answers each with one line.
const (
	orderStage  = "stage"  // NAME MODE: begin a stage; answered when it has begun
	orderStatus = "status" // answered with chaos.Status as JSON
	orderFinish = "finish" // PATIENCE: answered with chaos.Result as JSON when all is answered, or the patience over

	lineStage  = "stage "
	lineStatus = "status "
	lineResult = "result "
)

// chaosClientOptions are the flags of that process.
type chaosClientOptions struct {
	transport, ca string
	chaos.Config
}

func (a *app) chaosClientCommand() *cobra.Command {
	o := &chaosClientOptions{}
	cmd := &cobra.Command{
		Use: "chaos_client", Short: "the load of ronbench chaos", Hidden: true, Args: noArgs,
		Long: "Ask an echo server, keep books on every request, and dial again what ends, as the orders on standard input say.",
		RunE: func(cmd *cobra.Command, _ []string) error { return a.chaosClient(cmd.Context(), o, os.Stdin) },
	}
	f := cmd.Flags()
	f.StringVar(&o.transport, "transport", load.TLS, "tls or quic")
	f.StringVar(&o.Addr, "addr", "127.0.0.1:8443", "server, host:port")
	f.StringVar(&o.ca, "ca", "", "PEM file of the server's roots")
	f.IntVar(&o.Conns, "conns", 1, "connections")
	f.IntVar(&o.Streams, "streams", 1, "streams of each, on QUIC")
	f.IntVar(&o.Depth, "depth", 1, "closed loop: requests in flight per stream")
	f.IntVar(&o.RPS, "rps", 100, "open loop: requests due per second")
	f.IntVar(&o.Payload, "payload", defaultPayload, "payload of each request, bytes")
	f.DurationVar(&o.Idle, "idle", 0, "longest time without a byte before a connection is given up; 0: any")
	f.DurationVar(&o.DialTimeout, "dial-timeout", 0, "bound on connect and handshake; 0: the library's")
	return cmd
}

// args are the flags that say the same.
func (o *chaosClientOptions) args() []string {
	return []string{"chaos_client", "--transport", o.transport, "--addr", o.Addr, "--ca", o.ca, "--conns", fmt.Sprint(o.Conns), "--streams", fmt.Sprint(o.Streams),
		"--depth", fmt.Sprint(o.Depth), "--rps", fmt.Sprint(o.RPS), "--payload", fmt.Sprint(o.Payload), "--idle", o.Idle.String(), "--dial-timeout", o.DialTimeout.String()}
}

// chaosClient is the whole life of that process: it ends with its orders.
func (a *app) chaosClient(ctx context.Context, o *chaosClientOptions, orders io.Reader) (err error) {
	if _, err := proc.RaiseFDLimit(o.Conns + spareFDs); err != nil {
		return err
	}
	roots, err := cert.Pool(o.ca)
	if err != nil {
		return usage(fmt.Errorf("--ca: %w", err))
	}
	switch o.transport {
	case load.TLS, load.QUIC:
		o.QUIC = o.transport == load.QUIC
	default:
		return usage(&load.FlagError{Flag: "transport", Value: fmt.Sprintf("%q", o.transport), Allowed: "tls, quic"})
	}
	o.TLS = &stdtls.Config{MinVersion: stdtls.VersionTLS13, RootCAs: roots, ClientSessionCache: stdtls.NewLRUClientSessionCache(o.Conns)}
	c, err := chaos.New(o.Config)
	if err != nil {
		return usage(err)
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lines := make(chan string)
	go func() { // ends with the process at the latest: a read of standard input cannot be interrupted
		defer cancel()
		for sc := bufio.NewScanner(orders); sc.Scan(); {
			select {
			case lines <- sc.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case line := <-lines:
			if err := a.chaosOrder(ctx, c, strings.Fields(line)); err != nil {
				return err
			}
		}
	}
}

// chaosOrder does what an order says, and answers.
func (a *app) chaosOrder(ctx context.Context, c *chaos.Client, order []string) error {
	answer := func(prefix string, v any, err error) error {
		if err != nil {
			return err
		}
		b, err := json.Marshal(v)
		if err == nil {
			fmt.Fprintf(a.stdout, "%s%s\n", prefix, b)
		}
		return err
	}
	switch {
	case len(order) == 3 && order[0] == orderStage:
		return answer(lineStage, order[1], c.Stage(order[1], chaos.Mode(order[2])))
	case len(order) == 1 && order[0] == orderStatus:
		s, err := c.Status()
		return answer(lineStatus, s, err)
	case len(order) == 2 && order[0] == orderFinish:
		patience, err := time.ParseDuration(order[1])
		if err != nil {
			return usage(err)
		}
		r, err := c.Finish(ctx, patience)
		return answer(lineResult, r, err)
	}
	return usage(fmt.Errorf("standard input: %q is no order; allowed: %s NAME MODE, %s, %s PATIENCE", order, orderStage, orderStatus, orderFinish))
}

// chaosLoad is that process, seen from the one that started it.
type chaosLoad struct{ *child.Process }

// stage begins a stage.
func (l chaosLoad) stage(name string, mode chaos.Mode) error {
	if err := l.Tell(fmt.Sprintf("%s %s %s", orderStage, name, mode)); err != nil {
		return err
	}
	_, err := l.WaitLine(lineStage, startWait)
	return err
}

// status looks at it.
func (l chaosLoad) status() (s chaos.Status, err error) {
	err = askFor(l.Process, orderStatus, lineStatus, startWait, &s)
	return s, err
}

// finish ends the load and returns its books.
func (l chaosLoad) finish(patience time.Duration) (*chaos.Result, error) {
	r := new(chaos.Result)
	return r, askFor(l.Process, fmt.Sprintf("%s %s", orderFinish, patience), lineResult, patience+startWait, r)
}
