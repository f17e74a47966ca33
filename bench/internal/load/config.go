package load

import (
	"errors"
	"fmt"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/sched"
	"github.com/ron-transport/ron-transport/framer"
	"github.com/ron-transport/ron-transport/reactor"
)

// Config is one load. New validates it; messages name the command-line flag.
type Config struct {
	Conns       int
	Streams     int           // streams of each connection, on QUIC; 0: connections without streams
	Payload     int           // bytes of each request and each reply
	RPS         int           // open loop: requests due per second over all connections; 0: closed loop
	Depth       int           // closed loop: requests in flight per connection, or per stream where there are streams
	MaxInflight int           // requests in flight over all streams of a connection; 0: no limit
	Early       bool          // QUIC: each stream begins with a request outside the measurement, in 0-RTT packets where possible
	Cold        bool          // each request goes over a connection of its own, with a full handshake; Conns is how many there are at once
	Mix         []Part        // sizes that alternate, instead of Payload
	OneWay      bool          // events without replies, as many as the connections take; at the end their arrival is confirmed
	Warmup      time.Duration // load that is not measured
	Window      time.Duration // the measuring window
}

// open says whether the load follows a timetable.
func (c *Config) open() bool { return c.RPS > 0 }

// lines is how many connections, or streams where there are streams, carry the load: each is a conn of the fleet.
func (c *Config) lines() int { return c.Conns * max(c.Streams, 1) }

// underWay is how many dials, or fresh connections, there are at once at most.
func (c *Config) underWay() int {
	if c.Cold {
		return c.Conns
	}
	return dialsAtOnce
}

// HighWater is the mark of a connection's output, in bytes, that lets the load's own requests never stop the reading of replies; 0
// is the library's default. A connection is not read while its output is above the mark. When both ends have as much to say to
// each other as the windows hold, and neither reads, they wait for each other: the server bounds its side, so the client must
// read. Its output is bounded by the number of requests in flight. A one-way load has no replies.
func (c *Config) HighWater() int {
	if c.OneWay {
		return 0
	}
	n := c.Depth
	if c.open() {
		n = openBacklog
	}
	return min(max(n*(c.largest()+framer.HeaderLen), reactor.DefaultHighWater), maxHighWater)
}

// FlagError is a refused value of a command-line flag.
type FlagError struct {
	Flag, Value, Allowed string
}

// Error names the flag, the value and what is allowed.
func (e *FlagError) Error() string {
	return fmt.Sprintf("--%s: %s is not allowed; allowed: %s", e.Flag, e.Value, e.Allowed)
}

// CheckRange refuses a value outside lo … hi.
func CheckRange(flag string, v, lo, hi int) error {
	if v < lo || v > hi {
		return &FlagError{Flag: flag, Value: fmt.Sprint(v), Allowed: fmt.Sprintf("%d to %d", lo, hi)}
	}
	return nil
}

// CheckDuration refuses a duration outside lo … hi.
func CheckDuration(flag string, v, lo, hi time.Duration) error {
	if v < lo || v > hi {
		return &FlagError{Flag: flag, Value: v.String(), Allowed: fmt.Sprintf("%s to %s", lo, hi)}
	}
	return nil
}

// Validate checks every field; all faults are reported together.
func (c *Config) Validate() error {
	errs := []error{
		CheckRange("conns", c.Conns, 1, MaxConns), CheckRange("streams", c.Streams, 0, MaxStreams),
		CheckRange("max-inflight", c.MaxInflight, 0, MaxStreams*MaxDepth),
		CheckRange("payload", c.Payload, 0, MaxPayload), checkMix(c.Mix),
		CheckRange("rps", c.RPS, 0, sched.MaxRPS),
		CheckDuration("warmup", c.Warmup, 0, MaxWarmup),
		CheckDuration("duration", c.Window, MinWindow, MaxWindow),
	}
	if c.Streams > 0 && c.Conns > MaxConns/c.Streams {
		errs = append(errs, &FlagError{Flag: "streams", Value: fmt.Sprintf("%d × %d connections", c.Streams, c.Conns),
			Allowed: fmt.Sprintf("%d streams in all", MaxConns)})
	}
	if c.OneWay && c.open() {
		errs = append(errs, errors.New("--one-way: has no meaning with --rps (open loop); give one of them"))
	}
	if c.Cold && (c.OneWay || c.Early || c.Streams > 1) {
		errs = append(errs, errors.New("--cold: each connection has one request, which has no place with --one-way, --early or --streams"))
	}
	if !c.open() && !c.OneWay && !c.Cold {
		errs = append(errs, CheckRange("depth", c.Depth, 1, MaxDepth))
	}
	return errors.Join(errs...)
}
