package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
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

// more is what --help adds for some kinds.
func (k clientKind) more() string {
	if !k.tls {
		return ""
	}
	return "\n\nWith --cold every request goes over a connection of its own, after a full handshake: --rps connections are due per second and\n" +
		"--conns of them under way at most (those that are due beyond wait, and their latency counts from when they were due); without\n" +
		"--rps each of --conns begins again when it has ended. Latency is to the reply; the handshake's is told besides. The client closes\n" +
		"first; towards other hosts it runs out of ports at some 28,000 connections a minute, towards a loopback address at as many a second."
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
	mix       string
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
			"their sum. With --mix the payloads differ, in a fixed order. At the end the report says who held the figures back: the\n" +
			"server, the client, the machine that both share, or the timetable." + kind.more(),
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
	a.commands = append(a.commands, knobbedClient(kind, o, cmd.Flags()))
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
	f.StringVar(&o.mix, "mix", "", "payloads of requests and their weights instead of --payload, such as 4096:90,65536:10")
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
		f.BoolVar(&o.load.Cold, "cold", false, "each request on a connection of its own, with a full handshake")
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
	var err error
	if o.load.Mix, err = load.ParseMix(o.mix); err != nil {
		return err
	}
	if o.load.Cold && clientKindOf(o.transport).streams {
		o.load.Streams, o.load.MaxInflight = 1, 0
	}
	errs := []error{
		o.load.Validate(), o.parseTarget(), o.profiles.validate(),
		load.CheckRange("loops", o.loops, 0, 256), load.CheckRange("server-pid", o.serverPID, 0, 1<<22),
	}
	errs = append(errs, o.contradictions(cmd.Flags().Changed))
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
	return errors.Join(errs...)
}

// contradictions refuses flags that have no meaning with others.
func (o *clientOptions) contradictions(given func(flag string) bool) error {
	var errs []error
	for _, c := range []struct {
		flag, with string
		bad        bool
		why        string
	}{
		{"depth", "rps", o.load.RPS > 0 && given("depth"), " (open loop)"},
		{"depth", "one-way", o.load.OneWay && given("depth"), ""},
		{"depth", "cold", o.load.Cold && given("depth"), ", whose connections have one request each"},
		{"max-inflight", "one-way", o.load.OneWay && given("max-inflight"), ", whose events have no replies"},
		{"max-inflight", "cold", o.load.Cold && given("max-inflight"), ", whose connections have one request each"},
		{"streams", "cold", o.load.Cold && given("streams"), ", whose connections have one request each"},
		{"resume", "cold", o.load.Cold && o.resume, ", whose handshakes are full ones"},
		{"payload", "mix", o.mix != "" && given("payload"), ""},
	} {
		if c.bad {
			errs = append(errs, fmt.Errorf("--%s: has no meaning with --%s%s; give one of them", c.flag, c.with, c.why))
		}
	}
	if o.load.OneWay && o.load.Early {
		errs = append(errs, errors.New("--early: its first request has no place in a load with --one-way; give one of them"))
	}
	for _, f := range []string{"conns", "rps", "depth", "one-way", "payload", "mix", "duration", "warmup"} {
		if o.tor.hello > 0 && given(f) {
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
