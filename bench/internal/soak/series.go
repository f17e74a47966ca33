// Package soak is what a soak remembers: its configuration, its series of samples, what was counted; and the file from which an
// interrupted one goes on.
package soak

import (
	"slices"

	"github.com/ron-transport/ron-transport/bench/internal/drift"
)

// MaxPoints bounds a series. When it is full, neighbours are put together and the series goes on half as dense: 24 h have a point
// every 43 s at the least, and a checkpoint of thirty series stays below 5 MB.
const MaxPoints = 4096

// Series is one figure over the run. One goroutine at a time.
type Series struct {
	Name  string    `json:"name"`
	Unit  string    `json:"unit"`
	Every int       `json:"every"` // samples of each point: their mean
	T     []float64 `json:"t_s"`   // seconds of soaking since the run began, pauses left out
	V     []float64 `json:"v"`

	sum, at float64 // of the samples that are not a point yet
	n       int
}

// Add adds a sample. Starts are where the run's segments begin: samples of two are never put together.
func (s *Series) Add(t, v float64, starts []float64) {
	if s.n > 0 && segment(starts, s.at) != segment(starts, t) {
		s.flush()
	}
	if s.n == 0 {
		s.at = t
	}
	s.sum += v
	if s.n++; s.n < max(s.Every, 1) {
		return
	}
	s.flush()
	if len(s.T) >= MaxPoints {
		s.thin(starts)
	}
}

func (s *Series) flush() {
	s.T, s.V = append(s.T, s.at), append(s.V, s.sum/float64(s.n))
	s.sum, s.at, s.n = 0, 0, 0
}

// thin puts neighbours together.
func (s *Series) thin(starts []float64) {
	s.T, s.V = pairs(s.T, s.V, starts)
	s.Every = 2 * max(s.Every, 1)
}

func pairs(at, values, starts []float64) (t, v []float64) {
	for i := 0; i < len(at); {
		if i+1 < len(at) && segment(starts, at[i]) == segment(starts, at[i+1]) {
			t, v = append(t, at[i]), append(v, (values[i]+values[i+1])/2)
			i += 2
			continue
		}
		t, v = append(t, at[i]), append(v, values[i])
		i++
	}
	return t, v
}

// Short is the series with at most n points, or one more for each segment.
func (s *Series) Short(n int, starts []float64) (t, v []float64) {
	t, v = s.T, s.V
	for len(t) > n+len(starts) {
		t, v = pairs(t, v, starts)
	}
	return t, v
}

// Segments are the points of each segment.
func (s *Series) Segments(starts []float64) [][]drift.Point {
	out := make([][]drift.Point, max(len(starts), 1))
	for i, t := range s.T {
		k := segment(starts, t)
		out[k] = append(out[k], drift.Point{T: t, V: s.V[i]})
	}
	return out
}

// Last is the newest point; ok is false without any.
func (s *Series) Last() (v float64, ok bool) {
	if len(s.V) == 0 {
		return 0, false
	}
	return s.V[len(s.V)-1], true
}

// segment is the number of the segment that t is in.
func segment(starts []float64, t float64) int {
	i, found := slices.BinarySearch(starts, t)
	if !found {
		i--
	}
	return max(i, 0)
}
