package load

import "time"

// probeLag measures how long a task waits for each of the client's loops. A loop that is busy, or that is held up in a callback without using
// the processor, is seen by that; the replies waited as long. Controller.
func (f *Fleet) probeLag() {
	for _, g := range f.groups {
		posted := f.now()
		f.post(g, func() {
			if now := f.now(); g.inside(now) {
				g.lag.Record(time.Duration(now - posted))
			}
		})
	}
}
