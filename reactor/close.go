package reactor

import "time"

// startClose begins the end of c: drain, goodbye, end of stream, linger.
func (l *loop) startClose(c *Conn, cause error) {
	switch c.state {
	case stateConnecting, stateProxy:
		l.kill(c, cause)
	case stateHandshake:
		if !c.stepping { // a worker has the filter: nothing can be said
			l.goodbye(c, cause)
		}
		l.kill(c, cause)
	case stateOpen:
		l.beginDrain(c, cause)
	}
}

// beginDrain lets out what is written, and reads and drops what the peer still sends, also while output waits.
func (l *loop) beginDrain(c *Conn, cause error) {
	c.state, c.cause = stateDraining, cause
	c.stopFrame()
	l.startPhase(c, l.r.cfg.DrainTimeout)
	l.dropInput(c)
	c.readable = true
	l.enqueue(c)
	c.touch()
}

// goodbye queues the filter's last record and writes it if the kernel takes it.
func (l *loop) goodbye(c *Conn, cause error) {
	if c.filter == nil || c.finished {
		return
	}
	c.finished = true
	l.sealed = c.filter.Finish(l.sealed[:0], cause)
	l.send(c, l.sealed)
}

// finishOutput is called when a draining connection's output is gone: goodbye, then our end of stream, then wait for the
// peer's.
func (l *loop) finishOutput(c *Conn) {
	if !c.finished && c.filter != nil {
		l.goodbye(c, c.cause)
		if c.state != stateDraining || c.Queued() > 0 {
			return // broken, or to be called again when it is written
		}
	}
	if isIO(c.cause) {
		l.kill(c, c.cause) // nobody is there
		return
	}
	if c.stream != nil || !c.fin { // a socket's close says it as well
		c.shutdownWrite()
	}
	if c.fin {
		l.kill(c, c.cause) // the peer has ended its stream already
		return
	}
	c.state = stateLingering
	c.stallAt = 0
	if l.r.cfg.LingerTimeout < 0 {
		l.kill(c, c.cause)
		return
	}
	l.startPhase(c, l.r.cfg.LingerTimeout)
	l.enqueue(c)
}

// isIO says whether cause is a broken socket or stream.
func isIO(cause error) bool {
	e, ok := cause.(*Error)
	return ok && (e.gone || e.Why == ReasonIO && e.Err != nil)
}

// kill ends c at the end of the turn, without further output.
func (l *loop) kill(c *Conn, cause error) {
	if c.state == stateClosed {
		return
	}
	if c.state < stateDraining || c.state == stateDraining && c.cause == nil && c.Queued() > 0 {
		c.cause = cause // a close that loses output is not clean
	}
	c.state = stateClosed
	c.gone.Store(true)
	l.dead = append(l.dead, c)
}

// dropInput forgets undelivered input.
func (l *loop) dropInput(c *Conn) {
	c.pending = false
	if c.in != nil {
		c.in.Release()
		c.in, c.inStart, c.inEnd = nil, 0, 0
	}
	if c.cipher != nil {
		c.cipher.Release()
		c.cipher, c.cipherLen = nil, 0
	}
}

// bury closes the descriptors of the connections killed in this turn and calls OnClose. Only now, so that a descriptor's
// number is not reused while events of the turn may still name it.
func (l *loop) bury() {
	for len(l.dead) > 0 {
		last := len(l.dead) - 1
		c := l.dead[last]
		l.dead[last] = nil // a turn with many must not keep them all
		l.dead = l.dead[:last]
		l.wheel.remove(c)
		l.dismiss(c)
		l.unlink(c)
		if c.refused {
			l.refused--
			c.cause = c.ext.refusal // however the refusal itself ended
		} else if c.shaking {
			l.count[counterHandshakeFailed]++
		}
		if c.slot >= 0 { // else it was dialled, and closed before its turn came
			l.slots[c.slot] = nil
			l.freeSlots = append(l.freeSlots, c.slot)
			l.conns--
		}
		c.closeSource()
		l.dropInput(c)
		l.queued -= int64(c.counted)
		l.drop(&c.out, c.out.bytes)
		if c.wire != nil {
			c.wire.Release()
			c.wire, c.wireOff, c.wireEnd = nil, 0, 0
		}
		if c.filter != nil && !c.stepping {
			c.filter.Release()
		}
		l.load.Add(-1)
		l.count[counterClosed]++
		l.countCause(c.cause)
		if c.proto != nil {
			l.active = c
			c.proto.OnClose(c.cause)
			l.active = nil
		} else if c.opts.onError != nil {
			l.active = c
			c.opts.onError(c.RemoteAddr(), c.cause)
			l.active = nil
		}
	}
}

// startPhase gives the state that c has entered its deadline, t from now; without one when t is not positive.
func (l *loop) startPhase(c *Conn, t time.Duration) {
	c.phaseAt = 0
	if t > 0 {
		c.phaseAt = l.now + int64(t)
		l.wheel.file(c, c.phaseAt)
	}
}

// stopFrame ends the deadlines of a frame whose rest is not read, for our own sake or because nobody wants it any more.
func (c *Conn) stopFrame() { c.readAt, c.inWindow.from = 0, 0 }

// refile puts c where its first deadline will be seen.
func (l *loop) refile(c *Conn) {
	if at := l.earliest(c); at != 0 {
		l.wheel.file(c, at)
	}
}

// earliest is the first deadline of c in nanoseconds; 0 if it has none.
func (l *loop) earliest(c *Conn) int64 {
	var at int64
	for _, d := range [...]int64{c.phaseAt, c.readAt, c.stallAt, c.inAt, c.outAt, c.inWindow.end(), c.outWindow.end(), l.idleAt(c), l.sleepAt(c)} {
		if d != 0 && (at == 0 || d < at) {
			at = d
		}
	}
	return at
}

// idleAt is when c has been idle for too long; 0 if that does not apply: while it waits for tokens it is we who are idle.
func (l *loop) idleAt(c *Conn) int64 {
	if c.state != stateOpen || l.r.cfg.IdleTimeout < 0 || c.inAt|c.outAt != 0 {
		return 0
	}
	return c.lastIO + int64(l.r.cfg.IdleTimeout)
}

// sleepAt is when c's filter has been quiet for long enough to let memory go; 0 if that does not apply.
func (l *loop) sleepAt(c *Conn) int64 {
	if c.state != stateOpen || c.filter == nil || c.asleep {
		return 0
	}
	return c.lastIO + int64(sleepAfter)
}

// wakeUp is called with the first byte after a sleep: the filter helps itself, the next sleep has to be filed.
func (l *loop) wakeUp(c *Conn) {
	c.asleep = false
	l.refile(c)
}

// expire looks at c's deadlines when its slot of the wheel comes.
func (l *loop) expire(c *Conn) {
	due := func(at int64) bool { return at != 0 && l.now >= at }
	switch {
	case c.state == stateClosed:
	case due(c.phaseAt):
		l.phaseOver(c)
	case due(c.stallAt):
		l.cutOff(c, ErrWriteTimeout)
	case l.slow(&c.outWindow):
		l.cutOff(c, ErrMinWriteRate)
	case due(c.readAt):
		l.expired(c, ErrFrameTimeout)
		l.sayGoodbye(c, ErrFrameTimeout)
	case l.slow(&c.inWindow):
		l.expired(c, ErrMinReadRate)
		l.sayGoodbye(c, ErrMinReadRate)
	case due(l.idleAt(c)):
		l.expired(c, ErrIdleTimeout)
		l.sayGoodbye(c, ErrIdleTimeout)
	default:
		l.release(c)
		if due(l.sleepAt(c)) {
			c.asleep = true
			if s, ok := c.filter.(Sleeper); ok {
				s.Sleep()
			}
		}
	}
	if c.state != stateClosed {
		l.refile(c)
	}
}

// phaseOver ends the state whose deadline has come.
func (l *loop) phaseOver(c *Conn) {
	switch c.state {
	case stateLingering:
		l.kill(c, c.cause)
	case stateDraining:
		l.cutOff(c, ErrDrainTimeout)
	case stateOpen:
		l.graceOver(c)
	default:
		l.expired(c, ErrHandshakeTimeout)
		l.startClose(c, ErrHandshakeTimeout)
	}
}

// cutOff resets a connection whose peer does not take its output.
func (l *loop) cutOff(c *Conn, cause error) {
	l.expired(c, cause)
	l.abort(c, cause)
}

func (l *loop) expired(c *Conn, cause error) {
	l.count[counterExpired]++
	if c.state == stateDraining {
		c.cause = cause // it closes for another reason than it began to
	}
}

// shutdownConn takes leave of one connection. One whose handshake is under way may complete it and is told then, within
// the grace: its peer has a request to send, and no other connection to send it on.
func (l *loop) shutdownConn(c *Conn) {
	grace := l.r.cfg.ShutdownGrace
	switch {
	case c.state == stateOpen:
		l.leave(c)
	case (c.state == stateHandshake || c.state == stateProxy) && !c.dialled && grace >= 0:
		if at := l.now + int64(grace); c.phaseAt == 0 || at < c.phaseAt {
			c.phaseAt = at
			l.wheel.file(c, at)
		}
	case c.state <= stateHandshake:
		l.startClose(c, ErrShuttingDown)
	}
}

// leave takes leave of an open connection because of a shutdown.
func (l *loop) leave(c *Conn) {
	if c.leaving { // told already, before another connection's callback has panicked
		return
	}
	p, ok := c.proto.(Leaver)
	if !ok || l.r.cfg.ShutdownGrace < 0 {
		l.sayGoodbye(c, ErrShuttingDown)
		return
	}
	c.leaving = true
	l.active = c
	stay := p.OnShutdown()
	l.active = nil
	if !stay {
		l.startClose(c, ErrShuttingDown)
		return
	}
	if c.state == stateOpen {
		l.startPhase(c, l.r.cfg.ShutdownGrace)
		c.touch()
	}
}

// graceOver ends the time in which a connection that stays was read: from here on it is as if the peer had ended.
func (l *loop) graceOver(c *Conn) {
	c.phaseAt = 0
	if c.end == endNone {
		c.end = endClean
	}
	l.dropInput(c)
	l.begin(c)
	l.finishInput(c)
	l.finish(c)
}

// sayGoodbye lets the protocol write a last frame and then closes.
func (l *loop) sayGoodbye(c *Conn, cause error) {
	if c.state != stateOpen {
		return
	}
	l.active = c
	c.proto.OnGoodbye(cause)
	l.active = nil
	l.startClose(c, cause)
}

// countCause counts an abnormal close by its reason.
func (l *loop) countCause(cause error) {
	if cause == nil {
		return
	}
	why := reasonOf(cause)
	for i, r := range reasons {
		if r == why {
			l.closedBy[i]++
			return
		}
	}
	l.closedBy[len(reasons)-1]++ // io: whatever else ended it
}
