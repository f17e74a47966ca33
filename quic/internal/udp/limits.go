package udp

import "time"

// Limits of this package, each with its reason.
const (
	// DefaultSocketBuffer is SO_RCVBUF and SO_SNDBUF in bytes when Options has 0. One socket carries all connections of a
	// loop: 200 of them with 32 KiB under way each fill it. quic-go asks for the same.
	DefaultSocketBuffer = 7 << 20
	minSocketBuffer     = 64 << 10 // one coalesced message must fit
	maxSocketBuffer     = 1 << 30  // the kernel doubles the value in an int

	// maxSockets is the largest number of sockets on one address: one for each loop, and a reactor has at most as many.
	maxSockets = 256

	// slabSize is the room for one message, in bytes. The kernel coalesces up to 64 KiB, and cuts off what does not fit.
	slabSize = 64 << 10
	// plainSlabSize is the room for one message where the kernel does not coalesce. quic-go has no use for datagrams above
	// 1452 bytes; a longer one than this is told by MSG_TRUNC.
	plainSlabSize = 2 << 10
	// maxSlabs bounds the slabs of a socket, in use and free, so 4 MiB with coalescing. What is not read stays in the
	// socket's receive buffer, where the kernel drops what exceeds it, as on any UDP socket.
	maxSlabs = 64
	// keepSlabs is how many an idle socket keeps, so that a packet now and then does not allocate: 128 KiB.
	keepSlabs = 2
	// trimEvery is how often slabs that have not been needed since the last time are let go.
	trimEvery = time.Second

	// maxVector is how many messages one recvmmsg may bring. Coalescing works per flow, so packets of many connections
	// arrive as many messages: 16 read a round of 50 connections in four calls.
	maxVector = 16
	// takeSlabs is how many slabs the reading goroutine takes at once: enough that the lock does not matter, few enough that
	// the loop does not run out while they are cut up.
	takeSlabs = 16
	// readBudget is how many bytes OnReady reads before it lets the loop do something else.
	readBudget = 256 << 10
	// readCalls is how many calls of recvmmsg OnReady makes at most, for the same reason.
	readCalls = 4
	// maxReadErrors is how many errors in a row end the socket. An error that belongs to an earlier datagram is reported
	// once; one that is reported again and again is the socket's own.
	maxReadErrors = 64

	// controlSpace holds the control messages of one message: at most IP_TOS, IP_PKTINFO, IPV6_PKTINFO and UDP_GRO, 120 bytes.
	controlSpace = 192
	// passedSpace is what is handed on of them: quic-go's buffer is as long.
	passedSpace = 128

	// maxPeers bounds each of the two generations of the table of peers' addresses. An address takes some 200 bytes.
	maxPeers = 4096
	// maxZones bounds the table of zones by name; a machine has few interfaces.
	maxZones = 64

	// outboxBytes bounds what waits for the loop: a turn's worth at 4 Gb/s and a turn of a millisecond. Who finds no room sends
	// what is there himself.
	outboxBytes = 512 << 10
	// outboxParts bounds the number of its pieces, of which a message of any length has one or two.
	outboxParts = 512
	// keepOutbox is how many bytes of that stay allocated, however little they are used.
	keepOutbox = 64 << 10
	// trimRounds is how many rounds in a row must need less than a quarter of what is allocated beyond keepOutbox, before it is let go.
	trimRounds = 1024
	// maxMessage is how many bytes go in one message: the length of an IP packet has 16 bits.
	maxMessage = 65000
	// maxSegments is how many datagrams the kernel makes of one message (UDP_MAX_SEGMENTS; 128 since Linux 6.9).
	maxSegments = 64
	// messageControl holds the control messages of a message that is sent: those of the caller, and UDP_SEGMENT.
	messageControl = passedSpace + controlHeader + controlAlign
	// maxFailed bounds the table of addresses whose next send is told an error.
	maxFailed = 256

	// maxSendWait is how long a send waits for room before its datagram counts as lost. QUIC sends again what is lost, and
	// after a second it has already done so.
	maxSendWait = time.Second
)
