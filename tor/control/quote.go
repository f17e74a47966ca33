package control

import "strings"

// quoter escapes what must be. Tor reads the arguments of AUTHENTICATE with no other escapes than these two, and those of SETCONF with C's:
// this is what both understand. Line ends and null bytes cannot be sent; Command refuses them.
var quoter = strings.NewReplacer(`\`, `\\`, `"`, `\"`)

// Quote makes a QuotedString of s (control-spec 2.1.1): in quotes, with backslashes before quotes and backslashes. Any goroutine.
func Quote(s string) string { return `"` + quoter.Replace(s) + `"` }

// Unquote reads the string in quotes at the start of s, with C's escapes as tor writes them, and returns what follows it. ok is false when s does not begin with a complete
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
