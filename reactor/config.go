package reactor

import (
	"fmt"
	"runtime"
	"time"
)

// Config holds the knobs of a Reactor. The zero value is valid and means the defaults. New validates it before anything
// starts; the error names the field, its value and what is allowed.
type Config struct {
	// Loops is the number of event loops, each one goroutine. 0: one per core that Go may use (GOMAXPROCS). 1 … 256.
	Loops int

	// ReadBuffer is the most bytes one read asks for, and the budget of a connection per turn. 16 KiB … 1 MiB.
	ReadBuffer int

	// WriteCoalesce is how many bytes of output one system call carries at least, when there are as many. 1 KiB … 1 MiB.
	WriteCoalesce int

	// HighWater, LowWater and HardCap are marks on the queued output of one connection, in bytes: above HighWater it is not
	// read and Writable is false, at LowWater that ends, and a write at or above HardCap closes it as slow_peer.
	// 0 < LowWater <= HighWater < HardCap <= 1 GiB.
	HighWater, LowWater, HardCap int

	// HandshakeWorkers is the accept semaphore: how many handshake steps may run at once. 0: two per core (seed §3).
	// 1 … 1024. A peer that is silent holds none. Steps that compute leave one core to the loops; permits beyond that are
	// used when steps wait (in a callback of the TLS configuration).
	HandshakeWorkers int

	// HandshakeTimeout bounds connect and handshake together; FrameTimeout a frame from its first byte to its last;
	// IdleTimeout the time without any byte; WriteTimeout the time without progress while output waits; LingerTimeout the
	// wait for the peer's end after our own. 0 is the default, a negative value turns the deadline off (a negative LingerTimeout:
	// no wait at all); else 10 ms … 24 h.
	HandshakeTimeout, FrameTimeout, IdleTimeout, WriteTimeout, LingerTimeout time.Duration

	// SendBuffer and RecvBuffer are SO_SNDBUF and SO_RCVBUF in bytes. 0: 512 KiB (seed §3); -1: the kernel's autotuning;
	// else 4 KiB … 64 MiB.
	SendBuffer, RecvBuffer int

	// Nagle turns TCP_NODELAY off. It is on by default (seed §3): the loop coalesces by itself.
	Nagle bool

	// PoolBytes is the byte cap on idle buffers per loop; 0 is the pool's default.
	PoolBytes int64

	// Poison is for tests: released buffers are overwritten and checked, and leaks carry the stack of their origin.
	Poison bool
}

// withDefaults returns c with every zero field replaced by its default.
func (c Config) withDefaults() Config {
	cores := runtime.GOMAXPROCS(0)
	setInt(&c.Loops, cores)
	setInt(&c.ReadBuffer, DefaultReadBuffer)
	setInt(&c.WriteCoalesce, DefaultWriteCoalesce)
	setInt(&c.HighWater, DefaultHighWater)
	setInt(&c.LowWater, min(DefaultLowWater, c.HighWater))
	setInt(&c.HardCap, max(DefaultHardCap, 2*c.HighWater))
	setInt(&c.HandshakeWorkers, 2*cores)
	setInt(&c.SendBuffer, DefaultSocketBuffer)
	setInt(&c.RecvBuffer, DefaultSocketBuffer)
	setDuration(&c.HandshakeTimeout, DefaultHandshakeTimeout)
	setDuration(&c.FrameTimeout, DefaultFrameTimeout)
	setDuration(&c.IdleTimeout, DefaultIdleTimeout)
	setDuration(&c.WriteTimeout, DefaultWriteTimeout)
	setDuration(&c.LingerTimeout, DefaultLingerTimeout)
	return c
}

func setInt(p *int, v int) {
	if *p == 0 {
		*p = v
	}
}

func setDuration(p *time.Duration, v time.Duration) {
	if *p == 0 {
		*p = v
	}
}

// validate checks a Config whose defaults are filled in.
func (c Config) validate() error {
	for _, f := range []struct {
		name     string
		v        int
		min, max int
		auto     bool // -1 is allowed
	}{
		{"Loops", c.Loops, 1, maxLoops, false},
		{"ReadBuffer", c.ReadBuffer, minReadBuffer, maxReadBuffer, false},
		{"WriteCoalesce", c.WriteCoalesce, minCoalesce, maxCoalesce, false},
		{"LowWater", c.LowWater, 1, c.HighWater, false},
		{"HighWater", c.HighWater, 1, c.HardCap - 1, false},
		{"HardCap", c.HardCap, 2, maxMark, false},
		{"HandshakeWorkers", c.HandshakeWorkers, 1, maxWorkers, false},
		{"SendBuffer", c.SendBuffer, minSockBuffer, maxSockBuffer, true},
		{"RecvBuffer", c.RecvBuffer, minSockBuffer, maxSockBuffer, true},
	} {
		if f.auto && f.v == -1 {
			continue
		}
		if f.v < f.min || f.v > f.max {
			return fmt.Errorf("reactor: %s is %d, allowed are %d to %d", f.name, f.v, f.min, f.max)
		}
	}
	for _, f := range []struct {
		name string
		v    time.Duration
	}{
		{"HandshakeTimeout", c.HandshakeTimeout}, {"FrameTimeout", c.FrameTimeout}, {"IdleTimeout", c.IdleTimeout},
		{"WriteTimeout", c.WriteTimeout}, {"LingerTimeout", c.LingerTimeout},
	} {
		if f.v >= 0 && (f.v < minTimeout || f.v > maxTimeout) {
			return fmt.Errorf("reactor: %s is %v, allowed are %v to %v, 0 for the default and negative for none", f.name, f.v, minTimeout, maxTimeout)
		}
	}
	return nil
}
