package reactor

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
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

	// HighWater, LowWater and HardCap are marks on the queued output of one connection, in bytes: above HighWater Writable is
	// false, and a connection that was accepted is not read, at LowWater that ends, and a write at or above HardCap closes it as
	// slow_peer. A connection that we have dialled is read all the same: it is the one that asks, and were neither end read,
	// they would wait for each other. 0 < LowWater <= HighWater < HardCap <= 1 GiB.
	HighWater, LowWater, HardCap int

	// BufferBudget is how many bytes of buffers the connections may hold together before the marks shrink: each loop has an
	// equal share, and while its connections hold more, a connection with more than 16 KiB of queued output counts as above
	// its high-water mark. So the memory that many slow readers hold together is bounded, not only that of one. 0: 256 MiB;
	// negative: no bound; else 1 MiB per loop … 1 TiB.
	BufferBudget int

	// HandshakeWorkers is the accept semaphore: how many handshake steps may run at once. 0: two per core (seed §3).
	// 1 … 1024. A peer that is silent holds none. Steps that compute leave one core to the loops; permits beyond that are
	// used when steps wait (in a callback of the TLS configuration).
	HandshakeWorkers int

	// HandshakeTimeout bounds connect and handshake together; FrameTimeout a frame from its first byte to its last;
	// IdleTimeout the time without any byte; WriteTimeout the time without progress while output waits; LingerTimeout the
	// wait for the peer's end after our own. DrainTimeout bounds the time from Conn.Close until the last byte is written,
	// however steadily the peer reads; ShutdownGrace is for how long after the goodbye of a Shutdown a connection is still
	// read and answered (see Leaver). 0 is the default, a negative value turns the deadline off (a negative LingerTimeout or
	// ShutdownGrace: no wait at all); else 10 ms … 24 h.
	HandshakeTimeout, FrameTimeout, IdleTimeout, WriteTimeout, LingerTimeout, DrainTimeout, ShutdownGrace time.Duration

	// MinRate is the least rate in bytes per second at which an unfinished frame must arrive and waiting output must leave,
	// over each window of 10 s. A slower connection is closed (read_timeout, slow_peer). 0: 128; negative: off; else up to 1 GiB.
	MinRate int

	// MaxConns is how many accepted connections may exist. Beyond, a peer is refused with over_capacity (see
	// ListenConfig.Refuse). 0: nine tenths of the soft limit of descriptors; negative: no limit.
	MaxConns int

	// Limits per peer; a peer is an IPv4 address or the first 64 bits of an IPv6 address, and behind a load balancer the one
	// that the PROXY header names. Peers on unix sockets have none. MaxConnsPerPeer is on connections (peer_limit),
	// MaxHandshakesPerPeer on connections whose handshake is not complete, the half-open ones (peer_limit), PeerConnRate on new
	// connections per second, with a second's worth at once (rate_limited). 0: no limit; else 1 … 1,000,000.
	MaxConnsPerPeer, MaxHandshakesPerPeer, PeerConnRate int

	// Token buckets in bytes per second on the socket's bytes, in and out, of one connection and of all connections accepted
	// from one peer together. Above the rate a connection is not read, or its output waits; nothing is dropped. 0: no limit;
	// else 1 KiB/s … 1 TiB/s.
	ConnReadRate, ConnWriteRate, PeerReadRate, PeerWriteRate int

	// SendBuffer and RecvBuffer are SO_SNDBUF and SO_RCVBUF in bytes. 0: 512 KiB (seed §3); -1: the kernel's autotuning;
	// else 4 KiB … 64 MiB.
	SendBuffer, RecvBuffer int

	// Nagle turns TCP_NODELAY off. It is on by default (seed §3): the loop coalesces by itself.
	Nagle bool

	// Congestion is the TCP congestion control (TCP_CONGESTION) of listening, accepted and dialled sockets, as "bbr". "" leaves
	// the system's own (net.ipv4.tcp_congestion_control); else one of net.ipv4.tcp_available_congestion_control, and without
	// CAP_NET_ADMIN one of net.ipv4.tcp_allowed_congestion_control. Unix sockets have none. Listener.Congestion tells.
	Congestion string

	// Logger is told what an operator wants to know: listeners, failed accepts, refusals, panics, the shutdown. docs/metrics.md lists the
	// events; no peer is named. It is called on one goroutine, in the order of the events, and may block: nothing waits for it but Shutdown,
	// as long as its context lasts, and a second at least. A record's time is the event's. nil: nothing is told.
	Logger *slog.Logger

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
	setInt(&c.BufferBudget, DefaultBufferBudget)
	setInt(&c.HandshakeWorkers, 2*cores)
	setInt(&c.SendBuffer, DefaultSocketBuffer)
	setInt(&c.RecvBuffer, DefaultSocketBuffer)
	setDuration(&c.HandshakeTimeout, DefaultHandshakeTimeout)
	setDuration(&c.FrameTimeout, DefaultFrameTimeout)
	setDuration(&c.IdleTimeout, DefaultIdleTimeout)
	setDuration(&c.WriteTimeout, DefaultWriteTimeout)
	setDuration(&c.LingerTimeout, DefaultLingerTimeout)
	setDuration(&c.DrainTimeout, DefaultDrainTimeout)
	setDuration(&c.ShutdownGrace, DefaultShutdownGrace)
	setInt(&c.MinRate, DefaultMinRate)
	if c.MaxConns == 0 {
		c.MaxConns = defaultMaxConns()
	}
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

// defaultMaxConns leaves a tenth of the descriptors to everything else.
func defaultMaxConns() int {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil || l.Cur > maxPeerLimit {
		return maxPeerLimit
	}
	return max(1, int(l.Cur)*9/10)
}

// Validate says what New would refuse c for; the error names the field, its value and what is allowed. Any goroutine.
func (c Config) Validate() error { return c.withDefaults().validate() }

// validate checks a Config whose defaults are filled in.
func (c Config) validate() error {
	return errors.Join(c.validateInts(), c.validateTimeouts(), c.validateCongestion())
}

// offValue says which value besides the range turns a limit off.
type offValue int

const (
	offNone     offValue = iota // none does
	offMinusOne                 // -1
	offZero                     // 0
	offNegative                 // any below 0
)

func (o offValue) matches(v int) bool {
	return o == offMinusOne && v == -1 || o == offZero && v == 0 || o == offNegative && v < 0
}

func (o offValue) String() string {
	return [...]string{"", ", -1 for the kernel's own", ", 0 for no limit", ", 0 for the default and negative for none"}[o]
}

func (c Config) validateInts() error {
	for _, f := range []struct {
		name     string
		v        int
		min, max int
		off      offValue
	}{
		{"Loops", c.Loops, 1, maxLoops, offNone},
		{"ReadBuffer", c.ReadBuffer, minReadBuffer, maxReadBuffer, offNone},
		{"WriteCoalesce", c.WriteCoalesce, minCoalesce, maxCoalesce, offNone},
		{"LowWater", c.LowWater, 1, c.HighWater, offNone},
		{"HighWater", c.HighWater, 1, c.HardCap - 1, offNone},
		{"HardCap", c.HardCap, 2, maxMark, offNone},
		{"BufferBudget", c.BufferBudget, c.Loops * minBudget, maxBudget, offNegative},
		{"HandshakeWorkers", c.HandshakeWorkers, 1, maxWorkers, offNone},
		{"SendBuffer", c.SendBuffer, minSockBuffer, maxSockBuffer, offMinusOne},
		{"RecvBuffer", c.RecvBuffer, minSockBuffer, maxSockBuffer, offMinusOne},
		{"MinRate", c.MinRate, 1, maxMinRate, offNegative},
		{"MaxConns", c.MaxConns, 1, maxPeerLimit, offNegative},
		{"MaxConnsPerPeer", c.MaxConnsPerPeer, 1, maxPeerLimit, offZero},
		{"MaxHandshakesPerPeer", c.MaxHandshakesPerPeer, 1, maxPeerLimit, offZero},
		{"PeerConnRate", c.PeerConnRate, 1, maxPeerLimit, offZero},
		{"ConnReadRate", c.ConnReadRate, minRate, maxRate, offZero},
		{"ConnWriteRate", c.ConnWriteRate, minRate, maxRate, offZero},
		{"PeerReadRate", c.PeerReadRate, minRate, maxRate, offZero},
		{"PeerWriteRate", c.PeerWriteRate, minRate, maxRate, offZero},
	} {
		if !f.off.matches(f.v) && (f.v < f.min || f.v > f.max) {
			return fmt.Errorf("reactor: %s is %d, allowed are %d to %d%s", f.name, f.v, f.min, f.max, f.off)
		}
	}
	return nil
}

// rangeError refuses a value outside of min … max.
func rangeError(name string, v, min, max int) error {
	return fmt.Errorf("reactor: %s is %d, allowed are %d to %d", name, v, min, max)
}

func (c Config) validateTimeouts() error {
	for _, f := range []struct {
		name string
		v    time.Duration
	}{
		{"HandshakeTimeout", c.HandshakeTimeout}, {"FrameTimeout", c.FrameTimeout}, {"IdleTimeout", c.IdleTimeout},
		{"WriteTimeout", c.WriteTimeout}, {"LingerTimeout", c.LingerTimeout}, {"DrainTimeout", c.DrainTimeout},
		{"ShutdownGrace", c.ShutdownGrace},
	} {
		if err := timeoutError(f.name, f.v); err != nil {
			return err
		}
	}
	return nil
}

// timeoutError refuses a deadline that is neither 0, nor negative, nor within the range.
func timeoutError(name string, v time.Duration) error {
	if v <= 0 || v >= minTimeout && v <= maxTimeout {
		return nil
	}
	return fmt.Errorf("reactor: %s is %v, allowed are %v to %v, 0 for the default and negative for none", name, v, minTimeout, maxTimeout)
}
