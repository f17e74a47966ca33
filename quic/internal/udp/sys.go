package udp

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// kernel is the seam between a socket and the operating system: the calls of the hot path. Tests put a simulated kernel
// behind it and run the code that ships. None of them waits. errno 0 is success.
type kernel interface {
	recvmmsg(fd int, vec []unix.Mmsghdr) (int, unix.Errno)
	sendmsg(fd int, m *unix.Msghdr) (int, unix.Errno)
	sendmmsg(fd int, vec []unix.Mmsghdr) (int, unix.Errno)
}

// linux is the real kernel.
type linux struct{}

func (linux) recvmmsg(fd int, vec []unix.Mmsghdr) (int, unix.Errno) {
	n, _, e := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(vec))), uintptr(len(vec)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), e
}

func (linux) sendmsg(fd int, m *unix.Msghdr) (int, unix.Errno) {
	n, _, e := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(m)), unix.MSG_DONTWAIT)
	return int(n), e
}

func (linux) sendmmsg(fd int, vec []unix.Mmsghdr) (int, unix.Errno) {
	n, _, e := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(unsafe.SliceData(vec))), uintptr(len(vec)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), e
}
