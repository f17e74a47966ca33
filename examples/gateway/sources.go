package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
	"github.com/spf13/pflag"
)

// configEnv names the variable for --config.
const configEnv = envPrefix + "CONFIG"

// sources is where values come from. Later ones count more: defaults, the file, variables, flags.
type sources struct {
	file  string   // "": none
	env   []string // as of os.Environ
	flags *pflag.FlagSet
}

// effective is a Config with where each value comes from.
type effective struct {
	*Config
	table  []setting
	origin map[string]string // by key
}

// declare adds a flag for each setting. What they hold is the text that was given; load puts it into a Config.
func declare(f *pflag.FlagSet) {
	for _, s := range settings(defaults()) {
		f.Var(&flagValue{text: s.value.get(), kind: s.value.kind}, s.flag(), s.help)
		if s.value.kind == kindBoolean {
			f.Lookup(s.flag()).NoOptDefVal = "true"
		}
	}
}

// flagValue keeps a flag's text.
type flagValue struct {
	text string
	kind kind
}

func (v *flagValue) String() string     { return v.text }
func (v *flagValue) Type() string       { return v.kind.String() }
func (v *flagValue) Set(s string) error { v.text = s; return nil }

// load makes a Config of all sources and validates it. The error names the setting, its value, where that comes from, and what is
// allowed; all that is wrong is told, not the first alone.
func (src sources) load() (*effective, error) {
	c := defaults()
	e := &effective{Config: c, table: settings(c), origin: map[string]string{}}
	byKey, byEnv := map[string]*setting{}, map[string]*setting{}
	for i := range e.table {
		s := &e.table[i]
		byKey[s.key], byEnv[s.env()] = s, s
		e.origin[s.key] = "default"
	}
	var errs []error
	put := func(s *setting, v, origin string) {
		if err := s.value.set(v); err != nil {
			errs = append(errs, fmt.Errorf("%s = %q (%s): %w", s.key, v, origin, err))
			return
		}
		e.origin[s.key] = origin
	}
	if src.file != "" {
		errs = append(errs, readFile(src.file, byKey, put)...)
	}
	for _, line := range src.env {
		name, v, _ := strings.Cut(line, "=")
		switch s := byEnv[name]; {
		case s != nil:
			put(s, v, "environment "+name)
		case strings.HasPrefix(name, envPrefix) && name != configEnv && !serviceLink(name, v):
			errs = append(errs, fmt.Errorf("%s (environment): there is no such setting; allowed are the names that --help lists", name))
		}
	}
	for i := range e.table {
		s := &e.table[i]
		if f := src.flags.Lookup(s.flag()); f != nil && f.Changed {
			put(s, f.Value.String(), "flag --"+s.flag())
		}
	}
	if len(errs) == 0 {
		errs = append(errs, e.validate())
	}
	return e, errors.Join(errs...)
}

// readFile puts the values of a TOML file.
func readFile(path string, byKey map[string]*setting, put func(s *setting, v, origin string)) []error {
	f, err := os.Open(path)
	if err != nil {
		return []error{fmt.Errorf("--config: %w", err)}
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes, which is what is allowed", path, maxFile)
	}
	if err != nil {
		return []error{fmt.Errorf("--config: %w", err)}
	}
	var tree map[string]any
	if _, err := toml.Decode(string(b), &tree); err != nil {
		return []error{fmt.Errorf("--config: %s: %w", path, err)}
	}
	var errs []error
	flatten("", tree, func(key string, v any) {
		s := byKey[key]
		if s == nil {
			errs = append(errs, fmt.Errorf("%s (file %s): there is no such setting; allowed are those that --print-config prints", key, path))
			return
		}
		word, ok := fromTOML(s.value.kind, v)
		if !ok {
			errs = append(errs, fmt.Errorf("%s = %v (file %s): allowed is a %s, written %s", key, v, path, s.value.kind, s.value.toml()))
			return
		}
		put(s, word, "file "+path)
	})
	return errs
}

// flatten calls each with the leaves of a table, in the order of their keys.
func flatten(prefix string, tree map[string]any, each func(key string, v any)) {
	keys := make([]string, 0, len(tree))
	for k := range tree {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		if sub, ok := tree[k].(map[string]any); ok && prefix == "" {
			flatten(k+".", sub, each)
			continue
		}
		each(prefix+k, tree[k])
	}
}

// fromTOML is a value of the file as a text; false when it has the wrong type.
func fromTOML(k kind, v any) (string, bool) {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10), k == kindInteger
	case bool:
		return strconv.FormatBool(v), k == kindBoolean
	case string:
		return v, k == kindText || k == kindDuration
	case []any:
		var words []string
		for _, w := range v {
			s, ok := fromTOML(kindText, w)
			if _, isInt := w.(int64); isInt {
				s, ok = fromTOML(kindInteger, w)
			}
			if !ok || strings.Contains(s, ",") {
				return "", false
			}
			words = append(words, s)
		}
		return strings.Join(words, ","), k == kindList
	}
	return "", false
}

// toml is the value as it is written in the file.
func (v value) toml() string {
	switch v.kind {
	case kindInteger, kindBoolean:
		return v.get()
	case kindList:
		var words []string
		for _, w := range split(v.get()) {
			words = append(words, quote(w))
		}
		return "[" + strings.Join(words, ", ") + "]"
	}
	return quote(v.get())
}

// quote writes a basic string of TOML.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// print writes the Config as a file that gives the same one again, with where each value comes from.
func (e *effective) print(w io.Writer) error {
	section := ""
	for _, s := range e.table {
		sec, name, _ := strings.Cut(s.key, ".")
		if sec != section {
			if section != "" {
				if _, err := fmt.Fprintln(w); err != nil {
					return err
				}
			}
			if _, err := fmt.Fprintf(w, "[%s]\n", sec); err != nil {
				return err
			}
			section = sec
		}
		if _, err := fmt.Fprintf(w, "%s = %s # %s\n", name, s.value.toml(), printable(e.origin[s.key])); err != nil {
			return err
		}
	}
	return nil
}

// printable keeps an origin, which names a path, within its comment.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
