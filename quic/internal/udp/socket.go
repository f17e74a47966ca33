package udp

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// Socket is a UDP socket, as quic-go wants it. The package's documentation says who calls what. Open makes one.
type Socket struct {
	sys        kernel
	fd         int
	family     int // AF_INET or AF_INET6
	local      *net.UDPAddr
	offload    Offload
	sent, rcvd buffer
	group      []*Socket     // those of the address, when datagrams are steered among them; nil: none
	refs       atomic.Uint64 // uses of fd, and closedBit
	wake       atomic.Pointer[func()]
	zones      zones
	depot      depot
	room       room
	messages   sync.Pool // of *message
	outbox     outbox
	count      counters
	loop       loopSide
	reader     readerSide
}

// What quic-go asserts of its Transport.Conn. It finds ReadBatch and the setters of the buffers' sizes at run time.
var _ interface {
	net.PacketConn
	SyscallConn() (syscall.RawConn, error)
	SetReadBuffer(int) error
	SetWriteBuffer(int) error
	ReadMsgUDP(b, oob []byte) (n, oobn, flags int, addr *net.UDPAddr, err error)
	WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int, err error)
	ReadBatch(ms []ipv4.Message, flags int) (int, error)
} = (*Socket)(nil)

// closedBit in refs says that the socket is closed; its last user then closes the descriptor.
const closedBit = 1 << 63

// acquire keeps the descriptor from being closed until release. It is false once Close has been called.
func (s *Socket) acquire() bool {
	for {
		r := s.refs.Load()
		if r&closedBit != 0 {
			return false
		}
		if s.refs.CompareAndSwap(r, r+1) {
			return true
		}
	}
}

func (s *Socket) release() {
	if s.refs.Add(^uint64(0)) == closedBit {
		_ = unix.Close(s.fd)
	}
}

// FD is the descriptor, for the loop to watch. It is valid until Close. Any goroutine.
func (s *Socket) FD() int { return s.fd }

// SetWake gives what the reading goroutine calls when the loop, which had stopped reading for want of slabs, can go on: a call
// of OnReady is due. It must not block. To be called before the loop watches the socket.
func (s *Socket) SetWake(wake func()) { s.wake.Store(&wake) }

// Close ends the socket: a waiting ReadBatch and waiting sends return net.ErrClosed, as all later calls do. The descriptor is
// closed when the last call under way has returned, so the loop should have stopped to watch it. A second Close returns
// net.ErrClosed. Any goroutine.
func (s *Socket) Close() error {
	if !s.acquire() {
		return net.ErrClosed
	}
	defer s.release()
	_ = s.flush(false) // what an ending connection has said
	if s.refs.Or(closedBit)&closedBit != 0 {
		return net.ErrClosed
	}
	s.depot.end(net.ErrClosed)
	s.room.end(net.ErrClosed)
	return nil
}

// LocalAddr is the address that the socket is bound to, a *net.UDPAddr that must not be changed. Any goroutine.
func (s *Socket) LocalAddr() net.Addr { return s.local }

// Granted is what the kernel made of SendBuffer and RecvBuffer, in bytes. Linux doubles what was asked for, after clamping it
// to net.core.wmem_max and rmem_max where the process may not exceed them. Any goroutine.
func (s *Socket) Granted() (send, recv int) { return s.sent.granted, s.rcvd.granted }

// Offload says what the kernel does for the socket. Any goroutine.
func (s *Socket) Offload() Offload { return s.offload }

// SetDeadline is SetReadDeadline and SetWriteDeadline. Any goroutine.
func (s *Socket) SetDeadline(t time.Time) error {
	_ = s.SetReadDeadline(t)
	return s.SetWriteDeadline(t)
}

// SetReadDeadline makes ReadBatch fail from t on, also one that is waiting; zero: never. Datagrams that ReadBatch has already
// taken over from the loop, at most 16 messages, it still returns. The error matches os.ErrDeadlineExceeded. Any goroutine.
func (s *Socket) SetReadDeadline(t time.Time) error {
	s.depot.setDeadline(t)
	return s.closedError()
}

// SetWriteDeadline makes sends that wait for room fail from t on; zero: never. Any goroutine.
func (s *Socket) SetWriteDeadline(t time.Time) error {
	s.room.setDeadline(t)
	return s.closedError()
}

func (s *Socket) closedError() error {
	if s.refs.Load()&closedBit != 0 {
		return net.ErrClosed
	}
	return nil
}

// SetReadBuffer does nothing: the size is Options.RecvBuffer. quic-go would have its own. Any goroutine.
func (s *Socket) SetReadBuffer(int) error { return nil }

// SetWriteBuffer does nothing: the size is Options.SendBuffer. Any goroutine.
func (s *Socket) SetWriteBuffer(int) error { return nil }

// SyscallConn gives access to the descriptor, for socket options: quic-go sets those for ECN, packet info and path MTU
// discovery. Any goroutine.
func (s *Socket) SyscallConn() (syscall.RawConn, error) { return rawConn{s}, nil }

type rawConn struct{ s *Socket }

// Control calls f with the descriptor. Then it puts the sizes of the socket's buffers back: quic-go sets 7 MiB by force when
// it finds less, and what is configured must win.
func (r rawConn) Control(f func(fd uintptr)) error {
	if !r.s.acquire() {
		return net.ErrClosed
	}
	defer r.s.release()
	f(uintptr(r.s.fd))
	r.s.sent.restore(r.s.fd)
	r.s.rcvd.restore(r.s.fd)
	return nil
}

// Read is refused: the loop reads.
func (r rawConn) Read(func(fd uintptr) bool) error { return unix.EOPNOTSUPP }

// Write is refused: sends wait for the loop.
func (r rawConn) Write(func(fd uintptr) bool) error { return unix.EOPNOTSUPP }
