package chaos

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// fill is n intervals with v each.
func fill(n int, v uint32) []uint32 { return slices.Repeat([]uint32{v}, n) }

func TestRecover(t *testing.T) {
	const s = time.Second
	steady := fill(60, 10)
	for _, c := range []struct {
		name    string
		replies []uint32
		first   time.Duration
		want    Recovery
	}{
		{"no effect", fill(60, 10), 2*s + 10*time.Millisecond, Recovery{0.01, 0, 0.1}},
		{"all at once after half a second", slices.Concat(fill(10, 10), fill(15, 0), []uint32{160}, fill(34, 10)), 2500 * time.Millisecond, Recovery{0.5, 0.1, 0.6}},
		{"never", slices.Concat(fill(10, 10), fill(50, 0)), -1, Recovery{never, never, never}},
		{"as fast as before, but what was held up is lost", slices.Concat(fill(10, 10), fill(10, 0), fill(40, 10)), 2 * s, Recovery{0, 0, never}},
		{"at four fifths", slices.Concat(fill(10, 10), fill(10, 0), fill(40, 8)), 2 * s, Recovery{0, never, never}},
		{"a second of silence, then twice as fast", slices.Concat(fill(10, 10), fill(20, 0), fill(20, 20), fill(10, 10)), 3 * s, Recovery{1, 0.8, 2.9}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Recover(&Series{Due: steady, Replies: c.replies}, 0, s, 2*s, c.first)
			for _, v := range []struct {
				name      string
				got, want float64
			}{{"first reply", got.FirstReplyS, c.want.FirstReplyS}, {"rate", got.RateS, c.want.RateS}, {"caught up", got.CaughtUpS, c.want.CaughtUpS}} {
				if d := v.got - v.want; d > 1e-6 || d < -1e-6 {
					t.Errorf("%s: %v, want %v", v.name, v.got, v.want)
				}
			}
		})
	}
	if got := Recover(&Series{}, 0, s, 2*s, -1); got.RateS >= 0 || got.CaughtUpS >= 0 {
		t.Errorf("nothing was counted, and yet %+v", got)
	}
}

// TestRecoverIsMonotone: over random outages, an outage that lasts longer never has a shorter recovery, and what is never answered is never
// caught up with.
func TestRecoverIsMonotone(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		rate := uint32(5 + rng.IntN(50))
		before, fault, n := 10+rng.IntN(20), 5+rng.IntN(20), 200
		last := -1.0
		for silent := 0; silent < 50; silent += 1 + rng.IntN(5) {
			s := Series{Due: fill(n, rate), Replies: fill(n, rate)}
			from, to := before, before+fault+silent
			held := uint32(0)
			for i := from; i < to; i++ {
				held += s.Replies[i]
				s.Replies[i] = 0
			}
			s.Replies[to] += held
			at := func(b int) time.Duration { return time.Duration(b) * Bin }
			r := Recover(&s, 0, at(from), at(from+fault), -1)
			if r.CaughtUpS < last || r.CaughtUpS < 0 || r.RateS > r.CaughtUpS {
				t.Fatalf("seed %d, %d silent intervals: %+v after %v", seed, silent, r, last)
			}
			last = r.CaughtUpS
			s.Replies[to] -= held
			if r := Recover(&s, 0, at(from), at(from+fault), -1); held > 4*rate && r.CaughtUpS >= 0 {
				t.Fatalf("seed %d: %d requests are lost, and all is caught up with: %+v", seed, held, r)
			}
		}
	}
}
