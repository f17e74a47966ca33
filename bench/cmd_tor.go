package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/ron-transport/ron-transport/bench/internal/child"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/tor/torlab"
)

// torOptions are the flags of ronbench tor.
type torOptions struct {
	conns, payload, rps, depth, circuits int
	hellos, relays                       int
	duration, warmup                     time.Duration
	json                                 string
	pause                                time.Duration
	keepLogs                             bool
}

func (a *app) torCommand() *cobra.Command {
	o := &torOptions{}
	cmd := &cobra.Command{
		Use:   "tor",
		Short: "measure echo through onion services, on a private Tor network of its own",
		Long: "Bring up a private Tor network on this machine (an authority, relays, and one tor each for the service and the clients), an\n" +
			"onion service that echoes, and load it: HELLO on fresh connections, each on a circuit of its own and then all on one; an\n" +
			"open loop at the target rate; a closed loop for the maximum. Everything runs in a network namespace that has only a\n" +
			"loopback, where that may be made: nothing reaches the public network. Needs Debian's package tor.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(o.validate()); err != nil {
				return err
			}
			return a.torIsolated(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.conns, "conns", 64, "connections")
	f.IntVar(&o.payload, "payload", 2048, "payload of each request, bytes")
	f.IntVar(&o.rps, "rps", 1200, "open loop: requests due per second")
	f.IntVar(&o.depth, "depth", defaultDepth, "closed loop: requests in flight per connection")
	f.IntVar(&o.circuits, "circuits", 0, "over how many circuits the connections of the loads are spread; 0: each has its own")
	f.IntVar(&o.hellos, "hellos", 100, "fresh connections, twice")
	f.DurationVar(&o.pause, "hello-pause", 0, "pause before each of them; clients that come without a break find no circuits made in advance")
	f.IntVar(&o.relays, "relays", torlab.DefaultRelays, "relays of the private network")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "measuring window of each load")
	f.DurationVar(&o.warmup, "warmup", 2*time.Second, "load before each window, not measured")
	f.StringVar(&o.json, "json", "", "write the report to this file")
	f.BoolVar(&o.keepLogs, "keep-logs", false, "leave the network's directory, with its logs, and say where it is")
	return cmd
}

func (o *torOptions) validate() error {
	open := load.Config{Conns: o.conns, Payload: o.payload, RPS: o.rps, Warmup: o.warmup, Window: o.duration}
	closed := open
	closed.RPS, closed.Depth = 0, o.depth
	return errors.Join(open.Validate(), closed.Validate(), load.CheckRange("rps", o.rps, 1, 1<<20), load.CheckRange("circuits", o.circuits, 0, load.MaxCircuits),
		load.CheckRange("hellos", o.hellos, 1, load.MaxHellos), load.CheckDuration("hello-pause", o.pause, 0, load.MaxWarmup), load.CheckRange("relays", o.relays, torlab.DefaultRelays, torlab.MaxRelays))
}

// torIsolated is the command in a network namespace of its own, or without one.
func (a *app) torIsolated(ctx context.Context, o *torOptions) error {
	if err := torlab.Available(); err != nil {
		return err
	}
	code, done, err := torlab.Isolate(ctx, torlab.Command{Args: a.argv[1:], Stdout: a.stdout, Stderr: a.stderr})
	switch {
	case err != nil:
		fmt.Fprintf(a.stderr, "%v: the network is kept to 127.0.0.1 by its configuration only\n", err)
	case done && code == exitOK:
		return nil
	case done:
		return &exitError{code}
	}
	return a.tor(ctx, o)
}

// tor is the whole run.
func (a *app) tor(ctx context.Context, o *torOptions) (err error) {
	r, err := report.New(report.KindTor, a.argv)
	if err != nil {
		return err
	}
	progress := report.NewProgress(a.stderr)
	n, err := torlab.Start(ctx, torlab.Config{Relays: o.relays, Progress: func(stage string, percent int) {
		progress.Line(time.Now(), fmt.Sprintf("private Tor network: %d %% %s", percent, stage))
	}})
	progress.Done()
	if err != nil {
		return err
	}
	defer func() {
		if o.keepLogs || err != nil && !errors.Is(err, errMissed) {
			n.KeepLogs()
			fmt.Fprintf(a.stderr, "the network's logs are in %s\n", n.Dir())
		}
		err = errors.Join(err, n.Close())
	}()
	if err := a.torOn(ctx, o, n, r); err != nil {
		return err
	}
	a.judgeLoads(r)
	return a.finish(r, o.json)
}

// torOn starts the server and drives the phases, on a network that is up.
func (a *app) torOn(ctx context.Context, o *torOptions, n *torlab.Network, r *report.Report) error {
	dir, err := os.MkdirTemp("", "ronbench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	exe, err := os.Executable()
	if err != nil {
		return err
	}
	srv := &serverProcess{transport: load.Tor, json: filepath.Join(dir, "server.json")}
	if srv.Process, err = child.Start(a.stderr, exe, "tor_echo_server", "--hs", "127.0.0.1:0", "--control", "unix:"+n.Client(0).ControlSocket(),
		"--with-parent", "--json", srv.json); err != nil {
		return err
	}
	line, err := srv.WaitLine(lineListening, startWait)
	if err == nil {
		srv.addr, err = field(line, "addr")
	}
	if err != nil {
		return errors.Join(err, srv.stop(nil))
	}
	for _, ph := range o.phases() {
		p, err := a.torPhase(ctx, srv, n, filepath.Join(dir, "client.json"), ph)
		if err != nil {
			return errors.Join(err, srv.stop(nil))
		}
		if r.Phases = append(r.Phases, *p); ctx.Err() != nil {
			r.Interrupted = true
			break
		}
	}
	r.Server = new(report.Server)
	return srv.stop(r.Server)
}

// torPhase is one call of the client.
type torPhase struct {
	name     string
	args     []string
	expected time.Duration
}

// helloTime is how long a fresh connection takes at the worst, on the average.
const helloTime = 2 * time.Second

// phases are the calls of the client.
func (o *torOptions) phases() []torPhase {
	hello := []string{"--hello", strconv.Itoa(o.hellos), "--hello-pause", o.pause.String()}
	loads := []string{"--conns", strconv.Itoa(o.conns), "--payload", strconv.Itoa(o.payload), "--circuits", strconv.Itoa(o.circuits),
		"--duration", o.duration.String(), "--warmup", o.warmup.String()}
	with := func(base []string, more ...string) []string { return append(append([]string(nil), base...), more...) }
	hellos := time.Duration(o.hellos) * (helloTime + o.pause)
	whole := o.duration + o.warmup + time.Duration(o.conns)*helloTime
	return []torPhase{
		{"HELLO, own circuit", hello, hellos},
		{"HELLO, one circuit", with(hello, "--circuits", "1"), hellos},
		{"open loop", with(loads, "--rps", strconv.Itoa(o.rps)), whole},
		{"closed loop", with(loads, "--depth", strconv.Itoa(o.depth)), whole},
	}
}

// torPhase runs the client and reads its report.
func (a *app) torPhase(ctx context.Context, srv *serverProcess, n *torlab.Network, out string, ph torPhase) (*report.Phase, error) {
	args := append([]string{"tor_echo_client", "--onion", srv.addr, "--control", "unix:" + n.Client(1).ControlSocket(), "--with-parent", "--json", out,
		"--server-pid", strconv.Itoa(srv.PID()), "--measure", fmt.Sprintf("service's tor=%d", n.Client(0).Pid()),
		"--measure", fmt.Sprintf("clients' tor=%d", n.Client(1).Pid())}, ph.args...)
	for _, t := range append([]*torlab.Tor{n.Authority()}, n.Relays()...) {
		args = append(args, "--measure", fmt.Sprintf("%s=%d", t.Name(), t.Pid()))
	}
	p, err := a.clientPhase(ctx, a.stderr, args, ph.expected, out)
	if err == nil {
		p.Name = ph.name
	}
	return p, err
}
