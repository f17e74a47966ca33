package reactor

import "time"

// Defaults of Config. Each is the value used when the field is zero.
const (
	// DefaultReadBuffer is the most that one read asks the kernel for (seed §3: 64–128 KiB). 128 KiB holds a whole 64 KiB
	// frame with its record overhead and the start of the next, so streaming needs about one read per frame.
	DefaultReadBuffer = 128 << 10
	// DefaultWriteCoalesce is how much output one system call carries (seed §3: 64 KiB).
	DefaultWriteCoalesce = 64 << 10
	// DefaultSocketBuffer is SO_SNDBUF and SO_RCVBUF (seed §3: 512 KiB). The kernel may grant less: Listener.Granted tells.
	DefaultSocketBuffer = 512 << 10
	// DefaultHighWater is the queued output above which a connection is no longer read.
	DefaultHighWater = 256 << 10
	// DefaultLowWater is the queued output at which reading goes on.
	DefaultLowWater = 64 << 10
	// DefaultHardCap is the queued output at which a further write closes the connection as slow_peer: four frames of the
	// largest size, so a protocol that heeds Writable never meets it.
	DefaultHardCap = 4 << 20
	// DefaultBufferBudget is a sixth of the seed's ceiling of memory: the collector's head room doubles it, and connections,
	// handshakes and what is queued under the pressed mark come on top.
	DefaultBufferBudget = 256 << 20
	// DefaultHandshakeTimeout bounds connect and handshake together. Three round trips over the slowest path the seed names
	// (Tor, 1.5 s) fit twice.
	DefaultHandshakeTimeout = 10 * time.Second
	// DefaultFrameTimeout bounds the time from the first byte of a frame (or record) to its last: 1 MiB arrives in time on
	// any path above 280 kbit/s, a drip of single bytes does not.
	DefaultFrameTimeout = 30 * time.Second
	// DefaultIdleTimeout closes a connection on which no byte moved: long enough for keep-alive intervals of a minute.
	DefaultIdleTimeout = 150 * time.Second
	// DefaultWriteTimeout bounds the time without progress while output waits.
	DefaultWriteTimeout = 30 * time.Second
	// DefaultLingerTimeout bounds the wait for the peer's end of stream after we have closed ours.
	DefaultLingerTimeout = 5 * time.Second
	// DefaultDrainTimeout bounds a close's last writes: the hard cap's 4 MiB leave in time above 280 kbit/s.
	DefaultDrainTimeout = 2 * time.Minute
	// DefaultShutdownGrace covers a round trip over the slowest path (Tor, 1.5 s) and the peer's reaction to the goodbye.
	DefaultShutdownGrace = 5 * time.Second
	// DefaultMinRate is in bytes per second: a slow modem has ten times as much, an attacker who wants to hold 10,000
	// connections with frames that never end pays 1.3 MB/s.
	DefaultMinRate = 128
)

// Ranges that Config.validate accepts.
const (
	minReadBuffer = 16 << 10 // below, one TLS record needs two reads
	maxReadBuffer = 1 << 20  // above, the loop's scratch no longer fits any second-level cache
	minCoalesce   = 1 << 10  // an ablation's lower end
	maxCoalesce   = 1 << 20
	minSockBuffer = 4 << 10
	maxSockBuffer = 64 << 20
	maxMark       = 1 << 30
	minBudget     = 1 << 20 // per loop: its scratch counts, which is less than half of it
	maxBudget     = 1 << 40
	maxLoops      = 256
	maxWorkers    = 1024
	minTimeout    = 10 * time.Millisecond // below the wheel's tick a deadline means nothing
	maxTimeout    = 24 * time.Hour
	minRate       = 1 << 10 // below, a single TLS record would take more than 16 s
	maxRate       = 1 << 40
	maxMinRate    = 1 << 30
	maxPeerLimit  = 1_000_000 // connections; the kernel's own default limit of descriptors per process is of this order
)

// Fixed limits.
const (
	// maxReserve is the largest Conn.Reserve: a 64 KiB chunk with its header and room to spare.
	maxReserve = 128 << 10
	// firstChunk is the first output chunk of a turn; later ones are a whole flush.
	firstChunk = 16 << 10
	// recordRoom is the room an Open may need for one record: 2^14 bytes, content type, and padding up to 2^14 + 256.
	recordRoom = 16<<10 + 256
	// keepWhole is the partial frame from which a connection keeps the loop's buffer instead of copying out of it.
	keepWhole = 16 << 10
	// framesPerRead is how many large frames of equal size one read of a plain connection may bring: as many as a client
	// with a few requests in flight sends at once, so that their replies leave in one write.
	framesPerRead = 4
	// growStep: the buffer of a partial frame holds at least this much, or four times what has arrived, never more than
	// the frame needs, so announcing a large frame does not allocate one.
	growStep = 64 << 10
	// eventsPerWait is the batch taken from epoll at once.
	eventsPerWait = 256
	// acceptsPerTurn keeps an accept storm from starving established connections.
	acceptsPerTurn = 16
	// tasksPerTurn is how many posted functions run before the sockets are looked at again, and the length of a task batch up
	// to which its memory is kept for the next.
	tasksPerTurn = 1024
	// minRateWindow is over which MinRate is taken: a pause of a few seconds on a bad link is no attack.
	minRateWindow = 10 * time.Second
	// bucketPart: a token bucket holds 1/10 s of its rate, so that the rate is kept within a few per cent over seconds, and a
	// wake-up that the wheel's tick or a busy machine delays loses nothing.
	bucketPart = 10
	// minBucket is the smallest bucket: fewer bytes per system call are not worth it.
	minBucket = 512
	// sleepAfter is the quiet time after which a filter lets go of what it can rebuild.
	sleepAfter = 5 * time.Second
	// retryAfterNobufs is the pause after the kernel had no memory for a write: no event tells when it has.
	retryAfterNobufs = 50 * time.Millisecond
	// pressedMark is the high-water mark while a loop's share of BufferBudget is used up: one chunk of output.
	pressedMark = firstChunk
	// maxRefusals is how many connections of a loop beyond the limits may complete a handshake only to be told so in a frame;
	// those after them get an alert instead, which costs nothing.
	maxRefusals = 64
	// maxRefused is how many refused connections a loop keeps at once, waiting for their peers to read the refusal. Beyond it
	// they are reset.
	maxRefused = 1024
	// maxPeers bounds the peers without connections in the table, which are kept only while the rates of what they have done
	// still count. Peers with connections are bounded by MaxConns.
	maxPeers = 1 << 16
	// maxTasks bounds a loop's task queue: a producer that outruns the loop gets ErrQueueFull instead of memory.
	maxTasks = 1 << 17
	// maxIovecs per writev: 64 KiB in 64 pieces are 1 KiB each; smaller pieces are copied into chunks anyway.
	maxIovecs = 64
	// maxKeyExchanges is how many names of key exchanges a loop counts: there are seven in TLS 1.3 that anybody uses, and a filter
	// that makes up names must not cost memory.
	maxKeyExchanges = 8
	// shakeUnit: the beginning of a handshake is kept in units of 2^14 ns, 16 µs, so that 32 bits hold most of a day.
	shakeUnit = 14
	// eventPause is between two events of a kind that a peer can bring about: a log must not be somebody's weapon.
	eventPause = time.Second
	// stepStall is how long no handshake step may end, while others wait, before another permit is used: three times the
	// longest step that only computes (RSA-4096, some 3 ms), so that more means that a step waits for something.
	stepStall = 10 * time.Millisecond
	// wheelTick is the resolution of deadlines.
	wheelTick = 16 * time.Millisecond
	// wheelSlots: one turn of the wheel is 66 s; a later deadline is filed again when its slot comes. 32 KiB per loop.
	wheelSlots = 4096
	// wheelExact is how many ticks away deadlines have slots of their own: within a second every tick may have work anyway.
	wheelExact = 64
	// clockJump is how far the clock moves between two turns before the loop looks at all sockets once more and only then at deadlines: far
	// below every default deadline, and one more system call in a second of sleep costs nothing.
	clockJump = time.Second
	// expiriesPerTurn keeps deadlines that come at once, of a crowd that came at once, from starving the other connections:
	// to end one costs some 10 µs, most of it in the kernel.
	expiriesPerTurn = 64
	// acceptBackoffMin and Max bound the pause after the process has run out of descriptors.
	acceptBackoffMin = 10 * time.Millisecond
	acceptBackoffMax = time.Second
	// listenBacklog is what listen(2) is asked for; net.core.somaxconn clamps it.
	listenBacklog = 4096
	// dirLockTries and dirLockPause bound the wait for another process that is just binding a socket in the same directory.
	dirLockTries = 100
	dirLockPause = 10 * time.Millisecond
	// maxAllowed bounds the numbers in an allow-list, which is searched once per accepted connection.
	maxAllowed = 1024
	// maxProxyV1 is the longest version 1 PROXY header (its specification, §2.1).
	maxProxyV1 = 107
	// maxProxyV2 bounds what follows the 16 fixed bytes of a version 2 header: addresses take up to 216 bytes, a client's
	// certificate among the TLVs about 2 KiB. go-proxyproto's default is the same.
	maxProxyV2 = 4096
	// maxTrusted bounds ProxyConfig.Trusted, which is searched once per accepted connection.
	maxTrusted = 256
	// maxName bounds ListenConfig.Name; systemd has the same bound for the names of descriptors.
	maxName = 255
	// maxHandover is how many listeners are handed over at once: one message carries at most 253 descriptors (SCM_MAX_FD).
	maxHandover = 128
	// maxInherited bounds LISTEN_FDS, so that a wrong number does not claim descriptors by the thousand.
	maxInherited = 1024
	// handoverTimeout bounds the time a successor takes from connect to ready, so that one that hangs does not keep the next
	// one waiting.
	handoverTimeout = time.Minute
	// handoverPause is waited after a failed accept of a successor.
	handoverPause = 50 * time.Millisecond
	// watchYields is how often a loop with watches lets other goroutines run before it blocks. Measured with QUIC on two
	// cores, server CPU per 4 KiB and 64 KiB echo: 64 and 852 µs with 1, 52 and 553 with 4, 53 and 656 with 16, 59 and 836 with 64.
	watchYields = 4
	// decayEvery is how often unused pool memory is given back.
	decayEvery = time.Second
	// wakeToken marks the eventfd in epoll data; slots are never negative.
	wakeToken = int32(-1)
	// watchToken and what is below it mark watches; listeners are between it and the eventfd.
	watchToken = int32(-1 << 20)
)
