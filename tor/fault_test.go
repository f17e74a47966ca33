package tor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ron-transport/ron-transport/reactor"
	"github.com/ron-transport/ron-transport/tor/control"
	"github.com/ron-transport/ron-transport/tor/torlab"
)

// TestDialRefusals: what a dial that cannot succeed ends with.
func TestDialRefusals(t *testing.T) {
	network(t)
	noLeaks(t)
	server, client, r := attach(t, 0, Config{}), attach(t, 1, Config{}), loops(t)
	svc := serve(t, server, r, ServiceConfig{Port: 80})
	if err := svc.WaitReady(patient(t)); err != nil {
		t.Fatal(err)
	}
	connect(t, client, r, svc.Addr(), "") // from here on the client has the descriptor
	ghost, err := newOnionKey()
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct {
		name, addr string
		kinds      []Kind
	}{
		{"no such service", ghost.id + ".onion:80", []Kind{KindNotFound}},
		{"a port that the service does not have", strings.TrimSuffix(svc.Addr(), ":80") + ":81", []Kind{KindRefused, KindOffline, KindFailed}},
		{"no onion address", "example.com:80", []Kind{KindBadAddress}},
		{"a misprint", misprint(svc.Addr()), []Kind{KindBadAddress}},
	} {
		began := time.Now()
		_, err := dialOnce(t, client, r, v.addr, "")
		var e *Error
		if !errors.As(err, &e) || !contains(v.kinds, e.Kind) {
			t.Errorf("%s: %v", v.name, err)
		}
		t.Logf("%s: after %v: %v", v.name, time.Since(began).Round(time.Millisecond), err)
	}
}

func contains(all []Kind, k Kind) bool {
	for _, other := range all {
		if other == k {
			return true
		}
	}
	return false
}

// TestClientAuth: without a key, and with another one, the service cannot be reached; with the right one it can.
func TestClientAuth(t *testing.T) {
	network(t)
	noLeaks(t)
	server, client, r := attach(t, 0, Config{}), attach(t, 1, Config{}), loops(t)
	right, wrong := newClientKey(t), newClientKey(t)
	svc := serve(t, server, r, ServiceConfig{ClientAuth: []string{right.Public}})
	if err := svc.WaitReady(patient(t)); err != nil {
		t.Fatal(err)
	}
	expect := func(k Kind) {
		t.Helper()
		for end := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
			began := time.Now()
			cl, err := dialOnce(t, client, r, svc.Addr(), "")
			switch {
			case IsKind(err, k):
				t.Logf("after %v: %v", time.Since(began).Round(time.Millisecond), err)
				return
			case IsKind(err, KindNotFound) && time.Now().Before(end): // not with the directory that was asked yet
			default:
				t.Fatalf("%v, %v; want kind %v", cl, err, k)
			}
		}
	}
	expect(KindAuthNeeded)
	if err := client.AddClientAuth(patient(t), svc.Addr()[:62], wrong.Private); err != nil {
		t.Fatal(err)
	}
	expect(KindAuthWrong)
	if err := client.AddClientAuth(patient(t), svc.Addr()[:62], right.Private); err != nil {
		t.Fatal(err)
	}
	cl := connect(t, client, r, svc.Addr(), "")
	if err := cl.ask(patient(t), pattern(500, 1)); err != nil {
		t.Error(err)
	}
	if err := client.AddClientAuth(patient(t), "example.onion", right.Private); !IsKind(err, KindBadAddress) {
		t.Error(err)
	}
}

// TestServiceTorKilled: the handlers of both ends see their connections end, tor is started again, and the service is published and reached under
// the same address.
func TestServiceTorKilled(t *testing.T) {
	network(t)
	noLeaks(t)
	var h history
	server := own(t, Config{OnStatus: h.add})
	client, r := attach(t, 1, Config{}), loops(t)
	svc := serve(t, server, r, ServiceConfig{})
	if err := svc.WaitReady(patient(t)); err != nil {
		t.Fatal(err)
	}
	cl := connect(t, client, r, svc.Addr(), "")
	began := time.Now()
	if err := unix.Kill(server.Pid(), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	err := <-cl.closed
	t.Logf("the client's handler sees the end after %v: %v", time.Since(began).Round(time.Millisecond), err)
	for svc.Ready() == nil {
		if time.Since(began) > time.Minute {
			t.Fatal("the status stays ready")
		}
		time.Sleep(time.Millisecond)
	}
	if err := svc.WaitReady(patient(t)); err != nil {
		t.Fatal(err)
	}
	t.Logf("published again after %v", time.Since(began).Round(time.Millisecond))
	cl = connect(t, client, r, svc.Addr(), "")
	if err := cl.ask(patient(t), pattern(500, 1)); err != nil {
		t.Error(err)
	}
	t.Logf("reached again after %v", time.Since(began).Round(time.Millisecond))
	if s := server.Status(); s.Starts != 2 || s.State != Ready {
		t.Errorf("%+v", s)
	}
	for _, s := range h.list()[1:] {
		if s.State == NotReady && strings.Contains(s.Detail, "killed") {
			return
		}
	}
	t.Errorf("no status says what happened: %+v", h.list())
}

// TestControlLost: the control connection of a tor of our own may come and go: the service and its connections stay. Of a tor that is not
// ours the service goes with the connection, and is made again.
func TestControlLost(t *testing.T) {
	network(t)
	noLeaks(t)
	for _, v := range []struct {
		name string
		tor  func(Config) *Tor
	}{
		{"our own", func(cfg Config) *Tor { return own(t, cfg) }},
		{"attached", func(cfg Config) *Tor { return attach(t, 0, cfg) }},
	} {
		t.Run(v.name, func(t *testing.T) {
			var h history
			server := v.tor(Config{OnStatus: h.add})
			client, r := attach(t, 1, Config{}), loops(t)
			svc := serve(t, server, r, ServiceConfig{})
			if err := svc.WaitReady(patient(t)); err != nil {
				t.Fatal(err)
			}
			cl := connect(t, client, r, svc.Addr(), "")
			began := time.Now()
			c, err := server.Control()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
			if err := cl.ask(patient(t), pattern(500, 1)); err != nil {
				t.Errorf("a connection has ended with the control connection: %v", err)
			}
			for server.Status().Links < 2 {
				if time.Since(began) > time.Minute {
					t.Fatal("no new control connection")
				}
				time.Sleep(time.Millisecond)
			}
			if err := svc.WaitReady(patient(t)); err != nil {
				t.Fatal(err)
			}
			t.Logf("ready again after %v", time.Since(began).Round(time.Millisecond))
			other := connect(t, client, r, svc.Addr(), "another circuit")
			if err := other.ask(patient(t), pattern(500, 2)); err != nil {
				t.Error(err)
			}
			if s := server.Status(); s.State != Ready || s.Published != 1 {
				t.Errorf("%+v", s)
			}
		})
	}
}

// TestAttachFails: what is wrong with the way to a tor is in the status, and in what a dial returns.
func TestAttachFails(t *testing.T) {
	n := network(t)
	noLeaks(t)
	bad := filepath.Join(t.TempDir(), "cookie")
	if err := os.WriteFile(bad, bytes.Repeat([]byte("x"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	ctl := "unix:" + n.Client(0).ControlSocket()
	r := loops(t)
	for _, v := range []struct {
		name string
		cfg  Config
		ok   func(error) bool
	}{
		{"a cookie that cannot be read", Config{Control: ctl, Auth: control.Auth{CookieFile: bad + ".none"}}, func(err error) bool { return errors.Is(err, control.ErrCookie) }},
		{"another cookie", Config{Control: ctl, Auth: control.Auth{CookieFile: bad}}, func(err error) bool { return errors.Is(err, control.ErrServerHash) }},
		{"no tor", Config{Control: "unix:" + bad + ".none"}, func(err error) bool { return errors.Is(err, unix.ENOENT) }},
		{"nobody listens", Config{Control: "127.0.0.1:1"}, func(err error) bool { return errors.Is(err, unix.ECONNREFUSED) }},
	} {
		tor, err := Open(v.cfg)
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			if err := tor.Ready(); v.ok(err) && IsKind(err, KindNotReady) {
				break
			} else if time.Now().After(end) {
				t.Fatalf("%s: %v", v.name, err)
			}
		}
		if _, err := dialOnce(t, tor, r, onion, ""); !v.ok(err) || !IsKind(err, KindNotReady) {
			t.Errorf("%s: a dial says %v", v.name, err)
		}
		if s := tor.Status(); s.State != NotReady || s.Detail == "" || s.Reason != "not_ready" {
			t.Errorf("%s: %+v", v.name, s)
		}
		if err := tor.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestServiceRefused: what tor does not want is an error at once, or, when tor comes later, in the service's status.
func TestServiceRefused(t *testing.T) {
	network(t)
	noLeaks(t)
	tor, r := attach(t, 0, Config{}), loops(t)
	for _, v := range []struct {
		name string
		cfg  ServiceConfig
	}{
		{"Ports", ServiceConfig{Port: 70000}},
		{"MaxStreams", ServiceConfig{MaxStreams: -1}},
		{"ClientAuth", ServiceConfig{ClientAuth: []string{"x"}}},
		{"Local", ServiceConfig{Local: "nowhere"}},
		{"NonAnonymous", ServiceConfig{NonAnonymous: true}}, // this tor is an anonymous one
	} {
		v.cfg.Listen.Protocol = nobody
		svc, err := tor.Listen(r, v.cfg)
		if svc != nil || err == nil || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(strings.TrimPrefix(v.name, "Non"))) {
			t.Errorf("%s: %v", v.name, err)
		}
	}
	if s := tor.Status(); s.Services != 0 || s.State != Ready {
		t.Errorf("%+v", s)
	}
	late := own(t, Config{})
	svc, err := late.Listen(r, ServiceConfig{NonAnonymous: true, Listen: reactor.ListenConfig{Protocol: nobody}})
	if err == nil { // tor was not there yet
		err = svc.WaitReady(patient(t))
	}
	var refused *control.Error
	if !errors.As(err, &refused) {
		t.Error(err)
	}
}

// TestRelayKilled: a relay dies while frames pass through it. Connections through it end, for the handlers of both sides, and no frame comes that was
// not sent whole: what is answered is what was asked. When the relay is back, services can be opened and reached.
func TestRelayKilled(t *testing.T) {
	n := network(t)
	noLeaks(t)
	server, client, r := attach(t, 0, Config{}), attach(t, 1, Config{}), loops(t)
	svc := serve(t, server, r, ServiceConfig{})
	if err := svc.WaitReady(patient(t)); err != nil {
		t.Fatal(err)
	}
	var clients []*worker
	for i := range 6 {
		clients = append(clients, &worker{client: connect(t, client, r, svc.Addr(), fmt.Sprint("circuit ", i))})
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var wg sync.WaitGroup
	for _, cl := range clients {
		wg.Go(func() { cl.load(t, ctx) })
	}
	for _, cl := range clients { // all are at work
		for at := patient(t); cl.answered.Load() < 3; time.Sleep(time.Millisecond) {
			if at.Err() != nil {
				t.Fatal("a connection does not carry anything")
			}
		}
	}
	relay := busiest(t, client, n)
	began := time.Now()
	relay.Kill()
	time.Sleep(3 * time.Second)
	cancel()
	wg.Wait()
	ended := 0
	for i, cl := range clients {
		select {
		case err := <-cl.closed:
			ended++
			t.Logf("connection %d: ended after %v with %v, %d answers", i, cl.ended.Sub(began).Round(time.Millisecond), err, cl.answered.Load())
		default:
			t.Logf("connection %d: still there, %d answers", i, cl.answered.Load())
		}
	}
	if ended == 0 {
		t.Error("no connection has ended with the relay")
	}
	if err := relay.Restart(patient(t)); err != nil {
		t.Fatal(err)
	}
	// Whether the service itself is found again is between the two tors: now and then the service's keeps introduction points that the
	// clients' cannot reach. One that is opened now must be.
	if _, err := connectWithin(t, 30*time.Second, client, r, svc.Addr(), "after"); err == nil {
		t.Logf("reached again %v after the relay was killed", time.Since(began).Round(time.Millisecond))
	} else {
		t.Logf("not reached again within %v: %v", time.Since(began).Round(time.Millisecond), err)
	}
	fresh := serve(t, server, r, ServiceConfig{})
	if err := fresh.WaitReady(patient(t)); err != nil {
		t.Fatal(err)
	}
	cl := connect(t, client, r, fresh.Addr(), "after")
	if err := cl.ask(patient(t), pattern(5000, 9)); err != nil {
		t.Error(err)
	}
}

// busiest is the relay that most circuits of the client's to the service's rendezvous pass through.
func busiest(t *testing.T, client *Tor, n *torlab.Network) *torlab.Tor {
	t.Helper()
	c, err := client.Control()
	if err != nil {
		t.Fatal(err)
	}
	circuits, err := c.GetInfo(patient(t), "circuit-status")
	if err != nil {
		t.Fatal(err)
	}
	best, most := n.Relays()[0], 0
	for _, r := range n.Relays() {
		passing := 0
		for line := range strings.Lines(circuits) {
			if strings.Contains(line, "HS_CLIENT_REND") && strings.Contains(line, "~"+r.Name()) {
				passing++
			}
		}
		if passing > most {
			best, most = r, passing
		}
	}
	if most == 0 {
		t.Fatalf("no circuit passes through any relay:\n%s", circuits)
	}
	return best
}

// worker is a client that asks without pause.
type worker struct {
	*client
	answered atomic.Int64
	ended    time.Time
}

// load asks with frames of many cells until the connection or ctx ends. Each answer must be the one to its question.
func (cl *worker) load(t *testing.T, ctx context.Context) {
	for i := byte(0); ctx.Err() == nil; i++ {
		err := cl.ask(ctx, pattern(20000+int(i), i))
		if err != nil {
			if cl.ended = time.Now(); strings.Contains(err.Error(), "came back") {
				t.Error(err)
			}
			return
		}
		cl.answered.Add(1)
	}
}
