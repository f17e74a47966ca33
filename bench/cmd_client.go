package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/framer"
)

// Defaults of a load, shared by the clients and the bare run.
const (
	defaultConns   = 50
	defaultPayload = 4096
	defaultRPS     = 15000 // the seed's small-frame target for Ref-A
	defaultDepth   = 16
	defaultStreams = 4
	defaultWarmup  = time.Second
)

// spareFDs is what a client needs besides its connections: epoll, eventfd, standard streams, files it reads.
const spareFDs = 64

// clientKind is one kind of client that ronbench can run.
type clientKind struct {
	command, transport, scheme, over string
	tls                              bool // takes --ca, --insecure, --resume
	streams                          bool // takes --streams, --max-inflight
	knobs                            bool // takes --early and the knobs of the library's quic package
	hidden                           bool
}

func clientKinds() []clientKind {
	return []clientKind{
		{command: "tls_echo_client", transport: load.TLS, scheme: "https", over: "TLS 1.3", tls: true},
		{command: "tcp_echo_client", transport: load.TCP, scheme: "tcp", over: "plain TCP"},
		{command: "quic_echo_client", transport: load.QUIC, scheme: "quic", over: "QUIC", tls: true, streams: true, knobs: true},
		{command: "peer_quicgo_echo_client", transport: load.StockQUIC, scheme: "quic", over: "QUIC with quic-go alone, to compare with", tls: true, streams: true, hidden: true},
	}
}

// clientKindOf is the kind whose transport that is.
func clientKindOf(transport string) clientKind {
	kinds := clientKinds()
	return kinds[slices.IndexFunc(kinds, func(k clientKind) bool { return k.transport == transport })]
}

// clientOptions are the flags of a load client.
type clientOptions struct {
	transport string // as load.NetConfig has it
	load      load.Config
	target    string
	ca        string
	insecure  bool
	resume    bool
	quic      quicKnobs
	loops     int
	serverPID int
	json      string
	parent    bool

	addr, host string // of the target
}

func (a *app) clientCommand(kind clientKind) *cobra.Command {
	o := &clientOptions{transport: kind.transport}
	cmd := &cobra.Command{
		Use:   kind.command,
		Short: "load an echo server over " + kind.over + " and report rates, latencies and errors",
		Long: "Load an echo server. With --rps the load is an open loop: a timetable spread evenly over the connections, and latency\n" +
			"counts from the scheduled send time, however late the client or the server is. Without --rps it is a closed loop with\n" +
			"--depth requests in flight per connection (stream, on QUIC). Every reply is checked against its request. With --one-way\n" +
			"it is events without replies, as many as the connections take; at the end the server confirms how many arrived, and\n" +
			"their sum.",
		Args:   noArgs,
		Hidden: kind.hidden,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(o.validate(cmd)); err != nil {
				return err
			}
			return a.runClient(cmd.Context(), o)
		},
	}
	o.register(cmd.Flags())
	return cmd
}

func (o *clientOptions) register(f *pflag.FlagSet) {
	k := clientKindOf(o.transport)
	f.StringVar(&o.target, "target", k.scheme+"://127.0.0.1:8443", "server, as "+k.scheme+"://host:port")
	f.IntVar(&o.load.Conns, "conns", defaultConns, "connections")
	f.IntVar(&o.load.RPS, "rps", 0, "open loop: requests due per second over all connections; 0: closed loop")
	f.IntVar(&o.load.Payload, "payload", defaultPayload, "payload of each request, bytes")
	f.IntVar(&o.load.Depth, "depth", 1, "closed loop: requests in flight per connection, or per stream")
	f.BoolVar(&o.load.OneWay, "one-way", false, "events without replies instead of requests")
	f.DurationVar(&o.load.Window, "duration", 10*time.Second, "measuring window")
	f.DurationVar(&o.load.Warmup, "warmup", defaultWarmup, "load before the window, not measured")
	if o.transport != load.StockQUIC {
		f.IntVar(&o.loops, "loops", 0, "event loops of the client; 0: one per core")
	}
	f.StringVar(&o.json, "json", "", "write the report to this file")
	f.IntVar(&o.serverPID, "server-pid", 0, "also measure this local process over the window: CPU, memory, descriptors; 0: none")
	f.BoolVar(&o.parent, "with-parent", false, "end when standard input closes")
	if k.tls {
		f.StringVar(&o.ca, "ca", "", "verify the server against the roots in this PEM file; empty: the system's roots, or nothing for a loopback target")
		f.BoolVar(&o.insecure, "insecure", false, "do not verify the server's certificate")
		f.BoolVar(&o.resume, "resume", false, "resume a TLS session on every connection, with a ticket fetched beforehand")
	}
	if k.knobs {
		o.quic.registerClient(f)
		f.BoolVar(&o.load.Early, "early", false, "with --resume: begin each stream with a request that is not measured, in 0-RTT packets")
	}
	if k.streams {
		f.IntVar(&o.load.Streams, "streams", defaultStreams, "streams of each connection, which share the load")
		f.IntVar(&o.load.MaxInflight, "max-inflight", framer.MaxInflight, "requests in flight over all streams of a connection; 0: no limit")
	}
}

// validate checks the flags and takes the target apart.
func (o *clientOptions) validate(cmd *cobra.Command) error {
	errs := []error{
		o.load.Validate(), o.parseTarget(),
		load.CheckRange("loops", o.loops, 0, 256), load.CheckRange("server-pid", o.serverPID, 0, 1<<22),
	}
	if o.load.RPS > 0 && cmd.Flags().Changed("depth") {
		errs = append(errs, errors.New("--depth: has no meaning with --rps (open loop); give one of them"))
	}
	if o.load.OneWay && cmd.Flags().Changed("depth") {
		errs = append(errs, errors.New("--depth: has no meaning with --one-way; give one of them"))
	}
	if o.load.OneWay && cmd.Flags().Changed("max-inflight") {
		errs = append(errs, errors.New("--max-inflight: has no meaning with --one-way, whose events have no replies; give one of them"))
	}
	if o.load.OneWay && o.load.Early {
		errs = append(errs, errors.New("--early: its first request has no place in a load with --one-way; give one of them"))
	}
	if clientKindOf(o.transport).streams {
		errs = append(errs, load.CheckRange("streams", o.load.Streams, 1, load.MaxStreams))
	}
	if o.load.Early && !o.resume {
		errs = append(errs, errors.New("--early: 0-RTT needs a session to resume; give --resume as well"))
	}
	if o.insecure && o.ca != "" {
		errs = append(errs, errors.New("--insecure: contradicts --ca; give one of them"))
	}
	if o.serverPID > 0 {
		if _, err := proc.Take(o.serverPID); err != nil {
			errs = append(errs, fmt.Errorf("--server-pid: %d cannot be measured: %w", o.serverPID, err))
		}
	}
	return errors.Join(errs...)
}

func (o *clientOptions) parseTarget() error {
	scheme := clientKindOf(o.transport).scheme
	bad := &load.FlagError{Flag: "target", Value: o.target, Allowed: scheme + "://host:port"}
	u, err := url.Parse(o.target)
	if err != nil || u.Scheme != scheme || u.Hostname() == "" || u.Port() == "" || (u.Path != "" && u.Path != "/") || u.User != nil {
		return bad
	}
	o.host, o.addr = u.Hostname(), u.Host
	if _, err := net.ResolveTCPAddr("tcp", o.addr); err != nil {
		return fmt.Errorf("--target: %w", err)
	}
	return nil
}

// isLoopback says whether host is this machine by its name alone.
func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// netConfig says how the client connects and how it checks the server.
func (o *clientOptions) netConfig() (load.NetConfig, error) {
	n := load.NetConfig{Transport: o.transport, Addr: o.addr, ServerName: o.host, Loops: o.loops, Early: o.load.Early, QUIC: o.quic.config, HighWater: o.load.HighWater()}
	if !clientKindOf(o.transport).tls {
		return n, nil
	}
	n.TLS = &tls.Config{MinVersion: tls.VersionTLS13, ServerName: o.host}
	switch {
	case o.insecure:
		n.TLS.InsecureSkipVerify, n.Verified = true, "not verified (--insecure)"
	case o.ca != "":
		pool, err := cert.Pool(o.ca)
		if err != nil {
			return n, fmt.Errorf("--ca: %w", err)
		}
		n.TLS.RootCAs, n.Verified = pool, "verified against --ca"
	case isLoopback(o.host):
		n.TLS.InsecureSkipVerify, n.Verified = true, "not verified (loopback target without --ca)"
	default:
		n.Verified = "verified against the system's roots"
	}
	if o.resume {
		n.TLS.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	}
	return n, nil
}

// runClient is the whole life of a load client.
func (a *app) runClient(ctx context.Context, o *clientOptions) error {
	if o.parent {
		var cancel context.CancelFunc
		ctx, cancel = untilEOF(ctx, os.Stdin)
		defer cancel()
	}
	r, err := report.New(report.KindClient, a.argv)
	if err != nil {
		return err
	}
	p, err := a.measure(ctx, o)
	if err != nil {
		return err
	}
	r.Phases = []report.Phase{*p}
	r.Interrupted = ctx.Err() != nil
	if err := a.finish(r, o.json); err != nil {
		return err
	}
	if n := p.Errors.Total(); n > 0 {
		return fmt.Errorf("%d errors", n)
	}
	return nil
}

// measure connects, runs the load and fills in what the processes used.
func (a *app) measure(ctx context.Context, o *clientOptions) (*report.Phase, error) {
	if _, err := proc.RaiseFDLimit(o.load.Conns + spareFDs); err != nil {
		return nil, usage(fmt.Errorf("--conns: %w", err))
	}
	nc, err := o.netConfig()
	if err != nil {
		return nil, usage(err)
	}
	if nc.TLS != nil && nc.TLS.InsecureSkipVerify {
		fmt.Fprintf(a.stderr, "the server's certificate is %s\n", nc.Verified)
	}
	n, err := load.NewNet(nc)
	if err != nil {
		return nil, o.quic.explain(err)
	}
	fleet, err := load.NewFleet(o.load, n)
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	if err := fleet.Open(ctx, o.resume, nil); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	meter := newMeter(o.serverPID)
	progress := report.NewProgress(a.stderr)
	name := phaseName(&o.load)
	p, err := fleet.Measure(ctx, load.Hooks{Begin: meter.begin, End: meter.end, Progress: func(l load.Live) {
		progress.Line(time.Now(), liveLine(name, l))
	}})
	progress.Done()
	if err != nil {
		return nil, err
	}
	p.Name = name
	if err := meter.fill(p); err != nil && p.Errors.FirstError == "" {
		p.Errors.FirstError = err.Error() // a server that died in the window: the rest of the figures still stand
	}
	return p, nil
}

func phaseName(c *load.Config) string {
	if c.OneWay {
		return "one way"
	}
	if c.RPS > 0 {
		return "open loop"
	}
	return "closed loop"
}

func liveLine(name string, l load.Live) string {
	what := "measuring"
	if l.Warmup {
		what = "warming up"
	}
	return fmt.Sprintf("%s: %4.1f of %.1f s, %s, %d connections, %.0f frames/s",
		name, max(l.Elapsed.Seconds(), 0), l.Total.Seconds(), what, l.Conns, l.FPS)
}

// meter samples the client's own process, the server's and the cores at both ends of a window.
type meter struct {
	pids     []int // own first
	from, to []proc.Sample
	cores    [2][]proc.CoreTime
	err      error
}

func newMeter(serverPID int) *meter {
	m := &meter{pids: []int{os.Getpid()}}
	if serverPID > 0 {
		m.pids = append(m.pids, serverPID)
	}
	return m
}

func (m *meter) begin() { m.from, m.cores[0] = m.take() }
func (m *meter) end()   { m.to, m.cores[1] = m.take() }

func (m *meter) take() ([]proc.Sample, []proc.CoreTime) {
	var out []proc.Sample
	for _, pid := range m.pids {
		s, err := proc.Take(pid)
		m.err = errors.Join(m.err, err)
		out = append(out, s)
	}
	cores, err := proc.CoreTimes()
	m.err = errors.Join(m.err, err)
	return out, cores
}

// fill puts the usage into the phase.
func (m *meter) fill(p *report.Phase) error {
	if m.err != nil {
		return m.err
	}
	desc, err := proc.Describe()
	if err != nil {
		return err
	}
	p.FPSPerCore = p.FPS / float64(desc.Cores)
	p.CoreBusy = proc.BusyPct(m.cores[0], m.cores[1])
	for i, pid := range m.pids {
		limit, err := proc.FDLimit(pid)
		if err != nil {
			return err
		}
		u := report.Use(pid, m.from[i], m.to[i], limit, p.Frames, desc.Cores)
		if i == 0 {
			p.Client = u
		} else {
			p.ServerUse = &u
		}
	}
	return nil
}
