package setting

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// What Line writes is read again as the same value, whatever is in it and in its comment.
func TestRoundTrip(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		word string
	}{{Text, "plain"}, {Text, ""}, {Text, "quote \" back \\ line\n tab\t bell\a del\x7f ü"}, {Duration, "1m30s"}, {Integer, "-42"}, {Boolean, "true"},
		{List, ""}, {List, "a,b \"c\""}, {List, "1,2"}} {
		var got []string
		err := ReadFile(file(t, Section("part.name")+Line("part.name", c.kind, c.word, "file a\nb")), func(key string, v any) {
			w, ok := c.kind.Word(v)
			got = append(got, fmt.Sprint(key, " ", w, " ", ok))
		})
		if want := []string{"part.name " + c.word + " true"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("%v: %q, %v, want %q", c.kind, got, err, want)
		}
	}
}

// A value of another kind, and a list of what is no list, are told apart.
func TestWrongKinds(t *testing.T) {
	for _, c := range []struct {
		kind Kind
		v    any
	}{{Text, int64(1)}, {Integer, "1"}, {Boolean, "true"}, {Duration, int64(1)}, {List, "a"}, {Text, []any{"a"}}, {List, []any{"a,b"}}, {List, []any{1.5}}, {Integer, 1.5}, {Text, map[string]any{}}} {
		if w, ok := c.kind.Word(c.v); ok {
			t.Errorf("%v of %v: %q", c.kind, c.v, w)
		}
	}
}

// A file that is not there, no TOML or too large is refused whole, and named.
func TestBadFiles(t *testing.T) {
	for want, path := range map[string]string{"no such file": "/nonexistent.toml", "line 2": file(t, "[a]\nb=\n"), "more than": file(t, strings.Repeat("#", maxFile+1))} {
		err := ReadFile(path, func(string, any) { t.Error("a value of a bad file") })
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "--config") || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", want, err)
		}
	}
}

func TestEnv(t *testing.T) {
	if got := Env("tls.ocsp_timeout"); got != "RON_TRANSPORT_TLS_OCSP_TIMEOUT" {
		t.Error(got)
	}
}
