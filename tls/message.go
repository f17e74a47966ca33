package tls

// messages handles a record of handshake messages after the handshake. They may be split over records and share them.
func (c *Conn) messages(content []byte) error {
	if len(content) == 0 {
		return c.fault(faultEmptyHandshake)
	}
	data := content
	if c.midMessage() {
		c.extra.partial = append(c.extra.partial, content...)
		data = c.extra.partial
	}
	for len(data) > 0 {
		n, err := c.message(data)
		if err != nil {
			return err
		}
		if n == 0 {
			break
		}
		data = data[n:]
	}
	switch {
	case len(data) > 0 && (!c.midMessage() || len(data) < len(c.extra.partial)):
		c.more().partial = append([]byte(nil), data...)
	case len(data) == 0 && c.extra != nil:
		c.extra.partial = nil
	}
	return nil
}

// message handles the message at the start of data and returns its length, 0 when it is not whole. It is judged as soon as its
// first byte, and its length, are there.
func (c *Conn) message(data []byte) (int, error) {
	switch {
	case data[0] == messageKeyUpdate:
	case data[0] == messageNewSessionTicket && c.end.server == nil:
	default:
		return 0, c.fault(faultMessageType)
	}
	if len(data) < messageHeaderLen {
		return 0, nil
	}
	n := messageLen(data)
	if data[0] == messageKeyUpdate && n != 1 {
		return 0, c.fault(faultUpdateSize)
	}
	if n > maxMessage {
		return 0, c.fault(faultMessageSize)
	}
	n += messageHeaderLen
	if len(data) < n {
		return 0, nil
	}
	if data[0] == messageKeyUpdate {
		return n, c.keyUpdate(data[messageHeaderLen], len(data) > n)
	}
	return n, c.ticket(data[:n])
}

// keyUpdate starts the next read epoch. The answer to a request waits for our next data, so many requests get one answer
// (RFC 8446, 4.6.3).
func (c *Conn) keyUpdate(value byte, more bool) error {
	if value > 1 {
		return c.fault(faultUpdateValue)
	}
	if more {
		return c.fault(faultUpdateBoundary)
	}
	if value == 0 && c.asked > 0 {
		c.asked-- // an answer: a peer without data of its own sends nothing else
	} else if c.runs.updates++; c.runs.updates > maxUpdateRun {
		return c.fault(faultUpdateRun)
	}
	if err := c.in.update(c.agreed.suite); err != nil {
		return c.fail(&Error{Alert: AlertInternalError, Detail: err.Error(), Err: err})
	}
	if value == 1 {
		c.update = max(c.update, updateAnswer)
	}
	return nil
}

// ticket handles a NewSessionTicket, header included (RFC 8446, 4.6.1).
func (c *Conn) ticket(message []byte) error {
	if c.runs.tickets++; c.runs.tickets > maxTicketRun {
		return c.fault(faultTicketRun)
	}
	if !validTicket(message[messageHeaderLen:]) {
		return c.fault(faultTicket)
	}
	if c.extra == nil || c.extra.tickets == nil {
		return nil
	}
	if e := c.extra.tickets.push(message); e != nil {
		return c.fail(e)
	}
	return nil
}
