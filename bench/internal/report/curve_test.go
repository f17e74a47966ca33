package report

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/ron-transport/ron-transport/bench/internal/hist"
)

// A curve goes as far as values lie beyond its points, rises, and ends with the largest.
func TestCurve(t *testing.T) {
	for _, c := range []struct {
		n    int
		last float64 // the rarest percentile before 100
		len  int
	}{{0, 0, 0}, {1, 0, 1}, {2, 50, 7}, {10, 90, 9}, {100, 99, 11}, {999, 99.5, 12}, {1000, 99.9, 13}, {10_000, 99.99, 15}, {100_000, 99.999, 17}} {
		r := hist.New()
		for i := range c.n {
			r.Record(time.Duration(i+1) * 10 * time.Microsecond)
		}
		curve := CurveOf(r)
		if len(curve) != c.len {
			t.Errorf("%d values: %d points, want %d: %v", c.n, len(curve), c.len, curve)
			continue
		}
		if c.n == 0 {
			continue
		}
		s := r.Summary()
		if end := curve[len(curve)-1]; end.Percentile != 100 || end.MS != s.MaxMS {
			t.Errorf("%d values: the curve ends with %+v, want the largest, %v ms", c.n, end, s.MaxMS)
		}
		if c.n > 1 && (curve[0].MS != s.MinMS || curve[len(curve)-2].Percentile != c.last) {
			t.Errorf("%d values: %v, want from %v ms on, with %v before the end", c.n, curve, s.MinMS, c.last)
		}
		for i := 1; i < len(curve); i++ {
			if curve[i].Percentile <= curve[i-1].Percentile || curve[i].MS < curve[i-1].MS {
				t.Errorf("%d values: the curve falls at %+v", c.n, curve[i])
			}
		}
	}
}

// Rounds of a comparison are written without series and curves, which stay in memory; phases of their own keep them.
func TestRoundsAreWrittenWithoutSeries(t *testing.T) {
	p := Phase{Name: "x", Series: &Series{IntervalMS: 200, Points: []Point{{AtS: 1}}}, Curve: []Quantile{{Percentile: 100, MS: 1}}}
	r := &Report{Phases: []Phase{p}, Compare: []Pairing{{Rounds: []Round{{Ours: p, Peer: p}}}}}
	path := filepath.Join(t.TempDir(), "r.json")
	if err := r.WriteFile(path); err != nil {
		t.Fatal(err)
	}
	back, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := back.Phases[0]; got.Series == nil || got.Series.Points[0].AtS != 1 || len(got.Curve) != 1 {
		t.Errorf("a phase was written as %+v", got)
	}
	if r.Compare[0].Rounds[0].Ours.Series == nil {
		t.Error("writing a report has changed it")
	}
	for _, got := range []Phase{back.Compare[0].Rounds[0].Ours, back.Compare[0].Rounds[0].Peer} {
		if got.Name != "x" || got.Series != nil || got.Curve != nil {
			t.Errorf("a round was written as %+v", got)
		}
	}
}
