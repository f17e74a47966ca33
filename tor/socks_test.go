package tor

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/ron-transport/ron-transport/reactor"
)

const onion = good + ".onion:443"

// drive runs a handshake against a script of tor's answers, each split into pieces of the given size, and returns what was sent. It is the
// loop's part.
func drive(t *testing.T, f *Tunnel, piece int, answers ...string) (sent []string, done bool, err error) {
	t.Helper()
	var in []byte
	step := true
	if n, s, err := f.Handshake(nil); n != 0 || !s || err != nil {
		t.Fatalf("a client begins with %d, %v, %v", n, s, err)
	}
	for {
		if step {
			if done, err = f.Step(); err != nil {
				return sent, false, err
			}
			if out := f.Output(nil); len(out) > 0 {
				sent = append(sent, string(out))
			}
			if done {
				if len(in) > 0 {
					t.Errorf("%q is left", in)
				}
				return sent, true, nil
			}
		}
		if len(answers) == 0 {
			return sent, false, f.EOF()
		}
		n := min(piece, len(answers[0]))
		in = append(in, answers[0][:n]...)
		if answers[0] = answers[0][n:]; answers[0] == "" {
			answers = answers[1:]
		}
		if next := f.NextRecord(in); next < 1 || next > 1024 {
			t.Fatalf("next record of %d bytes", next)
		}
		if n, step, err = f.Handshake(in); err != nil {
			return sent, false, err
		}
		in = in[n:]
	}
}

const (
	noAuth  = "\x05\x00"
	useAuth = "\x05\x02"
	authOK  = "\x01\x00"
	replyOK = "\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00"
)

// TestTunnel: what is said, whatever the pieces are that tor's answers come in.
func TestTunnel(t *testing.T) {
	request := "\x05\x01\x00\x03\x3e" + good + ".onion\x01\xbb"
	for _, v := range []struct {
		name, isolation string
		answers         []string
		sent            []string
	}{
		{"plain", "", []string{noAuth, replyOK}, []string{"\x05\x01\x00", request}},
		{"isolated", "me", []string{useAuth, authOK, replyOK}, []string{"\x05\x01\x02", "\x01\x03ron\x02me", request}},
		{"IPv6", "", []string{noAuth, "\x05\x00\x00\x04" + strings.Repeat("\x00", 18)}, []string{"\x05\x01\x00", request}},
		{"a name", "", []string{noAuth, "\x05\x00\x00\x03\x05a.bcd\x00\x00"}, []string{"\x05\x01\x00", request}},
		{"no name", "", []string{noAuth, "\x05\x00\x00\x03\x00\x00\x00"}, []string{"\x05\x01\x00", request}},
	} {
		for piece := 1; piece < 12; piece++ {
			f, err := NewTunnel(onion, v.isolation, nil)
			if err != nil {
				t.Fatal(err)
			}
			sent, done, err := drive(t, f, piece, append([]string(nil), v.answers...)...)
			if !done || err != nil || strings.Join(sent, "|") != strings.Join(v.sent, "|") {
				t.Errorf("%s in pieces of %d: %q, %v, %v", v.name, piece, sent, done, err)
			}
			if err := f.EOF(); err != nil {
				t.Errorf("the end of an open tunnel is %v", err)
			}
		}
	}
}

// TestTunnelRefused: each answer of tor's is an *Error of the right kind, with a reason of the canon.
func TestTunnelRefused(t *testing.T) {
	type row struct {
		name    string
		answers []string
		kind    Kind
		code    byte
		reason  string
	}
	rows := []row{
		{"another version", []string{"\x04\x00"}, KindFailed, 0, "io"},
		{"HTTP", []string{"HTTP/1.0 400"}, KindFailed, 0, "io"},
		{"no method", []string{"\x05\xff"}, KindFailed, 0, "io"},
		{"a method that was not offered", []string{useAuth}, KindFailed, 0, "io"},
		{"another version in the reply", []string{noAuth, "\x04\x00\x00\x01\x00\x00\x00\x00\x00\x00"}, KindFailed, 0, "io"},
		{"an unknown address", []string{noAuth, "\x05\x00\x00\x07\x00\x00\x00\x00\x00\x00"}, KindFailed, 0, "io"},
		{"an unknown code", []string{noAuth, "\x05\x77\x00\x01\x00\x00\x00\x00\x00\x00"}, KindFailed, 0x77, "io"},
		{"the end at once", nil, KindFailed, 0, "io"},
		{"the end in the reply", []string{noAuth, "\x05\x00\x00"}, KindFailed, 0, "io"},
	}
	for code, kind := range map[byte]Kind{1: KindFailed, 2: KindRefused, 3: KindOffline, 4: KindOffline, 5: KindRefused, 6: KindTimeout, 7: KindFailed,
		8: KindBadAddress, 0xf0: KindNotFound, 0xf1: KindBadDescriptor, 0xf2: KindOffline, 0xf3: KindOffline, 0xf4: KindAuthNeeded, 0xf5: KindAuthWrong,
		0xf6: KindBadAddress, 0xf7: KindTimeout} {
		reason := map[Kind]string{KindNotFound: "not_ready", KindOffline: "not_ready", KindTimeout: "handshake_timeout"}[kind]
		if reason == "" {
			reason = "io"
		}
		rows = append(rows, row{fmt.Sprintf("code %#x", code), []string{noAuth, "\x05" + string([]byte{code}) + "\x00\x01\x00\x00\x00\x00\x00\x00"}, kind, code, reason})
	}
	for _, v := range rows {
		for _, piece := range []int{1, 3, 100} {
			f, _ := NewTunnel(onion, "", nil)
			_, done, err := drive(t, f, piece, append([]string(nil), v.answers...)...)
			var e *Error
			if done || !errors.As(err, &e) || e.Kind != v.kind || e.Code != v.code || e.Reason() != v.reason {
				t.Errorf("%s in pieces of %d: %v, %v", v.name, piece, done, err)
			}
		}
	}
	f, _ := NewTunnel(onion, "x", nil)
	if _, _, err := drive(t, f, 2, useAuth, "\x01\x01"); !IsKind(err, KindFailed) {
		t.Error(err)
	}
}

// TestBadAddresses are refused before anything is sent.
func TestBadAddresses(t *testing.T) {
	for _, addr := range []string{"", good, good + ".onion", good + ":443", "example.com:443", "127.0.0.1:443", good + ".onion:0", good + ".onion:65536",
		good + ".onion:http", good[1:] + ".onion:443", "a" + good[1:] + ".onion:443", strings.Repeat("a.", 120) + good + ".onion:443", ".onion:1"} {
		if _, err := NewTunnel(addr, "", nil); !IsKind(err, KindBadAddress) {
			t.Errorf("%q: %v", addr, err)
		}
	}
	for _, addr := range []string{"www." + onion, strings.ToUpper(good) + ".ONION:1"} {
		if _, err := NewTunnel(addr, "", nil); err != nil {
			t.Errorf("%q: %v", addr, err)
		}
	}
	if _, err := NewTunnel(onion, strings.Repeat("x", 256), nil); err == nil || !strings.Contains(err.Error(), "Isolation") {
		t.Error(err)
	}
}

// rot is a filter behind the tunnel that tells what is called: its handshake is a line each way, and it adds one to each byte.
type rot struct {
	calls []string
	err   error
}

func (r *rot) Handshake(src []byte) (int, bool, error) {
	r.calls = append(r.calls, fmt.Sprintf("handshake %q", src))
	if r.err != nil && len(src) > 0 {
		return len(src), false, r.err
	}
	return len(src), true, nil
}

func (r *rot) Step() (bool, error) {
	r.calls = append(r.calls, "step")
	return len(r.calls) > 3, nil
}

func (r *rot) Output(dst []byte) []byte {
	if r.calls = append(r.calls, "output"); len(r.calls) == 3 {
		return append(dst, "HELLO"...)
	}
	return dst
}

func (r *rot) Open(dst, src []byte) ([]byte, int, error) {
	for _, b := range src {
		dst = append(dst, b-1)
	}
	return dst, len(src), nil
}

func (r *rot) Seal(dst, src []byte, _ bool) ([]byte, error) {
	for _, b := range src {
		dst = append(dst, b+1)
	}
	return dst, nil
}

func (r *rot) SealedSize(n int) int              { return 7 * n }
func (r *rot) NextRecord([]byte) int             { return 2 }
func (r *rot) Finish(dst []byte, _ error) []byte { return append(dst, "BYE"...) }
func (r *rot) EOF() error                        { return errRot }
func (r *rot) Release()                          { r.calls = append(r.calls, "release") }
func (r *rot) Sleep()                            { r.calls = append(r.calls, "sleep") }
func (r *rot) Bind(interface {
	LocalAddr() net.Addr
	RemoteAddr() net.Addr
}) {
	r.calls = append(r.calls, "bind")
}

var errRot = errors.New("rot")

// TestTunnelInner: the filter behind the tunnel begins when tor has opened it, and has everything from then on.
func TestTunnelInner(t *testing.T) {
	in := &rot{}
	f, _ := NewTunnel(onion, "", in)
	if out := f.Finish(nil, nil); len(out) > 0 {
		t.Errorf("a goodbye before the tunnel is open: %q", out)
	}
	sent, done, err := drive(t, f, 100, noAuth, replyOK, "ok")
	if !done || err != nil || sent[2] != "HELLO" {
		t.Errorf("%q, %v, %v", sent, done, err)
	}
	if got := strings.Join(in.calls, ", "); got != `handshake "", step, output, handshake "ok", step, output` {
		t.Error(got)
	}
	sealed, err := f.Seal([]byte("x"), []byte("abc"), false)
	if string(sealed) != "xbcd" || err != nil {
		t.Errorf("%q, %v", sealed, err)
	}
	if out, n, err := f.Open(make([]byte, 0, 9), sealed[1:]); string(out) != "abc" || n != 3 || err != nil {
		t.Errorf("%q, %d, %v", out, n, err)
	}
	in.calls = nil
	f.Sleep()
	f.Bind(nil)
	f.Release()
	if f.SealedSize(3) != 21 || f.NextRecord(nil) != 2 || string(f.Finish(nil, nil)) != "BYE" || !errors.Is(f.EOF(), errRot) ||
		strings.Join(in.calls, " ") != "sleep bind release" {
		t.Error("not passed on:", in.calls)
	}
	in = &rot{err: errRot}
	f, _ = NewTunnel(onion, "", in)
	if _, done, err := drive(t, f, 100, noAuth, replyOK, "no"); done || !errors.Is(err, errRot) {
		t.Error(done, err)
	}
}

// TestTunnelPlain: without a filter behind it, bytes pass as they are, as far as there is room.
func TestTunnelPlain(t *testing.T) {
	f, _ := NewTunnel(onion, "", nil)
	_, _, _ = drive(t, f, 100, noAuth, replyOK)
	out, n, err := f.Open(make([]byte, 1, 4), []byte("abcdef"))
	if string(out[1:]) != "abc" || n != 3 || err != nil {
		t.Errorf("%q, %d, %v", out, n, err)
	}
	out, err = f.Seal([]byte("x"), []byte("abc"), true)
	if string(out) != "xabc" || err != nil || f.SealedSize(5) != 5 || f.NextRecord(nil) != 1 || len(f.Finish(nil, nil)) != 0 {
		t.Errorf("%q, %v", out, err)
	}
	f.Sleep()
	f.Bind(nil)
	f.Release()
}

// FuzzTunnel: no answers make the handshake panic or hang, and how they are split changes nothing.
func FuzzTunnel(f *testing.F) {
	f.Add([]byte(noAuth+replyOK), "", uint8(1))
	f.Add([]byte(useAuth+authOK+replyOK), "me", uint8(3))
	f.Fuzz(func(t *testing.T, answers []byte, isolation string, piece uint8) {
		run := func(piece int) (string, string) {
			tun, err := NewTunnel(onion, isolation, nil)
			if err != nil {
				t.Skip()
			}
			var sent, in []byte
			step, rest := true, answers
			for {
				if step {
					done, err := tun.Step()
					if sent = tun.Output(sent); done || err != nil {
						return string(sent), fmt.Sprint(done, err)
					}
				}
				n, s, err := tun.Handshake(in)
				if err != nil {
					return string(sent), err.Error()
				}
				if in, step = in[n:], s; step {
					continue
				}
				if len(rest) == 0 {
					return string(sent), fmt.Sprint(tun.EOF())
				}
				k := min(piece, len(rest))
				in, rest = append(bytes.Clone(in), rest[:k]...), rest[k:]
			}
		}
		sent, end := run(len(answers) + 1)
		sent2, end2 := run(int(piece)%7 + 1)
		if sent != sent2 || end != end2 {
			t.Fatalf("whole: %q, %s; in pieces: %q, %s", sent, end, sent2, end2)
		}
	})
}

var _ reactor.Filter = (*Tunnel)(nil)
