package control

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestReplies: what a command returns for what tor sends.
func TestReplies(t *testing.T) {
	for _, v := range []struct {
		name, sent string
		want       Reply
		err        error
	}{
		{"one line", "250 OK\r\n", Reply{250, []Line{{Text: "OK"}}}, nil},
		{"bare line ends", "250 OK\n", Reply{250, []Line{{Text: "OK"}}}, nil},
		{"several lines", "250-a=b\r\n250-c\r\n250 OK\r\n", Reply{250, []Line{{Text: "a=b"}, {Text: "c"}, {Text: "OK"}}}, nil},
		{"data", "250+a=\r\nx\r\n..y\r\n\r\n.\r\n250 OK\r\n", Reply{250, []Line{{Text: "a=", Data: "x\n.y\n"}, {Text: "OK"}}}, nil},
		{"an event first", "650 X y\r\n250 OK\r\n", Reply{250, []Line{{Text: "OK"}}}, nil},
		{"a refusal", "552 no such thing\r\n", Reply{552, []Line{{Text: "no such thing"}}}, &Error{Code: 552, Text: "no such thing", Command: "DO"}},
		{"no code", "OK all fine\r\n", Reply{}, ErrProtocol},
		{"a short line", "250\r\n", Reply{}, ErrProtocol},
		{"an odd separator", "250=OK\r\n", Reply{}, ErrProtocol},
		{"a code out of range", "999 x\r\n", Reply{}, ErrProtocol},
		{"codes of two classes", "250-a\r\n552 b\r\n", Reply{}, ErrProtocol},
		{"an event within a reply", "250-a\r\n650 b\r\n", Reply{}, ErrProtocol},
		{"two replies", "250 OK\r\n250 OK\r\n", Reply{250, []Line{{Text: "OK"}}}, nil},
		{"the end", "!", Reply{}, ErrClosed},
	} {
		t.Run(v.name, func(t *testing.T) {
			c := dialFake(t, &fakeTor{answer: func(string) string { return v.sent }}, Options{})
			r, err := c.Command(short(t), "DO it")
			var want *Error
			switch {
			case errors.As(v.err, &want):
				var got *Error
				if !errors.As(err, &got) || *got != *want || !reflect.DeepEqual(r, v.want) {
					t.Errorf("%+v, %v", r, err)
				}
			case !errors.Is(err, v.err) || !reflect.DeepEqual(r, v.want):
				t.Errorf("%+v, %v; want %+v, %v", r, err, v.want, v.err)
			}
			if errors.Is(v.err, ErrProtocol) && (!errors.Is(c.Err(), ErrClosed) || !errors.Is(c.Err(), ErrProtocol)) {
				t.Errorf("the connection says %v", c.Err())
			}
		})
	}
}

// TestUnasked: a reply to nothing ends the connection, for what follows could not be matched to commands.
func TestUnasked(t *testing.T) {
	c := dialFake(t, &fakeTor{answer: func(string) string { return "250 OK\r\n250 OK\r\n" }}, Options{})
	_, _ = c.Command(short(t), "X")
	<-c.Done()
	if _, err := c.Command(short(t), "X"); !errors.Is(err, ErrProtocol) || !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// TestReplyTooLarge: a reply without an end is given up, whatever it is made of.
func TestReplyTooLarge(t *testing.T) {
	for name, s := range map[string]string{
		"a line":     "250 " + strings.Repeat("x", maxReply),
		"many lines": strings.Repeat("250-"+strings.Repeat("x", 1000)+"\r\n", maxReply/1006+1),
		"data":       "250+x=\r\n" + strings.Repeat(strings.Repeat("y", 1000)+"\r\n", maxReply/1002+1),
	} {
		r := newReplyReader(strings.NewReader(s))
		if _, err := r.next(); !errors.Is(err, ErrReplyTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := newReplyReader(strings.NewReader("250+x=\r\n" + strings.Repeat("y", maxReply-100) + "\r\n.\r\n250 OK\r\n650 Y\r\n"))
	if _, err := r.next(); err != nil {
		t.Error(err)
	}
	if _, err := r.next(); err != nil {
		t.Error("the bound is not each reply's own:", err)
	}
}

// TestEvents come in order, with their words, and do not disturb replies.
func TestEvents(t *testing.T) {
	var got []Event
	c := dialFake(t, &fakeTor{answer: func(string) string {
		return "650 STATUS_CLIENT NOTICE BOOTSTRAP PROGRESS=10 SUMMARY=\"a \\\"b\\\" c\" TAG=conn\r\n650-X y\r\n650 more\r\n250 OK\r\n"
	}}, Options{OnEvent: func(e Event) { got = append(got, e) }})
	if err := c.SetEvents(short(t), "STATUS_CLIENT", "X"); err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	if len(got) != 2 || got[0].Type != "STATUS_CLIENT" || got[0].Arg(1) != "BOOTSTRAP" || got[0].Field("SUMMARY") != `a "b" c` ||
		got[0].Field("TAG") != "conn" || got[0].Field("NONE") != "" || got[0].Arg(9) != "" || got[0].Arg(-1) != "" ||
		got[1].Type != "X" || len(got[1].Lines) != 2 || got[1].Lines[1].Text != "more" {
		t.Errorf("%+v", got)
	}
}

// TestCommandsCross: many goroutines each get their own replies.
func TestCommandsCross(t *testing.T) {
	c := dialFake(t, &fakeTor{answer: func(l string) string { return "250-x=" + l + "\r\n250 OK\r\n" }}, Options{})
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			for j := range 50 {
				line := fmt.Sprintf("C%d %d", i, j)
				if r, err := c.Command(short(t), line); err != nil || r.Lines[0].Text != "x="+line {
					t.Errorf("%s: %+v, %v", line, r, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// TestNoAnswer: a tor that hangs costs the caller its patience, not memory, and what is late reaches nobody else.
func TestNoAnswer(t *testing.T) {
	var held []string
	f := &fakeTor{}
	f.answer = func(l string) string {
		if l != "GO" {
			held = append(held, "250 "+l+"\r\n")
			return ""
		}
		return strings.Join(held, "") + "250 GO\r\n"
	}
	c := dialFake(t, f, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		for !slices.Contains(f.lines(), "FIRST") {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if _, err := c.Command(ctx, "FIRST"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if _, err := c.Command(ctx, "SECOND"); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if r, err := c.Command(short(t), "GO"); err != nil || r.Text() != "GO" {
		t.Fatal(r, err)
	}
	if slices.Contains(f.lines(), "SECOND") {
		t.Error("a command was sent whose context had ended")
	}
}

// TestBusy: commands that wait are bounded, and fail when the connection ends.
func TestBusy(t *testing.T) {
	c := dialFake(t, &fakeTor{answer: func(string) string { return "" }}, Options{})
	var wg sync.WaitGroup
	for range maxPending {
		wg.Go(func() {
			if _, err := c.Command(context.Background(), "X"); !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		})
	}
	for {
		c.mu.Lock()
		n := len(c.pending)
		c.mu.Unlock()
		if n == maxPending {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if _, err := c.Command(short(t), "X"); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	_ = c.Close()
	wg.Wait()
}

// TestCommandRefused: what would break the protocol is not sent.
func TestCommandRefused(t *testing.T) {
	f := &fakeTor{answer: func(string) string { return "250 OK\r\n" }}
	c := dialFake(t, f, Options{})
	for _, line := range []string{"", "A\r\nB", "A\nB", "A\x00", strings.Repeat("x", maxCommand+1)} {
		if _, err := c.Command(short(t), line); err == nil {
			t.Errorf("%.20q was sent", line)
		}
	}
	ctx := short(t)
	for name, err := range map[string]error{
		"GETINFO":   second(c.GetInfo(ctx, "version config-file")),
		"SETEVENTS": c.SetEvents(ctx, "A B"),
		"SIGNAL":    c.Signal(ctx, "HALT\r\nX"),
		"SETCONF":   c.SetConf(ctx, map[string][]string{"A=b C": nil}),
		"no option": c.SetConf(ctx, nil),
		"DEL_ONION": c.DelOnion(ctx, ""),
		"AUTH_ADD":  c.AddClientAuth(ctx, "x", "short", false),
		"service":   c.AddClientAuth(ctx, "x y", "short", false),
		"REMOVE":    c.RemoveClientAuth(ctx, "x y"),
	} {
		if err == nil {
			t.Errorf("%s was sent", name)
		}
	}
	if l := f.lines(); len(l) > 0 {
		t.Errorf("sent: %q", l)
	}
	if _, err := Dial(ctx, "udp", "x", Options{}); err == nil || !strings.Contains(err.Error(), "udp") {
		t.Error(err)
	}
}

func second[T any](_ T, err error) error { return err }

// TestCommandLines: what goes over the wire.
func TestCommandLines(t *testing.T) {
	f := &fakeTor{answer: func(l string) string {
		switch {
		case strings.HasPrefix(l, "GETINFO"):
			return "250+version=\r\na\r\nb\r\n.\r\n250 OK\r\n"
		case strings.HasPrefix(l, "ADD_ONION"):
			return "250-ServiceID=abc\r\n250-PrivateKey=ED25519-V3:xyz\r\n250 OK\r\n"
		}
		return "250 OK\r\n"
	}}
	c := dialFake(t, f, Options{})
	ctx := short(t)
	key, err := GenerateClientKey()
	if err != nil {
		t.Fatal(err)
	}
	if v, err := c.GetInfo(ctx, "version"); err != nil || v != "a\nb" {
		t.Error(v, err)
	}
	o, err := c.AddOnion(ctx, OnionRequest{Ports: []Port{{80, "unix:/a/b"}, {81, ""}}, Detach: true, DiscardKey: true, NonAnonymous: true,
		MaxStreams: 5, CloseCircuit: true, PoW: true, PoWRate: 7, PoWBurst: 8, ClientAuth: []string{key.Public}})
	if err != nil || o.ServiceID != "abc" || o.Key != "ED25519-V3:xyz" {
		t.Error(o, err)
	}
	_, err = c.AddOnion(ctx, OnionRequest{Key: "ED25519-V3:k", Ports: []Port{{443, "127.0.0.1:1"}}})
	for _, err := range []error{err, c.DelOnion(ctx, "abc"), c.AddClientAuth(ctx, "abc", key.Private, true), c.RemoveClientAuth(ctx, "abc"),
		c.Signal(ctx, SignalReload), c.TakeOwnership(ctx), c.SetEvents(ctx), c.SetConf(ctx, map[string][]string{"B": {"1", `2 "`}, "A": nil})} {
		if err != nil {
			t.Error(err)
		}
	}
	want := []string{"GETINFO version",
		"ADD_ONION NEW:ED25519-V3 Flags=DiscardPK,Detach,NonAnonymous,MaxStreamsCloseCircuit,V3Auth MaxStreams=5 PoWDefensesEnabled=1" +
			" PoWQueueRate=7 PoWQueueBurst=8 Port=80,unix:/a/b Port=81 ClientAuthV3=" + key.Public,
		"ADD_ONION ED25519-V3:k Port=443,127.0.0.1:1", "DEL_ONION abc", "ONION_CLIENT_AUTH_ADD abc x25519:" + key.Private + " Flags=Permanent",
		"ONION_CLIENT_AUTH_REMOVE abc", "SIGNAL RELOAD", "TAKEOWNERSHIP", "SETEVENTS", `SETCONF A B="1" B="2 \""`}
	if got := f.lines(); !slices.Equal(got, want) {
		t.Errorf("sent\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestOnionRequestCheck: the message names the field.
func TestOnionRequestCheck(t *testing.T) {
	ok := []Port{{80, ""}}
	for _, v := range []struct {
		name string
		q    OnionRequest
	}{
		{"Key", OnionRequest{Key: "RSA1024:x", Ports: ok}},
		{"Key", OnionRequest{Key: KeyPrefix + "x Flags=Detach", Ports: ok}},
		{"Ports", OnionRequest{}},
		{"Ports", OnionRequest{Ports: make([]Port, maxPorts+1)}},
		{"Ports[0]", OnionRequest{Ports: []Port{{0, ""}}}},
		{"Ports[1]", OnionRequest{Ports: []Port{{1, ""}, {2, "unix:/a b"}}}},
		{"MaxStreams", OnionRequest{Ports: ok, MaxStreams: 65536}},
		{"PoWRate", OnionRequest{Ports: ok, PoWRate: 1}},
		{"PoWBurst", OnionRequest{Ports: ok, PoW: true, PoWBurst: -1}},
		{"CloseCircuit", OnionRequest{Ports: ok, CloseCircuit: true}},
		{"ClientAuth[0]", OnionRequest{Ports: ok, ClientAuth: []string{"abc"}}},
		{"ClientAuth", OnionRequest{Ports: ok, ClientAuth: make([]string, maxClients+1)}},
	} {
		if _, err := v.q.line(); err == nil || !strings.Contains(err.Error(), v.name) {
			t.Errorf("%s: %v", v.name, err)
		}
	}
}

// TestSecretsStayOut: no error says what a command's arguments were.
func TestSecretsStayOut(t *testing.T) {
	c := dialFake(t, &fakeTor{answer: func(string) string { return "512 no\r\n" }}, Options{})
	_, err := c.AddOnion(short(t), OnionRequest{Key: KeyPrefix + "SECRET", Ports: []Port{{80, ""}}})
	if !IsCode(err, CodeSyntax) || IsCode(err, CodeOK) || strings.Contains(err.Error(), "SECRET") || !strings.Contains(err.Error(), "ADD_ONION") {
		t.Error(err)
	}
}

// TestAuthenticate: each method, and each way to fail.
func TestAuthenticate(t *testing.T) {
	dir := t.TempDir()
	cookie := []byte("0123456789abcdef0123456789ABCDEF")
	file := filepath.Join(dir, "cookie")
	bad := filepath.Join(dir, "bad")
	for path, b := range map[string][]byte{file: cookie, bad: cookie[1:]} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range []struct {
		name, methods string // PROTOCOLINFO's
		auth          Auth
		knows         []byte // the server's cookie
		want          Method
		err           error
	}{
		{"null", "METHODS=NULL", Auth{}, nil, MethodNull, nil},
		{"password", "METHODS=COOKIE,HASHEDPASSWORD", Auth{Password: `a"b`}, nil, MethodPassword, nil},
		{"a wrong password", "METHODS=HASHEDPASSWORD", Auth{Password: "x"}, nil, MethodPassword, &Error{}},
		{"safe cookie", `METHODS=COOKIE,SAFECOOKIE COOKIEFILE="` + file + `"`, Auth{}, cookie, MethodSafeCookie, nil},
		{"safe cookie, a file of our own", `METHODS=COOKIE,SAFECOOKIE COOKIEFILE="/nowhere"`, Auth{CookieFile: file}, cookie, MethodSafeCookie, nil},
		{"a server that does not know it", `METHODS=SAFECOOKIE COOKIEFILE="` + file + `"`, Auth{}, cookie[:31], MethodSafeCookie, ErrServerHash},
		{"cookie", "METHODS=COOKIE", Auth{CookieFile: file}, nil, MethodCookie, nil},
		{"cookie, only the server names it", `METHODS=COOKIE COOKIEFILE="` + file + `"`, Auth{}, nil, "", ErrNoAuthMethod},
		{"no such file", `METHODS=SAFECOOKIE COOKIEFILE="` + dir + `/none"`, Auth{}, nil, MethodSafeCookie, ErrCookie},
		{"no cookie", `METHODS=SAFECOOKIE COOKIEFILE="` + bad + `"`, Auth{}, nil, MethodSafeCookie, ErrCookie},
		{"a directory", `METHODS=SAFECOOKIE COOKIEFILE="` + dir + `"`, Auth{}, nil, MethodSafeCookie, ErrCookie},
		{"nothing usable", "METHODS=HASHEDPASSWORD,MOONLIGHT", Auth{}, nil, "", ErrNoAuthMethod},
	} {
		t.Run(v.name, func(t *testing.T) {
			s := safeCookie{cookie: v.knows}
			c := dialFake(t, &fakeTor{answer: func(l string) string {
				switch {
				case l == "PROTOCOLINFO 1":
					return "250-PROTOCOLINFO 1\r\n250-AUTH " + v.methods + "\r\n250-NEW words\r\n250-VERSION Tor=\"0.4.8\"\r\n250 OK\r\n"
				case strings.HasPrefix(l, "AUTHCHALLENGE SAFECOOKIE "):
					return s.challenge(l, v.knows)
				case l == "AUTHENTICATE", l == `AUTHENTICATE "a\"b"`, l == fmt.Sprintf("AUTHENTICATE %x", cookie):
					return "250 OK\r\n"
				}
				return s.authenticate(l)
			}}, Options{})
			m, err := c.Authenticate(short(t), v.auth)
			var refused *Error
			if errors.As(v.err, &refused) {
				if !IsCode(err, CodeBadAuth) {
					t.Error(err)
				}
			} else if m != v.want || !errors.Is(err, v.err) {
				t.Errorf("%q, %v; want %q, %v", m, err, v.want, v.err)
			}
		})
	}
}
