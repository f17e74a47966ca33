package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// Figures of the idle measurement.
const (
	idleLimit   = 4 << 10 // bytes per established, idle TLS connection
	idleSample  = 64      // connections on which an echo is tried afterwards
	idlePayload = 4 << 10 // of those echoes
	maxSettle   = 10 * time.Minute
)

// idleOptions are the flags of ronbench idle.
type idleOptions struct {
	conns  int
	settle time.Duration
	peer   bool
	json   string
}

func (a *app) idleCommand() *cobra.Command {
	o := &idleOptions{}
	cmd := &cobra.Command{
		Use:   "idle",
		Short: "measure the server's memory per idle TLS connection",
		Long: "Measure the resident memory of our server per established TLS connection that does nothing: before the connections and\n" +
			"after they have idled, both times with free memory given back to the system. One connection is made and closed before\n" +
			"the first reading, so that what the first handshake loads once is not counted. Full handshakes, no resumption.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := errors.Join(load.CheckRange("conns", o.conns, 1, load.MaxConns), load.CheckDuration("settle", o.settle, 0, maxSettle))
			if err != nil {
				return usage(err)
			}
			return a.idle(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.conns, "conns", 5000, "connections")
	f.DurationVar(&o.settle, "settle", 8*time.Second, "how long they idle before the reading: a server that lets memory of quiet connections go does so after some seconds")
	f.BoolVar(&o.peer, "peer", false, "also measure the net + crypto/tls peer")
	f.StringVar(&o.json, "json", "", "write the report to this file")
	return cmd
}

func (a *app) idle(ctx context.Context, o *idleOptions) (err error) {
	if _, err := proc.RaiseFDLimit(o.conns + spareFDs); err != nil {
		return usage(fmt.Errorf("--conns: %w", err))
	}
	files, err := cert.Make()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Remove()) }()
	r, err := report.New(report.KindIdle, a.argv)
	if err != nil {
		return err
	}
	commands := []string{"tls_echo_server"}
	if o.peer {
		commands = append(commands, "peer_nettls_echo_server")
	}
	for _, command := range commands {
		row, err := a.idleServer(ctx, o, command, files)
		if err != nil {
			return fmt.Errorf("%s: %w", command, err)
		}
		r.Idle = append(r.Idle, *row)
	}
	r.SLO = report.JudgeIdle(&r.Idle[0], idleLimit)
	return a.finish(r, o.json)
}

// idleServer measures one server.
func (a *app) idleServer(ctx context.Context, o *idleOptions, command string, files *cert.Files) (row *report.Idle, err error) {
	srv, err := a.startServer(command, files)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, srv.stop(new(report.Server))) }()
	nc, err := srv.netConfig(files, false, load.Config{})
	if err != nil {
		return nil, err
	}
	n, err := load.NewNet(nc)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	fleet, err := load.NewFleet(load.Config{Conns: o.conns, Payload: idlePayload, Depth: 1, Window: load.MinWindow}, n)
	if err != nil {
		return nil, err
	}
	if err := fleet.Warm(ctx); err != nil {
		return nil, err
	}
	row = &report.Idle{Server: command, Conns: o.conns}
	if row.RSSBefore, err = srv.freeMemory(); err != nil {
		return nil, err
	}
	return row, a.idleFleet(ctx, o, srv, fleet, row)
}

// idleFleet opens the connections, lets them idle, and reads.
func (a *app) idleFleet(ctx context.Context, o *idleOptions, srv *serverProcess, fleet *load.Fleet, row *report.Idle) error {
	progress := report.NewProgress(a.stderr)
	began := time.Now()
	err := fleet.Open(ctx, false, func(ready int) {
		progress.Line(time.Now(), fmt.Sprintf("idle: %s, %d of %d connections", row.Server, ready, o.conns))
	})
	progress.Done()
	if err != nil {
		return err
	}
	if n := fleet.Ready(); n != o.conns {
		return fmt.Errorf("only %d of %d connections were established: %w", n, o.conns, fleet.FirstError())
	}
	row.HandshakeS = time.Since(began).Seconds()
	row.HandshakeRate = float64(o.conns) / row.HandshakeS
	select {
	case <-time.After(o.settle):
	case <-ctx.Done():
		return ctx.Err()
	}
	if row.RSSAfter, err = srv.freeMemory(); err != nil {
		return err
	}
	row.BytesPerConn = float64(row.RSSAfter-row.RSSBefore) / float64(o.conns)
	if row.FDs, err = proc.FDs(srv.PID()); err != nil {
		return err
	}
	if row.FDLimit, err = proc.FDLimit(srv.PID()); err != nil {
		return err
	}
	row.EchoChecked = min(idleSample, o.conns)
	row.EchoFailed, err = fleet.EchoSample(ctx, row.EchoChecked)
	return err
}
