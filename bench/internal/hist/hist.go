// Package hist keeps latencies: an HDR histogram with the bounds and the precision all reports share.
package hist

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Bounds of what is recorded. Values outside are clamped and stay counted.
const (
	Lowest  = time.Microsecond  // loopback round trips begin at some 15 µs
	Highest = 120 * time.Second // twice the longest latency anything here may wait for
	digits  = 3                 // significant decimal digits: the error of a percentile is below 0.1 %
	step    = 1                 // ns, of the finest counters: with a coarser one the error would be larger than that below a millisecond
)

// Recorder counts latencies. One goroutine at a time.
type Recorder struct {
	h *hdrhistogram.Histogram
}

// New returns an empty recorder (about 230 KiB).
func New() *Recorder {
	return &Recorder{h: hdrhistogram.New(step, int64(Highest), digits)}
}

// Record counts one latency. It does not allocate.
func (r *Recorder) Record(d time.Duration) {
	d = min(max(d, Lowest), Highest)
	_ = r.h.RecordValue(int64(d)) // cannot fail: d is within the bounds
}

// Merge adds what o counted.
func (r *Recorder) Merge(o *Recorder) { r.h.Merge(o.h) }

// Count is how many latencies were recorded.
func (r *Recorder) Count() int64 { return r.h.TotalCount() }

// Latency is the summary of a recorder, in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	MinMS float64 `json:"min_ms"`
	AvgMS float64 `json:"mean_ms"`
	P50   float64 `json:"p50_ms"`
	P95   float64 `json:"p95_ms"`
	P99   float64 `json:"p99_ms"`
	P999  float64 `json:"p99_9_ms"`
	MaxMS float64 `json:"max_ms"`
}

// Summary computes the percentiles. All are zero when nothing was recorded.
func (r *Recorder) Summary() Latency {
	l := Latency{Count: r.h.TotalCount()}
	if l.Count == 0 {
		return l
	}
	ms := func(v int64) float64 { return float64(v) / float64(time.Millisecond) }
	l.MinMS, l.MaxMS = ms(r.h.Min()), ms(r.h.Max())
	l.AvgMS = r.h.Mean() / float64(time.Millisecond)
	l.P50, l.P95 = ms(r.h.ValueAtQuantile(50)), ms(r.h.ValueAtQuantile(95))
	l.P99, l.P999 = ms(r.h.ValueAtQuantile(99)), ms(r.h.ValueAtQuantile(99.9))
	return l
}

// Quantile is the latency that pct per cent (0 to 100) do not exceed, in milliseconds: at 0 the least, at 100 the largest, as in Summary. It is
// zero when nothing was recorded.
func (r *Recorder) Quantile(pct float64) float64 {
	if r.h.TotalCount() == 0 {
		return 0
	}
	v := r.h.ValueAtQuantile(pct)
	switch {
	case pct <= 0:
		v = r.h.Min()
	case pct >= 100:
		v = r.h.Max()
	}
	return float64(v) / float64(time.Millisecond)
}

// Rank is which of n values, the smallest being number 1, is their percentile pct.
func Rank(pct float64, n int64) int64 {
	// A percentile such as 99.9 is no binary fraction: what is an integer but for that must not be rounded up.
	const tiny = 1e-9
	return max(1, min(n, int64(math.Ceil(pct/100*float64(n)*(1-tiny)))))
}
