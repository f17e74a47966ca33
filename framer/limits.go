package framer

// Constants of the protocol (oap1.md). They are the same for every peer.
const (
	// HeaderLen is the fixed part of a frame in bytes.
	HeaderLen = 38
	// Version is the only protocol version.
	Version = 1
	// MaxFrame is the frame cap in bytes, header included (seed §1).
	MaxFrame = 1 << 20
	// MaxPayload is the largest payload of a frame without a capability.
	MaxPayload = MaxFrame - HeaderLen
	// MaxCap is the largest capability: cap_len is 16 bits wide.
	MaxCap = 1<<16 - 1
	// StreamChunk is the payload size in bytes that streams are cut into (seed §1); a hint, not a bound.
	StreamChunk = 64 << 10
	// MaxInflated bounds a decompressed payload: 8 times the frame cap (seed §3).
	MaxInflated = 8 * MaxFrame
	// MaxInflight is the default, and the largest, number of in-flight permits of a connection (seed §3).
	MaxInflight = 64
	// ALPN is the protocol name in TLS and QUIC handshakes.
	ALPN = "oap/1"
)

// Limits of this implementation.
const (
	// DefaultMaxStreams bounds the streams a peer may have open on a connection (seed §3, Ref-B): each costs a table entry.
	DefaultMaxStreams = 1024
	maxMaxStreams     = 1 << 16
	// maxAsks bounds the requests of ours that wait for a response on one connection: each costs a table entry and a
	// blocked goroutine, and a peer that grants 64 in flight only lets more of them queue up.
	maxAsks = 4096
	// maxWindow is the largest zstd window accepted: the inflate bound, since no frame can refer further back.
	maxWindow = MaxInflated
	// minNegotiated is the smallest max_frame a peer may ask for: an error reply must fit.
	minNegotiated = 1024
	// retainCopy: frames up to this size are copied by Retain, so that they do not pin an input buffer many times larger.
	retainCopy = 16 << 10
	// keepInflated is the most memory an idle decompressor keeps for its output: what a payload of 1 MiB needs.
	keepInflated = MaxFrame + inflateSlack
	// inflateSlack is kept free behind the bound of a decompressed payload, so that the block that crosses the bound fits:
	// the overflow is noticed after it, and the buffer never grows.
	inflateSlack = 128<<10 + 16
	// maxHello bounds a HELLO's JSON, which is parsed by reflection: a name and a few numbers.
	maxHello = 4 << 10
	// maxInflaters is how many idle decompressors an Endpoint keeps; each holds up to a window.
	maxInflaters = 4
	// reserveFrame is the frame size up to which one reservation of output is asked for; larger ones are written in parts.
	reserveFrame = 64 << 10
	// maxDetail bounds the text of an error reply in bytes, which may quote a cause. JSON writes up to six bytes for one:
	// the reply must still fit into minNegotiated.
	maxDetail = 128
	// meterSlots is how many meters a Stats has room for: loops beyond share them, which costs a little speed and no count.
	meterSlots = 64
	// keepEntries is the size up to which an emptied table (streams, requests of ours) is kept for reuse.
	keepEntries = 64
)
