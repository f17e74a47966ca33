package reactor

import "math/bits"

// wheel is a hashed timer wheel over the connections of one loop. A connection sits in at most one slot. Deadlines move
// lazily: arming a later one than the slot's changes nothing, the slot's visit looks at the real deadline and files the
// connection again. So activity costs a store, not a list operation. Deadlines that are far away share slots before their
// time, at most a quarter of the way early: a loop whose connections all rest wakes up for some slots, not for every tick.
type wheel struct {
	slots [wheelSlots]*Conn       // doubly linked through Conn.wnext, Conn.wprev
	used  [wheelSlots / 64]uint64 // bit per slot: not empty
	tick  int64                   // next tick to visit; the one before may be left over (see advance)
}

// file puts c where its deadline at (nanoseconds) will be seen, unless it sits somewhere earlier already.
func (w *wheel) file(c *Conn, at int64) {
	t := max(at/int64(wheelTick)+1, w.tick) // never early
	if t-w.tick >= wheelExact {
		t = min(t, w.tick+wheelSlots-2) // the last slot before the one that is being visited
		t &^= 1<<(bits.Len64(uint64(t-w.tick))-3) - 1
	}
	if c.wtick >= 0 {
		if c.wtick <= t {
			return
		}
		w.remove(c)
	}
	s := t % wheelSlots
	c.wtick = t
	c.wprev = nil
	c.wnext = w.slots[s]
	if c.wnext != nil {
		c.wnext.wprev = c
	}
	w.slots[s] = c
	w.used[s/64] |= 1 << (s % 64)
}

// remove takes c out of its slot, if it is in one.
func (w *wheel) remove(c *Conn) {
	if c.wtick < 0 {
		return
	}
	s := c.wtick % wheelSlots
	if c.wprev != nil {
		c.wprev.wnext = c.wnext
	} else {
		w.slots[s] = c.wnext
		if c.wnext == nil {
			w.used[s/64] &^= 1 << (s % 64)
		}
	}
	if c.wnext != nil {
		c.wnext.wprev = c.wprev
	}
	c.wnext, c.wprev, c.wtick = nil, nil, -1
}

// advance visits every slot up to now and calls fire for each connection found, which is no longer filed then, for as many
// as most; those left over are the next call's. After a jump of the clock by more than a turn each slot is visited once.
// When fire panics, the next call goes on where it was.
func (w *wheel) advance(now int64, most int, fire func(*Conn)) {
	to := now / int64(wheelTick)
	if to-w.tick >= wheelSlots {
		w.tick = to - wheelSlots + 1
	}
	for {
		c := w.slots[(w.tick-1)%wheelSlots]
		switch {
		case c == nil && w.tick > to, c != nil && most == 0:
			return
		case c == nil:
			w.tick++ // what fire files again lands ahead of the slot that is visited
		default:
			w.remove(c)
			fire(c)
			most--
		}
	}
}

// left says whether the last advance has left some over.
func (w *wheel) left() bool { return w.slots[(w.tick-1)%wheelSlots] != nil }

// next is the time in nanoseconds at which advance has something to do; ok is false when nothing is filed.
func (w *wheel) next() (at int64, ok bool) {
	const words = wheelSlots / 64
	first := w.tick - 1
	from := first % wheelSlots
	for i := range int64(words + 1) {
		k := (from/64 + i) % words
		word := w.used[k]
		switch i {
		case 0:
			word &= ^uint64(0) << (from % 64)
		case words: // the rest of the first word
			word &= 1<<(from%64) - 1
		}
		if word != 0 {
			s := k*64 + int64(bits.TrailingZeros64(word))
			return (first + (s-from+wheelSlots)%wheelSlots) * int64(wheelTick), true
		}
	}
	return 0, false
}
