package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls/certs"
)

// knobs are the seed's scaling knobs (seed section 3) as flags of our servers. Each is one field of the library.
type knobs struct {
	reactor reactor.Config
	noDelay bool

	inflight int // framer.Options.MaxInflight
	maxFrame int // framer.Options.MaxFrame

	frameStreams int // framer.Options.MaxStreams
	maxInflated  int // framer.Options.MaxInflated

	replyDelay time.Duration // of the handler, so that frames are retained; 0: answered in place

	tickets bool         // crypto/tls's SessionTicketsDisabled, inverted
	ocsp    string       // file for tls.Certificate.OCSPStaple
	certs   certs.Config // but for its Pairs: they are --cert and --key
}

// knobFields maps fields of the library's configuration, as its errors name them, to flags.
func knobFields() map[string]string {
	return map[string]string{
		"Loops": "loops", "ReadBuffer": "read-buffer", "WriteCoalesce": "write-coalesce", "HighWater": "high-water",
		"LowWater": "low-water", "HardCap": "hard-cap", "HandshakeWorkers": "accept-semaphore",
		"HandshakeTimeout": "handshake-timeout", "FrameTimeout": "frame-timeout", "IdleTimeout": "idle-timeout",
		"WriteTimeout": "write-timeout", "LingerTimeout": "linger-timeout", "SendBuffer": "sndbuf", "RecvBuffer": "rcvbuf",
		"DrainTimeout": "drain-timeout", "ShutdownGrace": "shutdown-grace", "MinRate": "min-rate", "Congestion": "congestion", "MaxConns": "max-conns",
		"MaxConnsPerPeer": "max-conns-per-peer", "MaxHandshakesPerPeer": "max-handshakes-per-peer", "PeerConnRate": "peer-conn-rate",
		"ConnReadRate": "conn-read-rate", "ConnWriteRate": "conn-write-rate", "PeerReadRate": "peer-read-rate", "PeerWriteRate": "peer-write-rate",
		"PoolBytes": "pool-bytes", "BufferBudget": "buffer-budget",
		"MaxInflight": "inflight", "MaxFrame": "max-frame", "MaxInflated": "max-inflated",
	}
}

// The unit of a flag is the word in back quotes of its usage, which --help shows in place of the type and a report with the value (see ranWith).

// register declares the flags. Their defaults are the library's, resolved for this machine, so that --help shows what is
// in force.
func (k *knobs) register(f *pflag.FlagSet, tls bool) {
	c, cores := &k.reactor, runtime.GOMAXPROCS(0)
	k.registerLoops(f)
	registerPeerLimits(f, c)
	f.IntVar(&c.HandshakeWorkers, "accept-semaphore", 2*cores, "TLS handshake steps that may compute at once")
	f.DurationVar(&c.HandshakeTimeout, "handshake-timeout", reactor.DefaultHandshakeTimeout, "bound on the handshake; negative: none")
	k.registerSockets(f)
	if tls {
		k.registerTLS(f)
	}
}

// registerSockets declares what is of TCP alone.
func (k *knobs) registerSockets(f *pflag.FlagSet) {
	c := &k.reactor
	f.IntVar(&c.SendBuffer, "sndbuf", reactor.DefaultSocketBuffer, "SO_SNDBUF, `bytes`; -1: the kernel's autotuning")
	f.IntVar(&c.RecvBuffer, "rcvbuf", reactor.DefaultSocketBuffer, "SO_RCVBUF, `bytes`; -1: the kernel's autotuning")
	f.BoolVar(&k.noDelay, "nodelay", true, "TCP_NODELAY")
	f.StringVar(&c.Congestion, "congestion", "", "TCP congestion control, one of net.ipv4.tcp_available_congestion_control; empty: the system's own")
}

func (k *knobs) registerTLS(f *pflag.FlagSet) {
	f.BoolVar(&k.tickets, "session-tickets", true, "offer session resumption; ticket keys change daily")
	f.StringVar(&k.ocsp, "ocsp-staple", "", "staple the OCSP response (DER) in this file, and ask no responder; empty: see --ocsp")
	k.registerCerts(f)
}

// registerLoops declares what does not depend on the kind of socket.
func (k *knobs) registerLoops(f *pflag.FlagSet) {
	c := &k.reactor
	k.noDelay = true // where there is no such flag
	f.IntVar(&c.Loops, "loops", runtime.GOMAXPROCS(0), "event loops")
	f.IntVar(&c.ReadBuffer, "read-buffer", reactor.DefaultReadBuffer, "most `bytes` of one read")
	f.IntVar(&c.WriteCoalesce, "write-coalesce", reactor.DefaultWriteCoalesce, "`bytes` of output one system call carries, when there are as many")
	f.IntVar(&c.HighWater, "high-water", reactor.DefaultHighWater, "queued output, `bytes`, above which a connection is not read")
	f.IntVar(&c.LowWater, "low-water", reactor.DefaultLowWater, "queued output, `bytes`, at which it is read again")
	f.IntVar(&c.HardCap, "hard-cap", reactor.DefaultHardCap, "queued output, `bytes`, that closes a connection as slow_peer")
	f.Int64Var(&c.PoolBytes, "pool-bytes", 0, "most `bytes` of idle buffers per loop; 0: the pool's default")
	registerLimits(f, c)
	for _, d := range []struct {
		p     *time.Duration
		name  string
		value time.Duration
		what  string
	}{
		{&c.FrameTimeout, "frame-timeout", reactor.DefaultFrameTimeout, "bound on one frame, first byte to last"},
		{&c.IdleTimeout, "idle-timeout", reactor.DefaultIdleTimeout, "longest time without any byte"},
		{&c.WriteTimeout, "write-timeout", reactor.DefaultWriteTimeout, "longest time without progress while output waits"},
		{&c.LingerTimeout, "linger-timeout", reactor.DefaultLingerTimeout, "wait for the peer's end after our own"},
		{&c.DrainTimeout, "drain-timeout", reactor.DefaultDrainTimeout, "bound on writing what is queued when a connection closes"},
		{&c.ShutdownGrace, "shutdown-grace", reactor.DefaultShutdownGrace, "how long connections are answered after a shutdown's goodbye"},
	} {
		f.DurationVar(d.p, d.name, d.value, d.what+"; negative: none")
	}
	f.IntVar(&k.inflight, "inflight", framer.MaxInflight, "frames in flight per connection before it is not read")
	f.IntVar(&k.maxFrame, "max-frame", framer.MaxFrame, "largest frame accepted, `bytes`")
	f.IntVar(&k.frameStreams, "frame-streams", framer.DefaultMaxStreams, "streams of frames that a client may have open on a connection")
	f.IntVar(&k.maxInflated, "max-inflated", framer.MaxInflated, "`bytes` that a compressed payload may inflate to; beyond: 413")
	f.DurationVar(&k.replyDelay, "reply-delay", 0, "answer each request so much later, as a handler does that asks a backend: until then its frame is in flight; 0: answer in place, with none in flight")
}

// registerLimits declares the flags of what is limited per server, per peer and per connection.
func registerLimits(f *pflag.FlagSet, c *reactor.Config) {
	f.IntVar(&c.MaxConns, "max-conns", 0, "connections at once; 0: nine tenths of the descriptors; negative: no limit")
	f.IntVar(&c.BufferBudget, "buffer-budget", reactor.DefaultBufferBudget, "`bytes` of buffers of all connections above which the marks shrink; negative: none")
	f.IntVar(&c.MinRate, "min-rate", reactor.DefaultMinRate, "least `bytes/s` of an unfinished frame and of waiting output; negative: none")
	limitFlag(f, &c.ConnReadRate, "conn-read-rate", "`bytes/s` read from a connection")
	limitFlag(f, &c.ConnWriteRate, "conn-write-rate", "`bytes/s` written to a connection")
}

// registerPeerLimits declares the flags of what is limited per peer, for transports on which peers can be told apart.
func registerPeerLimits(f *pflag.FlagSet, c *reactor.Config) {
	limitFlag(f, &c.MaxConnsPerPeer, "max-conns-per-peer", "connections of one peer at once")
	limitFlag(f, &c.MaxHandshakesPerPeer, "max-handshakes-per-peer", "connections of one peer whose handshake is not complete")
	limitFlag(f, &c.PeerConnRate, "peer-conn-rate", "new `connections/s` of one peer")
	limitFlag(f, &c.PeerReadRate, "peer-read-rate", "`bytes/s` read from all connections of a peer")
	limitFlag(f, &c.PeerWriteRate, "peer-write-rate", "`bytes/s` written to all connections of a peer")
}

func limitFlag(f *pflag.FlagSet, p *int, name, what string) {
	f.IntVar(p, name, 0, what+"; 0: no limit")
}

// validate checks what the library does not check by itself when it starts.
func (k *knobs) validate() error {
	k.reactor.Nagle = !k.noDelay
	errs := []error{load.CheckDuration("reply-delay", k.replyDelay, 0, maxReplyDelay)}
	for _, f := range []struct {
		flag string
		v    int
	}{{"inflight", k.inflight}, {"max-frame", k.maxFrame}, {"frame-streams", k.frameStreams}, {"max-inflated", k.maxInflated}} {
		if f.v == 0 { // to the library a zero is its default; on the command line it is a mistake
			errs = append(errs, &load.FlagError{Flag: f.flag, Value: "0", Allowed: "what --help names, and more than 0"})
		}
	}
	return errors.Join(errs...)
}

// explain names the flag in an error of the library that names a field of its configuration.
func (k *knobs) explain(err error) error {
	if _, ok := errors.AsType[*usageError](err); ok {
		return err // it has been explained
	}
	if strings.HasPrefix(err.Error(), "framer: MaxStreams ") { // a field of that name is in package quic as well
		return usage(fmt.Errorf("--frame-streams: %w", err))
	}
	for field, flag := range knobFields() {
		if strings.Contains(err.Error(), ": "+field+" ") {
			return usage(fmt.Errorf("--%s: %w", flag, err))
		}
	}
	return err
}

// staple reads the OCSP response.
func (k *knobs) staple() ([]byte, error) {
	if k.ocsp == "" {
		return nil, nil
	}
	b, err := os.ReadFile(k.ocsp)
	if err != nil {
		return nil, usage(fmt.Errorf("--ocsp-staple: %w", err))
	}
	return b, nil
}
