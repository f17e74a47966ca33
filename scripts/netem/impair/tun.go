package impair

import (
	"bufio"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// noDevice is the descriptor of a device that is not open.
const noDevice = -1

// openTUN makes a TUN device in the thread's namespace. Its descriptor does not block; it is a bare one because the runtime's poller has no
// business with it. The device has neither a header of its own nor one for offloads, so that each packet is one IP packet of the device's
// MTU at most.
func openTUN(name string) (int, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return noDevice, fmt.Errorf("%w: /dev/net/tun: %w", ErrUnable, err)
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		if err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr); err != nil {
			err = fmt.Errorf("%w: a TUN device: %w", ErrUnable, err)
		}
	}
	if err != nil {
		return noDevice, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// configure gives the thread's device an address in a network of two hosts, an MTU and a queue, and brings it up.
func configure(name string, addr netip.Prefix, mtu int) error {
	// Without IPv6 nothing speaks unasked on the path. Where the kernel has none the file is not there.
	err := os.WriteFile("/proc/sys/net/ipv6/conf/"+name+"/disable_ipv6", []byte("1"), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	mask := uint32(0xffffffff) << (32 - addr.Bits())
	for _, set := range []struct {
		request uint
		what    string
		fill    func(*unix.Ifreq) error
	}{
		{unix.SIOCSIFMTU, "MTU", func(r *unix.Ifreq) error { r.SetUint32(uint32(mtu)); return nil }},
		{unix.SIOCSIFTXQLEN, "queue", func(r *unix.Ifreq) error { r.SetUint32(deviceQueue); return nil }},
		{unix.SIOCSIFADDR, "address", func(r *unix.Ifreq) error { return r.SetInet4Addr(addr.Addr().AsSlice()) }},
		{unix.SIOCSIFNETMASK, "netmask", func(r *unix.Ifreq) error {
			return r.SetInet4Addr([]byte{byte(mask >> 24), byte(mask >> 16), byte(mask >> 8), byte(mask)})
		}},
	} {
		if err := interfaceIoctl(name, set.request, set.fill); err != nil {
			return fmt.Errorf("%s of %s: %w", set.what, name, err)
		}
	}
	return linkUp(name)
}

// linkUp brings an interface of the thread's namespace up.
func linkUp(name string) error {
	err := interfaceIoctl(name, unix.SIOCSIFFLAGS, func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING); return nil })
	if err != nil {
		return fmt.Errorf("%s up: %w", name, err)
	}
	return nil
}

func interfaceIoctl(name string, request uint, fill func(*unix.Ifreq) error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer func() { _ = unix.Close(fd) }()
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := fill(ifr); err != nil {
		return err
	}
	return unix.IoctlIfreq(fd, request, ifr)
}

// droppedBy is how many packets the kernel dropped at a device of the thread's namespace because nobody took them.
func droppedBy(name string) (uint64, error) {
	const sentDropped = 11 // of the figures after the colon: eight of what came, then bytes, packets, errors, drops of what went
	f, err := os.Open("/proc/thread-self/net/dev")
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		dev, figures, ok := strings.Cut(sc.Text(), ":")
		if fields := strings.Fields(figures); ok && strings.TrimSpace(dev) == name && len(fields) > sentDropped {
			return strconv.ParseUint(fields[sentDropped], 10, 64)
		}
	}
	return 0, fmt.Errorf("no figures of %s", name)
}
