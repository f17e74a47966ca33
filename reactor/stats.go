package reactor

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/ron-transport/ron-transport/pool/latency"
)

// counter is an index into a loop's counters.
type counter int

const (
	counterAccepted        counter = iota // connections accepted
	counterOpened                         // of all, those whose handshake succeeded
	counterClosed                         // connections closed
	counterHandshakes                     // handshakes completed
	counterHandshakeFailed                // handshakes failed
	counterAcceptErrors                   // failed accepts
	counterRefused                        // connections refused: over a limit, or no descriptor left
	counterReads                          // read system calls, and calls of Stream.Read
	counterWrites                         // write and writev system calls, and calls of Stream.Write
	counterBytesIn                        // bytes read from sockets and streams
	counterBytesOut                       // bytes written to sockets and streams
	counterWakes                          // waits that blocked
	counterStale                          // events for a connection that was gone
	counterExpired                        // deadlines that ended a connection
	counterPanics                         // panics in callbacks
	counterProxyFailed                    // PROXY headers that were not valid or not complete
	counterRefusedPeers                   // connections closed at once because of who the peer is
	numCounters
)

// reasons is the canon (oap1.md), in its order; abnormal closes are counted by it.
var reasons = [...]string{"bad_version", "bad_flags", "bad_frame", "frame_too_large", "decompress_overflow", "bad_compression",
	"over_capacity", "peer_limit", "rate_limited", "inflight_exceeded", "handshake_timeout", "read_timeout", "write_timeout",
	"idle_timeout", "slow_peer", "tls", "not_ready", "tor_bootstrap", "shutting_down", "io"}

const numReasons = len(reasons)

// Reasons returns the canon, the words that ClosedBy may have as keys, in its order. The caller owns the slice. Any goroutine.
func Reasons() []string { return slices.Clone(reasons[:]) }

// published is what other goroutines may read of a loop's counters.
type published struct {
	_        [64]byte // not on the cache line of the loop's own fields
	count    [numCounters]atomic.Uint64
	closedBy [numReasons]atomic.Uint64
	conns    atomic.Int64
	queued   atomic.Int64
	turns    latency.Histogram // written directly, once a turn
	shakes   [numShakes]latency.Histogram
	groups   [2]keyExchanges // of accepted connections, of dialled ones
	_        [64]byte
}

// shake says which handshakes a histogram is of.
type shake int

const (
	shakeAcceptedFull shake = iota
	shakeAcceptedResumed
	shakeDialledFull
	shakeDialledResumed
	numShakes
)

// shakeOf is the histogram for a connection.
func shakeOf(dialled, resumed bool) shake {
	s := shakeAcceptedFull
	if dialled {
		s = shakeDialledFull
	}
	if resumed {
		s++
	}
	return s
}

// keyExchanges counts handshakes by the name of their key exchange. Written by the loop, which handshakes keep busy for so much
// longer that the counters are atomic at once; read by any goroutine.
type keyExchanges struct {
	name  [maxKeyExchanges]atomic.Pointer[string] // nil: free, as all that follow
	count [maxKeyExchanges]atomic.Uint64
	other atomic.Uint64 // found no place
}

// add counts one; one without a name, of a filter that does not know, as other. Loop only.
func (k *keyExchanges) add(name string) {
	for i := range k.name {
		p := k.name[i].Load()
		if p == nil {
			if name == "" {
				break
			}
			p = new(string) // name itself would be moved to the heap with each call
			*p = name
			k.name[i].Store(p)
		}
		if *p == name {
			k.count[i].Add(1)
			return
		}
	}
	k.other.Add(1)
}

// addTo adds the counters to m. Any goroutine.
func (k *keyExchanges) addTo(m map[string]uint64) {
	for i := range k.name {
		if p := k.name[i].Load(); p != nil {
			m[*p] += k.count[i].Load()
		}
	}
	if n := k.other.Load(); n > 0 {
		m["other"] += n
	}
}

// agreed counts a handshake that is complete. Loop only.
func (l *loop) agreed(c *Conn) {
	l.count[counterHandshakes]++
	resumed := false
	if a, ok := c.filter.(Agreer); ok {
		var group string
		group, resumed = a.Agreed()
		side := 0
		if c.dialled {
			side = 1
		}
		l.stats.groups[side].add(group)
	}
	took := time.Duration(uint32(l.now>>shakeUnit)-c.shakeAt) << shakeUnit
	l.stats.shakes[shakeOf(c.dialled, resumed)].Observe(took)
}

// publish copies the counters that have changed. Loop only.
func (l *loop) publish() {
	for i, v := range l.count {
		if l.stats.count[i].Load() != v {
			l.stats.count[i].Store(v)
		}
	}
	for i, v := range l.closedBy {
		if l.stats.closedBy[i].Load() != v {
			l.stats.closedBy[i].Store(v)
		}
	}
	if v := int64(l.conns); l.stats.conns.Load() != v {
		l.stats.conns.Store(v)
	}
	if v := l.queued; l.stats.queued.Load() != v {
		l.stats.queued.Store(v)
	}
}

// Stats is a snapshot of a reactor's counters, summed over its loops; each loop's part is as of the end of its last turn.
type Stats struct {
	Conns                                 int64 // connections that exist
	QueuedTasks                           int64 // functions that were posted and wait for their loops
	QueuedBytes                           int64 // output that the kernel has not taken
	Accepted, Opened, Closed              uint64
	Handshakes, HandshakesFailed          uint64
	StepsPeak                             int64  // most handshake steps that ran at once; Config.HandshakeWorkers bounds it
	AcceptErrors, Refused                 uint64 // failed accepts; connections refused: over a limit (ClosedBy has the reason, but for those of Admit), or no descriptor left
	RefusedPeers, ProxyFailed             uint64 // closed at once because of who the peer is; for want of a valid PROXY header
	Reads, Writes                         uint64 // system calls, and calls of Stream's methods
	BytesIn, BytesOut                     uint64 // on sockets and streams
	Wakes, StaleEvents, Expired, Panics   uint64
	PoolOutstanding, PoolOutstandingBytes int64             // buffers handed out by the loops' pools
	PoolCachedBytes                       int64             // idle buffers
	ClosedBy                              map[string]uint64 // abnormal closes by reason of the canon; reasons that occurred
	Turns                                 latency.Snapshot  // how long the loops were away from their sockets, from one look to the next, when there was work
	Accept, Dial                          Handshaken        // how long handshakes took, from the accept (or the PROXY header behind it), or the dial, to their end
}

// Handshaken is how long the handshakes of one direction took, by kind; those that failed are not in it. Filters that do not tell
// whether a session was resumed count as full.
type Handshaken struct {
	Full, Resumed latency.Snapshot
	KeyExchanges  map[string]uint64 // by the name of the key exchange, of filters that tell it
}

// Stats returns a snapshot. Any goroutine.
func (r *Reactor) Stats() Stats {
	var s Stats
	s.ClosedBy = make(map[string]uint64)
	s.Accept.KeyExchanges, s.Dial.KeyExchanges = make(map[string]uint64), make(map[string]uint64)
	s.Refused, s.StepsPeak = r.refusals.Load(), int64(r.workers.mostAtOnce())
	for _, l := range r.loops {
		c := func(i counter) uint64 { return l.stats.count[i].Load() }
		s.Conns += l.stats.conns.Load()
		s.QueuedTasks += int64(l.queue.waiting.Load())
		s.QueuedBytes += l.stats.queued.Load()
		l.stats.turns.AddTo(&s.Turns)
		l.stats.shakes[shakeAcceptedFull].AddTo(&s.Accept.Full)
		l.stats.shakes[shakeAcceptedResumed].AddTo(&s.Accept.Resumed)
		l.stats.shakes[shakeDialledFull].AddTo(&s.Dial.Full)
		l.stats.shakes[shakeDialledResumed].AddTo(&s.Dial.Resumed)
		l.stats.groups[0].addTo(s.Accept.KeyExchanges)
		l.stats.groups[1].addTo(s.Dial.KeyExchanges)
		s.Accepted += c(counterAccepted)
		s.Opened += c(counterOpened)
		s.Closed += c(counterClosed)
		s.Handshakes += c(counterHandshakes)
		s.HandshakesFailed += c(counterHandshakeFailed)
		s.AcceptErrors += c(counterAcceptErrors)
		s.Refused += c(counterRefused)
		s.ProxyFailed += c(counterProxyFailed)
		s.RefusedPeers += c(counterRefusedPeers)
		s.Reads += c(counterReads)
		s.Writes += c(counterWrites)
		s.BytesIn += c(counterBytesIn)
		s.BytesOut += c(counterBytesOut)
		s.Wakes += c(counterWakes)
		s.StaleEvents += c(counterStale)
		s.Expired += c(counterExpired)
		s.Panics += c(counterPanics)
		p := l.pool.Stats()
		s.PoolOutstanding += p.Outstanding
		s.PoolOutstandingBytes += p.OutstandingBytes
		s.PoolCachedBytes += p.CachedBytes
		for i, name := range reasons {
			if v := l.stats.closedBy[i].Load(); v > 0 {
				s.ClosedBy[name] += v
			}
		}
	}
	return s
}
