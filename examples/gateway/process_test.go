package main

import (
	"bufio"
	"context"
	stdtls "crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tls"
	"github.com/ron-transport/ron-transport/tor/torlab"
)

// patience bounds what tests wait for; a busy machine with the race detector needs it.
const patience = time.Minute

// roleEnv makes this program the gateway itself: what the tests start is what the tests are built of, with the race detector if they have it.
const roleEnv = "GATEWAY_TEST_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleEnv) != "" {
		main()
		return
	}
	code, done, err := torlab.Isolate(context.Background(), torlab.Command{})
	if err != nil {
		fmt.Println("not isolated:", err)
	}
	if !done {
		code = m.Run()
	}
	os.Exit(code)
}

// process is a gateway that runs.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and its log is complete

	mu    sync.Mutex
	lines []map[string]any
	text  []string
}

// launch starts a gateway with a configuration file, on ports of its own, and waits until it has started.
func launch(t *testing.T, config string, args ...string) *process {
	t.Helper()
	p := begin(t, config, args...)
	p.log("started", nil)
	return p
}

// begin is launch without the wait.
func begin(t *testing.T, config string, args ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"--config", config, "--log-format=json", "--admin-listen=127.0.0.1:0"}, args...)...)
	cmd.Env = append(os.Environ(), roleEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, done: make(chan struct{})}
	go func() { // ends with the process; the clean-up waits for it
		defer close(p.done)
		in := bufio.NewScanner(out)
		in.Buffer(nil, 1<<20)
		for in.Scan() {
			var l map[string]any
			_ = json.Unmarshal(in.Bytes(), &l) // panics and races are no JSON
			p.mu.Lock()
			p.lines, p.text = append(p.lines, l), append(p.text, in.Text())
			p.mu.Unlock()
		}
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.done
		all := p.whole()
		if strings.Contains(all, "DATA RACE") || strings.Contains(all, "panic") {
			t.Errorf("the gateway's log:\n%s", all)
		} else if t.Failed() {
			t.Logf("the gateway's log:\n%s", all)
		}
	})
	return p
}

func (p *process) whole() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.text, "\n")
}

// log waits for a line with a message and, where want is given, with these fields.
func (p *process) log(msg string, want map[string]string) map[string]any {
	p.t.Helper()
	var found map[string]any
	p.wait("a line "+msg+fmt.Sprint(want), func() bool {
		found = p.find(msg, want)
		return found != nil
	})
	return found
}

func (p *process) find(msg string, want map[string]string) map[string]any {
	p.mu.Lock()
	defer p.mu.Unlock()
next:
	for _, l := range p.lines {
		if l["msg"] != msg {
			continue
		}
		for k, v := range want {
			if fmt.Sprint(l[k]) != v {
				continue next
			}
		}
		return l
	}
	return nil
}

func (p *process) wait(what string, ok func() bool) {
	p.t.Helper()
	eventually(p.t, what, func() bool {
		select {
		case <-p.done:
			if !ok() {
				p.t.Fatalf("the gateway has ended before %s", what)
			}
			return true
		default:
			return ok()
		}
	})
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never:", what)
		}
	}
}

// addr is what a transport listens on.
func (p *process) addr(transport string) string {
	p.t.Helper()
	return p.log("listening", map[string]string{"transport": transport})["addr"].(string)
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// ends waits for the end and compares the exit status.
func (p *process) ends(want int) {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatal("the gateway does not end")
	}
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		p.t.Errorf("exit status %d, want %d", got, want)
	}
}

// get asks the admin listener.
func (p *process) get(path string) (status int, body string) {
	p.t.Helper()
	c := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	r, err := c.Get("http://" + p.addr("admin") + path)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, err.Error()
	}
	return r.StatusCode, string(b)
}

// ready waits until /readyz says a state, with its status, and returns the answer.
func (p *process) ready(query, state string, status int) string {
	p.t.Helper()
	var body string
	p.wait("readiness "+state, func() bool {
		var got int
		got, body = p.get("/readyz" + query)
		var r struct{ State string }
		return json.Unmarshal([]byte(body), &r) == nil && r.State == state && got == status
	})
	return body
}

// site is a directory with a certificate and a configuration file.
type site struct {
	t   *testing.T
	dir string
	ca  *authority
}

func newSite(t *testing.T) *site {
	s := &site{t: t, dir: t.TempDir(), ca: newAuthority(t)}
	s.certify(1)
	return s
}

// certify issues a certificate with a serial number, and puts it in place by rename.
func (s *site) certify(serial int64) {
	s.t.Helper()
	cert, key := s.ca.issue(s.t, serial)
	for name, b := range map[string][]byte{"tls.crt": cert, "tls.key": key} {
		write(s.t, filepath.Join(s.dir, name+".new"), string(b))
		if err := os.Rename(filepath.Join(s.dir, name+".new"), filepath.Join(s.dir, name)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// config writes the configuration file: TLS on a port of its own, a short drain, and more.
func (s *site) config(more string) string {
	s.t.Helper()
	path := filepath.Join(s.dir, "gateway.toml")
	write(s.t, path, fmt.Sprintf("tls.listen = \"127.0.0.1:0\"\ntls.cert = %q\ntls.key = %q\ntls.watch = \"-1s\"\ndrain.delay = \"1s\"\nlog.level = \"debug\"\n%s\n",
		filepath.Join(s.dir, "tls.crt"), filepath.Join(s.dir, "tls.key"), more))
	return path
}

// clients are connections to gateways.
type clients struct {
	t     *testing.T
	loops *reactor.Reactor
	end   *framer.Endpoint
	tls   *tls.Client
}

func (s *site) clients() *clients {
	s.t.Helper()
	loops, err := reactor.New(reactor.Config{Loops: 1})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = loops.Close() })
	c := &clients{t: s.t, loops: loops}
	if c.end, err = framer.NewEndpoint(nobody{}, framer.Options{}); err != nil {
		s.t.Fatal(err)
	}
	if c.tls, err = tls.NewClient(tls.Config{TLS: &stdtls.Config{RootCAs: s.ca.roots}}); err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (c *clients) dial(addr string) *framer.Session {
	c.t.Helper()
	var s *framer.Session
	_, err := c.loops.Dial("tcp", addr, reactor.DialConfig{
		Protocol: func(conn *reactor.Conn) reactor.Protocol { s = c.end.Session(conn); return s },
		Filter:   func() reactor.Filter { return c.tls.Conn("gateway.test") },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// ask sends a request and returns the answer.
func ask(s *framer.Session, app uint16, payload string) (*framer.Frame, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return s.Ask(ctx, &framer.Frame{Header: framer.Header{AppProtoID: app}, Payload: []byte(payload)})
}

// code is the status of an answer, 0 for none.
func code(f *framer.Frame, err error) int {
	var e *framer.Error
	if errors.As(err, &e) {
		return int(e.Status())
	}
	if err != nil || f == nil {
		return 0
	}
	return int(f.Code)
}

// load keeps asking over some connections until stop, or until the gateway takes leave.
type load struct {
	answered, failed, left atomic.Int64
	first                  atomic.Value // the first failure
	stop                   chan struct{}
	wg                     sync.WaitGroup
}

// start has n connections ask. Each has requests of several sizes in turn, and checks the answers byte by byte.
func (l *load) start(c *clients, addr string, n int) {
	l.stop = make(chan struct{})
	sizes := []int{1, 1000, 70_000, 300_000}
	for i := range n {
		s := c.dial(addr)
		l.wg.Go(func() {
			for k := 0; ; k++ {
				select {
				case <-l.stop:
					_ = s.Post(func(s *framer.Session) { s.Close(nil) })
					return
				default:
				}
				want := strings.Repeat(string(rune('a'+(i+k)%26)), sizes[k%len(sizes)])
				f, err := ask(s, 7, want)
				switch {
				case errors.Is(err, framer.ErrLeaving):
					l.left.Add(1)
					_ = s.Post(func(s *framer.Session) { s.Close(nil) })
					return
				case err != nil || string(f.Payload) != want:
					l.failed.Add(1)
					l.first.CompareAndSwap(nil, fmt.Sprintf("connection %d, request %d: %v", i, k, err))
					return
				}
				l.answered.Add(1)
			}
		})
	}
}

func (l *load) end(t *testing.T) {
	t.Helper()
	l.wg.Wait()
	if n := l.failed.Load(); n > 0 {
		t.Errorf("%d of %d requests have failed, first: %v", n, l.answered.Load()+n, l.first.Load())
	}
}
