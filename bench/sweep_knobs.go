package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/reactor"
)

// sweepKnob is a knob, the values that are tried, and a load in which it can show.
type sweepKnob struct {
	name   string
	what   string // the load, and why the knob shows in it
	figure string // what the knob is for, of report.FigureNames
	unit   string // what is counted
	refIs  string // what the reference is
	values []sweepValue
	probe  func() []sweepValue // of a knob whose values this machine must be asked for, in place of values; it takes a reactor for each

	command string      // the server's
	args    []string    // its flags, with every value
	load    load.Config // without its durations
	storm   int         // full handshakes due per second beside it, where there is a storm
	measure func(ctx context.Context, m *sweepJob) (report.SweepPoint, string, error)
	proof   func(p *report.Phase, s *report.Server) string // what shows that the value was in force

	preset string // of a group that runs only when it is asked for
}

// sweepValue is one value of a knob.
type sweepValue struct {
	name string
	args []string // flags of the server, --name=value or --name
	set  func(c *load.Config)
	ref  bool // what the others are compared with
}

// theDefault is what most knobs compare with.
const theDefault = "the default"

// Units of what is counted.
const (
	perFrame     = "frame"
	perHandshake = "handshake"
)

// ablation is the preset that turns features off, one by one.
const ablation = "ablation"

// sweepKnobs are all knobs that can be swept, with their values on this machine.
func sweepKnobs() []sweepKnob {
	knobs := sweepTable()
	for i := range knobs {
		if k := &knobs[i]; k.probe != nil {
			k.values = k.probe()
		}
	}
	return knobs
}

// sweepTable are the same without the values that are asked for: for their names, which every start of ronbench needs.
func sweepTable() []sweepKnob {
	knobs := []sweepKnob{
		coalesceKnob(), resumptionKnob(), inflightKnob(), readBufferKnob(), loopsKnob(), congestionKnob(), nodelayKnob(), socketBuffersKnob(),
		streamsKnob(), offloadKnob(), acceptKnob(),
	}
	return append(knobs, ablationKnobs()...)
}

// sizes makes a value of each number of bytes, -1 being the kernel's own choice.
func sizes(ref int, flags []string, bytes ...int) []sweepValue {
	var out []sweepValue
	for _, b := range bytes {
		v := sweepValue{name: "autotuned", ref: b == ref}
		if b >= 0 {
			v.name = report.Size(b)
		}
		for _, f := range flags {
			v.args = append(v.args, fmt.Sprintf("--%s=%d", f, b))
		}
		out = append(out, v)
	}
	return out
}

// counts makes a value of each number, and of the reference when it is none of them.
func counts(ref int, flag string, numbers ...int) []sweepValue {
	if !slices.Contains(numbers, ref) {
		numbers = append(numbers, ref)
	}
	slices.Sort(numbers)
	var out []sweepValue
	for _, n := range numbers {
		out = append(out, sweepValue{name: strconv.Itoa(n), args: []string{fmt.Sprintf("--%s=%d", flag, n)}, ref: n == ref})
	}
	return out
}

// perCall is a size of system calls.
func perCall(what string, bytes, calls uint64) string {
	if calls == 0 {
		return "no " + what + " call"
	}
	return fmt.Sprintf("%s per %s call", report.Size(int(bytes/calls)), what)
}

func writeSize(_ *report.Phase, s *report.Server) string {
	return perCall("write", s.Reactor.BytesOut, s.Reactor.Writes)
}

func coalesceKnob() sweepKnob {
	return sweepKnob{
		name: "coalesce", figure: "writes", unit: perFrame, refIs: theDefault, command: "tls_echo_server",
		what:    "1 KiB frames over TLS, 8 connections with 256 in flight: a turn has up to 256 KiB to write on a connection",
		load:    load.Config{Payload: 1 << 10, Conns: 8, Depth: 256},
		values:  sizes(reactor.DefaultWriteCoalesce, []string{"write-coalesce"}, 1<<10, 8<<10, 64<<10, 128<<10),
		measure: measureLoad, proof: writeSize,
	}
}

func resumptionKnob() sweepKnob {
	return sweepKnob{
		name: "resumption", figure: "cpu", unit: perHandshake, refIs: theDefault, command: "tls_echo_server",
		what:    "TLS connections made as fast as it goes, by a client that resumes where it can: what a handshake costs the server",
		values:  []sweepValue{{name: "on", args: []string{"--session-tickets=true"}, ref: true}, {name: "off", args: []string{"--session-tickets=false"}}},
		load:    load.Config{Payload: 1 << 10, Depth: 1},
		measure: measureHandshakes, proof: func(p *report.Phase, _ *report.Server) string {
			return fmt.Sprintf("%d of %d resumed", p.Session.Resumed, p.Session.Established)
		},
	}
}

// inflightDelay is how late the handler of the knob's load answers.
const inflightDelay = 2 * time.Millisecond

func inflightKnob() sweepKnob {
	return sweepKnob{
		name: "inflight", figure: "rate", unit: perFrame, refIs: theDefault, command: "tls_echo_server",
		what: fmt.Sprintf("4 KiB frames over TLS, 8 connections with 64 in flight, and a handler that answers %s later: an echo in place holds no permit", inflightDelay),
		load: load.Config{Payload: 4 << 10, Conns: 8, Depth: 64},
		args: []string{"--reply-delay=" + inflightDelay.String()}, values: counts(64, "inflight", 1, 8, 64),
		measure: measureLoad, proof: func(p *report.Phase, s *report.Server) string {
			return fmt.Sprintf("at most %d frames in flight at once on %d connections", s.HeldPeak, p.Conns)
		},
	}
}

func readBufferKnob() sweepKnob {
	return sweepKnob{
		name: "read-buffer", figure: "reads", unit: perFrame, refIs: theDefault, command: "tls_echo_server",
		what:    "64 KiB frames over TLS, 8 connections with 4 in flight",
		load:    load.Config{Payload: 64 << 10, Conns: 8, Depth: 4},
		values:  sizes(reactor.DefaultReadBuffer, []string{"read-buffer"}, 16<<10, 64<<10, 128<<10, 256<<10),
		measure: measureLoad, proof: func(_ *report.Phase, s *report.Server) string {
			return perCall("read", s.Reactor.BytesIn, s.Reactor.Reads)
		},
	}
}

func loopsKnob() sweepKnob {
	return sweepKnob{
		name: "loops", figure: "rate", unit: perFrame, refIs: theDefault + ", one per core", command: "tls_echo_server",
		what:    "4 KiB frames over TLS, 50 connections with 16 in flight; the client takes its share of the cores",
		load:    load.Config{Payload: 4 << 10, Conns: 50, Depth: 16},
		values:  counts(runtime.GOMAXPROCS(0), "loops", 1, 2, 4),
		measure: measureLoad, proof: func(_ *report.Phase, s *report.Server) string { return fmt.Sprintf("loops: %d", s.LoopCount) },
	}
}

// The kernel's lists of congestion control algorithms.
const (
	congestionList   = "/proc/sys/net/ipv4/tcp_available_congestion_control"
	congestionSystem = "/proc/sys/net/ipv4/tcp_congestion_control"
)

// congestionValues are the system's own algorithm and the others that this process may choose.
func congestionValues() []sweepValue {
	system := words(congestionSystem)
	out := []sweepValue{{name: strings.Join(append(system, "(the system's)"), " "), ref: true}}
	for _, name := range words(congestionList) {
		if slices.Contains(system, name) {
			continue
		}
		r, err := reactor.New(reactor.Config{Loops: 1, Congestion: name})
		if err != nil {
			continue // not without a privilege
		}
		_ = r.Close()
		out = append(out, sweepValue{name: name, args: []string{"--congestion=" + name}})
	}
	return out
}

// words are those of a file; none when it cannot be read.
func words(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(b))
}

func congestionKnob() sweepKnob {
	return sweepKnob{
		name: "congestion", figure: "rate", unit: perFrame, refIs: theDefault, command: "tls_echo_server",
		what:    "64 KiB frames over TLS, 8 connections with 4 in flight, on loopback, which loses nothing: what an algorithm costs, not what it is for",
		load:    load.Config{Payload: 64 << 10, Conns: 8, Depth: 4},
		probe:   congestionValues,
		measure: measureLoad, proof: func(_ *report.Phase, s *report.Server) string { return s.Control + " on the socket" },
	}
}

func nodelayKnob() sweepKnob {
	return sweepKnob{
		name: "nodelay", figure: "p50", unit: perFrame, refIs: theDefault, command: "tls_echo_server",
		what:    "4 KiB frames over TLS, 8 connections with 4 in flight, written in pieces of 1 KiB: with the default coalescing there is nothing to hold back",
		load:    load.Config{Payload: 4 << 10, Conns: 8, Depth: 4},
		args:    []string{"--write-coalesce=1024"},
		values:  []sweepValue{{name: "on", args: []string{"--nodelay=true"}, ref: true}, {name: "off", args: []string{"--nodelay=false"}}},
		measure: measureLoad, proof: writeSize,
	}
}

func socketBuffersKnob() sweepKnob {
	return sweepKnob{
		name: "socket-buffers", figure: "rate", unit: perFrame, refIs: theDefault, command: "tls_echo_server",
		what:    "64 KiB frames over TLS, 8 connections with 4 in flight; SO_SNDBUF and SO_RCVBUF of the server",
		load:    load.Config{Payload: 64 << 10, Conns: 8, Depth: 4},
		values:  sizes(reactor.DefaultSocketBuffer, []string{"sndbuf", "rcvbuf"}, 16<<10, 512<<10, 4<<20, -1),
		measure: measureLoad, proof: func(_ *report.Phase, s *report.Server) string {
			return fmt.Sprintf("granted: send %s, receive %s", report.Size(s.SndBuf), report.Size(s.RcvBuf))
		},
	}
}

// streamsInFlight is how many requests are in flight on each connection, over all its streams.
const streamsInFlight = 64

func streamsKnob() sweepKnob {
	k := sweepKnob{
		name: "quic-streams", figure: "rate", unit: perFrame, refIs: "one stream", command: "quic_echo_server",
		what:    fmt.Sprintf("16 KiB frames over QUIC, 4 connections with %d in flight, over as many streams of the client; nothing is lost on loopback", streamsInFlight),
		load:    load.Config{Payload: 16 << 10, Conns: 4},
		measure: measureLoad, proof: func(_ *report.Phase, s *report.Server) string {
			return fmt.Sprintf("%d streams on %d connections", s.Streams, s.Accepted)
		},
	}
	for _, n := range []int{1, 8, 64} {
		k.values = append(k.values, sweepValue{name: strconv.Itoa(n), ref: n == 1, set: func(c *load.Config) { c.Streams, c.Depth = n, streamsInFlight/n }})
	}
	return k
}

func offloadKnob() sweepKnob {
	return sweepKnob{
		name: "quic-offload", figure: "cpu", unit: perFrame, refIs: theDefault, command: "quic_echo_server",
		what: "64 KiB frames over QUIC, 8 connections × 4 streams; what the kernel does for the server's sockets",
		load: load.Config{Payload: 64 << 10, Conns: 8, Streams: 4, Depth: 1},
		values: []sweepValue{{name: "both", ref: true}, {name: "no GRO", args: []string{"--no-gro"}}, {name: "no GSO", args: []string{"--no-gso"}},
			{name: "neither", args: []string{"--no-gro", "--no-gso"}}},
		measure: measureLoad, proof: offloadProof,
	}
}

func offloadProof(_ *report.Phase, s *report.Server) string {
	on := map[bool]string{true: "on", false: "off"}
	return fmt.Sprintf("GRO %s, GSO %s", on[s.Offload.GRO], on[s.Offload.GSO])
}

// permitsProof says how many permits the reactor gave, and how many were out at once. Steps that compute take no more than leave one core to the
// loops, however many permits there are; only such as wait, in a callback of the user's, take more. An echo server has none.
func permitsProof(_ *report.Phase, s *report.Server) string {
	permits := "?"
	for _, k := range s.Knobs {
		if k.Name == "accept-semaphore" {
			permits = k.Value
		}
	}
	return fmt.Sprintf("%s permits in force, at most %d steps at once", permits, s.Reactor.StepsPeak)
}

func acceptKnob() sweepKnob {
	return sweepKnob{
		name: "accept-semaphore", figure: "p99", unit: perHandshake, refIs: theDefault + ", two per core", command: "tls_echo_server",
		what:    fmt.Sprintf("a storm of %d full handshakes per second beside a steady load of %d requests per second, whose latency it is; handshakes only compute, which never takes more permits than leave a core to the loops", sweepStorm, sweepRPS),
		load:    load.Config{Payload: defaultPayload, Conns: defaultConns, RPS: sweepRPS},
		values:  counts(2*runtime.GOMAXPROCS(0), "accept-semaphore", 1, 16, 64),
		storm:   sweepStorm,
		measure: measureStorm, proof: permitsProof,
	}
}

// ablationKnobs turn off what is on by default, one at a time, where that takes a flag and no other build.
func ablationKnobs() []sweepKnob {
	all := sweepValue{name: "all on", ref: true}
	oneLoop := sweepValue{name: "one loop", args: []string{"--loops=1"}}
	tls, quic, shake := offloadKnob(), offloadKnob(), resumptionKnob()
	tls.name, tls.command = "ablation-tls", "tls_echo_server"
	tls.what, tls.load = "1 KiB frames over TLS, 50 connections with 16 in flight", load.Config{Payload: 1 << 10, Conns: 50, Depth: 16}
	tls.proof = func(p *report.Phase, s *report.Server) string {
		return fmt.Sprintf("%s, %s, loops: %d", writeSize(p, s), perCall("read", s.Reactor.BytesIn, s.Reactor.Reads), s.LoopCount)
	}
	tls.values = []sweepValue{all, {name: "writes of 1 KiB", args: []string{"--write-coalesce=1024"}}, {name: "reads of 16 KiB", args: []string{"--read-buffer=16384"}},
		{name: "Nagle on", args: []string{"--nodelay=false"}}, {name: "socket buffers of 16 KiB", args: []string{"--sndbuf=16384", "--rcvbuf=16384"}}, oneLoop}
	quic.name = "ablation-quic"
	quic.values = append(slices.Clone(quic.values), oneLoop)
	quic.values[0] = all
	shake.name = "ablation-handshake"
	shake.values = []sweepValue{all, {name: "no tickets", args: []string{"--session-tickets=false"}}}
	out := []sweepKnob{tls, quic, shake}
	for i := range out {
		out[i].refIs, out[i].preset = "all at their defaults", ablation
	}
	return out
}
