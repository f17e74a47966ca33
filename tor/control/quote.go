package control

import (
	"fmt"
	"strings"
)

// Quote makes a QuotedString of s (control-spec 2.1.1): in quotes, with backslashes before quotes and backslashes, and C's
// escapes for line ends, tabs and other bytes outside of printable ASCII. Any goroutine.
func Quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// Unquote reads the QuotedString at the start of s and returns what follows it. ok is false when s does not begin with a complete
// one. Any goroutine.
func Unquote(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return "", s, false
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			return b.String(), s[i+1:], true
		case '\\':
			c, n := unescape(s[i+1:])
			if n == 0 {
				return "", s, false
			}
			b.WriteByte(c)
			i += n
		default:
			b.WriteByte(s[i])
		}
	}
	return "", s, false
}

// unescape reads what follows a backslash: up to three octal digits, or one character. n is its length, 0 at the end of s.
func unescape(s string) (c byte, n int) {
	v := 0
	for n < len(s) && n < 3 && s[n] >= '0' && s[n] <= '7' && v*8+int(s[n]-'0') <= 0xff {
		v = v*8 + int(s[n]-'0')
		n++
	}
	switch {
	case n > 0:
		return byte(v), n
	case s == "":
		return 0, 0
	case s[0] == 'n':
		return '\n', 1
	case s[0] == 'r':
		return '\r', 1
	case s[0] == 't':
		return '\t', 1
	}
	return s[0], 1
}

// Words splits s at spaces. A quoted string, alone or as the value of KEY="value", is one word, without its quotes; one that does
// not end is taken as it is. Any goroutine.
func Words(s string) []string {
	var words []string
	for {
		s = strings.TrimLeft(s, " ")
		if s == "" {
			return words
		}
		start := strings.IndexAny(s, ` "`)
		if start >= 0 && s[start] == '"' && (start == 0 || s[start-1] == '=') {
			if v, rest, ok := Unquote(s[start:]); ok {
				words = append(words, s[:start]+v)
				s = rest
				continue
			}
		}
		word, rest, _ := strings.Cut(s, " ")
		words = append(words, word)
		s = rest
	}
}
