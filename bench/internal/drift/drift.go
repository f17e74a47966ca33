// Package drift judges whether a series of samples grows: a leak, when it is memory, descriptors or goroutines; a drift, when it is
// a latency. It is arithmetic only.
//
// The samples are cut into blocks, whose medians are taken: neighbouring samples depend on each other, neighbouring blocks hardly do,
// and a single outlier is not seen. The slope is the median of the slopes of all pairs of blocks (Theil and Sen), its confidence
// bounds are those of Kendall's statistic, widened by what dependence is left. Pairs on both sides of a restart, or of the largest
// step up, are left out: a table that grows once is a step, and a leak goes on before and after it. What has grown beyond the
// allowance by such a step, or with too much noise, is not called steady either: it cannot be told.
package drift

import (
	"fmt"
	"math"
	"slices"
)

// Point is one sample.
type Point struct {
	T float64 // seconds since the run began; rising
	V float64
}

// Verdict on a series.
type Verdict string

const (
	Steady  Verdict = "steady"      // it has not grown beyond the allowance, and Detectable would have been shown
	Growing Verdict = "growing"     // growth beyond the allowance is shown
	Unclear Verdict = "cannot tell" // too few samples, too noisy, or grown in a way that may be a leak or may be a pool that fills
)

// Allowance is what a series may grow and is called steady all the same. Over a run it is the larger of Floor and Share of the
// series' level, which caches, pools and the collector may move by once, plus PerDay for each day of the run.
type Allowance struct {
	Floor  float64 `json:"floor"`           // in the series' unit
	Share  float64 `json:"share,omitempty"` // of the level, 0 to 1
	PerDay float64 `json:"per_day"`         // in the series' unit
}

const (
	day  = 86400 // seconds
	hour = 3600
)

// Over is the allowance of a series at that level over so many seconds.
func (a Allowance) Over(level, seconds float64) float64 {
	return max(a.Floor, a.Share*level) + a.PerDay*seconds/day
}

// Result is a verdict with its figures. Growth is over SpanS: the slope's estimate and bounds times that.
type Result struct {
	Verdict    Verdict `json:"verdict"`
	Why        string  `json:"why,omitempty"` // of Unclear
	Samples    int     `json:"samples"`       // judged, the warm-up left out
	Blocks     int     `json:"blocks"`
	SpanS      float64 `json:"span_s"` // judged, the sum of all segments
	Level      float64 `json:"level"`  // median
	SlopeHour  float64 `json:"slope_per_h"`
	LowHour    float64 `json:"slope_low_per_h"` // 95 % confidence bounds
	HighHour   float64 `json:"slope_high_per_h"`
	LowGrowth  float64 `json:"growth_low"` // the lower bound of what was grown over the span
	Rise       float64 `json:"rise"`       // from the first quarter to the last, steps included, the sum of all segments
	Allowed    float64 `json:"growth_allowed"`
	Detectable float64 `json:"growth_detectable"` // the smallest growth over the span that would have been called so, with this noise
}

// DetectableHour is the smallest steady growth per hour that would have been shown; 0 when nothing could be.
func (r *Result) DetectableHour() float64 {
	if r.SpanS == 0 {
		return 0
	}
	return r.Detectable * hour / r.SpanS
}

// Estimated says whether there is a slope: else there were too few samples.
func (r *Result) Estimated() bool { return r.Detectable > 0 }

// Figures of the method.
const (
	maxBlocks   = 24   // 276 pairs: the bounds hardly get closer with more, and longer blocks depend less on each other
	minSamples  = 3    // of a block: with fewer, one outlier is its median
	minBlocks   = 8    // with fewer, the bounds of half of them are those of the extreme pairs
	z           = 1.96 // of the normal distribution: 95 % between both bounds
	maxAuto     = 0.9  // bound of the dependence that is allowed for
	tooNoisy    = 5    // a run that could show no less than so many times its allowance cannot tell
	stepReach   = 3    // blocks on either side of a step
	stepMargin  = 2    // blocks that each part of a segment keeps
	persistence = 0.5  // of the slope's lower bound: so fast the later half must still grow, and so much must be left in the end
)

// Judge judges a series. Segments are runs of the same process, in order; what it measures may begin anew with each. The first
// warmup seconds of each are left out, but no more than half of it.
func Judge(segments [][]Point, warmup float64, a Allowance) Result {
	var r Result
	segments = trim(segments, warmup)
	var values []float64
	for _, s := range segments {
		for _, p := range s {
			values = append(values, p.V)
		}
		if len(s) > 1 {
			r.SpanS += s[len(s)-1].T - s[0].T
		}
	}
	r.Samples = len(values)
	if r.Samples == 0 || r.SpanS <= 0 {
		r.Verdict, r.Why = Unclear, "no samples after the warm-up"
		return r
	}
	r.Level = median(values)
	r.Allowed = a.Over(r.Level, r.SpanS)
	parts := blocks(segments, max(minSamples, (r.Samples+maxBlocks-1)/maxBlocks))
	for _, p := range parts {
		r.Blocks += len(p)
	}
	if r.Blocks < minBlocks {
		r.Verdict, r.Why = Unclear, fmt.Sprintf("%d samples are too few; %d are needed", r.Samples, minBlocks*minSamples)
		return r
	}
	r.estimate(parts)
	return r
}

// estimate fills in the slope and the verdict.
func (r *Result) estimate(parts [][]Point) {
	pieces := split(parts)
	slope, low, high, ok := theilSen(pieces)
	if !ok {
		r.Verdict, r.Why = Unclear, "too many interruptions"
		return
	}
	r.SlopeHour, r.LowHour, r.HighHour = slope*hour, low*hour, high*hour
	r.LowGrowth = low * r.SpanS
	r.Detectable = r.Allowed + (slope-low)*r.SpanS
	var span float64
	r.Rise, span = rise(parts)
	switch {
	case r.LowGrowth > r.Allowed && r.Rise >= persistence*low*span && persists(parts, low):
		r.Verdict = Growing
	case r.Detectable > tooNoisy*r.Allowed:
		r.Verdict, r.Why = Unclear, "too noisy"
	case max(r.Rise, slope*r.SpanS) > r.Allowed:
		r.Verdict, r.Why = Unclear, "it grew, but not so steadily that it must be a leak"
	default:
		r.Verdict = Steady
	}
}

// trim leaves the warm-up of every segment out.
func trim(segments [][]Point, warmup float64) [][]Point {
	var out [][]Point
	for _, s := range segments {
		if len(s) < 2 {
			continue
		}
		from := s[0].T + min(warmup, (s[len(s)-1].T-s[0].T)/2)
		i := slices.IndexFunc(s, func(p Point) bool { return p.T >= from })
		out = append(out, s[i:])
	}
	return out
}

// blocks has the medians of every n samples; what is left over at the beginning of a segment is left out.
func blocks(segments [][]Point, n int) [][]Point {
	var out [][]Point
	for _, s := range segments {
		var b []Point
		for i := len(s) % n; i < len(s); i += n {
			var at, v []float64
			for _, p := range s[i : i+n] {
				at, v = append(at, p.T), append(v, p.V)
			}
			b = append(b, Point{median(at), median(v)})
		}
		if len(b) > 0 {
			out = append(out, b)
		}
	}
	return out
}

// split parts every segment at its largest step up. Of a leak, which has no step, that costs pairs, and no slope.
func split(parts [][]Point) [][]Point {
	var out [][]Point
	for _, b := range parts {
		at, largest := 0, 0.0
		for k := stepMargin; k <= len(b)-stepMargin; k++ {
			jump := level(b[k:min(k+stepReach, len(b))]) - level(b[max(k-stepReach, 0):k])
			if jump > largest {
				at, largest = k, jump
			}
		}
		if at == 0 {
			out = append(out, b)
			continue
		}
		out = append(out, b[:at], b[at:])
	}
	return out
}

// theilSen is the median of the slopes of all pairs within a piece, and its confidence bounds, per second.
func theilSen(pieces [][]Point) (slope, low, high float64, ok bool) {
	var slopes []float64
	var variance float64
	for _, b := range pieces {
		n := float64(len(b))
		variance += n * (n - 1) * (2*n + 5) / 18
		for i := range b {
			for j := i + 1; j < len(b); j++ {
				slopes = append(slopes, (b[j].V-b[i].V)/(b[j].T-b[i].T))
			}
		}
	}
	if len(slopes) == 0 {
		return 0, 0, 0, false
	}
	slices.Sort(slopes)
	slope = medianSorted(slopes)
	auto := dependence(pieces, slope)
	reach := z * math.Sqrt(variance*(1+auto)/(1-auto))
	n := float64(len(slopes))
	lo := max(int(math.Floor((n-reach)/2))-1, 0)
	hi := min(int(math.Ceil((n+reach)/2)), len(slopes)-1)
	return slope, slopes[lo], slopes[hi], true
}

// dependence is the correlation of neighbouring blocks beside the slope, from 0 to maxAuto.
func dependence(pieces [][]Point, slope float64) float64 {
	var both, square float64
	for _, b := range pieces {
		rest := make([]float64, len(b))
		for i, p := range b {
			rest[i] = p.V - slope*p.T
		}
		middle := median(slices.Clone(rest))
		for i := range rest {
			rest[i] -= middle
			square += rest[i] * rest[i]
			if i > 0 {
				both += rest[i] * rest[i-1]
			}
		}
	}
	if square == 0 {
		return 0
	}
	return min(max(both/square, 0), maxAuto)
}

// rise is by how much the last quarter of each segment is above its first, and over what time. Of what is given back, as a heap between
// two collections, little is left in the end.
func rise(parts [][]Point) (sum, span float64) {
	for _, b := range parts {
		q := max(len(b)/4, 1)
		sum += level(b[len(b)-q:]) - level(b[:q])
		span += b[len(b)-q/2-1].T - b[q/2].T
	}
	return sum, span
}

// persists says whether what has grown goes on growing in the later half: a pool that fills does not. Steps count here, because a leak
// may come in portions.
func persists(parts [][]Point, low float64) bool {
	var later [][]Point
	half := middleOf(parts)
	for _, b := range parts {
		i := slices.IndexFunc(b, func(p Point) bool { return p.T >= half })
		if i >= 0 && len(b)-i > 1 {
			later = append(later, b[i:])
		}
	}
	slope, _, _, ok := theilSen(later)
	return !ok || slope >= persistence*low
}

// middleOf is the time that has as many blocks before as after it.
func middleOf(parts [][]Point) float64 {
	var at []float64
	for _, b := range parts {
		for _, p := range b {
			at = append(at, p.T)
		}
	}
	return median(at)
}

// level is the median of the values.
func level(b []Point) float64 {
	v := make([]float64, len(b))
	for i, p := range b {
		v[i] = p.V
	}
	return median(v)
}

// median sorts v.
func median(v []float64) float64 {
	slices.Sort(v)
	return medianSorted(v)
}

func medianSorted(v []float64) float64 {
	n := len(v)
	if n%2 == 1 {
		return v[n/2]
	}
	return (v[n/2-1] + v[n/2]) / 2
}
