package udp

import (
	"golang.org/x/sys/unix"
)

// steering is a classic BPF program that maps a QUIC packet to one of n sockets: by the first byte of the destination
// connection ID modulo n. That byte is the second of a short header and follows version and length in a long one (RFC 8999,
// §5.1 and §5.2). The kernel runs it on the datagram's payload. A datagram that is too short for it goes to socket 0.
func steering(n int) []unix.SockFilter {
	const (
		firstByte = 0
		longForm  = 0x80
		longID    = 6
		shortID   = 1
	)
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: at}
	}
	return []unix.SockFilter{
		load(firstByte),
		{Code: unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, Jt: 0, Jf: 2, K: longForm},
		load(longID),
		{Code: unix.BPF_JMP | unix.BPF_JA, K: 1},
		load(shortID),
		{Code: unix.BPF_ALU | unix.BPF_MOD | unix.BPF_K, K: uint32(n)},
		{Code: unix.BPF_RET | unix.BPF_A},
	}
}

// steer is what the program answers for a datagram.
func steer(p []byte, n int) int {
	at := 1
	if len(p) > 0 && p[0]&0x80 != 0 {
		at = 6
	}
	if at >= len(p) {
		return 0
	}
	return int(p[at]) % n
}

// attachSteering gives the program to the group of sockets that share fd's address.
func attachSteering(fd, n int) error {
	prog := steering(n)
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF,
		&unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]})
}
