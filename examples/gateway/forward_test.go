package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
)

// backend is an upstream in this process, on plain TCP, that answers requests late.
type backend struct {
	delay   time.Duration
	arrived atomic.Int64
	size    int  // of answers; 0: the request's payload
	drop    bool // break the connection instead of an answer
}

func (*backend) OnOpen(*framer.Session)         {}
func (*backend) OnClose(*framer.Session, error) {}
func (b *backend) OnFrame(s *framer.Session, f *framer.Frame) {
	if f.Flags&framer.FlagReq == 0 {
		return
	}
	if b.drop {
		b.arrived.Add(1)
		s.Abort(nil)
		return
	}
	r := f.Retain()
	b.arrived.Add(1)
	time.AfterFunc(b.delay, func() {
		payload := r.Payload
		if b.size > 0 {
			payload = make([]byte, b.size)
			copy(payload, r.Payload)
		}
		_ = r.Reply(200, payload)
	})
}

// serve starts a backend and returns its address.
func (b *backend) serve(t *testing.T) string {
	t.Helper()
	return serve(t, b)
}

// serve has a handler serve plain TCP, and returns its address.
func serve(t *testing.T, h framer.Handler) string {
	t.Helper()
	return serveWith(t, h, framer.Options{})
}

func serveWith(t *testing.T, h framer.Handler, o framer.Options) string {
	t.Helper()
	loops, err := reactor.New(reactor.Config{Loops: 1, HardCap: 64 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = loops.Close() })
	end, err := framer.NewEndpoint(h, o)
	if err != nil {
		t.Fatal(err)
	}
	lis, err := loops.Listen("tcp", "127.0.0.1:0", reactor.ListenConfig{Protocol: func(c *reactor.Conn) reactor.Protocol { return end.Session(c) }})
	if err != nil {
		t.Fatal(err)
	}
	return lis.Addr().String()
}

// front starts a gateway that forwards everything to the given upstreams.
func (s *site) front(upstreams string, args ...string) *process {
	s.t.Helper()
	ca := filepath.Join(s.dir, "ca.pem")
	write(s.t, ca, string(s.ca.pem))
	return launch(s.t, s.config(""), append([]string{"--forward-routes=*=" + upstreams, "--forward-ca=" + ca}, args...)...)
}

// TestForward: frames of all sizes go through a gateway to another one over TLS and come back as they were.
func TestForward(t *testing.T) {
	s := newSite(t)
	back := launch(t, s.config(""))
	front := s.front("tls://" + back.addr("tls"))
	var l load
	l.start(s.clients(), front.addr("tls"), 8)
	eventually(t, "the load runs", func() bool { return l.answered.Load() > 200 })
	close(l.stop)
	l.end(t)
}

// TestForwardRollingUpstreams: of two upstreams one drains under load; nothing fails, because what it has not taken goes to the other.
func TestForwardRollingUpstreams(t *testing.T) {
	s := newSite(t)
	one, two := launch(t, s.config("")), launch(t, s.config(""))
	front := s.front("tls://" + one.addr("tls") + " tls://" + two.addr("tls"))
	var l load
	l.start(s.clients(), front.addr("tls"), 8)
	eventually(t, "the load runs", func() bool { return l.answered.Load() > 50 })
	one.signal(syscall.SIGTERM)
	one.ends(0)
	before := l.answered.Load()
	eventually(t, "the load goes on", func() bool { return l.answered.Load() > before+50 })
	front.ready("", "degraded", 200)
	close(l.stop)
	l.end(t)
}

// TestForwardUpstreamAway: without an upstream requests are answered with 503 and readiness is degraded, and when it comes all is well again.
func TestForwardUpstreamAway(t *testing.T) {
	s := newSite(t)
	back := launch(t, s.config(""))
	addr := back.addr("tls")
	front := s.front("tls://" + addr)
	c := s.clients().dial(front.addr("tls"))
	if got := code(ask(c, 7, "x")); got != 200 {
		t.Fatalf("answer %d", got)
	}
	front.ready("", "ready", 200)
	back.signal(syscall.SIGKILL)
	<-back.done
	_, err := ask(c, 7, "x")
	if got := code(nil, err); got != 503 || !strings.Contains(err.Error(), "not_ready") {
		t.Errorf("without an upstream: %v", err)
	}
	front.ready("", "degraded", 200)
	launch(t, s.config(""), "--tls-listen="+addr)
	eventually(t, "the upstream is found again", func() bool { return code(ask(c, 7, "x")) == 200 })
	front.ready("", "ready", 200)
}

// TestForwardNotTwice: a request that an upstream had when it was lost is not sent again, unless its app is said to be idempotent.
func TestForwardNotTwice(t *testing.T) {
	s := newSite(t)
	never, echo := &backend{drop: true}, &backend{}
	first, second := never.serve(t), echo.serve(t)
	front := s.front("tcp://"+first+" tcp://"+second, "--forward-idempotent=9")
	c := s.clients()
	if got := code(ask(c.dial(front.addr("tls")), 8, "x")); got != 500 {
		t.Errorf("a lost request: %d", got)
	}
	if n := echo.arrived.Load(); n != 0 {
		t.Errorf("it was sent %d times more", n)
	}
	front.log("upstream found", nil) // the first one
	had := never.arrived.Load()
	if got := code(ask(c.dial(front.addr("tls")), 9, "x")); got != 200 || never.arrived.Load() != had+1 || echo.arrived.Load() != 1 {
		t.Errorf("an idempotent request: %d; the first upstream had it %d times, the second %d", got, never.arrived.Load()-had, echo.arrived.Load())
	}
}

// TestForwardDrain: requests that upstreams have when the gateway drains are answered after the goodbye.
func TestForwardDrain(t *testing.T) {
	s := newSite(t)
	b := &backend{delay: 3 * time.Second}
	front := s.front("tcp://"+b.serve(t), "--drain-delay=0s")
	c := s.clients()
	var wg sync.WaitGroup
	for i := range 4 {
		x := c.dial(front.addr("tls"))
		for k := range 5 {
			wg.Go(func() {
				want := fmt.Sprintf("%d %d", i, k)
				if f, err := ask(x, 7, want); err != nil || string(f.Payload) != want {
					t.Errorf("request %s: %v", want, err)
				}
			})
		}
	}
	eventually(t, "the upstream has all", func() bool { return b.arrived.Load() == 20 })
	front.signal(syscall.SIGTERM)
	wg.Wait()
	_ = c.loops.Close()
	front.ends(0)
}

// recorder is a client that keeps the responses it gets.
type recorder struct {
	nobody
	mu     sync.Mutex
	frames []string
}

func (r *recorder) OnFrame(_ *framer.Session, f *framer.Frame) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.frames = append(r.frames, fmt.Sprintf("%d:%v%v:%s", f.CorrID, f.Flags&framer.FlagStart != 0, f.Flags&framer.FlagEnd != 0, f.Payload))
}

func (r *recorder) all() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.frames, " ")
}

// TestForwardStream: the frames of a stream go through in order, with their flags and corr_id, in both directions.
func TestForwardStream(t *testing.T) {
	s := newSite(t)
	back := launch(t, s.config(""))
	front := s.front("tls://" + back.addr("tls"))
	for name, addr := range map[string]string{"echo": back.addr("tls"), "forward": front.addr("tls")} {
		r := &recorder{}
		c := s.clients()
		var err error
		if c.end, err = framer.NewEndpoint(r, framer.Options{}); err != nil {
			t.Fatal(err)
		}
		x := c.dial(addr)
		if got := code(ask(x, 7, "x")); got != 200 {
			t.Fatalf("%s: answer %d", name, got)
		}
		if err := x.Post(func(x *framer.Session) {
			for i, fl := range []framer.Flags{framer.FlagStart, 0, framer.FlagEnd} {
				f := framer.Frame{Header: framer.Header{Flags: framer.FlagReq | fl, AppProtoID: 7, CorrID: 1 << 40}, Payload: []byte{'a' + byte(i)}}
				if err := x.Send(&f); err != nil {
					t.Error(err)
				}
			}
		}); err != nil {
			t.Fatal(err)
		}
		want := "1099511627776:truefalse:a 1099511627776:falsefalse:b 1099511627776:falsetrue:c"
		eventually(t, name+": "+want, func() bool { return r.all() == want })
	}
}

// TestForwardSlowReader: a client that does not read its answers is waited for, loses nothing, and does not hold up others.
func TestForwardSlowReader(t *testing.T) {
	s := newSite(t)
	b := &backend{size: 500_000}
	front := s.front("tcp://"+b.serve(t), "--reactor-loops=1", "--reactor-sndbuf=16384", "--forward-timeout=2m", "--reactor-shutdown-grace=2m", "--drain-timeout=2m")
	c, others := s.clients(), s.clients()
	slow := c.dial(front.addr("tls"))
	if got := code(ask(slow, 7, "x")); got != 200 {
		t.Fatalf("answer %d", got)
	}
	paused := make(chan struct{})
	_ = slow.Post(func(x *framer.Session) { x.Transport().PauseRead(); close(paused) })
	<-paused
	const n = 60
	var good atomic.Int64
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			want := fmt.Sprintf("request %d", i)
			if f, err := ask(slow, 7, want); err == nil && len(f.Payload) == b.size && strings.HasPrefix(string(f.Payload), want+"\x00") {
				good.Add(1)
			}
		})
	}
	eventually(t, "some of its requests are with the upstream", func() bool { return b.arrived.Load() >= 10 })
	other := others.dial(front.addr("tls"))
	for range 5 {
		if got := code(ask(other, 7, "x")); got != 200 {
			t.Fatalf("another client's answer is %d", got)
		}
	}
	if good.Load() != 0 {
		t.Error("answers have come to a client that does not read")
	}
	_ = slow.Post(func(x *framer.Session) { x.Transport().ResumeRead() })
	wg.Wait()
	if good.Load() != n {
		t.Errorf("%d of %d answers have come", good.Load(), n)
	}
}

// TestHandover: a successor takes the TLS socket over under load; the first process ends with 0, and nothing fails.
func TestHandover(t *testing.T) {
	s := newSite(t)
	path := filepath.Join(s.dir, "h")
	one := launch(t, s.config(""), "--tls-handover="+path)
	var l load
	c := s.clients()
	addr := one.addr("tls")
	l.start(c, addr, 4)
	eventually(t, "the load runs", func() bool { return l.answered.Load() > 20 })
	two := launch(t, s.config(""), "--tls-handover="+path)
	one.ends(0)
	l.end(t)
	if got := two.addr("tls"); got != addr {
		t.Errorf("the successor listens on %s, want %s", got, addr)
	}
	if got := code(ask(c.dial(addr), 7, "x")); got != 200 {
		t.Errorf("the successor answers %d", got)
	}
}

// TestForwardCounted: /metrics says what has become of forwarded requests: answered, too late, lost on the way, and tried in vain.
func TestForwardCounted(t *testing.T) {
	s := newSite(t)
	good, slow, broken := &backend{}, &backend{delay: patience}, &backend{drop: true}
	ca := filepath.Join(s.dir, "ca.pem")
	write(t, ca, string(s.ca.pem))
	front := launch(t, s.config(""), "--forward-ca="+ca, "--forward-timeout=2s", "--forward-attempts=2", "--reactor-loops=1",
		"--forward-routes=1=tcp://"+good.serve(t)+",2=tcp://"+slow.serve(t)+",3=tcp://"+broken.serve(t)+",4=tcp://127.0.0.1:1")
	x := s.clients().dial(front.addr("tls"))
	for _, tc := range []struct {
		app   uint16
		times int
		want  int
	}{{1, 3, 200}, {2, 1, 500}, {3, 1, 500}, {4, 1, 503}} {
		for range tc.times {
			if got := code(ask(x, tc.app, "x")); got != tc.want {
				t.Errorf("app %d: answer %d, want %d", tc.app, got, tc.want)
			}
		}
	}
	_, body := front.get("/metrics")
	for _, want := range []string{"ron_gateway_upstream_requests_total 6", "ron_gateway_upstream_retries_total 1",
		`ron_gateway_upstream_failures_total{cause="lost"} 2`, `ron_gateway_upstream_failures_total{cause="timeout"} 1`,
		`ron_gateway_upstream_failures_total{cause="queue_full"} 0`, `ron_gateway_upstream_failures_total{cause="refused"} 0`} {
		if !strings.Contains(body, "\n"+want+"\n") {
			t.Errorf("no %s in\n%s", want, body)
		}
	}
	if strings.Contains(body, "ron_gateway_upstream_connections_total 0") || strings.Contains(body, "ron_gateway_upstream_connections_failed_total 0") {
		t.Errorf("connections to upstreams are not counted:\n%s", body)
	}
}
