package report

import "github.com/ron-transport/ron-transport/bench/internal/hist"

// curvePercentiles are the points of a curve that may be left out for want of values, in order: evenly on a logarithmic scale of how rare
// what lies beyond is. Beyond the last one a window would have to hold more than a hundred million replies.
func curvePercentiles() []float64 {
	return []float64{
		0, 10, 20, 30, 40, 50, 75, 90, 95, 99, 99.5, 99.9, 99.95, 99.99, 99.995, 99.999, 99.9995, 99.9999, 99.99995, 99.99999, 99.999995, 99.999999,
	}
}

// CurveOf is the percentile curve of what was recorded: as far as at least one value lies beyond a percentile, and then the largest, at 100. It
// is nil when nothing was recorded.
func CurveOf(r *hist.Recorder) []Quantile {
	n := r.Count()
	if n == 0 {
		return nil
	}
	var out []Quantile
	for _, pct := range curvePercentiles() {
		if hist.Rank(pct, n) >= n { // none beyond
			break
		}
		out = append(out, Quantile{Percentile: pct, MS: r.Quantile(pct)})
	}
	return append(out, Quantile{Percentile: 100, MS: r.Quantile(100)})
}
