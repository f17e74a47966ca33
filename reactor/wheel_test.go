package reactor

import (
	"math/rand/v2"
	"testing"
)

// TestWheelAgainstAModel files, removes and advances at random, with jumps of the clock, and compares what fires with a
// plain list of deadlines: never early, at most one tick late, once.
func TestWheelAgainstAModel(t *testing.T) {
	const tick = int64(wheelTick)
	for seed := uint64(0); seed < 50; seed++ {
		rng := rand.New(rand.NewPCG(seed, 7))
		now := rng.Int64N(1 << 40)
		w := &wheel{tick: now/tick + 1}
		want := map[*Conn]int64{}
		fire := func(c *Conn) {
			at, ok := want[c]
			switch {
			case !ok:
				t.Fatalf("seed %d: fired without a deadline", seed)
			case at > now: // beyond the horizon, or filed for an earlier deadline: the owner files it again
				w.file(c, at)
			default:
				delete(want, c)
			}
		}
		for range 2000 {
			switch rng.IntN(4) {
			case 0, 1:
				c := &Conn{wtick: -1}
				want[c] = now + rng.Int64N(int64(wheelSlots)*tick*3)
				w.file(c, want[c])
			case 2:
				for c := range want {
					if rng.IntN(2) == 0 {
						w.remove(c)
						delete(want, c)
					} else {
						want[c] = min(want[c], now+rng.Int64N(100*tick))
						w.file(c, want[c])
					}
					break
				}
			default:
				now += rng.Int64N(4 * tick)
				if rng.IntN(50) == 0 {
					now += int64(wheelSlots) * tick * 2
				}
				w.advance(now, fire)
				for _, at := range want {
					if at < now-2*tick {
						t.Fatalf("seed %d: deadline missed by %d ticks", seed, (now-at)/tick)
					}
				}
			}
			checkNext(t, w, want)
		}
	}
}

// checkNext compares next with the slots themselves.
func checkNext(t *testing.T, w *wheel, want map[*Conn]int64) {
	t.Helper()
	first := int64(-1)
	for c := range want {
		if first < 0 || c.wtick < first {
			first = c.wtick
		}
	}
	at, ok := w.next()
	if ok != (first >= 0) || ok && at != first*int64(wheelTick) {
		t.Fatalf("next is %d, %v; first filed tick is %d", at/int64(wheelTick), ok, first)
	}
}
