package tor

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/reactor"
)

// fakeTor is a control port that says what a test wants of it.
type fakeTor struct {
	path string
	wg   sync.WaitGroup

	mu      sync.Mutex
	lis     net.Listener
	answers map[string]string // by the beginning of the command; else 250 OK
	heard   []string
	conns   []net.Conn
}

func newFakeTor(t *testing.T) *fakeTor {
	t.Helper()
	dir, err := os.MkdirTemp("", "fake") // its path is short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeTor{path: filepath.Join(dir, "control"), answers: map[string]string{
		"PROTOCOLINFO":                   "250-PROTOCOLINFO 1\r\n250-AUTH METHODS=NULL\r\n250 OK\r\n",
		"GETINFO status/bootstrap-phase": "250-status/bootstrap-phase=NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY=\"Done\"\r\n250 OK\r\n",
		"GETINFO network-liveness":       "250-network-liveness=up\r\n250 OK\r\n",
		"GETINFO net/listeners/socks":    "250-net/listeners/socks=\"127.0.0.1:1\"\r\n250 OK\r\n",
	}}
	f.up(t)
	t.Cleanup(func() {
		f.down()
		f.wg.Wait()
		_ = os.RemoveAll(dir)
	})
	return f
}

// up begins to listen.
func (f *fakeTor) up(t *testing.T) {
	t.Helper()
	lis, err := net.Listen("unix", f.path)
	if err != nil {
		t.Fatal(err)
	}
	f.mu.Lock()
	f.lis = lis
	f.mu.Unlock()
	f.wg.Go(func() {
		for {
			c, err := lis.Accept()
			if err != nil {
				return
			}
			f.mu.Lock()
			f.conns = append(f.conns, c)
			f.mu.Unlock()
			f.wg.Go(func() { f.serve(c) })
		}
	})
}

// down ends the listener and the connections.
func (f *fakeTor) down() {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.lis.Close()
	for _, c := range f.conns {
		_ = c.Close()
	}
	f.conns = nil
}

func (f *fakeTor) serve(c net.Conn) {
	defer c.Close()
	for s := bufio.NewScanner(c); s.Scan(); {
		line := s.Text()
		f.mu.Lock()
		f.heard = append(f.heard, line)
		reply := "250 OK\r\n"
		for command, a := range f.answers {
			if strings.HasPrefix(line, command) {
				reply = a
			}
		}
		f.mu.Unlock()
		if key, ok := strings.CutPrefix(line, "ADD_ONION "); ok && reply == "250 OK\r\n" {
			reply = fmt.Sprintf("250-ServiceID=%s\r\n250 OK\r\n", f.idOf(key))
		}
		if _, err := c.Write([]byte(reply)); err != nil {
			return
		}
	}
}

// ids are the addresses of the keys that tests use: the fake has no elliptic curve.
var ids sync.Map

func (f *fakeTor) idOf(line string) string {
	key, _, _ := strings.Cut(line, " ")
	id, _ := ids.Load(key)
	return fmt.Sprint(id)
}

// say sends an event on all connections.
func (f *fakeTor) say(event string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.conns {
		_, _ = c.Write([]byte("650 " + event + "\r\n"))
	}
}

// answer changes what is said to a command.
func (f *fakeTor) answer(command, reply string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[command] = reply
}

// hears says whether a command has been given.
func (f *fakeTor) hears(command string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Contains(f.heard, command)
}

// eventually waits until ok says so.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("never:", what)
		}
	}
}

// openFake attaches to a fake.
func openFake(t *testing.T, f *fakeTor) *Tor {
	t.Helper()
	tor, err := Open(Config{Control: "unix:" + f.path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tor.Close(); err != nil {
			t.Error(err)
		}
	})
	return tor
}

// listenFake opens a service whose key the fake knows.
func listenFake(t *testing.T, tor *Tor, r *reactor.Reactor) (*Service, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	k, err := loadKey(file)
	if err != nil {
		t.Fatal(err)
	}
	ids.Store(k.secret, k.id)
	return tor.Listen(r, ServiceConfig{KeyFile: file, Listen: reactor.ListenConfig{Protocol: nobody}})
}

// TestLiveness: a tor whose network is gone is degraded, whether an event says so or the answer to a question does.
func TestLiveness(t *testing.T) {
	noLeaks(t)
	f := newFakeTor(t)
	tor := openFake(t, f)
	is := func(s State) func() bool { return func() bool { return tor.Status().State == s } }
	eventually(t, "ready", is(Ready))
	f.say("NETWORK_LIVENESS DOWN")
	eventually(t, "degraded by an event", is(Degraded))
	if err := tor.Ready(); err != nil {
		t.Errorf("what goes on is refused: %v", err)
	}
	f.say("NETWORK_LIVENESS UP")
	eventually(t, "ready again", is(Ready))
	f.answer("GETINFO network-liveness", "250-network-liveness=down\r\n250 OK\r\n")
	f.down()
	eventually(t, "not ready without a tor", is(NotReady))
	f.up(t)
	eventually(t, "degraded by the answer", is(Degraded))
	f.say("STATUS_CLIENT NOTICE BOOTSTRAP PROGRESS=5 TAG=conn SUMMARY=\"Connecting\"")
	eventually(t, "not ready when bootstrapping begins anew", is(NotReady))
	if s := tor.Status(); s.Progress != 5 || s.Phase != "Connecting" || s.Reason != "not_ready" || s.Links != 2 {
		t.Errorf("%+v", s)
	}
}

// TestServiceStates: what tor says of a service is what its status says, and a service that is closed while tor cannot hear of it is forgotten later.
func TestServiceStates(t *testing.T) {
	noLeaks(t)
	f := newFakeTor(t)
	tor, r := openFake(t, f), loops(t)
	eventually(t, "ready", func() bool { return tor.Ready() == nil })
	svc, err := listenFake(t, tor, r)
	if err != nil {
		t.Fatal(err)
	}
	f.say("HS_DESC FAILED " + svc.key.id + " UNKNOWN $A desc REASON=NOT_FOUND") // of somebody who looked for it
	f.say("HS_DESC UPLOADED " + strings.Repeat("a", 56) + " UNKNOWN $A desc")   // another's
	f.say("HS_DESC FAILED " + svc.key.id + " UNKNOWN $A desc REASON=UPLOAD_REJECTED")
	eventually(t, "the failed upload is told", func() bool { return strings.Contains(fmt.Sprint(svc.Ready()), "UPLOAD_REJECTED") })
	if s := tor.Status(); s.State != NotReady || s.Services != 1 || s.Published != 0 {
		t.Errorf("%+v", s)
	}
	f.say("HS_DESC UPLOADED " + svc.key.id + " UNKNOWN $A desc")
	eventually(t, "published", func() bool { return svc.Ready() == nil && tor.Status().Published == 1 })
	f.down()
	eventually(t, "not ready", func() bool { return svc.Ready() != nil })
	f.up(t)
	eventually(t, "added again", func() bool { return strings.Contains(fmt.Sprint(svc.Ready()), "not published yet") })
	svc.adding.Lock() // the add is over
	tor.mu.Lock()
	svc.request.Detach = true // as on a tor of our own: the end of the connection does not end it
	tor.mu.Unlock()
	svc.adding.Unlock()
	f.down()
	eventually(t, "down", func() bool { _, err := tor.Control(); return err != nil })
	if err := svc.Close(); err != nil {
		t.Error(err)
	}
	if err := svc.Ready(); !IsKind(err, KindNotReady) || err.(*Error).RetryAfter() != 0 {
		t.Errorf("a closed service may be tried again: %v", err)
	}
	f.mu.Lock()
	f.heard = nil
	f.mu.Unlock()
	f.up(t)
	eventually(t, "tor is told to forget it", func() bool { return f.hears("DEL_ONION " + svc.key.id) })
	eventually(t, "and that is done", func() bool { tor.mu.Lock(); defer tor.mu.Unlock(); return len(tor.orphans) == 0 })
}

// TestServiceCollision: a service that tor has already is ours when we have lost the connection only, and is made anew otherwise.
func TestServiceCollision(t *testing.T) {
	noLeaks(t)
	f := newFakeTor(t)
	tor, r := openFake(t, f), loops(t)
	eventually(t, "ready", func() bool { return tor.Ready() == nil })
	f.answer("ADD_ONION", "550 Onion address collision\r\n")
	if svc, err := listenFake(t, tor, r); err == nil || !strings.Contains(err.Error(), "collision") {
		t.Errorf("%v, %v", svc, err)
	}
	if s := tor.Status(); s.Services != 0 || s.State != Ready {
		t.Errorf("%+v", s)
	}
	f.mu.Lock()
	delete(f.answers, "ADD_ONION")
	f.mu.Unlock()
	svc, err := listenFake(t, tor, r)
	if err != nil {
		t.Fatal(err)
	}
	tor.mu.Lock()
	svc.request.Detach, svc.state = true, servicePublished
	tor.mu.Unlock()
	f.answer("ADD_ONION", "550 Onion address collision\r\n")
	c, err := tor.Control()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	eventually(t, "ready again at once", func() bool { s := tor.Status(); return s.Links == 2 && s.State == Ready })
	if err := svc.Close(); err != nil {
		t.Error(err)
	}
}

// TestCrashLoop: a tor that ends again and again is one that does not bootstrap in time, and the status says why.
func TestCrashLoop(t *testing.T) {
	noLeaks(t)
	tor, err := Open(Config{Process: Process{Exe: "/bin/false"}, BootstrapTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	dir := tor.cfg.Process.DataDir
	if err := tor.WaitReady(patient(t)); !IsKind(err, KindBootstrap) {
		t.Error(err)
	}
	eventually(t, "started again and again, and why it ends", func() bool {
		s := tor.Status()
		return s.Starts >= 2 && s.Reason == "tor_bootstrap" && strings.Contains(s.Detail, "exit status 1")
	})
	if err := tor.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is left: %v", dir, err)
	}
}
