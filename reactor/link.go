package reactor

import "errors"

// Pipe links the back-pressure of two connections, as a gateway wants it that forwards what it reads from one to the
// other: while the output of one is above its high-water mark, the other is not read, until the output has fallen to the
// low-water mark. What is forwarded, and when one end's close ends the other, stays the protocols' business. A connection
// has at most one partner; the link ends when either closes. They may be on different loops: the partner is then paused
// with its loop's next turn, and what it had posted by then still comes: see DialConfig.Near. ErrClosed when one of them is
// closed. Any goroutine.
func Pipe(a, b *Conn) error {
	if a == b || a.loop.r != b.loop.r {
		return errors.New("reactor: Pipe needs two connections of one reactor")
	}
	if a.gone.Load() || b.gone.Load() {
		return ErrClosed
	}
	return a.loop.push(task{kind: taskLink, c: a, peer: b})
}

// link begins a link at c's end. The partner's loop hears of it before c has anything else to tell, so a word that comes
// from someone else than the partner belongs to a link that has ended.
func (l *loop) link(c, other *Conn) {
	if c.state == stateClosed || other.gone.Load() {
		return
	}
	l.join(c, other)
	tell(other, c, pipeLink, l)
	if c.over {
		l.tellPipe(c, pipePause)
	}
}

// join makes other c's partner.
func (l *loop) join(c, other *Conn) {
	if c.more().pipe != other {
		l.unlink(c)
		c.ext.pipe = other
	}
}

// unlink ends c's link on both sides.
func (l *loop) unlink(c *Conn) {
	if c.ext == nil || c.ext.pipe == nil {
		return
	}
	l.tellPipe(c, pipeEnd)
	c.ext.pipe = nil
	l.unpipe(c)
}

// pipeWord is what one end of a link tells the other.
type pipeWord uint8

const (
	// pipeLink: we are linked.
	pipeLink pipeWord = iota
	// pipePause: my output is above the high-water mark.
	pipePause
	// pipeResume: it has fallen to the low-water mark.
	pipeResume
	// pipeEnd: there is no link any more.
	pipeEnd
)

// tellPipe tells c's partner, if it has one.
func (l *loop) tellPipe(c *Conn, w pipeWord) {
	if c.ext != nil && c.ext.pipe != nil {
		tell(c.ext.pipe, c, w, l)
	}
}

// tell tells p, on whatever loop it is, a word of c's; l is c's loop.
func tell(p, c *Conn, w pipeWord, l *loop) {
	if p.loop == l {
		l.setPiped(p, c, w)
		return
	}
	_ = p.loop.push(task{kind: taskPipe, c: p, peer: c, word: w}) // a loop that has stopped has no connections
}

// setPiped does what the partner says.
func (l *loop) setPiped(c, partner *Conn, w pipeWord) {
	if c.state == stateClosed {
		if w == pipeLink {
			tell(partner, c, pipeEnd, l)
		}
		return
	}
	if w == pipeLink {
		l.join(c, partner)
		if c.over {
			l.tellPipe(c, pipePause)
		}
		return
	}
	if c.ext == nil || c.ext.pipe != partner {
		return
	}
	switch w {
	case pipePause:
		c.paused |= pausePipe
		c.stopFrame()
	case pipeResume:
		l.unpipe(c)
	case pipeEnd:
		c.ext.pipe = nil
		l.unpipe(c)
	}
}

// unpipe ends a pause that was the partner's.
func (l *loop) unpipe(c *Conn) {
	if c.paused&pausePipe != 0 {
		c.paused &^= pausePipe
		l.enqueue(c)
	}
}
