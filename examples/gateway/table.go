package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/ron-transport/ron-transport/examples/gateway/setting"
	"github.com/ron-transport/ron-transport/tor"
)

// writeTable writes the documentation's table of settings. What is allowed is what the settings' own checks say of a value that is
// refused.
func writeTable(w io.Writer) error {
	var b strings.Builder
	b.WriteString("| setting | default | allowed | reload | what it is |\n|---|---|---|---|---|\n")
	for _, s := range settings(defaults()) {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %s |\n", s.key, s.value.toml(), allowed(s.key), s.live, strings.ReplaceAll(s.help, "|", "\\|"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// allowed asks the checks what they allow for a setting, by a value that none allows.
func allowed(key string) string {
	c := defaults()
	e := &effective{Config: c, table: settings(c), origin: map[string]string{}}
	for _, s := range e.table {
		if s.key != key {
			continue
		}
		switch key { // they differ from machine to machine
		case "reactor.congestion":
			return "what the kernel has"
		case "tls.aes_gcm":
			return "auto, go, and avx512 and avx2 where the processor has them"
		}
		absurd := map[setting.Kind]string{setting.Integer: "4611686018427387904", setting.Duration: "1000000h", setting.Text: "\x00", setting.Boolean: "\x00", setting.List: "\x00"}[s.value.kind]
		err := s.value.set(absurd)
		if err == nil && s.field != "" {
			c.Tor.Enabled = true
			if key != "reactor.loops" {
				c.Reactor.Loops = 1 // else it would depend on this machine
			}
			err = e.explain(e.validateLibrary())
		}
		if err != nil {
			if _, words, ok := strings.Cut(err.Error(), "allowed"); ok {
				words = strings.TrimLeft(strings.TrimPrefix(strings.TrimPrefix(words, " are"), " is"), ": ")
				first, _, _ := strings.Cut(words, "\n")
				return withoutZero(key, first)
			}
		}
		return s.value.kind.String()
	}
	return ""
}

// withoutZero takes what the library says of a zero out of what is allowed where validateZeros refuses it, and puts it in where it is the
// default and the library's words are about other values.
func withoutZero(key, words string) string {
	for _, s := range settings(defaults()) {
		if v := s.value.get(); s.key == key && (v == "0" || v == "0s") {
			if !strings.Contains(words, "0 for") {
				words = "0, or " + words
			}
			return words
		}
	}
	for _, zero := range []string{"0 for the default, or ", "0 for the default, ", "0 for the default and ", ", 0 for " + tor.DefaultBootstrapTimeout.String()} {
		words = strings.Replace(words, zero, "", 1)
	}
	return words
}
