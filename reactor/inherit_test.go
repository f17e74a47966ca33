package reactor

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestListenFileIsValidated(t *testing.T) {
	r := start(t, Config{})
	lc := ListenConfig{Protocol: echo.with}
	open := func(typ int) *os.File {
		fd, err := unix.Socket(unix.AF_INET, typ|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(fd), "socket")
	}
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	closed := open(unix.SOCK_STREAM)
	_ = closed.Close()
	lis := listen(t, r, echo)
	good, err := lis.File()
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		f    *os.File
		lc   ListenConfig
		want string
	}{
		{"nil", nil, lc, "nil"},
		{"closed", closed, lc, "closed"},
		{"not a socket", null, lc, "not a listening stream socket"},
		{"datagrams", open(unix.SOCK_DGRAM), lc, "not a listening stream socket"},
		{"not listening", open(unix.SOCK_STREAM), lc, "not a listening stream socket"},
		{"no protocol", good, ListenConfig{}, "Protocol"},
		{"mode", good, ListenConfig{Protocol: echo.with, UnixMode: 0o600}, "UnixMode"},
		{"uids on tcp", good, ListenConfig{Protocol: echo.with, AllowUIDs: []uint32{0}}, "only for network unix"},
		{"name", good, ListenConfig{Protocol: echo.with, Name: strings.Repeat("x", 256)}, "Name has 256"},
	} {
		if _, err := r.ListenFile(tt.f, tt.lc); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
		if tt.f != nil {
			defer func() { _ = tt.f.Close() }()
		}
	}
	// A blocking socket is made non-blocking, and the descriptor is close-on-exec.
	fd := int(good.Fd())
	if err := unix.SetNonblock(fd, false); err != nil {
		t.Fatal(err)
	}
	second, err := r.ListenFile(good, lc)
	if err != nil {
		t.Fatal(err)
	}
	flags, err := unix.FcntlInt(uintptr(second.fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_NONBLOCK == 0 {
		t.Errorf("flags %#x, %v", flags, err)
	}
	if flags, err := unix.FcntlInt(uintptr(second.fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, %v", flags, err)
	}
	if second.Addr().String() != lis.Addr().String() {
		t.Errorf("address %v, want %v", second.Addr(), lis.Addr())
	}
}

// TestRoleInherited plays a service that systemd has started.
func TestRoleInherited(t *testing.T) {
	skipUnlessRole(t, "Inherited")
	files, err := InheritedFiles()
	if err != nil {
		fmt.Printf("result: error %v\n", err)
		return
	}
	for _, f := range files {
		flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		fmt.Printf("result: %s cloexec=%v %v\n", f.Name(), flags&unix.FD_CLOEXEC != 0, err)
	}
	again, err := InheritedFiles()
	fmt.Printf("result: %d, then %d %v, LISTEN in environment %v\n", len(files), len(again), err, strings.Contains(strings.Join(os.Environ(), "\n"), "LISTEN_"))
	if len(files) == 0 {
		return
	}
	r, err := New(Config{Loops: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	served := make(chan struct{}, 8)
	s := echo
	s.close = func(*Conn, error) { served <- struct{}{} }
	for _, f := range files {
		if _, err := r.ListenFile(f, ListenConfig{Protocol: s.with}); err != nil {
			t.Fatal(err)
		}
		_ = f.Close()
	}
	for range files {
		<-served
	}
}

// foreign are listeners that this package has not made, and their files.
func foreign(t *testing.T) (_, _ net.Listener, files []*os.File) {
	t.Helper()
	tcp, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tcp.Close() })
	local, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(t.TempDir(), "s"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = local.Close() })
	for _, l := range []interface{ File() (*os.File, error) }{tcp, local} {
		f, err := l.File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		files = append(files, f)
	}
	return tcp, local, files
}

func TestInheritedFiles(t *testing.T) {
	tcp, local, files := foreign(t)
	for _, tt := range []struct {
		name, pid, fds, names string
		files                 []*os.File
		want                  []string
	}{
		{"two with names", "$$", "2", "web:local", files, []string{"result: web cloexec=true <nil>", "result: local cloexec=true <nil>", "result: 2, then 0 <nil>, LISTEN in environment false"}},
		{"two without", "$$", "2", "", files, []string{"result: LISTEN_FD_3 cloexec=true", "result: LISTEN_FD_4 cloexec=true"}},
		{"an empty name", "$$", "2", "web:", files, []string{"result: web ", "result: LISTEN_FD_4 "}},
		{"another process'", "1", "2", "", nil, []string{"result: 0, then 0 <nil>, LISTEN in environment false"}},
		{"none", "", "", "", nil, []string{"result: 0, then 0"}},
		{"zero", "$$", "0", "", nil, []string{"result: 0, then 0"}},
		{"bad pid", "x", "2", "", nil, []string{`result: error reactor: LISTEN_PID is "x"`}},
		{"bad count", "$$", "-1", "", nil, []string{`result: error reactor: LISTEN_FDS is "-1"`}},
		{"huge count", "$$", "100000", "", nil, []string{`result: error reactor: LISTEN_FDS is "100000"`}},
		{"too few names", "$$", "2", "web", files, []string{`result: error reactor: LISTEN_FDNAMES is "web"`}},
		{"not open", "$$", "900", "", nil, []string{"is not open"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			self := other(t, "Inherited")
			cmd := *self
			cmd.Path = "/bin/sh" // so that LISTEN_PID can be the process' own number
			cmd.Args = append([]string{"sh", "-c", `export LISTEN_PID="` + tt.pid + `"; exec "$0" "$@"`, self.Path}, self.Args[1:]...)
			cmd.Env = append(cmd.Env, "LISTEN_FDS="+tt.fds, "LISTEN_FDNAMES="+tt.names)
			cmd.ExtraFiles = tt.files
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if len(tt.files) > 0 && !strings.Contains(tt.want[0], "error") {
				for _, l := range []net.Listener{tcp, local} {
					c, err := net.Dial(l.Addr().Network(), l.Addr().String())
					if err == nil {
						err = echoes(c)
						_ = c.Close()
					}
					if err != nil {
						t.Error(err)
					}
				}
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("want %q in:\n%s", want, out.String())
				}
			}
		})
	}
}
