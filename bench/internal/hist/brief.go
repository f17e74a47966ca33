package hist

import (
	"math/bits"
	"time"
)

// briefBits is how finely Brief tells values apart: 32 steps per power of two, so that a percentile is off by at most 1.6 %.
const briefBits = 5

// briefFirst is the power of two that Lowest lies in; smaller values are clamped to it.
const briefFirst = 9 // 512 ns … 1023 ns

// BriefSize is the number of counters of a Brief: all powers of two from Lowest's to Highest's.
const BriefSize = (37 - briefFirst) << briefBits // 2^36 ns is 69 s, 2^37 ns more than Highest

// Brief counts latencies like a Recorder, coarser and in a sixtieth of the memory: for one of many intervals. It counts up to 2^32 values of
// a kind. The zero value is empty. One goroutine at a time.
type Brief struct {
	counts [BriefSize]uint32
	n      int64
	max    time.Duration
}

// Record counts one latency, clamped like a Recorder's. It does not allocate.
func (b *Brief) Record(d time.Duration) {
	d = min(max(d, Lowest), Highest)
	b.counts[briefIndex(d)]++
	b.n++
	b.max = max(b.max, d)
}

// briefIndex is the counter of a value within the bounds.
func briefIndex(d time.Duration) int {
	e := bits.Len64(uint64(d)) - 1
	return (e-briefFirst)<<briefBits | int(d>>(e-briefBits))&(1<<briefBits-1)
}

// briefMiddle is the middle of the values of a counter.
func briefMiddle(i int) time.Duration {
	e := i>>briefBits + briefFirst
	width := time.Duration(1) << (e - briefBits)
	return time.Duration(1)<<e + time.Duration(i&(1<<briefBits-1))*width + width/2
}

// Merge adds what o counted.
func (b *Brief) Merge(o *Brief) {
	if o.n == 0 {
		return
	}
	for i, n := range o.counts {
		b.counts[i] += n
	}
	b.n += o.n
	b.max = max(b.max, o.max)
}

// Count is how many latencies were recorded.
func (b *Brief) Count() int64 { return b.n }

// Max is the largest of them, exactly; 0 without any.
func (b *Brief) Max() time.Duration { return b.max }

// Quantile is the value that pct per cent of the latencies do not exceed, never more than Max; 0 without any.
func (b *Brief) Quantile(pct float64) time.Duration {
	rank := Rank(pct, b.n)
	seen := int64(0)
	for i, n := range b.counts {
		if seen += int64(n); n > 0 && seen >= rank {
			return min(briefMiddle(i), b.max)
		}
	}
	return b.max
}
