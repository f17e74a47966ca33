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
	"strconv"
	"strings"
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
	tor                              bool // takes the knobs of package tor, and --onion instead of --target
	knobs                            bool // takes --early and the knobs of the library's quic package
	hidden                           bool
}

func clientKinds() []clientKind {
	return []clientKind{
		{command: "tls_echo_client", transport: load.TLS, scheme: "https", over: "TLS 1.3", tls: true},
		{command: "tcp_echo_client", transport: load.TCP, scheme: "tcp", over: "plain TCP"},
		{command: "quic_echo_client", transport: load.QUIC, scheme: "quic", over: "QUIC", tls: true, streams: true, knobs: true},
		{command: "tor_echo_client", transport: load.Tor, over: "onion connections", tor: true},
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
	tor       torKnobs
	measure   []string // name=pid
	profiles  profiles
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
	if k.tor {
		o.tor.registerClient(f)
	} else {
		f.StringVar(&o.target, "target", k.scheme+"://127.0.0.1:8443", "server, as "+k.scheme+"://host:port")
	}
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
	f.StringArrayVar(&o.measure, "measure", nil, "also measure this local process, name=pid; may be repeated")
	o.profiles.register(f)
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
		o.load.Validate(), o.parseTarget(), o.profiles.validate(),
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
	if _, err := o.others(); err != nil {
		errs = append(errs, err)
	}
	for _, f := range []string{"conns", "rps", "depth", "one-way", "payload", "duration", "warmup"} {
		if o.tor.hello > 0 && cmd.Flags().Changed(f) {
			errs = append(errs, fmt.Errorf("--hello: is no load, and has no meaning with --%s; give one of them", f))
		}
	}
	if o.tor.hello == 0 && o.tor.pause != 0 {
		errs = append(errs, errors.New("--hello-pause: only with --hello"))
	}
	return errors.Join(errs...)
}

// others are the processes of --measure.
func (o *clientOptions) others() ([]namedPID, error) {
	var out []namedPID
	for _, m := range o.measure {
		name, pid, ok := strings.Cut(m, "=")
		n, err := strconv.Atoi(pid)
		if !ok || name == "" || err != nil {
			return nil, &load.FlagError{Flag: "measure", Value: fmt.Sprintf("%q", m), Allowed: "name=pid"}
		}
		if _, err := proc.Take(n); err != nil {
			return nil, fmt.Errorf("--measure: %d cannot be measured: %w", n, err)
		}
		out = append(out, namedPID{name, n})
	}
	return out, nil
}

func (o *clientOptions) parseTarget() error {
	if clientKindOf(o.transport).tor {
		o.addr, o.host = o.tor.onion, onionHost(o.tor.onion)
		return o.tor.validateClient()
	}
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
	rec, err := o.profiles.start(a)
	if err != nil {
		return err
	}
	p, err := a.measure(ctx, o)
	if err = errors.Join(err, rec.stop()); err != nil {
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
	if clientKindOf(o.transport).tor {
		if nc.Tor, err = o.tor.open(ctx, a.stderr); err != nil {
			return nil, err
		}
		defer func() { _ = nc.Tor.Close() }() // the figures are there
		if o.tor.hello > 0 {
			return a.measureHellos(ctx, o, nc)
		}
		if nc.Circuits = o.tor.circuits; nc.Circuits == 0 {
			nc.Circuits = min(o.load.Conns, load.MaxCircuits)
		}
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
	meter, err := o.newMeter()
	if err != nil {
		return nil, err
	}
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

// measureHellos says HELLO on fresh connections.
func (a *app) measureHellos(ctx context.Context, o *clientOptions, nc load.NetConfig) (*report.Phase, error) {
	meter, err := o.newMeter()
	if err != nil {
		return nil, err
	}
	circuits := o.tor.hello
	if o.tor.circuits > 0 {
		circuits = min(o.tor.circuits, o.tor.hello)
	}
	progress := report.NewProgress(a.stderr)
	p, err := load.Hellos(ctx, load.HelloConfig{Tor: nc.Tor, Addr: nc.Addr, Count: o.tor.hello, Circuits: circuits, Pause: o.tor.pause, Loops: o.loops,
		Begin: meter.begin, End: meter.end, Progress: func(done int) {
			progress.Line(time.Now(), fmt.Sprintf("HELLO: %d of %d connections", done, o.tor.hello))
		}})
	progress.Done()
	if err != nil {
		return nil, err
	}
	p.Name = "HELLO"
	return p, meter.fill(p)
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
	pids     []int // own first, then the server's if there is one
	others   []namedPID
	from, to []proc.Sample
	cores    [2][]proc.CoreTime
	err      error
}

// namedPID is a process that is measured besides.
type namedPID struct {
	name string
	pid  int
}

func (o *clientOptions) newMeter() (*meter, error) {
	m := &meter{pids: []int{os.Getpid()}}
	if o.serverPID > 0 {
		m.pids = append(m.pids, o.serverPID)
	}
	var err error
	m.others, err = o.others()
	return m, err
}

// all are the numbers of all processes.
func (m *meter) all() []int {
	all := slices.Clone(m.pids)
	for _, p := range m.others {
		all = append(all, p.pid)
	}
	return all
}

func (m *meter) begin() { m.from, m.cores[0] = m.take() }
func (m *meter) end()   { m.to, m.cores[1] = m.take() }

func (m *meter) take() ([]proc.Sample, []proc.CoreTime) {
	var out []proc.Sample
	for _, pid := range m.all() {
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
	for i, pid := range m.all() {
		limit, err := proc.FDLimit(pid)
		if err != nil {
			return err
		}
		u := report.Use(pid, m.from[i], m.to[i], limit, p.Frames, desc.Cores)
		switch {
		case i == 0:
			p.Client = u
		case i < len(m.pids):
			p.ServerUse = &u
		default:
			u.Name = m.others[i-len(m.pids)].name
			p.Others = append(p.Others, u)
		}
	}
	return nil
}
