package load

import (
	"time"

	"github.com/ron-transport/ron-transport/framer"
)

// Limits of a load. They bound what one client process may be asked to do.
const (
	MaxConns   = 1_000_000              // the largest table of descriptors a Linux process has by default (fs.nr_open)
	MaxStreams = 1 << 16                // of a connection: the most that the library lets a peer open
	MaxPayload = framer.MaxPayload      // of one frame without a capability
	MaxDepth   = 1024                   // sixteen times the in-flight permits of the seed: enough to meet any back-pressure
	MaxWindow  = 7 * 24 * time.Hour     // the longest soak, with room
	MinWindow  = 100 * time.Millisecond // shorter windows hold too few samples for any percentile
	MaxWarmup  = time.Hour
	MaxParts   = 8    // sizes of a mixed load: each has a histogram on every loop
	MaxWeight  = 1000 // of one of them: finer shares than a tenth of a per cent are not seen in a window

	// seriesStep is the shortest interval of a series: five points a second show a stall, and at some hundred replies a second each still has
	// enough of them for a median. A reading of both processes at its end costs 0.1 ms, half a thousandth.
	seriesStep = 200 * time.Millisecond
	// maxIntervals bounds a series: more points than a screen has room for show nothing more, and each costs every loop 4 KiB. Two minutes have
	// as many at seriesStep; of longer windows the intervals are longer.
	maxIntervals = 600

	// openBacklog is how many requests of a timetable may wait in the output of one stream: beyond them it waits itself.
	openBacklog = 16
	// maxHighWater bounds the output of one stream.
	maxHighWater = 256 << 20

	// dialsAtOnce bounds handshakes in progress: beyond a few per core they only queue on both sides and time out together.
	dialsAtOnce = 32
	// dialTimeout covers a full handshake behind dialsAtOnce others on a slow, busy core, many times over.
	dialTimeout = 20 * time.Second
	// drainTimeout is how long no reply need come in after the window, on a slow and busy machine too, before what is missing
	// counts as unanswered.
	drainTimeout = 10 * time.Second
	// drainAtMost is the longest that replies are waited for all the same: 200 connections with 64 frames of 64 KiB each are
	// 800 MB, which take a minute at 100 Mb/s.
	drainAtMost = 2 * time.Minute
	// paceQuantum is the shortest sleep of the pacer. It bounds its cost (some 5 µs a turn) at the price of writing a request
	// up to this much late, which the latency includes; under load the loops write due requests before the pacer wakes.
	paceQuantum = 200 * time.Microsecond
	// paceNap is the longest sleep, so that an interrupted load ends promptly.
	paceNap = 10 * time.Millisecond
	// coarseSleep and above, Go's timers are exact enough; below, they round up to a millisecond.
	coarseSleep = 4 * time.Millisecond
)
