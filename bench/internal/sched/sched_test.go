package sched

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct{ rps, conns int }{{0, 1}, {-1, 1}, {MaxRPS + 1, 1}, {1, 0}, {1, -3}} {
		if _, err := New(c.rps, c.conns); err == nil {
			t.Errorf("New(%d, %d) was accepted", c.rps, c.conns)
		}
	}
}

// The connections' timetables together are exactly the plan: each request once, evenly apart, in turn.
func TestSpreadsEvenly(t *testing.T) {
	const rps, conns = 15000, 50
	p, err := New(rps, conns)
	if err != nil {
		t.Fatal(err)
	}
	var all []time.Duration
	for c := range conns {
		for k := int64(0); p.At(c, k) < time.Second; k++ {
			all = append(all, p.At(c, k))
		}
	}
	slices.Sort(all)
	if len(all) != rps {
		t.Fatalf("%d requests are due in the first second, want %d", len(all), rps)
	}
	for i := 1; i < len(all); i++ {
		if gap := all[i] - all[i-1]; gap < 66*time.Microsecond || gap > 67*time.Microsecond {
			t.Fatalf("request %d follows after %s, want 66.7 µs", i, gap)
		}
	}
}

// Rounded intervals would have added up to an error of seconds by then.
func TestDoesNotDrift(t *testing.T) {
	p, err := New(7, 3)
	if err != nil {
		t.Fatal(err)
	}
	const week = 7 * 24 * 3600
	if got := p.offset(7 * week); got != week*time.Second {
		t.Errorf("request %d is due at %s, want a week", 7*week, got)
	}
}

// DueBefore and TotalBefore agree with counting.
func TestCountsAgreeWithTimetable(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		conns := 1 + rng.IntN(20)
		p, err := New(1+rng.IntN(3000), conns)
		if err != nil {
			t.Fatal(err)
		}
		d := time.Duration(rng.Int64N(int64(2 * time.Second)))
		if rng.IntN(2) == 0 { // exactly on a request's due time
			d = p.At(rng.IntN(conns), rng.Int64N(50))
		}
		var total int64
		for c := range conns {
			var n int64
			for p.At(c, n) < d {
				n++
			}
			if got := p.DueBefore(c, d); got != n {
				t.Fatalf("%+v: DueBefore(%d, %s) = %d, counted %d", p, c, d, got, n)
			}
			total += n
		}
		if got := p.TotalBefore(d); got != total {
			t.Fatalf("%+v: TotalBefore(%s) = %d, counted %d", p, d, got, total)
		}
	}
}
