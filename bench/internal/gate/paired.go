package gate

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Limits of a paired check.
const (
	// doubt is how often the true median may lie below the interval's lower bound. A run has ten figures, each of which may raise a
	// false alarm: together that is one run in twenty at most, even where no figure's noise is small against its gate.
	doubt = 0.005
	// LeastPairs is the smallest number of pairs of which an interval can be said that holds with so little doubt: 2^-8 is below it.
	LeastPairs = 8
)

// PairedGates are the gates of a paired check unless --gate says otherwise. CPU per frame is what the others rest on: its noise is
// the smallest, so its gate is at half of the slowdown of 12 per cent that must be caught. With client and server on one machine the
// server is about half of the work, and the same slowdown shows as half as much in the throughput. Latency and memory keep what the seed has.
const PairedGates = "+10p95,+10p99,-6throughput,+6cpu,+15mem"

// PairedMetrics are the figures of a paired check, in the order in which they are shown.
func PairedMetrics() []Metric {
	return []Metric{
		{Key: "tls_small_cpu_us", Unit: "µs", Gate: "cpu"},
		{Key: "tls_small_fps", Unit: "fps", Gate: "throughput", More: true},
		{Key: "tls_small_p95_ms", Unit: "ms", Gate: "p95"},
		{Key: "tls_small_p99_ms", Unit: "ms", Gate: "p99"},
		{Key: "tls_stream_64k_cpu_us", Unit: "µs", Gate: "cpu"},
		{Key: "tls_stream_64k_gbps", Unit: "Gb/s", Gate: "throughput", More: true},
		{Key: "tls_stream_64k_p95_ms", Unit: "ms", Gate: "p95"},
		{Key: "quic_stream_64k_cpu_us", Unit: "µs", Gate: "cpu"},
		{Key: "quic_stream_64k_gbps", Unit: "Gb/s", Gate: "throughput", More: true},
		{Key: "mem_gib", Unit: "GiB", Gate: "mem"},
	}
}

// Pair is the same load on base and change, one right after the other: what the machine does to both cancels in their ratio.
type Pair struct {
	Base   Values `json:"base"`
	Change Values `json:"change"`
}

// PairedRow is the verdict on one figure of a paired check.
type PairedRow struct {
	Key    string  `json:"key"`
	Unit   string  `json:"unit"`
	More   bool    `json:"more_is_better"`
	Pairs  int     `json:"pairs"`
	Base   float64 `json:"base"`   // the median
	Change float64 `json:"change"` // the median
	// Worse is by how much the change is worse than the base, in per cent of the base: the median of the pairs' own figures; negative: better.
	Worse float64 `json:"worse_pct"`
	Low   float64 `json:"worse_low_pct"`  // the true median lies below it once in 200 times
	High  float64 `json:"worse_high_pct"` // and above it
	Limit float64 `json:"limit_pct"`
	OK    bool    `json:"ok"`
	// Settled: more pairs are not expected to change the verdict.
	Settled bool `json:"settled"`
}

// JudgePairs judges every figure over all pairs that have it. A figure fails when the median of what the pairs say is beyond its gate and it is
// certain that the change is worse at all (see doubt). extra, in per cent, is added to every gate. Figures that no pair has, that have fewer pairs
// than LeastPairs or than least, or that are no positive numbers, are errors. Any goroutine.
func JudgePairs(pairs []Pair, least int, g Gates, extra float64) ([]PairedRow, error) {
	var rows []PairedRow
	var errs []error
	for _, m := range PairedMetrics() {
		r, err := JudgeFigure(pairs, m, least, g[m.Gate]+extra)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		rows = append(rows, *r)
	}
	return rows, errors.Join(errs...)
}

// JudgeFigure is JudgePairs for one figure; limit is in per cent.
func JudgeFigure(pairs []Pair, m Metric, least int, limit float64) (*PairedRow, error) {
	base, change, worse, err := figures(pairs, m)
	if err != nil {
		return nil, err
	}
	if need := max(least, LeastPairs); len(worse) < need {
		return nil, fmt.Errorf("there are %d pairs with %s, %d are required", len(worse), m.Key, need)
	}
	r := &PairedRow{Key: m.Key, Unit: m.Unit, More: m.More, Pairs: len(worse), Limit: limit}
	r.Base, r.Change, r.Worse = middle(base), middle(change), middle(worse)
	r.Low, r.High = Interval(worse, doubt)
	r.judge()
	return r, nil
}

// judge sets OK and Settled. A median that is not half as bad as the gate will hardly get beyond it. Where even the lower bound is half as bad
// as the gate the change is surely worse. An interval that reaches twice as far below 0 as the median is above it will hardly leave it behind
// with three times the pairs, which make it half as wide.
func (r *PairedRow) judge() {
	r.OK = r.Worse <= r.Limit || r.Low <= 0
	r.Settled = r.Worse <= r.Limit/2 || r.Low <= -2*r.Worse || (!r.OK && r.Low > r.Limit/2)
}

// figures collects a figure from the pairs that have it; worse is in per cent of the base.
func figures(pairs []Pair, m Metric) (base, change, worse []float64, err error) {
	for i, p := range pairs {
		b, inBase := p.Base[m.Key]
		c, inChange := p.Change[m.Key]
		if !inBase && !inChange {
			continue // a pair of another load
		}
		for _, v := range []float64{b, c} {
			if !(v > 0) || math.IsInf(v, 0) {
				return nil, nil, nil, fmt.Errorf("pair %d: %s is %v and %v, more than 0 is required", i+1, m.Key, b, c)
			}
		}
		w := 100 * (c/b - 1)
		if m.More {
			w = -w
		}
		base, change, worse = append(base, b), append(change, c), append(worse, w)
	}
	return base, change, worse, nil
}

// middle is the median; 0 of nothing.
func middle(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Interval is where the median of what v is a sample of lies: with probability doubt at most it is below low, and with the same above high. It
// follows from the order of the values alone, whatever their distribution (the interval of the sign test). With too few values for so
// little doubt the interval is unbounded. Any goroutine.
func Interval(v []float64, doubt float64) (low, high float64) {
	s := slices.Sorted(slices.Values(v))
	n := len(s)
	k := 0 // so many values at either end can be left out
	for k < n && AtMost(k, n, 0.5) <= doubt {
		k++
	}
	if k == 0 {
		return math.Inf(-1), math.Inf(1)
	}
	return s[k-1], s[n-k]
}

// AtMost is the probability of k successes or fewer in n attempts that each succeed with probability p.
func AtMost(k, n int, p float64) float64 {
	switch {
	case k < 0:
		return 0
	case k >= n || p <= 0:
		return 1
	case p >= 1:
		return 0
	}
	sum := 0.0
	all, _ := math.Lgamma(float64(n + 1))
	for i := 0; i <= k; i++ {
		some, _ := math.Lgamma(float64(i + 1))
		rest, _ := math.Lgamma(float64(n - i + 1))
		sum += math.Exp(all - some - rest + float64(i)*math.Log(p) + float64(n-i)*math.Log1p(-p))
	}
	return min(sum, 1)
}

// Share is the interval that a probability lies in after k successes in n attempts, with 95 per cent confidence (the exact one of Clopper and
// Pearson). Without attempts it is 0 to 1. Any goroutine.
func Share(k, n int) (low, high float64) {
	const tail = 0.025
	low, high = 0, 1
	if k > 0 {
		low = solve(func(p float64) bool { return 1-AtMost(k-1, n, p) < tail })
	}
	if k < n {
		high = solve(func(p float64) bool { return AtMost(k, n, p) > tail })
	}
	return low, high
}

// solve finds the p up to which below holds.
func solve(below func(p float64) bool) float64 {
	lo, hi := 0.0, 1.0
	for range 60 { // then the halves are as fine as a float64
		if mid := (lo + hi) / 2; below(mid) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return lo
}
