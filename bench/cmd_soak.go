package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/soak"
	"github.com/ron-transport/ron-transport/tor/torlab"
)

// Limits and defaults of a soak.
const (
	minSoak     = 5 * time.Second // shorter ones have too few samples for any verdict
	maxSoakConn = 4096            // of a transport: the load is to be churned, not to be large; for that there is idle
	minLife     = 500 * time.Millisecond
	minSample   = 50 * time.Millisecond // a sample costs every server a millisecond
	minRotate   = time.Second

	lifeShare   = 30 // generations of connections in a run, at the least
	shortLife   = 2 * time.Second
	longLife    = 30 * time.Second // a day has 2,880 generations
	sampleShare = 2000             // samples in a run
	shortSample = time.Second
	rotateShare = 12 // certificates in a run, at the least
	longRotate  = time.Hour
)

// soakOptions are the flags of ronbench soak.
type soakOptions struct {
	soak.Config
	tor                      string
	checkpoint, resume, json string

	state *soak.State // of --resume; nil: a new run
	noTor string      // why Tor is left out
}

func (a *app) soakCommand() *cobra.Command {
	o := &soakOptions{}
	cmd := &cobra.Command{
		Use:   "soak",
		Short: "run for hours under a mixed load over TLS, QUIC and Tor, and judge whether anything leaks or drifts",
		Long: "Start our servers over TLS, over QUIC and, where that can be, as an onion service on a private Tor network, and load them with\n" +
			"small and large frames at a rate that keeps the processors in a band. Connections are replaced all the time, half of them with\n" +
			"a resumed session; certificates and ticket keys change; beside the load there are connections that are reset, that stall in the\n" +
			"handshake, that drip bytes and that read nothing. Memory, descriptors, goroutines, buffers and latency are sampled, and their\n" +
			"slopes judged, with confidence bounds: \"leak\" or \"drift\" where growth beyond the allowance is shown, \"cannot tell\" where the\n" +
			"run was too short or too noisy, or where it grew in a few steps only; for the rest the report says what growth would have been\n" +
			"seen. Every reply is checked, no request of the load may fail, and in the end every buffer must have come back. Ctrl-C ends with the results so far; with --checkpoint, --resume goes on later.\n" +
			"Exit status 1: a leak, a drift or an error; 2: the command line was refused.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(o.validate(cmd.Flags())); err != nil {
				return err
			}
			return a.soakIsolated(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&o.Duration, "duration", 24*time.Hour, "how long")
	f.IntVar(&o.Conns, "conns", 32, "connections over TLS, and streams over QUIC, at once; over Tor a quarter of that")
	f.StringVar(&o.Mix, "mix", "4096:90,65536:10", "payloads of requests and their weights")
	f.Float64Var(&o.CPULow, "cpu-low", 60, "lower edge of the band, per cent of all cores")
	f.Float64Var(&o.CPUHigh, "cpu-high", 70, "upper edge")
	f.DurationVar(&o.Life, "life", 0, "how long a connection lives, on the average; 0: a thirtieth of --duration, from 2 s to 30 s")
	f.DurationVar(&o.SampleEvery, "sample-every", 0, "time between two samples; 0: a two-thousandth of --duration, 1 s at the least")
	f.DurationVar(&o.Rotate, "rotate", 0, "time between two certificates, and two ticket keys, which live a minute at the least; 0: a twelfth of --duration, an hour at the most")
	f.BoolVar(&o.Chaos, "chaos", true, "hostile and reset connections beside the load")
	f.StringVar(&o.tor, "tor", choiceAuto, "load over Tor, on a private network of its own: auto (if it can be made), on (it must be), off")
	f.Uint64Var(&o.Seed, "seed", 1, "of all that is left to chance")
	f.StringVar(&o.checkpoint, "checkpoint", "", "write what a later --resume needs to this file, each minute and at the end")
	f.StringVar(&o.resume, "resume", "", "go on with the soak that was written to this file, and write it there; goes with --json and --html only")
	f.StringVar(&o.json, "json", "", "write the report to this file")
	return cmd
}

// validate checks the flags, loads the state of --resume, and decides about Tor.
func (o *soakOptions) validate(f *pflag.FlagSet) error {
	if o.resume != "" {
		if err := o.load(f); err != nil {
			return err
		}
	}
	o.defaults()
	if !slices.Contains([]string{choiceAuto, choiceOn, choiceOff}, o.tor) {
		return &load.FlagError{Flag: "tor", Value: fmt.Sprintf("%q", o.tor), Allowed: "auto, on, off"}
	}
	mix, err := load.ParseMix(o.Mix)
	if err == nil && len(mix) == 0 {
		err = &load.FlagError{Flag: "mix", Value: `""`, Allowed: "what --help shows"}
	}
	errs := []error{err, o.choose(), o.places(f),
		load.CheckDuration("duration", o.Duration, minSoak, load.MaxWindow), load.CheckRange("conns", o.Conns, lanes, maxSoakConn),
		load.CheckDuration("life", o.Life, minLife, time.Hour), load.CheckDuration("sample-every", o.SampleEvery, minSample, time.Hour),
		load.CheckDuration("rotate", o.Rotate, minRotate, load.MaxWindow)}
	if !(o.CPULow >= 1 && o.CPULow < o.CPUHigh && o.CPUHigh <= 100) {
		errs = append(errs, &load.FlagError{Flag: "cpu-low", Value: fmt.Sprintf("%v with --cpu-high %v", o.CPULow, o.CPUHigh), Allowed: "1 to 100, below --cpu-high"})
	}
	return errors.Join(errs...)
}

// places checks that the files to be written are not one.
func (o *soakOptions) places(f *pflag.FlagSet) error {
	for _, name := range []string{"json", "html"} {
		if g := f.Lookup(name); o.checkpoint != "" && g != nil && g.Value.String() != "" && sameFile(g.Value.String(), o.checkpoint) {
			return &load.FlagError{Flag: name, Value: fmt.Sprintf("%q", g.Value), Allowed: "another file than the checkpoint"}
		}
	}
	return nil
}

// load reads --resume, which goes with no other flag that says what to do.
func (o *soakOptions) load(f *pflag.FlagSet) error {
	var more []string
	f.Visit(func(g *pflag.Flag) {
		if !slices.Contains([]string{"resume", "json", "html"}, g.Name) {
			more = append(more, "--"+g.Name)
		}
	})
	if len(more) > 0 {
		return fmt.Errorf("--resume: the soak goes on as it began; leave out %s", strings.Join(more, ", "))
	}
	var err error
	if o.state, err = soak.Load(o.resume); err != nil {
		return fmt.Errorf("--resume: %w", err)
	}
	if o.state.Left() <= 0 {
		return fmt.Errorf("--resume: %s: that soak of %s is complete", o.resume, o.state.Config.Duration)
	}
	o.Config, o.checkpoint = o.state.Config, o.resume
	if o.tor = choiceOff; o.Tor {
		o.tor = choiceOn
	}
	return nil
}

// defaults fills in what follows from the duration.
func (o *soakOptions) defaults() {
	if o.Life == 0 {
		o.Life = min(max(o.Duration/lifeShare, shortLife), longLife)
	}
	if o.SampleEvery == 0 {
		o.SampleEvery = max(o.Duration/sampleShare, shortSample)
	}
	if o.Rotate == 0 {
		o.Rotate = max(min(o.Duration/rotateShare, longRotate), minRotate)
	}
}

// choose decides whether there is load over Tor.
func (o *soakOptions) choose() error {
	err := error(nil)
	if o.tor != choiceOff {
		err = torlab.Available()
	}
	switch {
	case o.tor == choiceOff:
		o.noTor = "--tor off"
	case err != nil && o.tor == choiceOn:
		return fmt.Errorf("--tor on: %w", err)
	case err != nil:
		o.noTor = err.Error()
	}
	o.Tor = o.noTor == ""
	return nil
}

// soakIsolated is the command, with Tor in a network namespace of its own where that may be made.
func (a *app) soakIsolated(ctx context.Context, o *soakOptions) error {
	if o.Tor {
		code, done, err := torlab.Isolate(ctx, torlab.Command{Args: a.argv[1:], Stdout: a.stdout, Stderr: a.stderr})
		switch {
		case err != nil:
			fmt.Fprintf(a.stderr, "%v: the network is kept to 127.0.0.1 by its configuration only\n", err)
		case done && code == exitOK:
			return nil
		case done:
			return &exitError{code}
		}
	}
	return a.soak(ctx, o)
}
