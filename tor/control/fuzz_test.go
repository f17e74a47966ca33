package control

import (
	"bytes"
	"reflect"
	"testing"
	"testing/iotest"
)

// FuzzReply: no bytes make the reader panic or depend on how they were split, and what it returns is within its bounds.
func FuzzReply(f *testing.F) {
	f.Add([]byte("250-PROTOCOLINFO 1\r\n250-AUTH METHODS=COOKIE,SAFECOOKIE COOKIEFILE=\"/a\\\"b\"\r\n250 OK\r\n"))
	f.Add([]byte("650+X\r\na\r\n..\r\n.\r\n650 OK\r\n250 OK\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, split := newReplyReader(bytes.NewReader(b)), newReplyReader(iotest.OneByteReader(bytes.NewReader(b)))
		for {
			r, err := whole.next()
			r2, err2 := split.next()
			if !reflect.DeepEqual(r, r2) || (err == nil) != (err2 == nil) {
				t.Fatalf("%+v, %v; split %+v, %v", r, err, r2, err2)
			}
			if err != nil {
				return
			}
			if r.Code < 200 || r.Code > 699 || len(r.Lines) == 0 {
				t.Fatalf("%+v", r)
			}
			_ = newEvent(r)
			p := parseProtocolInfo(r)
			_, _ = Auth{}.choose(p)
		}
	})
}

// FuzzQuote: what is quoted reads back as it was; anything may be unquoted and split.
func FuzzQuote(f *testing.F) {
	f.Add("a \"b\" \\ \r\n\x00\xff\t\\101")
	f.Fuzz(func(t *testing.T, s string) {
		q := Quote(s)
		if v, rest, ok := Unquote(q + " tail"); !ok || v != s || rest != " tail" {
			t.Fatalf("%q is %q, then %q, %v", s, v, rest, ok)
		}
		if w := Words("a KEY=" + q + " b"); len(w) != 3 || Field(w, "KEY") != s {
			t.Fatalf("%q: words are %q", s, w)
		}
		n := 0
		for _, w := range Words(s) {
			n += len(w)
		}
		if n > len(s) {
			t.Fatalf("%q has grown: %q", s, Words(s))
		}
		_, _, _ = Unquote(s)
	})
}
