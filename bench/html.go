package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/html"
	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// reportFlags are the flags with the file of a report: a command that has one writes a report.
var reportFlags = []string{"json", "report"}

// addHTML gives --html to every command that writes a report, in one place, so that no command is without.
func (a *app) addHTML(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		a.addHTML(sub)
	}
	f := cmd.Flags()
	for _, name := range reportFlags {
		if f.Lookup(name) != nil {
			f.StringVar(&a.html, "html", "", "write the report as one page of HTML with charts to this file")
			cmd.PreRunE = func(cmd *cobra.Command, _ []string) error { return usage(a.validateHTML(cmd.Flags())) }
			return
		}
	}
}

// validateHTML refuses a file that could not be written, before minutes of measuring.
func (a *app) validateHTML(f *pflag.FlagSet) error {
	if !f.Changed("html") {
		return nil
	}
	refuse := func(allowed string) error {
		return &load.FlagError{Flag: "html", Value: fmt.Sprintf("%q", a.html), Allowed: allowed}
	}
	if a.html == "" {
		return refuse("the name of a file")
	}
	for _, name := range reportFlags {
		if other := f.Lookup(name); other != nil && other.Value.String() != "" && filepath.Clean(other.Value.String()) == filepath.Clean(a.html) {
			return refuse("another file than that of --" + name)
		}
	}
	if st, err := os.Stat(a.html); err == nil && !st.Mode().IsRegular() {
		return refuse("the name of a file, not of a directory or device")
	}
	if st, err := os.Stat(filepath.Dir(a.html)); err != nil || !st.IsDir() {
		return refuse("a file in a directory that is there")
	}
	return nil
}

// writeHTML writes the page when asked to.
func (a *app) writeHTML(r *report.Report) error {
	if a.html == "" {
		return nil
	}
	if err := html.WriteFile(a.html, r); err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	return nil
}

func (a *app) reportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "report FILE.json",
		Short: "show a report that --json wrote, as text and as HTML",
		Long: "Print a report that an earlier command wrote with --json, and with --html write it as one page of HTML that needs no\n" +
			"network and no other file. Nothing is measured or judged anew. Exit status 0 also for a report whose targets were missed;\n" +
			"1: the file cannot be read, or is no report; 2: the command line was refused.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 || args[0] == "" {
				return usage(fmt.Errorf("%s takes one argument, the file of a report, got %q", cmd.CommandPath(), args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := usage(a.validateHTML(cmd.Flags())); err != nil {
				return err
			}
			return a.showReport(args[0])
		},
	}
	cmd.Flags().StringVar(&a.html, "html", "", "write the report as one page of HTML with charts to this file")
	return cmd
}

// showReport is the command report.
func (a *app) showReport(path string) error {
	if a.html != "" && filepath.Clean(a.html) == filepath.Clean(path) {
		return usage(&load.FlagError{Flag: "html", Value: fmt.Sprintf("%q", a.html), Allowed: "another file than the report that is read"})
	}
	r, err := report.Read(path)
	if err == nil {
		err = r.Validate()
	}
	if _, ok := errors.AsType[*os.PathError](err); ok {
		return err // it names the file
	}
	if err != nil {
		return fmt.Errorf("report %s: %w", path, err)
	}
	r.Text(a.stdout)
	return a.writeHTML(r)
}
