package reactor

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ListenConfig says what becomes of accepted connections.
type ListenConfig struct {
	// Protocol makes the protocol of a connection once it is open. Required. Called on the connection's loop.
	Protocol func(*Conn) Protocol
	// Filter makes the filter of a connection; nil: plain. Called on the connection's loop.
	Filter func() Filter
	// Refuse is told of a connection over a limit, once bytes can flow, to write what tells the peer (framer.Endpoint.Refuse
	// does); the connection closes then. cause carries the reason. nil: it closes without a word of the protocol's. It never
	// gets a Protocol. Called on the connection's loop.
	Refuse func(c *Conn, cause error)
	// OnError is told of connections that ended before they were open. Optional. Called on the connection's loop.
	OnError func(remote net.Addr, err error)

	// UnixMode is the mode of a unix socket's file; 0 is DefaultUnixMode. It holds from the file's first moment, whatever
	// the umask is.
	UnixMode os.FileMode
	// AllowUIDs and AllowGIDs admit peers of a unix socket by user or by effective group, as SO_PEERCRED tells; others are
	// closed at once and counted (Stats.RefusedPeers). When both are nil the file's mode decides alone; an abstract socket
	// ("@name"), which has no file, then admits the process' own user and root. Root needs to be listed like any other.
	AllowUIDs, AllowGIDs []uint32

	// Name is what a successor knows the listener by (ServeHandover, Listener.File); "" is its network and address. Up to
	// 255 bytes.
	Name string

	// Proxy has connections begin with a PROXY header, as balancers send it. nil: they do not.
	Proxy *ProxyConfig
}

// Listener is a listening socket that all loops accept from.
type Listener struct {
	r      *Reactor
	fd     int
	opts   connOptions
	addr   net.Addr
	file   socketFile
	mode   os.FileMode
	unix   bool
	allow  allowList
	proxy  *ProxyConfig
	unspec bool // bound to a wildcard address: each connection's own address must be asked for
	snd    int
	rcv    int
	cc     string // TCP congestion control
	once   sync.Once
	err    error

	name   string
	shared atomic.Bool  // other processes may accept from the socket too
	paused atomic.Int32 // loops that do not accept just now, for want of descriptors or memory
	left   atomic.Bool  // handed over: Close leaves the queue and the file to others
	mu     sync.Mutex   // guards closed, and fd against being closed
	closed bool
}

// acceptor is one loop's view of a listener.
type acceptor struct {
	lis     *Listener
	rearmAt int64 // when a listener that was disarmed is armed again; 0: armed
	backoff int64 // the next pause
	armed   bool  // in epoll
	closed  bool
}

// Listen opens a listening socket on addr ("host:port", port 0 for any; a path with network "unix") and starts
// accepting. network is "tcp", "tcp4", "tcp6" or "unix". A unix socket's file that a dead process has left is replaced; a
// live socket, or a file of another kind, is an error. "@name" is an abstract socket, without a file. Any goroutine.
func (r *Reactor) Listen(network, addr string, lc ListenConfig) (*Listener, error) {
	sa, family, err := resolve(network, addr)
	if err != nil {
		return nil, err
	}
	if err := lc.validate(family == unix.AF_UNIX); err != nil {
		return nil, err
	}
	lis := r.newListener(lc)
	if lis.mode = lc.UnixMode; lis.mode == 0 {
		lis.mode = DefaultUnixMode
	}
	if err := lis.open(family, network, sa); err != nil {
		return nil, fmt.Errorf("reactor: listen %s %s: %w", network, addr, err)
	}
	if err := r.start(lis, lc); err != nil {
		return nil, err
	}
	return lis, nil
}

// Validate says what Listen would refuse of network and lc, and ListenFile of lc for a socket of that network. It opens nothing. Any goroutine.
func (lc ListenConfig) Validate(network string) error {
	isUnix, err := isUnix(network)
	if err != nil {
		return err
	}
	return lc.validate(isUnix)
}

// validate checks lc for a kind of socket.
func (lc *ListenConfig) validate(isUnix bool) error {
	if lc.Protocol == nil {
		return errors.New("reactor: ListenConfig.Protocol is nil, a function is required")
	}
	if len(lc.Name) > maxName {
		return fmt.Errorf("reactor: ListenConfig.Name has %d bytes, allowed are up to %d", len(lc.Name), maxName)
	}
	if err := lc.validateUnix(isUnix); err != nil {
		return err
	}
	return lc.Proxy.validate(isUnix)
}

// newListener is a listener without a socket.
func (r *Reactor) newListener(lc ListenConfig) *Listener {
	return &Listener{r: r, proxy: lc.Proxy.clone(), opts: connOptions{protocol: lc.Protocol, filter: lc.Filter, refuse: lc.Refuse, onError: lc.OnError}}
}

// start has all loops accept from lis, whose socket listens. When it fails, the socket is closed.
func (r *Reactor) start(lis *Listener, lc ListenConfig) error {
	if err := lis.describe(); err != nil {
		return errors.Join(err, lis.abandon())
	}
	if lis.name = lc.Name; lis.name == "" {
		lis.name = lis.addr.Network() + ":" + lis.addr.String()
	}
	if u, ok := lis.addr.(*net.UnixAddr); ok {
		lis.unix, lis.allow = true, lc.allowed(u.Name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return errors.Join(ErrShuttingDown, lis.abandon())
	}
	r.listeners = append(r.listeners, lis)
	r.tell(eventListening, slog.String("addr", lis.addr.String()), slog.String("name", lis.name))
	for _, l := range r.loops {
		if err := l.push(task{kind: taskListen, lis: lis}); err != nil {
			return err
		}
	}
	return nil
}

// abandon gives up a socket that no loop knows.
func (lis *Listener) abandon() error {
	return errors.Join(lis.file.remove(), unix.Close(lis.fd))
}

// open makes the socket. Its options are inherited by what it accepts, so they cost nothing per connection.
func (lis *Listener) open(family int, network string, sa unix.Sockaddr) error {
	fd, err := lis.r.socket(family)
	if err != nil {
		return err
	}
	lis.fd = fd
	if u, ok := sa.(*unix.SockaddrUnix); ok {
		if lis.file, err = listenUnix(fd, u.Name, lis.mode); err != nil {
			_ = unix.Close(fd)
		}
		return err
	}
	if network == "tcp6" {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err == nil {
		err = os.NewSyscallError("bind", unix.Bind(fd, sa))
	}
	if err == nil {
		err = os.NewSyscallError("listen", unix.Listen(fd, listenBacklog))
	}
	if err != nil {
		_ = unix.Close(fd)
	}
	return err
}

// socket makes a non-blocking socket with the configured options.
func (r *Reactor) socket(family int) (int, error) {
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if err := r.configure(fd, family); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// configure sets the configured options.
func (r *Reactor) configure(fd, family int) (err error) {
	set := func(level, opt, v int) {
		if err == nil && v >= 0 {
			err = os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, level, opt, v))
		}
	}
	set(unix.SOL_SOCKET, unix.SO_SNDBUF, r.cfg.SendBuffer)
	set(unix.SOL_SOCKET, unix.SO_RCVBUF, r.cfg.RecvBuffer)
	if family != unix.AF_UNIX && !r.cfg.Nagle {
		set(unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err == nil && family != unix.AF_UNIX && r.cfg.Congestion != "" {
		err = setCongestion(fd, r.cfg.Congestion)
	}
	return err
}

// describe reads back what the kernel made of the socket.
func (lis *Listener) describe() error {
	sa, err := unix.Getsockname(lis.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	if ap := addrPort(sa); ap.IsValid() {
		lis.addr = net.TCPAddrFromAddrPort(ap)
		lis.unspec = ap.Addr().IsUnspecified()
	} else if u, ok := sa.(*unix.SockaddrUnix); ok {
		lis.addr = &net.UnixAddr{Name: u.Name, Net: "unix"}
	}
	lis.cc = congestionOf(lis.fd)
	lis.opts.addr = lis.addr
	lis.opts.peer = &net.UnixAddr{Net: "unix"}
	if lis.snd, err = unix.GetsockoptInt(lis.fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	lis.rcv, err = unix.GetsockoptInt(lis.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	return os.NewSyscallError("getsockopt", err)
}

// Addr is the address the listener is bound to. Any goroutine.
func (lis *Listener) Addr() net.Addr { return lis.addr }

// Granted returns what the kernel made of SO_SNDBUF and SO_RCVBUF, in bytes. Linux doubles what was asked for, after
// clamping it to net.core.wmem_max and rmem_max. Any goroutine.
func (lis *Listener) Granted() (send, recv int) { return lis.snd, lis.rcv }

// Congestion returns the TCP congestion control that accepted connections begin with, as the kernel names it; "" on a unix
// socket. Any goroutine.
func (lis *Listener) Congestion() string { return lis.cc }

// Close stops accepting. Connections that the kernel had queued are accepted first, established ones go on, and a unix
// socket's file is removed. A listener that has been handed over leaves queue and file to the successor. It returns when
// no loop accepts any more. Any goroutine except a loop's.
func (lis *Listener) Close() error {
	lis.once.Do(func() {
		var err error
		if !lis.left.Load() {
			err = lis.file.remove() // first: nobody may come after the loops have taken the last
		}
		var wg sync.WaitGroup
		for _, l := range lis.r.loops {
			wg.Add(1)
			if l.push(task{kind: taskClose, lis: lis, fn: wg.Done}) != nil {
				wg.Done() // the loop has stopped
			}
		}
		wg.Wait()
		lis.mu.Lock()
		lis.closed = true
		lis.err = errors.Join(err, os.NewSyscallError("close", unix.Close(lis.fd)))
		lis.mu.Unlock()
		lis.r.forget(lis)
		lis.r.tell(eventListenerEnded, slog.String("addr", lis.addr.String()), slog.String("name", lis.name))
	})
	return lis.err
}

// addListener makes the loop accept from lis. All loops wait on the same socket: the kernel wakes one of them
// (EPOLLEXCLUSIVE), and no connection is stranded in a queue of its own when a loop is busy or a listener closes, as
// with SO_REUSEPORT.
func (l *loop) addListener(lis *Listener) {
	a := &acceptor{lis: lis}
	for i, old := range l.listeners {
		if old.closed {
			l.listeners[i] = a
			l.arm(i)
			return
		}
	}
	l.listeners = append(l.listeners, a)
	l.arm(len(l.listeners) - 1)
}

// arm puts listener i into epoll, level-triggered.
func (l *loop) arm(i int) {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLEXCLUSIVE, Fd: int32(-i - 2)}
	if l.id == 0 && l.listeners[i].lis.shared.Load() {
		ev.Events = unix.EPOLLIN
	}
	if errno := l.r.sys.epollAdd(l.ep, l.listeners[i].lis.fd, &ev); errno != 0 {
		l.disarm(l.listeners[i])
		return
	}
	l.listeners[i].armed = true
}

// disarm takes a listener out of epoll for a pause that doubles from time to time.
func (l *loop) disarm(a *acceptor) {
	l.unarm(a)
	a.backoff = min(max(2*a.backoff, int64(acceptBackoffMin)), int64(acceptBackoffMax))
	a.pauseTo(l.now + a.backoff)
}

// tellAccept tells that accepts fail, and how long the pause is.
func (l *loop) tellAccept(a *acceptor, errno unix.Errno) {
	l.r.tell(eventAcceptFailed, slog.String("addr", a.lis.addr.String()), slog.String("error", errno.Error()), slog.Duration("pause", time.Duration(a.backoff)))
}

// unarm takes a listener out of epoll.
func (l *loop) unarm(a *acceptor) {
	if a.armed {
		a.armed = false
		l.r.sys.epollDel(l.ep, a.lis.fd)
	}
}

// rearm ends the pause.
func (l *loop) rearm(a *acceptor) {
	a.pauseTo(0)
	for i, b := range l.listeners {
		if a == b && !a.closed {
			l.arm(i)
		}
	}
}

// acceptFrom accepts a bounded number of connections. Nothing that accept returns ever stops a loop.
func (l *loop) acceptFrom(i int) {
	if i >= len(l.listeners) || l.listeners[i].closed || l.listeners[i].rearmAt != 0 {
		return
	}
	a := l.listeners[i]
	for range acceptsPerTurn {
		if !l.acceptOne(a) {
			return
		}
	}
}

// acceptOne accepts one connection and gives it to the least loaded loop. It returns whether to try another.
func (l *loop) acceptOne(a *acceptor) bool {
	fd, sa, errno := l.r.sys.accept(a.lis.fd)
	switch errno {
	case 0:
		a.backoff = 0
		to := l.r.lightest(l)
		to.load.Add(1)
		if to == l {
			l.adopt(fd, a.lis, sa)
		} else if to.push(task{kind: taskAdopt, fd: fd, lis: a.lis, sa: sa}) != nil {
			to.load.Add(-1)
			l.r.sys.close(fd)
		}
		return true
	case unix.EAGAIN:
		return false
	case unix.EINTR, unix.ECONNABORTED, unix.EPROTO, unix.ENOPROTOOPT, unix.ENETDOWN, unix.ENETUNREACH, unix.ENONET,
		unix.EHOSTDOWN, unix.EHOSTUNREACH: // of one waiting connection (accept(2)); the next may be fine
		return true
	case unix.EMFILE, unix.ENFILE:
		l.count[counterAcceptErrors]++
		l.refuseOne(a)
		l.disarm(a)
		l.tellAccept(a, errno)
		return false
	default:
		l.count[counterAcceptErrors]++
		l.disarm(a)
		l.tellAccept(a, errno)
		return false
	}
}

// refuseOne uses the spare descriptor to accept and close one connection: its peer learns at once, instead of waiting
// in the kernel's queue.
func (l *loop) refuseOne(a *acceptor) {
	if l.spare < 0 {
		l.spare = l.r.sys.spare()
		return
	}
	l.r.sys.close(l.spare)
	if fd, _, errno := l.r.sys.accept(a.lis.fd); errno == 0 {
		l.r.sys.reset(fd)
		l.r.sys.close(fd)
		l.count[counterRefused]++
	}
	l.spare = l.r.sys.spare()
}

// closeListener accepts what waits and leaves.
func (l *loop) closeListener(lis *Listener) {
	for _, a := range l.listeners {
		if a.lis != lis || a.closed {
			continue
		}
		for n := 0; n < listenBacklog && !lis.left.Load() && l.acceptOne(a); n++ { // an accept storm does not keep it open
		}
		l.unarm(a)
		a.closed = true
		a.pauseTo(0)
	}
}
