package udp

import (
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fakeMessage is a message as the kernel has it: one datagram, or several that it has coalesced.
type fakeMessage struct {
	port    uint16 // of 127.0.0.1, in network order
	data    []byte
	control []byte
	flags   int32
}

// fakeKernel stands in for Linux. Its receive queue is filled by tests, errors are put between the messages.
type fakeKernel struct {
	mu    sync.Mutex
	queue []any // fakeMessage or unix.Errno
	calls int
	edge  func() // an event, besides those of arrivals

	full  int // so many sends find no room
	sends []fakeMessage
	fail  unix.Errno // what sends end with

	noSegments bool // as a device that cannot segment
	atMost     int  // so many messages a call; 0: all
}

// push makes messages arrive.
func (k *fakeKernel) push(ms ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.queue = append(k.queue, ms...)
}

// left is how many messages the kernel still holds.
func (k *fakeKernel) left() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.queue)
}

// recvmmsg ends before an error that is not the first thing in the queue, as Linux does. An error is an event of its own.
func (k *fakeKernel) recvmmsg(_ int, vec []unix.Mmsghdr) (n int, errno unix.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.calls++
	for n < len(vec) && len(k.queue) > 0 {
		m, ok := k.queue[0].(fakeMessage)
		if !ok {
			if n > 0 {
				k.edge()
				return n, 0
			}
			errno = k.queue[0].(unix.Errno)
			k.queue = k.queue[1:]
			return 0, errno
		}
		k.queue = k.queue[1:]
		vec[n].Hdr.Flags = m.flags
		writeMessage(&vec[n], m.port, len(m.data), m.control)
		copy(unsafe.Slice(vec[n].Hdr.Iov.Base, vec[n].Len), m.data)
		n++
	}
	if n == 0 {
		return 0, unix.EAGAIN
	}
	return n, 0
}

// writeMessage does what recvmmsg does with an entry of its vector, for a datagram of n bytes from a port in network order.
func writeMessage(m *unix.Mmsghdr, port uint16, n int, control []byte) {
	h := &m.Hdr
	m.Len = uint32(min(n, int(h.Iov.Len)))
	if n > int(m.Len) {
		h.Flags |= unix.MSG_TRUNC
	}
	*(*unix.RawSockaddrInet4)(unsafe.Pointer(h.Name)) = unix.RawSockaddrInet4{Family: unix.AF_INET, Port: port, Addr: [4]byte{127, 0, 0, 1}}
	h.Namelen = unix.SizeofSockaddrInet4
	h.Controllen = uint64(copy(unsafe.Slice(h.Control, h.Controllen), control))
}

func (k *fakeKernel) sendmsg(_ int, m *unix.Msghdr) (int, unix.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.send(m)
}

// send takes a message, or does not. The caller has the lock.
func (k *fakeKernel) send(m *unix.Msghdr) (int, unix.Errno) {
	k.calls++
	if k.full > 0 {
		k.full--
		return 0, unix.EAGAIN
	}
	s := fakeMessage{port: (*unix.RawSockaddrInet4)(unsafe.Pointer(m.Name)).Port}
	if m.Controllen > 0 {
		s.control = append(s.control, unsafe.Slice(m.Control, m.Controllen)...)
	}
	for _, v := range iovecs(m) {
		s.data = append(s.data, unsafe.Slice(v.Base, v.Len)...)
	}
	if k.fail != 0 {
		return 0, k.fail
	}
	if k.noSegments && segmentSize(s.control) > 0 {
		return 0, unix.EIO
	}
	k.sends = append(k.sends, s)
	return len(s.data), 0
}

// sendmmsg ends before a message that is refused, as Linux does: the error is that of the next call.
func (k *fakeKernel) sendmmsg(_ int, vec []unix.Mmsghdr) (n int, errno unix.Errno) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for n < len(vec) && (k.atMost == 0 || n < k.atMost) {
		got, errno := k.send(&vec[n].Hdr)
		if errno != 0 {
			if n == 0 {
				return 0, errno
			}
			break
		}
		vec[n].Len = uint32(got)
		n++
	}
	return n, 0
}

// faked makes a socket whose hot path talks to a fake kernel.
func faked(t testing.TB, o Options) (*Socket, *fakeKernel) {
	t.Helper()
	s, k := mustOpen(t, loopback, o)[0], new(fakeKernel)
	s.sys = k
	return s, k
}

// fakeLoop calls OnReady as an edge-triggered loop does: once per edge, and while it is asked to come again.
type fakeLoop struct {
	s            *Socket
	edges, wakes chan struct{}
	quit, done   chan struct{}
	end          sync.Once
}

func startFakeLoop(t testing.TB, s *Socket) *fakeLoop {
	l := &fakeLoop{s: s, edges: make(chan struct{}, 1), wakes: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	s.SetWake(func() { set(l.wakes) })
	go l.run()
	t.Cleanup(l.stop)
	return l
}

func set(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (l *fakeLoop) stop() {
	l.end.Do(func() { close(l.quit) })
	<-l.done
}

func (l *fakeLoop) run() {
	defer close(l.done)
	again := false
	for {
		readable := false
		if !again {
			select {
			case <-l.edges:
				readable = true
			case <-l.wakes:
			case <-l.quit:
				return
			}
		}
		again = l.s.OnReady(readable, false)
	}
}
