package reactor

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// role is the environment variable that makes the test binary play a part in a test of another process; Test functions
// that begin with TestRole are those parts, and do nothing without it.
const role = "REACTOR_TEST_ROLE"

// other is a command that runs this test binary as role name with further environment.
func other(t testing.TB, name string, env ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^TestRole"+name+"$", "-test.v")
	cmd.Env = append(append(os.Environ(), role+"="+name, "GORACE=atexit_sleep_ms=0"), env...)
	return cmd
}

func skipUnlessRole(t *testing.T, name string) {
	if os.Getenv(role) != name {
		t.Skip("a part that other tests play in a process of its own")
	}
}

// echoes says whether a connection answers.
func echoes(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write([]byte("ping")); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 4))
	return err
}

func TestUnixSocketModeIsRaceFree(t *testing.T) {
	for _, tt := range []struct {
		umask int
		mode  os.FileMode
		want  os.FileMode
	}{{0, 0, 0o600}, {0o077, 0o660, 0o660}, {0o777, 0, 0o600}, {0o022, 0o666, 0o666}} {
		old := unix.Umask(tt.umask)
		dir := t.TempDir()
		_ = os.Chmod(dir, 0o700)
		r := start(t, Config{})
		path := filepath.Join(dir, "s")
		lis, err := r.Listen("unix", path, ListenConfig{Protocol: echo.with, UnixMode: tt.mode})
		unix.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		st, err := os.Lstat(path)
		if err != nil || st.Mode().Perm() != tt.want || st.Mode()&os.ModeSocket == 0 {
			t.Errorf("umask %#o, UnixMode %#o: mode %v, %v", tt.umask, tt.mode, st.Mode(), err)
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if err := echoes(c); err != nil {
			t.Error(err)
		}
		_ = c.Close()
		if err := lis.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); !os.IsNotExist(err) {
			t.Errorf("after Close: %v", err)
		}
	}
}

// Before listen nobody can connect, whatever the mode is: that is what makes the chmod in between safe.
func TestUnixModeNeverWiderThanAsked(t *testing.T) {
	old := unix.Umask(0)
	defer unix.Umask(old)
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	var widest atomic.Uint32
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if st, err := os.Lstat(path); err == nil && uint32(st.Mode().Perm()) > widest.Load() {
				widest.Store(uint32(st.Mode().Perm()))
			}
		}
	}()
	r := start(t, Config{})
	for range 100 {
		lis, err := r.Listen("unix", path, ListenConfig{Protocol: echo.with})
		if err != nil {
			t.Fatal(err)
		}
		if err := lis.Close(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	<-done
	if w := widest.Load(); w&0o077 != 0 {
		t.Errorf("the file's mode was %#o for a moment", w)
	}
}

func TestUnixStaleSocketIsReplacedOthersAreNot(t *testing.T) {
	dir := t.TempDir()
	r := start(t, Config{})
	lc := ListenConfig{Protocol: echo.with}

	stale := filepath.Join(dir, "stale")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	_ = l.Close()
	lis, err := r.Listen("unix", stale, lc)
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	if _, err := r.Listen("unix", stale, lc); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("live socket: %v", err)
	}
	c, err := net.Dial("unix", stale)
	if err != nil || echoes(c) != nil {
		t.Fatalf("the live socket suffered: %v", err)
	}
	_ = c.Close()

	for _, kind := range []string{"file", "dir", "link"} {
		path := filepath.Join(dir, kind)
		switch kind {
		case "file":
			err = os.WriteFile(path, []byte("precious"), 0o600)
		case "dir":
			err = os.Mkdir(path, 0o700)
		case "link":
			err = os.Symlink(filepath.Join(dir, "file"), path)
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Listen("unix", path, lc); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "not a socket") {
			t.Errorf("%s: %v", kind, err)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Errorf("%s is gone: %v", kind, err)
		}
	}

	// A file that has taken the place of ours is not ours to remove.
	if err := os.Remove(stale); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(stale, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := lis.Close(); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(stale); err != nil {
		t.Errorf("Close removed another's file: %v", err)
	}
}

func TestUnixAbstractAndPeerCred(t *testing.T) {
	r := start(t, Config{})
	name := "@reactor-test-" + strconv.Itoa(os.Getpid())
	creds := make(chan [3]uint32, 2)
	note := func(c *Conn) {
		pid, uid, gid, ok := c.PeerCred()
		if !ok {
			t.Error("no credentials")
		}
		creds <- [3]uint32{uint32(pid), uid, gid}
	}
	lis, err := r.Listen("unix", name, ListenConfig{Protocol: script{open: note}.with})
	if err != nil {
		t.Fatal(err)
	}
	if lis.Addr().String() != name {
		t.Errorf("address %q", lis.Addr())
	}
	c, err := r.Dial("unix", name, DialConfig{Protocol: script{open: note}.with})
	if err != nil {
		t.Fatal(err)
	}
	want := [3]uint32{uint32(os.Getpid()), uint32(os.Geteuid()), uint32(os.Getegid())}
	for range 2 {
		if got := <-creds; got != want {
			t.Errorf("credentials %v, want %v", got, want)
		}
	}
	if c.RemoteAddr().String() != name || c.LocalAddr().Network() != "unix" {
		t.Errorf("addresses %v, %v", c.LocalAddr(), c.RemoteAddr())
	}
	tcp := listen(t, r, echo)
	got := make(chan bool, 1)
	if _, err := r.Dial("tcp", tcp.Addr().String(), DialConfig{Protocol: script{open: func(c *Conn) { _, _, _, ok := c.PeerCred(); got <- ok }}.with}); err != nil {
		t.Fatal(err)
	}
	if <-got {
		t.Error("credentials on TCP")
	}
}

func TestUnixConfigIsValidated(t *testing.T) {
	r := start(t, Config{})
	path := filepath.Join(t.TempDir(), "s")
	for _, tt := range []struct {
		network, addr string
		lc            ListenConfig
		want          string
	}{
		{"tcp", "127.0.0.1:0", ListenConfig{UnixMode: 0o600}, "only for network unix"},
		{"tcp", "127.0.0.1:0", ListenConfig{AllowUIDs: []uint32{0}}, "only for network unix"},
		{"unix", path, ListenConfig{UnixMode: os.ModeSetuid | 0o600}, "UnixMode"},
		{"unix", path, ListenConfig{AllowUIDs: []uint32{}}, "at least one"},
		{"unix", path, ListenConfig{AllowGIDs: make([]uint32, maxAllowed+1)}, "1025"},
		{"unix", filepath.Join(path, "no", "dir"), ListenConfig{}, "no such file"},
		{"unix", "", ListenConfig{}, "path"},
	} {
		tt.lc.Protocol = echo.with
		if _, err := r.Listen(tt.network, tt.addr, tt.lc); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %q %+v: %v", tt.network, tt.addr, tt.lc.UnixMode, err)
		}
	}
}

func TestUnixAllowList(t *testing.T) {
	me, group := uint32(os.Geteuid()), uint32(os.Getegid())
	for _, tt := range []struct {
		name       string
		uids, gids []uint32
		ok         bool
	}{
		{"me", []uint32{me + 1, me}, nil, true},
		{"my group", nil, []uint32{group}, true},
		{"another", []uint32{me + 1}, nil, false},
		{"another group", []uint32{me + 1}, []uint32{group + 1}, false},
		{"default", nil, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, Config{})
			var refused closes
			path := filepath.Join(t.TempDir(), "s")
			_, err := r.Listen("unix", path, ListenConfig{Protocol: echo.with, AllowUIDs: tt.uids, AllowGIDs: tt.gids,
				OnError: func(_ net.Addr, err error) { refused.add(nil, err) }})
			if err != nil {
				t.Fatal(err)
			}
			c, err := net.Dial("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			if err := echoes(c); (err == nil) != tt.ok {
				t.Fatalf("echo: %v", err)
			}
			if tt.ok {
				return
			}
			if err := refused.one(t); err != ErrPeerRefused {
				t.Errorf("OnError: %v", err)
			}
			waitFor(t, "counter", func() bool { return r.Stats().RefusedPeers == 1 && r.Stats().Conns == 0 })
		})
	}
}

// TestRoleConnect connects to a socket and prints what came of it.
func TestRoleConnect(t *testing.T) {
	skipUnlessRole(t, "Connect")
	c, err := net.Dial("unix", os.Getenv("SOCKET"))
	switch {
	case err != nil:
		t.Logf("result: connect: %v", err)
	case echoes(c) != nil:
		t.Log("result: closed")
	default:
		t.Log("result: served")
	}
}

func TestUnixPeersOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to start a process as another user")
	}
	const nobody = 65534
	dir, err := os.MkdirTemp("", "reactor") // t.TempDir is below a directory that others cannot enter
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	exe, err := os.Executable()
	if err == nil {
		var bin []byte
		if bin, err = os.ReadFile(exe); err == nil {
			err = os.WriteFile(filepath.Join(dir, "test"), bin, 0o755)
		}
	}
	if err = errors.Join(err, os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, addr string
		lc         ListenConfig
		want       string
	}{
		{"default mode", "a", ListenConfig{}, "permission denied"},
		{"wider mode", "b", ListenConfig{UnixMode: 0o666}, "result: served"},
		{"not listed", "c", ListenConfig{UnixMode: 0o666, AllowUIDs: []uint32{0}}, "result: closed"},
		{"listed", "d", ListenConfig{UnixMode: 0o666, AllowUIDs: []uint32{nobody}}, "result: served"},
		{"group", "e", ListenConfig{UnixMode: 0o666, AllowGIDs: []uint32{nobody}}, "result: served"},
		{"abstract", "@", ListenConfig{}, "result: closed"},
		{"abstract, listed", "@l", ListenConfig{AllowUIDs: []uint32{nobody}}, "result: served"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := start(t, Config{})
			addr := filepath.Join(dir, tt.addr)
			if isAbstract(tt.addr) {
				addr = tt.addr + "reactor-" + strconv.Itoa(os.Getpid())
			}
			tt.lc.Protocol = echo.with
			if _, err := r.Listen("unix", addr, tt.lc); err != nil {
				t.Fatal(err)
			}
			cmd := other(t, "Connect", "SOCKET="+addr)
			cmd.Path, cmd.Args[0] = filepath.Join(dir, "test"), "test"
			cmd.Dir = dir
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), tt.want) {
				t.Errorf("%v, want %q in:\n%s", err, tt.want, out)
			}
		})
	}
}

func TestDialledAddresses(t *testing.T) {
	r := start(t, Config{})
	lis := listen(t, r, echo)
	opened := make(chan struct{})
	c, err := r.Dial("tcp", lis.Addr().String(), DialConfig{Protocol: script{open: func(*Conn) { close(opened) }}.with})
	if err != nil {
		t.Fatal(err)
	}
	_ = c.LocalAddr() // any goroutine, any time
	<-opened
	a, ok := c.LocalAddr().(*net.TCPAddr)
	if !ok || a.Port == 0 || !a.IP.IsLoopback() {
		t.Errorf("local address %v", c.LocalAddr())
	}
	if c.RemoteAddr().String() != lis.Addr().String() {
		t.Errorf("remote address %v", c.RemoteAddr())
	}
}

func TestDialPanicLeaksNothing(t *testing.T) {
	r := start(t, Config{}) // looks for leaked descriptors
	lis := listen(t, r, echo)
	for _, dc := range []DialConfig{
		{Protocol: func(*Conn) Protocol { panic("protocol") }},
		{Protocol: echo.with, Filter: func() Filter { panic("filter") }},
	} {
		before := countFDs(t)
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			_, _ = r.Dial("tcp", lis.Addr().String(), dc)
		}()
		if n := countFDs(t); n != before {
			t.Errorf("%d descriptors, %d before", n, before)
		}
	}
	for _, l := range r.loops {
		if n := l.load.Load(); n != 0 {
			t.Errorf("loop %d: load %d", l.id, n)
		}
	}
}
