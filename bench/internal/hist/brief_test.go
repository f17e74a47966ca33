package hist

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A Brief knows how many there are and the largest exactly, and its percentiles are within a step of those of the sorted values.
func TestBriefAgainstSortedValues(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for round := range 200 {
		var a, b Brief
		var all []time.Duration
		for range 1 + rng.IntN(500) {
			d := time.Duration(1) << rng.IntN(40)
			d += time.Duration(rng.Int64N(int64(d)))
			if rng.IntN(2) == 0 {
				a.Record(d)
			} else {
				b.Record(d)
			}
			all = append(all, min(max(d, Lowest), Highest))
		}
		a.Merge(&b)
		slices.Sort(all)
		if a.Count() != int64(len(all)) || a.Max() != all[len(all)-1] {
			t.Fatalf("round %d: %d values up to %v, want %d up to %v", round, a.Count(), a.Max(), len(all), all[len(all)-1])
		}
		for _, pct := range []float64{0, 1, 50, 90, 99, 99.9, 100} {
			got, want := a.Quantile(pct), all[Rank(pct, int64(len(all)))-1]
			if off := float64(got-want) / float64(want); off < -0.017 || off > 0.017 {
				t.Errorf("round %d: percentile %v is %v, want %v within 1.7 %%", round, pct, got, want)
			}
		}
	}
	var none Brief
	if none.Quantile(99) != 0 || none.Max() != 0 {
		t.Error("an empty Brief has values")
	}
}

func TestRank(t *testing.T) {
	for _, c := range []struct {
		pct  float64
		n    int64
		want int64
	}{{0, 10, 1}, {50, 10, 5}, {50, 11, 6}, {99.9, 1000, 999}, {99.99, 10000, 9999}, {99.999, 1000, 1000}, {100, 7, 7}, {50, 1, 1}} {
		if got := Rank(c.pct, c.n); got != c.want {
			t.Errorf("percentile %v of %d values is number %d, want %d", c.pct, c.n, got, c.want)
		}
	}
}

func TestQuantileEndsAtSummary(t *testing.T) {
	r := New()
	if r.Quantile(50) != 0 {
		t.Error("an empty recorder has a median")
	}
	for i := range 1000 {
		r.Record(time.Duration(i+1) * time.Millisecond)
	}
	s := r.Summary()
	if r.Quantile(0) != s.MinMS || r.Quantile(50) != s.P50 || r.Quantile(100) != s.MaxMS {
		t.Errorf("%v %v %v, not those of %+v", r.Quantile(0), r.Quantile(50), r.Quantile(100), s)
	}
}

func TestBriefDoesNotAllocate(t *testing.T) {
	b := new(Brief)
	if n := testing.AllocsPerRun(1000, func() { b.Record(3 * time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations per Record", n)
	}
}
