package main

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/framer"
)

// TestReloadUnderLoad: a SIGHUP puts a new certificate and new limits in force while connections go on without a failed frame; a file
// that is wrong is refused with the field's name; what takes a restart is named.
func TestReloadUnderLoad(t *testing.T) {
	s := newSite(t)
	p := launch(t, s.config(""))
	addr := p.addr("tls")
	var l load
	l.start(s.clients(), addr, 4)
	eventually(t, "the load runs", func() bool { return l.answered.Load() > 20 })
	if got := s.ca.served(t, addr); got != 1 {
		t.Errorf("serial %d at first", got)
	}
	s.certify(2)
	p.signal(syscall.SIGHUP)
	p.log("reloaded", nil)
	if got := s.ca.served(t, addr); got != 2 {
		t.Errorf("serial %d after the reload, want 2", got)
	}
	s.config("limits.max_conns = 0\nframes.max_inflight = 200\n")
	p.signal(syscall.SIGHUP)
	refused := p.log("reload refused", nil)
	if text := refused["err"].(string); !strings.Contains(text, "frames.max_inflight = 200") || !strings.Contains(text, "1 to 64") {
		t.Errorf("the refusal says %q", text)
	}
	hello := func() framer.HelloReply {
		r, err := s.clients().dial(addr).Hello(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	if got := hello().MaxInflight; got != 64 {
		t.Errorf("the refused file has set max_inflight to %d", got)
	}
	s.config("frames.max_inflight = 32\nreactor.loops = 7\nlimits.max_conns = 5000\n")
	p.signal(syscall.SIGHUP)
	p.log("setting changed", map[string]string{"setting": "frames.max_inflight", "value": "32", "in_force": "new connections"})
	p.log("setting changed", map[string]string{"setting": "limits.max_conns", "value": "5000"})
	p.log("setting needs a restart", map[string]string{"setting": "reactor.loops", "value": "7"})
	if got := hello().MaxInflight; got != 32 {
		t.Errorf("max_inflight of a new connection is %d, want 32", got)
	}
	before := l.answered.Load()
	eventually(t, "the load goes on", func() bool { return l.answered.Load() > before+20 })
	close(l.stop)
	l.end(t)
}

// TestDrainDelay: SIGTERM takes readiness at once; until drain.delay is over all goes on, and clients hear nothing. The log has the reason for
// the state, whatever else is wrong.
func TestDrainDelay(t *testing.T) {
	s := newSite(t)
	cert, key := s.ca.issueFor(t, 3, 200*time.Hour) // less than the 14 days of the warning
	write(t, filepath.Join(s.dir, "tls.crt"), string(cert))
	write(t, filepath.Join(s.dir, "tls.key"), string(key))
	p := launch(t, s.config("quic.listen = \"127.0.0.1:0\"\n"), "--drain-delay=1h")
	p.ready("", "degraded", 200)
	x := s.clients().dial(p.addr("tls"))
	if got := code(ask(x, 7, "x")); got != 200 {
		t.Fatalf("answer %d", got)
	}
	p.signal(syscall.SIGTERM)
	body := p.ready("", "not_ready", 503)
	if !strings.Contains(body, `"draining":true`) || !strings.Contains(body, `"shutting_down"`) {
		t.Errorf("while it drains: %s", body)
	}
	if got, _ := p.get("/healthz"); got != 200 {
		t.Errorf("/healthz is %d while the gateway drains", got)
	}
	p.log("readiness", map[string]string{"transport": "tls", "state": "not_ready", "reason": "shutting_down"})
	if f, err := ask(x, 7, "x"); code(f, err) != 200 {
		t.Errorf("within the delay: %v", err)
	}
	p.signal(syscall.SIGTERM)
	p.ends(1)
}

// TestDrainUnderLoad: a drain ends with a goodbye to every connection; no request fails, and the exit status is 0.
func TestDrainUnderLoad(t *testing.T) {
	s := newSite(t)
	p := launch(t, s.config("quic.listen = \"127.0.0.1:0\"\n"), "--drain-delay=0s")
	const conns = 8
	var l load
	l.start(s.clients(), p.addr("tls"), conns)
	eventually(t, "the load runs", func() bool { return l.answered.Load() > 50 })
	p.signal(syscall.SIGTERM)
	p.ends(0)
	l.end(t)
	if n := l.left.Load(); n != conns {
		t.Errorf("%d of %d connections have heard the goodbye", n, conns)
	}
	if p.find("drained", map[string]string{"level": "INFO"}) == nil {
		t.Error("the log does not say that all was drained")
	}
}

// TestReloadCertificateWrong: with a certificate that cannot be loaded no setting changes either.
func TestReloadCertificateWrong(t *testing.T) {
	s := newSite(t)
	p := launch(t, s.config(""))
	write(t, filepath.Join(s.dir, "tls.crt"), "this is no certificate")
	s.config("limits.max_conns = 5000\n")
	p.signal(syscall.SIGHUP)
	p.log("reload refused", nil)
	if l := p.find("setting changed", nil); l != nil {
		t.Errorf("%v", l)
	}
	s.certify(2)
	p.signal(syscall.SIGHUP)
	p.log("setting changed", map[string]string{"setting": "limits.max_conns", "value": "5000"})
	p.log("reloaded", nil)
	if got := s.ca.served(t, p.addr("tls")); got != 2 {
		t.Errorf("serial %d after the reload, want 2", got)
	}
}

// TestSecondSignal: it ends the gateway at once, with status 1, whatever the drain is waiting for.
func TestSecondSignal(t *testing.T) {
	s := newSite(t)
	p := launch(t, s.config(""), "--drain-delay=1h")
	p.signal(syscall.SIGTERM)
	p.log("draining", nil)
	p.signal(syscall.SIGTERM)
	p.ends(1)
}

// TestReadinessTransitions: the certificate's end, the limit on connections, an upstream that is away and comes.
func TestReadinessTransitions(t *testing.T) {
	s := newSite(t)
	cert, key := s.ca.issueFor(t, 3, 200*time.Hour) // less than the 14 days of the warning
	write(t, filepath.Join(s.dir, "tls.crt"), string(cert))
	write(t, filepath.Join(s.dir, "tls.key"), string(key))
	p := launch(t, s.config("limits.max_conns = 2\n"))
	body := p.ready("", "degraded", 200)
	if !strings.Contains(body, `"tls"`) || !strings.Contains(body, "expires on") {
		t.Errorf("a certificate that is about to end: %s", body)
	}
	s.certify(4)
	p.signal(syscall.SIGHUP)
	p.ready("", "ready", 200)
	c := s.clients()
	one, two := c.dial(p.addr("tls")), c.dial(p.addr("tls"))
	for _, x := range []*framer.Session{one, two} {
		if got := code(ask(x, 7, "x")); got != 200 {
			t.Fatalf("answer %d", got)
		}
	}
	body = p.ready("?transport=tls", "degraded", 200)
	if !strings.Contains(body, "over_capacity") {
		t.Errorf("at the limit: %s", body)
	}
	p.log("readiness", map[string]string{"transport": "tls", "state": "degraded", "reason": "over_capacity"})
	if got := code(ask(c.dial(p.addr("tls")), 7, "x")); got == 200 {
		t.Error("a connection above the limit is served")
	}
	_ = two.Post(func(x *framer.Session) { x.Close(nil) })
	p.ready("", "ready", 200)
	if got, _ := p.get("/readyz?transport=quic"); got != 404 {
		t.Errorf("a transport that is off: %d", got)
	}
	if got, _ := p.get("/nothing"); got != 404 {
		t.Errorf("an unknown path: %d", got)
	}
}

// TestPrintsAndRefuses: --print-config exits with 0, a wrong configuration with 2 and the field's name, a port in use with 1.
func TestPrintsAndRefuses(t *testing.T) {
	s := newSite(t)
	begin(t, s.config(""), "--print-config").ends(0)
	p := begin(t, s.config("reactor.loops = 900\n"))
	p.ends(2)
	if text := p.whole(); !strings.Contains(text, "reactor.loops = 900") {
		t.Errorf("the refusal: %s", text)
	}
	begin(t, s.config(""), "--no-such-flag").ends(2)
	running := launch(t, s.config(""))
	begin(t, s.config(""), "--tls-listen="+running.addr("tls")).ends(1)
	if err := os.Remove(filepath.Join(s.dir, "tls.key")); err != nil {
		t.Fatal(err)
	}
	begin(t, s.config("")).ends(1)
}

// TestAdminBounds: connections to the admin listener are bounded; those that wait are served when others have gone.
func TestAdminBounds(t *testing.T) {
	s := newSite(t)
	p := launch(t, s.config(""))
	dial := func() net.Conn {
		c, err := net.Dial("tcp", p.addr("admin"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	var held []net.Conn
	for range maxAdminConns {
		held = append(held, dial())
	}
	late := dial()
	if _, err := late.Write([]byte("GET /healthz HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	_ = late.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, _ := late.Read(make([]byte, 64)); n > 0 {
		t.Errorf("connection %d is served", maxAdminConns+1)
	}
	_ = held[0].Close()
	_ = late.SetReadDeadline(time.Now().Add(patience))
	if n, err := late.Read(make([]byte, 64)); n == 0 {
		t.Errorf("it is not served when another one has gone: %v", err)
	}
}

// TestMetrics: what was done is counted, by transport, and no label names a peer.
func TestMetrics(t *testing.T) {
	s := newSite(t)
	p := launch(t, s.config("quic.listen = \"127.0.0.1:0\"\n"))
	x := s.clients().dial(p.addr("tls"))
	for range 5 {
		if got := code(ask(x, 7, "x")); got != 200 {
			t.Fatalf("answer %d", got)
		}
	}
	var body string
	p.wait("the counted frames", func() bool {
		_, body = p.get("/metrics")
		return strings.Contains(body, `ron_transport_frames_received_total{transport="tls"} 5`)
	})
	for _, want := range []string{`ron_gateway_readiness{transport="tls"} 2`, `ron_gateway_readiness{transport="quic"} 2`, "ron_gateway_draining 0",
		`ron_transport_certificate_not_after_timestamp_seconds{pair="0"} `, "ron_gateway_upstream_requests_total 0", `ron_transport_frames_received_total{transport="quic"} 0`, "process_open_fds "} {
		if !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (ron_\w+) (\w+)$`).FindAllStringSubmatch(body, -1) {
		if !strings.Contains(string(doc), "| `"+m[1]+"` | "+m[2]+" |") {
			t.Errorf("docs/metrics.md has no row for %s, a %s", m[1], m[2])
		}
	}
	if strings.Contains(body, "127.0.0.1") {
		t.Errorf("an address in\n%s", body)
	}
}
