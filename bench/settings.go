package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/bench/internal/report"
	"github.com/ron-transport/ron-transport/examples/gateway/setting"
)

// errPrinted ends a command that was asked for its settings alone.
var errPrinted = errors.New("the settings were printed")

// settings are what has been said about knobs outside the command line, which counts more. Later sources count more: the file, variables.
type settings struct {
	file  string // --config
	print bool   // --print-config

	given map[string]given // by key; what counts
}

// given is the value of a setting, as on the command line.
type given struct {
	word, origin string
}

// addSettings declares the flags of every command, and has the settings settled before a command begins.
func (a *app) addSettings(root *cobra.Command) {
	f := root.PersistentFlags()
	f.StringVar(&a.settings.file, "config", "", "TOML file of knobs, for the servers and clients of every command; "+setting.ConfigEnv+" names it likewise (see docs/knobs.md)")
	f.BoolVar(&a.settings.print, "print-config", false, "print the knobs in force as a TOML file, with where each comes from, and exit")
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error { return a.settle(cmd) }
}

// settle reads the file and the variables, once, and puts them into the flags of the command, or, when it starts servers and clients of its own,
// into the environment that those inherit. All that is wrong is told before anything starts.
func (a *app) settle(cmd *cobra.Command) error {
	scratch := &app{stdout: io.Discard}
	scratch.root()
	file := a.settings.file
	if !cmd.Flags().Changed("config") {
		file = os.Getenv(setting.ConfigEnv)
	}
	if err := a.settings.read(file, os.Environ(), scratch.commands); err != nil {
		return usage(err)
	}
	i := slices.IndexFunc(a.commands, func(c knobbed) bool { return c.command == cmd.Name() })
	if i >= 0 {
		if err := a.settings.apply(cmd.Flags(), &a.commands[i]); err != nil {
			return usage(err)
		}
		if a.settings.print {
			return a.printKnobs(cmd.Flags(), a.commands[i:i+1])
		}
		return nil // the command validates its flags, these among them
	}
	if err := a.settings.applyAll(a.commands); err != nil {
		return usage(err)
	}
	if a.settings.print {
		return a.printKnobs(nil, a.commands)
	}
	if err := a.checkKnobs(a.commands); err != nil {
		return err
	}
	return a.export()
}

// checkKnobs checks what the knobs of commands have come to.
func (a *app) checkKnobs(commands []knobbed) error {
	for _, c := range commands {
		if err := c.check(); err != nil {
			return usage(a.settings.explain(&c, err))
		}
	}
	return nil
}

// read takes what the file and the variables say. Each value is tried on scratch, the commands of a command line of its own, also where another
// source counts more. The error tells all that is wrong.
func (s *settings) read(file string, env []string, scratch []knobbed) error {
	s.given = make(map[string]given)
	byEnv := map[string]string{}
	kinds := map[string]*pflag.Flag{}
	for _, c := range scratch {
		for key, f := range c.knobs {
			byEnv[setting.Env(key)], kinds[key] = key, f
		}
	}
	var errs []error
	put := func(key, word, origin string) {
		g := given{word, origin}
		if err := try(scratch, key, g); err != nil {
			errs = append(errs, err)
			return
		}
		s.given[key] = g
	}
	if file != "" {
		errs = append(errs, setting.ReadFile(file, func(key string, v any) {
			f := kinds[key]
			if f == nil {
				errs = append(errs, fmt.Errorf("%s (file %s): there is no such setting; allowed are those that --print-config prints", key, file))
				return
			}
			k := kindOfFlag(f)
			word, ok := k.Word(v)
			if !ok {
				errs = append(errs, fmt.Errorf("%s = %v (file %s): allowed is a %s, written %s", key, v, file, k, k.Literal(wordOf(f))))
				return
			}
			put(key, word, "file "+file)
		}))
	}
	for _, line := range env {
		name, v, _ := strings.Cut(line, "=")
		if key, ok := byEnv[name]; ok {
			put(key, v, "environment "+name)
		} else if strings.HasPrefix(name, setting.Prefix) && name != setting.ConfigEnv {
			errs = append(errs, fmt.Errorf("%s = %q (environment): there is no such setting; allowed are %sSECTION_NAME of what --print-config prints", name, v, setting.Prefix))
		}
	}
	return errors.Join(errs...)
}

// try puts a value into each command that has it.
func try(commands []knobbed, key string, g given) error {
	for _, c := range commands {
		if f := c.knobs[key]; f != nil {
			if err := put(f, key, g); err != nil {
				return err
			}
		}
	}
	return nil
}

// put puts a value into a flag. On the command line spellings are allowed that the gateway does not have, such as 0x10 and T; here they are not.
func put(f *pflag.Flag, key string, g given) error {
	refuse := func(allowed string) error {
		return fmt.Errorf("%s = %q (%s): allowed is %s", key, g.word, g.origin, allowed)
	}
	switch kindOfFlag(f) {
	case setting.List:
		if err := f.Value.(pflag.SliceValue).Replace(setting.Split(g.word)); err != nil {
			return refuse("a list: " + f.Usage)
		}
		return nil
	case setting.Integer:
		if _, err := strconv.Atoi(g.word); err != nil {
			return refuse("a whole number")
		}
	case setting.Boolean:
		if g.word != "true" && g.word != "false" {
			return refuse("true, false")
		}
	case setting.Duration:
		if err := f.Value.Set(g.word); err != nil {
			return refuse("a duration such as 500ms, 30s, 24h")
		}
	}
	if strings.ContainsRune(g.word, 0) {
		return refuse("a text without a zero byte")
	}
	return f.Value.Set(g.word)
}

// apply puts what is given into the flags of one command, but for those of its command line.
func (s *settings) apply(flags *pflag.FlagSet, c *knobbed) error {
	for key, g := range s.given {
		f := c.knobs[key]
		if f == nil || f.Changed { // it is another command's, or has no say
			delete(s.given, key)
			continue
		}
		if err := put(f, key, g); err != nil {
			return err
		}
		f.Changed = true // given, as a report says it
	}
	return nil
}

// applyAll puts what is given into the flags of all commands, but for what does not count for servers and clients that are started by others.
func (s *settings) applyAll(commands []knobbed) error {
	for key, g := range s.given {
		if byHand(key) {
			delete(s.given, key)
			continue
		}
		if err := try(commands, key, g); err != nil {
			return err
		}
	}
	return nil
}

// export has the processes that this one starts inherit what is given as variables, and no file: each of them reads what was read here. It
// undoes that when the command has ended.
func (a *app) export() error {
	for _, line := range os.Environ() {
		name, old, _ := strings.Cut(line, "=")
		if strings.HasPrefix(name, setting.Prefix) {
			a.atEnd(func() { _ = os.Setenv(name, old) })
			if err := os.Unsetenv(name); err != nil {
				return err
			}
		}
	}
	for key, g := range a.settings.given {
		name := setting.Env(key)
		a.atEnd(func() { _ = os.Unsetenv(name) })
		if err := os.Setenv(name, g.word); err != nil {
			return err
		}
	}
	return nil
}

// atEnd has f called when the command has ended, before what was to be called earlier.
func (a *app) atEnd(f func()) { a.ends = append([]func(){f}, a.ends...) }

// explain says of the flags in a refusal which of them have their values from elsewhere.
func (s *settings) explain(c *knobbed, err error) error {
	for _, key := range keysOf([]knobbed{*c}) {
		g, ok := s.given[key]
		if ok && strings.Contains(err.Error(), "--"+c.knobs[key].Name+":") {
			err = fmt.Errorf("%w; --%s is %s = %q (%s)", err, c.knobs[key].Name, key, g.word, g.origin)
		}
	}
	return err
}

// explainRefusal is explain of the command that has ended.
func (a *app) explainRefusal(name string, err error) error {
	for _, c := range a.commands {
		if c.command == name {
			return a.settings.explain(&c, err)
		}
	}
	return err
}

// defaultsOnly refuses settings where both sides of a comparison must have their own defaults.
func (s *settings) defaultsOnly(command string) error {
	var errs []error
	for key, g := range s.given {
		errs = append(errs, fmt.Errorf("%s = %q (%s): %s measures builds, each with the defaults that it has; allowed is no setting", key, g.word, g.origin, command))
	}
	return usage(errors.Join(errs...))
}

// told are the settings as a report has them.
func (s *settings) told() []report.Setting {
	var out []report.Setting
	for key, g := range s.given {
		out = append(out, report.Setting{Key: key, Value: g.word, From: g.origin})
	}
	slices.SortFunc(out, func(x, y report.Setting) int { return strings.Compare(x.Key, y.Key) })
	return out
}

// printKnobs ends a command after it has written the knobs of commands as a file that gives them again: the error is errPrinted, or
// what is wrong with them. Of several commands that have a knob the first one's default is told.
func (a *app) printKnobs(flags *pflag.FlagSet, commands []knobbed) error {
	var b strings.Builder
	section := ""
	for _, key := range keysOf(commands) {
		i := slices.IndexFunc(commands, func(c knobbed) bool { return c.knobs[key] != nil })
		f := commands[i].knobs[key]
		origin := "default"
		if g, ok := a.settings.given[key]; ok {
			origin = g.origin
		} else if flags != nil && f.Changed {
			origin = "flag --" + f.Name
		}
		if s := setting.Section(key); s != section {
			if section != "" {
				b.WriteByte('\n')
			}
			b.WriteString(s)
			section = s
		}
		b.WriteString(setting.Line(key, kindOfFlag(f), wordOf(f), origin))
	}
	if _, err := io.WriteString(a.stdout, b.String()); err != nil {
		return err
	}
	if err := a.checkKnobs(commands); err != nil { // they are printed all the same: it helps to find out what is wrong
		return err
	}
	return errPrinted
}

// wordOf is a flag's value as a variable has it.
func wordOf(f *pflag.Flag) string {
	if s, ok := f.Value.(pflag.SliceValue); ok {
		return strings.Join(s.GetSlice(), ",")
	}
	return f.Value.String()
}
