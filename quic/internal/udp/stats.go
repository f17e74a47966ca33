package udp

import (
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Stats counts what a socket has done since it was opened.
type Stats struct {
	DatagramsIn, BytesIn   uint64 // received, also those that were then dropped as Oversized
	Coalesced              uint64 // of DatagramsIn, those that came together with others of their flow
	Moved                  uint64 // of Coalesced, those that belonged to another socket of the address, and were given to it
	Unmoved                uint64 // of Moved, those that it had no room for; they count as lost on the way
	ReadCalls              uint64 // recvmmsg
	DatagramsOut, BytesOut uint64 // given to the kernel
	WriteCalls             uint64 // sendmsg
	Truncated              uint64 // messages dropped because the kernel had cut off data, control messages or the address
	Oversized              uint64 // datagrams dropped because they were longer than the reader's buffer
	Overflows              uint64 // datagrams that the kernel dropped because the receive buffer was full, or their checksum wrong
	SendWaits              uint64 // sends that had to wait for room
	Lost                   uint64 // sends given up for want of room or of the kernel's memory; the datagrams count as lost on the way
	SendErrors, ReadErrors uint64 // other errors of the system
}

type counters struct {
	datagramsIn, bytesIn, coalesced, readCalls    atomic.Uint64
	truncated, oversized, readErrors              atomic.Uint64
	moved, unmoved                                atomic.Uint64
	_                                             [64]byte // those below are written by other goroutines
	datagramsOut, bytesOut, writeCalls, sendWaits atomic.Uint64
	lost, sendErrors                              atomic.Uint64
}

// Stats reads the counters. It asks the kernel for Overflows, which stays 0 after Close. Any goroutine.
func (s *Socket) Stats() Stats {
	c := &s.count
	return Stats{
		DatagramsIn: c.datagramsIn.Load(), BytesIn: c.bytesIn.Load(), Coalesced: c.coalesced.Load(),
		Moved: c.moved.Load(), Unmoved: c.unmoved.Load(), ReadCalls: c.readCalls.Load(),
		DatagramsOut: c.datagramsOut.Load(), BytesOut: c.bytesOut.Load(), WriteCalls: c.writeCalls.Load(),
		Truncated: c.truncated.Load(), Oversized: c.oversized.Load(), Overflows: s.overflows(),
		SendWaits: c.sendWaits.Load(), Lost: c.lost.Load(), SendErrors: c.sendErrors.Load(), ReadErrors: c.readErrors.Load(),
	}
}

// overflows asks for the socket's count of dropped datagrams, the ninth number of SO_MEMINFO.
func (s *Socket) overflows() uint64 {
	if !s.acquire() {
		return 0
	}
	defer s.release()
	const drops = 8
	var info [drops + 1]uint32
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0
	}
	return uint64(info[drops])
}
