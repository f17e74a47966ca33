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
	for _, p := range [...][2]*Conn{{a, b}, {b, a}} {
		if err := p[0].loop.push(task{kind: taskLink, c: p[0], peer: p[1]}); err != nil {
			return err
		}
	}
	return nil
}

// link makes other c's partner.
func (l *loop) link(c, other *Conn) {
	if c.state == stateClosed || other.gone.Load() || c.more().pipe == other {
		return
	}
	l.unlink(c)
	c.ext.pipe = other
	if c.over {
		l.tellPipe(c, pipePause)
	}
}

// unlink ends c's link on both sides.
func (l *loop) unlink(c *Conn) {
	if c.ext == nil || c.ext.pipe == nil {
		return
	}
	l.tellPipe(c, pipeEnd)
	c.ext.pipe = nil
	l.setPiped(c, nil, pipeResume)
}

// pipeWord is what one end of a link tells the other.
type pipeWord uint8

const (
	// pipePause: my output is above the high-water mark.
	pipePause pipeWord = iota
	// pipeResume: it has fallen to the low-water mark.
	pipeResume
	// pipeEnd: there is no link any more.
	pipeEnd
)

// tellPipe tells c's partner.
func (l *loop) tellPipe(c *Conn, w pipeWord) {
	p := c.ext.pipe
	if p.loop == l {
		l.setPiped(p, c, w)
		return
	}
	_ = p.loop.push(task{kind: taskPipe, c: p, peer: c, word: w}) // a loop that has stopped has no connections
}

// setPiped does what the partner says.
func (l *loop) setPiped(c, partner *Conn, w pipeWord) {
	if c.state == stateClosed {
		return
	}
	if w == pipePause {
		c.paused |= pausePipe
		c.readAt, c.inWindow.from = 0, 0 // a frame whose rest we do not read has no deadline
		return
	}
	if w == pipeEnd && c.ext != nil && c.ext.pipe == partner {
		c.ext.pipe = nil
	}
	if c.paused&pausePipe != 0 {
		c.paused &^= pausePipe
		l.enqueue(c)
	}
}
