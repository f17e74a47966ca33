package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/ron-transport/ron-transport/examples/gateway/setting"
)

// sources is where values come from. Later ones count more: defaults, the file, variables, flags.
type sources struct {
	file  string   // "": none
	env   []string // as of os.Environ
	flags *pflag.FlagSet
}

// effective is a Config with where each value comes from.
type effective struct {
	*Config
	table  []option
	origin map[string]string // by key
}

// declare adds a flag for each setting. What they hold is the text that was given; load puts it into a Config.
func declare(f *pflag.FlagSet) {
	for _, s := range settings(defaults()) {
		f.Var(&flagValue{text: s.value.get(), kind: s.value.kind}, s.flag(), s.help)
		if s.value.kind == setting.Boolean {
			f.Lookup(s.flag()).NoOptDefVal = "true"
		}
	}
}

// flagValue keeps a flag's text.
type flagValue struct {
	text string
	kind setting.Kind
}

func (v *flagValue) String() string     { return v.text }
func (v *flagValue) Type() string       { return v.kind.String() }
func (v *flagValue) Set(s string) error { v.text = s; return nil }

// load makes a Config of all sources and validates it. The error names the setting, its value, where that comes from, and what is
// allowed; all that is wrong is told, not the first alone.
func (src sources) load() (*effective, error) {
	c := defaults()
	e := &effective{Config: c, table: settings(c), origin: map[string]string{}}
	byKey, byEnv := map[string]*option{}, map[string]*option{}
	for i := range e.table {
		s := &e.table[i]
		byKey[s.key], byEnv[s.env()] = s, s
		e.origin[s.key] = "default"
	}
	var errs []error
	put := func(s *option, v, origin string) {
		if err := s.value.set(v); err != nil {
			errs = append(errs, fmt.Errorf("%s = %q (%s): %w", s.key, v, origin, err))
			return
		}
		e.origin[s.key] = origin
	}
	if src.file != "" {
		errs = append(errs, readFile(src.file, byKey, put)...) // nil ones do not count
	}
	for _, line := range src.env {
		name, v, _ := strings.Cut(line, "=")
		switch s := byEnv[name]; {
		case s != nil:
			put(s, v, "environment "+name)
		case strings.HasPrefix(name, setting.Prefix) && name != setting.ConfigEnv && !serviceLink(name, v):
			errs = append(errs, fmt.Errorf("%s (environment): there is no such setting; allowed are the names that --help lists", name))
		}
	}
	for i := range e.table {
		s := &e.table[i]
		if f := src.flags.Lookup(s.flag()); f != nil && f.Changed {
			put(s, f.Value.String(), "flag --"+s.flag())
		}
	}
	if errors.Join(errs...) == nil {
		errs = append(errs, e.validate())
	}
	return e, errors.Join(errs...)
}

// readFile puts the values of a TOML file.
func readFile(path string, byKey map[string]*option, put func(s *option, v, origin string)) []error {
	var errs []error
	err := setting.ReadFile(path, func(key string, v any) {
		s := byKey[key]
		if s == nil {
			errs = append(errs, fmt.Errorf("%s (file %s): there is no such setting; allowed are those that --print-config prints", key, path))
			return
		}
		word, ok := s.value.kind.Word(v)
		if !ok {
			errs = append(errs, fmt.Errorf("%s = %v (file %s): allowed is a %s, written %s", key, v, path, s.value.kind, s.value.toml()))
			return
		}
		put(s, word, "file "+path)
	})
	return append(errs, err)
}

// toml is the value as it is written in the file.
func (v value) toml() string { return v.kind.Literal(v.get()) }

// print writes the Config as a file that gives the same one again, with where each value comes from.
func (e *effective) print(w io.Writer) error {
	section := ""
	for _, s := range e.table {
		lines := setting.Line(s.key, s.value.kind, s.value.get(), e.origin[s.key])
		if sec := setting.Section(s.key); sec != section {
			if section != "" {
				sec = "\n" + sec
			}
			lines, section = sec+lines, setting.Section(s.key)
		}
		if _, err := io.WriteString(w, lines); err != nil {
			return err
		}
	}
	return nil
}
