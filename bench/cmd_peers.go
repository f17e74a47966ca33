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

// peersOptions are the flags of ronbench peers.
type peersOptions struct {
	comparisonOptions
	peers []string

	matches []match
}

func (a *app) peersCommand() *cobra.Command {
	o := &peersOptions{}
	cmd := &cobra.Command{
		Use:   "peers",
		Short: "compare our servers with all peers, side by side in one run",
		Long: "Compare our echo servers with every peer in one run: on TLS with net and crypto/tls, nbio, tokio-rustls and our own server\n" +
			"without TLS, on plain TCP with gnet, on QUIC, where both ends are compared, with quic-go. In each round of a workload ours\n" +
			"and all peers of its transport are measured one after the other, each with fresh processes; the order changes every round.\n" +
			"Judged is what compare judges, and what TLS costs; nbio and tokio-rustls are shown. tokio-rustls is built with cargo from\n" +
			"Debian's librust packages, once; where they are missing it is left out, and the report says so.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(o.validate(cmd.Flags().Changed("workloads"))); err != nil {
				return err
			}
			return a.peers(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.peers, "peers", peerFlags(), "which peers")
	o.register(f, 2*time.Second, "which of "+strings.Join(peersWorkloadNames(), ", ")+" (payload, connections x in flight; on QUIC "+
		"connections x streams); default: all that the peers' transports have", "rounds per workload", "exit with status 1 when a target is missed")
	return cmd
}

func peerFlags() []string {
	var out []string
	for _, p := range peerKinds() {
		out = append(out, p.flag)
	}
	return out
}

// peersWorkloads are those of a transport that the one run has: all of TCP and TLS, on QUIC the three that differ most.
func peersWorkloads(transport string) []workload {
	ws := workloads(transport)
	if transport == load.QUIC {
		ws = slices.DeleteFunc(ws, func(w workload) bool { return !slices.Contains([]string{"64k-8x16", "4k-50x4", "64k-one-way"}, w.name) })
	}
	return ws
}

// peersWorkloadNames has each name once: those of TCP and TLS are the same.
func peersWorkloadNames() []string {
	var out []string
	for _, p := range peerKinds() {
		for _, w := range peersWorkloads(p.transport) {
			if !slices.Contains(out, w.name) {
				out = append(out, w.name)
			}
		}
	}
	return out
}

// validate also makes the matches.
func (o *peersOptions) validate(chosen bool) error {
	errs := []error{o.comparisonOptions.validate()}
	refuse := func(flag, value string, allowed []string) {
		errs = append(errs, &load.FlagError{Flag: flag, Value: value, Allowed: strings.Join(allowed, ", ")})
	}
	for _, p := range o.peers {
		if !slices.Contains(peerFlags(), p) {
			refuse("peers", p, peerFlags())
		}
	}
	if len(o.peers) == 0 {
		refuse("peers", "none", peerFlags())
	}
	if !chosen {
		o.names = peersWorkloadNames()
	}
	var offered []string
	o.matches, offered = o.match()
	for _, n := range o.names {
		if chosen && !slices.Contains(offered, n) {
			refuse("workloads", n, offered)
		}
	}
	if len(o.names) == 0 {
		refuse("workloads", "none", offered)
	}
	if o.gate && errors.Join(errs...) == nil && !o.judges() {
		refuse("gate", "true", []string{"with a peer and a workload that have a target: nettls, plain, gnet or quic-go"})
	}
	return errors.Join(errs...)
}

// judges says whether anything that is to be measured has a target.
func (o *peersOptions) judges() bool {
	return slices.ContainsFunc(o.matches, func(m match) bool {
		return slices.ContainsFunc(m.peers, func(p peerKind) bool {
			return slices.ContainsFunc(m.workloads, func(w workload) bool { return p.targets(&w) })
		})
	})
}

// match puts the chosen peers and workloads together, by transport, and says which workloads the peers' transports have.
func (o *peersOptions) match() (ms []match, offered []string) {
	for _, p := range peerKinds() {
		if !slices.Contains(o.peers, p.flag) {
			continue
		}
		i := slices.IndexFunc(ms, func(m match) bool { return m.transport == p.transport })
		if i >= 0 {
			ms[i].peers = append(ms[i].peers, p)
			continue
		}
		m := match{transport: p.transport, peers: []peerKind{p}}
		for _, w := range peersWorkloads(p.transport) {
			if !slices.Contains(offered, w.name) {
				offered = append(offered, w.name)
			}
			if slices.Contains(o.names, w.name) {
				m.workloads = append(m.workloads, w)
			}
		}
		ms = append(ms, m)
	}
	return slices.DeleteFunc(ms, func(m match) bool { return len(m.workloads) == 0 }), offered
}

// peers runs the comparison with all of them.
func (a *app) peers(ctx context.Context, o *peersOptions) error {
	c := &comparison{comparisonOptions: o.comparisonOptions, a: a, kind: report.KindPeers, matches: o.matches, skips: true}
	return c.run(ctx)
}
