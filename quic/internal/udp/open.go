package udp

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Options is how sockets are opened.
type Options struct {
	// Sockets is how many share the address, 1 to 256; 0 is 1. Several have SO_REUSEPORT, and a datagram reaches the one
	// whose index is the first byte of its destination connection ID modulo Sockets.
	Sockets int
	// SendBuffer and RecvBuffer are SO_SNDBUF and SO_RCVBUF in bytes, 64 KiB to 1 GiB; 0 is 7 MiB, -1 leaves the kernel's
	// default. A process with CAP_NET_ADMIN may exceed net.core.wmem_max and rmem_max; others are clamped, which is logged.
	SendBuffer, RecvBuffer int
	// DisableGRO and DisableGSO do without the kernel's coalescing and segmentation, as if it had none.
	DisableGRO, DisableGSO bool
	// JoinPeers lets datagrams of different connections to one address leave in one message. It is for sockets that accept: a peer with
	// several connections at an address has one socket there. A server that is dialled may have several, and the kernel, when it
	// delivers a message undivided, knows only its first datagram. Without it the *net.UDPAddr tells connections apart.
	JoinPeers bool
	// Logger gets a line when the kernel lacks an offload and one when it clamps a buffer; nil is slog.Default.
	Logger *slog.Logger
}

// Offload says what the kernel does for the sockets of an address.
type Offload struct {
	GRO      bool // received datagrams come coalesced (UDP_GRO)
	GSO      bool // sent datagrams may be coalesced (UDP_SEGMENT)
	Steering bool // datagrams follow their connection ID to its socket; false: the hash of their addresses decides
}

func (o *Options) validate() error {
	if o.Sockets < 0 || o.Sockets > maxSockets {
		return fmt.Errorf("udp: Sockets is %d, allowed are 0 to %d", o.Sockets, maxSockets)
	}
	check := func(field string, v int) error {
		if v != 0 && v != -1 && (v < minSocketBuffer || v > maxSocketBuffer) {
			return fmt.Errorf("udp: %s is %d, allowed are -1, 0 and %d to %d bytes", field, v, minSocketBuffer, maxSocketBuffer)
		}
		return nil
	}
	return errors.Join(check("SendBuffer", o.SendBuffer), check("RecvBuffer", o.RecvBuffer))
}

// Open opens the sockets of one address. Without an IP address they take datagrams to any address, of IPv6 and IPv4 where the
// machine has both, as with "::"; another IPv6 address is for IPv6 only. Port 0 has the kernel choose one. It fails with the
// system's error, as *os.SyscallError, or with one that says which option is out of range. Any goroutine.
func Open(addr netip.AddrPort, o Options) ([]*Socket, error) {
	return openSteered(addr, o, attachSteering)
}

// openSteered is Open with attach for attachSteering. Without steering the sockets work all the same: a datagram reaches the
// one that the kernel's hash of its addresses says.
func openSteered(addr netip.AddrPort, o Options, attach func(fd, n int) error) ([]*Socket, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	socks := make([]*Socket, max(1, o.Sockets))
	steered := true
	for i := range socks {
		s, err := open(addr, &o, len(socks) > 1)
		if err == nil && i == 0 && len(socks) > 1 {
			// Before the socket has its address, so that no datagram is ever steered otherwise.
			steered = attach(s.fd, len(socks)) == nil
		}
		if err == nil {
			s.offload.Steering = steered
			socks[i] = s
			if err = s.bind(addr); err == nil {
				addr = netip.AddrPortFrom(addr.Addr(), uint16(s.local.Port))
			}
		}
		if err != nil {
			for _, s := range socks[:i+1] {
				if s != nil {
					_ = s.Close()
				}
			}
			return nil, err
		}
	}
	if steered && len(socks) > 1 {
		for _, s := range socks {
			s.group = socks
		}
	}
	socks[0].report(&o)
	return socks, nil
}

// open makes a socket that has no address yet.
func open(addr netip.AddrPort, o *Options, shared bool) (*Socket, error) {
	s := &Socket{sys: linux{}, family: unix.AF_INET6}
	ip := addr.Addr().Unmap()
	if ip.Is4() {
		s.family = unix.AF_INET
	}
	fd, err := unix.Socket(s.family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil && !ip.IsValid() && errors.Is(err, unix.EAFNOSUPPORT) {
		s.family = unix.AF_INET
		fd, err = unix.Socket(s.family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	}
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s.fd = fd
	s.refs.Store(1)
	defer s.release()
	if shared {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if err == nil && s.family == unix.AF_INET6 {
		only := 1
		if !ip.IsValid() || ip.IsUnspecified() {
			only = 0
		}
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, only)
	}
	if err == nil {
		err = s.configure(o)
	}
	if err != nil {
		_ = s.Close()
		return nil, os.NewSyscallError("setsockopt", err)
	}
	return s, nil
}

// configure sets sizes and offloads.
func (s *Socket) configure(o *Options) (err error) {
	if s.sent, err = sizeBuffer(s.fd, unix.SO_SNDBUF, unix.SO_SNDBUFFORCE, o.SendBuffer); err != nil {
		return err
	}
	if s.rcvd, err = sizeBuffer(s.fd, unix.SO_RCVBUF, unix.SO_RCVBUFFORCE, o.RecvBuffer); err != nil {
		return err
	}
	if !o.DisableGSO {
		_, e := unix.GetsockoptInt(s.fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		s.offload.GSO = e == nil
	}
	if !o.DisableGRO && coalescingWorks() {
		s.offload.GRO = unix.SetsockoptInt(s.fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
	}
	size := plainSlabSize
	if s.offload.GRO {
		size = slabSize
	}
	s.depot.init(size)
	s.room.init()
	s.loop.want = keepSlabs
	s.outbox.init(!s.offload.GSO, o.JoinPeers)
	s.messages.New = func() any { return new(message) }
	return nil
}

// bind gives the socket its address.
func (s *Socket) bind(addr netip.AddrPort) error {
	if err := unix.Bind(s.fd, s.sockaddr(addr)); err != nil {
		return os.NewSyscallError("bind", err)
	}
	var err error
	if s.local, err = localAddr(s.fd); err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	return nil
}

// report logs what is missing.
func (s *Socket) report(o *Options) {
	var missing []string
	if !s.offload.GRO && !o.DisableGRO {
		missing = append(missing, "receive coalescing (UDP_GRO)")
	}
	if !s.offload.GSO && !o.DisableGSO {
		missing = append(missing, "send segmentation (UDP_SEGMENT)")
	}
	if !s.offload.Steering {
		missing = append(missing, "steering by connection ID (SO_ATTACH_REUSEPORT_CBPF)")
	}
	if len(missing) > 0 {
		o.Logger.Warn("UDP offload not available", "missing", strings.Join(missing, ", "), "addr", s.local)
	}
	if s.sent.clamped() || s.rcvd.clamped() {
		o.Logger.Warn("UDP socket buffers smaller than configured", "addr", s.local,
			"send", s.sent.asked, "send_granted", s.sent.granted/2, "recv", s.rcvd.asked, "recv_granted", s.rcvd.granted/2)
	}
}

// buffer is one of the kernel's two buffers of a socket.
type buffer struct {
	option, force int // SO_RCVBUF and SO_RCVBUFFORCE, or those for sending
	asked         int // bytes; 0: the kernel's default
	granted       int // what getsockopt says, twice the payload
}

// sizeBuffer sets a buffer's size as configured, beyond the system's limit where the process may.
func sizeBuffer(fd, option, force, bytes int) (b buffer, err error) {
	b = buffer{option: option, force: force}
	if bytes == 0 {
		bytes = DefaultSocketBuffer
	}
	if bytes > 0 {
		b.asked = bytes
		if err = b.set(fd, bytes); err != nil {
			return b, err
		}
	}
	b.granted, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
	return b, err
}

func (b *buffer) set(fd, bytes int) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.force, bytes) == nil {
		return nil
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, b.option, bytes)
}

// restore sets the size again that Open has found, if somebody has changed it.
func (b *buffer) restore(fd int) {
	if now, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, b.option); err == nil && now != b.granted {
		_ = b.set(fd, b.granted/2)
	}
}

func (b *buffer) clamped() bool { return b.granted/2 < b.asked }

// coalescingWorks says whether the kernel is at least 5.12: older ones have UDP_GRO, but lose or mix up datagrams with it.
func coalescingWorks() bool {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return false
	}
	return releaseAtLeast(unix.ByteSliceToString(u.Release[:]), 5, 12)
}

// releaseAtLeast compares the first two numbers of a kernel's release.
func releaseAtLeast(release string, major, minor int) bool {
	var x, y int
	if n, _ := fmt.Sscanf(release, "%d.%d", &x, &y); n != 2 {
		return false
	}
	return x > major || x == major && y >= minor
}
