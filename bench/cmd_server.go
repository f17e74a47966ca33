package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/proc"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// Lines that a server prints on standard output for whoever started it. Fields are key=value, parted by blanks.
const (
	lineListening = "listening "       // addr, transport, pid: once, when connections are accepted
	lineReturned  = "memory-returned " // rss_bytes: after each SIGUSR2
	lineVitals    = "vitals "          // see vitals: after each SIGUSR1
)

// echoServer is a running server of any kind.
type echoServer interface {
	Addr() string
	Count(s *report.Server) // fills in what the server counted
	Close() error           // ends it in good order
}

// serverKind is one kind of server that ronbench can run.
type serverKind struct {
	command, kind, short string
	client               string // transport of the client that goes with it
	hidden               bool
	tls                  bool // takes --cert, --key, --ca-out
	knobs                bool // takes the knobs of the library
	quic                 bool // and those of its quic package instead of those of TCP
	tor                  bool // an onion service: takes the knobs of package tor, and --hs instead of --listen
	open                 func(ctx context.Context, o *serverOptions, c *tls.Certificate) (echoServer, error)
}

func serverKinds() []serverKind {
	return []serverKind{
		{"tls_echo_server", "tls", "echo OAP/1 frames over TLS 1.3", load.TLS, false, true, true, false, false, openOurs},
		{"tcp_echo_server", "tcp", "echo OAP/1 frames over plain TCP", load.TCP, false, false, true, false, false, openOurs},
		{"quic_echo_server", "quic", "echo OAP/1 frames over QUIC", load.QUIC, false, true, true, true, false, openQUIC},
		{"tor_echo_server", "tor", "echo OAP/1 frames as an onion service", load.Tor, false, false, true, false, true, openTor},
		{"peer_nettls_echo_server", "peer-nettls", "the same echo on net and crypto/tls, to compare with", load.TLS, false, true, false, false, false, openNetTLS},
		{"peer_nbio_echo_server", "peer-nbio", "the same echo on nbio with its TLS, to compare with", load.TLS, false, true, false, false, false, openNbio},
		{"peer_gnet_echo_server", "peer-gnet", "the same echo on gnet over plain TCP, to compare with", load.TCP, false, false, false, false, false, openGnet},
		{"peer_quicgo_echo_server", "peer-quicgo", "the same echo on quic-go alone, to compare with", load.StockQUIC, true, true, false, false, false, openQUICGo},
	}
}

// more is what --help adds for some kinds.
func (k serverKind) more() string {
	if !k.tls || !k.knobs {
		return ""
	}
	return " With --cert and --key, SIGHUP looks at their files at once; what\nhappens to them is told on standard error."
}

// addressFlag is the flag of the address that is bound.
func (k serverKind) addressFlag() string {
	if k.tor {
		return "hs"
	}
	return "listen"
}

// serverOptions are the flags of an echo server.
type serverOptions struct {
	kind     serverKind
	listen   string
	cert     string
	key      string
	caOut    string
	duration time.Duration
	json     string
	parent   bool
	handover string
	knobs    knobs
	quic     quicKnobs
	tor      torKnobs
	flags    *pflag.FlagSet // of the three before: what the report says it ran with
	profiles profiles
	stderr   io.Writer // what the Store tells goes there
}

func (a *app) serverCommand(kind serverKind) *cobra.Command {
	o := &serverOptions{kind: kind, stderr: a.stderr, flags: pflag.NewFlagSet(kind.command, pflag.ContinueOnError)}
	cmd := &cobra.Command{
		Use:   kind.command,
		Short: kind.short,
		Long: "Echo OAP/1 frames: every request is answered with its own payload. Prints one line \"listening addr=… transport=… pid=…\"\n" +
			"on standard output, then serves until SIGINT, SIGTERM or the end of --duration, and reports. SIGUSR2 gives free memory\n" +
			"back to the system and prints \"memory-returned rss_bytes=…\". SIGUSR1 prints \"vitals …\": goroutines, and what is in use of\n" +
			"the heap and of the pools of buffers." + kind.more(),
		Args:   noArgs,
		Hidden: kind.hidden,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(o.validate()); err != nil {
				return err
			}
			return a.runServer(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	if kind.tor {
		f.StringVar(&o.listen, "hs", "127.0.0.1:8443", "address of this machine that the onion service forwards to, host:port; port 0 picks a free one")
	} else {
		f.StringVar(&o.listen, "listen", "127.0.0.1:8443", "address to bind, host:port; port 0 picks a free one")
	}
	f.DurationVar(&o.duration, "duration", 0, "end after this time; 0: serve until a signal")
	f.StringVar(&o.json, "json", "", "write the report to this file")
	f.BoolVar(&o.parent, "with-parent", false, "end when standard input closes")
	o.profiles.register(f)
	if kind.tls {
		f.StringVar(&o.cert, "cert", "", "PEM file of the certificate chain; empty: a throw-away certificate is made")
		f.StringVar(&o.key, "key", "", "PEM file of the private key of --cert")
		f.StringVar(&o.caOut, "ca-out", "", "write the throw-away certificate (PEM) to this file, for the --ca of clients")
	}
	o.registerKnobs(o.flags)
	f.AddFlagSet(o.flags)
	a.commands = append(a.commands, knobbedServer(o))
	if kind.knobs && !kind.quic && !kind.tor {
		f.StringVar(&o.handover, "handover", "", "take the listening socket over from the server that waits at this path, if there is one; then wait there for a successor, and end when it has taken over; empty: neither")
	}
	return cmd
}

// registerKnobs declares the knobs of the kind; peers have none.
func (o *serverOptions) registerKnobs(f *pflag.FlagSet) {
	switch {
	case o.kind.quic:
		o.knobs.registerLoops(f)
		registerPeerLimits(f, &o.knobs.reactor)
		o.knobs.registerTLS(f)
		o.quic.registerServer(f)
	case o.kind.tor:
		o.knobs.registerLoops(f)
		o.knobs.registerSockets(f)
		o.tor.registerServer(f)
	case o.kind.knobs:
		o.knobs.register(f, o.kind.tls)
	}
}

func (o *serverOptions) validate() error {
	var errs []error
	if _, err := net.ResolveTCPAddr("tcp", o.listen); err != nil {
		errs = append(errs, &load.FlagError{Flag: o.kind.addressFlag(), Value: fmt.Sprintf("%q (%v)", o.listen, err), Allowed: "host:port, port 0 for any"})
	}
	errs = append(errs, load.CheckDuration("duration", o.duration, 0, load.MaxWindow), o.profiles.validate())
	if (o.cert == "") != (o.key == "") {
		errs = append(errs, fmt.Errorf("--cert: %q and --key: %q belong together; give both or neither", o.cert, o.key))
	}
	if o.caOut != "" && o.cert != "" {
		errs = append(errs, errors.New("--ca-out: only for a throw-away certificate; leave out --cert and --key"))
	}
	errs = append(errs, o.checkKnobs())
	if o.kind.tor {
		errs = append(errs, o.tor.validate())
	}
	if o.kind.knobs && o.kind.tls {
		errs = append(errs, o.validateCerts())
	}
	return errors.Join(errs...)
}

// certificate loads the pair, or makes a throw-away one and removes its files at once: the server needs them no longer. Our own
// server's pair is the Store's affair.
func (o *serverOptions) certificate() (*tls.Certificate, error) {
	if !o.kind.tls || (o.cert != "" && o.kind.knobs) {
		return nil, nil
	}
	if o.cert != "" {
		c, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return nil, usage(fmt.Errorf("--cert, --key: %w", err))
		}
		return &c, nil
	}
	host, _, _ := net.SplitHostPort(o.listen) // validated
	files, err := cert.Make(host)
	if err != nil {
		return nil, err
	}
	c, err := files.Load()
	if err == nil && o.caOut != "" {
		err = files.CopyCert(o.caOut)
	}
	return &c, errors.Join(err, files.Remove())
}

// runServer is the whole life of an echo server.
func (a *app) runServer(ctx context.Context, o *serverOptions) error {
	if o.parent {
		var cancel context.CancelFunc
		ctx, cancel = untilEOF(ctx, os.Stdin)
		defer cancel()
	}
	limit, err := proc.RaiseFDLimit(0)
	if err != nil {
		return err
	}
	crt, err := o.certificate()
	if err != nil {
		return err
	}
	r, err := report.New(report.KindServer, a.argv)
	if err != nil {
		return err
	}
	orders := make(chan os.Signal, 2)
	signal.Notify(orders, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(orders)
	s, err := o.kind.open(ctx, o, crt)
	if err != nil {
		return o.knobs.explain(err)
	}
	rec, err := o.profiles.start(a)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	began := time.Now()
	fmt.Fprintf(a.stdout, "%saddr=%s transport=%s pid=%d\n", lineListening, s.Addr(), o.kind.kind, os.Getpid())
	r.Interrupted = a.serveUntil(ctx, o.duration, orders, s)
	recorded := rec.stop()

	pid := os.Getpid()
	last, err := proc.Take(pid)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	err = errors.Join(recorded, s.Close())
	r.Server = &report.Server{
		Kind: o.kind.kind, Addr: s.Addr(), RanS: time.Since(began).Seconds(), CPUS: last.CPU.Seconds(), RSS: last.RSS, FDs: last.FDs, FDLimit: limit,
	}
	s.Count(r.Server)
	r.Server.Knobs = ranWith(o.flags, s)
	return errors.Join(err, a.finish(r, o.json))
}

// handedOver is closed when a successor has the listening socket; nil for servers that are not succeeded.
func handedOver(s echoServer) <-chan struct{} {
	if o, ok := s.(*ourServer); ok && o.handover != nil {
		return o.handover.done
	}
	return nil
}

// serveUntil waits for the end, and says whether a signal brought it.
func (a *app) serveUntil(ctx context.Context, d time.Duration, orders <-chan os.Signal, s echoServer) (interrupted bool) {
	over := handedOver(s)
	var timeUp <-chan time.Time
	if d > 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		timeUp = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return true
		case <-timeUp:
			return false
		case <-over:
			return false
		case sig := <-orders:
			if sig == syscall.SIGUSR1 {
				v := vitalsOf(s)
				fmt.Fprintf(a.stdout, "%s%s\n", lineVitals, v.String())
				continue
			}
			a.freeMemory()
		}
	}
}

// freeMemory gives free memory back to the system, and tells what is left.
func (a *app) freeMemory() {
	// Twice: the first collection empties the pools' victims only, the second frees what they held.
	debug.FreeOSMemory()
	debug.FreeOSMemory()
	rss, err := proc.RSS(os.Getpid())
	if err != nil {
		fmt.Fprintf(a.stderr, "ronbench: %v\n", err)
	}
	fmt.Fprintf(a.stdout, "%srss_bytes=%d\n", lineReturned, rss)
}
