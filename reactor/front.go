package reactor

// receive decides what an accepted, registered connection begins with: a refusal, the PROXY header, or the handshake.
func (l *loop) receive(c *Conn, lis *Listener) {
	trusted := lis.proxy != nil && lis.proxy.trusts(c.remote.Addr())
	if lis.unix && !lis.allow.admits(c.cred) || lis.proxy != nil && !trusted && !lis.proxy.Direct {
		l.count[counterRefusedPeers]++
		l.kill(c, ErrPeerRefused)
		return
	}
	if !trusted {
		l.enter(c)
		return
	}
	c.state = stateProxy
	if err := l.occupy(c); err != nil && !l.noteRefused(c, err) { // it is told behind its header
		return
	}
	l.startPhase(c, l.r.cfg.HandshakeTimeout)
}
