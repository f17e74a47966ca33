package reactor

import "golang.org/x/sys/unix"

// startHandshake begins the filter's handshake, or opens a plain connection at once.
func (l *loop) startHandshake(c *Conn) {
	if c.filter == nil {
		l.opened(c)
		return
	}
	c.state = stateHandshake
	c.shaking = true
	if b, ok := c.filter.(Binder); ok {
		b.Bind(c)
	}
	if c.dialled {
		l.begin(c)
		l.process(c, nil) // a client speaks first
		l.finish(c)
	}
}

// shake gives ciphertext to the handshake. It returns what is left and whether to go on.
func (l *loop) shake(c *Conn, src []byte) ([]byte, bool) {
	if c.stepping {
		return src, false
	}
	n, step, err := c.filter.Handshake(src)
	src = src[n:]
	switch {
	case err != nil:
		l.shakeOutput(c)
		l.handshakeFailed(c, err)
		return nil, false
	case step:
		c.stepping = true
		l.r.workers.submit(c)
		return src, false
	}
	return src, n > 0 && len(src) > 0
}

// stepped takes the filter back from the worker.
func (l *loop) stepped(c *Conn, done bool, err error) {
	c.stepping = false
	if c.state == stateClosed {
		c.filter.Release()
		return
	}
	l.shakeOutput(c)
	switch {
	case c.state == stateClosed:
		return
	case err != nil:
		l.handshakeFailed(c, err)
		return
	case done:
		l.agreed(c)
		l.opened(c)
	}
	if c.state <= stateOpen { // what arrived meanwhile
		c.pending = c.pending || c.cipherLen > 0 || c.state == stateHandshake
		l.input(c)
	}
}

// shakeOutput sends what the handshake wants to say.
func (l *loop) shakeOutput(c *Conn) {
	l.sealed = c.filter.Output(l.sealed[:0])
	if len(l.sealed) > 0 {
		l.send(c, l.sealed)
	}
}

// handshakeFailed ends a connection before it was open, also for want of admission; the filter's alert has been sent.
func (l *loop) handshakeFailed(c *Conn, err error) {
	if c.state == stateClosed {
		return
	}
	if isIO(err) {
		l.kill(c, err)
		return
	}
	c.finished = true
	l.drop(&c.out, c.out.bytes)
	l.beginDrain(c, err) // lets the alert out, and does not reset what the peer has not read
}

// opened makes the protocol of an accepted connection and lets bytes flow.
func (l *loop) opened(c *Conn) {
	c.phaseAt, c.shaking = 0, false
	c.lastIO = l.now
	if c.refused {
		l.openRefused(c)
		return
	}
	c.state = stateOpen
	l.unhalve(c)
	l.count[counterOpened]++
	l.refile(c)
	l.active = c
	if c.proto == nil {
		c.proto = c.opts.protocol(c)
	}
	c.proto.OnOpen()
	l.active = nil
	if l.stopping && c.state == stateOpen {
		l.leave(c)
	}
	if c.out.bytes > 0 {
		c.touch() // written before or in OnOpen
	}
}

// connected is called on the first writability of a dialled socket.
func (l *loop) connected(c *Conn) {
	if errno := l.r.sys.socketError(int(c.fd)); errno != 0 {
		l.kill(c, ioError("connect", errno))
		return
	}
	c.learn()
	l.startHandshake(c)
}

// startDial registers a dialled socket and connects it.
func (l *loop) startDial(c *Conn, sa unix.Sockaddr) {
	if c.state == stateClosed || !l.register(c) { // closed: by a protocol of this loop, see DialConfig.Near
		return
	}
	c.state = stateConnecting
	c.shakeAt = uint32(l.now >> shakeUnit)
	l.limitRates(c)
	timeout := c.opts.timeout
	setDuration(&timeout, l.r.cfg.HandshakeTimeout)
	l.startPhase(c, timeout)
	if errno := l.r.sys.connect(int(c.fd), sa); errno != 0 && errno != unix.EINPROGRESS && errno != unix.EINTR {
		l.kill(c, ioError("connect", errno))
	}
}

// adopt takes over an accepted socket.
func (l *loop) adopt(fd int, lis *Listener, sa unix.Sockaddr) {
	c := &Conn{loop: l, fd: int32(fd), slot: -1, opts: &lis.opts, wtick: -1}
	c.setPeer(sa, lis)
	l.count[counterAccepted]++
	if l.register(c) {
		l.receive(c, lis)
	}
}

// enter begins the handshake of an accepted connection whose peer is known, or refuses it.
func (l *loop) enter(c *Conn) {
	if c.opts.filter != nil {
		l.active = c
		c.filter = c.opts.filter()
		l.active = nil
	}
	c.shakeAt = uint32(l.now >> shakeUnit)
	if c.filter != nil && c.phaseAt == 0 { // it runs already after a PROXY header
		l.startPhase(c, l.r.cfg.HandshakeTimeout)
	}
	if c.refused { // before its PROXY header
		l.tellRefused(c)
		return
	}
	if err := l.admit(c); err != nil {
		l.refuse(c, err)
		return
	}
	l.startHandshake(c)
}

// register gives c a slot and puts its descriptor, if it has one, into epoll, once and for all.
func (l *loop) register(c *Conn) bool {
	if n := len(l.freeSlots); n > 0 {
		c.slot = l.freeSlots[n-1]
		l.freeSlots = l.freeSlots[:n-1]
	} else {
		c.slot = int32(len(l.slots))
		l.slots = append(l.slots, nil)
	}
	l.gen++
	c.gen = l.gen
	l.slots[c.slot] = c
	l.conns++
	c.lastIO = l.now
	if c.stream != nil {
		return true
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | epollET, Fd: c.slot, Pad: c.gen}
	if errno := l.r.sys.epollAdd(l.ep, int(c.fd), &ev); errno != 0 {
		l.kill(c, ioError("epoll_ctl", errno))
		return false
	}
	return true
}
