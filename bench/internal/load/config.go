package load

import (
	"errors"
	"fmt"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/sched"
)

// Config is one load. New validates it; messages name the command-line flag.
type Config struct {
	Conns   int
	Payload int           // bytes of each request and each reply
	RPS     int           // open loop: requests due per second over all connections; 0: closed loop
	Depth   int           // closed loop: requests in flight per connection
	Warmup  time.Duration // load that is not measured
	Window  time.Duration // the measuring window
}

// open says whether the load follows a timetable.
func (c *Config) open() bool { return c.RPS > 0 }

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
		CheckRange("conns", c.Conns, 1, MaxConns),
		CheckRange("payload", c.Payload, 0, MaxPayload),
		CheckRange("rps", c.RPS, 0, sched.MaxRPS),
		CheckDuration("warmup", c.Warmup, 0, MaxWarmup),
		CheckDuration("duration", c.Window, MinWindow, MaxWindow),
	}
	if !c.open() {
		errs = append(errs, CheckRange("depth", c.Depth, 1, MaxDepth))
	}
	return errors.Join(errs...)
}
