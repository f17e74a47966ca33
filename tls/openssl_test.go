package tls

import (
	"bufio"
	"bytes"
	stdtls "crypto/tls"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// openssl is a running openssl command.
type openssl struct {
	t     *testing.T
	stdin io.WriteCloser
	lines *bufio.Scanner // stdout and stderr
	seen  bytes.Buffer
	cmd   *exec.Cmd
	once  sync.Once
}

func startOpenSSL(t *testing.T, args ...string) *openssl {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed: interoperability is not tested")
	}
	o := &openssl{t: t, cmd: exec.Command(path, args...)}
	o.stdin, err = o.cmd.StdinPipe()
	must(err)
	out, err := o.cmd.StdoutPipe()
	must(err)
	o.cmd.Stderr = o.cmd.Stdout
	o.lines = bufio.NewScanner(out)
	must(o.cmd.Start())
	t.Cleanup(o.stop)
	return o
}

func (o *openssl) stop() {
	o.once.Do(func() {
		o.cmd.Process.Kill()
		o.cmd.Wait()
	})
}

// expect reads up to a line that match accepts.
func (o *openssl) expect(what string, match func(string) bool) string {
	o.t.Helper()
	for o.lines.Scan() {
		line := o.lines.Text()
		o.seen.WriteString(line + "\n")
		if match(line) {
			return line
		}
	}
	o.t.Fatalf("openssl ended without %s; it said\n%s", what, &o.seen)
	return ""
}

// say writes a line to its input.
func (o *openssl) say(line string) {
	o.t.Helper()
	if _, err := io.WriteString(o.stdin, line+"\n"); err != nil {
		o.t.Fatal(err)
	}
}

// speak sends a line and waits for its echo.
func (o *openssl) speak(line string) {
	o.t.Helper()
	o.say(line)
	o.expect("an echo of "+line, func(got string) bool { return got == line })
}

// command gives a key update command. openssl drops what it reads behind a command, so its word is waited for.
func (o *openssl) command(letter string) {
	o.t.Helper()
	o.say(letter)
	o.expect("KEYUPDATE", func(line string) bool { return line == "KEYUPDATE" })
}

var opensslGroups = []struct {
	name  string
	group stdtls.CurveID
	retry bool
}{{"X25519", stdtls.X25519, false}, {"P-384", stdtls.CurveP384, true}, {"P-521", stdtls.CurveP521, true}}

var opensslSuites = []struct {
	name string
	id   uint16
}{
	{"TLS_AES_128_GCM_SHA256", stdtls.TLS_AES_128_GCM_SHA256},
	{"TLS_AES_256_GCM_SHA384", stdtls.TLS_AES_256_GCM_SHA384},
	{"TLS_CHACHA20_POLY1305_SHA256", stdtls.TLS_CHACHA20_POLY1305_SHA256},
}

// TestOpenSSLClient: s_client against our server, new and resumed, with key updates in both directions.
func TestOpenSSLClient(t *testing.T) {
	dir := pki().files(t)
	for _, s := range opensslSuites {
		for _, g := range opensslGroups {
			t.Run(s.name+"/"+g.name, func(t *testing.T) {
				sc := serverTLS()
				sc.CurvePreferences = []stdtls.CurveID{g.group}
				server := newServer(t, sc)
				session := filepath.Join(t.TempDir(), "session.pem")
				groups := g.name
				if g.retry {
					groups = "X25519:" + g.name
				}
				for _, resume := range []bool{false, true} {
					args := []string{"s_client", "-tls1_3", "-CAfile", filepath.Join(dir, "ca.pem"), "-verify_return_error",
						"-servername", "server.test", "-alpn", ALPN, "-ciphersuites", s.name, "-groups", groups}
					if resume {
						args = append(args, "-sess_in", session)
					} else {
						args = append(args, "-sess_out", session)
					}
					d := openSSLClient(t, server, args)
					st := d.tls.State()
					if st.CipherSuite != s.id || st.Group != g.group || st.HelloRetryRequest != g.retry || st.Resumed != resume || st.ALPN != ALPN {
						t.Errorf("%+v", st)
					}
				}
			})
		}
	}
}

// openSSLClient runs one connection of s_client.
func openSSLClient(t *testing.T, server *Server, args []string) *driver {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	defer listener.Close()
	resume := strings.Contains(strings.Join(args, " "), "-sess_in")
	o := startOpenSSL(t, append(args, "-connect", listener.Addr().String())...)
	defer o.stop()
	sock, err := listener.Accept()
	must(err)
	d, err := drive(sock, server.Conn(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ended := make(chan error, 1)
	go func() {
		_, err := io.Copy(d, struct{ io.Reader }{d})
		ended <- err
	}()
	secrets := func() (in, out [maxSecretLen]byte) {
		d.mu.Lock()
		defer d.mu.Unlock()
		return d.tls.in.secret, d.tls.out.secret
	}
	if resume {
		o.expect("Reused", func(l string) bool { return strings.HasPrefix(l, "Reused, TLSv1.3") })
	}
	o.speak("one")
	in0, out0 := secrets()
	o.command("K") // asks us for an update
	o.speak("two")
	in1, out1 := secrets()
	o.command("k") // does not
	o.speak("three")
	in2, out2 := secrets()
	if in1 == in0 || out1 == out0 || in2 == in1 || out2 != out1 {
		t.Errorf("keys changed by K: %v/%v (want both), by k: %v/%v (want true/false)", in1 != in0, out1 != out0, in2 != in1, out2 != out1)
	}
	d.mu.Lock()
	must(d.tls.UpdateKeys(true))
	d.mu.Unlock()
	o.speak("four")
	o.speak("five")
	if in3, out3 := secrets(); in3 == in2 || out3 == out2 {
		t.Errorf("keys changed by our request: %v/%v, want both", in3 != in2, out3 != out2)
	}
	o.stdin.Close()
	if err := <-ended; err != nil {
		t.Errorf("at the end: %v", err)
	}
	if err := d.tls.EOF(); err != nil {
		t.Errorf("EOF: %v", err)
	}
	return d
}

// openSSLServer starts s_server and returns its address.
func openSSLServer(t *testing.T, dir string, args ...string) (*openssl, string) {
	t.Helper()
	o := startOpenSSL(t, append([]string{"s_server", "-accept", "127.0.0.1:0", "-tls1_3", "-alpn", ALPN,
		"-cert", filepath.Join(dir, "cert.pem"), "-key", filepath.Join(dir, "key.pem")}, args...)...)
	line := o.expect("ACCEPT", func(l string) bool { return strings.HasPrefix(l, "ACCEPT ") })
	return o, strings.TrimPrefix(line, "ACCEPT ")
}

func openSSLDial(t *testing.T, client *Client, address string) *driver {
	t.Helper()
	sock, err := net.Dial("tcp", address)
	must(err)
	d, err := drive(sock, client.Conn(""), nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// TestOpenSSLServer: our client against s_server, new and resumed, with a key update of ours that the server answers.
func TestOpenSSLServer(t *testing.T) {
	dir := pki().files(t)
	for _, s := range opensslSuites {
		for _, g := range opensslGroups {
			t.Run(s.name+"/"+g.name, func(t *testing.T) {
				t.Parallel() // s_server sleeps for a second before it reads on behind a KeyUpdate
				cc := clientTLS()
				cc.ClientSessionCache = newCache()
				cc.CurvePreferences = []stdtls.CurveID{stdtls.X25519, stdtls.CurveP384, stdtls.CurveP521}
				client := newClient(t, cc)
				_, address := openSSLServer(t, dir, "-www", "-ciphersuites", s.name, "-groups", g.name)
				for i := range 3 {
					d := openSSLDial(t, client, address)
					must(d.tls.UpdateKeys(true))
					if _, err := io.WriteString(d, "GET / HTTP/1.0\r\n\r\n"); err != nil {
						t.Fatal(err)
					}
					page, err := io.ReadAll(d)
					if err != nil {
						t.Fatalf("connection %d: %v", i, err)
					}
					want := fmt.Sprintf("%s, TLSv1.3, Cipher is %s", map[bool]string{false: "New", true: "Reused"}[i > 0], s.name)
					if !bytes.Contains(page, []byte(want)) {
						t.Errorf("connection %d: page lacks %q:\n%s", i, want, page)
					}
					st := d.tls.State()
					if st.CipherSuite != s.id || st.Group != g.group || st.HelloRetryRequest != g.retry || st.Resumed != (i > 0) {
						t.Errorf("connection %d: %+v", i, st)
					}
					d.Close()
				}
				if puts := cc.ClientSessionCache.(*cache).puts; puts < 4 {
					t.Errorf("%d tickets in 3 connections, s_server sends 2 to a new one and 1 or 2 to a resumed one", puts)
				}
			})
		}
	}
}

// TestOpenSSLKeyLimit: openssl follows when we replace the write key by ourselves, long before its limit.
func TestOpenSSLKeyLimit(t *testing.T) {
	_, address := openSSLServer(t, pki().files(t), "-rev")
	client, err := NewClient(Config{TLS: clientTLS(), RecordsPerKey: 2})
	must(err)
	d := openSSLDial(t, client, address)
	defer d.Close()
	lines := bufio.NewScanner(struct{ io.Reader }{d})
	secrets := map[[maxSecretLen]byte]bool{}
	for i := range 8 {
		if _, err := fmt.Fprintf(d, "abc%d\n", i); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() || lines.Text() != fmt.Sprintf("%dcba", i) {
			t.Fatalf("got %q, %v", lines.Text(), lines.Err())
		}
		secrets[d.tls.out.secret] = true
	}
	if len(secrets) < 4 {
		t.Errorf("%d keys for 8 records, want 4 at least", len(secrets))
	}
}

// TestOpenSSLReverse: a conversation with s_server -rev over several epochs in both directions.
func TestOpenSSLReverse(t *testing.T) {
	_, address := openSSLServer(t, pki().files(t), "-rev")
	d := openSSLDial(t, newClient(t, clientTLS()), address)
	defer d.Close()
	lines := bufio.NewScanner(struct{ io.Reader }{d})
	before := d.tls.in.secret
	for i := range 4 {
		must(d.tls.UpdateKeys(i%2 == 0))
		if _, err := fmt.Fprintf(d, "abc%d\n", i); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() || lines.Text() != fmt.Sprintf("%dcba", i) {
			t.Fatalf("got %q, %v", lines.Text(), lines.Err())
		}
		if changed := d.tls.in.secret != before; changed != (i%2 == 0) {
			t.Errorf("line %d: server's key changed: %v", i, changed)
		}
		before = d.tls.in.secret
	}
}

// TestOpenSSLFragments: openssl with records as small, and as padded, as it makes them, in the handshake and after it.
func TestOpenSSLFragments(t *testing.T) {
	_, address := openSSLServer(t, pki().files(t), "-rev", "-max_send_frag", "512", "-record_padding", "1000")
	d := openSSLDial(t, newClient(t, clientTLS()), address)
	defer d.Close()
	lines := bufio.NewScanner(struct{ io.Reader }{d})
	for _, text := range []string{"abc", strings.Repeat("x", 5000)} {
		if _, err := io.WriteString(d, text+"y\n"); err != nil {
			t.Fatal(err)
		}
		if !lines.Scan() || lines.Text()[0] != 'y' || len(lines.Text()) != len(text)+1 {
			t.Fatalf("got %q, %v", lines.Text(), lines.Err())
		}
	}
	// A client whose Finished fills a record.
	openSSLClient(t, newServer(t, serverTLS()), []string{"s_client", "-tls1_3", "-CAfile", filepath.Join(pki().files(t), "ca.pem"),
		"-verify_return_error", "-servername", "server.test", "-alpn", ALPN, "-record_padding", "16384"})
}
