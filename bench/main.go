// Command ronbench measures ron-transport: echo servers, load clients, peers to compare with, and runs that start
// everything themselves. Run it as "go run ./bench"; --help lists the commands.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/ron-transport/ron-transport/bench/internal/load"
	"github.com/ron-transport/ron-transport/bench/internal/report"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1 // a target was missed, a request got no right echo, or something broke
	exitUsage  = 2 // the command line was refused; nothing was started
)

// errMissed ends a command whose report has a failed row. The report has said which.
var errMissed = errors.New("a target was missed")

// exitError ends a command as another process has ended that did its work, and has said why.
type exitError struct{ code int }

func (e *exitError) Error() string { return fmt.Sprintf("exit status %d", e.code) }

// usageError is a refused command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err}
}

// app is what a command runs with.
type app struct {
	stdout   io.Writer
	stderr   *os.File
	argv     []string // the whole command line
	html     string   // --html, of every command that writes a report
	settings settings
	commands []knobbed      // those that have knobs
	ends     []func()       // called when the command has ended
	probeWAN func() error   // says why there can be no emulated path here; nil: impair.Available; tests set it
	judge    report.Targets // overrides the seed's targets when its Ref is set; tests do that, no flag does
}

// targets are the figures a run is held to.
func (a *app) targets(r *report.Report) report.Targets {
	if a.judge.Ref != "" {
		return a.judge
	}
	return report.TargetsFor(r.MeasuredOn)
}

// judgeLoads holds what a run's loads and servers have measured against the targets.
func (a *app) judgeLoads(r *report.Report) {
	t := a.targets(r)
	r.SLOTargets, r.SLO = t.Ref, append(report.Judge(r.Phases, t), report.JudgeServers(t, r.Server, r.QUICServer)...)
}

func main() {
	a := &app{stdout: os.Stdout, stderr: os.Stderr, argv: os.Args}
	os.Exit(a.main(os.Args[1:]))
}

// main runs the command line and returns the exit status. The first SIGINT or SIGTERM ends the command with the results so
// far, a second one at once.
func (a *app) main(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	root := a.root()
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	defer func() {
		for _, f := range a.ends {
			f()
		}
	}()
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil || errors.Is(err, errPrinted) {
		return exitOK
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errors.New("interrupted before there were results")
	}
	err = a.explainRefusal(cmd.Name(), err)
	fmt.Fprintf(a.stderr, "ronbench: %v\n", err)
	var u *usageError
	var f *load.FlagError
	if errors.As(err, &u) || errors.As(err, &f) {
		return exitUsage
	}
	return exitFailed
}

// root is the command tree.
func (a *app) root() *cobra.Command {
	root := a.runCommand()
	root.SilenceUsage, root.SilenceErrors = true, true
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	for _, kind := range serverKinds() {
		root.AddCommand(a.serverCommand(kind))
	}
	for _, kind := range clientKinds() {
		root.AddCommand(a.clientCommand(kind))
	}
	root.AddCommand(a.compareCommand(), a.peersCommand(), a.idleCommand(), a.stormCommand(), a.lorisCommand(), a.restartCommand())
	root.AddCommand(a.torCommand(), a.checkCommand(), a.powerCommand(), a.sweepCommand(), a.sloCommand(), a.wanCommand(), a.wanPathCommand(), a.soakCommand(), a.nodesCommand())
	root.AddCommand(a.chaosCommand(), a.chaosClientCommand())
	root.AddCommand(a.hostileCommands()...)
	a.addHTML(root)
	a.addSettings(root)
	root.AddCommand(a.reportCommand())
	return root
}

// noArgs refuses positional arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usage(fmt.Errorf("%s takes no argument, got %q (flags begin with --; see --help)", cmd.CommandPath(), args[0]))
	}
	return nil
}

// finish writes the JSON report and the page when asked to, and prints the table.
func (a *app) finish(r *report.Report, jsonPath string) error {
	r.Pass, r.Settings = r.Passed(), a.settings.told()
	r.Text(a.stdout)
	if jsonPath != "" {
		if err := r.WriteFile(jsonPath); err != nil {
			return fmt.Errorf("--json: %w", err)
		}
	}
	if err := a.writeHTML(r); err != nil {
		return err
	}
	if !r.Pass {
		return errMissed
	}
	return nil
}
