package hist

import (
	"math"
	"testing"
	"time"
)

func near(got, want float64) bool { return math.Abs(got-want) <= want*0.001 }

func TestPercentiles(t *testing.T) {
	r := New()
	for i := 1; i <= 10000; i++ {
		r.Record(time.Duration(i) * 10 * time.Microsecond) // 0.01 … 100 ms
	}
	l := r.Summary()
	for _, c := range []struct {
		name      string
		got, want float64
	}{{"p50", l.P50, 50}, {"p95", l.P95, 95}, {"p99", l.P99, 99}, {"p99.9", l.P999, 99.9}, {"max", l.MaxMS, 100}, {"mean", l.AvgMS, 50.005}} {
		if !near(c.got, c.want) {
			t.Errorf("%s = %v, want %v within 0.1 %%", c.name, c.got, c.want)
		}
	}
	if l.Count != 10000 {
		t.Errorf("count = %d", l.Count)
	}
}

// The precision holds where latencies on loopback are, too.
func TestPercentilesOfMicroseconds(t *testing.T) {
	r := New()
	for i := range 1000 {
		r.Record(10*time.Microsecond + time.Duration(i)*100*time.Nanosecond)
	}
	for _, pct := range []float64{1, 10, 50, 90, 99} {
		want := (10 + 0.1*float64(Rank(pct, 1000)-1)) / 1000
		if got := r.Quantile(pct); !near(got, want) {
			t.Errorf("percentile %v is %v ms, want %v within 0.1 %%", pct, got, want)
		}
	}
}

func TestClampsAndMerges(t *testing.T) {
	a, b := New(), New()
	a.Record(0)
	a.Record(-time.Second)
	b.Record(24 * time.Hour)
	a.Merge(b)
	l := a.Summary()
	if l.Count != 3 {
		t.Errorf("count = %d, want 3: nothing is lost", l.Count)
	}
	if !near(l.MaxMS, float64(Highest/time.Millisecond)) {
		t.Errorf("max = %v ms, want the upper bound", l.MaxMS)
	}
	if (New().Summary() != Latency{}) {
		t.Error("an empty recorder has a summary other than zero")
	}
}

func TestRecordDoesNotAllocate(t *testing.T) {
	r := New()
	if n := testing.AllocsPerRun(1000, func() { r.Record(3 * time.Millisecond) }); n != 0 {
		t.Errorf("%v allocations per Record", n)
	}
}
