package reactor

// receive decides what an accepted, registered connection begins with.
func (l *loop) receive(c *Conn, lis *Listener) {
	if lis.unix && !lis.allow.admits(c.cred) {
		l.count[counterRefusedPeers]++
		l.kill(c, ErrPeerRefused)
		return
	}
	l.enter(c)
}
