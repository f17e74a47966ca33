package reactor

// wheel is a hashed timer wheel over the connections of one loop. A connection sits in at most one slot. Deadlines move
// lazily: arming a later one than the slot's changes nothing, the slot's visit looks at the real deadline and files the
// connection again. So activity costs a store, not a list operation.
type wheel struct {
	slots [wheelSlots]*Conn       // doubly linked through Conn.wnext, Conn.wprev
	used  [wheelSlots / 64]uint64 // bit per slot: not empty
	tick  int64                   // next tick to visit
	due   *Conn                   // taken from a slot and not fired yet, linked through Conn.wnext
}

// file puts c where its deadline at (nanoseconds) will be seen, unless it sits somewhere earlier already.
func (w *wheel) file(c *Conn, at int64) {
	t := at/int64(wheelTick) + 1 // never early
	if t < w.tick {
		t = w.tick
	}
	if last := w.tick + wheelSlots - 1; t > last {
		t = last
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

// advance visits every slot up to now and calls fire for each connection found, which is no longer filed then. After a
// jump of the clock by more than a turn each slot is visited once. When fire panics, the next call goes on where it was.
func (w *wheel) advance(now int64, fire func(*Conn)) {
	to := now / int64(wheelTick)
	if to-w.tick >= wheelSlots {
		w.tick = to - wheelSlots + 1
	}
	for w.due != nil || w.tick <= to {
		if c := w.due; c != nil {
			w.due = c.wnext
			c.wnext, c.wprev, c.wtick = nil, nil, -1
			fire(c)
			continue
		}
		s := w.tick % wheelSlots
		w.tick++ // first: what fire files again must land ahead
		w.due = w.slots[s]
		w.slots[s] = nil
		w.used[s/64] &^= 1 << (s % 64)
	}
}

// next is the time in nanoseconds at which advance has something to do; ok is false when nothing is filed.
func (w *wheel) next() (at int64, ok bool) {
	for i := int64(0); i < wheelSlots; i++ {
		t := w.tick + i
		s := t % wheelSlots
		word := w.used[s/64]
		if word == 0 && s%64 == 0 && i+63 < wheelSlots {
			i += 63 // a whole empty word
			continue
		}
		if word&(1<<(s%64)) != 0 {
			return t * int64(wheelTick), true
		}
	}
	return 0, false
}
