// Command tunimpair is a network path with faults between two network namespaces, in user space: a TUN device in each, and delay, jitter, a
// rate, loss, reordering, duplicates and corruption between them. It prints "ready", then runs until SIGINT, SIGTERM or, with --with-parent,
// the end of its standard input, and prints its counters as JSON. scripts/netem/netem.sh uses it where the kernel has no tc netem.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/ron-transport/ron-transport/scripts/netem/impair"
)

// Exit statuses.
const (
	exitFailed = 1 // there can be no such path here, or it broke
	exitUsage  = 2 // the command line was refused; nothing was started
)

// options are the flags.
type options struct {
	config     impair.Config
	nsA, nsB   string
	withParent bool
}

// counters are what is printed at the end.
type counters struct {
	AToB impair.Counters `json:"a_to_b"`
	BToA impair.Counters `json:"b_to_a"`
}

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "tunimpair:", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if o.withParent {
		var cancel context.CancelFunc
		ctx, cancel = context.WithCancel(ctx)
		defer cancel()
		go func() { // ends with the process at the latest
			_, _ = io.Copy(io.Discard, stdin)
			cancel()
		}()
	}
	if err := o.serve(ctx, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "tunimpair:", err)
		return exitFailed
	}
	return 0
}

// parse reads the flags. Both directions have the same parameters.
func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{config: impair.Config{AddrA: impair.DefaultA, AddrB: impair.DefaultB}}
	p := &o.config.AToB
	f := flag.NewFlagSet("tunimpair", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.Usage = func() { f.SetOutput(stderr); f.PrintDefaults() }
	share := func(to *float64, name, what string) {
		f.Func(name, "packets that are "+what+", percent of each direction", func(s string) (err error) { *to, err = impair.ParsePercent(s); return err })
	}
	f.StringVar(&o.nsA, "ns-a", "", "network namespace of one end, a path such as /run/netns/NAME or /proc/self/fd/3")
	f.StringVar(&o.nsB, "ns-b", "", "and of the other")
	f.Func("addr-a", "address of one end, such as 198.18.0.1/30", func(s string) (err error) { o.config.AddrA, err = netip.ParsePrefix(s); return err })
	f.Func("addr-b", "and of the other", func(s string) (err error) { o.config.AddrB, err = netip.ParsePrefix(s); return err })
	f.DurationVar(&p.Delay, "delay", 0, "delay of each direction; the round trip is twice that")
	f.DurationVar(&p.Jitter, "jitter", 0, "spread of the delay to both sides")
	f.Func("rate", "rate of each direction, such as 20mbit; 0: no limit", func(s string) (err error) { p.Rate, err = impair.ParseRate(s); return err })
	share(&p.Loss, "loss", "lost")
	share(&p.Reorder, "reorder", "sent without the delay, ahead of others")
	share(&p.Duplicate, "duplicate", "sent twice")
	share(&p.Corrupt, "corrupt", "sent with one bit wrong")
	f.IntVar(&p.QueuePackets, "queue", 0, "packets that may wait for the rate; 0: 1000")
	f.IntVar(&o.config.MTU, "mtu", impair.DefaultMTU, "MTU of the devices, bytes")
	f.Uint64Var(&o.config.Seed, "seed", 1, "of everything that is left to chance")
	f.BoolVar(&o.withParent, "with-parent", false, "end when standard input closes")
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	o.config.BToA = *p
	switch {
	case f.NArg() > 0:
		return nil, fmt.Errorf("no argument is allowed, got %q", f.Args())
	case o.nsA == "" || o.nsB == "":
		return nil, errors.New("--ns-a and --ns-b are needed: paths of network namespaces")
	}
	return o, o.config.Validate()
}

// serve is the path's whole life.
func (o *options) serve(ctx context.Context, stdout, stderr io.Writer) (err error) {
	if err := impair.Available(); err != nil {
		return err
	}
	if err := impair.Dedicate(); err != nil {
		fmt.Fprintln(stderr, "tunimpair: on a busy machine packets will be late, which is counted:", err)
	}
	for _, n := range []struct {
		path string
		to   **impair.Namespace
	}{{o.nsA, &o.config.A}, {o.nsB, &o.config.B}} {
		ns, err := impair.OpenNamespace(n.path)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, ns.Close()) }()
		*n.to = ns
	}
	p, err := impair.Open(o.config)
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "ready")
	for t := time.NewTicker(time.Second); ctx.Err() == nil && p.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-t.C: // a device that someone has removed ends the path
		}
	}
	err = p.Close()
	out := json.NewEncoder(stdout)
	out.SetIndent("", "  ")
	return errors.Join(err, out.Encode(counters{p.Counters(impair.AToB), p.Counters(impair.BToA)}))
}
