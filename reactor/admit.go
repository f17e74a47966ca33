package reactor

// occupy counts an accepted connection for MaxConns.
func (l *loop) occupy(c *Conn) error {
	if n, most := l.r.admitted.Add(1), l.r.maxConns.Load(); most > 0 && n > most {
		l.r.admitted.Add(-1)
		return ErrOverCapacity
	}
	c.admitted = true
	return nil
}

// admit decides, when an accepted connection's peer is known, whether it may go on, and counts it. Any of the limits'
// errors means that it is to be refused.
func (l *loop) admit(c *Conn) error {
	if !c.admitted { // else it has waited for its PROXY header
		if err := l.occupy(c); err != nil {
			return err
		}
	}
	if ps := l.r.peers; ps != nil && c.remote.IsValid() {
		p, err := ps.add(c.remote.Addr(), c.filter != nil, l.clock())
		if err != nil {
			l.dismiss(c)
			return err
		}
		c.more().peer = p
		c.ext.half = c.filter != nil
	}
	l.limitRates(c)
	return nil
}

// dismiss takes back what occupy and admit have counted.
func (l *loop) dismiss(c *Conn) {
	if !c.admitted {
		return
	}
	c.admitted = false
	l.r.admitted.Add(-1)
	if c.ext != nil && c.ext.peer != nil {
		l.r.peers.remove(c.remote.Addr(), c.ext.peer, c.ext.half, l.clock())
	}
}

// unhalve is called when the handshake is complete.
func (l *loop) unhalve(c *Conn) {
	if c.ext != nil && c.ext.half {
		c.ext.half = false
		l.r.peers.opened(c.ext.peer)
	}
}

// refuse ends a connection that was not admitted, and tells its peer why.
func (l *loop) refuse(c *Conn, cause error) {
	if l.noteRefused(c, cause) {
		l.tellRefused(c)
	}
}

// noteRefused counts c among the refused ones. Those that are too many are reset: false.
func (l *loop) noteRefused(c *Conn, cause error) bool {
	l.count[counterRefused]++
	l.r.tellRefusal(cause)
	c.more().refusal = cause
	if l.refused >= maxRefused {
		l.abort(c, cause)
		return false
	}
	c.refused = true
	l.refused++
	return true
}

// tellRefused tells a refused connection's peer why: on a plain connection, and on one with a filter while only a few are
// being refused, in the protocol's own words (ListenConfig.Refuse, after the handshake); else in the filter's (an alert
// instead of a handshake). A peer that is refused for its half-open connections never gets a handshake.
func (l *loop) tellRefused(c *Conn) {
	cause := c.ext.refusal
	switch {
	case c.filter == nil || c.opts.refuse != nil && cause != ErrPeerHandshakes && l.refused <= maxRefusals:
		l.startHandshake(c)
	default:
		c.state = stateHandshake
		if f, ok := c.filter.(Refuser); ok {
			l.sealed = f.Refuse(l.sealed[:0])
			l.send(c, l.sealed)
		}
		l.handshakeFailed(c, cause)
	}
}

// openRefused says the last word to a peer whose handshake was completed for that.
func (l *loop) openRefused(c *Conn) {
	c.state = stateOpen
	if c.opts.refuse != nil {
		l.active = c
		c.opts.refuse(c, c.ext.refusal)
		l.active = nil
	}
	l.startClose(c, c.ext.refusal)
}
