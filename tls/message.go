package tls

// messages handles a record of handshake messages after the handshake. They may be split over records and share them.
func (c *Conn) messages(content []byte) error {
	if len(content) == 0 {
		return c.fault(faultEmptyHandshake)
	}
	data := content
	if len(c.partial) > 0 {
		c.partial = append(c.partial, content...)
		data = c.partial
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
	if len(data) == 0 {
		c.partial = nil
	} else if len(c.partial) == 0 || len(data) < len(c.partial) {
		c.partial = append([]byte(nil), data...)
	}
	return nil
}

// message handles the message at the start of data and returns its length, 0 when it is not whole. It is judged as soon as its
// first byte, and its length, are there.
func (c *Conn) message(data []byte) (int, error) {
	switch {
	case data[0] == messageKeyUpdate:
	case data[0] == messageNewSessionTicket && c.server == nil:
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
	if c.updateRun++; c.updateRun > maxUpdateRun {
		return c.fault(faultUpdateRun)
	}
	if err := c.in.update(c.suite); err != nil {
		return c.fail(&Error{Alert: AlertInternalError, Detail: err.Error(), Err: err})
	}
	if value == 1 {
		c.update = max(c.update, updateAnswer)
	}
	return nil
}

// ticket handles a NewSessionTicket, header included (RFC 8446, 4.6.1).
func (c *Conn) ticket(message []byte) error {
	if c.ticketRun++; c.ticketRun > maxTicketRun {
		return c.fault(faultTicketRun)
	}
	if !validTicket(message[messageHeaderLen:]) {
		return c.fault(faultTicket)
	}
	if c.tickets == nil {
		return nil
	}
	if e := c.tickets.push(message); e != nil {
		return c.fail(e)
	}
	return nil
}
