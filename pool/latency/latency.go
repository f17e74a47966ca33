// Package latency counts durations in fixed buckets, without locks and without allocating. It knows nothing of the rest of the
// library: whoever has durations to count may import it.
package latency

import (
	"sync/atomic"
	"time"
)

// bounds are the upper bounds of the buckets; one without a bound follows. They are the same for every histogram and frozen: who
// compares two releases, or sums over nodes, needs the same ones. Within each decade 1, 2.5 and 5, and where the targets of the
// seed (§2.2) are between those, their own: 8, 12, 60, 80, 150 and 1500 ms. The first is about what a turn of a loop takes.
var bounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 8 * time.Millisecond, 12 * time.Millisecond, 25 * time.Millisecond,
	60 * time.Millisecond, 80 * time.Millisecond, 150 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 1500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second,
}

// Buckets is how many buckets there are, the one without a bound included.
const Buckets = len(bounds) + 1

// Bound is the upper bound, inclusive, of bucket i, 0 … Buckets-2. Any goroutine.
func Bound(i int) time.Duration { return bounds[i] }

// bucket is the number of the bucket for d. Small durations, of which there are most, are found first.
func bucket(d time.Duration) int {
	for i, b := range bounds {
		if d <= b {
			return i
		}
	}
	return Buckets - 1
}

// Histogram is a set of counters, one a bucket, and the sum. The zero value is empty and ready. It must not be copied.
type Histogram struct {
	counts [Buckets]atomic.Uint64
	sum    atomic.Int64 // nanoseconds
}

// Observe counts one duration; a negative one, of a clock that went backwards, as 0. Any goroutine.
func (h *Histogram) Observe(d time.Duration) {
	d = max(d, 0)
	h.counts[bucket(d)].Add(1)
	if d > 0 {
		h.sum.Add(int64(d))
	}
}

// ObserveZero counts n durations that are too short for the clock. Any goroutine.
func (h *Histogram) ObserveZero(n uint64) { h.counts[0].Add(n) }

// AddTo adds what was counted to s. Counters that move meanwhile may be seen in part. Any goroutine.
func (h *Histogram) AddTo(s *Snapshot) {
	for i := range h.counts {
		s.Counts[i] += h.counts[i].Load()
	}
	s.Sum += time.Duration(h.sum.Load())
}

// Snapshot is what a Histogram had counted. The zero value is empty.
type Snapshot struct {
	Counts [Buckets]uint64 // by bucket, each for itself
	Sum    time.Duration
}

// Count is the number of durations. Any goroutine.
func (s *Snapshot) Count() uint64 {
	var n uint64
	for _, c := range s.Counts {
		n += c
	}
	return n
}

// Cumulative is s as collectors of metrics want it: by upper bound in seconds how many durations were not above it. The caller
// owns the map. Any goroutine.
func (s *Snapshot) Cumulative() map[float64]uint64 {
	m := make(map[float64]uint64, len(bounds))
	var n uint64
	for i, b := range bounds {
		n += s.Counts[i]
		m[b.Seconds()] = n
	}
	return m
}
