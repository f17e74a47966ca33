package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// Choices of --tor and --wan.
const (
	choiceAuto = "auto" // if it is possible here
	choiceOn   = "on"   // it must be
	choiceOff  = "off"
)

// sloOptions are the flags of ronbench slo.
type sloOptions struct {
	rows             []string
	duration, warmup time.Duration
	tor, wan         string
	hellos           int
	json             string

	chosen []sloRow
}

func (a *app) sloCommand() *cobra.Command {
	o := &sloOptions{}
	cmd := &cobra.Command{
		Use:   "slo",
		Short: "measure every service level of the seed, and its reference workloads, on this machine",
		Long: "Measure every row of the seed's tables and its reference workloads, one after the other, each with a server and a client\n" +
			"process of its own, and end with one table: per node and per core, pass or FAIL, or left out and why.\n\n" + sloHelp() +
			"\nLatency counts from the time a request was due. A rate says whether the server was what limited it, or whether it is a lower\n" +
			"bound because the client or the machine was. A row that is possible here and could not be measured has failed. Exit status 1: a\n" +
			"target was missed, or a row failed; 2: the command line was refused.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := usage(o.validate(a, cmd.Flags().Changed("rows"))); err != nil {
				return err
			}
			return a.slo(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&o.rows, "rows", nil, "only these; default: all")
	f.DurationVar(&o.duration, "duration", 5*time.Second, "measuring window of each load")
	f.DurationVar(&o.warmup, "warmup", defaultWarmup, "load before each window, not measured")
	f.StringVar(&o.tor, "tor", choiceAuto, "the rows over Tor, on a private network of its own: auto (if it can be made), on (it must be), off")
	f.StringVar(&o.wan, "wan", choiceAuto, "the inter-region row, on an emulated path: auto, on, off")
	f.IntVar(&o.hellos, "hellos", 100, "fresh connections over Tor, twice")
	f.StringVar(&o.json, "json", "", "write the report to this file")
	return cmd
}

// sloHelp lists the rows.
func sloHelp() string {
	var b strings.Builder
	for _, r := range sloRows() {
		fmt.Fprintf(&b, "  %-13s %s\n", r.name, r.what)
	}
	return b.String()
}

func sloNames() []string {
	var out []string
	for _, r := range sloRows() {
		out = append(out, r.name)
	}
	return out
}

// validate checks the flags; with given, --rows says which rows are measured.
func (o *sloOptions) validate(a *app, given bool) error {
	errs := []error{load.CheckRange("hellos", o.hellos, 1, load.MaxHellos)}
	names := sloNames()
	if !given {
		o.rows = names
	}
	for _, n := range o.rows {
		if !slices.Contains(names, n) {
			errs = append(errs, &load.FlagError{Flag: "rows", Value: n, Allowed: strings.Join(names, ", ")})
		}
	}
	if len(o.rows) == 0 {
		errs = append(errs, &load.FlagError{Flag: "rows", Value: "none", Allowed: strings.Join(names, ", ")})
	}
	for _, c := range []struct{ flag, value string }{{"tor", o.tor}, {"wan", o.wan}} {
		if !slices.Contains([]string{choiceAuto, choiceOn, choiceOff}, c.value) {
			errs = append(errs, &load.FlagError{Flag: c.flag, Value: fmt.Sprintf("%q", c.value), Allowed: "auto, on, off"})
		}
	}
	o.chosen = nil
	for _, r := range sloRows() {
		if !slices.Contains(o.rows, r.name) {
			continue
		}
		o.chosen = append(o.chosen, r)
		if r.command == nil {
			c := o.loadOf(r)
			if err := c.Validate(); err != nil {
				return errors.Join(append(errs, err)...) // the same for all: they have the durations in common
			}
			continue
		}
		if why := r.leftOut(a, o); why != nil && r.choice(o) == choiceOn {
			errs = append(errs, fmt.Errorf("--%s on: %w", r.flag, why))
		}
	}
	return errors.Join(errs...)
}

// loadOf is the load of a row, with its durations.
func (o *sloOptions) loadOf(r sloRow) load.Config {
	c := r.load
	c.Warmup, c.Window = o.warmup, o.duration
	return c
}

// slo is the command.
func (a *app) slo(ctx context.Context, o *sloOptions) (err error) {
	files, err := cert.Make()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, files.Remove()) }()
	r, err := report.New(report.KindSLO, a.argv)
	if err != nil {
		return err
	}
	var out []report.SLORow
	for i, row := range o.chosen {
		if ctx.Err() != nil {
			r.Interrupted = true
			out = append(out, row.without(errors.New("interrupted before")))
			continue
		}
		if why := row.leftOut(a, o); why != nil {
			out = append(out, row.without(why))
			continue
		}
		fmt.Fprintf(a.stderr, "%d of %d: %s\n", i+1, len(o.chosen), row.what)
		switch err := a.sloRow(ctx, o, row, files, r); {
		case err != nil && ctx.Err() != nil:
			out = append(out, row.without(errors.New("interrupted")))
		case err != nil: // the others are measured all the same
			fmt.Fprintf(a.stderr, "ronbench: %s: %v\n", row.name, err)
			out = append(out, row.failed(err))
		}
	}
	r.Interrupted = r.Interrupted || ctx.Err() != nil
	a.judgeLoads(r)
	r.SLO = append(r.SLO, out...)
	return a.finish(r, o.json)
}

// sloRow measures one row into r.
func (a *app) sloRow(ctx context.Context, o *sloOptions, row sloRow, files *cert.Files, r *report.Report) (err error) {
	one := &report.Report{Server: new(report.Server)}
	if row.command == nil {
		err = a.runOn(ctx, row.server, files, []load.Config{o.loadOf(row)}, one, one.Server)
	} else {
		one, err = a.sloChild(ctx, o, row, filepath.Join(files.Dir, row.name+".json"))
	}
	if err != nil {
		return err
	}
	r.AddServerKnobs(one.Server)
	r.AddServerKnobs(one.QUICServer)
	if one.WAN != nil {
		r.WAN = one.WAN
	}
	for _, p := range one.Phases {
		if row.command == nil {
			p.Name = row.name
		} else {
			p.Name = row.name + ", " + p.Name
		}
		r.Phases = append(r.Phases, p)
	}
	return nil
}
