package reactor

import (
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Every algorithm that this process may choose reaches the listening, the accepted and the dialled socket.
func TestCongestionReachesTheSockets(t *testing.T) {
	names := congestionList(congestionAllowed) // the kernel always has reno
	if !slices.Contains(names, "reno") {
		t.Skipf("no list of algorithms in %s: %q", congestionAllowed, names)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			r := start(t, Config{Congestion: name})
			fds := make(chan int, 2)
			lis := listen(t, r, script{open: func(c *Conn) { fds <- int(c.fd) }})
			if got := lis.Congestion(); got != name {
				t.Errorf("the listening socket has %q", got)
			}
			if _, err := r.Dial("tcp", lis.Addr().String(), DialConfig{Protocol: script{open: func(c *Conn) { fds <- int(c.fd) }}.with}); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if got, err := unix.GetsockoptString(<-fds, unix.IPPROTO_TCP, unix.TCP_CONGESTION); got != name || err != nil {
					t.Errorf("a connection has %q, %v", got, err)
				}
			}
			unixLis, err := r.Listen("unix", t.TempDir()+"/s", ListenConfig{Protocol: echo.with})
			if err != nil {
				t.Fatalf("a unix socket, which has no such option: %v", err)
			}
			if got := unixLis.Congestion(); got != "" {
				t.Errorf("a unix socket has %q", got)
			}
		})
	}
}

// Without the knob a socket has what the system gives it.
func TestCongestionIsTheSystems(t *testing.T) {
	want, err := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	if err != nil {
		t.Skip(err)
	}
	if got := listen(t, start(t, Config{}), echo).Congestion(); got != strings.TrimSpace(string(want)) {
		t.Errorf("the socket has %q, the system's is %q", got, want)
	}
}

// A name that the kernel does not have is refused before anything starts, and the message names those it has.
func TestCongestionIsValidated(t *testing.T) {
	names := congestionList(congestionAvailable)
	if len(names) == 0 {
		t.Skip("no list of algorithms")
	}
	want := `reactor: Congestion is "fast", allowed are ` + strings.Join(names, ", ") + `, and "" for the system's own`
	if _, err := New(Config{Congestion: "fast"}); err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}
