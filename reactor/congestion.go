package reactor

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// The kernel's own lists: the algorithms that it has loaded, and of those the ones that a process without CAP_NET_ADMIN may
// choose.
const (
	congestionAvailable = "/proc/sys/net/ipv4/tcp_available_congestion_control"
	congestionAllowed   = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"
)

// validateCongestion refuses an algorithm that sockets could not be given. The kernel is asked with a socket that is thrown
// away: its lists alone do not say what this process may choose.
func (c Config) validateCongestion() error {
	if c.Congestion == "" {
		return nil
	}
	// The kernel would load a module of that name; a typing error is no reason for that.
	if names := congestionList(congestionAvailable); len(names) > 0 && !slices.Contains(names, c.Congestion) {
		return fmt.Errorf("reactor: Congestion is %q, allowed are %s, and \"\" for the system's own", c.Congestion, strings.Join(names, ", "))
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	err = setCongestion(fd, c.Congestion)
	_ = unix.Close(fd)
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("reactor: Congestion is %q, allowed are %s, and \"\" for the system's own: others need CAP_NET_ADMIN",
			c.Congestion, strings.Join(congestionList(congestionAllowed), ", "))
	case err != nil:
		return fmt.Errorf("reactor: Congestion is %q, which the kernel refuses: %w", c.Congestion, err)
	}
	return nil
}

// congestionList reads a list of the kernel's; it is empty where there is none to read.
func congestionList(path string) []string {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	return strings.Fields(string(b))
}

func setCongestion(fd int, name string) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name))
}

// congestionOf is what a socket has; "" where it has none, as a unix socket.
func congestionOf(fd int) string {
	name, err := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	if err != nil {
		return ""
	}
	return name
}
