package dashboards

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/tls/certs"
)

// fault is something that is wrong with one node, and the alerts that are to say so.
type fault struct {
	node   string
	args   []string // of its gateway
	limit  int      // of its descriptors; 0: as the test's own
	inject func(w *world, n *node) error
	also   []string // alerts that are right as well: consequences
}

// faults are those of gateways. All are injected at the same time, each into a gateway of its own.
func faults() []fault {
	return []fault{
		{node: "bombed", args: []string{"--frames-max-inflated=4096"}, inject: bomb},
		{node: "limited", args: []string{"--limits-max-conns-per-peer=2"}, inject: crowd},
		{node: "full", limit: 128, args: []string{"--reactor-loops=2"}, inject: fill},
		{node: "shaken", args: []string{"--quic-listen=127.0.0.1:0", "--quic-rcvbuf=65536", "--quic-retry-above=-1", "--reactor-handshake-timeout=1s"}, inject: shake},
		{node: "killed", inject: kill},
		{node: "expiring", inject: expire, also: []string{"RonCertificateExpiring"}},
		{node: "stapled", inject: staple, also: []string{"RonDegraded"}},
		{node: "keyless", args: []string{"--tls-ticket-file={dir}/tickets"}, inject: stale, also: []string{"RonDegraded"}},
	}
}

// timing are alerts that a busy machine may bring about by itself. They need not be silent all the time, only at some time before their fault.
var timing = map[string]bool{"RonLoopBlocked": true, "RonRequestLatencyHigh": true, "RonInstanceDown": true, "RonTasksQueued": true}

// provoke does something again and again until the alerts fire at an instance. None of them may have been active before.
func (w *world) provoke(instance string, act func() error, alerts ...string) error {
	before, err := w.prom.active(instance)
	if err != nil {
		return err
	}
	for _, a := range before {
		for _, name := range alerts {
			if a.Labels["alertname"] == name && !timing[name] {
				return fmt.Errorf("%s: %s is %s before its fault", instance, name, a.State)
			}
		}
	}
	w.expect(instance, alerts...)
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		if err := act(); err != nil {
			return fmt.Errorf("%s: %w", instance, err)
		}
		now, err := w.prom.active(instance)
		if err != nil {
			return err
		}
		firing := map[string]bool{}
		for _, a := range now {
			firing[a.Labels["alertname"]] = firing[a.Labels["alertname"]] || a.State == "firing"
		}
		missing := alerts[:0:0]
		for _, name := range alerts {
			if !firing[name] {
				missing = append(missing, name)
			}
		}
		if len(missing) == 0 {
			w.seen(alerts...)
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: %v never fired; active are %v", instance, missing, now)
		}
	}
}

// once is an act that is done the first time only.
func once(act func() error) func() error {
	done := false
	return func() error {
		if done {
			return nil
		}
		done = true
		return act()
	}
}

// bomb sends payloads that inflate to more than is allowed.
func bomb(w *world, n *node) error {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		return err
	}
	b := enc.EncodeAll(make([]byte, 64<<10), nil)
	return w.provoke(n.name, func() error {
		s, err := w.clients.dial("tls", n.addr("tls"))
		if err != nil {
			return err
		}
		defer hangUp(s)
		if code := ask(s, framer.Header{AppProtoID: app, Flags: framer.FlagComp}, b); code != 413 {
			return fmt.Errorf("a bomb was answered with %d", code)
		}
		return nil
	}, "RonPayloadsRefused")
}

// crowd opens more connections than one peer may have.
func crowd(w *world, n *node) error {
	var first []*framer.Session
	defer func() {
		for _, s := range first {
			hangUp(s)
		}
	}()
	return w.provoke(n.name, func() error {
		s, err := w.clients.dial("tls", n.addr("tls"))
		if err != nil {
			return err
		}
		if code := ask(s, framer.Header{AppProtoID: app}, nil); code == 200 {
			first = append(first, s)
		} else {
			hangUp(s)
		}
		return nil
	}, "RonRateLimited", "RonConnectionsRefused")
}

// fill has a gateway use more than eight, and less than nine, tenths of its 128 descriptors.
func fill(w *world, n *node) error {
	var all []*framer.Session
	defer func() {
		for _, s := range all {
			hangUp(s)
		}
	}()
	return w.provoke(n.name, func() error {
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.cmd.Process.Pid))
		if err != nil || len(open) >= 108 {
			return err
		}
		for range 110 - len(open) {
			s, err := w.clients.dial("tls", n.addr("tls"))
			if err != nil {
				return err
			}
			all = append(all, s)
			if code := ask(s, framer.Header{AppProtoID: app}, nil); code != 200 {
				return fmt.Errorf("connection %d was answered with %d", len(all), code)
			}
		}
		return nil
	}, "RonDescriptorsNearLimit")
}

// shake is clients that speak something else, trust nobody, say nothing, or send more than a process that stands still takes.
func shake(w *world, n *node) error {
	talk := func(network, addr, text string, times int) error {
		c, err := net.Dial(network, addr)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		for range times {
			if _, err := c.Write([]byte(text)); err != nil {
				return nil // refused, or the buffer is full
			}
		}
		return nil
	}
	silent, err := net.Dial("tcp", n.addr("tls")) // for the deadline
	if err != nil {
		return err
	}
	defer func() { _ = silent.Close() }()
	err = w.provoke(n.name, func() error { return talk("tcp", n.addr("tls"), "GET / HTTP/1.1\r\n\r\n", 1) }, "RonHandshakesFailing")
	err = errors.Join(err, w.provoke(n.name, func() error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := w.clients.wary.Dial(ctx, n.addr("quic")); err == nil {
			return errors.New("a client that trusts nobody has trusted")
		}
		return nil
	}, "RonQUICHandshakesFailing"))
	datagram := make([]byte, 1200)
	return errors.Join(err, w.provoke(n.name, func() error {
		if err := n.signal(syscall.SIGSTOP); err != nil {
			return err
		}
		err := talk("udp", n.addr("quic"), string(datagram), 500)
		return errors.Join(err, n.signal(syscall.SIGCONT), talk("udp", n.addr("quic"), string(datagram), 1))
	}, "RonQUICDatagramsDropped"))
}

func kill(w *world, n *node) error {
	return w.provoke(n.name, once(func() error { return n.signal(syscall.SIGKILL) }), "RonInstanceDown")
}

// vanish has Prometheus scrape a job, and then know nothing of it any more. The window of the rule is short here: if nobody has looked in it, the
// job comes and goes anew.
func vanish(w *world, n *node) error {
	const job = "ron-vanished"
	var gone time.Time
	return w.provoke("", func() error {
		if time.Since(gone) < 20*time.Second {
			return nil
		}
		if err := w.prom.scrape(job, job, n.addr("admin")); err != nil {
			return err
		}
		for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
			up, err := w.prom.ask(`up{job="`+job+`"} == 1`, time.Now(), time.Now())
			if err != nil || len(up) > 0 {
				gone = time.Now()
				return errors.Join(err, w.prom.withdraw(job))
			}
			if time.Now().After(end) {
				return errors.New(job + " is never scraped")
			}
		}
	}, "RonJobGone")
}

// expire replaces a certificate by one that ends in ten days, then in one, and then breaks its files.
func expire(w *world, n *node) error {
	ends := func(life time.Duration) func() error {
		return once(func() error { return errors.Join(w.ca.issue(n.dir, life, nil), n.reload()) })
	}
	if err := w.provoke(n.name, ends(10*24*time.Hour), "RonCertificateExpiring", "RonDegraded"); err != nil {
		return err
	}
	if err := w.provoke(n.name, ends(24*time.Hour), "RonCertificateAboutToExpire"); err != nil {
		return err
	}
	return w.provoke(n.name, once(func() error {
		return errors.Join(os.WriteFile(filepath.Join(n.dir, "tls.key"), []byte("no key"), 0o600), n.reload())
	}), "RonCertificateNotLoaded")
}

// staple has the responder say that a certificate is revoked, and then nobody answer for one that demands a staple.
func staple(w *world, n *node) error {
	err := w.provoke(n.name, once(func() error {
		return errors.Join(w.ca.issue(n.dir, 90*24*time.Hour, asking(w.ca.ocsp.URL)), n.reload())
	}), "RonCertificateRevoked")
	return errors.Join(err, w.provoke(n.name, once(func() error {
		return errors.Join(w.ca.issue(n.dir, 90*24*time.Hour, demanding), n.reload())
	}), "RonStapleMissing", "RonNotReady"))
}

// stale is a file of ticket keys that nobody has renewed for eight days, and then one that cannot be read.
func stale(w *world, n *node) error {
	file := filepath.Join(n.dir, "tickets")
	err := w.provoke(n.name, once(func() error {
		return errors.Join(os.Remove(file), certs.RotateTicketFile(file, time.Now().AddDate(0, 0, -8), 0), n.reload())
	}), "RonTicketKeysStale")
	// The alert fires already. That it is also about keys that cannot be read is what its other half says, and nothing but that.
	return errors.Join(err, os.WriteFile(file, []byte("no keys"), 0o600), n.reload(),
		w.await(fmt.Sprintf("ron_transport_ticket_key_failing{instance=%q} == 1", n.name)))
}

// await waits until an expression has a value.
func (w *world) await(expr string) error {
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		now := time.Now()
		all, err := w.prom.ask(expr, now, now)
		if err != nil || len(all) > 0 {
			return err
		}
		if now.After(end) {
			return fmt.Errorf("never: %s", expr)
		}
	}
}
