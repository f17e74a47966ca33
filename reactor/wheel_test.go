package reactor

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
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
				w.advance(now, math.MaxInt, fire)
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

// What fires may end others of its slot, as a protocol that closes its partner does: those that are left fire all the same.
func TestWheelWithWhatEndsOthers(t *testing.T) {
	w := &wheel{tick: 1}
	var cs []*Conn
	for range 8 {
		c := &Conn{wtick: -1}
		cs = append(cs, c)
		w.file(c, int64(wheelTick))
	}
	fired := 0
	w.advance(10*int64(wheelTick), math.MaxInt, func(c *Conn) {
		fired++
		for i, o := range cs { // its neighbour on either side
			if o == c {
				w.remove(cs[i^1])
			}
		}
	})
	if fired != 4 {
		t.Errorf("%d fired, want one of each pair", fired)
	}
	for i, c := range cs {
		if c.wtick >= 0 {
			t.Errorf("connection %d is still filed", i)
		}
	}
}

// Deadlines that come at once are spread over turns, and what becomes of those left over meanwhile counts.
func TestWheelIsBounded(t *testing.T) {
	w := &wheel{tick: 1}
	var cs []*Conn
	for range 10 {
		c := &Conn{wtick: -1}
		cs = append(cs, c)
		w.file(c, int64(wheelTick))
	}
	now, fired := 5*int64(wheelTick), 0
	fire := func(c *Conn) { fired++; w.file(c, now+int64(time.Hour)) }
	for i, want := range []int{4, 8, 9, 9} {
		w.advance(now, 4, fire)
		if fired != want {
			t.Fatalf("call %d: %d fired, want %d", i, fired, want)
		}
		switch at, ok := w.next(); {
		case !ok || (fired < 9) != (at <= now):
			t.Fatalf("call %d: next is %d, %v", i, at, ok)
		case i == 1: // one of those left over is buried
			for _, c := range cs {
				if c.wtick <= 2 {
					w.remove(c)
					break
				}
			}
		}
	}
}

// Connections that rest wake the loop seldom, and none of their deadlines is late.
func TestWheelRests(t *testing.T) {
	const n, wait = 1000, int64(20 * time.Minute)
	w := &wheel{tick: 1}
	rng := rand.New(rand.NewPCG(1, 2))
	due := map[*Conn]int64{}
	for range n { // all within a minute, after 19
		c := &Conn{wtick: -1}
		due[c] = wait - rng.Int64N(int64(time.Minute))
		w.file(c, due[c])
	}
	wakes, visits := 0, 0
	for len(due) > 0 {
		now, ok := w.next()
		if !ok {
			t.Fatal("some are not filed")
		}
		if now < wait-int64(time.Minute) {
			wakes++
		}
		w.advance(now, math.MaxInt, func(c *Conn) {
			visits++
			if due[c] > now {
				w.file(c, due[c])
				return
			}
			if late := now - due[c]; late > 2*int64(wheelTick) {
				t.Errorf("%v late", time.Duration(late))
			}
			delete(due, c)
		})
	}
	if wakes > 200 || visits > 50*n {
		t.Errorf("%d wake-ups before the first deadline, %d visits of %d connections", wakes, visits, n)
	}
	t.Logf("%d wake-ups before the first deadline, %d visits", wakes, visits)
}
