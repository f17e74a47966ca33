package quic

import "time"

// Defaults of Config. Each is the value used when the field is zero.
const (
	// DefaultMaxStreams is how many streams a peer may have open on a connection (seed §3: 512/1024).
	DefaultMaxStreams = 512
	// DefaultHandshakeTimeout is the reactor's: connect and handshake on the slowest path the seed names fit twice.
	DefaultHandshakeTimeout = 10 * time.Second
	// DefaultIdleTimeout closes a connection that is silent: above keep-alive intervals of a minute, and below the two minutes
	// after which common NATs forget a UDP flow that was never answered.
	DefaultIdleTimeout = 90 * time.Second
	// DefaultStreamWindow is what a peer may send on a fresh stream before we have read: quic-go's own, half a frame of the
	// largest size, eight of 64 KiB.
	DefaultStreamWindow = 512 << 10
	// DefaultMaxStreamWindow is how far that grows when the handler keeps up: 6 MiB in 100 ms are 500 Mb/s on one stream.
	DefaultMaxStreamWindow = 6 << 20
	// DefaultConnWindow is the same for all streams of a connection together: 16 frames of 64 KiB, so that a burst on many
	// streams does not wait for a round trip.
	DefaultConnWindow = 1 << 20
	// DefaultMaxConnWindow is how far that grows: 15 MiB in 100 ms are 1.2 Gb/s on one connection.
	DefaultMaxConnWindow = 15 << 20
	// DefaultWindowBudget bounds what all connections' windows may grow by together, as peers may fill them all at once: as much
	// as the reactor's buffer budget, a sixth of the seed's ceiling of memory.
	DefaultWindowBudget = 256 << 20
	// DefaultMaxHandshakes bounds the half-open connections of a listener: each is some 40 KiB of quic-go and crypto/tls.
	DefaultMaxHandshakes = 1024
	// DefaultRetryAbove is the number of half-open connections above which a client must prove its address first (RFC 9000,
	// §8.1.2): a crowd of honest clients stays below, a flood with forged addresses costs a round trip from there on.
	DefaultRetryAbove = 128
	// DefaultSocketBuffer is SO_SNDBUF and SO_RCVBUF: what quic-go asks for, some 4,700 packets: 50 ms at 1 Gb/s. The kernel may
	// grant less: Listener.Granted tells.
	DefaultSocketBuffer = 7 << 20
)

// Allowed values.
const (
	maxMaxStreams = 1 << 16
	minTimeout    = 10 * time.Millisecond
	maxTimeout    = 24 * time.Hour
	// minWindow holds the header and some of the payload of any frame; below, each packet waits for a round trip.
	minWindow = 16 << 10
	maxWindow = 1 << 30
	maxBudget = 1 << 40
	// minPacket is what every path of QUIC carries (RFC 9000, §14), maxPacket what quic-go's buffers hold.
	minPacket     = 1200
	maxPacket     = 1452
	maxHandshakes = 1 << 20
	// minSockBuffer holds what the kernel joins into one message.
	minSockBuffer = 64 << 10
	maxSockBuffer = 64 << 20
	maxLoops      = 256 // of a reactor; one byte of the connection ID names the loop
)

// Limits of this implementation.
const (
	// connIDLen is the length of our connection IDs: one byte steers, seven are random, so that two of a million connections
	// meet with a probability of one in a hundred thousand.
	connIDLen = 8
	// maxRefusals is how many connections beyond the limits may complete a handshake only to be told the reason; those after
	// them get CONNECTION_REFUSED, which costs one packet.
	maxRefusals = 64
	// refuseLinger is how long a connection that is refused may take to read why from its streams.
	refuseLinger = time.Second
	// tryWrite is the largest output that quic-go is given to copy. It has free memory of a packet's size for that; for more it
	// would allocate, and 4 KiB frames cost a quarter more CPU that way than by way of the sender.
	tryWrite = 1 << 10
	// chunkSize is the largest output that waits in one buffer of a stream, and twice that is all that waits there: while one
	// leaves, the other is filled. A frame of 64 KiB fits with its header.
	chunkSize = 72 << 10
	// smallChunk is the size of the buffers for less, and for input that is read ahead.
	smallChunk = 8 << 10
	// fewReads is how many small reads in a row a stream may have in the middle of large frames.
	fewReads = 4
	// maxWriters is how many chunks of a connection are given to quic-go at once: while one leaves, the next is there already.
	maxWriters = 2
	// stuckAfter is how long a chunk may take before those behind it go beside it: a chunk leaves in 6 ms at 100 Mb/s. On a slower
	// path, or one that many connections share, it is stuckTimes what chunks have taken lately, stuckAtMost at most: 400 Kb/s.
	stuckAfter  = 10 * time.Millisecond
	stuckTimes  = 4
	stuckAtMost = time.Second
	// lateWrite bounds how long a stream that is closed already goes on sending what it had taken.
	lateWrite = 30 * time.Second
	// deadStreams bounds how long the streams of a broken connection may take to notice by themselves, when their handlers do
	// not want to read.
	deadStreams = time.Second
	// settleMax bounds how long a connection that is closed by a shutdown waits for acknowledgements of its last bytes.
	settleMax = 2 * time.Second
	// ackDelay is the longest time a peer may take to acknowledge (max_ack_delay, RFC 9000, §18.2).
	ackDelay = 25 * time.Millisecond
	// sessionCache is how many servers a dialer remembers for resumption, tokensEach how many address tokens for each.
	sessionCache = 64
	tokensEach   = 4
	// keptPaths is how many sockets of its own a connection that has migrated reads: the present one, and the one before for
	// what is still on its way to it.
	keptPaths = 2
	// maxLeft is how many paths a connection may have left behind, or tried in vain: each keeps two goroutines until it ends.
	maxLeft = 64
	// postPause is waited before an event of a connection is given again to a loop whose queue is full.
	postPause = time.Millisecond
)
