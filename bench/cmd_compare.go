package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// workload is one of the fixed loads of a comparison.
type workload struct {
	name     string
	load     load.Config  // without its durations
	cpuLimit float64      // ratio of server CPU per frame that ours may have; 0: not judged
	rate     *report.Rate // where both ends are compared; its targets
}

// workloads are those of a transport: payload, connections x requests in flight, on QUIC connections x streams.
func workloads(transport string) []workload {
	if transport == load.QUIC {
		return quicWorkloads()
	}
	out := []workload{
		{name: "4k-50x1", load: load.Config{Payload: 4 << 10, Conns: 50, Depth: 1}, cpuLimit: 1.00},
		{name: "4k-50x16", load: load.Config{Payload: 4 << 10, Conns: 50, Depth: 16}, cpuLimit: 0.70},
		{name: "1k-200x4", load: load.Config{Payload: 1 << 10, Conns: 200, Depth: 4}, cpuLimit: 0.80},
		{name: "64k-8x4", load: load.Config{Payload: 64 << 10, Conns: 8, Depth: 4}, cpuLimit: 0.75},
	}
	if transport == load.TCP { // against gnet parity is enough
		for i := range out {
			out[i].cpuLimit = 1.05
		}
	}
	return out
}

// quicCPULimit is the server CPU per frame that ours may have on QUIC, as a ratio.
const quicCPULimit = 0.65

// quicOpenRPS is a rate that both sides hold on two cores with room, so that the latency is the transport's and no queue's.
const quicOpenRPS = 1500

// quicWorkloads compare both ends at once: our server and client with stock ones.
func quicWorkloads() []workload {
	return []workload{
		{name: "64k-8x16", load: load.Config{Payload: 64 << 10, Conns: 8, Streams: 16, Depth: 1}, cpuLimit: quicCPULimit, rate: &report.Rate{RatioTarget: 2.0}},
		{name: "64k-1x32", load: load.Config{Payload: 64 << 10, Conns: 1, Streams: 32, Depth: 1}, cpuLimit: quicCPULimit, rate: &report.Rate{RatioTarget: 1.3}},
		{name: "4k-50x4", load: load.Config{Payload: 4 << 10, Conns: 50, Streams: 4, Depth: 1}, cpuLimit: quicCPULimit, rate: &report.Rate{RatioTarget: 2.0}},
		{name: "16k-open", load: load.Config{Payload: 16 << 10, Conns: 50, Streams: 4, RPS: quicOpenRPS},
			rate: &report.Rate{P95Target: report.QUICP95MS, P99Target: report.QUICP99MS}},
		{name: "64k-one-way", load: load.Config{Payload: 64 << 10, Conns: 8, Streams: 1, OneWay: true}, rate: &report.Rate{GbpsTarget: report.QUICGbps}},
	}
}

func workloadNames(transport string) []string {
	var out []string
	for _, w := range workloads(transport) {
		out = append(out, w.name)
	}
	return out
}

// compareOptions are the flags of ronbench compare.
type compareOptions struct {
	comparisonOptions
	transport string

	chosen []workload
}

func (a *app) compareCommand() *cobra.Command {
	o := &compareOptions{}
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "compare our server with a peer: server CPU per frame, rates, latencies",
		Long: "Compare our echo server with a peer (tls: net and crypto/tls; tcp: gnet), alternately, with fresh processes each time and\n" +
			"the order swapped every round. Judged is the ratio of the medians of the server's CPU time per frame. On tls and tcp\n" +
			"the client is the same for both. On quic both ends are compared, our server and client with stock quic-go's, and the\n" +
			"rates are judged as well; two workloads are about latency at a fixed rate and about events without replies.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(o.validate(cmd.Flags().Changed("workloads"))); err != nil {
				return err
			}
			return a.compare(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.transport, "transport", load.TLS, "tls, tcp or quic")
	o.register(f, 5*time.Second, "which of "+strings.Join(workloadNames(load.TLS), ", ")+" (payload, connections x in flight); quic: "+
		strings.Join(workloadNames(load.QUIC), ", ")+" (connections x streams); default: all of the transport",
		"pairs of measurements per workload", "exit with status 1 when a ratio is above its limit")
	return cmd
}

func (o *compareOptions) validate(chosen bool) error {
	var errs []error
	if !slices.Contains([]string{load.TLS, load.TCP, load.QUIC}, o.transport) {
		errs = append(errs, &load.FlagError{Flag: "transport", Value: o.transport, Allowed: "tls, tcp, quic"})
	}
	names := workloadNames(o.transport)
	if !chosen {
		o.names = names
	}
	errs = append(errs, o.comparisonOptions.validate())
	o.chosen = nil
	for _, w := range workloads(o.transport) {
		if slices.Contains(o.names, w.name) {
			o.chosen = append(o.chosen, w)
		}
	}
	for _, n := range o.names {
		if !slices.Contains(names, n) {
			errs = append(errs, &load.FlagError{Flag: "workloads", Value: n, Allowed: strings.Join(names, ", ")})
		}
	}
	if len(o.names) == 0 {
		errs = append(errs, &load.FlagError{Flag: "workloads", Value: "none", Allowed: strings.Join(names, ", ")})
	}
	return errors.Join(errs...)
}

// compare runs the comparison. An interrupt ends it with the rounds that are complete.
func (a *app) compare(ctx context.Context, o *compareOptions) error {
	i := slices.IndexFunc(peerKinds(), func(p peerKind) bool { return p.judged && p.transport == o.transport })
	c := &comparison{
		comparisonOptions: o.comparisonOptions, a: a, kind: report.KindCompare,
		matches: []match{{o.transport, o.chosen, peerKinds()[i : i+1]}},
	}
	return c.run(ctx)
}
