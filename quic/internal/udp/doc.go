// Package udp is the UDP socket that quic-go is given as Transport.Conn. A loop that watches the socket reads it, without
// waiting, in batches of recvmmsg whose messages the kernel may have coalesced (UDP_GRO); ReadBatch, which quic-go calls on a
// goroutine of its own, waits for what the loop has read and cuts it into datagrams. Datagrams are sent on the goroutine that
// has them, without waiting; a full socket makes it wait until the loop says that there is room.
//
// The package knows no loop. Whoever has one registers FD for edge-triggered readiness, calls OnReady for every event, and
// gives SetWake what makes the loop call OnReady once more.
package udp
