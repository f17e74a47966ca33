// Package chaos is the load client of ronbench chaos: it asks for echoes over a path or of a server that is being broken, and keeps the books
// on every single request. Each payload carries the request's number, the attempt and a checksum, so that a reply that is lost, doubled or
// damaged is told from the others. Connections that end are dialled again, and what was not answered on them is asked once more.
//
// All of a Client's state belongs to the one loop of its reactor; its methods post to it.
package chaos

import "time"

// Limits of the client, each with its reason.
const (
	// MinPayload holds the marks of a payload: number, attempt, line, checksum.
	MinPayload = markLen + sumLen
	// MaxPayload is what a frame of the largest size carries.
	MaxPayload = 1<<20 - 38
	// MaxLines bounds the places for requests: connections times streams.
	MaxLines = 4096
	// MaxDepth bounds the requests of a place that are in flight in a closed loop: the server's permits.
	MaxDepth = 64
	// MaxRPS is beyond what a client on one loop can ask for, and check.
	MaxRPS = 100_000

	// Bin is the interval by which replies are counted: a tenth of the shortest stage, and some dozens of requests.
	Bin = 100 * time.Millisecond
	// maxBins bounds the series: an hour, longer than any row.
	maxBins = int(time.Hour / Bin)
	// pumpEvery is how often the timetable is looked at: a fiftieth of the shortest round trip that is emulated.
	pumpEvery = time.Millisecond
	// redialFirst and redialMost bound the pause before a connection is dialled again, which doubles: a server that is back is found within a
	// second, and one that is not is not flooded.
	redialFirst = 100 * time.Millisecond
	redialMost  = time.Second
	// closeTimeout is how long goodbyes may take: two round trips over the longest path, and some.
	closeTimeout = 2 * time.Second
)
