// Package setting has what programs around the library share of their settings: how a setting is spelled as a variable, in a TOML file and
// on the command line, and how a file is read. The gateway and ronbench use it, so that a name means the same to both. All functions may be
// called by any goroutine.
package setting

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

const (
	// Prefix begins the name of every variable that is looked at.
	Prefix = "RON_TRANSPORT_"
	// ConfigEnv is the variable that names the file.
	ConfigEnv = Prefix + "CONFIG"
	// maxFile bounds the file, in bytes: every setting with a comment takes 20 KiB.
	maxFile = 1 << 20
)

// Env is the variable of the setting with that key, "section.name".
func Env(key string) string { return Prefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_")) }

// Kind is a value's type in the file.
type Kind uint8

const (
	Text     Kind = iota // "…"
	Duration             // "1m30s"
	Integer              // 42
	Boolean              // true
	List                 // ["a", "b"]; on the command line and in variables a,b
)

// String is the kind's name, as messages have it.
func (k Kind) String() string {
	return [...]string{"text", "duration", "integer", "boolean", "list"}[k]
}

// Literal writes a value, given as on the command line, as it stands in the file.
func (k Kind) Literal(word string) string {
	switch k {
	case Integer, Boolean:
		return word
	case List:
		var words []string
		for _, w := range Split(word) {
			words = append(words, quote(w))
		}
		return "[" + strings.Join(words, ", ") + "]"
	}
	return quote(word)
}

// Word is a value of the file as on the command line; false when it is of another kind.
func (k Kind) Word(v any) (word string, ok bool) {
	switch v := v.(type) {
	case int64:
		return strconv.FormatInt(v, 10), k == Integer
	case bool:
		return strconv.FormatBool(v), k == Boolean
	case string:
		return v, k == Text || k == Duration
	case []any:
		var words []string
		for _, w := range v {
			s, ok := Text.Word(w)
			if _, isInt := w.(int64); isInt {
				s, ok = Integer.Word(w)
			}
			if !ok || strings.Contains(s, ",") {
				return "", false
			}
			words = append(words, s)
		}
		return strings.Join(words, ","), k == List
	}
	return "", false
}

// Split takes a list apart; nil for none.
func Split(s string) []string {
	var all []string
	for w := range strings.SplitSeq(s, ",") {
		if w = strings.TrimSpace(w); w != "" {
			all = append(all, w)
		}
	}
	return all
}

// ReadFile reads the TOML file that --config names, 1 MiB at most, and calls each with every value in it, as the TOML package decodes it,
// in the order of the keys. An error names --config, the file, and what is wrong with it; each has then not been called.
func ReadFile(path string, each func(key string, v any)) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes, which is what is allowed", path, maxFile)
	}
	if err != nil {
		return fmt.Errorf("--config: %w", err)
	}
	var tree map[string]any
	if _, err := toml.Decode(string(b), &tree); err != nil {
		return fmt.Errorf("--config: %s: %w", path, err)
	}
	flatten("", tree, each)
	return nil
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

// Line is a setting in force as it stands in a file that gives it again: where it comes from is the comment.
func Line(key string, k Kind, word, origin string) string {
	_, name, _ := strings.Cut(key, ".")
	return fmt.Sprintf("%s = %s # %s\n", name, k.Literal(word), printable(origin))
}

// Section begins the section of key in such a file.
func Section(key string) string {
	section, _, _ := strings.Cut(key, ".")
	return "[" + section + "]\n"
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

// printable keeps an origin, which names a path, within its comment.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return '?'
		}
		return r
	}, s)
}
