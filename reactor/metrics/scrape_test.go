package metrics_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/ron-transport/ron-transport/framer"
	framermetrics "github.com/ron-transport/ron-transport/framer/metrics"
	"github.com/ron-transport/ron-transport/quic"
	quicmetrics "github.com/ron-transport/ron-transport/quic/metrics"
	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/reactor/metrics"
	"github.com/ron-transport/ron-transport/tls"
	"github.com/ron-transport/ron-transport/tls/certs"
	certmetrics "github.com/ron-transport/ron-transport/tls/certs/metrics"
	tlsmetrics "github.com/ron-transport/ron-transport/tls/metrics"
	"github.com/ron-transport/ron-transport/tor"
	tormetrics "github.com/ron-transport/ron-transport/tor/metrics"
)

const (
	appNow    = 1 // answered in OnFrame
	appLater  = 2 // retained, answered after a while
	appRefuse = 3 // answered with 429
)

// node is a server whose answers depend on app_proto_id.
type node struct {
	later sync.WaitGroup
	seen  chan struct{} // closed when a scrape has seen a frame in flight: until then none of appLater is answered
}

func (*node) OnOpen(*framer.Session)         {}
func (*node) OnClose(*framer.Session, error) {}
func (n *node) OnFrame(s *framer.Session, f *framer.Frame) {
	switch f.AppProtoID {
	case appLater:
		r := f.Retain()
		n.later.Go(func() {
			<-n.seen
			time.Sleep(20 * time.Millisecond)
			_ = r.Reply(200, r.Payload)
		})
	case appRefuse:
		_ = s.ReplyError(f, &framer.Error{Why: framer.RateLimited, Detail: "enough"})
	default:
		_ = s.Reply(f, 200, f.Payload)
	}
}

// fakeCerts is a store with one certificate, which is stapled, and ticket keys of its own.
type fakeCerts struct{}

func (fakeCerts) Stats() certs.Stats {
	now := time.Now()
	return certs.Stats{TicketKeys: 1, TicketKeyAge: time.Hour, NextRotation: now.Add(time.Hour),
		Pairs: []certs.PairStats{{NotAfter: now.Add(time.Hour), Loaded: now, Stapled: true, StapleAge: time.Hour, StapleExpires: now.Add(time.Hour)}}}
}

// fakeTor is a tor that has bootstrapped.
type fakeTor struct{}

func (fakeTor) Status() tor.Status {
	return tor.Status{State: tor.Ready, Progress: 100, Services: 1, Published: 1, Starts: 1, Links: 1}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// throwAway makes a certificate for 127.0.0.1 and the roots that trust it.
func throwAway() (stdtls.Certificate, *x509.CertPool) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true}
	der := must(x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key))
	leaf := must(x509.ParseCertificate(der))
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return stdtls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, roots
}

// site is a reactor with a listener for TLS and one for QUIC, clients of both, and everything registered.
type site struct {
	r       *reactor.Reactor
	n       *node
	server  *framer.Stats
	dialTLS func() *framer.Session
	dialer  *quic.Dialer
	udp     string
	reg     *prometheus.Registry
}

func newSite() *site {
	cert, roots := throwAway()
	s := &site{n: &node{seen: make(chan struct{})}, server: new(framer.Stats), r: must(reactor.New(reactor.Config{Loops: 2})), reg: prometheus.NewPedanticRegistry()}
	end := must(framer.NewEndpoint(s.n, framer.Options{Stats: s.server}))
	asks := must(framer.NewEndpoint(s.n, framer.Options{}))
	protocol := func(c *reactor.Conn) reactor.Protocol { return end.Session(c) }
	srv := must(tls.NewServer(tls.Config{TLS: &stdtls.Config{Certificates: []stdtls.Certificate{cert}}}))
	client := must(tls.NewClient(tls.Config{TLS: &stdtls.Config{RootCAs: roots, ClientSessionCache: stdtls.NewLRUClientSessionCache(8)}}))
	lis := must(s.r.Listen("tcp", "127.0.0.1:0", reactor.ListenConfig{Protocol: protocol, Filter: func() reactor.Filter { return srv.Conn() }}))
	s.dialTLS = func() (sess *framer.Session) {
		must(s.r.Dial("tcp", lis.Addr().String(), reactor.DialConfig{
			Protocol: func(c *reactor.Conn) reactor.Protocol { sess = asks.Session(c); return sess },
			Filter:   func() reactor.Filter { return client.Conn("127.0.0.1") },
		}))
		return sess
	}
	q := must(quic.Listen(s.r, "127.0.0.1:0", quic.ListenConfig{Protocol: protocol, TLS: &stdtls.Config{Certificates: []stdtls.Certificate{cert}}}))
	s.udp = q.Addr().String()
	s.dialer = must(quic.NewDialer(s.r, quic.DialerConfig{TLS: &stdtls.Config{RootCAs: roots}}))
	s.reg.MustRegister(metrics.New(s.r, metrics.Options{}), framermetrics.New(s.server, framermetrics.Options{}),
		quicmetrics.New(q, quicmetrics.Options{}), quicmetrics.New(s.dialer, quicmetrics.Options{}), tormetrics.New(fakeTor{}, tormetrics.Options{}),
		certmetrics.New(fakeCerts{}, certmetrics.Options{}), tlsmetrics.New(srv, tlsmetrics.Options{}))
	return s
}

func ask(s *framer.Session, app uint16) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	f, err := s.Ask(ctx, &framer.Frame{Header: framer.Header{AppProtoID: app}, Payload: make([]byte, 2000)})
	var refused *framer.Error
	if app == appRefuse && errors.As(err, &refused) && refused.Code == 429 {
		return nil
	}
	if err == nil && len(f.Payload) != 2000 {
		err = fmt.Errorf("%d bytes came back", len(f.Payload))
	}
	return err
}

// load has TLS and QUIC sessions ask for a while: 8 times 30 requests.
func (s *site) load(t *testing.T) {
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			var sess *framer.Session
			if i%2 == 0 {
				sess = s.dialTLS()
			} else {
				c := must(s.dialer.Dial(context.Background(), s.udp))
				end := must(framer.NewEndpoint(s.n, framer.Options{}))
				made := make(chan *framer.Session, 1)
				must(c.OpenStream(quic.OpenConfig{Protocol: func(c *reactor.Conn) reactor.Protocol {
					sess := end.Session(c)
					made <- sess
					return sess
				}}))
				sess = <-made
			}
			for range 10 {
				for _, app := range []uint16{appNow, appLater, appRefuse} {
					if err := ask(sess, app); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	all.Wait()
}

// scrape gets the page that Prometheus would.
func (s *site) scrape(t *testing.T, url string, srv *httptest.Server) string {
	t.Helper()
	resp, err := srv.Client().Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("%s, %v: %s", resp.Status, err, b)
	}
	return string(b)
}

// TestScrapeUnderLoad: a scrape by HTTP of everything at once, again and again while frames flow, and what the figures come to.
func TestScrapeUnderLoad(t *testing.T) {
	ignore := goleak.IgnoreCurrent()
	s := newSite()
	srv := httptest.NewServer(promhttp.HandlerFor(s.reg, promhttp.HandlerOpts{ErrorHandling: promhttp.HTTPErrorOnError}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.load(t)
		s.load(t) // the sessions of the first are resumed
	}()
	inflight := regexp.MustCompile(`(?m)^ron_transport_inflight_frames [1-9]`)
	seen := false
	for busy := true; busy; {
		select {
		case <-done:
			busy = false
		case <-time.After(5 * time.Millisecond):
		}
		if inflight.MatchString(s.scrape(t, srv.URL, srv)) && !seen {
			seen = true
			close(s.n.seen)
		}
	}
	if !seen {
		t.Error("no scrape has seen a frame in flight, and all of appLater are")
		close(s.n.seen)
	}
	s.n.later.Wait()
	s.settled(t)
	page := s.scrape(t, srv.URL, srv)
	s.judge(t, page)
	s.lint(t, page)
	srv.Close()
	if err := s.r.Close(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, ignore)
}

// settled waits until the counters of the last turn are published.
func (s *site) settled(t *testing.T) {
	t.Helper()
	for range 12000 {
		c := s.server.Counters()
		if st := s.r.Stats(); st.QueuedBytes == 0 && st.QueuedTasks == 0 && c.Frames == 480 && c.Held.Count() == 480 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("%+v, %+v", s.r.Stats(), s.server.Counters())
}

// judge checks figures that are known.
func (s *site) judge(t *testing.T, page string) {
	t.Helper()
	for _, line := range []string{
		`ron_transport_frames_received_total 480`,
		`ron_transport_responses_total{status="200"} 320`,
		`ron_transport_responses_total{status="429"} 160`,
		`ron_transport_responses_total{status="503"} 0`,
		`ron_transport_rejected_total{reason="rate_limited"} 160`,
		`ron_transport_rejected_total{reason="tor_bootstrap"} 0`,
		`ron_transport_inflight_frames 0`,
		`ron_transport_request_latency_seconds_bucket{le="0.0001"} 320`, // those that were not retained
		`ron_transport_request_latency_seconds_bucket{le="0.012"} 320`,
		`ron_transport_request_latency_seconds_count 480`,
		`ron_transport_queue_depth_bytes 0`,
		`ron_transport_queue_depth_tasks 0`,
		`ron_transport_handshakes_total 16`, // both ends are ours
		`ron_transport_handshake_latency_seconds_count{kind="early",side="server",transport="quic"} 0`,
		`ron_transport_quic_conns_opened_total{side="server"} 8`,
		`ron_transport_key_exchange_total{group="X25519MLKEM768",side="server",transport="tls"} 8`,
		`ron_transport_key_exchange_total{group="X25519MLKEM768",side="client",transport="quic"} 8`,
		`ron_transport_panics_total 0`,
		`ron_transport_tor_bootstrap_progress 100`,
	} {
		if !strings.Contains(page, "\n"+line+"\n") {
			name, _, _ := strings.Cut(line, "{")
			name, _, _ = strings.Cut(name, " ")
			t.Errorf("missing: %s; there is: %q", line, regexp.MustCompile(`(?m)^`+name+`.*$`).FindAllString(page, -1))
		}
	}
	st := s.r.Stats()
	for _, h := range []*reactor.Handshaken{&st.Accept, &st.Dial} {
		if n := h.Full.Count() + h.Resumed.Count(); n != 8 || h.Resumed.Count() == 0 || h.Full.Sum <= 0 {
			t.Errorf("%d full and %d resumed handshakes in %v, want 8 together and some of each", h.Full.Count(), h.Resumed.Count(), h.Full.Sum)
		}
	}
	if st.Turns.Count() == 0 || st.Turns.Sum <= 0 {
		t.Errorf("turns: %+v", st.Turns)
	}
}

// lint has Prometheus' own tool look at a page, and ours at labels and at the document.
func (s *site) lint(t *testing.T, page string) {
	t.Helper()
	if problems, err := testutil.GatherAndLint(s.reg); err != nil || len(problems) > 0 {
		t.Error(problems, err)
	}
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{"le": true, "reason": true, "status": true, "transport": true, "side": true, "kind": true, "group": true, "state": true, "pair": true, "aes_gcm": true}
	families, err := s.reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if !bytes.Contains(doc, []byte("| `"+f.GetName()+"` | "+strings.ToLower(f.GetType().String())+" |")) {
			t.Errorf("docs/metrics.md has no row for %s, a %s", f.GetName(), strings.ToLower(f.GetType().String()))
		}
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if !allowed[l.GetName()] || net.ParseIP(l.GetValue()) != nil {
					t.Errorf("%s has the label %s=%q", f.GetName(), l.GetName(), l.GetValue())
				}
			}
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(ron_transport_\\w+)` ").FindAllSubmatch(doc, -1) {
		if !strings.Contains(page, "# TYPE "+string(m[1])+" ") {
			t.Errorf("docs/metrics.md has a row for %s, which is not scraped", m[1])
		}
	}
}

// TestPromtool has promtool check a page of an idle node.
func TestPromtool(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian's package prometheus)")
	}
	s := newSite()
	defer s.r.Close()
	srv := httptest.NewServer(promhttp.HandlerFor(s.reg, promhttp.HandlerOpts{}))
	defer srv.Close()
	cmd := exec.Command(tool, "check", "metrics")
	cmd.Stdin = strings.NewReader(s.scrape(t, srv.URL, srv))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v: %s", err, out)
	}
}
