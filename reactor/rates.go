package reactor

import (
	"time"

	"golang.org/x/time/rate"
)

// extra is what few connections need.
type extra struct {
	refusal  error         // why a refused connection is refused
	peer     *peer         // counted under it; nil: no limits per peer
	half     bool          // counted as half-open
	in, out  *rate.Limiter // the connection's own buckets; nil: no limit
	pipe     *Conn         // see Pipe
	inBurst  int           // the most bytes one read takes; 0: no limit
	outBurst int           // the most bytes one write brings; 0: no limit
}

// more returns c's extra, made when it is first needed.
func (c *Conn) more() *extra {
	if c.ext == nil {
		c.ext = new(extra)
	}
	return c.ext
}

// clock is the loop's time as the token buckets want it; only differences count.
func (l *loop) clock() time.Time { return time.Unix(0, l.now) }

// limitRates gives c the buckets that the configuration asks for.
func (l *loop) limitRates(c *Conn) {
	cfg := &l.r.cfg
	if cfg.ConnReadRate|cfg.ConnWriteRate != 0 {
		e := c.more()
		e.in, e.out = newBucket(cfg.ConnReadRate), newBucket(cfg.ConnWriteRate)
	}
	if e := c.ext; e != nil {
		var pin, pout *rate.Limiter
		if e.peer != nil {
			pin, pout = e.peer.in, e.peer.out
		}
		e.inBurst, e.outBurst = burst(e.in, pin), burst(e.out, pout)
	}
}

// burst is the smaller bucket's size; 0 without buckets.
func burst(a, b *rate.Limiter) int {
	n := 0
	for _, x := range [...]*rate.Limiter{a, b} {
		if x != nil && (n == 0 || x.Burst() < n) {
			n = x.Burst()
		}
	}
	return n
}

// charge takes n bytes out of a bucket, going into debt, and returns when the debt is paid, in nanoseconds of the loops'
// clock, which shows now; 0 without debt.
func charge(b *rate.Limiter, n int, now int64) int64 {
	if b == nil {
		return 0
	}
	at := time.Unix(0, now)
	var wait time.Duration
	for n > 0 {
		k := min(n, b.Burst())
		wait = b.ReserveN(at, k).DelayFrom(at)
		n -= k
	}
	if wait <= 0 {
		return 0
	}
	return now + int64(wait)
}

// charge is charge for a bucket that loops share. Each loop's clock stands still for a turn, and one that lags behind must
// not set the bucket's back: the time in between would bring tokens twice.
func (p *peer) charge(b *rate.Limiter, n int, now int64) int64 {
	if b == nil {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = max(p.now, now)
	return charge(b, n, p.now)
}

// chargeRead counts n bytes read against c's buckets and stops reading while they are empty.
func (l *loop) chargeRead(c *Conn, n int) {
	e := c.ext
	at := charge(e.in, n, l.now)
	if e.peer != nil {
		at = max(at, e.peer.charge(e.peer.in, n, l.now))
	}
	if at != 0 {
		c.paused |= pauseRate
		c.inAt = at
		l.wheel.file(c, at)
	}
}

// chargeWrite counts n bytes written against c's buckets and stops writing while they are empty.
func (l *loop) chargeWrite(c *Conn, n int) {
	e := c.ext
	at := charge(e.out, n, l.now)
	if e.peer != nil {
		at = max(at, e.peer.charge(e.peer.out, n, l.now))
	}
	if at != 0 {
		c.outWindow.from = 0 // it waits for us, not for the peer
		l.holdWrites(c, at)
	}
}

// holdWrites stops c's output until at.
func (l *loop) holdWrites(c *Conn, at int64) {
	c.outAt = max(c.outAt, at)
	l.wheel.file(c, c.outAt)
}

// release ends the waits that are over.
func (l *loop) release(c *Conn) {
	if c.inAt != 0 && l.now >= c.inAt {
		c.inAt, c.lastIO = 0, l.now // the idle deadline starts anew: so far it was we who waited
		c.paused &^= pauseRate
		l.enqueue(c)
	}
	if c.outAt != 0 && l.now >= c.outAt {
		c.outAt, c.lastIO = 0, l.now
		l.flushLater(c)
	}
}

// writeSize is how many bytes of output one system call carries.
func (l *loop) writeSize(c *Conn) int {
	if b := c.outBurst(); b > 0 {
		return min(b, l.r.cfg.WriteCoalesce)
	}
	return l.r.cfg.WriteCoalesce
}

// outBurst is the most bytes one write brings; 0: no limit.
func (c *Conn) outBurst() int {
	if c.ext == nil {
		return 0
	}
	return c.ext.outBurst
}

// readSize bounds p to what one read of c may take.
func (c *Conn) readSize(p []byte) []byte {
	if c.ext != nil && c.ext.inBurst > 0 && len(p) > c.ext.inBurst {
		return p[:c.ext.inBurst]
	}
	return p
}

// window measures a rate over minRateWindow. The zero value is off.
type window struct {
	from  int64 // nanoseconds; 0: nothing is measured
	bytes int
}

// measure starts measuring, unless it has started.
func (l *loop) measure(c *Conn, w *window) {
	if w.from == 0 && l.r.cfg.MinRate > 0 {
		*w = window{from: l.now}
		l.wheel.file(c, w.end())
	}
}

// end is when the window is judged; 0 when nothing is measured.
func (w *window) end() int64 {
	if w.from == 0 {
		return 0
	}
	return w.from + int64(minRateWindow)
}

// slow judges a window that has ended and starts the next one.
func (l *loop) slow(w *window) bool {
	if w.from == 0 || l.now < w.end() {
		return false
	}
	least := float64(l.r.cfg.MinRate) * time.Duration(l.now-w.from).Seconds()
	if float64(w.bytes) < least {
		return true
	}
	*w = window{from: l.now}
	return false
}
