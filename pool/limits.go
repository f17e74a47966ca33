package pool

// Limits of this package, each with its reason.
const (
	// minClass is the smallest buffer, in bytes: below it the bookkeeping of a buffer costs more than the memory it saves.
	minClass = 1 << minShift
	minShift = 9

	// maxClass is the largest cached buffer, in bytes: one whole frame of 1 MiB, its record overhead and the head of the
	// next frame fit in it. What is larger is allocated exactly and never cached.
	maxClass = 3 << 19

	// numClasses counts 2^k and 1.5 × 2^k from minClass to maxClass. Two steps per octave bound the slack of a buffer to a
	// third of its size; four would halve that and double the number of lists among which idle memory is spread.
	numClasses = 24

	// DefaultCacheBytes is the byte cap on idle buffers of one pool when Options.CacheBytes is 0. There is one pool per
	// loop: 16 loops at their cap hold 512 MiB, a third of the 1.5 GiB that PERFORMANCE.md §1.4 gives a node, and it
	// keeps some 170 buffers of 192 KiB, more than one turn of a loop has in use.
	DefaultCacheBytes = 32 << 20

	// maxCacheBytes is the largest cap accepted: far above the memory of any machine this runs on, so that a value in the
	// wrong unit is refused instead of meaning "no cap".
	maxCacheBytes = 1 << 40

	// poisonByte fills a released buffer in poison mode. As the first byte of a frame's length it makes the frame too
	// large, so a stale read is refused by the parser instead of looking plausible.
	poisonByte = 0xDB

	// stackDepth is how many callers are recorded in poison mode: enough to leave the transport and reach the handler.
	stackDepth = 24

	// maxFaults bounds the fault reports kept in poison mode; the counters in Stats go on.
	maxFaults = 64
)
