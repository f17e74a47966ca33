package control

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/tor/internal/proc"
)

// realTor starts a tor without network, with more lines of configuration, and returns its directory.
func realTor(t *testing.T, lines ...string) (dir string, p *proc.Process) {
	t.Helper()
	if _, err := exec.LookPath("tor"); err != nil {
		t.Skip("tor is not installed:", err)
	}
	dir, err := os.MkdirTemp("", "ctl") // its path is short enough for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	torrc := append([]string{"DisableNetwork 1", "SocksPort 0", "DataDirectory " + dir, "Log notice stdout", "ControlPort unix:" + filepath.Join(dir, "control")}, lines...)
	p, err = proc.Start(strings.Join(torrc, "\n")+"\n", "tor", "-f", "-", "--defaults-torrc", os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return dir, p
}

// dialTor connects to a tor that has just been started.
func dialTor(t *testing.T, network, addr string, o Options) *Conn {
	t.Helper()
	for ctx := short(t); ; time.Sleep(10 * time.Millisecond) {
		c, err := Dial(ctx, network, addr, o)
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
			return c
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

// passwordHash has tor hash a password for HashedControlPassword.
func passwordHash(t *testing.T, password string) string {
	t.Helper()
	if _, err := exec.LookPath("tor"); err != nil {
		t.Skip("tor is not installed:", err)
	}
	out, err := proc.Run(30*time.Second, "", "tor", "--quiet", "--defaults-torrc", os.DevNull, "-f", os.DevNull, "--hash-password", password)
	lines := strings.Fields(out)
	if err != nil || len(lines) == 0 {
		t.Fatal(out, err)
	}
	return lines[len(lines)-1]
}

// TestRealTor: every way to authenticate at tor itself, and every command.
func TestRealTor(t *testing.T) {
	const password = `a "password" \ with ünicode`
	for _, v := range []struct {
		name  string
		lines []string
		auth  Auth
		want  Method
		code  int // of the refusal
	}{
		{"null", nil, Auth{}, MethodNull, 0},
		{"safe cookie", []string{"CookieAuthentication 1"}, Auth{}, MethodSafeCookie, 0},
		{"password", []string{"HashedControlPassword " + passwordHash(t, password)}, Auth{Password: password}, MethodPassword, 0},
		{"a wrong password", []string{"HashedControlPassword " + passwordHash(t, password)}, Auth{Password: "x"}, MethodPassword, CodeBadAuth},
	} {
		t.Run(v.name, func(t *testing.T) {
			noLeaks(t)
			dir, _ := realTor(t, v.lines...)
			var events []Event
			c := dialTor(t, "unix", filepath.Join(dir, "control"), Options{OnEvent: func(e Event) { events = append(events, e) }})
			m, err := c.Authenticate(short(t), v.auth)
			if m != v.want || v.code == 0 && err != nil || v.code != 0 && !IsCode(err, v.code) {
				t.Fatal(m, err)
			}
			if v.code == 0 {
				useTor(t, c)
				_ = c.Close()
				if len(events) == 0 || events[0].Type != "CONF_CHANGED" {
					t.Errorf("%+v", events)
				}
			}
		})
	}
}

// useTor gives each command.
func useTor(t *testing.T, c *Conn) {
	t.Helper()
	ctx := short(t)
	if v, err := c.GetInfo(ctx, "version"); err != nil || !strings.HasPrefix(v, "0.") {
		t.Error(v, err)
	}
	if v, err := c.GetInfo(ctx, "config/names"); err != nil || !strings.Contains(v, "\nControlPort ") {
		t.Errorf("%.80q, %v", v, err)
	}
	if _, err := c.GetInfo(ctx, "no-such-thing"); !IsCode(err, CodeNotFound) {
		t.Error(err)
	}
	k, err := GenerateClientKey()
	if err != nil {
		t.Fatal(err)
	}
	q := OnionRequest{Ports: []Port{{80, "unix:/nowhere"}, {81, "127.0.0.1:81"}}, MaxStreams: 3, CloseCircuit: true, ClientAuth: []string{k.Public}}
	o, err := c.AddOnion(ctx, q)
	if err != nil || len(o.ServiceID) != 56 || !strings.HasPrefix(o.Key, KeyPrefix) {
		t.Fatal(o, err)
	}
	q.Key = o.Key
	if _, err := c.AddOnion(ctx, q); !IsCode(err, CodeUnspecified) {
		t.Error("the same service twice:", err)
	}
	discarded, err := c.AddOnion(ctx, OnionRequest{Ports: q.Ports, DiscardKey: true, Detach: true})
	if err != nil || discarded.Key != "" {
		t.Error(discarded, err)
	}
	if err := errors.Join(c.DelOnion(ctx, o.ServiceID), c.DelOnion(ctx, discarded.ServiceID)); err != nil {
		t.Error(err)
	}
	if err := c.DelOnion(ctx, o.ServiceID); !IsCode(err, CodeNotFound) {
		t.Error(err)
	}
	if _, err := c.AddOnion(ctx, OnionRequest{Ports: q.Ports, PoW: true, PoWRate: 10, PoWBurst: 20}); err != nil {
		t.Log("this tor has no proof-of-work defence:", err)
	}
	if _, err := c.AddOnion(ctx, OnionRequest{Ports: q.Ports, NonAnonymous: true}); !IsCode(err, CodeSyntax) && !IsCode(err, 511) && !IsCode(err, CodeUnrecognizedArg) {
		t.Error("a single-hop service on an anonymous tor:", err)
	}
	for _, err := range []error{
		c.AddClientAuth(ctx, o.ServiceID, k.Private, false), c.RemoveClientAuth(ctx, o.ServiceID), c.SetEvents(ctx, "HS_DESC", "CONF_CHANGED"),
		c.SetConf(ctx, map[string][]string{"MaxCircuitDirtiness": {"77"}, "ContactInfo": {`a "b" \c` + "\td"}}), c.Signal(ctx, SignalDormant), c.Signal(ctx, SignalActive),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	r, err := c.Command(ctx, "GETCONF ContactInfo")
	if v, _, ok := Unquote(strings.TrimPrefix(r.Text(), "ContactInfo=")); err != nil || !ok && r.Text() != "ContactInfo=a \"b\" \\c\td" || ok && v != "a \"b\" \\c\td" {
		t.Errorf("%q, %v", r.Text(), err)
	}
}

// TestRealTorEnds: tor ends when its owner's connection does, and when it is told to.
func TestRealTorEnds(t *testing.T) {
	for _, v := range []struct {
		name string
		end  func(ctx context.Context, c *Conn) error
	}{
		{"TAKEOWNERSHIP", func(ctx context.Context, c *Conn) error { return errors.Join(c.TakeOwnership(ctx), c.Close()) }},
		{"SIGNAL HALT", func(ctx context.Context, c *Conn) error {
			if err := c.Signal(ctx, SignalHalt); err != nil && !errors.Is(err, ErrClosed) {
				return err
			}
			return nil
		}},
	} {
		t.Run(v.name, func(t *testing.T) {
			dir, p := realTor(t)
			c := dialTor(t, "unix", filepath.Join(dir, "control"), Options{})
			if _, err := c.Authenticate(short(t), Auth{}); err != nil {
				t.Fatal(err)
			}
			if err := v.end(short(t), c); err != nil {
				t.Fatal(err)
			}
			select {
			case <-p.Done():
			case <-short(t).Done():
				t.Error("tor still runs")
			}
		})
	}
}

// TestRealTorTCP: the same over TCP, on a port that tor has chosen.
func TestRealTorTCP(t *testing.T) {
	dir, _ := realTor(t, "ControlPort 127.0.0.1:auto", "CookieAuthentication 1")
	c := dialTor(t, "unix", filepath.Join(dir, "control"), Options{})
	if _, err := c.Authenticate(short(t), Auth{}); err != nil {
		t.Fatal(err)
	}
	all, err := c.GetInfo(short(t), "net/listeners/control")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range Words(all) {
		if !strings.HasPrefix(l, "unix:") {
			tcp := dialTor(t, "tcp", l, Options{})
			if m, err := tcp.Authenticate(short(t), Auth{}); m != MethodSafeCookie || err != nil {
				t.Error(m, err)
			}
			return
		}
	}
	t.Errorf("no TCP port in %q", all)
}
