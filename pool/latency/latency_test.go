package latency

import (
	"sync"
	"testing"
	"time"
)

func TestBoundsRise(t *testing.T) {
	for i := 1; i < Buckets-1; i++ {
		if Bound(i) <= Bound(i-1) {
			t.Errorf("bound %d is %v after %v", i, Bound(i), Bound(i-1))
		}
	}
}

func TestEveryDurationHasItsBucket(t *testing.T) {
	for i := range Buckets - 1 {
		if got := bucket(Bound(i)); got != i {
			t.Errorf("%v is in bucket %d, want %d: bounds are inclusive", Bound(i), got, i)
		}
		if got := bucket(Bound(i) + 1); got != i+1 {
			t.Errorf("%v is in bucket %d, want %d", Bound(i)+1, got, i+1)
		}
	}
}

func TestHistogram(t *testing.T) {
	var h Histogram
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 1000 {
				h.Observe(3 * time.Millisecond)
				h.Observe(-time.Second)
				h.Observe(time.Hour)
			}
			h.ObserveZero(5)
		})
	}
	all.Wait()
	var s Snapshot
	h.AddTo(&s)
	if n := s.Count(); n != 12_020 {
		t.Errorf("%d durations, want 12020", n)
	}
	if want := 4000 * (3*time.Millisecond + time.Hour); s.Sum != want {
		t.Errorf("sum is %v, want %v", s.Sum, want)
	}
	m := s.Cumulative()
	if len(m) != Buckets-1 || m[0.0001] != 4020 || m[0.0025] != 4020 || m[0.005] != 8020 || m[30] != 8020 {
		t.Errorf("cumulative: %v", m)
	}
}

func TestObserveAllocatesNothing(t *testing.T) {
	var h Histogram
	if n := testing.AllocsPerRun(1000, func() { h.Observe(time.Second); h.ObserveZero(1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	var h Histogram
	for b.Loop() {
		h.Observe(50 * time.Microsecond)
	}
}
