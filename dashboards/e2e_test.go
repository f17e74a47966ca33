package dashboards

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/tor/torlab"
)

var picture = flag.String("picture", "", "have TestUnderLoad draw what the dashboard shows into this PNG file")

// pictured is how long the picture shows more of the time without faults than the test needs.
const pictured = 25 * time.Second

// world is all that takes part.
type world struct {
	ca      *authority
	prom    *server
	clients *clients
	begin   time.Time // of the load
	faults  time.Time // when they began

	mu       sync.Mutex
	expected map[string][]string // alerts that may fire, by instance
	fired    map[string]bool     // alerts that have fired where they were to
}

// expect notes alerts that may fire from now on.
func (w *world) expect(instance string, alerts ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expected[instance] = append(w.expected[instance], alerts...)
}

// seen notes that alerts have fired under their fault.
func (w *world) seen(alerts ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range alerts {
		w.fired[name] = true
	}
}

// onlyFaults are panels that show nothing but faults, with the fault of this test that moves them. All others must move under load alone.
var onlyFaults = map[string]string{
	"413, 429 and 503":                           "bombed, limited",
	"Rejected, by reason":                        "bombed, limited",
	"In flight":                                  "front, whose upstream is slow",
	"Closed abnormally, by reason":               "shaken",
	"Refused, barred and expired":                "limited",
	"Handshakes that failed":                     "shaken",
	"Turns longer than 150 ms":                   "host",
	"Functions queued":                           "host",
	"Output queued":                              "host",
	"Panics":                                     "host",
	"Datagrams dropped":                          "shaken",
	"Retries and refusals":                       "shaken",
	"Age of OCSP staples":                        "stapled: the others' certificates name no responder",
	"Certificates, staples and keys that failed": "expiring, stapled, keyless",
	"Connections to upstreams":                   "front; without a fault they are kept",
	"Forwarded in vain":                          "front",
}

// TestUnderLoad: a real Prometheus scrapes real gateways under load, over TLS, QUIC and a private Tor network. Every query of the dashboard
// returns data, and no alert fires. Then the faults come, each to a node of its own: each alert fires that names one, and no other does.
func TestUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute, too long for -short")
	}
	tool(t, "prometheus")
	exe := buildGateway(t)
	w := &world{ca: newAuthority(t), expected: map[string][]string{}, fired: map[string]bool{}}
	torSocket, onion := torNetwork(t)
	w.clients = newClients(t, w.ca, torSocket)
	w.prom = startPrometheus(t)
	w.begin = time.Now()
	l := &load{stop: make(chan struct{})}
	t.Cleanup(l.end)

	args := []string{"--quic-listen=127.0.0.1:0"}
	if torSocket != "" {
		args = append(args, "--tor-enabled", "--tor-control=unix:"+onion, "--tor-key-file={dir}/onion.key")
	}
	healthy := launch(t, exe, "healthy", w.ca, 0, args...)
	w.add(t, healthy, l, "tls", "quic", "tor")
	backend := newHost(t)
	front := launch(t, exe, "front", w.ca, 0, "--forward-routes=*=tcp://"+backend.addr, "--forward-attempts=1")
	w.add(t, front, l, "tls")
	host := newHost(t)
	l.run(w.clients, "tcp", host.addr, 1)
	if err := w.prom.scrape("ron-host", "host", host.scrap); err != nil {
		t.Fatal(err)
	}
	nodes := map[string]*node{}
	for _, f := range faults() {
		nodes[f.node] = launch(t, exe, f.node, w.ca, f.limit, f.args...)
		w.add(t, nodes[f.node], l)
		w.expect(f.node, f.also...)
	}

	t.Cleanup(l.end) // before the gateways go: nobody waits for answers that do not come

	t.Log("all have started after", time.Since(w.begin))
	board := readBoard(t)
	charts := board.charts()
	w.panels(t, charts, "under load", func(p panel) bool { return onlyFaults[p.Title] != "" || w.torless(p) })
	w.quiet(t)
	t.Log("all panels show the load, and no alert is active, after", time.Since(w.begin))
	if *picture != "" {
		time.Sleep(pictured) // for something to be seen of the time without faults
	}

	nodes["healthy"], nodes["front"] = healthy, front
	w.injectAll(t, exe, nodes, backend, host)
	w.panels(t, charts, "under faults", w.torless)
	w.judge(t)
	t.Log("all alerts have fired under their faults after", time.Since(w.begin))
	if *picture != "" {
		w.draw(t, board.Panels, *picture)
	}
}

// injectAll has all faults come, and waits until their alerts fire.
func (w *world) injectAll(t *testing.T, exe string, nodes map[string]*node, backend, host *host) {
	t.Helper()
	w.faults = time.Now()
	var all sync.WaitGroup
	inject := func(f func() error) {
		all.Go(func() {
			if err := f(); err != nil {
				t.Error(err)
			}
		})
	}
	for _, f := range faults() {
		inject(func() error { return f.inject(w, nodes[f.node]) })
	}
	inject(func() error { return misuse(w, "host", host) })
	inject(func() error { return w.loseUpstream(nodes["front"], backend) })
	inject(func() error { return vanish(w, nodes["healthy"]) })
	if torlab.Available() == nil {
		lost := launch(t, exe, "lost", w.ca, 0, "--tor-enabled", "--tor-control=unix:"+offlineTor(t))
		w.expect("lost", "RonNotReady") // tor's
		inject(func() error {
			return w.provoke("lost", once(func() error { return w.prom.scrape("ron-gateway", "lost", lost.addr("admin")) }), "RonTorNotBootstrapped", "RonTorDescriptorMissing")
		})
	}
	all.Wait()
}

// torless says whether a panel is about Tor, of which there is none.
func (w *world) torless(p panel) bool {
	return w.clients.tor == nil && strings.Contains(p.Targets[0].Expr, "ron_transport_tor_")
}

// torNetwork starts a private Tor network, where tor is installed, and returns the control sockets of a client and of one for an onion service.
func torNetwork(t *testing.T) (client, onion string) {
	t.Helper()
	if err := torlab.Available(); err != nil {
		t.Logf("without Tor: %v", err)
		return "", ""
	}
	lab, err := torlab.Start(t.Context(), torlab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	return lab.Client(1).ControlSocket(), lab.Client(0).ControlSocket()
}

// add has Prometheus scrape a gateway, and the load use its transports, as far as they are on.
func (w *world) add(t *testing.T, n *node, l *load, transports ...string) {
	t.Helper()
	for _, tr := range transports {
		if addr := n.addr(tr); addr != "" {
			l.run(w.clients, tr, addr, 2)
		}
	}
	eventually(t, n.name+" is ready", n.ready) // that a transport is not, at first, is right and no fault
	if err := w.prom.scrape("ron-gateway", n.name, n.addr("admin")); err != nil {
		t.Fatal(err)
	}
}

// panels waits until each query returns data, and each panel shows more than zeroes, but for those that are excused.
func (w *world) panels(t *testing.T, charts []panel, when string, excused func(panel) bool) {
	t.Helper()
	var wrong []string
	for end := time.Now().Add(patience); ; time.Sleep(scrapeEvery / 2) {
		wrong = wrong[:0]
		for _, p := range charts {
			if excused(p) {
				continue
			}
			if err := w.shows(p); err != nil {
				wrong = append(wrong, fmt.Sprintf("%q: %v", p.Title, err))
			}
		}
		if len(wrong) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s:\n%s", when, strings.Join(wrong, "\n"))
		}
	}
}

// shows says what is missing in a panel.
func (w *world) shows(p panel) error {
	moved := false
	for _, q := range p.Targets {
		all, err := w.prom.ask(substituted(q.Expr, shortWindow), w.begin, time.Now())
		if err != nil {
			return fmt.Errorf("%s: %w", q.Expr, err)
		}
		if len(all) == 0 {
			return fmt.Errorf("%s returns nothing", q.Expr)
		}
		for _, s := range all {
			if name := legend(q.LegendFormat, s.labels); strings.Contains(name, "{{") || strings.TrimSpace(name) == "" {
				return fmt.Errorf("the legend %q has no label for %q", name, q.LegendFormat)
			}
			moved = moved || slices.Max(s.v) > 0
		}
	}
	if !moved {
		return errors.New("nothing but zeroes")
	}
	return nil
}

// quiet checks that Prometheus has evaluated every rule, that recording rules have data, and that no alert is active without a fault.
func (w *world) quiet(t *testing.T) {
	t.Helper()
	eventually(t, "every rule has been evaluated", func() bool {
		rules, err := w.prom.rules()
		if err != nil || len(rules) < len(alerts(t)) {
			return false
		}
		for _, r := range rules {
			if r.Health == "err" || r.LastError != "" {
				t.Fatalf("%s: %s", r.Name, r.LastError)
			}
			if r.Health != "ok" {
				return false
			}
			if r.Type == "recording" {
				if s, err := w.prom.ask(r.Name, w.begin, time.Now()); err != nil || len(s) == 0 {
					return false
				}
			}
		}
		return true
	})
	for end := time.Now().Add(patience / 4); ; time.Sleep(scrapeEvery / 2) {
		now, err := w.prom.active("")
		if err != nil {
			t.Fatal(err)
		}
		late := time.Now().After(end)
		for _, a := range now {
			if !timing[a.Labels["alertname"]] && (late || a.State == "firing") {
				t.Fatalf("without a fault: %+v", a)
			}
		}
		if len(now) == 0 {
			return
		}
		if late {
			t.Logf("this machine is too busy for these to be silent: %+v", now)
			return
		}
	}
}

// loseUpstream has a gateway's upstream become slow, and then go away.
func (w *world) loseUpstream(front *node, backend *host) error {
	err := w.provoke(front.name, once(func() error { backend.delay.Store(int64(800 * time.Millisecond)); return nil }), "RonRequestLatencyHigh")
	return errors.Join(err, w.provoke(front.name, once(func() error { return backend.loops.Close() }), "RonUpstreamsFailing", "RonServerErrors", "RonDegraded"))
}

// judge compares all alerts that have ever fired with those that were to, and checks that each has had its fault.
func (w *world) judge(t *testing.T) {
	t.Helper()
	time.Sleep(2 * scrapeEvery) // an answer is made of points of time that are so far apart: the last ones are to be among them
	fired, err := w.prom.ask(`count by (alertname, instance) (ALERTS{alertstate="firing"})`, w.begin, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range fired {
		name, instance := s.labels["alertname"], s.labels["instance"]
		if !slices.Contains(w.expected[instance], name) && !timing[name] {
			t.Errorf("%s has fired at %s, which has no such fault", name, instance)
		}
	}
	for _, name := range alerts(t) {
		if !w.fired[name] && !(strings.HasPrefix(name, "RonTor") && torlab.Available() != nil) {
			t.Errorf("%s has had no fault in this test, or has not fired under it", name)
		}
	}
}
