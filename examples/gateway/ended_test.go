package main

import "testing"

// TestEnded: a stream is dropped until its END or another START, and what never ends does not pile up.
func TestEnded(t *testing.T) {
	e := ended{limit: 4}
	drops := func(corr uint64, start, end, want bool) {
		t.Helper()
		if got := e.drops(corr, start, end); got != want {
			t.Errorf("frame of %d (start %v, end %v): dropped is %v", corr, start, end, got)
		}
	}
	drops(1, false, false, false)
	e.add(1)
	drops(1, false, false, true)
	drops(2, false, false, false)
	drops(1, false, true, true)
	drops(1, false, false, false)
	e.add(2)
	drops(2, true, false, false)
	drops(2, false, false, false)
	for corr := uint64(10); corr < 1010; corr++ {
		e.add(corr)
		if len(e.added) > e.limit || len(e.order) > e.limit {
			t.Fatalf("%d streams are remembered, %d in order", len(e.added), len(e.order))
		}
	}
	drops(1009, false, false, true)
	drops(1006, false, false, true)
	drops(1005, false, false, false)
	e.add(1006) // once more: the older entry does not take it along
	for corr := uint64(2000); corr < 2003; corr++ {
		e.add(corr)
	}
	drops(1006, false, false, true)
}
