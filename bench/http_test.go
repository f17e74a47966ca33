package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/cert"
	"github.com/ron-transport/ron-transport/framer"
)

// httpServer starts our TLS server, and returns it with a configuration for clients.
func httpServer(t *testing.T) (*ourServer, *tls.Config) {
	t.Helper()
	files, err := cert.Make()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = files.Remove() })
	crt, err := files.Load()
	if err != nil {
		t.Fatal(err)
	}
	pool, err := cert.Pool(files.Cert)
	if err != nil {
		t.Fatal(err)
	}
	var o *serverOptions
	for _, k := range serverKinds() {
		if k.command == "tls_echo_server" {
			o = &serverOptions{kind: k, listen: "127.0.0.1:0"}
		}
	}
	o.knobs.tickets, o.knobs.noDelay = true, true
	o.knobs.inflight, o.knobs.maxFrame = framer.MaxInflight, framer.MaxFrame
	s, err := openOurs(t.Context(), o, &crt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.(*ourServer), &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
}

// TestHTTPEcho: net/http's client gets its bodies back, on connections that are kept.
func TestHTTPEcho(t *testing.T) {
	s, conf := httpServer(t)
	tr := &http.Transport{TLSClientConfig: conf, ExpectContinueTimeout: time.Minute}
	defer tr.CloseIdleConnections()
	client := &http.Client{Transport: tr, Timeout: time.Minute}
	base := "https://" + s.Addr()
	for _, v := range []struct {
		name, method, path string
		body               []byte
		chunked, expect    bool
		status             int
	}{
		{"empty", "POST", "/echo", nil, false, false, 200},
		{"small", "POST", "/echo", []byte("hello"), false, false, 200},
		{"with a query", "POST", "/echo?x=1", []byte("hello"), false, false, 200},
		{"the largest", "POST", "/echo", bytes.Repeat([]byte("abcdefg"), maxHTTPBody/7), false, false, 200},
		{"in chunks", "POST", "/echo", bytes.Repeat([]byte("0123456789"), 30_000), true, false, 200},
		{"asked for first", "POST", "/echo", bytes.Repeat([]byte("x"), 100_000), false, true, 200},
		{"chunks, asked for first", "POST", "/echo", bytes.Repeat([]byte("x"), 100_000), true, true, 200},
		{"another path", "POST", "/", []byte("hello"), false, false, 404},
		{"another method", "GET", "/echo", nil, false, false, 405},
		{"head", "HEAD", "/echo", nil, false, false, 405},
		{"too large", "POST", "/echo", make([]byte, maxHTTPBody+1), false, true, 413},
		{"too large, in chunks", "POST", "/echo", make([]byte, maxHTTPBody+1), true, false, 413},
	} {
		var body io.Reader = bytes.NewReader(v.body)
		if v.chunked {
			body = io.MultiReader(body) // hides its length
		}
		r, err := http.NewRequest(v.method, base+v.path, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-test")
		if v.expect {
			r.Header.Set("Expect", "100-continue")
		}
		resp, err := client.Do(r)
		if err != nil {
			t.Errorf("%s: %v", v.name, err)
			continue
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if resp.StatusCode != v.status || err != nil {
			t.Errorf("%s: status %d, %v", v.name, resp.StatusCode, err)
		}
		if v.status == 200 && (!bytes.Equal(got, v.body) || resp.Header.Get("Content-Type") != "application/x-test") {
			t.Errorf("%s: %d bytes of %q came back for %d", v.name, len(got), resp.Header.Get("Content-Type"), len(v.body))
		}
	}
}

// rawHTTP sends bytes over TLS and returns what comes back until the server ends the connection, or want bytes are there.
func rawHTTP(t *testing.T, addr string, conf *tls.Config, alpn []string, pieces []string, until string) string {
	t.Helper()
	conf = conf.Clone()
	conf.NextProtos = alpn
	c, err := tls.Dial("tcp", addr, conf)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	for _, p := range pieces {
		if _, err := io.WriteString(c, p); err != nil {
			break // refused before its end
		}
		time.Sleep(time.Millisecond) // pieces arrive as pieces, mostly
	}
	var got bytes.Buffer
	for r := bufio.NewReader(c); until == "" || !strings.HasSuffix(got.String(), until); {
		b, err := r.ReadByte()
		if err != nil {
			break
		}
		got.WriteByte(b)
	}
	return got.String()
}

// TestHTTPWire: what comes in one piece, in many, or several times in one, with and without ALPN; and what is no HTTP.
func TestHTTPWire(t *testing.T) {
	s, conf := httpServer(t)
	one := "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
	reply := "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
	var bytewise []string
	for i := range one {
		bytewise = append(bytewise, one[i:i+1])
	}
	for _, v := range []struct {
		name   string
		pieces []string
		until  string
		want   string
	}{
		{"whole", []string{one}, "abc", reply},
		{"in bytes", bytewise, "abc", reply},
		{"pipelined", []string{one + one + one[:20], one[20:] + strings.ReplaceAll(one, "abc", "end")}, "end", reply + reply + reply + strings.ReplaceAll(reply, "abc", "end")},
		{"the last one", []string{strings.Replace(one, "Host: x", "Connection: close", 1)}, "", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"},
		{"HTTP/1.0", []string{strings.Replace(one, "1.1", "1.0", 1)}, "", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\nabc"},
		{"HTTP/1.0, kept", []string{strings.Replace(strings.Replace(one, "1.1", "1.0", 1), "Host: x", "Connection: keep-alive", 1)}, "abc",
			"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 3\r\n\r\nabc"},
		{"chunks, then another", []string{"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n", "1\r\nc\r\n0\r\n\r\n" + one}, "abcHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", reply + reply},
		{"no request", []string{"hello\r\n\r\n"}, "", "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 12\r\n\r\nBad Request\n"},
		{"a head without end", []string{"POST /echo HTTP/1.1\r\nX: " + strings.Repeat("x", maxHTTPHead)}, "",
			"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 32\r\n\r\nRequest Header Fields Too Large\n"},
		{"chunks that are none", []string{"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"}, "",
			"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 12\r\n\r\nBad Request\n"},
		{"two lengths", []string{"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"}, "",
			"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 12\r\n\r\nBad Request\n"},
	} {
		for _, alpn := range [][]string{{alpnHTTP}, nil} {
			if got := rawHTTP(t, s.Addr(), conf, alpn, v.pieces, v.until); got != v.want {
				t.Errorf("%s, ALPN %q:\n%q, want\n%q", v.name, alpn, got, v.want)
			}
		}
	}
}

// TestSniffOAP: frames on a connection without ALPN are frames.
func TestSniffOAP(t *testing.T) {
	s, conf := httpServer(t)
	frame, err := framer.AppendFrame(nil, &framer.Frame{Header: framer.Header{Flags: framer.FlagReq, AppProtoID: 7, CorrID: 9}, Payload: []byte("hello")})
	if err != nil {
		t.Fatal(err)
	}
	got := rawHTTP(t, s.Addr(), conf, nil, []string{string(frame[:5]), string(frame[5:])}, "hello")
	h, err := framer.ParseHeader([]byte(got), framer.MaxFrame)
	if err != nil || h.CorrID != 9 || h.Code != 200 {
		t.Errorf("%q: %+v, %v", got, h, err)
	}
}

// TestApacheBench: a load tool of Debian's loads the server, and none of its requests fails.
func TestApacheBench(t *testing.T) {
	ab, err := exec.LookPath("ab")
	if err != nil {
		t.Skip("ab is not installed (Debian has it in the package apache2-utils)")
	}
	s, _ := httpServer(t)
	body := filepath.Join(t.TempDir(), "body")
	if err := os.WriteFile(body, bytes.Repeat([]byte("0123456789abcdef"), 256), 0o600); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(s.Addr())
	out, err := exec.Command(ab, "-q", "-k", "-n", "2000", "-c", "16", "-s", "60", "-p", body, "-T", "application/octet-stream", "https://127.0.0.1:"+port+"/echo").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{`Complete requests:\s+2000`, `Failed requests:\s+0`, `Keep-Alive requests:\s+2000`, `Document Length:\s+4096 bytes`, `TLSv1.3`} {
		if !regexp.MustCompile(want).Match(out) {
			t.Errorf("%s is missing:\n%s", want, out)
		}
	}
}
