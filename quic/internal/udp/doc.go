// Package udp is the UDP socket that quic-go is given as Transport.Conn. A loop that watches the socket reads it, without
// waiting, in batches of recvmmsg whose messages the kernel may have coalesced (UDP_GRO); ReadBatch, which quic-go calls on a
// goroutine of its own, waits for what the loop has read and cuts it into datagrams. Datagrams of
// established connections wait for the loop, which sends all that has come meanwhile with one sendmmsg; others, and all when there
// is no loop yet or the outbox is full, are sent on the goroutine that has them. A full socket makes only that one wait, until the
// loop says that there is room.
//
// The other design, in which ReadBatch's goroutine reads the socket itself and waits for the loop only when it is empty, was
// built and measured too: stock quic-go at both ends, both on the same two cores, alternating. Server CPU per message, lower
// quartile of 8 runs each, in µs: this one, the other, and quic-go on a net.UDPConn:
//
//	64 KiB echo, 8 connections × 16 streams   406  462  687
//	4 KiB echo, 50 connections × 4 streams     35   45   69
//	64 KiB one way, one stream                146  152  256
//
// Three more series, while other programs used the cores too, had the two within 12 % of each other on echo, in both
// directions, and one way the other between 2 % behind and 30 % ahead. Neither wins clearly, so the loop reads, as it does
// for every other socket.
//
// The package knows no loop. Whoever has one registers FD for edge-triggered readiness, calls OnReady for every event, and
// gives SetWake what makes the loop call OnReady once more.
package udp
