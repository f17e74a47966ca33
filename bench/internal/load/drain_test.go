package load

import "testing"

// The wait for replies ends when none has come for a while, not while they come slowly.
func TestDrainPatience(t *testing.T) {
	d := drainPatience{limit: 100}
	now := int64(1000)
	for n := 500; n > 0; n -= 10 { // one every 9 units, 4,500 in all
		for range 10 {
			if now += 9; d.over(n, now) {
				t.Fatalf("given up with %d outstanding", n)
			}
		}
	}
	// None comes any more, and those that wait to be written change places. The tenth was seen 81 units ago.
	if d.over(11, now+18) {
		t.Error("given up after 99 units")
	}
	if !d.over(10, now+19) {
		t.Error("not given up after 100 units")
	}
}
